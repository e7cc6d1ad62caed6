//! A flight: what of a read is done once for all who wait for a key. Writes that wait, Redis, a lease, the source.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::clock::{ms, ticks_of_ms};
use super::flight::{Flight, From};
use super::frame::{self, Parts, Stored};
use super::inner::Inner;
use super::l1::{KeyHash, cost_of};
use super::l2::{STORE_WITHIN, TOMB_LIFE};
use super::policy::CachePolicy;
use super::read::is_early;
use super::source::{CacheError, Source};

/// First and longest pause between two looks for what another instance loads.
const LOOK_AFTER: Duration = Duration::from_millis(5);
const LOOK_AFTER_MAX: Duration = Duration::from_millis(50);

/// One flight: what it needs, and where it is.
pub(super) struct Trip<S: Source> {
    pub(super) inner: Arc<Inner<S>>,
    pub(super) key: S::Key,
    pub(super) text: String,
    pub(super) hash: KeyHash,
    pub(super) flight: Arc<Flight<S::Value>>,
    pub(super) policy: Arc<CachePolicy>,
    pub(super) begun: Instant,
}

/// However it ends, who waits gets an answer.
struct Ends<S: Source>(Arc<Inner<S>>, String, KeyHash, Arc<Flight<S::Value>>);

impl<S: Source> Drop for Ends<S> {
    fn drop(&mut self) {
        self.0.flights.land(self.2, &self.1, &self.3, || {});
        self.3.finish(Err(CacheError::Load("the load ended without an answer".to_owned())));
    }
}

/// What Redis says.
struct There<V> {
    /// The last stamp at that time.
    seq: u64,
    /// Something was under the key.
    present: bool,
    found: Found<V>,
}

enum Found<V> {
    /// Fresh; and whether it should be loaded anew by the way.
    Fresh(Option<V>, Stored, Duration, bool),
    /// Past its life, by so long.
    Past(V, Duration),
    None(Lack),
}

/// Why there is nothing to be read.
#[derive(Clone, Copy)]
enum Lack {
    Absent,
    Expired,
    Invalid,
}

impl<S: Source> Trip<S> {
    pub(super) fn fly(self) -> impl Future<Output = ()> + Send {
        // Here, for a runtime that has ended polls nothing.
        let ends = Ends(Arc::clone(&self.inner), self.text.clone(), self.hash, Arc::clone(&self.flight));
        async move {
            self.travel().await;
            drop(ends);
        }
    }

    async fn travel(self) {
        if let Some(value) = self.inner.behind.as_ref().and_then(|behind| behind.waiting(&self.text)) {
            self.flight.finish_from(From::Waiting, Ok(value));
            return;
        }
        let there = self.there().await;
        let mut late = None;
        if let Some(There { found, .. }) = &there {
            match found {
                Found::Fresh(value, stored, left, anew) => {
                    self.serve(value, stored, *left);
                    if !anew {
                        return;
                    }
                    self.inner.counters.refreshed.add(1);
                }
                Found::Past(value, by) if *by < self.policy.stale_while_revalidate => {
                    self.flight.finish_from(From::Stale, Ok(Some(value.clone())));
                }
                Found::Past(value, by) => {
                    self.lacks(Lack::Expired);
                    late = (*by < self.policy.grace).then(|| value.clone());
                }
                Found::None(lack) => self.lacks(*lack),
            }
        }
        let Some(lease) = self.lease(there.is_some()).await else { return };
        match self.inner.load(&self.key, &self.policy).await {
            Ok((value, took)) => self.store(value, took, there).await,
            Err(error) => {
                self.inner.asked.forget(&self.key);
                match late {
                    Some(value) => self.flight.finish_from(From::Late, Ok(Some(value))),
                    None => self.flight.finish(Err(error)),
                }
            }
        }
        if let (Some(token), Some(l2)) = (lease, &self.inner.l2) {
            l2.release(&self.text, &token, self.policy.l2_timeout).await;
        }
    }

    fn lacks(&self, lack: Lack) {
        let counters = &self.inner.counters;
        let count = match lack {
            Lack::Absent => &counters.l2_misses_absent,
            Lack::Expired => &counters.l2_misses_expired,
            Lack::Invalid => &counters.l2_misses_invalidated,
        };
        count.add(1);
    }

    /// None when Redis is not asked, or does not answer.
    async fn there(&self) -> Option<There<S::Value>> {
        let inner = &self.inner;
        let l2 = inner.l2_for(&self.policy)?;
        let (seq, frame, present) = match l2.get(&self.text, self.policy.l2_timeout).await {
            Ok(got) => got,
            Err(error) => {
                inner.count_l2_error(&error);
                return None;
            }
        };
        let found = match frame {
            None => Found::None(Lack::Absent),
            Some(frame) => match inner.judge(l2, (&self.text, seq), frame, &self.policy).await {
                Some((stored, left)) => self.found(stored, left),
                None => Found::None(Lack::Invalid),
            },
        };
        Some(There { seq, present, found })
    }

    fn found(&self, stored: Stored, left: Result<Duration, Duration>) -> Found<S::Value> {
        let value = match &stored.bytes {
            None => None,
            Some(bytes) => match stored.codec.decode::<S::Value>(bytes) {
                Some(value) => Some(value),
                // Another's, or from before a change of the type.
                None => return Found::None(Lack::Absent),
            },
        };
        match (left, value) {
            (Ok(left), value) => {
                let anew =
                    !self.policy.early_refresh.is_zero() && is_early(left, self.policy.early_refresh, stored.cost);
                Found::Fresh(value, stored, left, anew)
            }
            (Err(by), Some(value)) => Found::Past(value, by),
            (Err(_), None) => Found::None(Lack::Expired),
        }
    }

    /// Answers with what Redis has, and keeps it in memory, no longer than it would be there.
    fn serve(&self, value: &Option<S::Value>, stored: &Stored, left: Duration) {
        let inner = &self.inner;
        inner.counters.negative_hits.add(u64::from(value.is_none()));
        let ttl = (left < self.policy.l1_ttl).then(|| ticks_of_ms(ms(left)));
        inner.flights.land(self.hash, &self.text, &self.flight, || {
            if !inner.keep((&self.text, self.hash), (self.flight.generation, stored, value.as_ref()), ttl) {
                inner.asked.forget(&self.key);
            }
        });
        self.flight.finish_from(From::Redis, Ok(value.clone()));
    }

    /// Waits until another instance has loaded, or gives the right to do it here, with the token of a lease if there is one.
    /// None when the flight has been answered.
    async fn lease(&self, l2_answers: bool) -> Option<Option<String>> {
        let (inner, life) = (&self.inner, self.policy.lease);
        let (false, true, Some(l2)) = (life.is_zero(), l2_answers, inner.l2_for(&self.policy)) else {
            return Some(None);
        };
        let token = format!("{:016x}", fastrand::u64(..));
        let mut pause = LOOK_AFTER;
        while self.begun.elapsed() < life {
            let ours = match l2.lease(&self.text, &token, (life, self.policy.l2_timeout)).await {
                Ok(ours) => ours,
                Err(error) => {
                    inner.count_l2_error(&error);
                    return Some(None);
                }
            };
            if !ours {
                sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(LOOK_AFTER_MAX);
            }
            // Whoever had it may have given it back with what was loaded.
            match self.there().await {
                Some(There { found: Found::Fresh(value, stored, left, _), .. }) => {
                    inner.counters.left_to_others.add(1);
                    self.serve(&value, &stored, left);
                    if ours {
                        l2.release(&self.text, &token, self.policy.l2_timeout).await;
                    }
                    return None;
                }
                _ if ours => return Some(Some(token)),
                _ => {}
            }
        }
        Some(None)
    }

    /// Keeps what was loaded in memory, answers, and keeps it in Redis.
    async fn store(&self, value: Option<S::Value>, took: Duration, there: Option<There<S::Value>>) {
        let inner = &self.inner;
        let bytes = match value.as_ref().map(|value| inner.encode(value)).transpose() {
            Ok(bytes) => bytes,
            // It can be answered, and not be kept.
            Err(_why) => {
                inner.asked.forget(&self.key);
                return self.flight.finish(Ok(value));
            }
        };
        let tags = value.as_ref().map(|value| inner.source.tags(&self.key, value)).unwrap_or_default();
        let life = if value.is_none() { self.policy.negative_ttl } else { self.policy.l2_ttl };
        let life = life.mul_f64(1.0 - self.policy.ttl_jitter * fastrand::f64());
        let cost = cost_of(took.as_secs_f64());
        let stored = Stored {
            bytes,
            codec: inner.codec,
            cost,
            born_ms: inner.clock.wall_ms(),
            life_ms: ms(life),
            tags: frame::kept_tags(tags),
        };
        inner.asked.loaded(&self.key, cost);
        inner.flights.land(self.hash, &self.text, &self.flight, || {
            if !inner.keep((&self.text, self.hash), (self.flight.generation, &stored, value.as_ref()), None) {
                inner.asked.forget(&self.key);
            }
        });
        self.flight.finish(Ok(value));
        let (Some(there), Some(l2)) = (there, inner.l2_for(&self.policy)) else { return };
        // That there is none may have no life; what was there has none any more either.
        let is_over = life.is_zero() && !matches!(there.found, Found::None(_));
        if self.begun.elapsed() >= STORE_WITHIN || (life.is_zero() && !is_over) {
            return;
        }
        let (life, parts) = if is_over {
            (TOMB_LIFE, Parts { head: frame::tomb(), tail: Vec::new() })
        } else {
            let how = (self.policy.compression, self.policy.compression_threshold_bytes);
            let life = life + self.policy.grace.max(self.policy.stale_while_revalidate);
            (life, stored.parts((l2.seal, &self.text), how.0, how.1))
        };
        let (times, frame) = ((life, self.policy.l2_timeout), (&parts, there.seq));
        match l2.store(&self.text, frame, times, !there.present).await {
            Ok(true) => {}
            Ok(false) => inner.counters.not_stored.add(1),
            Err(error) => inner.count_l2_error(&error),
        }
    }
}
