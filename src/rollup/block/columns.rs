//! Columns: length-prefixed runs of coded numbers, bounds-checked on reading.

use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, ModeSpec};

use super::BlockError;
use crate::varint::{self, Cursor};

/// Coding effort, of 0 to 12: above 6 it costs twice the time for one per cent.
const LEVEL: usize = 6;

pub(super) struct ColumnWriter {
    out: Vec<u8>,
}

impl ColumnWriter {
    pub(super) const fn new(out: Vec<u8>) -> Self {
        Self { out }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    pub(super) fn varint(&mut self, value: u64) {
        varint::put(&mut self.out, value);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A column of numbers; a constant one costs its value, an empty one a byte.
    pub(super) fn numbers<T: Number + Bits>(&mut self, numbers: &[T]) -> Result<(), BlockError> {
        let Some(first) = numbers.first() else {
            self.out.push(0);
            return Ok(());
        };
        if numbers.iter().all(|n| n.bits() == first.bits()) {
            self.out.push(1);
            varint::put(&mut self.out, first.bits());
            return Ok(());
        }
        let config = ChunkConfig::default().with_compression_level(LEVEL).with_mode_spec(ModeSpec::Auto);
        let coded = simple_compress(numbers, &config)?;
        self.out.push(2);
        varint::put_bytes(&mut self.out, &coded);
        Ok(())
    }
}

pub(super) struct ColumnReader<'a> {
    bytes: Cursor<'a>,
}

impl<'a> ColumnReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Cursor(bytes) }
    }

    pub(super) const fn remaining(&self) -> usize {
        self.bytes.0.len()
    }

    pub(super) fn varint(&mut self) -> Result<u64, BlockError> {
        self.bytes.varint().ok_or(BlockError::Malformed("ends early"))
    }

    pub(super) fn u64(&mut self) -> Result<u64, BlockError> {
        self.bytes.u64().ok_or(BlockError::Malformed("ends early"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BlockError> {
        self.bytes.array().ok_or(BlockError::Malformed("ends early"))
    }

    pub(super) fn count(&mut self, least: usize) -> Result<usize, BlockError> {
        self.bytes.count(least).ok_or(BlockError::Malformed("count"))
    }

    /// The column of `n` numbers that stands here.
    pub(super) fn numbers<T: Number + Bits>(&mut self, n: usize) -> Result<Vec<T>, BlockError> {
        match self.bytes.u8() {
            Some(0) if n == 0 => Ok(Vec::new()),
            Some(1) => Ok(vec![T::from_bits(self.varint()?); n]),
            Some(2) => {
                let coded = self.bytes.bytes().ok_or(BlockError::Malformed("column ends early"))?;
                let mut out = vec![T::default(); n];
                let progress = simple_decompress_into(coded, &mut out)?;
                if progress.n_processed == n { Ok(out) } else { Err(BlockError::Malformed("column is too short")) }
            }
            _ => Err(BlockError::Malformed("column")),
        }
    }
}

/// Numbers told apart by their bits, so that NaN equals itself and -0 is not 0.
pub(super) trait Bits: Copy + Default {
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

impl Bits for u32 {
    fn bits(self) -> u64 {
        u64::from(self)
    }
    fn from_bits(bits: u64) -> Self {
        bits as Self
    }
}

impl Bits for u64 {
    fn bits(self) -> u64 {
        self
    }
    fn from_bits(bits: u64) -> Self {
        bits
    }
}

impl Bits for i64 {
    fn bits(self) -> u64 {
        varint::zigzag(self)
    }
    fn from_bits(bits: u64) -> Self {
        varint::unzigzag(bits)
    }
}

impl Bits for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}
