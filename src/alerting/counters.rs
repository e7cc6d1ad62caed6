//! What alerting counts.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::telemetry::begin;

/// What comes of an evaluation: a rule's health, or why it was not written.
const EVALUATION_RESULTS: [&str; 5] = ["ok", "no_data", "error", "fenced", "failed"];

/// What an alert may become.
const ALERT_STATES: [&str; 4] = ["inactive", "pending", "firing", "resolved"];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Alerting's own metrics.
#[derive(Clone, Debug)]
pub struct AlertingMetrics {
    evaluations: Family<Labels<1>, Counter>,
    tick_seconds: Histogram,
    transitions: Family<Labels<1>, Counter>,
    left_out: Counter,
    deliveries_queued: Counter,
    group_failures: Counter,
    slots_skipped: Counter,
    services_left_out: Counter,
    /// Rules that are this replica's to evaluate.
    pub(super) rules: Gauge,
}

impl Default for AlertingMetrics {
    fn default() -> Self {
        Self {
            evaluations: Family::default(),
            tick_seconds: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            transitions: Family::default(),
            left_out: Counter::default(),
            deliveries_queued: Counter::default(),
            group_failures: Counter::default(),
            slots_skipped: Counter::default(),
            services_left_out: Counter::default(),
            rules: Gauge::default(),
        }
    }
}

impl AlertingMetrics {
    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("alerting");
        begin(&self.evaluations, EVALUATION_RESULTS.map(|result| [("result", result)]));
        begin(&self.transitions, ALERT_STATES.map(|state| [("to", state)]));
        registry.register("evaluations", "Evaluations of rules by result", self.evaluations.clone());
        registry.register("tick_seconds", "Duration of ticks that evaluated something", self.tick_seconds.clone());
        registry.register("transitions", "Changes of alerts' states by new state", self.transitions.clone());
        registry.register("alerts_left_out", "Alerts beyond the limit of their rule", self.left_out.clone());
        registry.register("deliveries_queued", "Notifications written to the outbox", self.deliveries_queued.clone());
        registry.register("group_failures", "Groups that could not be decided on", self.group_failures.clone());
        registry.register(
            "slots_skipped",
            "Evaluations left out because a later one was due",
            self.slots_skipped.clone(),
        );
        registry.register(
            "service_reports_left_out",
            "Reports of services beyond the limit of those whose silence is watched",
            self.services_left_out.clone(),
        );
        registry.register("rules", "Rules that this replica evaluates", self.rules.clone());
    }

    pub(super) fn evaluated(&self, result: &'static str, count: usize) {
        self.evaluations.get_or_create(&[("result", result)]).inc_by(count as u64);
    }

    pub(super) fn ticked(&self, took: Duration) {
        self.tick_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn changed(&self, to: &'static str) {
        self.transitions.get_or_create(&[("to", to)]).inc();
    }

    pub(super) fn left_out(&self, count: u32) {
        self.left_out.inc_by(u64::from(count));
    }

    pub(super) fn queued(&self, count: usize) {
        self.deliveries_queued.inc_by(count as u64);
    }

    pub(super) fn service_left_out(&self) {
        self.services_left_out.inc();
    }

    pub(super) fn group_failed(&self) {
        self.group_failures.inc();
    }

    pub(super) fn skipped(&self, count: i64) {
        self.slots_skipped.inc_by(count.unsigned_abs());
    }
}
