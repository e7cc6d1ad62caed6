//! Conditions of rules, many at once and again and again.
//!
//! Queries that are alike are evaluated once. Block keys, cursors and heads are read once for all of them, as of one
//! snapshot; and what does not change is kept between the times that they are asked, in [`Standing`]: plans, which series a
//! selector means, the windows that came from blocks and sealed generations, and sums over them. Only what a head still
//! takes in is read each time. What reaches back past the fine tier is evaluated by itself.

mod added;
mod kept;
mod standing;
mod sums;

use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use hashbrown::{HashMap, HashSet};

use self::kept::Source;
pub use self::standing::Standing;
use self::standing::identity;
use super::QueryError;
use super::compile::{Params, Plan};
use super::condition::Condition;
use super::engine::{Engine, RETRIES, replaced};
use super::fetch::{Reading, in_order};
use super::limits::{Alarm, Pass};
use super::select::Select;
use super::snapshot::held;
use super::value::Answer;
use crate::model::{SeriesId, SeriesWindows, TimeMs, Width};
use crate::rollup::load_metrics;
use crate::storage::Tier;

/// Newest windows that a selector without a range needs: one may not count yet.
const NEWEST: usize = 3;

/// What a condition's query gave, shared by all who asked the same.
pub type Told = Result<Arc<Answer>, Arc<QueryError>>;

/// The selectors of some conditions, each with its identity.
type Asked<'a> = [(u128, &'a Select)];

/// A plan that is moved on in time instead of being made anew.
pub(in crate::query) struct Prepared {
    plan: Plan,
    reading: Reading,
    /// Identities of its selectors.
    keys: Vec<u128>,
}

impl Prepared {
    fn of(engine: &Engine, condition: &Condition, params: Params) -> Result<Self, QueryError> {
        let (plan, reading) = engine.plan_with(params, |params| condition.plan(params))?;
        let keys = plan.selects().iter().map(identity).collect();
        Ok(Self { plan, reading, keys })
    }

    /// Whether it reads what is kept.
    fn is_fine(&self) -> bool {
        self.reading.tier == Tier::Fine
    }

    /// Its selectors, where it reads what is kept.
    fn selects(&self) -> impl Iterator<Item = (u128, &Select)> {
        let selects = self.keys.iter().copied().zip(self.plan.selects());
        selects.take(if self.is_fine() { usize::MAX } else { 0 })
    }

    /// The same at another time.
    fn moved(mut self, params: Params) -> Self {
        let by = params.start - self.plan.params.start;
        for select in &mut self.plan.selects {
            (select.start, select.end) = (select.start + by, select.end + by);
        }
        self.plan.params = params;
        self
    }
}

/// A question that is asked once, whoever asks it.
struct Question<'a> {
    condition: &'a Condition,
    at: TimeMs,
    prepared: Result<Prepared, Arc<QueryError>>,
}

impl Engine {
    /// Evaluates conditions, each at its time. One that fails does not spoil the others.
    ///
    /// # Errors
    /// When nothing can be read.
    pub async fn conditions(
        &self,
        standing: &mut Standing,
        conditions: &[(&Condition, TimeMs)],
    ) -> Result<Vec<Told>, QueryError> {
        let pass = self.enter_first();
        pass.within(self.conditions_until(standing, conditions, &pass)).await
    }

    async fn conditions_until(
        &self,
        standing: &mut Standing,
        conditions: &[(&Condition, TimeMs)],
        pass: &Pass,
    ) -> Result<Vec<Told>, QueryError> {
        let (now, width) = (Utc::now().timestamp_millis(), self.streams.width());
        let mut questions: Vec<Question<'_>> = Vec::new();
        let mut known: HashMap<(u128, TimeMs), usize> = HashMap::with_capacity(conditions.len());
        let mut places = Vec::with_capacity(conditions.len());
        for (condition, at) in conditions {
            let place = *known.entry((condition.key(), *at)).or_insert(questions.len());
            if place == questions.len() {
                let prepared = standing.prepared(self, condition, Params::instant(*at, now, width));
                questions.push(Question { condition, at: *at, prepared: prepared.map_err(Arc::new) });
            }
            places.push(place);
        }
        for sum in questions.iter().filter(|question| question.condition.sum().is_some()) {
            sum.prepared.iter().flat_map(|prepared| &prepared.keys).for_each(|key| standing.count(*key));
        }
        let asked: Vec<(u128, &Select)> =
            questions.iter().flat_map(|question| &question.prepared).flat_map(Prepared::selects).collect();
        self.look(standing, &asked).await?;
        let alarm = pass.alarm();
        let mut told: Vec<Option<Told>> = tokio::task::block_in_place(|| {
            questions.iter().map(|question| self.answer(question, standing, (now, width), &alarm)).collect()
        });
        for (question, told) in questions.iter().zip(&mut told) {
            if let (Ok(Prepared { plan, reading, .. }), None) = (&question.prepared, &told) {
                let answer = self.evaluate(plan, (*reading, None), pass, &mut self.budget()).await;
                *told = Some(answer.map(Arc::new).map_err(Arc::new));
            }
        }
        for question in questions {
            if let Ok(prepared) = question.prepared {
                standing.keep(question.condition, prepared);
            }
        }
        standing.trim();
        Ok(places.into_iter().filter_map(|place| told.get(place).cloned().flatten()).collect())
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
                pass.within(self.evaluate(&plan, (reading, None), &pass, &mut self.budget())).await
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        self.count(result, began)
    }

    /// Brings `standing` up to what is there now.
    async fn look(&self, standing: &mut Standing, asked: &Asked<'_>) -> Result<(), QueryError> {
        let (Some(start), Some(end)) =
            (asked.iter().map(|(_, select)| select.start).min(), asked.iter().map(|(_, select)| select.end).max())
        else {
            return Ok(());
        };
        let (registry, storage, width) = (self.streams.registry(), self.streams.storage(), self.streams.width());
        let reading = Reading { tier: Tier::Fine, width };
        standing.resolve(registry, asked);
        let known = |(key, select): &(u128, &Select)| standing.means(*key) && select.names_are_equalities();
        if !asked.iter().all(known) {
            // Perhaps another replica was the first to see it.
            load_metrics(registry, storage).await?;
            standing.resolve(registry, asked);
        }
        let mut asked_for: HashSet<SeriesId> = HashSet::new();
        for _ in 0..RETRIES {
            let known = registry.metrics().len();
            let metrics = standing.metrics(asked);
            self.catalogue(metrics.iter()).await?;
            let ids: Vec<i64> = metrics.iter().map(|metric| metric.id.0 as i64).collect();
            let (keys, rows) = storage.block_keys(&ids, &reading.blocks((start, end))).await?;
            let heads = self.streams.follow(&rows).await?;
            if registry.metrics().len() != known {
                // Following has made metrics known, perhaps one that is meant.
                standing.resolve(registry, asked);
                continue;
            }
            let source = Source::new(&keys, &rows, &heads);
            let stale = tokio::task::block_in_place(|| {
                standing.pick((registry, &self.indexes), asked);
                standing.begin(asked, &source, width)
            });
            let keys = in_order(keys.into_iter().filter(|key| stale.contains(&key.metric_id)).collect());
            let mut unknown: Vec<SeriesId> = Vec::new();
            let visited = self.blocks.visit::<QueryError>(storage, &keys, &|_| true, |blocks| {
                for (key, block) in &blocks {
                    standing.add_block(registry, (key.metric_id, block), &mut unknown);
                }
                Ok(())
            });
            if !visited.await? {
                continue;
            }
            unknown.retain(|id| asked_for.insert(*id));
            if !unknown.is_empty() {
                self.look_up(&unknown).await?;
                continue;
            }
            tokio::task::block_in_place(|| standing.finish(asked, &source));
            if held(&rows, &heads) {
                return Ok(());
            }
            standing.disbelieve(asked);
        }
        Err(replaced())
    }

    /// What is told; `None` where what is kept does not say.
    fn answer(
        &self,
        question: &Question<'_>,
        standing: &mut Standing,
        (now, width): (TimeMs, Width),
        alarm: &Alarm,
    ) -> Option<Told> {
        let prepared = match &question.prepared {
            Ok(prepared) if prepared.is_fine() => prepared,
            Ok(_) => return None,
            Err(error) => return Some(Err(Arc::clone(error))),
        };
        if let Some(sum) = question.condition.sum()
            && let Some(key) = prepared.keys.first()
            && let Some(answer) = standing.sum((question.condition.key(), sum), *key, (question.at, now, width))
        {
            return Some(Ok(Arc::new(answer)));
        }
        let newest = question.condition.is_of_newest().then_some(NEWEST);
        let evaluated = || {
            let mut budget = self.budget();
            let mut series: Vec<Vec<SeriesWindows>> = Vec::with_capacity(prepared.keys.len());
            for (key, select) in prepared.selects() {
                series.push(standing.series((key, select), width, newest, &mut budget)?);
            }
            let late = || QueryError::Deadline(alarm.deadline());
            prepared.plan.evaluate_until(&series, alarm.flag())?.ok_or_else(late)
        };
        Some(evaluated().map(Arc::new).map_err(Arc::new))
    }
}

#[cfg(test)]
mod tests;
