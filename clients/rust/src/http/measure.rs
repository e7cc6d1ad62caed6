//! The instruments. What a series is called is put together once, and then looked up.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, UpDownCounter};

use super::labels::{Labels, Outcome};

/// The boundaries that the semantic conventions advise, in seconds.
const BOUNDARIES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Names that one thread remembers. What is beyond is put together each time; the SDK bounds the series themselves.
const NAMES_MAX: usize = 2_000;

/// See the module.
pub(super) struct Measures {
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
    /// Tells the remembered names of several layers in one thread apart.
    id: u64,
}

type Name = Arc<[KeyValue]>;

#[derive(Default)]
struct Names {
    hasher: DefaultHashBuilder,
    ended: HashTable<(u64, Labels, Outcome, Name)>,
    began: HashMap<(u64, &'static str, &'static str), Name>,
}

thread_local! {
    static NAMES: RefCell<Names> = RefCell::default();
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Measures {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            duration: meter
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_description("Duration of HTTP server requests.")
                .with_boundaries(BOUNDARIES.to_vec())
                .build(),
            active: meter
                .i64_up_down_counter("http.server.active_requests")
                .with_unit("{request}")
                .with_description("Number of active HTTP server requests.")
                .build(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(super) fn began(&self, labels: &Labels) {
        self.active.add(1, &self.name_of_active(labels));
    }

    pub(super) fn ended(&self, labels: &Labels, outcome: Outcome, took: Duration) {
        self.active.add(-1, &self.name_of_active(labels));
        self.duration.record(took.as_secs_f64(), &self.name_of_ended(labels, outcome));
    }

    fn name_of_active(&self, labels: &Labels) -> Name {
        let make = || -> Name {
            [KeyValue::new("http.request.method", labels.method), KeyValue::new("url.scheme", labels.scheme)].into()
        };
        let found = NAMES.try_with(|names| {
            // Of methods and schemes there are few.
            Arc::clone(names.borrow_mut().began.entry((self.id, labels.method, labels.scheme)).or_insert_with(make))
        });
        found.unwrap_or_else(|_thread_ends| make())
    }

    fn name_of_ended(&self, labels: &Labels, outcome: Outcome) -> Name {
        let found = NAMES.try_with(|names| {
            let names = &mut *names.borrow_mut();
            let hash = names.hasher.hash_one((self.id, labels, outcome));
            let is_it = |(id, known, came, _): &(u64, Labels, Outcome, Name)| {
                *id == self.id && *came == outcome && known == labels
            };
            if let Some((.., name)) = names.ended.find(hash, is_it) {
                return Arc::clone(name);
            }
            let name = make_ended(labels, outcome);
            if names.ended.len() < NAMES_MAX {
                let hasher = &names.hasher;
                let rehash = |(id, labels, came, _): &(u64, Labels, Outcome, Name)| hasher.hash_one((id, labels, came));
                names.ended.insert_unique(hash, (self.id, labels.clone(), outcome, Arc::clone(&name)), rehash);
            }
            name
        });
        found.unwrap_or_else(|_thread_ends| make_ended(labels, outcome))
    }
}

fn make_ended(labels: &Labels, outcome: Outcome) -> Name {
    let mut name = vec![
        KeyValue::new("http.request.method", labels.method),
        KeyValue::new("url.scheme", labels.scheme),
        KeyValue::new("http.route", labels.route()),
        KeyValue::new("network.protocol.version", labels.version),
    ];
    name.extend(outcome.status().map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    name.extend(outcome.error().map(|error| KeyValue::new("error.type", error)));
    name.into()
}
