//! Makes caches, and keeps those of a process by the names of their key spaces.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;

use super::behind::{self, Behind, Sync};
use super::clock::Clock;
use super::codec::Codec;
use super::frame::Seal;
use super::inner::{Inner, Parts};
use super::key::CacheKey;
use super::l2::{L2, Targets, bus};
use super::policy::{CachePolicy, PolicyError, Strategy};
use super::source::{CacheError, Source};
use super::stats::Stats;
use super::warm;
use super::{Cache, Curve};

/// Why a cache was not made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A field of the policy is out of its range.
    #[error("the policy's {0}")]
    Policy(#[from] PolicyError),
    /// The name of a key space is part of keys in Redis.
    #[error("a key space is named by 1 to 200 letters, digits, and -_.: and not {0:?}")]
    Name(String),
    /// Write-behind without a place for what waits.
    #[error("the strategy is behind, and no journal was given")]
    NoJournal,
    /// The journal cannot be used.
    #[error("the journal {path}: {why}")]
    Journal {
        /// Which.
        path: PathBuf,
        /// In the system's words.
        #[source]
        why: std::io::Error,
    },
}

/// Makes a cache.
pub struct Builder<S: Source> {
    space: String,
    source: S,
    policy: CachePolicy,
    codec: Codec,
    redis: Option<redis::Client>,
    seal: Seal,
    clock: Clock,
    journal: Option<(PathBuf, Sync)>,
    weigh: Option<fn(&S::Value) -> usize>,
}

impl<S: Source> Builder<S> {
    pub(super) fn new(space: &str, source: S) -> Self {
        Self {
            space: space.to_owned(),
            source,
            policy: CachePolicy::default(),
            codec: Codec::default(),
            redis: None,
            seal: Seal::default(),
            clock: Clock::default(),
            journal: None,
            weigh: None,
        }
    }

    /// Begins with this policy.
    #[must_use]
    pub fn policy(mut self, policy: CachePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Serialises values this way; [`Codec::Postcard`] otherwise.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Level 2; memory only without. It need not answer yet.
    #[must_use]
    pub fn redis(mut self, client: redis::Client) -> Self {
        self.redis = Some(client);
        self
    }

    /// Believes entries in Redis only with a tag that this secret gives, whoever else may write there; instances that share
    /// entries share the secret. It does not hide them.
    #[must_use]
    pub fn secret(mut self, secret: [u8; 16]) -> Self {
        self.seal = Seal(Some(secret));
        self
    }

    /// Goes by another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Where write-behind keeps what waits: a file for this cache of this process alone.
    #[must_use]
    pub fn journal(mut self, path: impl Into<PathBuf>, sync: Sync) -> Self {
        self.journal = Some((path.into(), sync));
        self
    }

    /// Keeps values in memory as they are, instead of serialised: a read of an `Arc` copies a pointer. For values that are
    /// dear to deserialise and cheap to clone; small ones lie denser as bytes. `weigh` says how many bytes a value takes,
    /// what it points to included, and counts towards [`CachePolicy::l1_max_bytes`].
    #[must_use]
    pub fn values_in_memory(mut self, weigh: fn(&S::Value) -> usize) -> Self {
        self.weigh = Some(weigh);
        self
    }

    /// Makes it. Its tasks end with its last clone; they, its loads and its writes run on the runtime at hand, which has to
    /// go on for as long, whoever calls from elsewhere.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(self) -> Result<Cache<S>, BuildError> {
        self.policy.check()?;
        let sound = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if !(1..=200).contains(&self.space.len()) || !self.space.chars().all(sound) {
            return Err(BuildError::Name(self.space));
        }
        if self.journal.is_none() && S::WRITES && self.policy.strategy == Strategy::Behind {
            return Err(BuildError::NoJournal);
        }
        let (mut behind, mut recovered) = (None, 0);
        if let Some((path, sync)) = self.journal.filter(|_| S::WRITES) {
            let (codec, file) = (self.codec, path.clone());
            let opened = tokio::task::spawn_blocking(move || Behind::open(&file, sync, codec)).await;
            let opened = opened.unwrap_or_else(|ended| Err(std::io::Error::other(ended.to_string())));
            let (opened, found) = opened.map_err(|why| BuildError::Journal { path, why })?;
            (behind, recovered) = (Some(opened), found);
        }
        let l2 = self.redis.map(|client| L2::new(client, &self.space, self.clock.clone(), self.seal));
        let (source, codec, clock, policy, weigh) = (self.source, self.codec, self.clock, self.policy, self.weigh);
        let inner = Arc::new(Inner::new(Parts { source, codec, clock, policy, weigh, l2, behind }));
        inner.counters.writes_recovered.add(recovered);
        if inner.l2.is_some() {
            tokio::spawn(bus::listen(Arc::downgrade(&inner)));
        }
        if inner.behind.is_some() {
            tokio::spawn(behind::drive(Arc::downgrade(&inner)));
        }
        tokio::spawn(warm::keep_warm(Arc::downgrade(&inner)));
        Ok(Cache { space: self.space.into(), inner })
    }
}

/// What may be done with a cache without knowing its types: by whoever brings policies and invalidations.
pub trait Managed: Send + std::marker::Sync {
    /// Works by `policy` from now on; nothing is lost.
    ///
    /// # Errors
    /// See [`CachePolicy::check`], and a behind strategy without a journal; the policy in force stays.
    fn set_policy(&self, policy: CachePolicy) -> Result<(), PolicyError>;
    /// See [`Cache::apply_invalidation`].
    fn apply_invalidation<'a>(&'a self, sequence: u64, targets: &'a Targets) -> Applied<'a>;
    /// The last sequence that was applied.
    fn applied_sequence(&self) -> u64;
    /// See [`Cache::set_trusted_until`].
    fn set_trusted_until(&self, until: Instant);
    /// Drops memory: something may have been missed.
    fn drop_memory(&self);
    /// Loads keys by their texts, those that are none left out: `(loaded or there, failed)`.
    fn warm_texts(&self, keys: Vec<String>) -> Pin<Box<dyn Future<Output = (u64, u64)> + Send + '_>>;
    /// What was done until now.
    fn stats(&self) -> Stats;
    /// What other lives and sizes would do.
    fn curve(&self) -> Curve;
    /// See [`Cache::close`].
    fn close(&self, within: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// What becomes of an invalidation.
pub type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), CacheError>> + Send + 'a>>;

impl<S: Source> Managed for Cache<S> {
    fn set_policy(&self, policy: CachePolicy) -> Result<(), PolicyError> {
        Self::set_policy(self, policy)
    }

    fn apply_invalidation<'a>(&'a self, sequence: u64, targets: &'a Targets) -> Applied<'a> {
        Box::pin(Self::apply_invalidation(self, sequence, targets))
    }

    fn applied_sequence(&self) -> u64 {
        Self::applied_sequence(self)
    }

    fn set_trusted_until(&self, until: Instant) {
        Self::set_trusted_until(self, until);
    }

    fn drop_memory(&self) {
        self.inner.drop_memory();
    }

    fn warm_texts(&self, keys: Vec<String>) -> Pin<Box<dyn Future<Output = (u64, u64)> + Send + '_>> {
        let keys = keys.iter().filter_map(|text| S::Key::from_text(text)).collect();
        Box::pin(self.warm(keys))
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn curve(&self) -> Curve {
        Self::curve(self)
    }

    fn close(&self, within: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(Self::close(self, within))
    }
}

/// The caches of a process, by key space.
#[derive(Clone, Default)]
pub struct Caches(Arc<RwLock<ByName>>);

type ByName = BTreeMap<Arc<str>, Arc<dyn Managed>>;

impl Caches {
    /// Adds a cache, in the place of any other of its key space.
    pub fn add<S: Source>(&self, cache: &Cache<S>) {
        self.0.write().insert(Arc::clone(&cache.space), Arc::new(cache.clone()));
    }

    /// The key spaces.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        self.0.read().keys().cloned().collect()
    }

    /// The cache of one.
    #[must_use]
    pub fn get(&self, space: &str) -> Option<Arc<dyn Managed>> {
        self.0.read().get(space).cloned()
    }

    /// Closes them all, at the same time; true when each wrote everything that waited within that time.
    pub async fn close(&self, within: Duration) -> bool {
        let all: Vec<_> = self.0.read().values().cloned().collect();
        let mut tasks = tokio::task::JoinSet::new();
        for cache in all {
            tasks.spawn(async move { cache.close(within).await });
        }
        tasks.join_all().await.into_iter().all(|written| written)
    }
}
