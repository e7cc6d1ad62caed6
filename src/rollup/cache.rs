//! Blocks that were read lately: they never change under their id, so they can be kept as bytes until room is needed.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::block::{self, BlockError, BlockSeries};
use crate::model::MetricId;
use crate::storage::{BlockKey, Storage, StorageError, Tier};

/// Windows of decoded blocks kept: some 200 MB of counters.
const WINDOWS_KEPT: usize = 4_000_000;
/// Blocks read in one statement.
const BLOCKS_PER_READ: usize = 500;

/// Blocks decoded lately.
#[derive(Default)]
pub struct BlockCache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<i64, Cached>,
    windows: usize,
    clock: u64,
}

struct Cached {
    block: Arc<Vec<BlockSeries>>,
    windows: usize,
    used: u64,
}

/// The blocks of one query.
pub struct Blocks {
    by_metric: HashMap<i64, Vec<Arc<Vec<BlockSeries>>>>,
}

impl Blocks {
    /// Those of `metric`.
    pub fn of_metric(&self, metric: MetricId) -> impl Iterator<Item = &[BlockSeries]> {
        self.by_metric.get(&(metric.0 as i64)).into_iter().flatten().map(|block| block.as_slice())
    }
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
    /// The blocks under `keys`; `None` when one of them was replaced since the keys were read.
    ///
    /// # Errors
    /// See [`BlockReadError`].
    pub async fn load(
        &self,
        storage: &Storage,
        tier: Tier,
        keys: &[BlockKey],
    ) -> Result<Option<Blocks>, BlockReadError> {
        let mut by_metric: HashMap<i64, Vec<Arc<Vec<BlockSeries>>>> = HashMap::new();
        let mut missing = Vec::new();
        for key in keys {
            match self.get(key.id) {
                Some(block) => by_metric.entry(key.metric_id).or_default().push(block),
                None => missing.push(*key),
            }
        }
        for keys in missing.chunks(BLOCKS_PER_READ) {
            let payloads: HashMap<i64, Vec<u8>> = storage.block_payloads(tier, keys).await?.into_iter().collect();
            for key in keys {
                let Some(payload) = payloads.get(&key.id) else { return Ok(None) };
                let block = Arc::new(block::decode(payload, &|_| true)?);
                self.put(key.id, &block);
                by_metric.entry(key.metric_id).or_default().push(block);
            }
        }
        Ok(Some(Blocks { by_metric }))
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
        let windows = block.iter().map(|series| series.windows.len() + 1).sum();
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let used = inner.clock;
        inner.windows += windows;
        if let Some(twin) = inner.by_id.insert(id, Cached { block: Arc::clone(block), windows, used }) {
            inner.windows -= twin.windows;
        }
        while inner.windows > WINDOWS_KEPT && inner.by_id.len() > 1 {
            let oldest = inner.by_id.iter().min_by_key(|(_, cached)| cached.used).map(|(id, _)| *id);
            let Some(gone) = oldest.and_then(|id| inner.by_id.remove(&id)) else { break };
            inner.windows -= gone.windows;
        }
    }
}
