//! All Redis: it makes things fast and is never believed.
//!
//! Layer 3. A replica puts the frames that it has committed into a Redis stream, where they live two minutes, and tells the
//! others; they take the next frames from there and leave Postgres alone. A frame counts only with the tag that the database's
//! seed gives it and as the very next of its stream; whatever else is missing is read from the journal. Caches that replicas
//! share ([`SharedCaches`]) are those of our own SDK, sealed likewise. So flushing or losing Redis changes no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::bb8::Pool;
use bytes::Bytes;
use fastbreak_client::cache::{Builder, Cache, Source};
use futures::StreamExt;
use prometheus_client::metrics::counter::Counter;
pub use redis::RedisError;
use redis::streams::{StreamId, StreamRangeReply};
use redis::{AsyncCommands, Client};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

/// Frames that may wait to be published; more are left to the journal.
const QUEUE: usize = 64;
/// Frames above this size are left to the journal.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Frames of one stream kept in Redis, about.
const FRAMES_KEPT: usize = 256;
/// How long they are kept.
const LIFE: Duration = Duration::from_secs(120);
/// Frames read at once.
const FRAMES_PER_READ: usize = 64;
/// What Redis may take to answer; past it the journal is quicker.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// Most connections, the subscription apart.
const CONNECTIONS: u32 = 4;
/// Name of an entry's only field.
const FIELD: &str = "frame";
/// Pause before a lost subscription is made again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// A committed frame on its way to the other replicas.
struct Published {
    stream: i64,
    seq: i64,
    frame: Bytes,
}

/// Frames just committed, shared between the replicas of one database.
pub struct RecentFrames {
    pool: Pool<RedisConnectionManager>,
    queue: mpsc::Sender<Published>,
    shared: Arc<Shared>,
}

/// Where caches of one database's replicas share entries.
pub struct SharedCaches {
    client: Client,
    /// The database's secret.
    seed: u64,
}

impl SharedCaches {
    /// The Redis at `url`, which need not answer yet, for the database whose secret is `seed`.
    ///
    /// # Errors
    /// When the URL is not understood.
    pub fn open(url: &str, seed: u64) -> Result<Self, RedisError> {
        Ok(Self { client: Client::open(url)?, seed })
    }

    /// A cache of `space` whose entries all replicas have, and nobody else can forge.
    pub fn cache<S: Source>(&self, space: &str, source: S) -> Builder<S> {
        let mut secret = Xxh3::with_seed(self.seed);
        secret.update(b"caches");
        let builder = Cache::builder(&format!("{space}-{:016x}", database(self.seed)), source);
        builder.redis(self.client.clone()).secret(secret.digest128().to_le_bytes())
    }
}

/// Names a database without telling its secret.
fn database(seed: u64) -> u64 {
    let mut hasher = Xxh3::with_seed(seed);
    hasher.update(b"database");
    hasher.digest()
}

struct Shared {
    client: Client,
    /// The database's secret: names our keys and tags our frames.
    seed: u64,
    connected: AtomicBool,
    /// Frames that were left to the journal.
    left_out: Counter,
}

impl Shared {
    fn key(&self, stream: i64) -> String {
        format!("fastbreak:{:016x}:frames:{stream}", database(self.seed))
    }

    fn channel(&self) -> String {
        format!("fastbreak:{:016x}:committed", database(self.seed))
    }

    fn tag(&self, stream: i64, seq: i64, frame: &[u8]) -> [u8; 8] {
        let mut hasher = Xxh3::with_seed(self.seed);
        hasher.update(&stream.to_le_bytes());
        hasher.update(&seq.to_le_bytes());
        hasher.update(frame);
        hasher.digest().to_le_bytes()
    }

    fn set_connected(&self, connected: bool) {
        if self.connected.swap(connected, Ordering::Relaxed) != connected {
            if connected {
                tracing::info!("Redis answers");
            } else {
                tracing::warn!("Redis does not answer: answers stay the same, replicas see each other a second later");
            }
        }
    }
}

impl RecentFrames {
    /// For the Redis at `url`, which need not answer yet, and the database whose secret is `seed`.
    /// `left_out` counts frames not shared; `wake` is called when another replica has committed. To be called within the runtime.
    ///
    /// # Errors
    /// When the URL is not understood.
    pub fn open(
        url: &str,
        seed: u64,
        left_out: Counter,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        let pool = Pool::builder()
            .max_size(CONNECTIONS)
            .connection_timeout(ANSWER_WITHIN)
            .build_unchecked(RedisConnectionManager::new(url)?);
        let shared = Arc::new(Shared { client: Client::open(url)?, seed, connected: AtomicBool::new(false), left_out });
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(publish_all(pool.clone(), waiting, Arc::clone(&shared)));
        tokio::spawn(subscribe(Arc::downgrade(&shared), wake));
        Ok(Self { pool, queue, shared })
    }

    /// Shares a committed frame; never waits.
    pub fn publish(&self, stream: i64, seq: i64, frame: Bytes) {
        let fits = frame.len() <= FRAME_BYTES_MAX && self.is_connected();
        if !fits || self.queue.try_send(Published { stream, seq, frame }).is_err() {
            self.shared.left_out.inc();
        }
    }

    /// The frames of `stream` that follow `after` without a gap; none when Redis is away or has lost them.
    pub async fn read(&self, stream: i64, after: i64) -> Vec<(i64, Bytes)> {
        if !self.is_connected() {
            return Vec::new();
        }
        let read = async {
            let mut conn = self.pool.get().await.ok()?;
            let (key, from) = (self.shared.key(stream), format!("{}-0", after + 1));
            conn.xrange_count::<_, _, _, _, StreamRangeReply>(key, from, "+", FRAMES_PER_READ).await.ok()
        };
        let entries = tokio::time::timeout(ANSWER_WITHIN, read).await.ok().flatten().unwrap_or_default();
        let frames = entries.ids.into_iter().filter_map(entry);
        let mut out: Vec<(i64, Bytes)> = Vec::new();
        for (seq, tagged) in frames {
            let Some((tag, frame)) = tagged.split_first_chunk::<8>() else { break };
            let expected = after + 1 + out.len() as i64;
            if seq != expected || *tag != self.shared.tag(stream, seq, frame) {
                break;
            }
            out.push((seq, tagged.slice(8..)));
        }
        out
    }

    /// True while Redis answers.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }
}

/// Says whether the Redis at `url` answers.
///
/// # Errors
/// When it does not.
pub async fn ping(url: &str) -> Result<(), RedisError> {
    let mut conn = Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async(&mut conn).await
}

/// Sequence number and content of an entry.
fn entry(mut entry: StreamId) -> Option<(i64, Bytes)> {
    let content: Vec<u8> = redis::from_redis_value(entry.map.remove(FIELD)?).ok()?;
    Some((entry.id.split_once('-')?.0.parse().ok()?, content.into()))
}

async fn publish_all(pool: Pool<RedisConnectionManager>, mut waiting: mpsc::Receiver<Published>, shared: Arc<Shared>) {
    let mut batch = Vec::with_capacity(QUEUE);
    while waiting.recv_many(&mut batch, QUEUE).await > 0 {
        let mut pipe = redis::pipe();
        for Published { stream, seq, frame } in &batch {
            let (key, mut tagged) = (shared.key(*stream), shared.tag(*stream, *seq, frame).to_vec());
            tagged.extend_from_slice(frame);
            pipe.cmd("XADD").arg(&key).arg(&["MAXLEN", "~"]).arg(FRAMES_KEPT).arg(format!("{seq}-0")).arg(FIELD);
            pipe.arg(tagged).ignore();
            pipe.pexpire(&key, LIFE.as_millis() as i64).ignore();
        }
        pipe.publish(shared.channel(), "").ignore();
        let sent = async {
            let mut conn = pool.get().await.ok()?;
            pipe.query_async::<()>(&mut *conn).await.ok()
        };
        if sent.await.is_none() {
            shared.left_out.inc_by(batch.len() as u64);
        }
        batch.clear();
    }
}

/// Keeps a subscription for as long as there is somebody to wake.
async fn subscribe(shared: std::sync::Weak<Shared>, wake: impl Fn() + Send + Sync) {
    while let Some(strong) = shared.upgrade() {
        let (client, channel) = (strong.client.clone(), strong.channel());
        drop(strong);
        let listen = async {
            let mut subscription = client.get_async_pubsub().await?;
            subscription.subscribe(channel).await?;
            if let Some(shared) = shared.upgrade() {
                shared.set_connected(true);
            }
            let mut messages = subscription.on_message();
            while messages.next().await.is_some() {
                wake();
            }
            Ok::<_, RedisError>(())
        };
        if let Err(error) = listen.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "no subscription");
        }
        if let Some(shared) = shared.upgrade() {
            shared.set_connected(false);
        }
        // What was told in between is found by looking.
        wake();
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}
