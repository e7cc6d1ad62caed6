//! A batcher as instruments.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::{Metric, Named, SECONDS, histogram};
use crate::batcher::{Batcher, Process, Stats};
use crate::policy::{Kind, Policies};

const RESULT: &str = "fastbreak.batch.result";
/// Boundaries of how many items a call has.
const ITEMS: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4];

/// What a batcher counts.
static COUNTERS: [Metric<Stats>; 6] = [
    Metric {
        name: "fastbreak.batch.items",
        unit: "{item}",
        description: "Items handed in that have been answered or given up, by what came of them.",
        series: &[
            (&[(RESULT, "done")], |stats| stats.done.get() as f64),
            (&[(RESULT, "failed")], |stats| stats.failed.get() as f64),
            (&[(RESULT, "coalesced")], |stats| stats.coalesced.get() as f64),
            (&[(RESULT, "refused")], |stats| stats.refused.get() as f64),
            (&[(RESULT, "expired")], |stats| stats.expired.get() as f64),
            (&[(RESULT, "given_up")], |stats| stats.given_up.get() as f64),
        ],
    },
    Metric {
        name: "fastbreak.batch.calls",
        unit: "{call}",
        description: "Calls made.",
        series: &[(&[], |stats| stats.batches.get() as f64)],
    },
    Metric {
        name: "fastbreak.batch.calls_saved",
        unit: "{call}",
        description: "Items accepted, less calls made.",
        series: &[(&[], |stats| stats.calls_saved() as f64)],
    },
    Metric {
        name: "fastbreak.batch.sent_items",
        unit: "{item}",
        description: "Items in calls, retries among them.",
        series: &[(&[], |stats| stats.items.get() as f64)],
    },
    Metric {
        name: "fastbreak.batch.retries",
        unit: "{item}",
        description: "Items tried again.",
        series: &[(&[], |stats| stats.retried.get() as f64)],
    },
    Metric {
        name: "fastbreak.batch.wait_time",
        unit: "s",
        description: "Time that items waited before they were sent, of all items together.",
        series: &[(&[], |stats| stats.waited_in_all().as_secs_f64())],
    },
];

/// `(items here, calls under way)`.
type Load = (usize, usize);

/// What a batcher has now.
static GAUGES: [Metric<Load>; 2] = [
    Metric {
        name: "fastbreak.batch.queued",
        unit: "{item}",
        description: "Items that have no answer yet.",
        series: &[(&[], |load| load.0 as f64)],
    },
    Metric {
        name: "fastbreak.batch.calls_active",
        unit: "{call}",
        description: "Calls under way.",
        series: &[(&[], |load| load.1 as f64)],
    },
];

/// Makes a batcher's counts instruments, for as long as it is there; with `policies` they tell which revision it runs.
pub fn batcher<P: Process>(meter: &Meter, policies: Option<&Policies>, name: &str, batcher: &Batcher<P>) {
    let named = Named::new("fastbreak.batch.name", Kind::Batch, name, policies);
    for metric in &COUNTERS {
        let batcher = batcher.downgrade();
        named.counter(meter, metric, move |metric| Some(metric.read(batcher.upgrade()?.stats())));
    }
    for metric in &GAUGES {
        let batcher = batcher.downgrade();
        named.gauge(meter, metric, move |metric| Some(metric.read(&batcher.upgrade()?.load())));
    }
    named.revision(meter);
    let size = histogram(meter, ("fastbreak.batch.call.size", "{item}", "Items in a call."), &ITEMS);
    let wait = ("fastbreak.batch.call.wait", "s", "How long the item of a call that came first waited for it.");
    let wait = histogram(meter, wait, &SECONDS);
    let took = histogram(meter, ("fastbreak.batch.call.duration", "s", "How long a call took."), &SECONDS);
    let name = [named.name.clone()];
    let failed = [named.name.clone(), KeyValue::new("error.type", "failed")];
    batcher.on_call(move |call| {
        size.record(call.items as f64, &name);
        if let Some(waited) = call.waited {
            wait.record(waited.as_secs_f64(), &name);
        }
        took.record(call.took.as_secs_f64(), if call.failed { &failed } else { &name });
    });
}
