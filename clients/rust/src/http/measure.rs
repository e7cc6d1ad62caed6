//! The instruments. What a series is called is put together once, and then looked up.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::labels::{Labels, METHODS, Outcome, SCHEMES};

/// The boundaries that the semantic conventions advise, in seconds.
const BOUNDARIES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Series that one thread remembers. What is beyond is put together each time; the SDK bounds the series themselves.
const SERIES_MAX: usize = 2_000;

/// See the module.
pub(super) struct Measures {
    duration: Histogram<f64>,
    active: Arc<Active>,
    /// Tells the remembered series of several layers in one thread apart.
    id: u64,
}

/// Requests under way by method and scheme, of which there are few; read when metrics are collected.
#[derive(Default)]
struct Active([[Seen; SCHEMES.len()]; METHODS.len()]);

#[derive(Default)]
struct Seen {
    now: AtomicI64,
    ever: AtomicBool,
}

/// One series of the histogram.
#[derive(Clone)]
struct Series(
    /// Found already: the SDK does not look it up.
    #[cfg(feature = "otlp")]
    opentelemetry::metrics::BoundHistogram<f64>,
    #[cfg(not(feature = "otlp"))] Arc<[KeyValue]>,
);

#[derive(Default)]
struct Known {
    hasher: DefaultHashBuilder,
    series: HashTable<(u64, Labels, Outcome, Series)>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Measures {
    pub(super) fn new(meter: &Meter) -> Self {
        let active = Arc::<Active>::default();
        let read = Arc::clone(&active);
        meter
            .i64_observable_up_down_counter("http.server.active_requests")
            .with_unit("{request}")
            .with_description("Number of active HTTP server requests.")
            .with_callback(move |observer| read.each(|now, labels| observer.observe(now, labels)))
            .build();
        let duration = meter
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("Duration of HTTP server requests.")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        Self { duration, active, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn began(&self, labels: &Labels) {
        self.active.add(labels, 1);
    }

    pub(super) fn ended(&self, labels: &Labels, outcome: Outcome, took: Duration) {
        self.active.add(labels, -1);
        let seconds = took.as_secs_f64();
        let known = KNOWN.try_with(|known| self.record_known(&mut known.borrow_mut(), (labels, outcome), seconds));
        if known.is_err() {
            // The thread ends.
            self.duration.record(seconds, &names(labels, outcome));
        }
    }

    fn record_known(&self, known: &mut Known, (labels, outcome): (&Labels, Outcome), seconds: f64) {
        let hash = known.hasher.hash_one((self.id, labels, outcome));
        let is_it = |(id, other, came, _): &(u64, Labels, Outcome, Series)| {
            *id == self.id && *came == outcome && other == labels
        };
        if let Some((.., series)) = known.series.find(hash, is_it) {
            self.record(series, seconds);
            return;
        }
        if known.series.len() >= SERIES_MAX {
            self.duration.record(seconds, &names(labels, outcome));
            return;
        }
        let series = self.series(labels, outcome);
        self.record(&series, seconds);
        let hasher = &known.hasher;
        let rehash = |(id, labels, came, _): &(u64, Labels, Outcome, Series)| hasher.hash_one((id, labels, came));
        known.series.insert_unique(hash, (self.id, labels.clone(), outcome, series), rehash);
    }

    #[cfg(feature = "otlp")]
    fn series(&self, labels: &Labels, outcome: Outcome) -> Series {
        Series(self.duration.bind(&names(labels, outcome)))
    }

    #[cfg(not(feature = "otlp"))]
    fn series(&self, labels: &Labels, outcome: Outcome) -> Series {
        Series(names(labels, outcome).into())
    }

    #[cfg(feature = "otlp")]
    fn record(&self, series: &Series, seconds: f64) {
        series.0.record(seconds);
    }

    #[cfg(not(feature = "otlp"))]
    fn record(&self, series: &Series, seconds: f64) {
        self.duration.record(seconds, &series.0);
    }
}

impl Active {
    fn add(&self, labels: &Labels, n: i64) {
        let seen = self.0.get(usize::from(labels.method)).and_then(|of| of.get(usize::from(labels.scheme)));
        if let Some(seen) = seen {
            seen.now.fetch_add(n, Ordering::Relaxed);
            if !seen.ever.load(Ordering::Relaxed) {
                seen.ever.store(true, Ordering::Relaxed);
            }
        }
    }

    fn each(&self, mut tell: impl FnMut(i64, &[KeyValue])) {
        for (method, schemes) in METHODS.iter().zip(&self.0) {
            for (scheme, seen) in SCHEMES.iter().zip(schemes).filter(|(_, seen)| seen.ever.load(Ordering::Relaxed)) {
                let labels = [KeyValue::new("http.request.method", *method), KeyValue::new("url.scheme", *scheme)];
                tell(seen.now.load(Ordering::Relaxed), &labels);
            }
        }
    }
}

fn names(labels: &Labels, outcome: Outcome) -> Vec<KeyValue> {
    let mut names = vec![
        KeyValue::new("http.request.method", labels.method()),
        KeyValue::new("url.scheme", labels.scheme()),
        KeyValue::new("http.route", labels.route()),
        KeyValue::new("network.protocol.version", labels.version),
    ];
    names.extend(outcome.status().map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    names.extend(outcome.error().map(|error| KeyValue::new("error.type", error)));
    names
}
