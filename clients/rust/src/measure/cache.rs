//! A cache as instruments.
//!
//! A read is counted once in `fastbreak.cache.requests`, under the level that answered it. Why a level did not is in
//! `fastbreak.cache.misses`. What other lives and sizes would do is told for memory, as parts and multiples of the policy's.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::{Metric, Named, SECONDS, histogram};
use crate::cache::{Cache, CachePolicy, Curve, Estimate, Source, Stats};
use crate::policy::{Kind, Policies};

const RESULT: &str = "fastbreak.cache.result";
const LEVEL: &str = "fastbreak.cache.level";
const CAUSE: &str = "fastbreak.cache.miss.cause";
const REASON: &str = "fastbreak.cache.reason";
const CHANGE: &str = "fastbreak.cache.curve.change";
const FACTOR: &str = "fastbreak.cache.curve.factor";

/// What every cache counts.
static COUNTERS: [Metric<Stats>; 13] = [
    Metric {
        name: "fastbreak.cache.requests",
        unit: "{request}",
        description: "Reads, each once, by what answered them.",
        series: &[
            (&[(RESULT, "hit"), (LEVEL, "l1")], |stats| stats.l1_hits as f64),
            (&[(RESULT, "stale")], |stats| (stats.stale_served + stats.grace_served) as f64),
            (&[(RESULT, "miss")], |stats| stats.misses as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.misses",
        unit: "{request}",
        description: "Reads that a level did not answer, by cause.",
        series: &[
            (&[(LEVEL, "l1"), (CAUSE, "cold")], |stats| stats.misses_never_seen as f64),
            (&[(LEVEL, "l1"), (CAUSE, "expired")], |stats| stats.misses_expired as f64),
            (&[(LEVEL, "l1"), (CAUSE, "evicted")], |stats| stats.misses_evicted as f64),
            (&[(LEVEL, "l1"), (CAUSE, "invalidated")], |stats| stats.misses_invalidated as f64),
            (&[(LEVEL, "l1"), (CAUSE, "untrusted")], |stats| stats.misses_untrusted as f64),
            (&[(LEVEL, "l1"), (CAUSE, "bypass")], |stats| stats.bypassed as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.stale",
        unit: "{request}",
        description: "Reads answered past the TTL: while it was loaded anew, or because it could not be.",
        series: &[
            (&[(REASON, "revalidate")], |stats| stats.stale_served as f64),
            (&[(REASON, "load_failed")], |stats| stats.grace_served as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.negative_hits",
        unit: "{request}",
        description: "Reads answered with \"there is none\".",
        series: &[(&[], |stats| stats.negative_hits as f64)],
    },
    Metric {
        name: "fastbreak.cache.coalesced",
        unit: "{request}",
        description: "Reads that waited for a load under way.",
        series: &[(&[], |stats| stats.coalesced as f64)],
    },
    Metric {
        name: "fastbreak.cache.loads",
        unit: "{load}",
        description: "Calls to the loader that ended, retries not counted.",
        series: &[
            (&[(RESULT, "found")], |stats| {
                (stats.load_times.buckets.iter().sum::<u64>().saturating_sub(stats.loads_empty)) as f64
            }),
            (&[(RESULT, "none")], |stats| stats.loads_empty as f64),
            (&[(RESULT, "failed")], |stats| stats.load_errors as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.refreshes",
        unit: "{load}",
        description: "Loads ahead of the end of an entry's life, or past it while it was served.",
        series: &[(&[], |stats| stats.refreshed as f64)],
    },
    Metric {
        name: "fastbreak.cache.retries",
        unit: "{call}",
        description: "Calls to the source that were made again.",
        series: &[(&[], |stats| stats.retries as f64)],
    },
    Metric {
        name: "fastbreak.cache.not_stored",
        unit: "{entry}",
        description: "Entries that were loaded and not kept.",
        series: &[
            (&[(REASON, "invalidated")], |stats| stats.not_stored as f64),
            (&[(REASON, "too_large")], |stats| stats.too_large as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.evictions",
        unit: "{entry}",
        description: "Entries that made room in memory.",
        series: &[(&[], |stats| stats.evicted as f64)],
    },
    Metric {
        name: "fastbreak.cache.writes",
        unit: "{write}",
        description: "Writes.",
        series: &[
            (&[(RESULT, "done")], |stats| stats.writes.saturating_sub(stats.write_errors) as f64),
            (&[(RESULT, "failed")], |stats| stats.write_errors as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.invalidations",
        unit: "{target}",
        description: "Keys, tags and prefixes that were made invalid; all at once is one.",
        series: &[(&[], |stats| stats.invalidated as f64)],
    },
    Metric {
        name: "fastbreak.cache.warmed",
        unit: "{entry}",
        description: "Entries loaded ahead, or found to be there.",
        series: &[(&[], |stats| stats.warmed as f64)],
    },
];

/// What a cache with Redis counts.
static SHARED: [Metric<Stats>; 5] = [
    Metric {
        name: "fastbreak.cache.requests",
        unit: "{request}",
        description: COUNTERS[0].description,
        series: &[(&[(RESULT, "hit"), (LEVEL, "l2")], |stats| stats.l2_hits as f64)],
    },
    Metric {
        name: "fastbreak.cache.misses",
        unit: "{request}",
        description: COUNTERS[1].description,
        series: &[
            (&[(LEVEL, "l2"), (CAUSE, "absent")], |stats| stats.l2_misses_absent as f64),
            (&[(LEVEL, "l2"), (CAUSE, "expired")], |stats| stats.l2_misses_expired as f64),
            (&[(LEVEL, "l2"), (CAUSE, "invalidated")], |stats| stats.l2_misses_invalidated as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.l2.failures",
        unit: "{call}",
        description: "Calls to Redis that failed or were late, or were not made since it did not answer before.",
        series: &[
            (&[(REASON, "failed")], |stats| stats.l2_errors as f64),
            (&[(REASON, "left_alone")], |stats| stats.l2_skipped as f64),
        ],
    },
    Metric {
        name: "fastbreak.cache.loads_left",
        unit: "{load}",
        description: "Loads left to another instance.",
        series: &[(&[], |stats| stats.left_to_others as f64)],
    },
    Metric {
        name: "fastbreak.cache.memory_drops",
        unit: "{drop}",
        description: "Times that memory was dropped, because an invalidation may have been missed.",
        series: &[(&[], |stats| stats.dropped as f64)],
    },
];

/// What a cache with a journal counts.
static BEHIND: [Metric<Stats>; 2] = [
    Metric {
        name: "fastbreak.cache.requests",
        unit: "{request}",
        description: COUNTERS[0].description,
        series: &[(&[(RESULT, "hit"), (LEVEL, "journal")], |stats| stats.waiting_hits as f64)],
    },
    Metric {
        name: "fastbreak.cache.behind.writes",
        unit: "{write}",
        description: "Writes behind, by what became of them; those recovered at a start come on top of what was taken.",
        series: &[
            (&[(RESULT, "written")], |stats| stats.written_behind as f64),
            (&[(RESULT, "replaced")], |stats| stats.writes_replaced as f64),
            (&[(RESULT, "overflowed")], |stats| stats.writes_overflowed as f64),
            (&[(RESULT, "refused")], |stats| stats.writes_refused as f64),
            (&[(RESULT, "recovered")], |stats| stats.writes_recovered as f64),
        ],
    },
];

/// A cache now: what it holds, and by what policy.
struct Now {
    stats: Stats,
    limit: usize,
    in_touch: bool,
}

/// What every cache has now.
static GAUGES: [Metric<Now>; 3] = [
    Metric {
        name: "fastbreak.cache.entries",
        unit: "{entry}",
        description: "Entries in memory.",
        series: &[(&[], |now| now.stats.entries as f64)],
    },
    Metric {
        name: "fastbreak.cache.usage",
        unit: "By",
        description: "Memory that entries take, with what keeping them costs.",
        series: &[(&[], |now| now.stats.bytes as f64)],
    },
    Metric {
        name: "fastbreak.cache.limit",
        unit: "By",
        description: "Most that they may take.",
        series: &[(&[], |now| now.limit as f64)],
    },
];

/// What a cache with Redis has now.
static SHARED_GAUGES: [Metric<Now>; 2] = [
    Metric {
        name: "fastbreak.cache.l2.breaker_open",
        unit: "1",
        description: "1 while Redis is left alone, since it did not answer.",
        series: &[(&[], |now| f64::from(u8::from(now.stats.l2_is_left_alone)))],
    },
    Metric {
        name: "fastbreak.cache.in_touch",
        unit: "1",
        description: "1 while invalidations of others are heard, and memory is read.",
        series: &[(&[], |now| f64::from(u8::from(now.in_touch)))],
    },
];

/// What a cache with a journal has now.
static BEHIND_GAUGES: [Metric<Now>; 1] = [Metric {
    name: "fastbreak.cache.behind.queued",
    unit: "{write}",
    description: "Writes that wait for the source.",
    series: &[(&[], |now| now.stats.writes_waiting as f64)],
}];

/// Which of the policy's fields is another, and by how much. 1 is as it is, to be compared with what is measured.
const FACTORS: [(f64, &str); 5] = [(0.25, "0.25"), (0.5, "0.5"), (1.0, "1"), (2.0, "2"), (4.0, "4")];

/// A point of the curve: which field, its factor, and what the cache would do.
type Point = (&'static str, &'static str, Estimate);

/// What memory would do with other lives and sizes; nothing that cannot be told. With the bytes that an entry takes.
fn points(curve: &Curve, policy: &CachePolicy, stats: &Stats) -> (Vec<Point>, f64) {
    if stats.entries == 0 {
        return (Vec::new(), 0.0);
    }
    let each = stats.bytes as f64 / stats.entries as f64;
    let (ttl, room) = (policy.l1_ttl.mul_f64(1.0 - policy.ttl_jitter / 2.0), policy.l1_max_bytes as f64 / each);
    let of = |change, ttl: &dyn Fn(f64) -> Duration, room: &dyn Fn(f64) -> f64| -> Vec<Point> {
        let point =
            |(factor, name): &(f64, &'static str)| Some((change, *name, curve.estimate(ttl(*factor), room(*factor))?));
        FACTORS.iter().filter_map(point).collect()
    };
    let mut all = of("ttl", &|factor| ttl.mul_f64(factor), &|_| room);
    all.extend(of("capacity", &|_| ttl, &|factor| room * factor));
    (all, each)
}

/// Makes a cache's counts instruments, for as long as it is there; with `policies` they tell which revision it runs.
pub fn cache<S: Source>(meter: &Meter, policies: Option<&Policies>, name: &str, cache: &Cache<S>) {
    let named = Named::new("fastbreak.cache.name", Kind::Cache, name, policies);
    let (shared, behind) = (cache.has_redis(), cache.has_journal());
    let counters = [Some(&COUNTERS[..]), shared.then_some(&SHARED[..]), behind.then_some(&BEHIND[..])];
    for metric in counters.into_iter().flatten().flatten() {
        let cache = cache.downgrade();
        named.counter(meter, metric, move |metric| Some(metric.read(&cache.upgrade()?.stats())));
    }
    let gauges = [Some(&GAUGES[..]), shared.then_some(&SHARED_GAUGES[..]), behind.then_some(&BEHIND_GAUGES[..])];
    for metric in gauges.into_iter().flatten().flatten() {
        let cache = cache.downgrade();
        named.gauge(meter, metric, move |metric| {
            let cache = cache.upgrade()?;
            let (stats, in_touch) = (cache.stats(), cache.is_in_touch());
            Some(metric.read(&Now { stats, limit: cache.policy().l1_max_bytes, in_touch }))
        });
    }
    named.revision(meter);
    curve(meter, &named.name, cache);
    let took = ("fastbreak.cache.load.duration", "s", "How long a call to the loader took: of a success its last try.");
    let took = histogram(meter, took, &SECONDS);
    let of = move |error: Option<&'static str>| {
        let mut attributes = vec![named.name.clone()];
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        attributes
    };
    cache.on_load(move |load| took.record(load.took.as_secs_f64(), &of(load.error)));
}

/// The miss-ratio curve as gauges.
fn curve<S: Source>(meter: &Meter, name: &KeyValue, cache: &Cache<S>) {
    type Read = fn(&Estimate, f64) -> f64;
    let gauges: [(&'static str, &'static str, &'static str, Read); 2] = [
        (
            "fastbreak.cache.curve.hit_ratio",
            "1",
            "Part of the reads that memory would answer with this factor to its TTL or capacity.",
            |told, _| told.hit_ratio,
        ),
        (
            "fastbreak.cache.curve.usage",
            "By",
            "Memory that entries within their life would take with this factor to its TTL or capacity.",
            |told, each| told.entries * each,
        ),
    ];
    for (metric, unit, description, read) in gauges {
        let (name, cache) = (name.clone(), cache.downgrade());
        let gauge = meter.f64_observable_gauge(metric).with_unit(unit).with_description(description);
        let observed = gauge.with_callback(move |observer| {
            let Some(cache) = cache.upgrade() else { return };
            let (points, each) = points(&cache.curve(), &cache.policy(), &cache.stats());
            for (change, factor, told) in points {
                let labels = [name.clone(), KeyValue::new(CHANGE, change), KeyValue::new(FACTOR, factor)];
                observer.observe(read(&told, each), &labels);
            }
        });
        observed.build();
    }
    let (name, cache) = (name.clone(), cache.downgrade());
    let gauge = meter.u64_observable_gauge("fastbreak.cache.curve.sample").with_unit("{request}");
    let described = gauge.with_description("Reads of watched keys that the curve rests on.");
    let observed = described.with_callback(move |observer| {
        if let Some(cache) = cache.upgrade() {
            observer.observe(cache.curve().sampled_reads, std::slice::from_ref(&name));
        }
    });
    observed.build();
}
