//! What is kept between two times that conditions are asked.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use promql_parser::label::{MatchOp, Matcher};
use xxhash_rust::xxh3::Xxh3;

use super::super::compile::Params;
use super::super::condition::{Condition, SumOfRates};
use super::super::select::Select;
use super::super::value::Answer;
use super::super::{QueryError, View};
use super::Prepared;
use super::index::Index;
use super::kept::{Metric, Source};
use super::sums::{Moment, Sums};
use crate::model::{Labels, MetricKind, SeriesId, SeriesWindows, TimeMs, Width, WindowStart};
use crate::rollup::{MetricEntry, Registry, Slot};

/// Most series that one selector may read.
const SERIES_MAX: usize = 200_000;
/// Windows kept: some 200 MB. With more everything is read each time.
const WINDOWS_MAX: usize = 3_000_000;
/// After so many times all is forgotten, and with it what nobody asks for any more.
const TURNS_MAX: u32 = 3_600;

/// A metric and the selectors that have not looked at all of its series.
type Behind<'a> = (Arc<MetricEntry>, Vec<(u128, &'a Select)>);
/// As what a metric is read, with the factor and name that go with it.
type Presented = (View, f64, String);

/// What is kept of conditions that are asked again and again.
#[derive(Default)]
pub struct Standing {
    plans: HashMap<u128, Prepared>,
    selects: HashMap<u128, Resolved>,
    metrics: HashMap<u32, Metric>,
    sums: HashMap<u128, Sums>,
    /// Selectors over which somebody sums.
    counted: HashSet<u128>,
    turns: u32,
    /// Names the next [`Metric`].
    next: u64,
}

/// What a selector means.
struct Resolved {
    /// So many of the registry's metrics were looked at.
    looked_at: usize,
    of: Vec<Meaning>,
}

/// A metric that a selector means, and the series of it.
pub(super) struct Meaning {
    pub(super) metric: Arc<MetricEntry>,
    pub(super) presented: Presented,
    /// So many of the metric's series were looked at.
    pub(super) looked_at: usize,
    pub(super) picked: Vec<Picked>,
    /// In which [`Metric`] how many of them have their place.
    pub(super) placed: (u64, usize),
}

/// A series that a selector means.
pub(super) struct Picked {
    pub(super) slot: Slot,
    pub(super) id: SeriesId,
    pub(super) labels: Labels,
    /// Its labels as PromQL sees them, where nothing else of it changes.
    pub(super) shown: Option<Labels>,
    /// Where its windows are.
    pub(super) place: u32,
}

/// Equal for selectors that mean the same series, whatever the time.
pub(super) fn identity(select: &Select) -> u128 {
    let mut hash = Xxh3::new();
    let mut add = |matchers: &[Matcher]| {
        hash.update(&(matchers.len() as u64).to_le_bytes());
        for matcher in matchers {
            let op = match &matcher.op {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Re(_) => 2,
                MatchOp::NotRe(_) => 3,
            };
            for text in [matcher.name.as_str(), matcher.value.as_str()] {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            hash.update(&[op]);
        }
    };
    add(&select.names);
    add(&select.matchers);
    select.or_matchers.iter().for_each(|group| add(group));
    hash.digest128()
}

fn span_of(select: &Select, width: Width) -> (WindowStart, WindowStart) {
    (width.window_of(select.start), width.window_of(select.end))
}

impl Standing {
    /// The plan of a condition at a time.
    pub(super) fn prepared(&mut self, condition: &Condition, params: Params) -> Result<Prepared, QueryError> {
        match self.plans.remove(&condition.key()) {
            Some(prepared) => Ok(prepared.moved(params)),
            None => Prepared::of(condition, params),
        }
    }

    /// Keeps a plan for the next time.
    pub(super) fn keep(&mut self, condition: &Condition, prepared: Prepared) {
        if condition.is_steady() {
            self.plans.insert(condition.key(), prepared);
        }
    }

    /// Lets what the series of a selector added be counted.
    pub(super) fn count(&mut self, key: u128) {
        self.counted.insert(key);
    }

    /// Looks at the metrics that are new to the selectors.
    pub(super) fn resolve(&mut self, registry: &Registry, asked: &super::Asked<'_>) {
        let metrics = registry.metrics();
        for (key, select) in asked {
            let resolved = self.selects.entry(*key).or_insert_with(|| Resolved { looked_at: 0, of: Vec::new() });
            for metric in metrics.iter().skip(resolved.looked_at) {
                if let Some(presented) = select.view_of(&metric.metric) {
                    let metric = Arc::clone(metric);
                    resolved.of.push(Meaning { metric, presented, looked_at: 0, picked: Vec::new(), placed: (0, 0) });
                }
            }
            resolved.looked_at = metrics.len();
        }
    }

    /// Whether the selector means any metric.
    pub(super) fn means(&self, key: u128) -> bool {
        self.selects.get(&key).is_some_and(|resolved| !resolved.of.is_empty())
    }

    /// Every metric that is meant, once.
    pub(super) fn metrics(&self, asked: &super::Asked<'_>) -> Vec<Arc<MetricEntry>> {
        let mut metrics: HashMap<u32, Arc<MetricEntry>> = HashMap::new();
        for meaning in asked.iter().filter_map(|(key, _)| self.selects.get(key)).flat_map(|resolved| &resolved.of) {
            metrics.entry(meaning.metric.index).or_insert_with(|| Arc::clone(&meaning.metric));
        }
        metrics.into_values().collect()
    }

    /// Looks at the series that are new to the selectors.
    pub(super) fn pick(&mut self, registry: &Registry, asked: &super::Asked<'_>) {
        // By metric and how many of its series were looked at.
        let mut behind: HashMap<(u32, usize), Behind<'_>> = HashMap::new();
        for (key, select) in asked {
            for meaning in self.selects.get(key).iter().flat_map(|resolved| &resolved.of) {
                if meaning.metric.series_count() > meaning.looked_at {
                    let place = behind.entry((meaning.metric.index, meaning.looked_at));
                    let (_, selects) = place.or_insert_with(|| (Arc::clone(&meaning.metric), Vec::new()));
                    selects.push((*key, select));
                }
            }
        }
        for ((metric, from), (entry, selects)) in behind {
            let all = entry.series();
            let labelled = |slot: &Slot| registry.get(*slot).map(|entry| (*slot, entry.id, registry.labels(entry)));
            let series: Vec<(Slot, SeriesId, Labels)> = all.iter().skip(from).filter_map(labelled).collect();
            let mut index = Index::new(&series, selects.len());
            for (key, select) in selects {
                let Some(resolved) = self.selects.get_mut(&key) else { continue };
                let behind = |meaning: &&mut Meaning| meaning.metric.index == metric && meaning.looked_at == from;
                let Some(meaning) = resolved.of.iter_mut().find(behind) else { continue };
                let picked = index.pick(select).into_iter().filter_map(|place| series.get(place));
                let picked = picked.map(|(slot, id, labels)| {
                    let shown = shown(select, meaning, labels);
                    Picked { slot: *slot, id: *id, labels: labels.clone(), shown, place: 0 }
                });
                let picked: Vec<Picked> = picked.collect();
                meaning.picked.extend(picked);
                meaning.looked_at = all.len();
            }
        }
    }

    /// Reads what is asked for: what is closed where that has changed, what is live always.
    pub(super) fn read(&mut self, registry: &Registry, asked: &super::Asked<'_>, source: &Source, width: Width) {
        let mut wanted: HashMap<u32, (Arc<MetricEntry>, WindowStart)> = HashMap::new();
        for (key, select) in asked {
            let (from, is_counted) = (span_of(select, width).0, self.counted.contains(key));
            for meaning in self.selects.get_mut(key).into_iter().flat_map(|resolved| &mut resolved.of) {
                let index = meaning.metric.index;
                let (_, earliest) = wanted.entry(index).or_insert_with(|| (Arc::clone(&meaning.metric), from));
                *earliest = from.min(*earliest);
                let metric = self.metrics.entry(index).or_insert_with(|| {
                    self.next += 1;
                    Metric::new(self.next)
                });
                if is_counted && !metric.is_counted {
                    metric.recount();
                }
                let placed = (metric.name, meaning.picked.len());
                if meaning.placed != placed {
                    meaning.picked.iter_mut().for_each(|one| one.place = metric.place(one.slot));
                    meaning.placed = placed;
                }
            }
        }
        for (entry, from) in wanted.into_values() {
            if let Some(metric) = self.metrics.get_mut(&entry.index) {
                metric.read(registry, &entry, source, from);
            }
        }
    }

    /// The series of a selector with their windows, or the `newest` of these.
    pub(super) fn series(
        &self,
        key: u128,
        select: &Select,
        width: Width,
        newest: Option<usize>,
    ) -> Result<Vec<SeriesWindows>, QueryError> {
        let span = span_of(select, width);
        let mut out = Vec::new();
        for meaning in self.selects.get(&key).into_iter().flat_map(|resolved| &resolved.of) {
            let count = meaning.picked.len();
            if count > SERIES_MAX {
                let name = &meaning.metric.metric.name;
                let text = format!("{count} series of {name} > limit of {SERIES_MAX}: narrow the selector");
                return Err(QueryError::Limit(text));
            }
            let Some(metric) = self.metrics.get(&meaning.metric.index) else { continue };
            for one in &meaning.picked {
                let Some(kept) = metric.series.get(one.place as usize) else { continue };
                let windows = kept.joined(span, newest);
                if windows.is_empty() {
                    continue;
                }
                let labels = one.shown.as_ref().unwrap_or(&one.labels).clone();
                let series = SeriesWindows { id: one.id, metric: Arc::clone(&meaning.metric.metric), labels, windows };
                match one.shown {
                    Some(_) => out.push(series),
                    None => out.extend(select.present(series, meaning.presented.clone())),
                }
            }
        }
        Ok(out)
    }

    /// The answer of a sum of rates over the series of selector `key`; `None` where it cannot be had from what is kept.
    pub(super) fn sum(
        &mut self,
        (name, sum): (u128, &SumOfRates),
        key: u128,
        (at, now, width): (TimeMs, TimeMs, Width),
    ) -> Option<Answer> {
        let moment = Moment { at, now, width };
        let meanings = &self.selects.get(&key)?.of;
        let sums = self.sums.entry(name).or_default();
        sums.answer(sum, meanings, &self.metrics, moment)
    }

    /// Forgets what is too much, or old.
    pub(super) fn trim(&mut self) {
        self.turns += 1;
        if self.turns >= TURNS_MAX {
            *self = Self { next: self.next, ..Self::default() };
        }
        if self.metrics.values().map(Metric::len).sum::<usize>() > WINDOWS_MAX {
            self.metrics.clear();
            self.sums.clear();
        }
    }
}

/// The labels of a series as PromQL sees it, where it is one series in the unit that is asked for.
fn shown(select: &Select, meaning: &Meaning, labels: &Labels) -> Option<Labels> {
    let (view, factor, _) = meaning.presented;
    let metric = &meaning.metric.metric;
    if view != View::Plain || factor != 1.0 || metric.kind == MetricKind::Summary {
        return None;
    }
    let windows = Vec::new();
    let empty = SeriesWindows { id: SeriesId(0), metric: Arc::clone(metric), labels: labels.clone(), windows };
    select.present(empty, meaning.presented.clone()).into_iter().next().map(|series| series.labels)
}
