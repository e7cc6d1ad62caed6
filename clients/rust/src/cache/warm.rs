//! Keys that are kept warm: those most asked for, weighed by what they cost to load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::inner::Inner;
use super::key::CacheKey;
use super::l1::seconds_of;
use super::read::text_of;
use super::source::Source;

/// For each key that is kept warm, so many are watched.
const WATCHED: usize = 4;
/// Of so many hits, one is noted.
const HITS_EACH: u8 = 64;
/// Loads at once.
const AT_ONCE: usize = 8;
/// Pause between two looks at what is still there.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Weight {
    asked: f64,
    cost: u8,
}

impl Weight {
    fn worth(self) -> f64 {
        self.asked * seconds_of(self.cost)
    }
}

/// What was asked for, of the keys that are worth most.
pub(super) struct Asked<K> {
    keys: AtomicUsize,
    weights: Mutex<HashMap<K, Weight>>,
}

impl<K: CacheKey> Asked<K> {
    pub(super) fn new(keys: usize) -> Self {
        Self { keys: AtomicUsize::new(keys), weights: Mutex::default() }
    }

    pub(super) fn set_keys(&self, keys: usize) {
        self.keys.store(keys, Ordering::Relaxed);
        if keys == 0 {
            *self.weights.lock() = HashMap::new();
        }
    }

    /// A key was found.
    #[inline]
    pub(super) fn hit(&self, key: &K) {
        if self.keys.load(Ordering::Relaxed) > 0
            && fastrand::u8(..HITS_EACH) == 0
            && let Some(weight) = self.weights.lock().get_mut(key)
        {
            weight.asked += f64::from(HITS_EACH);
        }
    }

    /// A key was loaded, at this cost.
    pub(super) fn loaded(&self, key: &K, cost: u8) {
        let keys = self.keys.load(Ordering::Relaxed);
        if keys == 0 {
            return;
        }
        let mut weights = self.weights.lock();
        let weight = weights.entry(key.clone()).or_insert(Weight { asked: 0.0, cost });
        weight.asked += 1.0;
        weight.cost = cost;
        if weights.len() > keys * WATCHED * 2 {
            // The lesser half goes, and what is old counts half.
            let mut worths: Vec<f64> = weights.values().map(|weight| weight.worth()).collect();
            let middle = worths.len() / 2;
            let (_, middle, _) = worths.select_nth_unstable_by(middle, f64::total_cmp);
            let middle = *middle;
            weights.retain(|_, weight| weight.worth() > middle);
            weights.values_mut().for_each(|weight| weight.asked /= 2.0);
        }
    }

    /// A key was not loaded, or not kept: it is no more kept warm until it is loaded for somebody who asks.
    pub(super) fn forget(&self, key: &K) {
        if self.keys.load(Ordering::Relaxed) > 0 {
            self.weights.lock().remove(key);
        }
    }

    /// The keys worth most.
    fn best(&self) -> Vec<K> {
        let keys = self.keys.load(Ordering::Relaxed);
        let weights = self.weights.lock();
        let mut all: Vec<(&K, f64)> = weights.iter().map(|(key, weight)| (key, weight.worth())).collect();
        all.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        all.into_iter().take(keys).map(|(key, _)| key.clone()).collect()
    }
}

/// Loads what of `keys` is not there, some at once: `(loaded or there, failed)`.
pub(super) async fn warm<S: Source>(inner: &Arc<Inner<S>>, keys: Vec<S::Key>) -> (u64, u64) {
    let (mut tasks, mut keys) = (JoinSet::new(), keys.into_iter());
    let (mut loaded, mut failed) = (0, 0);
    loop {
        while tasks.len() < AT_ONCE {
            let Some(key) = keys.next() else { break };
            let (inner, runtime) = (Arc::clone(inner), &inner.runtime);
            let load = async move {
                let text = text_of(&key)?;
                let hash = inner.l1.hash(text.as_bytes());
                inner.get_or_load(&key, &text, hash).await
            };
            tasks.spawn_on(load, runtime);
        }
        match tasks.join_next().await {
            None => break,
            Some(Ok(Ok(_))) => loaded += 1,
            Some(_) => failed += 1,
        }
    }
    inner.counters.warmed.add(loaded);
    (loaded, failed)
}

/// Until the cache is gone: what is worth most is loaded anew when its time is over, as long as memory is read.
pub(super) async fn keep_warm<S: Source>(inner: Weak<Inner<S>>) {
    loop {
        sleep(PERIOD).await;
        let Some(inner) = inner.upgrade() else { return };
        let policy = inner.policy();
        if policy.bypass || policy.l1_ttl.is_zero() || !inner.is_trusted() {
            continue;
        }
        let cold: Vec<S::Key> = inner.asked.best().into_iter().filter(|key| !inner.is_there(key)).collect();
        if !cold.is_empty() {
            warm(&inner, cold).await;
        }
    }
}
