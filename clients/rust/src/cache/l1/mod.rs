//! Level 1: entries in this process's memory, as bytes.
//!
//! Values are kept serialised, and read out at each get. An object a value would cost a pointer, a header and an
//! allocator's slack (a million of 64 B take 134 MB in `quick_cache` and 337 MB in moka), and nobody could say how many
//! bytes it holds; bytes lie end to end, are counted to the last, and are what level 2 holds too.

mod ghost;
mod record;
mod shard;

pub(crate) use ghost::{Ghosts, Gone};
pub(crate) use record::{Held, Meta, New, cost_of, seconds_of};
pub(crate) use shard::{Looked, Stored};

use std::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;

use shard::Shard;

const SHARDS_MAX: usize = 64;
/// A shard is worth having from this size on.
const SHARD_BYTES: usize = 1 << 20;

/// Parts of the hash space that shards share.
const PARTS: usize = 4096;

/// See the module.
pub(crate) struct L1 {
    shards: Box<[Mutex<Shard>]>,
    /// Which shard has which part. The largest has twice as many as the smallest: a table doubles when it is full, and equal
    /// shards would all do so at once, at 5 B an entry more than needed; so at any time some are full and some are not.
    parts: Box<[u8; PARTS]>,
    hasher: DefaultHashBuilder,
}

/// The hash of a key in one process; another has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(pub(crate) u64);

impl L1 {
    /// Holds at most `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        let shards = (bytes / SHARD_BYTES).clamp(1, SHARDS_MAX);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let mut parts = Box::new([0; PARTS]);
        for (part, shard) in parts.iter_mut().enumerate() {
            let at = (part as f64 + 0.5) / PARTS as f64;
            *shard = ((1.0 + at).log2() * shards as f64) as u8;
        }
        let l1 = Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::new(0))).collect(),
            parts,
            hasher: DefaultHashBuilder::default(),
        };
        l1.resize(bytes);
        l1
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(hash_of(&self.hasher, key))
    }

    #[inline]
    fn shard(&self, KeyHash(hash): KeyHash) -> &Mutex<Shard> {
        // The table within has the highest and the lowest bits.
        let number = usize::from(self.parts[(hash >> 40) as usize % PARTS]);
        &self.shards[number]
    }

    /// What `look` makes of the entry; it must be quick.
    #[inline]
    pub(crate) fn read<R>(&self, hash: KeyHash, key: &[u8], look: impl FnOnce(&Held<'_>) -> Looked<R>) -> Option<R> {
        self.shard(hash).lock().read(hash.0, key, look)
    }

    /// Why there is no entry, if that is still known.
    pub(crate) fn why_gone(&self, hash: KeyHash) -> Option<Gone> {
        self.shard(hash).lock().why_gone(hash.0)
    }

    pub(crate) fn insert(&self, hash: KeyHash, new: &New<'_>) -> Stored {
        self.shard(hash).lock().insert(hash.0, new, |key: &[u8]| hash_of(&self.hasher, key))
    }

    /// True when there was one.
    pub(crate) fn remove(&self, hash: KeyHash, key: &[u8], gone: Gone) -> bool {
        self.shard(hash).lock().remove(hash.0, key, gone, |key: &[u8]| hash_of(&self.hasher, key))
    }

    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.lock().clear());
    }

    /// From now on at most `bytes`.
    pub(crate) fn resize(&self, bytes: usize) {
        for (number, shard) in self.shards.iter().enumerate() {
            let parts = self.parts.iter().filter(|part| usize::from(**part) == number).count();
            let budget = (bytes as u128 * parts as u128 / PARTS as u128) as usize;
            shard.lock().set_budget(budget, |key: &[u8]| hash_of(&self.hasher, key));
        }
    }

    pub(crate) fn size(&self) -> Size {
        self.shards.iter().fold(Size::default(), |size, shard| {
            let shard = shard.lock();
            Size {
                entries: size.entries + shard.len(),
                bytes: size.bytes + shard.bytes(),
                evicted: size.evicted + shard.evicted,
                hits: size.hits + shard.hits,
            }
        })
    }
}

/// How much there is, and how much there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) entries: usize,
    /// Allocated.
    pub(crate) bytes: usize,
    pub(crate) evicted: u64,
    pub(crate) hits: u64,
}

#[inline]
fn hash_of(hasher: &DefaultHashBuilder, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests;
