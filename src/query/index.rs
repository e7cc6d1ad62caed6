//! Which series of a metric a selector means: an inverted index, from the value of a label to a bitmap of series.
//!
//! A column is made for each label that is asked for, once, and grows with the series of its metric, which never go. It
//! holds what [`crate::model::Labels::get_canonical`] says of its name, so that picking needs no second look at any series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use promql_parser::label::{MatchOp, Matcher};
use roaring::RoaringBitmap;

use super::select::{Select, is_of_name, is_of_view};
use crate::model::{canonical_label_name, label_aliases};
use crate::rollup::{MetricEntry, Registry, SeriesEntry, Slot, Symbol};

/// Bytes of columns kept over all metrics; past it the metric that was asked for least lately loses its own.
pub(super) const INDEX_BYTES_MAX: usize = 256 << 20;
/// What a value costs beside its bitmap.
const VALUE_BYTES: usize = 48;

/// The columns of all metrics.
#[derive(Default)]
pub(super) struct Indexes {
    by_metric: Mutex<HashMap<u32, Arc<Kept>>>,
    clock: AtomicU64,
}

#[derive(Default)]
struct Kept {
    index: Mutex<MetricIndex>,
    used: AtomicU64,
    bytes: AtomicU64,
}

/// The columns of one metric. A series is known by its place among those of the metric.
#[derive(Default)]
struct MetricIndex {
    slots: Vec<Slot>,
    columns: HashMap<String, Column>,
    names: (usize, HashSet<Symbol>),
}

/// The series by the value of one label.
#[derive(Default)]
struct Column {
    /// Series looked at so far.
    seen: usize,
    by_value: HashMap<Symbol, Postings>,
    /// Series that have the label.
    present: RoaringBitmap,
    /// How well a stored name answers to the column's, by symbol; `None` when it does not.
    ranks: HashMap<Symbol, Option<u8>>,
}

/// Series of one value; most values of a label with many have only one.
enum Postings {
    One(u32),
    Many(RoaringBitmap),
}

impl Postings {
    fn add(&mut self, place: u32) {
        match self {
            Self::Many(places) => _ = places.insert(place),
            Self::One(first) => *self = Self::Many(RoaringBitmap::from_iter([*first, place])),
        }
    }

    fn add_to(&self, places: &mut RoaringBitmap) {
        match self {
            Self::One(place) => _ = places.insert(*place),
            Self::Many(own) => *places |= own,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many(places) => places.len(),
        }
    }
}

impl Indexes {
    /// The slots of the series of `metric` that `select` means.
    pub(super) fn pick(&self, registry: &Registry, metric: &MetricEntry, select: &Select) -> Vec<Slot> {
        self.with(registry, metric, |index| match index.places_of(registry, select) {
            None => index.slots.clone(),
            Some(places) => places.iter().filter_map(|place| index.slots.get(place as usize)).copied().collect(),
        })
    }

    /// How many series of `metric` have each value of the label `name`.
    pub(super) fn values(&self, registry: &Registry, metric: &MetricEntry, name: &str) -> Vec<(Arc<str>, u64)> {
        self.with(registry, metric, |index| {
            let column = index.column(registry, name);
            column.by_value.iter().map(|(value, places)| (registry.interner.text(*value), places.len())).collect()
        })
    }

    /// The names of all labels that series of `metric` have, as stored.
    pub(super) fn names(&self, registry: &Registry, metric: &MetricEntry) -> Vec<Arc<str>> {
        self.with(registry, metric, |index| {
            let (seen, names) = &mut index.names;
            for entry in index.slots.iter().skip(*seen).filter_map(|slot| registry.get(*slot)) {
                names.extend(registry.pairs(entry).map(|(name, _)| name));
            }
            *seen = index.slots.len();
            names.iter().map(|name| registry.interner.text(*name)).collect()
        })
    }

    /// Bytes of all columns, about.
    pub(super) fn bytes(&self) -> u64 {
        self.by_metric.lock().values().map(|kept| kept.bytes.load(Ordering::Relaxed)).sum()
    }

    fn with<T>(&self, registry: &Registry, metric: &MetricEntry, f: impl FnOnce(&mut MetricIndex) -> T) -> T {
        let kept = Arc::clone(self.by_metric.lock().entry(metric.index).or_default());
        kept.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut index = kept.index.lock();
        let known = index.slots.len();
        index.slots.extend(metric.series_from(known));
        debug_assert!(registry.series_count() >= index.slots.len(), "series of another registry");
        let out = f(&mut index);
        kept.bytes.store(index.bytes() as u64, Ordering::Relaxed);
        drop(index);
        self.make_room(metric.index);
        out
    }

    /// Forgets what was asked for least lately, but not the metric in hand.
    fn make_room(&self, in_hand: u32) {
        let mut by_metric = self.by_metric.lock();
        let total = |kept: &HashMap<u32, Arc<Kept>>| -> u64 {
            kept.values().map(|kept| kept.bytes.load(Ordering::Relaxed)).sum()
        };
        while total(&by_metric) > INDEX_BYTES_MAX as u64 {
            let others = by_metric.iter().filter(|(index, _)| **index != in_hand);
            let oldest = others.min_by_key(|(_, kept)| kept.used.load(Ordering::Relaxed)).map(|(index, _)| *index);
            let Some(oldest) = oldest else { return };
            by_metric.remove(&oldest);
        }
    }
}

impl MetricIndex {
    /// The places that the matchers of `select` leave; `None` for all.
    fn places_of(&mut self, registry: &Registry, select: &Select) -> Option<RoaringBitmap> {
        let mut all = self.all_of(registry, &select.matchers);
        if !select.or_matchers.is_empty() {
            let mut any = RoaringBitmap::new();
            for group in &select.or_matchers {
                any |= self.all_of(registry, group)?;
            }
            all = Some(match all {
                Some(all) => all & any,
                None => any,
            });
        }
        all
    }

    fn all_of(&mut self, registry: &Registry, matchers: &[Matcher]) -> Option<RoaringBitmap> {
        let mut all: Option<RoaringBitmap> = None;
        for matcher in matchers.iter().filter(|matcher| !is_of_view(matcher) && !is_of_name(matcher)) {
            let total = self.slots.len() as u32;
            let places = self.column(registry, &matcher.name).places_of(registry, matcher, total);
            all = Some(match all {
                Some(all) => all & places,
                None => places,
            });
        }
        all
    }

    /// The column of the label `name`, with every series in it.
    fn column(&mut self, registry: &Registry, name: &str) -> &Column {
        let column = self.columns.entry_ref(name).or_default();
        for (place, slot) in self.slots.iter().enumerate().skip(column.seen) {
            if let Some(entry) = registry.get(*slot) {
                column.add(registry, name, (place as u32, entry));
            }
        }
        column.seen = self.slots.len();
        column
    }

    fn bytes(&self) -> usize {
        self.columns.values().map(Column::bytes).sum::<usize>() + self.slots.len() * size_of::<Slot>()
    }
}

impl Column {
    fn add(&mut self, registry: &Registry, name: &str, (place, entry): (u32, &SeriesEntry)) {
        let mut best: Option<(u8, Symbol, Symbol)> = None;
        for (stored, value) in registry.pairs(entry) {
            let rank = self.ranks.entry(stored).or_insert_with(|| rank(&registry.interner.text(stored), name));
            let Some(rank) = *rank else { continue };
            let first = |other: Symbol| registry.interner.text(stored) < registry.interner.text(other);
            if best.is_none_or(|(least, known, _)| rank < least || (rank == least && first(known))) {
                best = Some((rank, stored, value));
            }
        }
        let Some((.., value)) = best.filter(|(.., value)| !registry.interner.text(*value).is_empty()) else { return };
        self.present.insert(place);
        self.by_value.entry(value).and_modify(|places| places.add(place)).or_insert(Postings::One(place));
    }

    fn places_of(&self, registry: &Registry, matcher: &Matcher, total: u32) -> RoaringBitmap {
        let mut of_values = RoaringBitmap::new();
        let mut add = |value: &str| {
            if let Some(places) = registry.interner.find(value).and_then(|value| self.by_value.get(&value)) {
                places.add_to(&mut of_values);
            }
        };
        let negative = matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRe(_));
        let literals = match &matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => Some(vec![matcher.value.as_str()]),
            MatchOp::Re(_) | MatchOp::NotRe(_) => literals(&matcher.value),
        };
        let without = || every(total) - &self.present;
        match literals {
            Some(literals) => {
                let absent = literals.contains(&"");
                literals.into_iter().filter(|value| !value.is_empty()).for_each(&mut add);
                if absent {
                    of_values |= without();
                }
                if negative { every(total) - of_values } else { of_values }
            }
            None => {
                let meant =
                    self.by_value.iter().filter(|(value, _)| matcher.is_match(&registry.interner.text(**value)));
                meant.for_each(|(_, places)| places.add_to(&mut of_values));
                if matcher.is_match("") {
                    of_values |= without();
                }
                of_values
            }
        }
    }

    fn bytes(&self) -> usize {
        let many = |places: &Postings| if let Postings::Many(places) = places { places.serialized_size() } else { 0 };
        let values: usize = self.by_value.values().map(many).sum();
        values + self.by_value.len() * VALUE_BYTES + self.present.serialized_size() + self.ranks.len() * VALUE_BYTES
    }
}

fn every(total: u32) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    all.insert_range(0..total);
    all
}

/// How well the label stored as `stored` answers to `name`: best as it is, then as it is spelled, then as an alias.
fn rank(stored: &str, name: &str) -> Option<u8> {
    if stored == name {
        return Some(0);
    }
    let (stored, name) = (canonical_label_name(stored), canonical_label_name(name));
    if stored == name {
        return Some(1);
    }
    label_aliases(&name).position(|alias| alias == stored).map(|at| 2 + at as u8)
}

/// The texts that a pattern such as `a|b` or `(a|b)` means; `None` when it means more than texts.
fn literals(pattern: &str) -> Option<Vec<&str>> {
    let inner = pattern.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(pattern);
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | ' ' | ':' | ',' | '@' | '=' | '|');
    inner.chars().all(plain).then(|| inner.split('|').collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Labels, Metric, MetricKind, Temporality, Width};
    use crate::query::{Params, Plan};

    fn plan(selector: &str) -> Plan {
        Plan::parse(selector, Params::instant(0, 0, Width::TEN_SECONDS), None).expect("parses")
    }

    const SELECTORS: &[&str] = &[
        r#"m"#,
        r#"m{room="a"}"#,
        r#"m{room!="a"}"#,
        r#"m{room=""}"#,
        r#"m{room!=""}"#,
        r#"m{room=~"a|b"}"#,
        r#"m{room=~"(a|)"}"#,
        r#"m{room!~"a|b"}"#,
        r#"m{room=~".+"}"#,
        r#"m{room=~"a.*"}"#,
        r#"m{room!~".*b"}"#,
        r#"m{http_route="a"}"#,
        r#"m{http_route=~"a|b", room!="b"}"#,
        r#"m{http_response_status_code="a"}"#,
        r#"m{cpu_mode="a"}"#,
        r#"m{room="a" or http_route="b"}"#,
        r#"m{le="1", room="a"}"#,
    ];

    proptest! {
        #[test]
        fn the_index_picks_what_matching_each_series_picks(
            series in prop::collection::vec(
                prop::collection::btree_map(
                    prop::sample::select(vec![
                        "room", "http.route", "http_route", "http.status_code", "http.response.status_code", "state",
                    ]),
                    prop::sample::select(vec!["a", "b", "ab", ""]),
                    0..4,
                ),
                0..30,
            ),
            split in 0usize..30,
        ) {
            let (registry, indexes) = (Registry::default(), Indexes::default());
            let metric = Metric {
                name: "m".into(), unit: "".into(), kind: MetricKind::Gauge, temporality: Temporality::None,
            };
            let metric = registry.metric(metric, "");
            let known = |labels: &std::collections::BTreeMap<&str, &str>| {
                registry.series_from_labels(&metric, &Labels::of(&labels.clone().into_iter().collect::<Vec<_>>()), false)
            };
            for (i, labels) in series.iter().enumerate() {
                if i == split {
                    // Columns grow with the series that come later.
                    SELECTORS.iter().for_each(|selector| {
                        indexes.pick(&registry, &metric, &plan(selector).selects()[0]);
                    });
                }
                known(labels);
            }
            for selector in SELECTORS {
                let plan = plan(selector);
                let select = &plan.selects()[0];
                let matches = |slot: &Slot| {
                    registry.get(*slot).is_some_and(|entry| select.matches(&registry.labels(entry)))
                };
                let expected: Vec<Slot> = metric.series_from(0).into_iter().filter(matches).collect();
                prop_assert_eq!(indexes.pick(&registry, &metric, select), expected, "{}", selector);
            }
        }
    }

    #[test]
    fn values_and_names_are_counted() {
        let (registry, indexes) = (Registry::default(), Indexes::default());
        let metric =
            Metric { name: "m".into(), unit: "".into(), kind: MetricKind::Gauge, temporality: Temporality::None };
        let metric = registry.metric(metric, "");
        for (route, pod) in [("/a", "1"), ("/a", "2"), ("/b", "3")] {
            registry.series_from_labels(&metric, &Labels::of(&[("http.route", route), ("pod", pod)]), false);
        }
        let mut routes = indexes.values(&registry, &metric, "http_route");
        routes.sort();
        assert_eq!(routes, [(Arc::from("/a"), 2), (Arc::from("/b"), 1)]);
        let mut names = indexes.names(&registry, &metric);
        names.sort();
        assert_eq!(names, [Arc::from("http.route"), Arc::from("pod")]);
        assert!(indexes.bytes() > 0);
    }
}
