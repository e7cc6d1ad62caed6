//! Blocks that were read lately: they never change under their id, so they can be kept decoded until room is needed.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::block::{self, BlockError, BlockSeries};
use crate::model::SeriesId;
use crate::storage::{BlockKey, Storage, StorageError};

/// Bytes of decoded blocks kept.
const BYTES_KEPT: usize = 256 << 20;
/// Blocks read in one statement: some 40 MiB at most.
const BLOCKS_PER_READ: usize = 64;

/// Blocks decoded lately.
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
    block: Arc<Vec<BlockSeries>>,
    bytes: usize,
    used: u64,
}

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

impl BlockCache {
    /// Hands the blocks under `keys` to `visit`, a few at a time, so that a query holds only what it takes from them.
    /// False when one of them was replaced since the keys were read: what was visited is then worth nothing.
    ///
    /// # Errors
    /// See [`BlockReadError`]; and what `visit` refuses.
    pub async fn visit<E: From<BlockReadError>>(
        &self,
        storage: &Storage,
        keys: &[BlockKey],
        mut visit: impl FnMut(&BlockKey, &[BlockSeries]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut missing = Vec::new();
        for key in keys {
            match self.get(key.id) {
                Some(block) => visit(key, &block)?,
                None => missing.push(*key),
            }
        }
        for keys in missing.chunks(BLOCKS_PER_READ) {
            let read = storage.block_payloads(keys).await.map_err(BlockReadError::from)?;
            let payloads: HashMap<i64, Vec<u8>> = read.into_iter().collect();
            for key in keys {
                let Some(payload) = payloads.get(&key.id) else { return Ok(false) };
                let block = Arc::new(block::decode(payload, &|_| true).map_err(BlockReadError::from)?);
                self.put(key.id, &block);
                visit(key, &block)?;
            }
        }
        Ok(true)
    }

    /// The same for the ids of the series alone, without decoding what is not.
    ///
    /// # Errors
    /// See [`BlockReadError`].
    pub async fn visit_ids(
        &self,
        storage: &Storage,
        keys: &[BlockKey],
        mut visit: impl FnMut(SeriesId),
    ) -> Result<bool, BlockReadError> {
        let mut missing = Vec::new();
        for key in keys {
            match self.get(key.id) {
                Some(block) => block.iter().for_each(|series| visit(series.id)),
                None => missing.push(*key),
            }
        }
        for keys in missing.chunks(BLOCKS_PER_READ) {
            let read = storage.block_payloads(keys).await?;
            if read.len() < keys.len() {
                return Ok(false);
            }
            for (_, payload) in read {
                block::series_ids(&payload)?.into_iter().for_each(&mut visit);
            }
        }
        Ok(true)
    }

    fn get(&self, id: i64) -> Option<Arc<Vec<BlockSeries>>> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let clock = inner.clock;
        let cached = inner.by_id.get_mut(&id)?;
        cached.used = clock;
        Some(Arc::clone(&cached.block))
    }

    fn put(&self, id: i64, block: &Arc<Vec<BlockSeries>>) {
        let of_series = |one: &BlockSeries| {
            let windows: usize = one.windows.iter().map(|(_, cell)| 8 + cell.bytes()).sum();
            size_of::<BlockSeries>() + windows + size_of_val(one.exemplars.as_slice())
        };
        let bytes = block.iter().map(of_series).sum();
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let used = inner.clock;
        inner.bytes += bytes;
        if let Some(twin) = inner.by_id.insert(id, Cached { block: Arc::clone(block), bytes, used }) {
            inner.bytes -= twin.bytes;
        }
        while inner.bytes > BYTES_KEPT && inner.by_id.len() > 1 {
            let oldest = inner.by_id.iter().min_by_key(|(_, cached)| cached.used).map(|(id, _)| *id);
            let Some(gone) = oldest.and_then(|id| inner.by_id.remove(&id)) else { break };
            inner.bytes -= gone.bytes;
        }
    }
}
