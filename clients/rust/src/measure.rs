//! Batchers and the watcher as instruments, named by target and by the policy that is in force.
//!
//! A counter begins anew with each revision of a policy, so that two revisions are told apart; there is one series for each
//! target at a time.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

use crate::batcher::{Batcher, Process, Stats};
use crate::policy::{Kind, Policies, WeakPolicies};

/// Policy and revision that are in force.
type InForce = Option<(String, i64)>;

/// What was counted under the policy that is in force.
#[derive(Default)]
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

/// A target under its name.
struct Named {
    name: KeyValue,
    kind: Kind,
    target: String,
    policies: WeakPolicies,
}

/// A metric, its unit, and the label that tells one reading of it from the others.
type Metric = (&'static str, &'static str, Option<(&'static str, &'static str)>);

impl Named {
    fn new(label: &'static str, kind: Kind, target: &str, policies: &Policies) -> Arc<Self> {
        let name = KeyValue::new(label, target.to_owned());
        Arc::new(Self { name, kind, target: target.to_owned(), policies: policies.downgrade() })
    }

    fn in_force(&self) -> InForce {
        self.policies.upgrade()?.in_force(self.kind, &self.target)
    }

    fn attributes(&self, in_force: &InForce, label: Option<(&'static str, &'static str)>) -> Vec<KeyValue> {
        let mut attributes = vec![self.name.clone()];
        if let Some((id, revision)) = in_force {
            attributes.push(KeyValue::new("fastbreak.policy.id", id.clone()));
            attributes.push(KeyValue::new("fastbreak.policy.revision", *revision));
        }
        attributes.extend(label.map(|(key, value)| KeyValue::new(key, value)));
        attributes
    }

    /// A count that `read` gives, as long as its target is there.
    fn counter(
        self: &Arc<Self>,
        meter: &Meter,
        (metric, unit, label): Metric,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        let (named, attributed) = (Arc::clone(self), Mutex::new(Attributed::default()));
        let counter = meter.f64_observable_counter(metric).with_unit(unit);
        let observed = counter.with_callback(move |observer| {
            let Some(total) = read() else { return };
            let in_force = named.in_force();
            let value = attributed.lock().read(&in_force, total);
            observer.observe(value, &named.attributes(&in_force, label));
        });
        observed.build();
    }

    /// A value that `read` gives, as long as its target is there.
    fn gauge(
        self: &Arc<Self>,
        meter: &Meter,
        (metric, unit, label): Metric,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        let named = Arc::clone(self);
        let gauge = meter.f64_observable_gauge(metric).with_unit(unit);
        let observed = gauge.with_callback(move |observer| {
            if let Some(value) = read() {
                observer.observe(value, &named.attributes(&None, label));
            }
        });
        observed.build();
    }
}

const RESULT: &str = "fastbreak.batch.result";

/// A metric, and how it is read.
type Reading = (Metric, fn(&Stats) -> f64);

/// What a batcher counts.
const READINGS: [Reading; 11] = [
    (("fastbreak.batch.calls", "{call}", None), |stats| stats.batches.get() as f64),
    (("fastbreak.batch.calls_saved", "{call}", None), |stats| stats.calls_saved() as f64),
    (("fastbreak.batch.sent_items", "{item}", None), |stats| stats.items.get() as f64),
    (("fastbreak.batch.retries", "{item}", None), |stats| stats.retried.get() as f64),
    (("fastbreak.batch.wait_time", "s", None), |stats| stats.waited_in_all().as_secs_f64()),
    (("fastbreak.batch.items", "{item}", Some((RESULT, "done"))), |stats| stats.done.get() as f64),
    (("fastbreak.batch.items", "{item}", Some((RESULT, "failed"))), |stats| stats.failed.get() as f64),
    (("fastbreak.batch.items", "{item}", Some((RESULT, "coalesced"))), |stats| stats.coalesced.get() as f64),
    (("fastbreak.batch.items", "{item}", Some((RESULT, "refused"))), |stats| stats.refused.get() as f64),
    (("fastbreak.batch.items", "{item}", Some((RESULT, "expired"))), |stats| stats.expired.get() as f64),
    (("fastbreak.batch.items", "{item}", Some((RESULT, "given_up"))), |stats| stats.given_up.get() as f64),
];

/// Makes a batcher's counts instruments, for as long as it is there.
pub(crate) fn batcher<P: Process>(meter: &Meter, policies: &Policies, name: &str, batcher: &Batcher<P>) {
    type Load = fn((usize, usize)) -> usize;
    let named = Named::new("fastbreak.batch.name", Kind::Batch, name, policies);
    for (metric, read) in READINGS {
        let batcher = batcher.downgrade();
        named.counter(meter, metric, move || Some(read(batcher.upgrade()?.stats())));
    }
    for (metric, read) in [
        (("fastbreak.batch.queued", "{item}", None), (|load| load.0) as Load),
        (("fastbreak.batch.calls_active", "{call}", None), |load| load.1),
    ] {
        let batcher = batcher.downgrade();
        named.gauge(meter, metric, move || Some(read(batcher.upgrade()?.load()) as f64));
    }
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
