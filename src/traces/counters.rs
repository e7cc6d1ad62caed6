//! What traces count: spans spooled, what was kept and why, how much waits, what went for want of room.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::decide::Reasons;
use super::graph::GraphCounts;

/// Traces' own metrics.
#[derive(Clone, Debug, Default)]
pub struct TraceMetrics {
    marked: Family<[(&'static str, &'static str); 1], Counter>,
    calls: Family<[(&'static str, &'static str); 1], Counter>,
    pub(super) spool_bytes: Counter,
    pub(super) spilled_chunks: Counter,
    pub(super) decided_spans: Counter,
    pub(super) kept_spans: Counter,
    pub(super) kept_traces: Counter,
    pub(super) stored_bytes: Counter,
    pub(super) write_failures: Counter,
    pub(super) damaged_bodies: Counter,
    pub(super) dropped_partitions: Counter,
    pub(super) left_out_spans: Counter,
    pub(super) tails_taken_over: Counter,
    pub(super) tail_bytes: Gauge,
    pub(super) tail_chunks: Gauge,
    pub(super) remembered: Gauge,
    pub(super) half_calls: Gauge,
    pub(super) operations: Gauge,
    pub(super) disk_bytes: Gauge,
}

impl TraceMetrics {
    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("traces");
        registry.register("marks", "Marks on traces to keep, by reason", self.marked.clone());
        registry.register("calls", "Calls between services, by what became of them", self.calls.clone());
        for (name, help, counter) in [
            ("spool_bytes", "Compressed bytes of spans acknowledged", &self.spool_bytes),
            ("spilled_chunks", "Group commits over the memory budget, left to the spool", &self.spilled_chunks),
            ("decided_spans", "Spans decided on", &self.decided_spans),
            ("kept_spans", "Spans stored", &self.kept_spans),
            ("kept_traces", "Traces stored, parts that came late counted again", &self.kept_traces),
            ("stored_bytes", "Bytes of blocks written", &self.stored_bytes),
            ("write_failures", "Writes that failed and are tried again", &self.write_failures),
            ("damaged_bodies", "Bodies of the spool that cannot be read", &self.damaged_bodies),
            ("dropped_partitions", "Partitions dropped for age or for want of room", &self.dropped_partitions),
            ("left_out_spans", "Spans of kept traces not stored since the disk budget is full", &self.left_out_spans),
            ("tails_taken_over", "Spools of other processes decided here", &self.tails_taken_over),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, gauge) in [
            ("tail_bytes", "Bytes of spans that wait for their decision in memory", &self.tail_bytes),
            ("tail_chunks", "Group commits that wait for their decision", &self.tail_chunks),
            ("remembered", "Traces remembered as kept", &self.remembered),
            ("half_calls", "Sides of calls that wait for the other side", &self.half_calls),
            ("operations", "Operations whose durations are known", &self.operations),
            ("disk_bytes", "Bytes of kept traces in the database", &self.disk_bytes),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    pub(super) fn marks(&self, marks: &super::spool::Marks) {
        for (_, reasons) in marks {
            self.count(*reasons);
        }
    }

    pub(super) fn calls(&self, counts: GraphCounts) {
        for (result, n) in [("paired", counts.paired), ("unpaired", counts.unpaired), ("left_out", counts.left_out)] {
            self.calls.get_or_create(&[("result", result)]).inc_by(n);
        }
    }

    fn count(&self, reasons: Reasons) {
        for name in reasons.names() {
            self.marked.get_or_create(&[("reason", name)]).inc();
        }
    }
}
