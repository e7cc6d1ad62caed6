//! Values as bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How values are serialised. Entries say which way they were, so a change of it loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Compact; both sides must have the same type, as in one service.
    #[default]
    Postcard,
    /// Larger and slower; for entries that other languages read, or whose type grows.
    Json,
}

impl Codec {
    pub(super) fn encode<V: Serialize>(self, value: &V) -> Result<Vec<u8>, String> {
        match self {
            Self::Postcard => postcard::to_allocvec(value).map_err(|error| error.to_string()),
            Self::Json => serde_json::to_vec(value).map_err(|error| error.to_string()),
        }
    }

    /// None when the bytes are not such a value: then it is a miss.
    #[inline]
    pub(super) fn decode<V: DeserializeOwned>(self, bytes: &[u8]) -> Option<V> {
        match self {
            Self::Postcard => postcard::from_bytes(bytes).ok(),
            Self::Json => serde_json::from_slice(bytes).ok(),
        }
    }
}
