//! What policies count: who watches, what was sent, taken and refused.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Policies' own metrics.
#[derive(Clone, Debug, Default)]
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
}

impl PolicyMetrics {
    /// Makes the families known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("policies");
        registry.register("watching", "Instances that watch policies here", self.watching.clone());
        for (name, help, counter) in [
            ("refused_streams", "Watching instances over the limit watchers_max", &self.refused_streams),
            ("sent", "Snapshots and changes sent to instances", &self.sent),
            ("applied", "Snapshots and changes that an instance has applied", &self.applied),
            ("not_applied", "Snapshots and changes that an instance has refused", &self.not_applied),
            ("silent_streams", "Streams ended since the instance did not answer in time", &self.silent_streams),
        ] {
            registry.register(name, help, counter.clone());
        }
    }
}
