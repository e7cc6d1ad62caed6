//! What all clones of a cache share.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::behind::Behind;
use super::clock::{Clock, ms, ticks};
use super::codec::Codec;
use super::curve::Sampler;
use super::flight::Flights;
use super::l1::Gone;
use super::l2::bus::Listener;
use super::l2::{L2, LinkError, TARGETS_MAX, Targets};
use super::memory::Memory;
use super::policy::CachePolicy;
use super::source::{CacheError, Source};
use super::stamps::Stamps;
use super::stats::{Counters, Loaded, Stats};
use super::warm::Asked;
use crate::told::Told;

/// Names that wait to be told to other instances; with more, everything is made invalid instead.
const DEBT_MAX: usize = 10_000;
/// Locks that writes of one key share.
const WRITE_LOCKS: usize = 256;

/// What every read needs of the policy, where reading it costs nothing.
#[derive(Default)]
pub(super) struct Hot {
    pub(super) l1_ttl: AtomicU32,
    /// Longest life that an entry in memory may have of its own.
    pub(super) own_ttl_max: AtomicU32,
    pub(super) negative_ttl: AtomicU32,
    pub(super) stale: AtomicU32,
    pub(super) grace: AtomicU32,
    pub(super) early: AtomicU32,
    /// In 65 536ths.
    pub(super) jitter: AtomicU32,
    pub(super) bypass: AtomicBool,
}

impl Hot {
    fn set(&self, policy: &CachePolicy) {
        let jitter = (policy.ttl_jitter * 65_536.0) as u32;
        // Without a lease, this is what an invalidation that is not heard of waits for.
        let own_ttl_max = if policy.coherence_lease.is_zero() { ticks(policy.l1_ttl) } else { u32::MAX };
        for (cell, value) in [
            (&self.l1_ttl, ticks(policy.l1_ttl)),
            (&self.own_ttl_max, own_ttl_max),
            (&self.negative_ttl, ticks(policy.negative_ttl.min(policy.l1_ttl))),
            (&self.stale, ticks(policy.stale_while_revalidate)),
            (&self.grace, ticks(policy.grace)),
            (&self.early, ticks(policy.early_refresh)),
            (&self.jitter, jitter),
        ] {
            cell.store(value, Ordering::Relaxed);
        }
        self.bypass.store(policy.bypass, Ordering::Relaxed);
    }
}

/// The turn of a key to be written, whose place in the queue is taken.
pub(super) type Turn = Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>;

/// See the module.
pub(super) struct Inner<S: Source> {
    /// Runs what holds what all share, for that of a caller may stand still.
    pub(super) runtime: Handle,
    pub(super) source: S,
    pub(super) codec: Codec,
    pub(super) clock: Clock,
    policy: RwLock<Arc<CachePolicy>>,
    pub(super) hot: Hot,
    pub(super) l1: Memory<S::Value>,
    pub(super) l2: Option<L2>,
    pub(super) stamps: Stamps,
    pub(super) flights: Flights<S::Value>,
    pub(super) counters: Counters,
    pub(super) told: Told<Loaded>,
    pub(super) behind: Option<Behind<S>>,
    pub(super) sampler: Sampler,
    pub(super) asked: Asked<S::Key>,
    /// Memory is read until then, by what was heard through Redis, and by what whoever else keeps us in touch says.
    pub(super) in_touch_until_ms: AtomicU64,
    pub(super) trusted_until_ms: AtomicU64,
    /// Retries that may be made.
    pub(super) retries: Mutex<f64>,
    /// What others could not be told, but for what is being told now.
    debt: Mutex<Targets>,
    /// Also while it is being told.
    pub(super) has_debt: AtomicBool,
    /// One tells at a time: the last stamp that it got.
    paying: tokio::sync::Mutex<u64>,
    write_locks: Vec<Arc<tokio::sync::Mutex<()>>>,
    /// The last stamp that was heard.
    pub(super) heard: AtomicU64,
    /// The last number of a control plane.
    pub(super) applied: AtomicU64,
    pub(super) closed: AtomicBool,
    /// Writes and invalidations that run to their end.
    under_way: watch::Sender<usize>,
}

/// One that counts as under way until this is dropped.
pub(super) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| *under_way -= 1);
    }
}

/// What is being told; what is left of it in the end is owed still.
struct Owed<'a> {
    debt: &'a Mutex<Targets>,
    targets: Targets,
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        let mut debt = self.debt.lock();
        let newer = std::mem::replace(&mut *debt, std::mem::take(&mut self.targets));
        debt.add(newer, DEBT_MAX);
    }
}

/// Parts that the builder makes.
pub(super) struct Parts<S: Source> {
    pub(super) source: S,
    pub(super) codec: Codec,
    pub(super) clock: Clock,
    pub(super) policy: CachePolicy,
    pub(super) weigh: Option<fn(&S::Value) -> usize>,
    pub(super) l2: Option<L2>,
    pub(super) behind: Option<Behind<S>>,
}

impl<S: Source> Inner<S> {
    /// On the runtime at hand.
    pub(super) fn new(parts: Parts<S>) -> Self {
        let Parts { source, codec, clock, policy, weigh, l2, behind } = parts;
        let alone = l2.is_none() || policy.coherence_lease.is_zero();
        let inner = Self {
            runtime: Handle::current(),
            source,
            codec,
            clock,
            hot: Hot::default(),
            l1: Memory::new(policy.l1_max_bytes, weigh),
            l2,
            stamps: Stamps::default(),
            flights: Flights::new(),
            counters: Counters::default(),
            told: Told::default(),
            behind,
            sampler: Sampler::new(policy.sample_ratio),
            asked: Asked::new(policy.warm_keys),
            in_touch_until_ms: AtomicU64::new(if alone { u64::MAX } else { 0 }),
            trusted_until_ms: AtomicU64::new(u64::MAX),
            retries: Mutex::new(f64::from(policy.retry.budget_reserve)),
            debt: Mutex::default(),
            has_debt: AtomicBool::new(false),
            paying: tokio::sync::Mutex::new(0),
            write_locks: (0..WRITE_LOCKS).map(|_| Arc::default()).collect(),
            heard: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            under_way: watch::Sender::new(0),
            policy: RwLock::new(Arc::new(policy)),
        };
        inner.hot.set(&inner.policy());
        inner
    }

    pub(super) fn policy(&self) -> Arc<CachePolicy> {
        Arc::clone(&self.policy.read())
    }

    /// Works by `policy` from now on. Entries keep when they were stored, so new lives count for them at once.
    pub(super) fn set_policy(&self, policy: CachePolicy) {
        self.hot.set(&policy);
        self.l1.resize(policy.l1_max_bytes);
        self.sampler.set_ratio(policy.sample_ratio, self.reads());
        self.asked.set_keys(policy.warm_keys);
        if self.l2.is_none() || policy.coherence_lease.is_zero() {
            self.in_touch_until_ms.store(u64::MAX, Ordering::SeqCst);
        } else if self.policy().coherence_lease.is_zero() {
            // The next answer of Redis says more.
            let until = self.clock.now_ms() + ms(policy.coherence_lease);
            self.in_touch_until_ms.store(until, Ordering::SeqCst);
        }
        let drops_memory = policy.l1_ttl.is_zero();
        *self.policy.write() = Arc::new(policy);
        if drops_memory {
            self.l1.clear();
        }
    }

    /// Reads of all keys, until now.
    pub(super) fn reads(&self) -> u64 {
        Stats { l1_hits: self.l1.size().hits, ..self.counters.read() }.reads()
    }

    /// Whether memory may be read.
    #[inline]
    pub(super) fn is_trusted(&self) -> bool {
        let until = self.in_touch_until_ms.load(Ordering::Acquire).min(self.trusted_until_ms.load(Ordering::Acquire));
        until == u64::MAX || self.clock.now_ms() < until
    }

    /// Level 2, when it is to be asked.
    pub(super) fn l2_for(&self, policy: &CachePolicy) -> Option<&L2> {
        self.l2
            .as_ref()
            .filter(|_| !policy.l2_ttl.is_zero() && !policy.bypass && !self.has_debt.load(Ordering::Acquire))
    }

    pub(super) fn write_lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let hash = self.l1.hash(key.as_bytes());
        Arc::clone(&self.write_locks[hash.0 as usize % WRITE_LOCKS])
    }

    /// One more is under way.
    pub(super) fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|under_way| *under_way += 1);
        UnderWay(self.under_way.clone())
    }

    /// Waits until nothing is under way.
    pub(super) async fn idle(&self) {
        // It cannot fail: what counts is here.
        let mut under_way = self.under_way.subscribe();
        drop(under_way.wait_for(|under_way| *under_way == 0).await);
    }

    /// Takes the place in the queue at once, however late and by whatever task the turn is waited for.
    pub(super) async fn line_up(&self, key: &str) -> Turn {
        // A caller whose budget is spent would get none.
        let mut turn: Turn = Box::pin(unconstrained(self.write_lock(key).lock_owned()));
        match poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx))).await {
            Poll::Ready(turn) => Box::pin(std::future::ready(turn)),
            Poll::Pending => turn,
        }
    }

    pub(super) fn count_l2_error(&self, error: &LinkError) {
        let count = if *error == LinkError::Resting { &self.counters.l2_skipped } else { &self.counters.l2_errors };
        count.add(1);
    }

    /// Makes entries invalid in this process.
    pub(super) fn invalidate_here(&self, targets: &Targets, stamp: u64) {
        for key in &targets.keys {
            self.remove_here(key);
        }
        targets.tags.iter().for_each(|tag| self.stamps.note_tag(tag, stamp));
        targets.prefixes.iter().for_each(|prefix| self.stamps.note_prefix(prefix, stamp));
        if targets.all {
            self.stamps.note_all(stamp);
            self.flights.detach_all();
            self.l1.clear();
        }
    }

    /// Takes a key out of memory, and lets nothing that flies put it back.
    pub(super) fn remove_here(&self, key: &str) {
        let hash = self.l1.hash(key.as_bytes());
        self.flights.detach(hash, key, || {
            self.l1.remove(hash, key, Gone::Invalidated);
        });
    }

    /// Makes entries invalid in Redis, and tells the others; what cannot be told is told later.
    pub(super) async fn invalidate_there(&self, targets: &Targets) -> Result<u64, CacheError> {
        let (Some(l2), timeout) = (&self.l2, self.policy().l2_timeout) else { return Ok(0) };
        let untold = || CacheError::Untold("Redis does not answer".to_owned());
        if self.has_debt.load(Ordering::Acquire) {
            self.owe(targets.clone());
            return self.pay_debt().await.ok_or_else(untold);
        }
        l2.invalidate(targets, timeout).await.map_err(|error| {
            self.count_l2_error(&error);
            self.owe(targets.clone());
            untold()
        })
    }

    fn owe(&self, targets: Targets) {
        let mut debt = self.debt.lock();
        debt.add(targets, DEBT_MAX);
        self.has_debt.store(true, Ordering::Release);
    }

    /// Tells what could not be told before, in parts; the stamp that it has now. No part is begun after `l2_timeout`, and
    /// what was told by then is told.
    pub(super) async fn pay_debt(&self) -> Option<u64> {
        let l2 = self.l2.as_ref().filter(|_| self.has_debt.load(Ordering::Acquire))?;
        if l2.is_resting() {
            self.count_l2_error(&LinkError::Resting);
            return None;
        }
        let (begun, timeout) = (Instant::now(), self.policy().l2_timeout);
        let mut stamp = tokio::time::timeout(timeout, self.paying.lock()).await.ok()?;
        loop {
            let Some(mut owed) = self.take_debt() else { return Some(*stamp) };
            while owed.targets != Targets::default() {
                if begun.elapsed() >= timeout {
                    return None;
                }
                let part = owed.targets.first(TARGETS_MAX);
                let told = l2.invalidate(&part, timeout).await;
                *stamp = told.inspect_err(|error| self.count_l2_error(error)).ok()?;
                self.invalidate_here(&part, *stamp);
                owed.targets.take_off(&part);
            }
        }
    }

    /// All that is owed, to be told now. What is owed anew meanwhile is a debt of its own, also when it is the same.
    fn take_debt(&self) -> Option<Owed<'_>> {
        let mut debt = self.debt.lock();
        let targets = std::mem::take(&mut *debt);
        let is_some = targets != Targets::default();
        self.has_debt.store(is_some, Ordering::Release);
        is_some.then(|| Owed { debt: &self.debt, targets })
    }

    /// Drops memory: something may have been missed.
    pub(super) fn drop_memory(&self) {
        self.counters.dropped.add(1);
        self.stamps.note_all(0);
        self.flights.detach_all();
        self.l1.clear();
    }
}

impl<S: Source> Listener for Inner<S> {
    fn l2(&self) -> Option<&L2> {
        self.l2.as_ref()
    }

    fn lease(&self) -> Duration {
        let lease = self.policy().coherence_lease;
        if lease.is_zero() { Duration::from_secs(8) } else { lease }
    }

    fn heard(&self, targets: &Targets, stamp: u64, own: bool) {
        // What this instance made invalid, it has already taken out.
        if own {
            let keys = Vec::new();
            self.invalidate_here(&Targets { keys, ..targets.clone() }, stamp);
        } else {
            self.invalidate_here(targets, stamp);
        }
    }

    fn missed(&self, since: u64) {
        self.drop_memory();
        self.stamps.know_since(since);
    }

    fn in_touch(&self, stamp: u64, asked_at_ms: u64) {
        self.heard.store(stamp, Ordering::Release);
        let lease = self.policy().coherence_lease;
        if !lease.is_zero() {
            self.in_touch_until_ms.store(asked_at_ms + ms(lease), Ordering::Release);
        }
    }

    async fn back(&self) {
        // What fails is tried again.
        let _stamp = self.pay_debt().await;
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}
