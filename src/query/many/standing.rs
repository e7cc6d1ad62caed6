//! What is kept between two times that conditions are asked.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use promql_parser::label::{MatchOp, Matcher};
use xxhash_rust::xxh3::Xxh3;

use super::super::QueryError;
use super::super::compile::Params;
use super::super::condition::{Condition, SumOfRates};
use super::super::engine::Engine;
use super::super::index::Indexes;
use super::super::limits::Budget;
use super::super::select::{Meant, Select};
use super::super::value::Answer;
use super::Prepared;
use super::kept::{Metric, Source};
use super::sums::{Moment, Sums};
use crate::model::{Labels, MetricId, SeriesId, SeriesWindows, TimeMs, Width, WindowStart};
use crate::rollup::{BlockSeries, MetricEntry, Registry, Slot};

/// Windows kept: some 200 MB. With more everything is read each time.
const WINDOWS_MAX: usize = 3_000_000;
/// After so many times all is forgotten, and with it what nobody asks for any more.
const TURNS_MAX: u32 = 3_600;

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
    pub(super) meant: Meant,
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
    pub(super) fn prepared(
        &mut self,
        engine: &Engine,
        condition: &Condition,
        params: Params,
    ) -> Result<Prepared, QueryError> {
        match self.plans.remove(&condition.key()) {
            Some(prepared) => Ok(prepared.moved(params)),
            None => Prepared::of(engine, condition, params),
        }
    }

    /// Keeps a plan for the next time.
    pub(super) fn keep(&mut self, condition: &Condition, prepared: Prepared) {
        if condition.is_steady() && prepared.is_fine() {
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
                if let Some(meant) = select.view_of(&metric.metric) {
                    let metric = Arc::clone(metric);
                    resolved.of.push(Meaning { metric, meant, looked_at: 0, picked: Vec::new(), placed: (0, 0) });
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
    pub(super) fn pick(&mut self, (registry, indexes): (&Registry, &Indexes), asked: &super::Asked<'_>) {
        for (key, select) in asked {
            for meaning in self.selects.get_mut(key).into_iter().flat_map(|resolved| &mut resolved.of) {
                let count = meaning.metric.series_count();
                if count == meaning.looked_at {
                    continue;
                }
                meaning.looked_at = count;
                // Series never go and are told in their order: those that are known come first.
                let slots = indexes.pick(registry, &meaning.metric, select);
                let new = slots.into_iter().skip(meaning.picked.len());
                let picked: Vec<Picked> = new.filter_map(|slot| picked(registry, slot, (select, meaning))).collect();
                meaning.picked.extend(picked);
            }
        }
    }

    /// Makes room for what is asked for. Tells the numbers of the metrics whose blocks are to be read: what is closed of
    /// them has changed.
    pub(super) fn begin(&mut self, asked: &super::Asked<'_>, source: &Source, width: Width) -> HashSet<i64> {
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
        let mut stale = HashSet::new();
        for (index, (entry, from)) in wanted {
            if self.metrics.get_mut(&index).is_some_and(|metric| metric.begin(&entry, source, from)) {
                stale.insert(entry.id.0 as i64);
            }
        }
        stale
    }

    /// Takes what is asked for of a block of the metric of that number; what nobody knows yet goes to `unknown`.
    pub(super) fn add_block(
        &mut self,
        registry: &Registry,
        (metric_id, block): (i64, &[BlockSeries]),
        unknown: &mut Vec<SeriesId>,
    ) {
        let entry = registry.metric_by_id(MetricId(metric_id as u64));
        if let Some(metric) = entry.and_then(|entry| self.metrics.get_mut(&entry.index)) {
            metric.add_block(registry, block, unknown);
        }
    }

    /// Reads what is sealed where blocks were read, and what heads still take in.
    pub(super) fn finish(&mut self, asked: &super::Asked<'_>, source: &Source) {
        for entry in self.metrics(asked) {
            if let Some(metric) = self.metrics.get_mut(&entry.index) {
                metric.finish(&entry, source);
            }
        }
    }

    /// Lets all that is asked for be read anew.
    pub(super) fn disbelieve(&mut self, asked: &super::Asked<'_>) {
        for entry in self.metrics(asked) {
            self.metrics.get_mut(&entry.index).into_iter().for_each(Metric::disbelieve);
        }
    }

    /// The series of a selector with their windows, or the `newest` of these.
    pub(super) fn series(
        &self,
        (key, select): (u128, &Select),
        width: Width,
        newest: Option<usize>,
        budget: &mut Budget,
    ) -> Result<Vec<SeriesWindows>, QueryError> {
        let (span, meanings) = (span_of(select, width), self.selects.get(&key).map(|resolved| &resolved.of));
        budget.take_series(meanings.into_iter().flatten().map(|meaning| meaning.picked.len()).sum())?;
        let mut out = Vec::new();
        for meaning in meanings.into_iter().flatten() {
            let Some(metric) = self.metrics.get(&meaning.metric.index) else { continue };
            for one in &meaning.picked {
                let Some(kept) = metric.series.get(one.place as usize) else { continue };
                let windows = kept.joined(span, newest);
                if windows.is_empty() {
                    continue;
                }
                budget.take_bytes(windows.iter().map(|(_, cell)| cell.bytes()).sum())?;
                let labels = one.shown.as_ref().unwrap_or(&one.labels).clone();
                let metric = Arc::clone(&meaning.metric.metric);
                let series = SeriesWindows { id: one.id, metric, labels, windows, totals: Vec::new() };
                match one.shown {
                    Some(_) => out.push(series),
                    None => out.extend(select.present(series, &meaning.meant, budget)?),
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

fn picked(registry: &Registry, slot: Slot, (select, meaning): (&Select, &Meaning)) -> Option<Picked> {
    let entry = registry.get(slot)?;
    let labels = registry.labels(entry);
    let shown = shown(select, meaning, &labels);
    Some(Picked { slot, id: entry.id, labels, shown, place: 0 })
}

/// The labels of a series as PromQL sees it, where that is all that changes when it is presented.
fn shown(select: &Select, meaning: &Meaning, labels: &Labels) -> Option<Labels> {
    let Meaning { metric, meant, .. } = meaning;
    meant.is_only_named(&metric.metric).then(|| meant.labels(labels)).filter(|labels| select.is_meant(labels, meant))
}
