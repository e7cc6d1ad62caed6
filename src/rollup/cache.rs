//! Blocks that were read lately: they never change under their id, so they can be kept until room is needed. The cache is
//! that of our own SDK.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastbreak_client::cache::{BuildError, Cache, CachePolicy, Filled};
use fastbreak_client::measure;
use futures::future::join_all;
use hashbrown::HashMap;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::block::{self, BlockError, BlockSeries, BlockTotals};
use super::registry::Registry;
use crate::model::SeriesId;
use crate::storage::{BlockKey, Storage, StorageError, Tier};

/// Name of the cache.
const SPACE: &str = "blocks";
/// Bytes of blocks kept.
const BYTES_KEPT: usize = 256 << 20;
/// Blocks read in one statement and decoded at once: some 5 MiB when they are compacted, and 125 MiB decoded.
const BLOCKS_PER_READ: usize = 32;

/// Bytes of what is noted of blocks' series; past it the note starts afresh.
const NOTED_BYTES: usize = 32 << 20;
/// Blocks whose beginnings are read in one statement: 8 KiB each.
const BEGINNINGS_PER_READ: usize = 500;

/// Blocks read lately, as they are stored: decoding the series that a query wants costs less than room for all would.
pub struct BlockCache {
    payloads: Cache<Filled<i64, Bytes>>,
    noted: Mutex<Noted>,
}

/// Which series blocks have, by their slots; of blocks all of whose series were known.
#[derive(Default)]
struct Noted {
    by_id: HashMap<i64, Arc<RoaringBitmap>>,
    bytes: usize,
}

/// What is read of a block.
pub enum Contents {
    /// Series with their cells.
    Series(Vec<BlockSeries>),
    /// Counters, as they stand.
    Totals(BlockTotals),
}

/// Which series of a block a reader wants; those that nobody knows among them, if it should hear of them.
type Wants<'a> = &'a (dyn Fn(SeriesId) -> bool + Sync);

/// Why blocks cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlockReadError {
    /// The database is away.
    #[error("blocks cannot be read")]
    Storage(#[from] StorageError),
    /// A block is damaged.
    #[error("a block cannot be decoded")]
    Block(#[from] BlockError),
}

/// Blocks with their keys, as they are stored; none when one of them was replaced.
type Payloads = Option<Vec<(BlockKey, Bytes)>>;

impl BlockCache {
    /// None yet.
    ///
    /// # Errors
    /// When the policy is unsound; it is not.
    pub async fn open() -> Result<Self, BuildError> {
        let policy = CachePolicy {
            // Until room is needed: a block is the same for ever.
            l1_ttl: Duration::from_secs(7 * 24 * 3600),
            l1_max_bytes: BYTES_KEPT,
            sample_ratio: 0.0,
            ..CachePolicy::default()
        };
        let builder = Cache::builder(SPACE, Filled::default()).policy(policy);
        Ok(Self { payloads: builder.values_in_memory(Bytes::len).build().await?, noted: Mutex::default() })
    }

    /// Makes what is counted instruments.
    pub fn measure(&self, meter: &Meter) {
        measure::cache(meter, None, SPACE, &self.payloads);
    }

    /// Hands the series that `wants` asks for, of the blocks under `keys`, to `visit`, some blocks at a time. False when one of
    /// them was replaced since the keys were read: what was visited is then worth nothing.
    ///
    /// # Errors
    /// See [`BlockReadError`]; and what `visit` refuses.
    pub async fn visit<E: From<BlockReadError>>(
        self: &Arc<Self>,
        storage: &Storage,
        keys: &[BlockKey],
        wants: Wants<'_>,
        visit: impl FnMut(Vec<(BlockKey, Vec<BlockSeries>)>) -> Result<(), E>,
    ) -> Result<bool, E> {
        self.read(storage, keys, |_: &BlockKey, payload: &[u8]| block::decode(payload, wants), visit).await
    }

    /// The same, where counters of blocks of `tier` come as they stand if they can.
    ///
    /// # Errors
    /// As of [`Self::visit`].
    pub async fn visit_totals<E: From<BlockReadError>>(
        self: &Arc<Self>,
        storage: &Storage,
        (keys, tier): (&[BlockKey], Option<Tier>),
        wants: Wants<'_>,
        visit: impl FnMut(Vec<(BlockKey, Contents)>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let decode = |key: &BlockKey, payload: &[u8]| {
            if tier.is_some_and(|tier| tier as i16 == key.tier)
                && let Some(totals) = block::decode_totals(payload, wants)?
            {
                return Ok(Contents::Totals(totals));
            }
            block::decode(payload, wants).map(Contents::Series)
        };
        self.read(storage, keys, decode, visit).await
    }

    async fn read<T: Send, E: From<BlockReadError>>(
        self: &Arc<Self>,
        storage: &Storage,
        keys: &[BlockKey],
        decode: impl Fn(&BlockKey, &[u8]) -> Result<T, BlockError> + Sync,
        mut visit: impl FnMut(Vec<(BlockKey, T)>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let decode = |(key, payload): (BlockKey, Bytes)| Ok((key, decode(&key, &payload)?));
        let mut chunks = keys.chunks(BLOCKS_PER_READ).map(<[BlockKey]>::to_vec);
        let mut next = chunks.next().map(|keys| self.ahead(storage, keys));
        while let Some(reading) = next {
            let Some(payloads) = reading.await.map_err(BlockReadError::from)? else { return Ok(false) };
            // The next are read while these are decoded, on all cores.
            next = chunks.next().map(|keys| self.ahead(storage, keys));
            tokio::task::block_in_place(|| {
                let decoded = payloads.into_par_iter().map(decode).collect::<Result<Vec<_>, BlockError>>();
                visit(decoded.map_err(BlockReadError::from)?)
            })?;
        }
        Ok(true)
    }

    /// Those of `keys` whose blocks may have one of the series in `wanted`, or one that is not known. It costs a read of
    /// their beginnings at first.
    ///
    /// # Errors
    /// See [`BlockReadError`].
    pub async fn sift(
        &self,
        (storage, registry): (&Storage, &Registry),
        keys: Vec<BlockKey>,
        wanted: &RoaringBitmap,
    ) -> Result<Vec<BlockKey>, BlockReadError> {
        let mut slots = self.noted(&keys);
        let new: Vec<BlockKey> = keys.iter().filter(|key| !slots.contains_key(&key.id)).copied().collect();
        for keys in new.chunks(BEGINNINGS_PER_READ) {
            let beginnings = storage.block_beginnings(keys).await?;
            let note = |(id, bytes): (i64, Vec<u8>)| {
                let ids = block::series_ids_of_beginning(&bytes)?;
                let known: Option<RoaringBitmap> = ids.into_iter().map(|id| registry.slot_of(id)).collect();
                Ok(known.map(|slots| (id, Arc::new(slots))))
            };
            let read = || beginnings.into_par_iter().map(note).collect::<Result<Vec<_>, BlockError>>();
            let notes: Vec<(i64, Arc<RoaringBitmap>)> =
                tokio::task::block_in_place(read)?.into_iter().flatten().collect();
            self.note(&notes);
            slots.extend(notes);
        }
        let may_have = |key: &BlockKey| slots.get(&key.id).is_none_or(|slots| !slots.is_disjoint(wanted));
        Ok(keys.into_iter().filter(may_have).collect())
    }

    fn noted(&self, keys: &[BlockKey]) -> HashMap<i64, Arc<RoaringBitmap>> {
        let noted = self.noted.lock();
        keys.iter().filter_map(|key| Some((key.id, Arc::clone(noted.by_id.get(&key.id)?)))).collect()
    }

    fn note(&self, notes: &[(i64, Arc<RoaringBitmap>)]) {
        let mut noted = self.noted.lock();
        for (id, slots) in notes {
            noted.bytes += slots.serialized_size();
            noted.by_id.insert(*id, Arc::clone(slots));
            if noted.bytes > NOTED_BYTES {
                *noted = Noted::default();
            }
        }
    }

    /// The same for the ids of the series alone, without decoding more.
    ///
    /// # Errors
    /// See [`BlockReadError`].
    pub async fn visit_ids(
        &self,
        storage: &Storage,
        keys: &[BlockKey],
        mut visit: impl FnMut(SeriesId),
    ) -> Result<bool, BlockReadError> {
        for keys in keys.chunks(BLOCKS_PER_READ) {
            let Some(payloads) = self.payloads(storage, keys).await? else { return Ok(false) };
            for (_, payload) in payloads {
                block::series_ids(&payload)?.into_iter().for_each(&mut visit);
            }
        }
        Ok(true)
    }

    /// Begins to read; what is begun and not waited for is kept for the next who asks.
    fn ahead(
        self: &Arc<Self>,
        storage: &Storage,
        keys: Vec<BlockKey>,
    ) -> impl Future<Output = Result<Payloads, StorageError>> + use<> {
        let (cache, storage) = (Arc::clone(self), storage.clone());
        let reading = tokio::spawn(async move { cache.payloads(&storage, &keys).await });
        async move { reading.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())) }
    }

    async fn payloads(&self, storage: &Storage, keys: &[BlockKey]) -> Result<Payloads, StorageError> {
        let mut found: HashMap<i64, Bytes> = HashMap::new();
        for BlockKey { id, .. } in keys {
            found.extend(self.payloads.get(id).await.map(|payload| (*id, payload)));
        }
        let missing: Vec<BlockKey> = keys.iter().filter(|key| !found.contains_key(&key.id)).copied().collect();
        let read = storage.block_payloads(&missing).await?;
        let new: Vec<(i64, Bytes)> = read.into_iter().map(|(id, payload)| (id, Bytes::from(payload))).collect();
        // One that is not kept is read again.
        join_all(new.iter().map(|(id, payload)| self.payloads.offer(id, payload.clone()))).await;
        found.extend(new);
        Ok(keys.iter().map(|key| Some((*key, found.remove(&key.id)?))).collect())
    }
}
