//! What delivery counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::receiver::Kind;
use crate::telemetry::begin;

type Labels = [(&'static str, &'static str); 2];

/// The notifier's own metrics.
#[derive(Clone, Debug)]
pub struct NotifyMetrics {
    deliveries: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    attempt_seconds: Histogram,
    looks: Family<[(&'static str, &'static str); 1], Counter>,
    /// Deliveries that wait, in the whole cluster.
    pub(super) queue_usage: Gauge,
    /// Since the oldest of them was queued.
    pub(super) queue_age_seconds: Gauge<f64, AtomicU64>,
    /// Attempts of this process now.
    pub(super) in_flight: Gauge,
    /// Most of them.
    pub(super) in_flight_limit: Gauge,
    /// Deliveries removed by the retention.
    pub(super) expired: Counter,
    /// Alerts about our own database.
    pub(super) self_alerts: Family<Labels, Counter>,
}

impl Default for NotifyMetrics {
    fn default() -> Self {
        Self {
            deliveries: Family::default(),
            attempts: Family::default(),
            attempt_seconds: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0]),
            looks: Family::default(),
            queue_usage: Gauge::default(),
            queue_age_seconds: Gauge::default(),
            in_flight: Gauge::default(),
            in_flight_limit: Gauge::default(),
            expired: Counter::default(),
            self_alerts: Family::default(),
        }
    }
}

impl NotifyMetrics {
    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("notify");
        for kind in Kind::ALL.iter().map(|kind| kind.as_str()) {
            let of_kind = |result| [("receiver_kind", kind), ("result", result)];
            begin(&self.deliveries, ["sent", "dead"].map(of_kind));
            begin(&self.attempts, ["sent", "retry", "refused", "fenced"].map(of_kind));
            begin(&self.self_alerts, ["sent", "retry", "refused"].map(of_kind));
        }
        begin(&self.looks, ["ok", "failed"].map(|result| [("result", result)]));
        registry.register("deliveries", "Deliveries that ended, by receiver kind and result", self.deliveries.clone());
        registry.register("attempts", "Attempts by receiver kind and result", self.attempts.clone());
        registry.register("attempt_seconds", "Duration of attempts", self.attempt_seconds.clone());
        registry.register("looks", "Looks at the outbox, by result", self.looks.clone());
        registry.register("queue_usage", "Deliveries that wait, of all replicas", self.queue_usage.clone());
        registry.register("queue_age_seconds", "Age of the oldest that waits", self.queue_age_seconds.clone());
        registry.register("in_flight", "Attempts of this process now", self.in_flight.clone());
        registry.register("in_flight_limit", "Most attempts at once", self.in_flight_limit.clone());
        registry.register("expired_deliveries", "Deliveries removed by the retention", self.expired.clone());
        registry.register("self_alerts", "Alerts about our own database, by result", self.self_alerts.clone());
    }

    pub(super) fn attempted(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.attempts.get_or_create(&[("receiver_kind", kind), ("result", result)]).inc();
        self.attempt_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn looked(&self, result: &'static str) {
        self.looks.get_or_create(&[("result", result)]).inc();
    }

    pub(super) fn ended(&self, kind: &'static str, result: &'static str) {
        self.deliveries.get_or_create(&[("receiver_kind", kind), ("result", result)]).inc();
    }

    pub(super) fn self_alerted(&self, kind: &'static str, result: &'static str) {
        self.self_alerts.get_or_create(&[("receiver_kind", kind), ("result", result)]).inc();
    }
}
