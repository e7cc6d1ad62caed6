//! Exemplars: the traces that a chart's points lead to, out of blocks and the heads of all streams.

use std::time::Instant;

use chrono::Utc;
use futures::future::BoxFuture;
use hashbrown::{HashMap, HashSet};

use super::compile::Params;
use super::engine::Engine;
use super::fetch::{Reading, Wanted};
use super::limits::Budget;
use super::select::{Meant, Select};
use super::{Plan, QueryError};
use crate::model::{Exemplar, Labels, MetricId, SeriesId, TimeMs};
use crate::rollup::{BlockSeries, Registry, Slot};
use crate::storage::Tier;

/// Most exemplars of one answer: those of the greatest values.
const EXEMPLARS_MAX: usize = 10_000;
/// An exemplar lies in the block of its point, which may be a span later or earlier than itself.
const SPREAD_MS: TimeMs = 2 * Tier::Fine.span_seconds() * 1000;
/// Times that blocks replaced in between are looked up anew.
const RETRIES: usize = 5;

/// The exemplars of one selector.
type Found = Vec<(Labels, Vec<Exemplar>)>;

/// The exemplars of one series, by time.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// Labels in PromQL's spelling, with the name.
    pub labels: Labels,
    /// In the unit of that name.
    pub exemplars: Vec<Exemplar>,
}

impl Engine {
    /// The exemplars in `[start, end]` of every series that a selector of `query` means. True when there were more.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn exemplars(
        &self,
        query: &str,
        (start, end): (TimeMs, TimeMs),
    ) -> Result<(Vec<SeriesExemplars>, bool), QueryError> {
        let now = Utc::now().timestamp_millis();
        let step = (end - start).max(1);
        let plan = Plan::parse(query, Params::range((start, end), step, now, self.streams.width()), None)?;
        let reading = self.reading(now - start + SPREAD_MS, 0);
        let selects = plan.selects().iter().map(|select| Select { start, end, ..select.clone() });
        let selects: Vec<Select> = selects.collect();
        let (began, mut budget) = (Instant::now(), self.budget());
        let result = match self.enter().await {
            Ok(pass) => pass.within(self.exemplars_of_all(&selects, reading, &mut budget)).await,
            Err(refused) => Err(refused),
        };
        self.metrics.read(&budget);
        Ok(in_order(self.count(result, began)?))
    }

    async fn exemplars_of_all(
        &self,
        selects: &[Select],
        reading: Reading,
        budget: &mut Budget,
    ) -> Result<HashMap<Labels, Vec<Exemplar>>, QueryError> {
        let mut all: HashMap<Labels, Vec<Exemplar>> = HashMap::new();
        for select in selects {
            // Boxed, so that the compiler need not look through it from every handler.
            let found: BoxFuture<'_, Result<Found, QueryError>> = Box::pin(self.exemplars_of(select, reading, budget));
            for (labels, exemplars) in found.await? {
                all.entry(labels).or_default().extend(exemplars);
            }
        }
        Ok(all)
    }

    async fn exemplars_of(&self, select: &Select, reading: Reading, budget: &mut Budget) -> Result<Found, QueryError> {
        let around = Select { start: select.start - SPREAD_MS, end: select.end + SPREAD_MS, ..select.clone() };
        let registry = self.streams.registry();
        let mut asked_for: HashSet<SeriesId> = HashSet::new();
        for _ in 0..RETRIES {
            let mut room = budget.clone();
            let Some((wanted, snapshot)) = self.snapshot((select, &around), reading, &mut room).await? else {
                continue;
            };
            let mut gathered = Gathered::new(select, &wanted);
            let wants = |id| wanted.has(registry, id);
            let visited = self.blocks.visit(self.streams.storage(), &snapshot.keys, &wants, |blocks| {
                blocks.iter().try_for_each(|(_, block)| gathered.add_block(registry, block, &mut room))
            });
            if !visited.await? {
                continue;
            }
            let unknown: Vec<SeriesId> = gathered.unknown.drain(..).filter(|id| asked_for.insert(*id)).collect();
            if !unknown.is_empty() {
                self.look_up(&unknown).await?;
                continue;
            }
            let windows = reading.fine_windows(select.span());
            for (row, stream) in snapshot.rows.iter().zip(&snapshot.heads) {
                for (slot, exemplar) in stream.head.exemplars(row.cursor_seq, windows) {
                    gathered.add(slot, &[exemplar], &mut room)?;
                }
            }
            if !snapshot.held() {
                continue;
            }
            *budget = room;
            let meant: HashMap<MetricId, &Meant> = wanted.metrics.iter().map(|(m, meant)| (m.id, meant)).collect();
            let of_slot = |(slot, mut exemplars): (Slot, Vec<Exemplar>)| {
                let entry = registry.get(slot)?;
                let meant = meant.get(&entry.metric.id)?;
                exemplars.iter_mut().for_each(|exemplar| exemplar.value = meant.in_unit(exemplar.value));
                Some((meant.labels(&registry.labels(entry)), exemplars))
            };
            return Ok(gathered.by_slot.into_iter().filter_map(of_slot).collect());
        }
        Err(QueryError::Execution("blocks were replaced again and again while they were read".to_owned()))
    }
}

struct Gathered<'a> {
    span: (TimeMs, TimeMs),
    wanted: &'a Wanted,
    by_slot: HashMap<Slot, Vec<Exemplar>>,
    /// Series of blocks that the registry does not know.
    unknown: Vec<SeriesId>,
}

impl<'a> Gathered<'a> {
    fn new(select: &Select, wanted: &'a Wanted) -> Self {
        Self { span: (select.start, select.end), wanted, by_slot: HashMap::new(), unknown: Vec::new() }
    }

    fn add_block(&mut self, registry: &Registry, block: &[BlockSeries], budget: &mut Budget) -> Result<(), QueryError> {
        for series in block.iter().filter(|series| !series.exemplars.is_empty()) {
            match registry.slot_of(series.id) {
                Some(slot) => self.add(slot, &series.exemplars, budget)?,
                None => self.unknown.push(series.id),
            }
        }
        Ok(())
    }

    fn add(&mut self, slot: Slot, exemplars: &[Exemplar], budget: &mut Budget) -> Result<(), QueryError> {
        if !self.wanted.slots.contains(slot) {
            return Ok(());
        }
        let (start, end) = self.span;
        for exemplar in exemplars.iter().filter(|exemplar| start <= exemplar.time && exemplar.time <= end) {
            budget.take_bytes(size_of::<Exemplar>())?;
            self.by_slot.entry(slot).or_default().push(exemplar.clone());
        }
        Ok(())
    }
}

/// Series by their labels, exemplars by time and each once, those of the greatest values when there are too many.
fn in_order(found: HashMap<Labels, Vec<Exemplar>>) -> (Vec<SeriesExemplars>, bool) {
    let mut out: Vec<SeriesExemplars> =
        found.into_iter().map(|(labels, exemplars)| SeriesExemplars { labels, exemplars }).collect();
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    for series in &mut out {
        series.exemplars.sort_by_key(|exemplar| (exemplar.time, exemplar.trace_id, exemplar.span_id));
        series.exemplars.dedup_by_key(|exemplar| (exemplar.time, exemplar.trace_id, exemplar.span_id));
    }
    let mut values: Vec<f64> = out.iter().flat_map(|series| &series.exemplars).map(|exemplar| exemplar.value).collect();
    let over = values.len() > EXEMPLARS_MAX;
    if over {
        values.sort_by(|a, b| b.total_cmp(a));
        let least = values.get(EXEMPLARS_MAX - 1).copied().unwrap_or(f64::INFINITY);
        let mut left = EXEMPLARS_MAX;
        for series in &mut out {
            series.exemplars.retain(|exemplar| {
                let kept = left > 0 && exemplar.value >= least;
                left -= usize::from(kept);
                kept
            });
        }
    }
    out.retain(|series| !series.exemplars.is_empty());
    (out, over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exemplars_come_by_time_each_once_and_the_greatest_when_there_are_too_many() {
        let exemplar = |time, value| Exemplar { time, value, trace_id: [1; 16], span_id: [2; 8] };
        let of = |exemplars| HashMap::from_iter([(Labels::of(&[("a", "b")]), exemplars)]);
        let (few, over) = in_order(of(vec![exemplar(2, 1.0), exemplar(1, 5.0), exemplar(2, 1.0)]));
        let times: Vec<TimeMs> = few[0].exemplars.iter().map(|exemplar| exemplar.time).collect();
        assert_eq!((times, over), (vec![1, 2], false));
        let (many, over) = in_order(of((0..EXEMPLARS_MAX as TimeMs + 5).map(|i| exemplar(i, i as f64)).collect()));
        assert_eq!((many[0].exemplars.len(), many[0].exemplars[0].time, over), (EXEMPLARS_MAX, 5, true));
    }
}
