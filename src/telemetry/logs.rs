//! Log lines: to standard error, for people or machines, filtered by `RUST_LOG`; and our spans, on their way out over OTLP.

use std::io::IsTerminal as _;

use opentelemetry::trace::TracerProvider as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use super::Pipeline;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Says why `filter` is not understood.
///
/// # Errors
/// When it is not.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::builder().parse(filter).map(|_| ()).map_err(|error| error.to_string())
}

/// Installs the subscriber, which sends our spans through `own` where it is there; returns false when the filter is not
/// understood and `info` is used instead, or a subscriber is there.
pub fn init(style: LogStyle, filter: &str, own: Option<&Pipeline>) -> bool {
    let parsed = EnvFilter::try_new(filter);
    let understood = parsed.is_ok();
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match style {
        LogStyle::Text => lines.compact().boxed(),
        LogStyle::Json => lines.json().flatten_event(true).boxed(),
    };
    // Ours alone: the libraries that carry an export have spans too, which would beget exports without end.
    let ours = Targets::new().with_target("fastbreak", LevelFilter::INFO);
    let spans = own.map(|own| {
        tracing_opentelemetry::layer()
            .with_tracer(own.tracers().tracer("fastbreak"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    });
    let installed = tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init();
    understood && installed.is_ok()
}
