//! FastBreak's own logs, traces and metrics.
