//! Batchers, caches and the watcher as instruments, named by target and by the policy that is in force.
//!
//! A counter begins anew with each revision of a policy, so that two revisions are told apart; there is one series for each
//! target at a time. A histogram knows only the target: what is cumulative would keep each revision for ever. Nothing is named
//! by key or item.

mod batcher;
mod cache;

pub use batcher::batcher;
pub use cache::cache;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use parking_lot::Mutex;

use crate::policy::{Kind, Policies, WeakPolicies};

/// Boundaries of how long a call took, in seconds.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Policy and revision that are in force.
type InForce = Option<(String, i64)>;

/// What was counted under the policy that is in force.
#[derive(Clone, Default)]
struct Attributed {
    in_force: InForce,
    /// Counted under those before.
    before: f64,
    last: f64,
}

impl Attributed {
    fn read(&mut self, in_force: &InForce, total: f64) -> f64 {
        if self.in_force != *in_force {
            self.in_force.clone_from(in_force);
            self.before = self.last;
        }
        self.last = total;
        total - self.before
    }
}

/// What tells one series of a metric from the others of its target.
type Labels = &'static [(&'static str, &'static str)];

/// One series of a metric, and how it is read.
type Series<S> = (Labels, fn(&S) -> f64);

/// A metric, and its series.
struct Metric<S: 'static> {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    series: &'static [Series<S>],
}

impl<S> Metric<S> {
    fn read(&self, from: &S) -> Vec<f64> {
        self.series.iter().map(|(_, read)| read(from)).collect()
    }
}

/// A target under its name.
struct Named {
    name: KeyValue,
    kind: Kind,
    target: String,
    policies: Option<WeakPolicies>,
}

impl Named {
    fn new(label: &'static str, kind: Kind, target: &str, policies: Option<&Policies>) -> Arc<Self> {
        let name = KeyValue::new(label, target.to_owned());
        Arc::new(Self { name, kind, target: target.to_owned(), policies: policies.map(Policies::downgrade) })
    }

    fn in_force(&self) -> InForce {
        self.policies.as_ref()?.upgrade()?.in_force(self.kind, &self.target)
    }

    fn attributes(&self, in_force: &InForce, labels: Labels) -> Vec<KeyValue> {
        let mut attributes = vec![self.name.clone()];
        if let Some((id, revision)) = in_force {
            attributes.push(KeyValue::new("fastbreak.policy.id", id.clone()));
            attributes.push(KeyValue::new("fastbreak.policy.revision", *revision));
        }
        attributes.extend(labels.iter().map(|(key, value)| KeyValue::new(*key, *value)));
        attributes
    }

    /// Counts that `read` gives, as long as its target is there.
    fn counter<S: 'static>(
        self: &Arc<Self>,
        meter: &Meter,
        metric: &'static Metric<S>,
        read: impl Fn(&'static Metric<S>) -> Option<Vec<f64>> + Send + Sync + 'static,
    ) {
        let (named, attributed) = (Arc::clone(self), Mutex::new(vec![Attributed::default(); metric.series.len()]));
        let counter = meter.f64_observable_counter(metric.name).with_unit(metric.unit);
        let observed = counter.with_description(metric.description).with_callback(move |observer| {
            let Some(totals) = read(metric) else { return };
            let in_force = named.in_force();
            for ((total, (labels, _)), attributed) in totals.iter().zip(metric.series).zip(&mut *attributed.lock()) {
                observer.observe(attributed.read(&in_force, *total), &named.attributes(&in_force, labels));
            }
        });
        observed.build();
    }

    /// Values that `read` gives, as long as its target is there.
    fn gauge<S: 'static>(
        self: &Arc<Self>,
        meter: &Meter,
        metric: &'static Metric<S>,
        read: impl Fn(&'static Metric<S>) -> Option<Vec<f64>> + Send + Sync + 'static,
    ) {
        let named = Arc::clone(self);
        let gauge = meter.f64_observable_gauge(metric.name).with_unit(metric.unit);
        let observed = gauge.with_description(metric.description).with_callback(move |observer| {
            for (value, (labels, _)) in read(metric).iter().flatten().zip(metric.series) {
                observer.observe(*value, &named.attributes(&None, labels));
            }
        });
        observed.build();
    }

    /// Which revision the target runs; nothing as long as it runs as its code says.
    fn revision(self: &Arc<Self>, meter: &Meter) {
        let named = Arc::clone(self);
        let gauge = meter.i64_observable_gauge("fastbreak.policy.revision").with_unit("{revision}");
        let described = gauge.with_description("Revision of the policy in force.");
        let observed = described.with_callback(move |observer| {
            if let Some((id, revision)) = named.in_force() {
                observer.observe(revision, &[named.name.clone(), KeyValue::new("fastbreak.policy.id", id)]);
            }
        });
        observed.build();
    }
}

fn histogram(
    meter: &Meter,
    (name, unit, description): (&'static str, &'static str, &'static str),
    boundaries: &[f64],
) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_unit(unit).with_description(description);
    histogram.with_boundaries(boundaries.to_vec()).build()
}

/// Makes what the watcher counts instruments.
pub(crate) fn policies(meter: &Meter, policies: &Policies) {
    type Read = fn(&crate::policy::Stats) -> u64;
    let readings: [(&'static str, &'static str, Read); 6] = [
        ("fastbreak.policy.connections", "{connection}", |stats| stats.connections.get()),
        ("fastbreak.policy.refused", "{policy}", |stats| stats.refused.get()),
        ("fastbreak.policy.invalidations", "{invalidation}", |stats| stats.invalidations.get()),
        ("fastbreak.policy.gaps", "{gap}", |stats| stats.gaps.get()),
        ("fastbreak.policy.leases_ended", "{override}", |stats| stats.leases_ended.get()),
        ("fastbreak.policy.disk_failures", "{failure}", |stats| stats.disk_failures.get()),
    ];
    for (metric, unit, read) in readings {
        let policies = policies.downgrade();
        let counter = meter.u64_observable_counter(metric).with_unit(unit);
        let observed = counter.with_callback(move |observer| {
            if let Some(policies) = policies.upgrade() {
                observer.observe(read(policies.stats()), &[]);
            }
        });
        observed.build();
    }
    let policies = policies.downgrade();
    let gauge = meter.u64_observable_gauge("fastbreak.policy.connected").with_unit("1");
    let observed = gauge.with_callback(move |observer| {
        if let Some(policies) = policies.upgrade() {
            observer.observe(policies.status().connected.into(), &[]);
        }
    });
    observed.build();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_counts_for_itself() {
        let mut counted = Attributed::default();
        let revision = |n| Some(("p".to_owned(), n));
        assert_eq!(counted.read(&None, 5.0), 5.0);
        assert_eq!(counted.read(&revision(1), 7.0), 2.0, "what came since the last look is the new one's");
        assert_eq!(counted.read(&revision(1), 10.0), 5.0);
        assert_eq!(counted.read(&revision(2), 10.0), 0.0);
    }
}
