//! The Rust client SDK of FastBreak.
//!
//! Holds the generated client of the control plane; caches, batching and the policy watcher come with the control plane itself.
//! Nothing here may panic in, block, or slow its host.
