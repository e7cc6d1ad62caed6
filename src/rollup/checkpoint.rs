//! Checkpoints: a sealed generation becomes blocks, and the cursor moves, in one transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chrono::{DateTime, Utc};
use hashbrown::{HashMap, HashSet};
use tokio_util::sync::CancellationToken;

use super::block::{self, BlockError, BlockSeries};
use super::head::{Generation, HeadEntry};
use super::log::Log;
use super::registry::{MetricEntry, Registry, Slot};
use super::streams::Streams;
use crate::model::{Cell, Exemplar, MetricId, Width, WindowStart};
use crate::storage::{BlockPart, Flush, MetricRow, NewSeries, StorageError, Tier, kept};

/// Most series in one block of a checkpoint, which has few windows of each.
const SERIES_PER_PART: usize = 1_000;
/// Most series in a block that compaction writes: all are decoded for one of them, and fewer compress worse.
const SERIES_PER_BLOCK: usize = 250;
/// Series named in one statement.
const SERIES_PER_INSERT: usize = 5_000;
/// Between two looks at what may be forgotten.
const FORGET_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
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
                () = tokio::time::sleep(FORGET_EVERY) => {}
                () = cancel.cancelled() => {}
            },
            Err(error) => {
                streams.metrics.checkpoint_failed();
                tracing::warn!(error = &error as &dyn std::error::Error, "checkpoint failed");
                if cancel.is_cancelled() || matches!(error, CheckpointError::Storage(StorageError::Fenced)) {
                    // What is not flushed is in the journal; whoever has the stream folds it. Ours does not wait for it: the
                    // next export finds out and begins another.
                    streams.metrics.checkpoints_waiting.set(0);
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
        stream.head.forget_flushed(*cursor, Instant::now());
        streams.count_waiting(stream);
    }
    stream.head.forget_flushed(*cursor, Instant::now());
    streams.count_waiting(stream);
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
    let built = tokio::task::spawn_blocking(move || build(&registry, width, &sealed)).await??;
    define(streams, &built).await?;
    let mut flush = built.flush;
    (flush.stream, flush.epoch, flush.cursor_seq) = (lease.0, lease.1, generation.last_seq);
    streams.storage().checkpoint(&flush).await?;
    let bytes = flush.blocks.iter().map(|block| block.payload.len()).sum();
    streams.metrics.checkpointed(flush.blocks.len(), bytes, began.elapsed());
    tracing::debug!(stream = lease.0, cursor = generation.last_seq, blocks = flush.blocks.len(), "checkpoint written");
    Ok(())
}

/// Writes who the ids of a flush are, ahead of it: what is named in vain does no harm, and a great many new series make no
/// great transaction.
async fn define(streams: &Streams, built: &Built) -> Result<(), StorageError> {
    let (storage, registry) = (streams.storage(), streams.registry());
    storage.define_metrics(&built.metrics).await?;
    for row in &built.metrics {
        if let Some(metric) = registry.metric_by_id(MetricId(row.id as u64)) {
            metric.stored.store(true, Ordering::Relaxed);
        }
    }
    for slots in built.series.chunks(SERIES_PER_INSERT) {
        storage.define_series(&new_series(registry, slots)).await?;
        for entry in slots.iter().filter_map(|slot| registry.get(*slot)) {
            entry.stored.store(true, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Moves the cursor over rows that hold no windows.
pub(super) async fn skip_to(streams: &Streams, lease: (i64, i64), seq: i64) -> Result<(), StorageError> {
    let flush = Flush { stream: lease.0, epoch: lease.1, cursor_seq: seq, ..Flush::default() };
    streams.storage().checkpoint(&flush).await
}

/// The flush of a generation, and the metrics and series that are to be in their tables before it.
struct Built {
    flush: Flush,
    metrics: Vec<MetricRow>,
    series: Vec<Slot>,
}

fn build(registry: &Registry, width: Width, generation: &Generation) -> Result<Built, BlockError> {
    let (mut flush, mut metrics) = (Flush::default(), Vec::new());
    let mut new: HashSet<Slot> = HashSet::new();
    let mut exemplars: HashMap<Slot, Vec<Exemplar>> = HashMap::new();
    for ((slot, _), exemplar) in &generation.exemplars {
        exemplars.entry(*slot).or_default().push(exemplar.clone());
    }
    for (index, log) in &generation.logs {
        let Some(metric) = registry.metric_at(*index) else { continue };
        let first_seen = |slot: &Slot| registry.get(*slot).is_some_and(|entry| !entry.stored.load(Ordering::Relaxed));
        new.extend(log.iter().map(|entry| entry.slot).filter(first_seen));
        if !metric.stored.load(Ordering::Relaxed) {
            metrics.push(metric_row(metric));
        }
        write_blocks((registry, width, metric.id), log, &mut exemplars, &mut flush.blocks)?;
    }
    let mut series: Vec<Slot> = new.into_iter().collect();
    // Two replicas that insert the same ones in another order would wait for each other.
    series.sort_unstable_by_key(|slot| registry.get(*slot).map(|entry| (entry.metric.id.0 as i64, entry.id.0 as i64)));
    metrics.sort_unstable_by_key(|row| row.id);
    Ok(Built { flush, metrics, series })
}

/// The blocks of a metric, span after span; only one block's series are held beside the log.
fn write_blocks(
    (registry, width, metric): (&Registry, Width, MetricId),
    log: &Log,
    exemplars: &mut HashMap<Slot, Vec<Exemplar>>,
    out: &mut Vec<BlockPart>,
) -> Result<(), BlockError> {
    let mut order: Vec<&HeadEntry> = log.iter().collect();
    let span_of = |entry: &HeadEntry| Tier::Fine.block_start(i64::from(entry.window));
    order.sort_unstable_by_key(|entry| (span_of(entry), entry.slot, entry.window));
    for span in order.chunk_by(|a, b| span_of(a) == span_of(b)) {
        let starts_at = span.first().map_or(0, |entry| span_of(entry));
        let mut series: Vec<BlockSeries> = Vec::with_capacity(SERIES_PER_PART);
        for entries in span.chunk_by(|a, b| a.slot == b.slot) {
            series.extend(block_series(registry, entries, exemplars));
            if series.len() == SERIES_PER_PART {
                out.extend(encode(metric, (Tier::Fine, width), starts_at, &series, false)?);
                series.clear();
            }
        }
        out.extend(encode(metric, (Tier::Fine, width), starts_at, &series, false)?);
    }
    Ok(())
}

/// The entries of one series, in order of their windows; those of one window merged.
fn block_series(
    registry: &Registry,
    entries: &[&HeadEntry],
    exemplars: &mut HashMap<Slot, Vec<Exemplar>>,
) -> Option<BlockSeries> {
    let slot = entries.first()?.slot;
    let id = registry.get(slot)?.id;
    let mut windows: Vec<(WindowStart, Cell)> = Vec::with_capacity(entries.len());
    for entry in entries {
        match windows.last_mut().filter(|(window, _)| *window == entry.window) {
            Some((_, cell)) => cell.merge(&entry.cell),
            None => windows.push((entry.window, entry.cell.clone())),
        }
    }
    // Exemplars go with the first span of their series; a reader takes them by their own time.
    Some(BlockSeries { id, windows, exemplars: exemplars.remove(&slot).unwrap_or_default() })
}

/// Blocks of one metric and span.
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
    series.chunks(if compacted { SERIES_PER_BLOCK } else { SERIES_PER_PART }).map(part).collect()
}

fn metric_row(entry: &MetricEntry) -> MetricRow {
    MetricRow {
        id: entry.id.0 as i64,
        name: kept(&entry.metric.name).into_owned(),
        unit: kept(&entry.metric.unit).into_owned(),
        kind: i16::from(entry.metric.kind as u8),
        temporality: i16::from(entry.metric.temporality as u8),
        description: kept(&entry.description).into_owned(),
    }
}

fn new_series(registry: &Registry, slots: &[Slot]) -> NewSeries {
    let mut new = NewSeries::default();
    for entry in slots.iter().filter_map(|slot| registry.get(*slot)) {
        let labels = registry.labels(entry);
        new.add(entry.metric.id.0 as i64, entry.id.0 as i64, labels.iter());
    }
    new
}
