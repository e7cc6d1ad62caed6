//! The decider: one task that, once spans have waited, stores those of marked traces and moves the cursor of their spool.
//!
//! It also reads the marks of other replicas, keeps the lease on our tails, and decides the tails of processes that died.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use super::Traces;
use super::block::BlockError;
use super::decide::Class;
use super::gather::{Piece, look};
use super::spool::{Marks, decode_bodies, decode_marks};
use super::tail::Chunk;
use crate::storage::{CallSide, DecidedTo, SpoolRow, StorageError};

/// How often the tail is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often leases are renewed; they live 15 s.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Compressed bytes decided at once.
const BATCH_BYTES: usize = 16 << 20;
/// Spool rows read at once: each may hold a group of exports.
const ROWS_PER_READ: i64 = 8;
/// Rows of marks read at once.
const MARKS_PER_READ: i64 = 1_000;
/// Streams of which it is remembered how far the graph has been fed.
const FED_MAX: usize = 1_000;
/// The epoch that a tail begins with, before anybody takes it over.
const FIRST_EPOCH: i64 = 1;

/// Why a piece of the spool is not decided now.
#[derive(Debug, thiserror::Error)]
enum DecideError {
    #[error("the database did not answer")]
    Storage(#[from] StorageError),
    #[error("a block cannot be written")]
    Block(#[from] BlockError),
    #[error("the encoder stopped")]
    Encoder(#[from] tokio::task::JoinError),
}

impl From<SpoolRow> for Piece {
    fn from(row: SpoolRow) -> Self {
        Self { seq: row.seq, marks: decode_marks(&row.marks), bodies: decode_bodies(row.spans) }
    }
}

/// Tails by stream: how far they are decided, or followed.
struct Decider {
    traces: Arc<Traces>,
    own: HashMap<i64, DecidedTo>,
    followed: HashMap<i64, i64>,
    renewed: Instant,
    turned: Instant,
}

impl Traces {
    /// Decides until cancelled; then decides at once what is left, and closes our tails.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let now = Instant::now();
        let mut decider =
            Decider { traces: self, own: HashMap::new(), followed: HashMap::new(), renewed: now, turned: now };
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !cancel.is_cancelled() {
            tokio::select! {
                _ = tick.tick() => {}
                () = cancel.cancelled() => break,
            }
            if let Err(error) = decider.once().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "traces are not decided now");
            }
        }
        if let Err(error) = decider.end().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the rest of the spans is left to another process"
            );
        }
    }

    /// Decides `pieces` and moves the cursor past them; returns the row up to which it did.
    async fn decide(self: &Arc<Self>, to: DecidedTo, pieces: Vec<Piece>) -> Result<i64, DecideError> {
        let traces = Arc::clone(self);
        let least = self.least_class.load(Ordering::Relaxed);
        let least = Class::ALL.into_iter().find(|class| *class as i16 >= least);
        let work = move || {
            let fed = traces.fed.lock().get(&to.stream).copied().unwrap_or(i64::MIN);
            let looked = look(pieces, traces.walk, &traces.tail.kept, (&traces.graph, fed));
            let mut streams = traces.fed.lock();
            if streams.len() >= FED_MAX {
                streams.clear();
            }
            streams.insert(to.stream, looked.seq.max(fed));
            drop(streams);
            traces.metrics.decided_spans.inc_by(looked.spans);
            traces.metrics.damaged_bodies.inc_by(looked.damaged);
            let spans = looked.gathered.spans;
            Ok::<_, BlockError>((looked.gathered.into_write(least)?, spans, looked.seq))
        };
        let (write, spans, seq) = tokio::task::spawn_blocking(work).await??;
        let stored: usize = write.blocks.iter().map(|block| block.payload.len() + block.pairs.len()).sum();
        let (kept, written) = (write.index.len(), write.index.iter().map(|row| row.span_count as u64).sum::<u64>());
        self.storage.traces_write(write, DecidedTo { seq, ..to }).await?;
        self.metrics.kept_traces.inc_by(kept as u64);
        self.metrics.kept_spans.inc_by(written);
        self.metrics.left_out_spans.inc_by((spans as u64).saturating_sub(written));
        self.metrics.stored_bytes.inc_by(stored as u64);
        Ok(seq)
    }
}

impl Decider {
    async fn once(&mut self) -> Result<(), DecideError> {
        self.follow().await?;
        let wait = self.traces.config.wait;
        if let Some(due) = Instant::now().checked_sub(wait) {
            self.decide_due(due).await?;
        }
        // One side of a call waits for the other as long as spans for their trace, and once more.
        if self.turned.elapsed() >= wait.max(EVERY) {
            self.turned = Instant::now();
            self.turn().await;
        }
        if self.renewed.elapsed() >= RENEW_EVERY {
            self.renew().await?;
        }
        self.take_over().await
    }

    /// Ends the wait of calls whose other side did not come here: another replica may have it.
    async fn turn(&self) {
        let is_shared = !self.followed.is_empty();
        let sides = self.traces.graph.lock().turn(is_shared);
        if !is_shared {
            return;
        }
        let met = self.traces.storage.calls_meet(&sides).await.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "calls between services are not paired now");
            sides.into_iter().map(|side| CallSide { is_late: true, ..side }).collect()
        });
        self.traces.graph.lock().meet(met);
    }

    /// Reads the marks of spools that other processes write.
    async fn follow(&mut self) -> Result<(), DecideError> {
        let storage = &self.traces.storage;
        let own = self.traces.tail.streams();
        let mut tails = storage.tail_list().await?;
        tails.retain(|tail| !self.own.contains_key(&tail.stream_id) && !own.contains(&tail.stream_id));
        self.followed.retain(|stream, _| tails.iter().any(|tail| tail.stream_id == *stream));
        for tail in tails {
            let after = self.followed.get(&tail.stream_id).copied().unwrap_or(tail.decided_seq);
            let after = self.traces.follow_marks(tail.stream_id, after).await?;
            self.followed.insert(tail.stream_id, after);
        }
        Ok(())
    }

    /// Decides what came before `due`.
    async fn decide_due(&mut self, due: Instant) -> Result<(), DecideError> {
        loop {
            let chunks = self.traces.tail.due(due, BATCH_BYTES);
            let Some(first) = chunks.first() else { return Ok(()) };
            let stream = first.stream;
            match self.decide_chunks(chunks).await {
                Ok(to) => {
                    self.own.insert(stream, to);
                    self.traces.tail.forget(stream, to.seq);
                }
                Err(DecideError::Storage(StorageError::Fenced)) => {
                    tracing::warn!(stream, "our tail was taken over");
                    self.own.remove(&stream);
                    self.traces.tail.forget(stream, i64::MAX);
                }
                Err(error) => {
                    self.traces.metrics.write_failures.inc();
                    return Err(error);
                }
            }
        }
    }

    /// How far the tail of one of our streams is decided.
    async fn own(&self, stream: i64) -> Result<DecidedTo, DecideError> {
        if let Some(known) = self.own.get(&stream) {
            return Ok(*known);
        }
        let tails = self.traces.storage.tail_list().await?;
        let row = tails.into_iter().find(|row| row.stream_id == stream && row.epoch == FIRST_EPOCH);
        let row = row.ok_or(StorageError::Fenced)?;
        Ok(DecidedTo { stream, epoch: row.epoch, seq: row.decided_seq })
    }

    /// Decides chunks of one stream; returns how far it is decided then.
    async fn decide_chunks(&self, chunks: Vec<Chunk>) -> Result<DecidedTo, DecideError> {
        let mut to = self.own(chunks.first().map_or(0, |first| first.stream)).await?;
        let mut pieces = Vec::with_capacity(chunks.len());
        let mut read_to = to.seq;
        for chunk in chunks {
            if chunk.seq <= to.seq {
                // It was read from the spool before it came here.
                continue;
            }
            if let Some(bodies) = chunk.bodies {
                read_to = chunk.seq;
                pieces.push(Piece { seq: chunk.seq, marks: chunk.marks, bodies });
                continue;
            }
            // A few rows at a time: the budget is full, or these would be in memory.
            if !pieces.is_empty() {
                break;
            }
            let mut rows = self.traces.storage.spool_read(to.stream, read_to, ROWS_PER_READ).await?;
            rows.retain(|row| row.seq <= chunk.seq);
            if rows.is_empty() {
                tracing::error!(stream = to.stream, seq = chunk.seq, "spans are gone from the spool");
                pieces.push(Piece { seq: chunk.seq, marks: Marks::new(), bodies: Vec::new() });
            }
            pieces.extend(rows.into_iter().map(Piece::from));
            break;
        }
        if !pieces.is_empty() {
            to.seq = self.traces.decide(to, pieces).await?;
        }
        Ok(to)
    }

    async fn renew(&mut self) -> Result<(), DecideError> {
        self.renewed = Instant::now();
        let waiting = self.traces.tail.streams();
        let mut lost = Vec::new();
        for (stream, to) in &self.own {
            let is_empty = !waiting.contains(stream);
            if is_empty {
                // A commit whose outcome was unknown is in the spool only.
                let end = self.traces.storage.spool_end(*stream).await?;
                if end > to.seq {
                    self.traces.tail.push_spooled(*stream, end, Instant::now());
                    continue;
                }
            }
            match self.traces.storage.tail_renew(*stream, to.epoch, is_empty).await {
                Ok(()) => {}
                Err(StorageError::Fenced) => lost.push(*stream),
                Err(error) => return Err(error.into()),
            }
        }
        lost.iter().for_each(|stream| {
            self.own.remove(stream);
        });
        Ok(())
    }

    async fn take_over(&self) -> Result<(), DecideError> {
        let Some(tail) = self.traces.storage.tail_take_over().await? else { return Ok(()) };
        tracing::info!(stream = tail.stream_id, epoch = tail.epoch, "tail taken over");
        let to = DecidedTo { stream: tail.stream_id, epoch: tail.epoch, seq: tail.decided_seq };
        self.traces.decide_rest(to).await?;
        self.traces.metrics.tails_taken_over.inc();
        Ok(())
    }

    /// Decides what is left without waiting, and closes our tails.
    async fn end(&mut self) -> Result<(), DecideError> {
        self.decide_due(Instant::now()).await?;
        for to in self.own.values() {
            self.traces.decide_rest(*to).await?;
        }
        Ok(())
    }
}

impl Traces {
    /// Reads the marks of a spool behind `after`; returns where they end.
    async fn follow_marks(&self, stream: i64, mut after: i64) -> Result<i64, StorageError> {
        loop {
            let rows = self.storage.spool_marks(stream, after, MARKS_PER_READ).await?;
            let is_last = (rows.len() as i64) < MARKS_PER_READ;
            for (seq, marks) in rows {
                self.tail.kept.write().mark(&decode_marks(&marks), Instant::now());
                after = seq;
            }
            if is_last {
                return Ok(after);
            }
        }
    }

    /// Decides the rest of a spool that gets no more rows, and closes its tail.
    async fn decide_rest(self: &Arc<Self>, mut to: DecidedTo) -> Result<(), DecideError> {
        let stream = to.stream;
        self.follow_marks(stream, to.seq).await?;
        loop {
            let rows = self.storage.spool_read(stream, to.seq, ROWS_PER_READ).await?;
            if rows.is_empty() {
                break;
            }
            to.seq = self.decide(to, rows.into_iter().map(Piece::from).collect()).await?;
        }
        self.storage.tail_close(stream, to.epoch).await?;
        tracing::info!(stream, "tail decided and closed");
        Ok(())
    }
}
