//! Blocks that were read lately: they never change under their id, so they can be kept until room is needed.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rayon::prelude::*;

use super::block::{self, BlockError, BlockSeries};
use crate::model::SeriesId;
use crate::storage::{BlockKey, Storage, StorageError};

/// Bytes of blocks kept.
const BYTES_KEPT: usize = 256 << 20;
/// Blocks read in one statement and decoded at once: some 10 MiB at most, and 250 MiB decoded.
const BLOCKS_PER_READ: usize = 16;

/// Blocks read lately, as they are stored: decoding the series that a query wants costs less than room for all would.
#[derive(Default)]
pub struct BlockCache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<i64, Cached>,
    bytes: usize,
    clock: u64,
}

struct Cached {
    payload: Arc<Vec<u8>>,
    used: u64,
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
type Payloads = Option<Vec<(BlockKey, Arc<Vec<u8>>)>>;

impl BlockCache {
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
        mut visit: impl FnMut(Vec<(BlockKey, Vec<BlockSeries>)>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let decode = |(key, payload): (BlockKey, Arc<Vec<u8>>)| Ok((key, block::decode(&payload, wants)?));
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
        let mut found: HashMap<i64, Arc<Vec<u8>>> =
            keys.iter().filter_map(|key| Some((key.id, self.get(key.id)?))).collect();
        let missing: Vec<BlockKey> = keys.iter().filter(|key| !found.contains_key(&key.id)).copied().collect();
        for (id, payload) in storage.block_payloads(&missing).await? {
            let payload = Arc::new(payload);
            self.put(id, &payload);
            found.insert(id, payload);
        }
        Ok(keys.iter().map(|key| Some((*key, found.remove(&key.id)?))).collect())
    }

    fn get(&self, id: i64) -> Option<Arc<Vec<u8>>> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let clock = inner.clock;
        let cached = inner.by_id.get_mut(&id)?;
        cached.used = clock;
        Some(Arc::clone(&cached.payload))
    }

    fn put(&self, id: i64, payload: &Arc<Vec<u8>>) {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let used = inner.clock;
        inner.bytes += payload.len();
        if let Some(twin) = inner.by_id.insert(id, Cached { payload: Arc::clone(payload), used }) {
            inner.bytes -= twin.payload.len();
        }
        while inner.bytes > BYTES_KEPT && inner.by_id.len() > 1 {
            let oldest = inner.by_id.iter().min_by_key(|(_, cached)| cached.used).map(|(id, _)| *id);
            let Some(gone) = oldest.and_then(|id| inner.by_id.remove(&id)) else { break };
            inner.bytes -= gone.payload.len();
        }
    }
}
