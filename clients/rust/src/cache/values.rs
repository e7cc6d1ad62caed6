//! Level 1 of values as they are, for those that are cheap to clone and dear to deserialise: `quick_cache` has them, and
//! here is what it knows nothing of: lives, stamps, tags, and why an entry is no longer there.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::l1::{Ghosts, Gone, KeyHash, Looked, Meta, Size, Stored};
use crate::batcher::Count;

/// Shards have at least so many bytes: a value may take half of one.
const SHARD_BYTES: usize = 16 << 20;
const SHARDS_MAX: usize = 64;
/// What a value is thought to take, for the memory of what is gone; it need not be near.
const BYTES_EACH: usize = 1 << 10;
/// Entries are counted anew once in so many inserts: all shards are asked.
const COUNTED_EACH: usize = 64;

/// A key with its hash, so that it is hashed once.
pub(super) struct Key {
    hash: u64,
    text: Box<str>,
}

/// The same, borrowed.
struct Asked<'a> {
    hash: u64,
    text: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.hash == key.hash && *self.text == *key.text
    }
}

/// Hands on the hash that a key has.
#[derive(Clone, Copy, Default)]
struct AsIs;

/// See [`AsIs`].
#[derive(Default)]
struct HashAsIs(u64);

impl BuildHasher for AsIs {
    type Hasher = HashAsIs;

    fn build_hasher(&self) -> HashAsIs {
        HashAsIs(0)
    }
}

impl Hasher for HashAsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What is stored.
struct Kept<V> {
    /// Its stamp apart.
    meta: Meta,
    stamp: AtomicU32,
    tags: Box<[u32]>,
    value: Option<V>,
    /// All of it.
    bytes: u64,
}

/// The bytes of an entry.
#[derive(Clone, Copy)]
struct Bytes;

impl<V> Weighter<Key, Arc<Kept<V>>> for Bytes {
    fn weight(&self, _key: &Key, kept: &Arc<Kept<V>>) -> u64 {
        kept.bytes
    }
}

/// What is known of entries that are gone.
#[derive(Default)]
struct Past {
    ghosts: Mutex<Ghosts>,
    evicted: Count,
    /// Entries when that was last looked at.
    entries: AtomicUsize,
    inserts: AtomicUsize,
}

impl Past {
    fn note(&self, hash: u64, gone: Gone) {
        let mut ghosts = self.ghosts.lock();
        ghosts.fit(self.entries.load(Ordering::Relaxed));
        ghosts.note(hash, gone);
    }
}

/// Notes what makes room.
#[derive(Clone)]
struct Notes(Arc<Past>);

impl<V> Lifecycle<Key, Arc<Kept<V>>> for Notes {
    type RequestState = ();

    fn begin_request(&self) {}

    fn on_evict(&self, (): &mut (), key: Key, _kept: Arc<Kept<V>>) {
        self.0.note(key.hash, Gone::Evicted);
        self.0.evicted.add(1);
    }
}

/// See the module.
pub(super) struct Values<V> {
    cache: Cache<Key, Arc<Kept<V>>, Bytes, AsIs, Notes>,
    past: Arc<Past>,
    hits: Count,
    weigh: fn(&V) -> usize,
    hasher: DefaultHashBuilder,
}

impl<V: Clone> Values<V> {
    /// Holds at most `bytes`, of which `weigh` says how many a value takes.
    pub(super) fn new(bytes: usize, weigh: fn(&V) -> usize) -> Self {
        let shards = (bytes / SHARD_BYTES).clamp(1, SHARDS_MAX);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let mut options = OptionsBuilder::new();
        options.shards(shards).weight_capacity(bytes as u64).estimated_items_capacity((bytes / BYTES_EACH).max(1024));
        let past = Arc::<Past>::default();
        let options = options.build().expect("both capacities are given");
        let cache = Cache::with_options(options, Bytes, AsIs, Notes(Arc::clone(&past)));
        Self { cache, past, hits: Count::default(), weigh, hasher: DefaultHashBuilder::default() }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.hasher.hash_one(key))
    }

    /// What `look` makes of the entry, and its value if that is asked for.
    pub(super) fn read<R>(
        &self,
        KeyHash(hash): KeyHash,
        text: &str,
        look: impl FnOnce(&Meta, &[u32]) -> Looked<R>,
    ) -> Option<(R, Option<V>)> {
        let kept = self.cache.get(&Asked { hash, text })?;
        let meta = Meta { stamp: kept.stamp.load(Ordering::Relaxed), ..kept.meta };
        let Looked { made, is_wanted, is_hit, restamp } = look(&meta, &kept.tags);
        if let Some(stamp) = restamp {
            kept.stamp.store(stamp, Ordering::Relaxed);
        }
        self.hits.add(is_hit.into());
        Some((made, if is_wanted { kept.value.clone() } else { None }))
    }

    pub(super) fn why_gone(&self, KeyHash(hash): KeyHash) -> Option<Gone> {
        self.past.ghosts.lock().why(hash)
    }

    pub(super) fn insert(
        &self,
        KeyHash(hash): KeyHash,
        text: &str,
        (value, tags, meta): (Option<V>, &[u32], Meta),
    ) -> Stored {
        let own = size_of::<Kept<V>>() + size_of::<Key>() + text.len() + size_of_val(tags);
        let bytes = (own + value.as_ref().map_or(0, self.weigh)) as u64;
        if bytes > self.cache.shard_capacity() / 2 {
            self.remove(KeyHash(hash), text, Gone::Evicted);
            return Stored::TooLarge;
        }
        let kept = Kept { meta, stamp: AtomicU32::new(meta.stamp), tags: tags.into(), value, bytes };
        if self.past.inserts.fetch_add(1, Ordering::Relaxed).is_multiple_of(COUNTED_EACH) {
            self.past.entries.store(self.cache.len(), Ordering::Relaxed);
        }
        self.cache.insert(Key { hash, text: text.into() }, Arc::new(kept));
        Stored::Kept
    }

    /// True when there was one.
    pub(super) fn remove(&self, KeyHash(hash): KeyHash, text: &str, gone: Gone) -> bool {
        let was_there = self.cache.remove(&Asked { hash, text }).is_some();
        if was_there {
            self.past.note(hash, gone);
        }
        was_there
    }

    pub(super) fn clear(&self) {
        self.cache.clear();
        *self.past.ghosts.lock() = Ghosts::default();
    }

    pub(super) fn resize(&self, bytes: usize) {
        self.cache.set_capacity(bytes as u64);
    }

    pub(super) fn size(&self) -> Size {
        Size {
            entries: self.cache.len(),
            bytes: self.cache.weight() as usize,
            evicted: self.past.evicted.get(),
            hits: self.hits.get(),
        }
    }
}
