//! How a write goes: aside, through, behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};

use super::clock::{ms, ticks};
use super::frame::{self, Stored};
use super::inner::Inner;
use super::l2::{LinkError, Targets};
use super::memory::Memory;
use super::policy::{CachePolicy, Strategy};
use super::source::{CacheError, Source, Write};

/// What an entry has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its life, when it is not that of the policy; 30 days when it is longer. With a [`CachePolicy::coherence_lease`] of 0, in
    /// memory [`CachePolicy::l1_ttl`] when it is longer.
    pub ttl: Option<Duration>,
    /// Tags beside those of [`Source::tags`].
    pub tags: Vec<String>,
}

/// A value to be written, and all that belongs to it.
pub(super) struct Change<S: Source> {
    pub(super) key: S::Key,
    pub(super) text: String,
    /// `None` removes.
    pub(super) value: Option<S::Value>,
    pub(super) entry: Entry,
}

impl<S: Source> Inner<S> {
    /// Writes as the policy says, to the end though the caller leaves: what the source has, the cache has to know.
    /// Writes of a key are made in the order in which they were begun.
    pub(super) async fn write(self: &Arc<Self>, change: Change<S>) -> Result<(), CacheError> {
        if !S::WRITES && self.l2.is_none() {
            // Nothing in it waits, but for its turn.
            let turn = self.write_lock(&change.text).lock_owned();
            return self.write_in_turn(change, turn).await;
        }
        let (inner, text) = (Arc::clone(self), change.text.clone());
        let under_way = self.begin();
        // Who closes waits for what began before; this one may not have.
        if self.closed.load(Ordering::Acquire) {
            return Err(CacheError::Closed);
        }
        let turn = self.line_up(&text).await;
        let task = async move {
            let written = inner.write_in_turn(change, turn).await;
            drop(under_way);
            written
        };
        match self.runtime.spawn(task).await {
            Ok(written) => written,
            Err(ended) => {
                // It may have been made all the same.
                drop(self.invalidate_key(&text).await);
                let why = if ended.is_panic() { "the write panicked" } else { "the cache's runtime has ended" };
                Err(CacheError::Write(why.to_owned()))
            }
        }
    }

    async fn write_in_turn(
        &self,
        change: Change<S>,
        turn: impl Future<Output = OwnedMutexGuard<()>>,
    ) -> Result<(), CacheError> {
        self.counters.writes.add(1);
        let policy = self.policy();
        let turn = turn.await;
        let written = if !S::WRITES {
            self.fill(&change, None, &policy).await
        } else {
            let is_behind = policy.strategy == Strategy::Behind && !policy.bypass;
            // Whatever the policy says now: nothing overtakes a write of its key that waits.
            let behind = self.behind.as_ref().filter(|behind| is_behind || behind.holds(&change.text));
            match (policy.strategy, behind) {
                (_, Some(behind)) => behind.write(self, &change, &policy).await,
                (Strategy::Through, _) if !policy.bypass => self.write_through(&change, &policy).await,
                _ => self.write_aside(&change, &policy).await,
            }
        };
        drop(turn);
        self.counters.write_errors.add(u64::from(written.is_err()));
        written
    }

    pub(super) async fn write_aside(&self, change: &Change<S>, policy: &CachePolicy) -> Result<(), CacheError> {
        let written = self.write_source(change, policy).await;
        // A write that failed may have been made all the same.
        let told = self.invalidate_key(&change.text).await;
        written.and(told)
    }

    async fn write_through(&self, change: &Change<S>, policy: &CachePolicy) -> Result<(), CacheError> {
        let begun = match self.l2_for(policy) {
            None => None,
            Some(l2) => match l2.intend(&change.text, policy.l2_timeout).await {
                Ok(stamp) => Some(stamp),
                Err(error) => {
                    self.count_l2_error(&error);
                    None
                }
            },
        };
        if let Err(error) = self.write_source(change, policy).await {
            // It says enough; that others are not told yet is no news beside it.
            drop(self.invalidate_key(&change.text).await);
            return Err(error);
        }
        if self.l2.is_some() && begun.is_none() {
            return self.invalidate_key(&change.text).await;
        }
        self.fill(change, begun, policy).await
    }

    /// Makes entries invalid here and for all, to the end though the caller leaves: what others are told of is skipped here.
    pub(super) async fn invalidate(self: &Arc<Self>, targets: Targets) -> Result<(), CacheError> {
        let (inner, under_way) = (Arc::clone(self), self.begin());
        let both = async move {
            let told = inner.invalidate_there(&targets).await;
            inner.invalidate_here(&targets, *told.as_ref().unwrap_or(&0));
            drop(under_way);
            told.map(drop)
        };
        if self.l2.is_none() {
            return both.await;
        }
        let ended = |_ended| Err(CacheError::Untold("its task ended".to_owned()));
        self.runtime.spawn(both).await.unwrap_or_else(ended)
    }

    /// Makes a key invalid here and for all.
    pub(super) async fn invalidate_key(&self, text: &str) -> Result<(), CacheError> {
        let targets = Targets { keys: vec![text.to_owned()], ..Targets::default() };
        let told = self.invalidate_there(&targets).await;
        self.remove_here(text);
        told.map(drop)
    }

    /// Puts a value into both levels. `begun`: only if nobody else has begun to write since.
    pub(super) async fn fill(
        &self,
        change: &Change<S>,
        begun: Option<u64>,
        policy: &CachePolicy,
    ) -> Result<(), CacheError> {
        let Some(value) = &change.value else { return self.invalidate_key(&change.text).await };
        let stored = self.stored(change, (value, self.encode(value)?), policy);
        let (hash, generation) = (self.l1.hash(change.text.as_bytes()), self.stamps.generation());
        let flight = self.flights.alone(hash, &change.text);
        let put = match self.l2_for(policy) {
            None if self.l2.is_some() && !policy.l2_ttl.is_zero() => Err(LinkError::Resting),
            None => Ok(true),
            Some(l2) => {
                let life = Duration::from_millis(stored.life_ms) + policy.grace.max(policy.stale_while_revalidate);
                let parts =
                    stored.parts((l2.seal, &change.text), policy.compression, policy.compression_threshold_bytes);
                l2.put(&change.text, (parts, begun), (life, policy.l2_timeout)).await
            }
        };
        match put {
            Ok(true) => {
                let ttl = change.entry.ttl.map(ticks);
                let kept = self.flights.land(hash, &change.text, &flight, || {
                    self.keep((&change.text, hash), (generation, &stored, Some(value)), ttl);
                });
                if !kept {
                    self.remove_here(&change.text);
                }
                Ok(())
            }
            Ok(false) => {
                self.remove_here(&change.text);
                Ok(())
            }
            Err(error) => {
                self.count_l2_error(&error);
                self.invalidate_key(&change.text).await
            }
        }
    }

    /// Puts a value that never changes under its key into both levels.
    pub(super) async fn offer(&self, change: &Change<S>) -> Result<(), CacheError> {
        let Some(value) = &change.value else { return Ok(()) };
        let (policy, hash) = (self.policy(), self.l1.hash(change.text.as_bytes()));
        let in_memory = if matches!(self.l1, Memory::Values(_)) { Vec::new() } else { self.encode(value)? };
        let mut stored = self.stored(change, (value, in_memory), &policy);
        self.counters.writes.add(1);
        self.keep((&change.text, hash), (self.stamps.generation(), &stored, Some(value)), None);
        let Some(l2) = self.l2_for(&policy) else { return Ok(()) };
        // It can be read from here on; to make it small may take a while.
        tokio::task::yield_now().await;
        if matches!(self.l1, Memory::Values(_)) {
            stored.bytes = Some(self.encode(value)?);
        }
        let parts = stored.parts((l2.seal, &change.text), policy.compression, policy.compression_threshold_bytes);
        let times = (Duration::from_millis(stored.life_ms), policy.l2_timeout);
        if let Err(error) = l2.store(&change.text, (&parts, 0), times, true).await {
            self.count_l2_error(&error);
        }
        Ok(())
    }

    fn stored(&self, change: &Change<S>, (value, bytes): (&S::Value, Vec<u8>), policy: &CachePolicy) -> Stored {
        let mut tags = self.source.tags(&change.key, value);
        tags.extend(change.entry.tags.iter().cloned());
        let jittered = policy.l2_ttl.mul_f64(1.0 - policy.ttl_jitter * fastrand::f64());
        Stored {
            bytes: Some(bytes),
            codec: self.codec,
            cost: 0,
            born_ms: self.clock.wall_ms(),
            life_ms: ms(change.entry.ttl.unwrap_or(jittered)),
            tags: frame::kept_tags(tags),
        }
    }

    /// To the source, and again as the policy says.
    async fn write_source(&self, change: &Change<S>, policy: &CachePolicy) -> Result<(), CacheError> {
        let mut write = [Write { key: change.key.clone(), value: change.value.clone(), again: false }];
        let tries = async {
            let mut attempt = 1;
            loop {
                let Err(failure) = self.source.write(&write).await else { return Ok(()) };
                attempt += 1;
                if !failure.retryable || attempt > policy.retry.attempts || !self.may_retry() {
                    return Err(failure.why);
                }
                let jittered = policy.retry.ceiling(attempt).mul_f64(fastrand::f64());
                sleep(failure.retry_after.map_or(jittered, |after| after.max(jittered))).await;
                self.counters.retries.add(1);
                write[0].again = true;
            }
        };
        match timeout(policy.load_timeout, tries).await {
            Ok(Ok(())) => {
                self.earn_retries(policy);
                Ok(())
            }
            Ok(Err(why)) => Err(CacheError::Write(why)),
            Err(_elapsed) => {
                Err(CacheError::Write(format!("no answer within load_timeout of {:?}", policy.load_timeout)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::task::Poll;

    use super::super::{Cache, Filled};
    use super::*;

    #[tokio::test]
    async fn writes_whose_callers_left_leave_no_flights() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("redis.sock");
        // Takes what is asked, and answers nothing.
        let _silent = UnixListener::bind(&socket).expect("bound");
        let client = redis::Client::open(format!("redis+unix://{}", socket.display())).expect("an address");
        let policy = CachePolicy { l2_timeout: Duration::from_millis(50), ..CachePolicy::default() };
        let builder = Cache::builder("texts", Filled::<u64, u64>::default()).policy(policy).redis(client);
        let cache = builder.build().await.expect("built");
        for key in 0..1_000 {
            let mut set = Box::pin(cache.set(&key, 1));
            assert!(std::future::poll_fn(|cx| Poll::Ready(set.as_mut().poll(cx))).await.is_pending());
        }
        let landed = async {
            while cache.stats().write_errors < 1_000 || cache.inner.flights.len() > 0 {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(20), landed).await.expect("each goes on to its end");
    }
}
