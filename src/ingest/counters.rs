//! What ingest counts: received = accepted + rejected by reason, duplicates and refusals apart.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::export::{Export, Signal};
use super::recent::{Recent, Refused};
use super::refusal::{Refusal, RefusalKind};
use super::reject::REASONS;
use crate::telemetry::begin;

/// How exports come from outside.
const TRANSPORTS: [&str; 3] = ["grpc", "http/protobuf", "http/json"];

/// How this process's own exports come.
pub(super) const OWN: &str = "own";

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Ingest's own metrics.
#[derive(Clone, Debug)]
pub struct IngestMetrics {
    points: Family<Labels<3>, Counter>,
    exports: Family<Labels<2>, Counter>,
    bytes: Family<Labels<2>, Counter>,
    commit_seconds: Histogram,
    group_exports: Histogram,
    journal_bytes: Counter,
    recent: Recent,
    /// Bytes admitted and not yet acknowledged.
    pub(super) in_flight_bytes: Gauge,
}

impl Default for IngestMetrics {
    fn default() -> Self {
        Self {
            points: Family::default(),
            exports: Family::default(),
            bytes: Family::default(),
            commit_seconds: Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            group_exports: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]),
            journal_bytes: Counter::default(),
            recent: Recent::default(),
            in_flight_bytes: Gauge::default(),
        }
    }
}

impl IngestMetrics {
    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("ingest");
        for signal in [Signal::Metrics, Signal::Traces].map(Signal::as_str) {
            let item = |result, reason| [("signal", signal), ("result", result), ("reason", reason)];
            begin(&self.points, [item("accepted", ""), item("duplicate", "")]);
            begin(&self.points, REASONS.map(|reason| item("rejected", reason.as_str())));
            begin(&self.exports, ["committed", "duplicate"].map(|result| [("signal", signal), ("result", result)]));
            begin(&self.exports, RefusalKind::ALL.map(|kind| [("signal", signal), ("result", kind.as_str())]));
            begin(&self.bytes, TRANSPORTS.map(|transport| [("signal", signal), ("transport", transport)]));
        }
        begin(&self.bytes, [[("signal", Signal::Metrics.as_str()), ("transport", OWN)]]);
        registry.register("items", "Data points and spans by result and reason", self.points.clone());
        registry.register("exports", "Export requests by result", self.exports.clone());
        registry.register("received_bytes", "Bytes of bodies, inflated", self.bytes.clone());
        registry.register("commit_seconds", "Duration of journal commits", self.commit_seconds.clone());
        registry.register("group_exports", "Exports in one commit", self.group_exports.clone());
        registry.register("journal_bytes", "Bytes appended to the journal", self.journal_bytes.clone());
        registry.register("in_flight_bytes", "Bytes admitted and not yet answered", self.in_flight_bytes.clone());
    }

    pub(super) fn received(&self, signal: Signal, transport: &'static str, bytes: usize) {
        self.bytes.get_or_create(&[("signal", signal.as_str()), ("transport", transport)]).inc_by(bytes as u64);
    }

    pub(super) fn committed(&self, exports: usize, bytes: usize, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.group_exports.observe(exports as f64);
        self.journal_bytes.inc_by(bytes as u64);
    }

    pub(super) fn acknowledged(&self, signal: Signal, export: &Export, duplicate: bool) {
        let result = if duplicate { "duplicate" } else { "committed" };
        self.exports.get_or_create(&[("signal", signal.as_str()), ("result", result)]).inc();
        if duplicate {
            self.items(signal, "duplicate", "", export.accepted);
            return;
        }
        self.items(signal, "accepted", "", export.accepted);
        for (reason, n) in export.rejects.counts() {
            self.items(signal, "rejected", reason.as_str(), n);
        }
        if export.rejects.total() > 0 {
            self.recent.add(signal, "partial_success", export.rejects.message());
        }
    }

    fn items(&self, signal: Signal, result: &'static str, reason: &'static str, n: u64) {
        if n > 0 {
            self.points.get_or_create(&[("signal", signal.as_str()), ("result", result), ("reason", reason)]).inc_by(n);
        }
    }

    /// Counts a request that was refused whole.
    pub(super) fn refused(&self, signal: Signal, reason: &'static str) {
        self.exports.get_or_create(&[("signal", signal.as_str()), ("result", reason)]).inc();
    }

    /// Counts a request that was refused whole, and keeps what its sender was told.
    pub(super) fn refused_because(&self, signal: Signal, refusal: &Refusal) {
        self.refused(signal, refusal.reason());
        self.recent.add(signal, refusal.reason(), refusal.message.clone());
    }

    /// The last exports that were refused, whole or in part, oldest first.
    #[must_use]
    pub fn recently_refused(&self) -> Vec<Refused> {
        self.recent.list()
    }

    /// `(accepted, rejected by reason, duplicate)` of a signal since the start.
    #[must_use]
    pub fn ledger(&self, signal: Signal) -> (u64, Vec<(&'static str, u64)>, u64) {
        let count = |result, reason| {
            self.points.get_or_create(&[("signal", signal.as_str()), ("result", result), ("reason", reason)]).get()
        };
        let rejected = REASONS.iter().map(|r| (r.as_str(), count("rejected", r.as_str()))).filter(|(_, n)| *n > 0);
        (count("accepted", ""), rejected.collect(), count("duplicate", ""))
    }
}
