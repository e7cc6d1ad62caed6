//! All streams: our own, and those of other replicas, followed through the journal so that their heads are here too.
//!
//! When a lease lapses, the stream is taken over: its epoch raised (which fences the old holder), its journal folded to the
//! end, its windows flushed, the stream closed. A restart is the same thing: a process never resumes a stream, it makes a
//! new one, and whoever lives folds the old.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{self, CheckpointError};
use super::counters::RollupMetrics;
use super::registry::Registry;
use super::stream::{ReplayError, Sources, Stream, load_metrics};
use crate::model::Width;
use crate::redis::RecentFrames;
use crate::storage::{Storage, StorageError, StreamRow};

/// How often other streams are looked at when nothing wakes us.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often the own lease is renewed; it lives 15 s.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Why streams of other replicas are not followed or folded now.
#[derive(Debug, thiserror::Error)]
enum FoldError {
    #[error("the database did not answer")]
    Storage(#[from] StorageError),
    #[error("the journal was not applied")]
    Replay(#[from] ReplayError),
    #[error("the windows were not flushed")]
    Checkpoint(#[from] CheckpointError),
}

/// Why frames are not shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The secret that names and tags our frames cannot be read.
    #[error("the database did not answer")]
    Storage(#[from] StorageError),
    /// The URL is not understood.
    #[error("the address of Redis is not understood")]
    Url(#[from] crate::redis::RedisError),
}

/// Every stream that this process knows.
pub struct Streams {
    registry: Arc<Registry>,
    storage: Storage,
    width: Width,
    holder: String,
    by_id: RwLock<HashMap<i64, Arc<Stream>>>,
    own: RwLock<Option<(Arc<Stream>, i64)>>,
    /// Frames just committed, ours and others', when there is a Redis.
    recent: Arc<OnceLock<RecentFrames>>,
    /// What is counted here.
    pub metrics: RollupMetrics,
    /// Look at the other streams now.
    pub wake_follower: Notify,
    /// A generation was sealed.
    pub(super) wake_flusher: Notify,
}

impl Streams {
    /// No streams yet; `holder` names this process in lease rows.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn open(storage: Storage, width: Width, holder: String) -> Result<Self, StorageError> {
        let registry = Arc::new(Registry::default());
        load_metrics(&registry, &storage).await?;
        let metrics = RollupMetrics::default().with_collisions(registry.collisions.clone());
        Ok(Self {
            registry,
            storage,
            width,
            holder,
            by_id: RwLock::default(),
            own: RwLock::default(),
            recent: Arc::default(),
            metrics,
            wake_follower: Notify::new(),
            wake_flusher: Notify::new(),
        })
    }

    /// Series known here.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The database.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Width of the windows.
    #[must_use]
    pub const fn width(&self) -> Width {
        self.width
    }

    /// Shares frames with other replicas through the Redis at `url`, which need not answer yet.
    ///
    /// # Errors
    /// When the URL is not understood, or the database is away.
    pub async fn share_through(self: &Arc<Self>, url: &str) -> Result<(), ShareError> {
        let streams = Arc::downgrade(self);
        let wake = move || {
            if let Some(streams) = streams.upgrade() {
                streams.wake_follower.notify_one();
            }
        };
        let left_out = self.metrics.frames_left_out.clone();
        let recent = RecentFrames::open(url, self.storage.journal_seed().await?, left_out, wake)?;
        // Set once, while the server is built.
        let _second = self.recent.set(recent);
        Ok(())
    }

    /// Shares a frame of our stream, when there is anyone to share it with. Losing it costs other replicas a moment, not
    /// an answer.
    pub fn share(&self, stream: i64, seq: i64, frame: Vec<u8>) {
        if let Some(recent) = self.recent.get().filter(|_| self.by_id.read().len() > 1) {
            recent.publish(stream, seq, frame.into());
        }
    }

    /// What replicas share through Redis, when there is one.
    #[must_use]
    pub fn recent(&self) -> Option<&RecentFrames> {
        self.recent.get()
    }

    /// Takes the measure of what is in memory, for whoever reads the metrics now.
    pub fn sample_gauges(&self) {
        let streams = self.list();
        self.metrics.streams.set(streams.len() as i64);
        self.metrics.series.set(self.registry.series_count() as i64);
        let windows: usize = streams.iter().map(|stream| stream.head.entries()).sum();
        self.metrics.head_windows.set(windows as i64);
    }

    /// A generation of our own stream was sealed.
    pub fn sealed(&self, own: &Stream) {
        self.count_waiting(own);
        self.wake_flusher.notify_one();
    }

    pub(super) fn count_waiting(&self, own: &Stream) {
        self.metrics.checkpoints_waiting.set(own.head.unflushed() as i64);
    }

    /// Generations of our own stream that wait to be in blocks.
    #[must_use]
    pub fn checkpoints_waiting(&self) -> usize {
        usize::try_from(self.metrics.checkpoints_waiting.get()).unwrap_or_default()
    }

    /// True while Redis answers; `None` without one.
    #[must_use]
    pub fn redis_is_up(&self) -> Option<bool> {
        self.recent.get().map(RecentFrames::is_connected)
    }

    /// A new stream of our own; the old one, if any, is left to whoever takes it over.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn begin_own(&self) -> Result<(Arc<Stream>, i64), StorageError> {
        let row = self.storage.stream_create(&self.holder).await?;
        let stream = self.know(&row);
        *self.own.write() = Some((Arc::clone(&stream), row.epoch));
        tracing::info!(stream = row.id, epoch = row.epoch, "stream opened");
        Ok((stream, row.epoch))
    }

    /// Our own stream and its epoch.
    #[must_use]
    pub fn own(&self) -> Option<(Arc<Stream>, i64)> {
        self.own.read().clone()
    }

    /// Every stream, own and followed.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Stream>> {
        self.by_id.read().values().map(Arc::clone).collect()
    }

    /// The stream of `row`, made when it is new here, and anew when we fell behind its cursor: what it has in blocks need
    /// not be replayed, and its journal may be gone.
    fn know(&self, row: &StreamRow) -> Arc<Stream> {
        let own = self.own().is_some_and(|(stream, _)| stream.id() == row.id);
        let mut by_id = self.by_id.write();
        if !own && by_id.get(&row.id).is_some_and(|stream| stream.head.applied_seq() < row.cursor_seq) {
            by_id.remove(&row.id);
        }
        let stream = by_id.entry(row.id).or_insert_with(|| {
            let sources = Sources {
                registry: Arc::clone(&self.registry),
                storage: self.storage.clone(),
                recent: Arc::clone(&self.recent),
                metrics: self.metrics.clone(),
            };
            Arc::new(Stream::new(row.id, row.cursor_seq, self.width, sources))
        });
        Arc::clone(stream)
    }

    /// Brings the head of every stream in `rows` up to the sequence number seen there, and forgets the streams that ended.
    /// Returns the streams in the order of `rows`.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn follow(&self, rows: &[StreamRow]) -> Result<Vec<Arc<Stream>>, ReplayError> {
        let mut streams = Vec::with_capacity(rows.len());
        for row in rows {
            let stream = self.know(row);
            stream.catch_up(row.last_seq).await?;
            streams.push(stream);
        }
        Ok(streams)
    }

    fn forget_ended(&self, rows: &[StreamRow]) {
        let own = self.own().map(|(stream, _)| stream.id());
        self.by_id.write().retain(|id, _| Some(*id) == own || rows.iter().any(|row| row.id == *id));
    }

    /// Follows the other streams and takes over those that were left, until cancelled.
    pub async fn run_follower(&self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            let woken = self.wake_follower.notified();
            if let Err(error) = self.follow_once().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "streams of other replicas are not followed now"
                );
            }
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    async fn follow_once(&self) -> Result<(), FoldError> {
        let own = self.own().map(|(stream, _)| stream.id());
        let mut rows = self.storage.stream_list().await?;
        self.forget_ended(&rows);
        rows.retain(|row| Some(row.id) != own);
        for (row, stream) in rows.iter().zip(self.follow(&rows).await?) {
            stream.head.forget_flushed(row.cursor_seq, Instant::now());
        }
        if let Some(row) = self.storage.stream_take_over(&self.holder).await? {
            tracing::info!(
                stream = row.id,
                epoch = row.epoch,
                rows = row.last_seq - row.cursor_seq,
                "stream taken over"
            );
            self.fold(&row).await?;
        }
        Ok(())
    }

    /// Folds a stream that we hold and that gets no more rows to its end, keeping its lease meanwhile.
    #[tracing::instrument(name = "fastbreak.stream.fold", skip_all, fields(fastbreak.stream.id = row.id))]
    async fn fold(&self, row: &StreamRow) -> Result<(), FoldError> {
        let stream = self.know(row);
        let folding = async {
            stream.catch_up(row.last_seq).await?;
            stream.head.cut();
            for generation in stream.head.sealed_after(row.cursor_seq) {
                checkpoint::flush(self, (row.id, row.epoch), &generation).await?;
            }
            checkpoint::skip_to(self, (row.id, row.epoch), row.last_seq).await?;
            self.storage.stream_close(row.id, row.epoch).await?;
            Ok::<(), FoldError>(())
        };
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                if let Err(error) = self.storage.stream_renew(row.id, row.epoch).await {
                    return FoldError::from(error);
                }
            }
        };
        tokio::select! {
            folded = folding => folded?,
            error = renewing => return Err(error),
        }
        tracing::info!(stream = row.id, "stream folded and closed");
        Ok(())
    }

    /// Ends our own stream, once nothing is appended to it any more, so that nobody has to take it over. What is not in
    /// blocks yet is flushed; when that fails, the journal has it, and whoever takes the stream over folds it.
    pub async fn close_own(&self) {
        let Some((stream, epoch)) = self.own.write().take() else { return };
        let closed = async {
            let rows = self.storage.stream_list().await?;
            let row = rows.into_iter().find(|row| row.id == stream.id() && row.epoch == epoch);
            self.fold(&row.ok_or(StorageError::Fenced)?).await
        };
        if let Err(error) = closed.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "own stream left to be taken over");
        }
    }

    /// Renews the lease on our own stream, until cancelled. A lost lease is found out by the next append.
    pub async fn run_lease(&self, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(RENEW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = cancel.cancelled() => return,
            }
            let Some((stream, epoch)) = self.own() else { continue };
            match self.storage.stream_renew(stream.id(), epoch).await {
                Ok(()) => {}
                Err(StorageError::Fenced) => tracing::warn!(stream = stream.id(), "own stream was taken over"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "lease not renewed"),
            }
        }
    }
}
