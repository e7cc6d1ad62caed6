//! What rollup counts: streams followed, checkpoints, compactions, and how much is in memory.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::begin;

/// Rollup's own metrics.
#[derive(Clone, Debug)]
pub struct RollupMetrics {
    followed_rows: Family<[(&'static str, &'static str); 1], Counter>,
    checkpoint_seconds: Histogram,
    checkpoint_blocks: Counter,
    checkpoint_bytes: Counter,
    checkpoint_failures: Counter,
    /// Generations of our own stream that are not in blocks yet, the open one apart.
    pub(super) checkpoints_waiting: Gauge,
    compacted_blocks: Counter,
    compaction_failures: Counter,
    /// When the last checkpoint was written, in Unix time; zero before the first.
    pub checkpoint_timestamp_seconds: Gauge,
    /// Frames that Redis did not get.
    pub(super) frames_left_out: Counter,
    /// Streams known here, our own among them.
    pub streams: Gauge,
    /// Series known here.
    pub series: Gauge,
    /// Series met whose id another has.
    series_id_collisions: Counter,
    /// Windows of all heads.
    pub head_windows: Gauge,
}

impl Default for RollupMetrics {
    fn default() -> Self {
        Self {
            followed_rows: Family::default(),
            checkpoint_seconds: Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            checkpoint_blocks: Counter::default(),
            checkpoint_bytes: Counter::default(),
            checkpoint_failures: Counter::default(),
            checkpoints_waiting: Gauge::default(),
            compacted_blocks: Counter::default(),
            compaction_failures: Counter::default(),
            checkpoint_timestamp_seconds: Gauge::default(),
            frames_left_out: Counter::default(),
            streams: Gauge::default(),
            series: Gauge::default(),
            series_id_collisions: Counter::default(),
            head_windows: Gauge::default(),
        }
    }
}

impl RollupMetrics {
    /// With the counter that the registry counts collisions in.
    pub(super) fn with_collisions(self, series_id_collisions: Counter) -> Self {
        Self { series_id_collisions, ..self }
    }

    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("rollup");
        begin(&self.followed_rows, ["redis", "journal"].map(|source| [("source", source)]));
        registry.register("followed_rows", "Journal rows of other replicas by source", self.followed_rows.clone());
        let took = self.checkpoint_seconds.clone();
        registry.register_with_unit("checkpoint", "Duration of checkpoints", Unit::Seconds, took);
        registry.register("checkpoint_blocks", "Blocks written by checkpoints", self.checkpoint_blocks.clone());
        registry.register("checkpoint_bytes", "Bytes of those blocks", self.checkpoint_bytes.clone());
        registry.register("checkpoint_failures", "Checkpoints to be tried again", self.checkpoint_failures.clone());
        let waiting = self.checkpoints_waiting.clone();
        registry.register(
            "checkpoints_waiting",
            "Checkpoints not written yet; at the limit exports are refused",
            waiting,
        );
        registry.register("compacted_blocks", "Blocks written by compaction", self.compacted_blocks.clone());
        registry.register("compaction_failures", "Spans that could not be rewritten", self.compaction_failures.clone());
        let written_at = self.checkpoint_timestamp_seconds.clone();
        registry.register("checkpoint_timestamp_seconds", "When the last checkpoint was written", written_at);
        let left_out = self.frames_left_out.clone();
        registry.register("frames_left_out", "Frames not shared through Redis, left to the journal", left_out);
        registry.register("streams", "Streams known here", self.streams.clone());
        registry.register("series", "Series known here", self.series.clone());
        let collisions = self.series_id_collisions.clone();
        registry.register("series_id_collisions", "Series met whose id another has", collisions);
        registry.register("head_windows", "Windows in memory, not yet in blocks", self.head_windows.clone());
    }

    pub(super) fn followed(&self, source: &'static str, rows: usize) {
        self.followed_rows.get_or_create(&[("source", source)]).inc_by(rows as u64);
    }

    pub(super) fn checkpointed(&self, blocks: usize, bytes: usize, took: Duration) {
        self.checkpoint_seconds.observe(took.as_secs_f64());
        self.checkpoint_blocks.inc_by(blocks as u64);
        self.checkpoint_bytes.inc_by(bytes as u64);
        self.checkpoint_timestamp_seconds.set(chrono::Utc::now().timestamp());
    }

    pub(super) fn checkpoint_failed(&self) {
        self.checkpoint_failures.inc();
    }

    pub(super) fn compaction_failed(&self) {
        self.compaction_failures.inc();
    }

    pub(super) fn compacted(&self, blocks: usize) {
        self.compacted_blocks.inc_by(blocks as u64);
    }
}
