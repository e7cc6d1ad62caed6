//! Series: one metric with one label set, and what a query sees of it.

use std::fmt;
use std::sync::Arc;

use super::{Cell, Labels, Metric, Run, TimeMs, WindowStart};

/// 64 bits of a stable hash of metric identity and sorted label set, the same on every replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u64);

impl SeriesId {
    /// The id of `metric` with `labels`.
    #[must_use]
    pub fn of(metric: super::MetricId, labels: &Labels) -> Self {
        let bytes = labels.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut text = Vec::with_capacity(bytes);
        for (name, value) in labels.iter() {
            text.extend_from_slice(name.as_bytes());
            text.push(0xfe);
            text.extend_from_slice(value.as_bytes());
            text.push(0xff);
        }
        Self(xxhash_rust::xxh3::xxh3_64_with_seed(&text, metric.0))
    }
}

impl fmt::Debug for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "series:{:016x}", self.0)
    }
}

/// A series with its windows in a span of time, merged over all partials: what storage and head hand to a query.
#[derive(Clone, Debug)]
pub struct SeriesWindows {
    /// Who it is.
    pub id: SeriesId,
    /// What is measured.
    pub metric: Arc<Metric>,
    /// Data-point, scope and resource attributes.
    pub labels: Labels,
    /// Windows in ascending order, each start once.
    pub windows: Vec<(WindowStart, Cell)>,
    /// Windows of a counter with one run each, in place of `windows`, where only increases are asked for.
    pub totals: Vec<(WindowStart, Run)>,
}

impl SeriesWindows {
    /// The same series without any window.
    #[must_use]
    pub fn clone_without_windows(&self) -> Self {
        Self {
            id: self.id,
            metric: Arc::clone(&self.metric),
            labels: self.labels.clone(),
            windows: Vec::new(),
            totals: Vec::new(),
        }
    }
}

/// A value that points at the trace in which it was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// When.
    pub time: TimeMs,
    /// In the metric's unit.
    pub value: f64,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// W3C span id.
    pub span_id: [u8; 8],
}
