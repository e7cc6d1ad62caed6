//! Blocks: the spans of several kept traces, column-wise and compressed.
//!
//! Strings, attributes and sources are dictionaries that all spans of the block share. Numbers are columns (`pco` where there
//! are enough of them), the whole is zstd behind a version byte and a CRC32C. Pure: no I/O, no clock.

mod column;
mod decode;
mod encode;
mod value;

pub(crate) use decode::Block;
pub(crate) use encode::encode;

use crate::model::{Span, TraceId};

const VERSION: u8 = 1;
/// Version and checksum.
const HEADER: usize = 5;
/// The blocks are written once and read seldom.
const LEVEL: i32 = 3;

/// A trace, or a part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TraceSpans {
    /// Which.
    pub(crate) trace_id: TraceId,
    /// In order of their starts.
    pub(crate) spans: Vec<Span>,
}

/// Why a block cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// Written by a later version.
    #[error("trace block has version {0}, this binary reads {VERSION}")]
    Version(u8),
    /// The checksum does not fit.
    #[error("trace block is damaged: checksum mismatch")]
    Checksum,
    /// The checksum fits, but the contents do not parse.
    #[error("trace block is malformed: {0}")]
    Malformed(&'static str),
    /// Compression failed.
    #[error("trace block cannot be compressed or inflated")]
    Compression(#[from] std::io::Error),
    /// A column failed.
    #[error("a column cannot be coded")]
    Column(#[from] pco::errors::PcoError),
}

#[cfg(test)]
mod tests;
