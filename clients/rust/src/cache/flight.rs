//! One load for all who wait for a key.
//!
//! A load runs in a task of its own: whoever asked first may leave, and the others, and those who come, still get its answer.
//! If it panics, all of them get an error.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::l1::KeyHash;
use super::source::CacheError;

const SHARDS: usize = 32;

pub(super) type Answer<V> = Result<Option<V>, CacheError>;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Source,
    Redis,
    /// A write that had not reached the source.
    Waiting,
    /// Redis, past its time, while it is loaded anew.
    Stale,
    /// Redis, past its time, for it cannot be loaded.
    Late,
}

/// A load under way.
pub(super) struct Flight<V> {
    /// Who comes in a later generation must not get what was loaded before an invalidation.
    pub(super) generation: u32,
    answer: OnceLock<Answer<V>>,
    from: AtomicU8,
    done: Notify,
}

impl<V: Clone> Flight<V> {
    fn new(generation: u32) -> Arc<Self> {
        Arc::new(Self { generation, answer: OnceLock::new(), from: AtomicU8::new(0), done: Notify::new() })
    }

    /// The first answer counts.
    pub(super) fn finish(&self, answer: Answer<V>) {
        if self.answer.set(answer).is_ok() {
            self.done.notify_waiters();
        }
    }

    /// The same, with where it came from.
    pub(super) fn finish_from(&self, from: From, answer: Answer<V>) {
        self.from.store(from as u8, Ordering::Release);
        self.finish(answer);
    }

    /// Where the answer came from.
    pub(super) fn from(&self) -> From {
        match self.from.load(Ordering::Acquire) {
            1 => From::Redis,
            2 => From::Waiting,
            3 => From::Stale,
            4 => From::Late,
            _ => From::Source,
        }
    }

    pub(super) async fn answer(&self) -> Answer<V> {
        loop {
            let done = self.done.notified();
            if let Some(answer) = self.answer.get() {
                return answer.clone();
            }
            done.await;
        }
    }
}

type Map<V> = HashMap<Box<str>, Arc<Flight<V>>>;

/// Loads by key. A flight that is no longer here under its key may answer, and must not store.
pub(super) struct Flights<V>(Vec<Mutex<Map<V>>>);

impl<V: Clone> Flights<V> {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Map<V>> {
        self.0[(hash.0 >> 52) as usize % SHARDS].lock()
    }

    /// The flight of `key`, and whether it is new, and so has to be flown.
    pub(super) fn join(&self, hash: KeyHash, key: &str, generation: u32) -> (Arc<Flight<V>>, bool) {
        let mut map = self.shard(hash);
        if let Some(flight) = map.get(key).filter(|flight| flight.generation == generation) {
            return (Arc::clone(flight), false);
        }
        let flight = Flight::new(generation);
        map.insert(key.into(), Arc::clone(&flight));
        (flight, true)
    }

    /// A flight that nobody joins, in the place of any other: the key is being written.
    pub(super) fn alone(&self, hash: KeyHash, key: &str) -> Arc<Flight<V>> {
        let flight = Flight::new(u32::MAX);
        self.shard(hash).insert(key.into(), Arc::clone(&flight));
        flight
    }

    /// Takes the flight out; runs `store` if it was still the one of its key.
    pub(super) fn land(&self, hash: KeyHash, key: &str, flight: &Arc<Flight<V>>, store: impl FnOnce()) -> bool {
        let mut map = self.shard(hash);
        let is_current = map.get(key).is_some_and(|other| Arc::ptr_eq(other, flight));
        if is_current {
            map.remove(key);
            store();
        }
        is_current
    }

    /// From now on what flies for `key` must not store; `also` is done before anybody else comes.
    pub(super) fn detach(&self, hash: KeyHash, key: &str, also: impl FnOnce()) {
        let mut map = self.shard(hash);
        map.remove(key);
        also();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|map| map.lock().len()).sum()
    }

    /// The same for all.
    pub(super) fn detach_all(&self) {
        self.0.iter().for_each(|map| map.lock().clear());
    }
}
