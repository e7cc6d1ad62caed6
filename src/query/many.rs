//! Conditions of rules, many at once: block keys, cursors and heads are read once for all of them, selectors that are
//! alike once, and a metric's windows once however many selectors pick from it.

use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use hashbrown::{HashMap, HashSet};

use super::QueryError;
use super::compile::{Params, Plan};
use super::condition::Condition;
use super::engine::{Engine, RETRIES, replaced};
use super::fetch::{Reading, in_order, merge};
use super::limits::Pass;
use super::select::{Meant, Select};
use super::value::Answer;
use crate::model::{Cell, SeriesId, SeriesWindows, TimeMs, Width, WindowStart};
use crate::rollup::{BlockSeries, MetricEntry, Registry, Slot, Stream, load_metrics};
use crate::storage::{StreamRow, Tier};

/// The series of one selector, or which limit it is over.
type Found = Result<Arc<[SeriesWindows]>, String>;
/// A plan, and the tier that it reads.
type Planned = Result<(Plan, Reading), QueryError>;

/// A metric and the selectors, by number, that mean it.
struct Asked {
    metric: Arc<MetricEntry>,
    by: Vec<(usize, Meant)>,
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
        let pass = self.enter_first();
        pass.within(self.conditions_until(conditions, &pass)).await
    }

    async fn conditions_until(
        &self,
        conditions: &[(&Condition, TimeMs)],
        pass: &Pass,
    ) -> Result<Vec<Result<Answer, QueryError>>, QueryError> {
        let (now, width) = (Utc::now().timestamp_millis(), self.streams.width());
        let plan = |(condition, at): &(&Condition, TimeMs)| {
            self.plan_with(Params::instant(*at, now, width), |params| condition.plan(params))
        };
        let plans: Vec<Planned> = conditions.iter().map(plan).collect();
        let shared = Shared::of(&plans);
        let found = self.fetch_many(&shared.selects).await?;
        let alarm = pass.alarm();
        let late = || QueryError::Deadline(alarm.deadline());
        let answer = |(plan, places): (&Planned, &Vec<usize>)| match plan {
            Ok((plan, reading)) if reading.tier == Tier::Fine => {
                let series = places.iter().filter_map(|place| found.get(*place)).cloned();
                let series = series.map(|found| found.map_err(QueryError::Limit)).collect::<Result<Vec<_>, _>>();
                Some(series.and_then(|series| plan.evaluate_until(&series, alarm.flag())?.ok_or_else(late)))
            }
            _ => None,
        };
        let shared_answers: Vec<Option<Result<Answer, QueryError>>> =
            tokio::task::block_in_place(|| plans.iter().zip(&shared.places).map(answer).collect());
        let mut answers = Vec::with_capacity(plans.len());
        for (plan, answer) in plans.into_iter().zip(shared_answers) {
            answers.push(match (plan, answer) {
                (_, Some(answer)) => answer,
                (Ok((plan, reading)), None) => self.evaluate(&plan, reading, pass, &mut self.budget()).await,
                (Err(error), None) => Err(error),
            });
        }
        Ok(answers)
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
        let (began, now) = (Instant::now(), Utc::now().timestamp_millis());
        let params = Params::range((start, end), step, now, self.streams.width());
        let result = match (self.plan_with(params, |params| condition.plan(params)), self.enter().await) {
            (Ok((plan, reading)), Ok(pass)) => {
                pass.within(self.evaluate(&plan, reading, &pass, &mut self.budget())).await
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        self.count(result, began)
    }

    /// The metrics that each of `selects` means; those of other replicas too.
    async fn asked(&self, selects: &[Select]) -> Result<Vec<Asked>, QueryError> {
        let asked = self.asked_of_known(selects);
        let meant: HashSet<usize> = asked.iter().flat_map(|asked| asked.by.iter().map(|(number, _)| *number)).collect();
        let known = |(number, select): (usize, &Select)| meant.contains(&number) && select.names_are_equalities();
        if selects.iter().enumerate().all(known) {
            return Ok(asked);
        }
        load_metrics(self.streams.registry(), self.streams.storage()).await?;
        Ok(self.asked_of_known(selects))
    }

    fn asked_of_known(&self, selects: &[Select]) -> Vec<Asked> {
        let mut asked: Vec<Asked> = Vec::new();
        let mut places: HashMap<u32, usize> = HashMap::new();
        for (number, select) in selects.iter().enumerate() {
            for (metric, meant) in self.metrics_of(select) {
                let place = *places.entry(metric.index).or_insert_with(|| {
                    asked.push(Asked { metric, by: Vec::new() });
                    asked.len() - 1
                });
                if let Some(asked) = asked.get_mut(place) {
                    asked.by.push((number, meant));
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
        let reading = Reading { tier: Tier::Fine, width: self.streams.width() };
        let mut asked_for = HashSet::new();
        for _ in 0..RETRIES {
            let asked = self.asked(selects).await?;
            self.catalogue(asked.iter().map(|asked| &asked.metric)).await?;
            let ids: Vec<i64> = asked.iter().map(|asked| asked.metric.id.0 as i64).collect();
            let (keys, rows) = self.streams.storage().block_keys(&ids, &reading.blocks((start, end))).await?;
            let heads = self.streams.follow(&rows).await?;
            if self.asked_of_known(selects).len() != asked.len() {
                // Following has made metrics known that are meant.
                continue;
            }
            let mut picking = tokio::task::block_in_place(|| Picking::of(self, &asked, selects));
            let blocks = in_order(keys);
            let visited = self.blocks.visit::<QueryError>(self.streams.storage(), &blocks, |key, block| {
                picking.add_block(key.metric_id, block);
                Ok(())
            });
            if !visited.await? {
                continue;
            }
            let unknown: Vec<SeriesId> = picking.unknown.iter().copied().filter(|id| asked_for.insert(*id)).collect();
            if !unknown.is_empty() {
                self.look_up(&unknown).await?;
                continue;
            }
            return Ok(tokio::task::block_in_place(|| {
                picking.add_heads(&rows, &heads);
                picking.into_found()
            }));
        }
        Err(replaced())
    }
}

/// The distinct selectors of plans over the fine tier, and where each plan's are among them.
struct Shared {
    selects: Vec<Select>,
    places: Vec<Vec<usize>>,
}

impl Shared {
    fn of(plans: &[Planned]) -> Self {
        let (mut selects, mut known): (Vec<Select>, HashMap<String, usize>) = Default::default();
        let mut place = |select: &Select| {
            *known.entry(key(select)).or_insert_with(|| {
                selects.push(select.clone());
                selects.len() - 1
            })
        };
        let places = plans
            .iter()
            .map(|plan| match plan {
                Ok((plan, reading)) if reading.tier == Tier::Fine => plan.selects().iter().map(&mut place).collect(),
                _ => Vec::new(),
            })
            .collect();
        Self { selects, places }
    }
}

/// What all selectors pick, metric by metric, and the windows read for them.
struct Picking<'a> {
    engine: &'a Engine,
    selects: &'a [Select],
    metrics: Vec<Picked<'a>>,
    by_metric: HashMap<i64, usize>,
    /// Series of blocks that the registry does not know.
    unknown: Vec<SeriesId>,
    found: Vec<Result<Vec<SeriesWindows>, String>>,
}

/// What selectors pick of one metric.
struct Picked<'a> {
    metric: &'a Arc<MetricEntry>,
    /// By which selector, as what, and the slots of its series.
    picks: Vec<(usize, &'a Meant, Vec<Slot>)>,
    windows: HashMap<Slot, Vec<(WindowStart, Cell)>>,
    span: (WindowStart, WindowStart),
}

impl<'a> Picking<'a> {
    fn of(engine: &'a Engine, asked: &'a [Asked], selects: &'a [Select]) -> Self {
        let mut picking = Self {
            engine,
            selects,
            metrics: Vec::with_capacity(asked.len()),
            by_metric: HashMap::with_capacity(asked.len()),
            unknown: Vec::new(),
            found: selects.iter().map(|_| Ok(Vec::new())).collect(),
        };
        for asked in asked {
            picking.by_metric.insert(asked.metric.id.0 as i64, picking.metrics.len());
            let picked = picking.pick(asked);
            picking.metrics.push(picked);
        }
        picking
    }

    fn registry(&self) -> &'a Registry {
        self.engine.streams.registry()
    }

    fn pick(&mut self, asked: &'a Asked) -> Picked<'a> {
        let (registry, width) = (self.registry(), self.engine.streams.width());
        let mut picks = Vec::with_capacity(asked.by.len());
        let mut windows: HashMap<Slot, Vec<(WindowStart, Cell)>> = HashMap::new();
        let mut span = (WindowStart::MAX, WindowStart::MIN);
        for (number, meant) in &asked.by {
            let (Some(select), Some(found)) = (self.selects.get(*number), self.found.get_mut(*number)) else {
                continue;
            };
            let slots = self.engine.indexes.pick(registry, &asked.metric, select);
            if let Err(error) = self.engine.budget().take_series(slots.len()) {
                *found = Err(error.to_string());
                continue;
            }
            let own = span_of(select, width);
            span = (span.0.min(own.0), span.1.max(own.1));
            for slot in &slots {
                windows.entry(*slot).or_default();
            }
            picks.push((*number, meant, slots));
        }
        Picked { metric: &asked.metric, picks, windows, span }
    }

    fn add_block(&mut self, metric_id: i64, block: &[BlockSeries]) {
        let registry = self.registry();
        let Some(picked) = self.by_metric.get(&metric_id).and_then(|place| self.metrics.get_mut(*place)) else {
            return;
        };
        let (first, last) = picked.span;
        for series in block {
            let Some(slot) = registry.slot_of(series.id) else {
                self.unknown.push(series.id);
                continue;
            };
            if let Some(windows) = picked.windows.get_mut(&slot) {
                let inside = series.windows.iter().filter(|(window, _)| first <= *window && *window <= last);
                windows.extend(inside.cloned());
            }
        }
    }

    fn add_heads(&mut self, rows: &[StreamRow], heads: &[Arc<Stream>]) {
        for picked in &mut self.metrics {
            rows.iter().zip(heads).for_each(|(row, stream)| picked.add_head(row, stream));
        }
    }

    /// Hands the windows to the selectors that mean them.
    fn into_found(mut self) -> Vec<Found> {
        let mut budgets: Vec<_> = self.selects.iter().map(|_| self.engine.budget()).collect();
        for mut picked in std::mem::take(&mut self.metrics) {
            for windows in picked.windows.values_mut() {
                *windows = merge(std::mem::take(windows));
            }
            for (number, meant, slots) in &picked.picks {
                let places_of = (self.found.get_mut(*number), self.selects.get(*number), budgets.get_mut(*number));
                let (Some(found), Some(select), Some(budget)) = places_of else { continue };
                let series = picked.series_of(self.engine, select, slots);
                let presented = series.map(|one| select.present(one, meant, budget)).collect::<Result<Vec<_>, _>>();
                match (&mut *found, presented) {
                    (Ok(found), Ok(presented)) => found.extend(presented.into_iter().flatten()),
                    (Ok(_), Err(error)) => *found = Err(error.to_string()),
                    (Err(_), _) => {}
                }
            }
        }
        self.found.into_iter().map(|found| found.map(Arc::from)).collect()
    }
}

impl Picked<'_> {
    fn add_head(&mut self, row: &StreamRow, stream: &Stream) {
        let Self { metric, windows, span, .. } = self;
        stream.head.visit(metric.index, row.cursor_seq, *span, &mut |entry| {
            if let Some(windows) = windows.get_mut(&entry.slot) {
                windows.push((entry.window, entry.cell.clone()));
            }
        });
    }

    fn series_of(&self, engine: &Engine, select: &Select, slots: &[Slot]) -> impl Iterator<Item = SeriesWindows> {
        let (registry, own) = (engine.streams.registry(), span_of(select, engine.streams.width()));
        slots.iter().filter_map(move |slot| {
            let all = self.windows.get(slot).map(Vec::as_slice).unwrap_or_default();
            let inside = all.iter().filter(|(window, _)| own.0 <= *window && *window <= own.1);
            let windows: Vec<(WindowStart, Cell)> = inside.cloned().collect();
            let entry = registry.get(*slot).filter(|_| !windows.is_empty())?;
            Some(SeriesWindows {
                id: entry.id,
                metric: Arc::clone(&self.metric.metric),
                labels: registry.labels(entry),
                windows,
            })
        })
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
