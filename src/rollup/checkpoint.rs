//! Checkpoints: a sealed generation becomes blocks, and the cursor moves, in one transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chrono::{DateTime, Utc};
use hashbrown::{HashMap, HashSet};
use tokio_util::sync::CancellationToken;

use super::block::{self, BlockError, BlockSeries};
use super::head::{Generation, HeadEntry};
use super::registry::{MetricEntry, Registry, Slot};
use super::streams::Streams;
use crate::model::{Exemplar, MetricId, Width};
use crate::storage::{BlockPart, Flush, MetricRow, SeriesRow, StorageError, Tier};

/// Most series in one block.
pub(super) const SERIES_PER_BLOCK: usize = 1_000;
/// Pause before a failed flush is tried again.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// Why a checkpoint was not written; what it should have held stays in memory and in the journal.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The database is away, or the stream is no longer ours.
    #[error("the checkpoint was not written")]
    Storage(#[from] StorageError),
    /// A bug: windows that the codec does not take.
    #[error("a block cannot be encoded")]
    Block(#[from] BlockError),
    /// A bug: encoding panicked.
    #[error("the encoder stopped")]
    Encoder(#[from] tokio::task::JoinError),
}

/// Flushes the sealed generations of our own stream as they come, until cancelled and nothing is left.
pub async fn run_flusher(streams: Arc<Streams>, cancel: CancellationToken) {
    let mut cursor = HashMap::<i64, i64>::new();
    loop {
        let woken = streams.wake_flusher.notified();
        let flushed = match streams.own() {
            None => Ok(()),
            Some((stream, epoch)) => {
                let cursor = cursor.entry(stream.id()).or_default();
                flush_all(&streams, &stream, epoch, cursor).await
            }
        };
        match flushed {
            Ok(()) if cancel.is_cancelled() => return,
            Ok(()) => tokio::select! {
                () = woken => {}
                () = cancel.cancelled() => {}
            },
            Err(error) => {
                streams.metrics.checkpoint_failed();
                tracing::warn!(error = &error as &dyn std::error::Error, "checkpoint failed");
                if cancel.is_cancelled() || matches!(error, CheckpointError::Storage(StorageError::Fenced)) {
                    // What is not flushed is in the journal; whoever has the stream folds it.
                    tokio::select! {
                        () = woken => {}
                        () = cancel.cancelled() => return,
                    }
                } else {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

async fn flush_all(
    streams: &Streams,
    stream: &super::stream::Stream,
    epoch: i64,
    cursor: &mut i64,
) -> Result<(), CheckpointError> {
    for generation in stream.head.sealed_after(*cursor) {
        flush(streams, (stream.id(), epoch), &generation).await?;
        *cursor = generation.last_seq;
        stream.head.forget_flushed(*cursor);
    }
    Ok(())
}

/// Writes one generation as blocks and moves the cursor of `(stream, epoch)` past it.
#[tracing::instrument(name = "fastbreak.rollup.checkpoint", skip_all, fields(fastbreak.stream.id = lease.0))]
pub(super) async fn flush(
    streams: &Streams,
    lease: (i64, i64),
    generation: &Arc<Generation>,
) -> Result<(), CheckpointError> {
    let (began, registry) = (Instant::now(), Arc::clone(streams.registry()));
    let (width, sealed) = (streams.width(), Arc::clone(generation));
    let (mut flush, slots) = tokio::task::spawn_blocking(move || build(&registry, width, &sealed)).await??;
    (flush.stream, flush.epoch, flush.cursor_seq) = (lease.0, lease.1, generation.last_seq);
    streams.storage().checkpoint(&flush).await?;
    let bytes = flush.blocks.iter().map(|block| block.payload.len()).sum();
    streams.metrics.checkpointed(flush.blocks.len(), bytes, began.elapsed());
    for entry in slots.iter().filter_map(|slot| streams.registry().get(*slot)) {
        entry.stored.store(true, Ordering::Relaxed);
        entry.metric.stored.store(true, Ordering::Relaxed);
    }
    tracing::debug!(stream = lease.0, cursor = generation.last_seq, blocks = flush.blocks.len(), "checkpoint written");
    Ok(())
}

/// Moves the cursor over rows that hold no windows.
pub(super) async fn skip_to(streams: &Streams, lease: (i64, i64), seq: i64) -> Result<(), StorageError> {
    let flush = Flush { stream: lease.0, epoch: lease.1, cursor_seq: seq, ..Flush::default() };
    streams.storage().checkpoint(&flush).await
}

/// The flush of a generation, and the series that are in the table once it is written.
fn build(registry: &Registry, width: Width, generation: &Generation) -> Result<(Flush, Vec<Slot>), BlockError> {
    let mut flush = Flush::default();
    let mut new_slots: HashSet<Slot> = HashSet::new();
    let mut exemplars: HashMap<Slot, Vec<Exemplar>> = HashMap::new();
    for ((slot, _), exemplar) in &generation.exemplars {
        exemplars.entry(*slot).or_default().push(exemplar.clone());
    }
    for (index, log) in &generation.logs {
        let Some(metric) = registry.metric_at(*index) else { continue };
        let first_seen = |slot: &Slot| registry.get(*slot).is_some_and(|entry| !entry.stored.load(Ordering::Relaxed));
        new_slots.extend(log.iter().map(|entry| entry.slot).filter(first_seen));
        if !metric.stored.load(Ordering::Relaxed) {
            flush.metrics.push(metric_row(metric));
        }
        for (starts_at, series) in by_span(registry, log, &mut exemplars) {
            flush.blocks.extend(encode(metric.id, (Tier::Fine, width), starts_at, &series, false)?);
        }
    }
    flush.series = new_slots.iter().filter_map(|slot| series_row(registry, *slot)).collect();
    // Two replicas that insert the same ones in another order would wait for each other.
    flush.series.sort_unstable_by_key(|row| (row.metric_id, row.id));
    flush.metrics.sort_unstable_by_key(|row| row.id);
    Ok((flush, new_slots.into_iter().collect()))
}

/// Entries grouped by block span and series, windows merged.
fn by_span(
    registry: &Registry,
    log: &[HeadEntry],
    exemplars: &mut HashMap<Slot, Vec<Exemplar>>,
) -> HashMap<i64, Vec<BlockSeries>> {
    let mut order: Vec<&HeadEntry> = log.iter().collect();
    order.sort_by_key(|entry| (Tier::Fine.block_start(i64::from(entry.window)), entry.slot, entry.window));
    let mut spans: HashMap<i64, Vec<BlockSeries>> = HashMap::new();
    let mut previous = None;
    for entry in order {
        let Some(id) = registry.get(entry.slot).map(|series| series.id) else { continue };
        let span = Tier::Fine.block_start(i64::from(entry.window));
        let series = spans.entry(span).or_default();
        if previous.replace((span, entry.slot)) != Some((span, entry.slot)) {
            // Exemplars go with the first span of their series; a reader takes them by their own time.
            let exemplars = exemplars.remove(&entry.slot).unwrap_or_default();
            series.push(BlockSeries { id, windows: Vec::new(), exemplars });
        }
        let Some(windows) = series.last_mut().map(|series| &mut series.windows) else { continue };
        match windows.last_mut().filter(|(window, _)| *window == entry.window) {
            Some((_, cell)) => cell.merge(&entry.cell),
            None => windows.push((entry.window, entry.cell.clone())),
        }
    }
    spans
}

/// Blocks of one metric and span, [`SERIES_PER_BLOCK`] series each.
pub(super) fn encode(
    metric: MetricId,
    (tier, width): (Tier, Width),
    starts_at: i64,
    series: &[BlockSeries],
    compacted: bool,
) -> Result<Vec<BlockPart>, BlockError> {
    let starts_at = DateTime::<Utc>::from_timestamp(starts_at, 0).unwrap_or_default();
    let part = |chunk: &[BlockSeries]| {
        let payload = block::encode(width, chunk)?;
        let (metric_id, series_count) = (metric.0 as i64, chunk.len() as i32);
        Ok(BlockPart { metric_id, tier: tier as i16, starts_at, series_count, compacted, payload })
    };
    series.chunks(SERIES_PER_BLOCK).map(part).collect()
}

fn metric_row(entry: &MetricEntry) -> MetricRow {
    MetricRow {
        id: entry.id.0 as i64,
        name: entry.metric.name.to_string(),
        unit: entry.metric.unit.to_string(),
        kind: i16::from(entry.metric.kind as u8),
        temporality: i16::from(entry.metric.temporality as u8),
        description: entry.description.to_string(),
    }
}

fn series_row(registry: &Registry, slot: Slot) -> Option<SeriesRow> {
    let entry = registry.get(slot)?;
    let labels = registry.labels(entry);
    let object = labels.iter().map(|(name, value)| (name.to_owned(), serde_json::Value::from(value)));
    Some(SeriesRow { metric_id: entry.metric.id.0 as i64, id: entry.id.0 as i64, labels: object.collect() })
}
