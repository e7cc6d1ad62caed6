//! Conditions of rules, many at once and again and again.
//!
//! Queries that are alike are evaluated once. Blocks, cursors and heads are read once for all of them, as of one snapshot;
//! and what does not change is kept between the times that they are asked, in [`Standing`]: plans, which series a selector
//! means, the windows that came from blocks and sealed generations, and sums over them. Only what a head still takes in is
//! read each time.

mod added;
mod index;
mod kept;
mod standing;
mod sums;

use std::sync::Arc;

use chrono::Utc;
use hashbrown::HashMap;

use self::kept::Source;
pub use self::standing::Standing;
use self::standing::identity;
use super::QueryError;
use super::compile::{Params, Plan};
use super::condition::Condition;
use super::engine::{Engine, date};
use super::select::{Select, is_equality};
use super::value::Answer;
use crate::model::{SeriesWindows, TimeMs, Width};
use crate::rollup::load_metrics;
use crate::storage::Tier;

/// Times that blocks replaced by compaction in the middle are looked up anew.
const RETRIES: usize = 5;
/// Newest windows that a selector without a range needs: one may not count yet.
const NEWEST: usize = 3;

/// What a condition's query gave, shared by all who asked the same.
pub type Told = Result<Arc<Answer>, Arc<QueryError>>;

/// The selectors of some conditions, each with its identity.
type Asked<'a> = [(u128, &'a Select)];

/// A plan that is moved on in time instead of being made anew.
pub(in crate::query) struct Prepared {
    plan: Plan,
    /// Identities of its selectors.
    keys: Vec<u128>,
}

impl Prepared {
    fn of(condition: &Condition, params: Params) -> Result<Self, QueryError> {
        let plan = condition.plan(params)?;
        let keys = plan.selects().iter().map(identity).collect();
        Ok(Self { plan, keys })
    }

    fn selects(&self) -> impl Iterator<Item = (u128, &Select)> {
        self.keys.iter().copied().zip(self.plan.selects())
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
        let (now, width) = (Utc::now().timestamp_millis(), self.streams.width());
        let mut questions: Vec<Question<'_>> = Vec::new();
        let mut known: HashMap<(u128, TimeMs), usize> = HashMap::with_capacity(conditions.len());
        let mut places = Vec::with_capacity(conditions.len());
        for (condition, at) in conditions {
            let place = *known.entry((condition.key(), *at)).or_insert(questions.len());
            if place == questions.len() {
                let prepared = standing.prepared(condition, Params::instant(*at, now, width));
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
        let told: Vec<Told> = tokio::task::block_in_place(|| {
            questions.iter().map(|question| answer(question, standing, (now, width))).collect()
        });
        for question in questions {
            if let Ok(prepared) = question.prepared {
                standing.keep(question.condition, prepared);
            }
        }
        standing.trim();
        Ok(places.into_iter().filter_map(|place| told.get(place).cloned()).collect())
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

    /// Brings `standing` up to what is there now.
    async fn look(&self, standing: &mut Standing, asked: &Asked<'_>) -> Result<(), QueryError> {
        let (Some(start), Some(end)) =
            (asked.iter().map(|(_, select)| select.start).min(), asked.iter().map(|(_, select)| select.end).max())
        else {
            return Ok(());
        };
        let (keys_from, to) = (date(start - Tier::Fine.span_seconds() * 1_000), date(end));
        let registry = self.streams.registry();
        standing.resolve(registry, asked);
        let missed = |(key, select): &(u128, &Select)| select.names.iter().any(is_equality) && !standing.means(*key);
        if asked.iter().any(missed) {
            // Perhaps another replica was the first to see it.
            load_metrics(registry, self.streams.storage()).await?;
            standing.resolve(registry, asked);
        }
        for _ in 0..RETRIES {
            let known = registry.metrics().len();
            let metrics = standing.metrics(asked);
            for metric in &metrics {
                self.catalogue(metric).await?;
            }
            let ids: Vec<i64> = metrics.iter().map(|metric| metric.id.0 as i64).collect();
            let (keys, rows) = self.streams.storage().block_keys(&ids, Tier::Fine, keys_from, to).await?;
            let heads = self.streams.follow(&rows).await?;
            if registry.metrics().len() != known {
                // Following has made metrics known, perhaps one that is meant.
                standing.resolve(registry, asked);
                continue;
            }
            let Some(blocks) = self.blocks.load(self.streams.storage(), Tier::Fine, &keys).await? else { continue };
            let source = Source::new(blocks, &keys, &rows, heads);
            tokio::task::block_in_place(|| {
                standing.pick(registry, asked);
                standing.read(registry, asked, &source, self.streams.width());
            });
            return Ok(());
        }
        Err(QueryError::Execution("blocks were replaced again and again while they were read".to_owned()))
    }
}

fn answer(question: &Question<'_>, standing: &mut Standing, (now, width): (TimeMs, Width)) -> Told {
    let Prepared { plan, keys } = question.prepared.as_ref().map_err(Arc::clone)?;
    if let Some(sum) = question.condition.sum()
        && let Some(key) = keys.first()
        && let Some(answer) = standing.sum((question.condition.key(), sum), *key, (question.at, now, width))
    {
        return Ok(Arc::new(answer));
    }
    let newest = question.condition.is_of_newest().then_some(NEWEST);
    let mut series: Vec<Vec<SeriesWindows>> = Vec::with_capacity(keys.len());
    for (key, select) in keys.iter().zip(plan.selects()) {
        series.push(standing.series(*key, select, width, newest).map_err(Arc::new)?);
    }
    plan.evaluate(&series).map(Arc::new).map_err(Arc::new)
}

#[cfg(test)]
mod tests;
