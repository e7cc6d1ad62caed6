//! Keeps what was loaded: in memory (level 1) and in Redis (level 2), as a policy says.
//!
//! ```
//! use fastbreak_client::cache::{Cache, Failure, Source};
//!
//! struct Users;
//!
//! impl Source for Users {
//!     type Key = u64;
//!     type Value = String;
//!
//!     async fn load(&self, id: &u64) -> Result<Option<String>, Failure> {
//!         Ok(Some(format!("user {id}")))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let users = Cache::builder("users", Users).build().await?;
//! assert_eq!(users.get_or_load(&7).await?.as_deref(), Some("user 7"));
//! assert_eq!(users.peek(&7).as_deref(), Some("user 7"));
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! *Completed* means: the call returned `Ok`.
//!
//! - **In the instance that made it**, no read that begins after a completed invalidation, or a completed write, gives what was
//!   loaded or written before. A load that was under way answers those who waited for it already, and is not kept.
//! - **In another instance that shares the Redis**, the same holds for Redis at once, and for memory as soon as the event is
//!   heard, some milliseconds later. An instance that is cut off stops reading its memory
//!   [`CachePolicy::coherence_lease`] after it last heard; with a lease of 0 it goes on, for at most
//!   [`CachePolicy::l1_ttl`].
//! - **[`Strategy::Aside`]** and **[`Strategy::Through`]**: the source has a completed write. A read sees it or a later one.
//!   Two writes of one key at once, through, leave the cache empty unless it is known which the source had last.
//! - **[`Strategy::Behind`]**: a completed write is in the journal. This instance reads it at once; others do through Redis,
//!   and should Redis lose it, they may read the source's older value until the batch is written. Let one instance at a
//!   time write a key: between two, the batch that comes last stays.
//! - A write that returned [`CacheError::Untold`] is at the source and in this instance; others are told when Redis answers
//!   again, and until then this instance does not read Redis. One that returned [`CacheError::Write`] may have been made.
//! - A write or an invalidation whose caller leaves before it is completed goes on to its end. In one instance, writes of a
//!   key are made in the order in which they were begun.
//! - What Redis loses of stamps in a failover, or by a clock that is put back together with a flush, is lost: entries from
//!   before may then be read until their TTL. Entries that it corrupts are misses.
//! - [`CachePolicy::grace`] and [`CachePolicy::stale_while_revalidate`] serve what is past its TTL, never what was made
//!   invalid.
//!
//! Every queue has a bound: loads by what callers ask, calls to Redis 65 536, writes
//! [`CachePolicy::write_queue`], memory [`CachePolicy::l1_max_bytes`], names of invalidations that wait 10 000 (then
//! everything is made invalid).

mod behind;
mod builder;
mod clock;
mod codec;
mod curve;
mod flight;
mod frame;
mod inner;
mod key;
mod l1;
mod l2;
mod memory;
mod policy;
mod read;
mod source;
mod stamps;
mod stats;
mod trip;
mod values;
mod warm;
mod write;

pub use behind::Sync;
pub use builder::{Applied, BuildError, Builder, Caches, Managed};
pub use clock::Clock;
pub use codec::Codec;
pub use curve::{ByTtl, Curve, Estimate};
pub use key::CacheKey;
pub use l2::Targets;
pub use policy::{CachePolicy, Compression, PolicyError, Retry, Strategy};
pub use source::{CacheError, Failure, Filled, Source, Write};
pub use stats::{LoadTimes, Loaded, Stats};
pub use write::Entry;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use inner::Inner;
use key::KEY_BYTES_MAX;
use l2::{L2, TARGETS_MAX};
use policy::LIFE_MAX;
use read::{Seen, text_of};
use write::Change;

/// A cache of one key space; cheap to clone.
pub struct Cache<S: Source> {
    space: Arc<str>,
    inner: Arc<Inner<S>>,
}

impl<S: Source> Clone for Cache<S> {
    fn clone(&self) -> Self {
        Self { space: Arc::clone(&self.space), inner: Arc::clone(&self.inner) }
    }
}

/// Does not hold a cache up.
pub struct WeakCache<S: Source> {
    space: Arc<str>,
    inner: Weak<Inner<S>>,
}

impl<S: Source> WeakCache<S> {
    /// The cache, as long as a clone of it is there.
    #[must_use]
    pub fn upgrade(&self) -> Option<Cache<S>> {
        Some(Cache { space: Arc::clone(&self.space), inner: self.inner.upgrade()? })
    }
}

impl<S: Source> Cache<S> {
    /// Begins to make the cache of a key space: instances that name the same one and share a Redis share its entries.
    pub fn builder(space: &str, source: S) -> Builder<S> {
        Builder::new(space, source)
    }

    /// Where it loads from.
    #[must_use]
    pub fn source(&self) -> &S {
        &self.inner.source
    }

    /// The value, from wherever it is found first; `None` when the source has none.
    ///
    /// # Errors
    /// [`CacheError::Load`] when it cannot be loaded and there is nothing to serve instead.
    pub async fn get_or_load(&self, key: &S::Key) -> Result<Option<S::Value>, CacheError> {
        // The way of almost all reads copies no text.
        if let Some(value) = self.quick(key) {
            return Ok(value);
        }
        let text = text_of(key)?;
        let hash = self.inner.l1.hash(text.as_bytes());
        self.inner.get_or_load(key, &text, hash).await
    }

    /// A fresh hit in memory, and nothing else to do.
    #[inline]
    fn quick(&self, key: &S::Key) -> Option<Option<S::Value>> {
        let inner = &self.inner;
        key.with_text(|text| {
            let hash = inner.l1.hash(text.as_bytes());
            inner.sampler.note(hash.0, || inner.clock.now());
            if inner.hot.bypass.load(Ordering::Relaxed) || !inner.is_trusted() {
                return None;
            }
            let value = inner.fresh(text, hash)?;
            inner.asked.hit(key);
            Some(value)
        })
    }

    /// The value if it is in memory and fresh. Waits for nothing.
    #[inline]
    #[must_use]
    pub fn peek(&self, key: &S::Key) -> Option<S::Value> {
        self.quick(key).flatten()
    }

    /// The value if it is in one of the levels; never loads.
    pub async fn get(&self, key: &S::Key) -> Option<S::Value> {
        let (text, inner) = (text_of(key).ok()?, &self.inner);
        let hash = inner.l1.hash(text.as_bytes());
        inner.sampler.note(hash.0, || inner.clock.now());
        if inner.bypasses() {
            return None;
        }
        if let Seen::Hit(value, _) = inner.look(&text, hash) {
            return value;
        }
        if let Some(value) = inner.behind.as_ref().and_then(|behind| behind.waiting(&text)) {
            inner.counters.waiting_hits.add(1);
            return value;
        }
        let found = inner.peek_l2(&text, &inner.policy()).await;
        let count = if found.is_some() { &inner.counters.l2_hits } else { &inner.counters.misses };
        count.add(1);
        found
    }

    /// Values of many keys, in their order, with as few round trips as there can be.
    pub async fn get_many(&self, keys: &[S::Key]) -> Vec<Result<Option<S::Value>, CacheError>> {
        let mut answers: Vec<_> = keys.iter().map(|key| self.quick(key).map(Ok)).collect();
        let mut tasks = JoinSet::new();
        for (at, key) in keys.iter().enumerate().filter(|(at, _)| answers.get(*at).is_some_and(Option::is_none)) {
            let (cache, key) = (self.clone(), key.clone());
            tasks.spawn_on(async move { (at, cache.load_one(&key).await) }, &self.inner.runtime);
        }
        while let Some(answer) = tasks.join_next().await {
            if let Ok((at, answer)) = answer
                && let Some(room) = answers.get_mut(at)
            {
                *room = Some(answer);
            }
        }
        let ended = || Err(CacheError::Load("the task of this key ended".to_owned()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(ended)).collect()
    }

    async fn load_one(&self, key: &S::Key) -> Result<Option<S::Value>, CacheError> {
        let text = text_of(key)?;
        self.inner.get_or_load(key, &text, self.inner.l1.hash(text.as_bytes())).await
    }

    /// Writes a value, as the policy's strategy says; without [`Source::WRITES`] into the cache alone.
    ///
    /// # Errors
    /// See [`CacheError`] and the promises above.
    pub async fn set(&self, key: &S::Key, value: S::Value) -> Result<(), CacheError> {
        self.set_with(key, value, Entry::default()).await
    }

    /// The same, with a life or tags of its own.
    ///
    /// # Errors
    /// See [`CacheError`] and the promises above.
    pub async fn set_with(&self, key: &S::Key, value: S::Value, entry: Entry) -> Result<(), CacheError> {
        self.change(key, Some(value), entry).await
    }

    /// Puts a value that is always the same under its key, such as one whose key is a hash of what it was made of: in memory at
    /// once, and in Redis if that answers. It costs no event, and a Redis that is away costs no more than the entry there. For
    /// a value that may change use [`Cache::set`]: here nothing keeps an older one from staying.
    ///
    /// # Errors
    /// [`CacheError::KeyTooLong`]; and [`CacheError::Codec`], where values are kept as they are: it is in memory alone.
    pub async fn offer(&self, key: &S::Key, value: S::Value) -> Result<(), CacheError> {
        let text = text_of(key)?;
        self.inner.offer(&Change { key: key.clone(), text, value: Some(value), entry: Entry::default() }).await
    }

    /// Removes a value: at the source if it takes writes, and in the cache.
    ///
    /// # Errors
    /// See [`CacheError`] and the promises above.
    pub async fn remove(&self, key: &S::Key) -> Result<(), CacheError> {
        self.change(key, None, Entry::default()).await
    }

    async fn change(&self, key: &S::Key, value: Option<S::Value>, entry: Entry) -> Result<(), CacheError> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(CacheError::Closed);
        }
        let text = text_of(key)?;
        let entry = Entry { ttl: entry.ttl.map(|ttl| ttl.min(LIFE_MAX)), ..entry };
        self.inner.write(Change { key: key.clone(), text, value, entry }).await
    }

    /// Writes many, at the same time; what became of each, in their order.
    pub async fn set_many(&self, entries: Vec<(S::Key, S::Value)>) -> Vec<Result<(), CacheError>> {
        let mut answers: Vec<_> = entries.iter().map(|_| Err(CacheError::Closed)).collect();
        let mut tasks = JoinSet::new();
        for (at, (key, value)) in entries.into_iter().enumerate() {
            let cache = self.clone();
            tasks.spawn_on(async move { (at, cache.set(&key, value).await) }, &self.inner.runtime);
        }
        while let Some(answer) = tasks.join_next().await {
            if let Ok((at, answer)) = answer
                && let Some(room) = answers.get_mut(at)
            {
                *room = answer;
            }
        }
        answers
    }

    /// Makes keys invalid, everywhere.
    ///
    /// # Errors
    /// [`CacheError::Untold`].
    pub async fn invalidate_keys(&self, keys: &[S::Key]) -> Result<(), CacheError> {
        let keys = keys.iter().map(text_of).collect::<Result<_, _>>()?;
        self.invalidate(Targets { keys, ..Targets::default() }).await
    }

    /// Makes all entries with one of these tags invalid, everywhere, at the cost of one.
    ///
    /// # Errors
    /// [`CacheError::Untold`].
    pub async fn invalidate_tags(&self, tags: &[&str]) -> Result<(), CacheError> {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.invalidate(Targets { tags, ..Targets::default() }).await
    }

    /// Makes all entries whose key begins so invalid, everywhere.
    ///
    /// # Errors
    /// [`CacheError::Untold`].
    pub async fn invalidate_prefix(&self, prefix: &str) -> Result<(), CacheError> {
        self.invalidate(Targets { prefixes: vec![prefix.to_owned()], ..Targets::default() }).await
    }

    /// Makes everything invalid, everywhere.
    ///
    /// # Errors
    /// [`CacheError::Untold`].
    pub async fn invalidate_all(&self) -> Result<(), CacheError> {
        self.invalidate(Targets { all: true, ..Targets::default() }).await
    }

    async fn invalidate(&self, targets: Targets) -> Result<(), CacheError> {
        let mut targets = targets;
        targets.keys.retain(|key| key.len() <= KEY_BYTES_MAX);
        // A script has its limits; more than that is as good as everything.
        if targets.len() > TARGETS_MAX {
            targets = Targets { all: true, ..Targets::default() };
        }
        self.inner.counters.invalidated.add(targets.len().max(1) as u64);
        self.inner.invalidate(targets).await
    }

    /// An invalidation that a control plane has given a number. Returns when it holds in this instance and in the Redis that
    /// it shares; told again, or late, it does no harm.
    ///
    /// # Errors
    /// [`CacheError::Untold`]: it holds here, and will in Redis when that answers.
    pub async fn apply_invalidation(&self, sequence: u64, targets: &Targets) -> Result<(), CacheError> {
        let applied = self.invalidate(targets.clone()).await;
        if applied.is_ok() {
            self.inner.applied.fetch_max(sequence, Ordering::AcqRel);
        }
        applied
    }

    /// The greatest number given to [`Cache::apply_invalidation`].
    #[must_use]
    pub fn applied_sequence(&self) -> u64 {
        self.inner.applied.load(Ordering::Acquire)
    }

    /// Whether memory is read: what others do is heard of.
    #[must_use]
    pub fn is_in_touch(&self) -> bool {
        self.inner.is_trusted()
    }

    /// The stamp of the last invalidation that was heard of through Redis; it grows.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.inner.heard.load(Ordering::Acquire)
    }

    /// Memory is read until then, and after it no more until a later time is given: the lease of coherence of whoever
    /// delivers invalidations.
    pub fn set_trusted_until(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let until = self.inner.clock.now_ms().saturating_add(clock::ms(left));
        self.inner.trusted_until_ms.store(until, Ordering::Release);
    }

    /// Works by `policy` from now on; nothing is lost.
    ///
    /// # Errors
    /// See [`CachePolicy::check`]; and [`Strategy::Behind`] needs the cache to have a journal. The policy in force stays.
    pub fn set_policy(&self, policy: CachePolicy) -> Result<(), PolicyError> {
        policy.check()?;
        if S::WRITES && policy.strategy == Strategy::Behind && self.inner.behind.is_none() {
            return Err(PolicyError { field: "strategy", range: "aside or through for a cache without a journal" });
        }
        self.inner.set_policy(policy);
        Ok(())
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<CachePolicy> {
        self.inner.policy()
    }

    /// Loads what of `keys` is not there, some at once: `(loaded or there, failed)`.
    pub async fn warm(&self, keys: Vec<S::Key>) -> (u64, u64) {
        warm::warm(&self.inner, keys).await
    }

    /// What was done until now, and what is kept.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let size = self.inner.l1.size();
        Stats {
            l1_hits: size.hits,
            entries: size.entries as u64,
            bytes: size.bytes as u64,
            evicted: size.evicted,
            writes_waiting: self.inner.behind.as_ref().map_or(0, |behind| behind.len() as u64),
            l2_is_left_alone: self.inner.l2.as_ref().is_some_and(L2::is_left_alone),
            ..self.inner.counters.read()
        }
    }

    /// Whether it has a level 2.
    #[must_use]
    pub fn has_redis(&self) -> bool {
        self.inner.l2.is_some()
    }

    /// Whether writes may wait in a journal.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.inner.behind.is_some()
    }

    /// Tells `tell` of each call to the loader that ends, in the place of whoever was told before. It must be quick.
    pub fn on_load(&self, tell: impl Fn(&Loaded) + Send + std::marker::Sync + 'static) {
        self.inner.told.set(tell);
    }

    /// A handle that does not keep it.
    #[must_use]
    pub fn downgrade(&self) -> WeakCache<S> {
        WeakCache { space: Arc::clone(&self.space), inner: Arc::downgrade(&self.inner) }
    }

    /// What other lives and sizes would do, from a sample of the keys.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.inner.sampler.curve(self.inner.reads(), self.inner.clock.now())
    }

    /// Takes no more writes, and waits until those under way, and invalidations, have come to their end and those that wait
    /// are at the source. False when some are not within that time: what waits stays in the journal, and is written after the
    /// next start.
    pub async fn close(&self, within: Duration) -> bool {
        let begun = Instant::now();
        self.inner.closed.store(true, Ordering::Release);
        let ended = timeout(within, self.inner.idle()).await.is_ok();
        // What cannot be told now was told to the caller at its time.
        let _stamp = self.inner.pay_debt().await;
        match &self.inner.behind {
            None => ended,
            Some(behind) => behind.flush(within.saturating_sub(begun.elapsed())).await && ended,
        }
    }
}
