//! Log lines: to standard error, for people or machines, filtered by `RUST_LOG`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the subscriber; returns false when the filter is not understood and `info` is used instead, or one is there.
pub fn init(style: LogStyle, filter: &str) -> bool {
    let parsed = EnvFilter::try_new(filter);
    let understood = parsed.is_ok();
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match style {
        LogStyle::Text => lines.compact().try_init(),
        LogStyle::Json => lines.json().flatten_event(true).try_init(),
    };
    understood && installed.is_ok()
}
