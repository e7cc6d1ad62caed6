//! What reading counts: queries by outcome, how long they took, what they read, how many wait.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::QueryError;
use super::index::INDEX_BYTES_MAX;
use super::limits::{Budget, Limits};
use super::parts;

/// The query room's own metrics.
#[derive(Clone, Debug)]
pub struct QueryMetrics {
    queries: Family<[(&'static str, &'static str); 1], Counter>,
    seconds: Histogram,
    series: Counter,
    bytes: Counter,
    unknown_series: Counter,
    running: Gauge,
    waiting: Gauge,
    index_bytes: Gauge,
    remembered_bytes: Gauge,
    parts: Family<[(&'static str, &'static str); 1], Counter>,
    limit: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl Default for QueryMetrics {
    fn default() -> Self {
        Self {
            queries: Family::default(),
            seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            series: Counter::default(),
            bytes: Counter::default(),
            unknown_series: Counter::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            index_bytes: Gauge::default(),
            remembered_bytes: Gauge::default(),
            parts: Family::default(),
            limit: Family::default(),
        }
    }
}

impl QueryMetrics {
    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("query");
        registry.register("queries", "Queries by outcome", self.queries.clone());
        registry.register_with_unit("duration", "Duration of queries", Unit::Seconds, self.seconds.clone());
        registry.register("series", "Series read by queries", self.series.clone());
        registry.register("window_bytes", "Bytes of windows read by queries", self.bytes.clone());
        let unknown = self.unknown_series.clone();
        registry.register("unknown_series", "Series of blocks that the catalogue does not know", unknown);
        registry.register("running", "Queries evaluated now", self.running.clone());
        registry.register("waiting", "Queries that wait for their turn", self.waiting.clone());
        registry.register("index_bytes", "Bytes of the index of series by labels", self.index_bytes.clone());
        let held = self.remembered_bytes.clone();
        registry.register("remembered_bytes", "Bytes of parts of answers that are remembered", held);
        registry.register("parts", "Parts of range answers by source", self.parts.clone());
        registry.register("limit", "Limits of one query and of all of them", self.limit.clone());
    }

    pub(super) fn show(&self, limits: &Limits) {
        for (name, value) in [
            ("query_concurrent", limits.concurrent),
            ("query_waiting", limits.waiting),
            ("query_series", limits.series),
            ("query_bytes", limits.bytes),
            ("query_index_bytes", INDEX_BYTES_MAX),
            ("query_remembered_bytes", parts::BYTES_MAX),
        ] {
            self.limit.get_or_create(&[("limit", name)]).set(value as i64);
        }
    }

    pub(super) fn answered<T>(&self, result: &Result<T, QueryError>, took: Duration) {
        let outcome = match result {
            Ok(_) => "answered",
            Err(QueryError::Invalid(_)) => "invalid",
            Err(QueryError::Unsupported(_) | QueryError::Execution(_)) => "unprocessable",
            Err(QueryError::Limit(_)) => "over_limit",
            Err(QueryError::Busy(_)) => "sent_away",
            Err(QueryError::Deadline(_)) => "too_late",
            Err(QueryError::Storage(_) | QueryError::Replay(_) | QueryError::Blocks(_)) => "unavailable",
        };
        self.queries.get_or_create(&[("outcome", outcome)]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn read(&self, budget: &Budget) {
        let (series, bytes) = budget.taken();
        self.series.inc_by(series as u64);
        self.bytes.inc_by(bytes as u64);
    }

    pub(super) fn unknown(&self, series: usize) {
        self.unknown_series.inc_by(series as u64);
    }

    pub(super) fn held(&self, index_bytes: u64, remembered_bytes: u64) {
        self.index_bytes.set(index_bytes as i64);
        self.remembered_bytes.set(remembered_bytes as i64);
    }

    /// Counts the parts of a range answer: those that were remembered, and those that were read.
    pub(super) fn remembered(&self, (remembered, shared): (usize, usize), read: usize) {
        self.parts.get_or_create(&[("source", "remembered")]).inc_by(remembered as u64);
        self.parts.get_or_create(&[("source", "shared")]).inc_by(shared as u64);
        self.parts.get_or_create(&[("source", "read")]).inc_by(read as u64);
    }

    pub(super) fn load(&self, (running, waiting): (usize, usize)) {
        self.running.set(running as i64);
        self.waiting.set(waiting as i64);
    }
}
