//! Compaction: the parts of an hour become one block, and the coarser tiers follow from it.
//!
//! A reconciler: it looks for spans that ended and still hold parts, a bounded batch at a time. A late point makes a new
//! part, and the span is done again. Two replicas do not meet: the parts are locked while they are rewritten.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use hashbrown::{HashMap, HashSet};
use tokio_util::sync::CancellationToken;

use super::block::{self, BlockError, BlockSeries};
use super::checkpoint::encode;
use super::order;
use super::registry::Registry;
use super::stream::register_series;
use super::streams::Streams;
use crate::model::{Exemplar, MetricId, SeriesId, Width};
use crate::storage::{BlockPart, HourToCompact, StorageError, Tier};

/// Pause between looks.
const EVERY: Duration = Duration::from_secs(60);
/// How long after its end a span is left alone, for points that come late.
const SETTLE: TimeDelta = TimeDelta::minutes(10);
/// Spans in one batch.
const BATCH: i64 = 100;

/// The reconciler.
pub struct Compactor {
    streams: Arc<Streams>,
}

/// Why a span was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The database is away.
    #[error("the blocks of a span were not rewritten")]
    Storage(#[from] StorageError),
    /// A block is damaged, or a bug.
    #[error("a block cannot be rewritten")]
    Block(#[from] BlockError),
}

impl Compactor {
    /// Over `streams`.
    #[must_use]
    pub const fn new(streams: Arc<Streams>) -> Self {
        Self { streams }
    }

    /// Compacts what has settled, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = cancel.cancelled() => return,
            }
            tokio::select! {
                compacted = self.compact_settled(SETTLE) => match compacted {
                    Ok(0) => {}
                    Ok(spans) => tracing::info!(spans, "spans compacted"),
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "compaction stopped"),
                },
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Compacts the spans that ended `settle` ago or earlier; returns how many.
    ///
    /// # Errors
    /// See [`CompactError`].
    pub async fn compact_settled(&self, settle: TimeDelta) -> Result<usize, CompactError> {
        let storage = self.streams.storage();
        let before = storage.now().await? - settle - TimeDelta::seconds(Tier::Fine.span_seconds());
        let (mut compacted, mut failed) = (0, HashSet::new());
        loop {
            // One that cannot be read must not keep the others from being rolled up.
            let spans = storage.blocks_to_compact(before, BATCH + failed.len() as i64).await?;
            let spans: Vec<_> =
                spans.into_iter().filter(|span| !failed.contains(&(span.metric_id, span.starts_at))).collect();
            for span in &spans {
                match self.compact(span).await {
                    Ok(()) => compacted += 1,
                    Err(CompactError::Block(error)) => {
                        failed.insert((span.metric_id, span.starts_at));
                        self.streams.metrics.compaction_failed();
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, metric = span.metric_id, starts_at = %span.starts_at, "span not compacted");
                    }
                    Err(error) => return Err(error),
                }
            }
            if (spans.len() as i64) < BATCH {
                return Ok(compacted);
            }
        }
    }

    #[tracing::instrument(name = "fastbreak.rollup.compact", skip_all, fields(fastbreak.metric.id = span.metric_id))]
    async fn compact(&self, span: &HourToCompact) -> Result<(), CompactError> {
        let start = span.starts_at.timestamp();
        let coarse = [(Tier::Minute, Width::MINUTE), (Tier::Hour, Width::HOUR)];
        let mut spans = vec![(Tier::Fine, span.starts_at)];
        spans.extend(
            coarse.map(|(tier, _)| {
                (tier, chrono::DateTime::from_timestamp(tier.block_start(start), 0).unwrap_or_default())
            }),
        );
        let hour = Hour { metric: MetricId(span.metric_id as u64), start, fine: self.streams.width() };
        let (storage, registry) = (self.streams.storage(), self.streams.registry());
        let mut looked_up = false;
        loop {
            let (mut failed, mut blocks, mut unknown) = (None, 0, Vec::new());
            let rewrite = |payloads: Vec<Vec<Vec<u8>>>| {
                let parts = hour.rewrite(&payloads, &coarse, (registry, &mut unknown));
                let parts = parts.map_err(|error| failed = Some(error)).ok()?;
                blocks = parts.len();
                (unknown.is_empty() || looked_up).then_some(parts)
            };
            storage.blocks_rewrite(span.metric_id, &spans, rewrite).await?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            if unknown.is_empty() || looked_up {
                self.streams.metrics.compacted(blocks);
                return Ok(());
            }
            // Series of other replicas, or of a process before this one: once their labels are here they have a place.
            looked_up = true;
            let ids: Vec<i64> = unknown.iter().map(|id| id.0 as i64).collect();
            storage.series_by_id(&ids).await?.iter().for_each(|row| register_series(registry, row));
        }
    }
}

/// One metric in one hour.
struct Hour {
    metric: MetricId,
    start: i64,
    fine: Width,
}

impl Hour {
    /// The hour's blocks merged, and the coarser tiers' blocks with the hour replaced by its roll-up.
    /// Series are told whose labels are not known, so that they have no place in the order.
    fn rewrite(
        &self,
        payloads: &[Vec<Vec<u8>>],
        coarse: &[(Tier, Width)],
        (registry, unknown): (&Registry, &mut Vec<SeriesId>),
    ) -> Result<Vec<BlockPart>, BlockError> {
        let (fine, rest) = payloads.split_first().ok_or(BlockError::Malformed("no span"))?;
        let mut all = Vec::new();
        for payload in fine {
            all.extend(block::decode(payload, &|_| true)?);
        }
        let mut merged = merge(all);
        unknown.extend(order::sort(registry, &mut merged));
        // Windows from before their width was changed fit no other.
        let fits = |series: &BlockSeries| series.windows.iter().all(|(window, _)| window % self.fine.seconds() == 0);
        let fine = if merged.iter().all(fits) { self.fine } else { Width::SECOND };
        let mut parts = encode(self.metric, (Tier::Fine, fine), self.start, &merged, true)?;
        let hour = self.start as u32..(self.start + Tier::Fine.span_seconds()) as u32;
        for ((tier, width), payloads) in coarse.iter().zip(rest) {
            let mut all: Vec<BlockSeries> = merged.iter().map(|series| roll(series, *width)).collect();
            for payload in payloads {
                all.extend(outside(payload, &hour)?);
            }
            let mut merged = merge(all);
            unknown.extend(order::sort(registry, &mut merged));
            parts.extend(encode(self.metric, (*tier, *width), tier.block_start(self.start), &merged, true)?);
        }
        Ok(parts)
    }
}

/// The series of a block without the windows of `hour`.
fn outside(payload: &[u8], hour: &std::ops::Range<u32>) -> Result<Vec<BlockSeries>, BlockError> {
    let mut series = block::decode(payload, &|_| true)?;
    for one in &mut series {
        one.windows.retain(|(window, _)| !hour.contains(window));
        one.exemplars.retain(|exemplar| !hour.contains(&((exemplar.time / 1000) as u32)));
    }
    series.retain(|one| !one.windows.is_empty());
    Ok(series)
}

/// One entry a series, windows merged.
pub(super) fn merge(all: Vec<BlockSeries>) -> Vec<BlockSeries> {
    let mut by_id: HashMap<SeriesId, BlockSeries> = HashMap::new();
    for series in all {
        match by_id.get_mut(&series.id) {
            Some(known) => {
                known.windows.extend(series.windows);
                known.exemplars.extend(series.exemplars);
            }
            None => {
                by_id.insert(series.id, series);
            }
        }
    }
    let mut out: Vec<BlockSeries> = by_id.into_values().collect();
    for series in &mut out {
        *series = roll(series, Width::SECOND);
    }
    out
}

/// The series in windows of `width`.
#[must_use]
pub(super) fn roll(series: &BlockSeries, width: Width) -> BlockSeries {
    let mut windows: Vec<_> =
        series.windows.iter().map(|(window, cell)| (width.window_of(i64::from(*window) * 1000), cell)).collect();
    windows.sort_by_key(|(window, _)| *window);
    let mut rolled: Vec<(u32, crate::model::Cell)> = Vec::with_capacity(windows.len());
    for (window, cell) in windows {
        match rolled.last_mut().filter(|(last, _)| *last == window) {
            Some((_, known)) => known.merge(cell),
            None => rolled.push((window, cell.clone())),
        }
    }
    BlockSeries { id: series.id, windows: rolled, exemplars: greatest(&series.exemplars, width) }
}

/// The greatest exemplar of each window of `width`, by time.
fn greatest(exemplars: &[Exemplar], width: Width) -> Vec<Exemplar> {
    let mut sorted: Vec<&Exemplar> = exemplars.iter().collect();
    sorted.sort_by(|a, b| {
        let window = |e: &Exemplar| width.window_of(e.time);
        window(a).cmp(&window(b)).then(b.value.total_cmp(&a.value)).then(a.time.cmp(&b.time))
    });
    sorted.dedup_by_key(|exemplar| width.window_of(exemplar.time));
    sorted.into_iter().cloned().collect()
}
