//! Conditions of rules, many at once: blocks, cursors and heads are read once for all of them, selectors that are alike
//! once, and a metric's windows once however many selectors pick from it.

use std::sync::Arc;

use chrono::Utc;
use hashbrown::HashMap;
use promql_parser::label::Matcher;

use super::compile::{Params, Plan};
use super::condition::Condition;
use super::engine::{Engine, date, merge};
use super::select::{Select, is_equality};
use super::value::Answer;
use super::{QueryError, View};
use crate::model::{Cell, Labels, SeriesWindows, TimeMs, Width, WindowStart};
use crate::rollup::{Blocks, MetricEntry, Slot, Stream, load_metrics};
use crate::storage::{StreamRow, Tier};

/// Most series that one selector may read.
const SERIES_MAX: usize = 200_000;
/// Times that blocks replaced by compaction in the middle are looked up anew.
const RETRIES: usize = 5;
/// From so many selectors of a metric on, its series are indexed by the labels that they ask for.
const INDEX_FROM: usize = 4;

/// The series of one selector, or which limit it is over.
type Found = Result<Vec<SeriesWindows>, String>;
/// As what a metric is read, with the factor and name that go with it.
type Presented = (View, f64, String);

/// What was read for all selectors, as of one snapshot.
struct Source {
    blocks: Blocks,
    rows: Vec<StreamRow>,
    heads: Vec<Arc<Stream>>,
}

/// A metric and the selectors, by number, that mean it.
struct Asked {
    metric: Arc<MetricEntry>,
    by: Vec<(usize, Presented)>,
}

impl Engine {
    /// Evaluates conditions, each at its time. One that fails does not spoil the others.
    ///
    /// # Errors
    /// When nothing can be read.
    pub async fn conditions(
        &self,
        conditions: &[(&Condition, TimeMs)],
    ) -> Result<Vec<Result<Answer, QueryError>>, QueryError> {
        let (now, width) = (Utc::now().timestamp_millis(), self.streams.width());
        let plan = |(condition, at): &(&Condition, TimeMs)| condition.plan(Params::instant(*at, now, width));
        let plans: Vec<Result<Plan, QueryError>> = conditions.iter().map(plan).collect();
        let mut distinct: Vec<Select> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut places: Vec<Vec<usize>> = Vec::with_capacity(plans.len());
        for selects in plans.iter().map(|plan| plan.as_ref().map_or(&[][..], Plan::selects)) {
            let place = |select: &Select| {
                *known.entry(key(select)).or_insert_with(|| {
                    distinct.push(select.clone());
                    distinct.len() - 1
                })
            };
            places.push(selects.iter().map(place).collect());
        }
        let found = self.fetch_many(&distinct).await?;
        let answer = |(plan, places): (Result<Plan, QueryError>, Vec<usize>)| {
            let plan = plan?;
            let mut series = Vec::with_capacity(places.len());
            for found in places.into_iter().filter_map(|place| found.get(place)) {
                series.push(found.clone().map_err(QueryError::Limit)?);
            }
            plan.evaluate(&series)
        };
        Ok(tokio::task::block_in_place(|| plans.into_iter().zip(places).map(answer).collect()))
    }

    /// Evaluates a condition's query at each `step` from `start` to `end`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn condition_range(
        &self,
        condition: &Condition,
        (start, end): (TimeMs, TimeMs),
        step: TimeMs,
    ) -> Result<Answer, QueryError> {
        let (tier, width) = self.tier_of(start, step);
        let now = Utc::now().timestamp_millis();
        self.evaluate(&condition.plan(Params { start, end, step, now, width })?, tier).await
    }

    /// The metrics that each of `selects` means; those of other replicas too.
    async fn asked(&self, selects: &[Select]) -> Result<Vec<Asked>, QueryError> {
        let missed = |asked: &[Asked]| {
            selects.iter().enumerate().any(|(number, select)| {
                select.names.iter().any(is_equality)
                    && !asked.iter().any(|asked| asked.by.iter().any(|(by, _)| *by == number))
            })
        };
        let asked = self.asked_of_known(selects);
        if !missed(&asked) {
            return Ok(asked);
        }
        load_metrics(self.streams.registry(), self.streams.storage()).await?;
        Ok(self.asked_of_known(selects))
    }

    fn asked_of_known(&self, selects: &[Select]) -> Vec<Asked> {
        let mut asked: Vec<Asked> = Vec::new();
        let mut places: HashMap<u32, usize> = HashMap::new();
        for (number, select) in selects.iter().enumerate() {
            for (metric, presented) in self.metrics_of(select) {
                let place = *places.entry(metric.index).or_insert_with(|| {
                    asked.push(Asked { metric, by: Vec::new() });
                    asked.len() - 1
                });
                if let Some(asked) = asked.get_mut(place) {
                    asked.by.push((number, presented));
                }
            }
        }
        asked
    }

    async fn fetch_many(&self, selects: &[Select]) -> Result<Vec<Found>, QueryError> {
        let (Some(start), Some(end)) =
            (selects.iter().map(|select| select.start).min(), selects.iter().map(|select| select.end).max())
        else {
            return Ok(Vec::new());
        };
        let (keys_from, to) = (date(start - Tier::Fine.span_seconds() * 1_000), date(end));
        let mut asked = self.asked(selects).await?;
        for _ in 0..RETRIES {
            let known = self.streams.registry().metrics().len();
            let ids: Vec<i64> = asked.iter().map(|asked| asked.metric.id.0 as i64).collect();
            let (keys, rows) = self.streams.storage().block_keys(&ids, Tier::Fine, keys_from, to).await?;
            let heads = self.streams.follow(&rows).await?;
            if self.streams.registry().metrics().len() != known {
                // Following has made metrics known, perhaps one that is meant.
                let again = self.asked_of_known(selects);
                if again.len() != asked.len() {
                    asked = again;
                    continue;
                }
            }
            let Some(blocks) = self.blocks.load(self.streams.storage(), Tier::Fine, &keys).await? else { continue };
            for asked in &asked {
                self.catalogue(&asked.metric).await?;
            }
            let source = Source { blocks, rows, heads };
            return Ok(tokio::task::block_in_place(|| {
                let mut found: Vec<Found> = selects.iter().map(|_| Ok(Vec::new())).collect();
                asked.iter().for_each(|asked| self.gather(asked, selects, &source, &mut found));
                found
            }));
        }
        Err(QueryError::Execution("blocks were replaced again and again while they were read".to_owned()))
    }

    /// Hands the windows of one metric to the selectors that mean it.
    fn gather(&self, asked: &Asked, selects: &[Select], source: &Source, found: &mut [Found]) {
        let registry = self.streams.registry();
        let labelled = |slot: Slot| registry.get(slot).map(|entry| (slot, registry.labels(entry)));
        let series: Vec<(Slot, Labels)> = asked.metric.series().into_iter().filter_map(labelled).collect();
        let mut index = Index::new(&series, asked.by.len());
        let mut gathered: HashMap<Slot, Vec<(WindowStart, Cell)>> = HashMap::new();
        let mut wanted: Vec<(usize, &Presented, Vec<usize>)> = Vec::new();
        let mut span = (WindowStart::MAX, WindowStart::MIN);
        for (number, presented) in &asked.by {
            let Some(select) = selects.get(*number) else { continue };
            let picked = index.pick(select);
            if picked.len() > SERIES_MAX {
                let (count, name) = (picked.len(), &asked.metric.metric.name);
                if let Some(found) = found.get_mut(*number) {
                    *found = Err(format!("{count} series of {name} > limit of {SERIES_MAX}: narrow the selector"));
                }
                continue;
            }
            let own = span_of(select, self.streams.width());
            span = (span.0.min(own.0), span.1.max(own.1));
            for (slot, _) in picked.iter().filter_map(|place| series.get(*place)) {
                gathered.entry(*slot).or_default();
            }
            wanted.push((*number, presented, picked));
        }
        self.read(&asked.metric, source, span, &mut gathered);
        for (number, presented, picked) in wanted {
            let (Some(select), Some(Ok(found))) = (selects.get(number), found.get_mut(number)) else { continue };
            let own = span_of(select, self.streams.width());
            for (slot, labels) in picked.into_iter().filter_map(|place| series.get(place)) {
                let all = gathered.get(slot).map(Vec::as_slice).unwrap_or_default();
                let inside = all.iter().filter(|(window, _)| own.0 <= *window && *window <= own.1);
                let windows: Vec<(WindowStart, Cell)> = inside.cloned().collect();
                let Some(entry) = registry.get(*slot).filter(|_| !windows.is_empty()) else { continue };
                let metric = Arc::clone(&asked.metric.metric);
                let one = SeriesWindows { id: entry.id, metric, labels: labels.clone(), windows };
                found.extend(select.present(one, presented.clone()));
            }
        }
    }

    /// Reads the windows of the slots in `gathered`, merged and in order.
    fn read(
        &self,
        metric: &MetricEntry,
        source: &Source,
        span: (WindowStart, WindowStart),
        gathered: &mut HashMap<Slot, Vec<(WindowStart, Cell)>>,
    ) {
        let registry = self.streams.registry();
        for series in source.blocks.of_metric(metric.id).flatten() {
            let Some(slot) = registry.slot_of(series.id) else { continue };
            if let Some(windows) = gathered.get_mut(&slot) {
                let inside = series.windows.iter().filter(|(window, _)| span.0 <= *window && *window <= span.1);
                windows.extend(inside.cloned());
            }
        }
        for (row, stream) in source.rows.iter().zip(&source.heads) {
            stream.head.visit(metric.index, row.cursor_seq, span, &mut |entry| {
                if let Some(windows) = gathered.get_mut(&entry.slot) {
                    windows.push((entry.window, entry.cell.clone()));
                }
            });
        }
        for windows in gathered.values_mut() {
            *windows = merge(std::mem::take(windows));
        }
    }
}

fn span_of(select: &Select, width: Width) -> (WindowStart, WindowStart) {
    (width.window_of(select.start), width.window_of(select.end))
}

/// Equal for selectors that mean the same series over the same time.
fn key(select: &Select) -> String {
    let Select { names, matchers, or_matchers, start, end } = select;
    format!("{names:?}{matchers:?}{or_matchers:?}{start}..{end}")
}

/// The series of a metric by the value of a label, for the labels that selectors ask for.
struct Index<'a> {
    series: &'a [(Slot, Labels)],
    by_label: Option<HashMap<String, HashMap<&'a str, Vec<usize>>>>,
}

impl<'a> Index<'a> {
    fn new(series: &'a [(Slot, Labels)], selectors: usize) -> Self {
        Self { series, by_label: (selectors >= INDEX_FROM).then(HashMap::new) }
    }

    /// The places of the series that `select` means.
    fn pick(&mut self, select: &Select) -> Vec<usize> {
        let series = self.series;
        let matches = |place: &usize| series.get(*place).is_some_and(|(_, labels)| select.matches(labels));
        let equality = select.matchers.iter().find(|matcher| narrows(matcher));
        let (Some(by_label), Some(equality)) = (&mut self.by_label, equality) else {
            return (0..series.len()).filter(matches).collect();
        };
        let of_label = by_label.entry(equality.name.clone()).or_insert_with(|| {
            let mut of_label: HashMap<&'a str, Vec<usize>> = HashMap::new();
            for (place, (_, labels)) in series.iter().enumerate() {
                if let Some(value) = labels.get_canonical(&equality.name) {
                    of_label.entry(value).or_default().push(place);
                }
            }
            of_label
        });
        of_label.get(equality.value.as_str()).into_iter().flatten().copied().filter(matches).collect()
    }
}

/// An equality with something, on a label that series have before they are presented.
fn narrows(matcher: &Matcher) -> bool {
    is_equality(matcher) && !matcher.value.is_empty() && matcher.name != "le" && matcher.name != "quantile"
}
