//! How a read goes: memory, writes that wait, Redis, the source.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::clock::ms;
use super::flight::{Answer, Flight, From};
use super::frame::{Body, Frame, Stored};
use super::inner::Inner;
use super::key::CacheKey;
use super::l1::{Gone, Held, KeyHash, Looked, Meta, New, Stored as Kept, seconds_of};
use super::l2::L2;
use super::memory::Memory;
use super::policy::CachePolicy;
use super::source::{CacheError, Source};
use super::stamps::Standing;
use super::stats::Loaded;
use super::trip::Trip;

/// Values up to this size are taken out of memory without an allocation.
const SMALL: usize = 256;

/// A value taken out of memory. Deserialising it runs the host's code, which no lock may wait for.
struct Taken {
    small: [u8; SMALL],
    len: usize,
    large: Vec<u8>,
}

impl Taken {
    #[inline]
    const fn new() -> Self {
        Self { small: [0; SMALL], len: 0, large: Vec::new() }
    }

    #[inline]
    fn take(&mut self, value: &[u8]) {
        if let Some(small) = self.small.get_mut(..value.len()) {
            small.copy_from_slice(value);
            self.len = value.len();
        } else {
            self.large = value.to_vec();
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.large.is_empty() { self.small.get(..self.len).unwrap_or_default() } else { &self.large }
    }
}

/// What memory says.
pub(super) enum Seen<V> {
    /// The value, or that there is none; whether it should be loaded anew by the way.
    Hit(Option<V>, bool),
    /// Nothing, or what is to be served only when it cannot be loaded.
    Miss,
}

/// How an entry stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Fresh,
    Early,
    Stale,
    Grace,
    Over,
    Invalid,
}

/// Whether an entry is loaded anew before its end (`XFetch`): the likelier the nearer the end and the dearer the load.
pub(super) fn is_early(left: Duration, within: Duration, cost: u8) -> bool {
    left < within && seconds_of(cost) * -fastrand::f64().max(f64::MIN_POSITIVE).ln() >= left.as_secs_f64()
}

impl<S: Source> Inner<S> {
    #[inline]
    fn age(&self, meta: &Meta, hash: KeyHash, now: u32) -> Age {
        let hot = &self.hot;
        let life = if meta.negative { &hot.negative_ttl } else { &hot.l1_ttl };
        let life = life.load(Ordering::Relaxed);
        let jitter = (u64::from(hot.jitter.load(Ordering::Relaxed)) * (hash.0 >> 48)) >> 16;
        let jittered = life - ((u64::from(life) * jitter) >> 16) as u32;
        let life = meta.ttl.map_or(jittered, |ttl| ttl.min(hot.own_ttl_max.load(Ordering::Relaxed)));
        let age = now.saturating_sub(meta.born);
        if now == u32::MAX {
            return Age::Over;
        }
        if age < life {
            let early = hot.early.load(Ordering::Relaxed);
            let left = life - age;
            let tick = |ticks: u32| Duration::from_millis(u64::from(ticks) * 16);
            let is_early = early > 0 && is_early(tick(left), tick(early), meta.cost);
            return if is_early { Age::Early } else { Age::Fresh };
        }
        let past = age - life;
        if past < hot.stale.load(Ordering::Relaxed) && !meta.negative {
            Age::Stale
        } else if past < hot.grace.load(Ordering::Relaxed) && !meta.negative {
            Age::Grace
        } else {
            Age::Over
        }
    }

    /// A fresh entry of memory: its value, or that there is none. Counts no miss.
    #[inline]
    pub(super) fn fresh(&self, key: &str, hash: KeyHash) -> Option<Option<S::Value>> {
        self.find((key, hash), true, |age| age == Age::Fresh)?.1
    }

    /// Whether a fresh entry is in memory.
    pub(super) fn is_there(&self, key: &S::Key) -> bool {
        key.with_text(|text| {
            let hash = self.l1.hash(text.as_bytes());
            let found = self.find((text, hash), false, |age| age == Age::Fresh);
            self.is_trusted() && found.is_some_and(|(_, found)| found.is_some())
        })
    }

    /// Looks into memory, if it may be read.
    pub(super) fn look(&self, key: &str, hash: KeyHash) -> Seen<S::Value> {
        if !self.is_trusted() {
            self.counters.misses_untrusted.add(1);
            return Seen::Miss;
        }
        match self.find((key, hash), true, |age| matches!(age, Age::Fresh | Age::Early | Age::Stale)) {
            Some((age, Some(found))) => {
                self.counters.stale_served.add((age == Age::Stale).into());
                Seen::Hit(found, age != Age::Fresh)
            }
            Some((Age::Grace | Age::Over, _)) => self.miss(hash, Some(Gone::Expired)),
            Some((Age::Invalid, _)) => self.miss(hash, Some(Gone::Invalidated)),
            _ => self.miss(hash, None),
        }
    }

    /// How an entry of memory stands, and what of it is wanted.
    #[inline]
    fn stands(
        &self,
        (key, hash): (&str, KeyHash),
        (meta, tags): (&Meta, impl Iterator<Item = u32>),
        (is_read, wanted): (bool, &impl Fn(Age) -> bool),
    ) -> Looked<(Age, bool)> {
        let generation = self.stamps.generation();
        let old = meta.stamp != generation;
        if old && !self.stamps.is_good(meta.stamp, key, tags) {
            return Looked { made: (Age::Invalid, false), is_wanted: false, is_hit: false, restamp: None };
        }
        let age = self.age(meta, hash, self.clock.now());
        let is_wanted = wanted(age);
        let is_hit = is_wanted && is_read && matches!(age, Age::Fresh | Age::Early);
        Looked { made: (age, meta.negative), is_wanted, is_hit, restamp: old.then_some(generation) }
    }

    /// How the entry stands, and if `wanted`, its value, or that there is none. What `is_read` counts when it is a hit.
    #[inline]
    fn find(
        &self,
        (key, hash): (&str, KeyHash),
        is_read: bool,
        wanted: impl Fn(Age) -> bool,
    ) -> Option<(Age, Option<Option<S::Value>>)> {
        let (age, is_negative, found) = match &self.l1 {
            Memory::Bytes(l1) => {
                let (mut taken, mut is_taken) = (Taken::new(), false);
                let look = |held: &Held<'_>| {
                    let looked = self.stands((key, hash), (&held.meta, held.tags()), (is_read, &wanted));
                    if looked.is_wanted {
                        is_taken = true;
                        taken.take(held.value);
                    }
                    looked
                };
                let (age, is_negative) = l1.read(hash, key.as_bytes(), look)?;
                // Bytes that are no such value are as good as none.
                let is_value = is_taken && !is_negative;
                (age, is_taken && is_negative, if is_value { self.codec.decode(taken.bytes()) } else { None })
            }
            Memory::Values(values) => {
                let look = |meta: &Meta, tags: &[u32]| {
                    self.stands((key, hash), (meta, tags.iter().copied()), (is_read, &wanted))
                };
                let ((age, is_negative), value) = values.read(hash, key, look)?;
                (age, is_negative && wanted(age), value)
            }
        };
        if is_negative {
            self.counters.negative_hits.add(is_read.into());
            return Some((age, Some(None)));
        }
        Some((age, found.map(Some)))
    }

    fn miss(&self, hash: KeyHash, gone: Option<Gone>) -> Seen<S::Value> {
        let count = match gone.or_else(|| self.l1.why_gone(hash)) {
            None => &self.counters.misses_never_seen,
            Some(Gone::Expired) => &self.counters.misses_expired,
            Some(Gone::Invalidated) => &self.counters.misses_invalidated,
            Some(Gone::Evicted) => &self.counters.misses_evicted,
        };
        count.add(1);
        Seen::Miss
    }

    /// What may be served when the load has failed.
    fn late(&self, key: &str, hash: KeyHash) -> Option<S::Value> {
        let trusted = self.is_trusted();
        let is_there = |age| age != Age::Over && age != Age::Invalid;
        let found = if trusted { self.find((key, hash), false, is_there) } else { None };
        let value = found?.1??;
        self.counters.grace_served.add(1);
        Some(value)
    }

    /// From memory, or else from one flight for all who ask.
    pub(super) async fn get_or_load(self: &Arc<Self>, key: &S::Key, text: &str, hash: KeyHash) -> Answer<S::Value> {
        if self.bypasses() {
            return self.load(key, &self.policy()).await.map(|(value, _)| value);
        }
        if let Seen::Hit(value, anew) = self.look(text, hash) {
            if anew {
                self.refresh(key, text, hash);
            }
            return Ok(value);
        }
        let (flight, is_new) = self.flights.join(hash, text, self.stamps.generation());
        if is_new {
            self.fly(key.clone(), text.to_owned(), hash, Arc::clone(&flight));
        } else {
            self.counters.coalesced.add(1);
        }
        let answer = flight.answer().await;
        if matches!(answer, Err(CacheError::Load(_)))
            && let Some(value) = self.late(text, hash)
        {
            return Ok(Some(value));
        }
        let count = match flight.from() {
            From::Source => &self.counters.misses,
            From::Redis => &self.counters.l2_hits,
            From::Waiting => &self.counters.waiting_hits,
            From::Stale => &self.counters.stale_served,
            From::Late => &self.counters.grace_served,
        };
        count.add(1);
        answer
    }

    /// Whether a read is to go as if there were no cache; it counts as a miss then.
    pub(super) fn bypasses(&self) -> bool {
        let bypasses = self.hot.bypass.load(Ordering::Relaxed);
        if bypasses {
            self.counters.bypassed.add(1);
            self.counters.misses.add(1);
        }
        bypasses
    }

    /// Loads anew, while what there is goes on being served.
    pub(super) fn refresh(self: &Arc<Self>, key: &S::Key, text: &str, hash: KeyHash) {
        let (flight, is_new) = self.flights.join(hash, text, self.stamps.generation());
        if is_new {
            self.counters.refreshed.add(1);
            self.fly(key.clone(), text.to_owned(), hash, flight);
        }
    }

    fn fly(self: &Arc<Self>, key: S::Key, text: String, hash: KeyHash, flight: Arc<Flight<S::Value>>) {
        let trip =
            Trip { inner: Arc::clone(self), key, text, hash, flight, policy: self.policy(), begun: Instant::now() };
        self.runtime.spawn(trip.fly());
    }

    /// Asks the source, and again as the policy says. With how long the last try took.
    pub(super) async fn load(
        &self,
        key: &S::Key,
        policy: &CachePolicy,
    ) -> Result<(Option<S::Value>, Duration), CacheError> {
        self.counters.loads.add(1);
        let begun = Instant::now();
        let tries = async {
            let mut attempt = 1;
            loop {
                let begun = Instant::now();
                let failure = match self.source.load(key).await {
                    Ok(value) => return Ok((value, begun.elapsed())),
                    Err(failure) => failure,
                };
                attempt += 1;
                if !failure.retryable || attempt > policy.retry.attempts || !self.may_retry() {
                    return Err(failure.why);
                }
                let jittered = policy.retry.ceiling(attempt).mul_f64(fastrand::f64());
                sleep(failure.retry_after.map_or(jittered, |after| after.max(jittered))).await;
                self.counters.retries.add(1);
            }
        };
        let (why, error) = match timeout(policy.load_timeout, tries).await {
            Ok(Ok((value, took))) => {
                self.earn_retries(policy);
                self.counters.loaded(took);
                self.counters.loads_empty.add(u64::from(value.is_none()));
                self.told.tell(&Loaded { took, error: None });
                return Ok((value, took));
            }
            Ok(Err(why)) => (why, "failed"),
            Err(_elapsed) => (format!("no answer within load_timeout of {:?}", policy.load_timeout), "timeout"),
        };
        self.counters.load_errors.add(1);
        self.told.tell(&Loaded { took: begun.elapsed(), error: Some(error) });
        Err(CacheError::Load(why))
    }

    pub(super) fn may_retry(&self) -> bool {
        let mut retries = self.retries.lock();
        let may = *retries >= 1.0;
        *retries -= f64::from(u8::from(may));
        may
    }

    pub(super) fn earn_retries(&self, policy: &CachePolicy) {
        let mut retries = self.retries.lock();
        *retries = (*retries + policy.retry.budget_ratio).min(f64::from(policy.retry.budget_reserve.max(1)));
    }

    /// Puts a value into memory, or that there is none, and says whether it is there now; what is not kept leaves nothing older
    /// under its key.
    pub(super) fn keep(
        &self,
        (text, hash): (&str, KeyHash),
        (stamp, stored, value): (u32, &Stored, Option<&S::Value>),
        ttl: Option<u32>,
    ) -> bool {
        let negative = value.is_none();
        let life = if negative { &self.hot.negative_ttl } else { &self.hot.l1_ttl };
        let is_off = life.load(Ordering::Relaxed) == 0 || self.hot.l1_ttl.load(Ordering::Relaxed) == 0;
        // What another serialised differently is read from Redis, and not kept here.
        let is_foreign = matches!(self.l1, Memory::Bytes(_)) && !negative && stored.codec != self.codec;
        if is_off || is_foreign {
            self.l1.remove(hash, text, Gone::Expired);
            return false;
        }
        let tags: Vec<u32> = stored.tags.iter().map(|tag| self.stamps.tag(tag)).collect();
        if !self.stamps.is_good(stamp, text, tags.iter().copied()) {
            self.counters.not_stored.add(1);
            self.l1.remove(hash, text, Gone::Invalidated);
            return false;
        }
        let meta = Meta { born: self.clock.now(), stamp, cost: stored.cost, negative, ttl };
        let kept = match &self.l1 {
            Memory::Bytes(l1) => {
                let value = stored.bytes.as_deref().unwrap_or_default();
                l1.insert(hash, &New { key: text.as_bytes(), value, tags: &tags, meta })
            }
            Memory::Values(values) => values.insert(hash, text, (value.cloned(), &tags, meta)),
        };
        self.counters.too_large.add(u64::from(kept == Kept::TooLarge));
        kept == Kept::Kept
    }

    /// An entry of Redis that may be read, and how long it has left; nothing when its time is over.
    pub(super) async fn judge(
        &self,
        l2: &L2,
        (text, seq): (&str, u64),
        frame: Frame,
        policy: &CachePolicy,
    ) -> Option<(Stored, Result<Duration, Duration>)> {
        let Body::Value(stored) = frame.body else { return None };
        if frame.stamp < seq {
            let known = seq <= self.heard.load(Ordering::Acquire);
            let standing =
                if known { self.stamps.standing(frame.stamp, text, &stored.tags) } else { Standing::Unknown };
            let is_good = match standing {
                Standing::Good => true,
                Standing::Invalid => false,
                Standing::Unknown => self.ask(l2, (text, frame.stamp), &stored.tags, policy).await,
            };
            if !is_good {
                return None;
            }
        }
        let ttl = if stored.bytes.is_none() { policy.negative_ttl } else { policy.l2_ttl };
        let life = stored.life_ms.min(ms(ttl));
        let age = self.clock.wall_ms().saturating_sub(stored.born_ms);
        let left =
            if age < life { Ok(Duration::from_millis(life - age)) } else { Err(Duration::from_millis(age - life)) };
        Some((stored, left))
    }

    async fn ask(&self, l2: &L2, (text, stamp): (&str, u64), tags: &[String], policy: &CachePolicy) -> bool {
        match l2.ask(tags, policy.l2_timeout).await {
            Ok(asked) => {
                asked.all <= stamp
                    && asked.tags.iter().all(|tag| *tag <= stamp)
                    && !asked.prefixes.iter().any(|(prefix, when)| *when > stamp && text.starts_with(prefix.as_str()))
            }
            Err(error) => {
                self.count_l2_error(&error);
                false
            }
        }
    }

    /// Redis alone, for a read that must not load.
    pub(super) async fn peek_l2(&self, text: &str, policy: &CachePolicy) -> Option<S::Value> {
        let l2 = self.l2_for(policy)?;
        match l2.get(text, policy.l2_timeout).await {
            Ok((seq, frame, _)) => {
                let (stored, left) = self.judge(l2, (text, seq), frame?, policy).await?;
                left.ok().and(stored.bytes).and_then(|value| stored.codec.decode(&value))
            }
            Err(error) => {
                self.count_l2_error(&error);
                None
            }
        }
    }
}

/// The text of a key that is not too long.
pub(super) fn text_of<K: CacheKey>(key: &K) -> Result<String, CacheError> {
    let text = key.with_text(str::to_owned);
    if text.len() > super::key::KEY_BYTES_MAX { Err(CacheError::KeyTooLong(text.len())) } else { Ok(text) }
}

impl<S: Source> Inner<S> {
    /// The value as bytes; none of them when nobody would read them.
    pub(super) fn encode(&self, value: &S::Value) -> Result<Vec<u8>, CacheError> {
        if self.l2.is_none() && matches!(self.l1, Memory::Values(_)) {
            return Ok(Vec::new());
        }
        self.codec.encode(value).map_err(CacheError::Codec)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cache, Filled};
    use super::*;

    #[tokio::test]
    async fn what_is_not_kept_leaves_nothing_older_under_its_key() {
        let cache = Cache::builder("texts", Filled::<String, String>::default()).build().await.expect("built");
        let (inner, key, new) = (&cache.inner, "a".to_owned(), "new".to_owned());
        let stored = Stored {
            bytes: Some(inner.encode(&new).expect("text")),
            codec: inner.codec,
            cost: 0,
            born_ms: 0,
            life_ms: 0,
            tags: vec!["t".to_owned()],
        };
        let place = ("a", inner.l1.hash(b"a"));
        // Its tag is made invalid while it is put into Redis; and the source has none any more.
        for value in [Some(&new), None] {
            cache.set(&key, "old".to_owned()).await.expect("put");
            assert_eq!(cache.peek(&key).as_deref(), Some("old"));
            let before = inner.stamps.generation();
            inner.stamps.note_tag("t", 0);
            assert!(!inner.keep(place, (before, &stored, value), None));
            assert_eq!(cache.peek(&key), None, "{value:?}");
        }
    }
}
