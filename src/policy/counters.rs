//! What policies count: who watches, what was sent, taken and refused.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Policies' own metrics.
#[derive(Clone, Debug)]
pub struct PolicyMetrics {
    /// Streams that are open.
    pub watching: Gauge,
    /// Streams refused for want of room.
    pub refused_streams: Counter,
    /// Snapshots and deltas sent.
    pub sent: Counter,
    /// Those that an instance has applied.
    pub applied: Counter,
    /// Those that an instance has not.
    pub not_applied: Counter,
    /// Streams ended since the instance did not answer.
    pub silent_streams: Counter,
    /// Invalidations sent.
    pub invalidations_sent: Counter,
    /// Seconds until an invalidation had reached everybody.
    pub convergence: Histogram,
    /// Invalidations that have not.
    pub converging: Gauge,
    /// Overrides put or renewed.
    pub overrides_put: Counter,
    /// Overrides that ended.
    pub overrides_ended: Counter,
    /// Times that an override which a rule holds was not put or ended as the rule says.
    pub rule_overrides_failed: Counter,
    /// Rollouts started here.
    pub rollouts_started: Counter,
    /// Rollouts rolled back here.
    pub rollouts_rolled_back: Counter,
    /// Rows of instances written.
    pub fleet_rows: Counter,
    /// Statements that wrote them.
    pub fleet_writes: Counter,
    /// Statements that failed; their rows are written later.
    pub fleet_failures: Counter,
}

impl Default for PolicyMetrics {
    fn default() -> Self {
        Self {
            watching: Gauge::default(),
            refused_streams: Counter::default(),
            sent: Counter::default(),
            applied: Counter::default(),
            not_applied: Counter::default(),
            silent_streams: Counter::default(),
            invalidations_sent: Counter::default(),
            // From 5 ms to 82 s.
            convergence: Histogram::new(exponential_buckets(0.005, 2.0, 15)),
            converging: Gauge::default(),
            overrides_put: Counter::default(),
            overrides_ended: Counter::default(),
            rule_overrides_failed: Counter::default(),
            rollouts_started: Counter::default(),
            rollouts_rolled_back: Counter::default(),
            fleet_rows: Counter::default(),
            fleet_writes: Counter::default(),
            fleet_failures: Counter::default(),
        }
    }
}

impl PolicyMetrics {
    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("policies");
        registry.register("watching", "Instances that watch policies here", self.watching.clone());
        let help = "Time until no instance read an entry from before an invalidation any more";
        let seconds = prometheus_client::registry::Unit::Seconds;
        registry.register_with_unit("invalidation_convergence", help, seconds, self.convergence.clone());
        registry.register(
            "invalidations_converging",
            "Invalidations that have not reached everybody",
            self.converging.clone(),
        );
        for (name, help, counter) in [
            ("refused_streams", "Watching instances over the limit watchers_max", &self.refused_streams),
            ("sent", "Snapshots and changes sent to instances", &self.sent),
            ("applied", "Snapshots and changes that an instance has applied", &self.applied),
            ("not_applied", "Snapshots and changes that an instance has refused", &self.not_applied),
            ("silent_streams", "Streams ended since the instance did not answer in time", &self.silent_streams),
            ("invalidations_sent", "Invalidations sent to instances", &self.invalidations_sent),
            ("overrides_put", "Overrides put or renewed here", &self.overrides_put),
            ("overrides_ended", "Overrides that were ended here, or whose lease was over", &self.overrides_ended),
            ("rule_overrides_failed", "Overrides not put or ended as a rule says", &self.rule_overrides_failed),
            ("rollouts_started", "Rollouts started here", &self.rollouts_started),
            ("rollouts_rolled_back", "Rollouts rolled back here", &self.rollouts_rolled_back),
            ("fleet_rows", "Rows of instances written", &self.fleet_rows),
            ("fleet_writes", "Statements that wrote rows of instances", &self.fleet_writes),
            ("fleet_failures", "Statements that failed to; their rows are written later", &self.fleet_failures),
        ] {
            registry.register(name, help, counter.clone());
        }
    }
}
