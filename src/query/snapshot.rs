//! Snapshots: where blocks are and how far heads go, as of one moment of the database, for one selector or for many.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::QueryError;
use super::compile::Plan;
use super::engine::Engine;
use super::fetch::{Reading, Wanted, in_order};
use super::limits::Budget;
use super::select::Select;
use crate::model::{MetricId, TimeMs};
use crate::rollup::{MetricEntry, Stream};
use crate::storage::{BlockKey, BlockSpan, StreamRow};

/// What a selector wants, with a snapshot; none where it has to be looked up anew.
pub(super) type FoundSnapshot = Result<Option<(Wanted, Snapshot)>, QueryError>;

/// What one database snapshot says: where the blocks are, and the streams with their heads brought up to it.
pub(super) struct Snapshot {
    pub(super) keys: Vec<BlockKey>,
    pub(super) rows: Vec<StreamRow>,
    pub(super) heads: Vec<Arc<Stream>>,
}

/// One snapshot for many selectors, all of one reading.
pub(super) struct Shared {
    /// The metrics that it was taken for.
    ids: HashSet<MetricId>,
    snapshot: Snapshot,
}

impl Shared {
    /// What it says of `select`; `None` where it does not reach.
    pub(super) fn of(&self, engine: &Engine, select: &Select, reading: Reading, budget: &mut Budget) -> FoundSnapshot {
        let metrics = engine.metrics_of(select);
        if !metrics.iter().all(|(metric, _)| self.ids.contains(&metric.id)) {
            return Ok(None);
        }
        let wanted = Wanted::of((engine.streams.registry(), &engine.indexes), metrics, select, budget)?;
        let (ids, spans) = (wanted.ids(), reading.blocks(select.span()));
        let is_meant = |key: &&BlockKey| {
            let within =
                |span: &BlockSpan| span.tier as i16 == key.tier && (span.from..=span.to).contains(&key.starts_at);
            ids.contains(&key.metric_id) && spans.iter().any(within)
        };
        let Snapshot { keys, rows, heads } = &self.snapshot;
        let keys = keys.iter().filter(is_meant).copied().collect();
        Ok(Some((wanted, Snapshot { keys, rows: rows.clone(), heads: heads.clone() })))
    }
}

impl Snapshot {
    /// Whether the heads, which were read, still had all that is not in the blocks.
    pub(super) fn held(&self) -> bool {
        held(&self.rows, &self.heads)
    }
}

/// See [`Snapshot::held`].
pub(super) fn held(rows: &[StreamRow], heads: &[Arc<Stream>]) -> bool {
    rows.iter().zip(heads).all(|(row, stream)| stream.head.holds(row.cursor_seq))
}

impl Engine {
    /// One snapshot for all selectors of plans that are evaluated at one time; ranges each look at what they remember.
    pub(super) async fn share(&self, plans: &[(Plan, Reading)]) -> Result<Option<Shared>, QueryError> {
        let is_instant = |(plan, _): &(Plan, Reading)| plan.params.start == plan.params.end;
        let Some(reading) = plans.first().map(|(_, reading)| *reading) else { return Ok(None) };
        if plans.len() < 2 || !plans.iter().all(|one| is_instant(one) && one.1 == reading) {
            return Ok(None);
        }
        let selects: Vec<&Select> = plans.iter().flat_map(|(plan, _)| plan.selects()).collect();
        let bounds = |of: fn(&Select) -> TimeMs| selects.iter().map(move |select| of(select));
        let (Some(start), Some(end)) = (bounds(|s| s.start).min(), bounds(|s| s.end).max()) else { return Ok(None) };
        self.know(selects.iter().copied()).await?;
        let meant = selects.iter().flat_map(|select| self.metrics_of(select)).map(|(metric, _)| (metric.id, metric));
        let metrics: HashMap<MetricId, Arc<MetricEntry>> = meant.collect();
        self.catalogue(metrics.values()).await?;
        let ids: Vec<i64> = metrics.keys().map(|id| id.0 as i64).collect();
        let (keys, rows) = self.streams.storage().block_keys(&ids, &reading.blocks((start, end))).await?;
        let heads = self.streams.follow(&rows).await?;
        let snapshot = Snapshot { keys: in_order(keys), rows, heads };
        Ok(Some(Shared { ids: metrics.into_keys().collect(), snapshot }))
    }

    /// What `select` wants, and the block keys and heads over the span of `around` as of one database snapshot. None when
    /// following the streams made metrics known that were not: look again.
    pub(super) async fn snapshot(
        &self,
        (select, around): (&Select, &Select),
        reading: Reading,
        budget: &mut Budget,
    ) -> FoundSnapshot {
        let before = self.wanted(select, &mut budget.clone()).await?;
        let (keys, rows) = self.streams.storage().block_keys(&before.ids(), &reading.blocks(around.span())).await?;
        let heads = self.streams.follow(&rows).await?;
        let metrics = self.metrics_of(select);
        if metrics.len() != before.metrics.len() {
            return Ok(None);
        }
        let wanted = Wanted::of((self.streams.registry(), &self.indexes), metrics, select, budget)?;
        Ok(Some((wanted, Snapshot { keys: in_order(keys), rows, heads })))
    }
}
