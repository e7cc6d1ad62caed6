//! Head, windows, blocks, checkpoints, tiers.
