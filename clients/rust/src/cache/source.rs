//! Where values come from, and where writes go.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::CacheKey;
pub use crate::batcher::Failure;

/// The source of one key space.
pub trait Source: Send + Sync + 'static {
    /// What values are found by.
    type Key: CacheKey;
    /// What is kept: serialised, in memory too unless [`values_in_memory`](super::Builder::values_in_memory) says otherwise.
    type Value: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Whether [`Source::write`] does anything. Without it a cache is only filled: a `set` puts a value into it and nowhere
    /// else.
    const WRITES: bool = false;

    /// Loads one value; `None` when there is none.
    fn load(&self, key: &Self::Key) -> impl Future<Output = Result<Option<Self::Value>, Failure>> + Send;

    /// Writes a batch, of each key at most one. A write may come again after a failure or a crash, and never after a later
    /// one of its key that was made here: make it so that twice is as good as once.
    fn write(&self, _writes: &[Write<Self::Key, Self::Value>]) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Err(Failure { why: "the source takes no writes".to_owned(), retryable: false, retry_after: None }) }
    }

    /// Tags by which the entry can be made invalid; at most 16 count.
    fn tags(&self, _key: &Self::Key, _value: &Self::Value) -> Vec<String> {
        Vec::new()
    }
}

/// No source: for a cache that is only filled, by [`set`](super::Cache::set). A read that finds nothing gives none.
pub struct Filled<K, V>(PhantomData<fn() -> (K, V)>);

impl<K, V> Default for Filled<K, V> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K: CacheKey, V: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Source for Filled<K, V> {
    type Key = K;
    type Value = V;

    async fn load(&self, _key: &K) -> Result<Option<V>, Failure> {
        Ok(None)
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<K, V> {
    /// What is written.
    pub key: K,
    /// `None` removes it.
    pub value: Option<V>,
    /// It may have been written before: it was read from the journal, or tried already.
    pub again: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The source failed, and there was nothing to serve instead.
    #[error("not loaded: {0}")]
    Load(String),
    /// The source refused the write, or failed; nothing was changed in the cache.
    #[error("not written: {0}")]
    Write(String),
    /// The source has the write (or an invalidation was asked for), and other instances could not be told. They are
    /// told as soon as Redis answers; until then they may read what was.
    #[error("done here, other instances are not told yet: {0}")]
    Untold(String),
    /// The value could not be serialised.
    #[error("not serialised: {0}")]
    Codec(String),
    /// The key's text is longer than a key may be.
    #[error("a key of {0} B is longer than 1024 B")]
    KeyTooLong(usize),
    /// The journal of writes could not be written.
    #[error("not in the journal: {0}")]
    Journal(String),
    /// The cache was closed.
    #[error("the cache is closed")]
    Closed,
}
