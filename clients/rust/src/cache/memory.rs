//! Level 1 in either form: values as bytes, or as they are.

use super::l1::{Gone, KeyHash, L1, Size};
use super::values::Values;

/// What is in this process's memory.
pub(super) enum Memory<V> {
    /// Serialised: dense, and counted to the last byte.
    Bytes(L1),
    /// As they are: read without deserialising.
    Values(Values<V>),
}

impl<V: Clone> Memory<V> {
    /// Holds at most `bytes`; values as they are if `weigh` says what they take.
    pub(super) fn new(bytes: usize, weigh: Option<fn(&V) -> usize>) -> Self {
        match weigh {
            None => Self::Bytes(L1::new(bytes)),
            Some(weigh) => Self::Values(Values::new(bytes, weigh)),
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        match self {
            Self::Bytes(l1) => l1.hash(key),
            Self::Values(values) => values.hash(key),
        }
    }

    pub(super) fn why_gone(&self, hash: KeyHash) -> Option<Gone> {
        match self {
            Self::Bytes(l1) => l1.why_gone(hash),
            Self::Values(values) => values.why_gone(hash),
        }
    }

    /// True when there was one.
    pub(super) fn remove(&self, hash: KeyHash, key: &str, gone: Gone) -> bool {
        match self {
            Self::Bytes(l1) => l1.remove(hash, key.as_bytes(), gone),
            Self::Values(values) => values.remove(hash, key, gone),
        }
    }

    pub(super) fn clear(&self) {
        match self {
            Self::Bytes(l1) => l1.clear(),
            Self::Values(values) => values.clear(),
        }
    }

    /// From now on at most `bytes`.
    pub(super) fn resize(&self, bytes: usize) {
        match self {
            Self::Bytes(l1) => l1.resize(bytes),
            Self::Values(values) => values.resize(bytes),
        }
    }

    pub(super) fn size(&self) -> Size {
        match self {
            Self::Bytes(l1) => l1.size(),
            Self::Values(values) => values.size(),
        }
    }
}
