//! A column of whole numbers: one value for all, bytes each, or `pco`.

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

use super::BlockError;
use crate::varint::{Cursor, put, put_bytes};

/// Fewer numbers are smaller as they are.
const PCO_LEAST: usize = 128;
const SAME: u8 = 0;
const PLAIN: u8 = 1;
const PCO: u8 = 2;

pub(super) fn write(out: &mut Vec<u8>, numbers: &[u64]) -> Result<(), BlockError> {
    match numbers.split_first() {
        Some((first, rest)) if rest.iter().all(|number| number == first) => {
            out.push(SAME);
            put(out, *first);
        }
        _ if numbers.len() < PCO_LEAST => {
            out.push(PLAIN);
            numbers.iter().for_each(|number| put(out, *number));
        }
        _ => {
            out.push(PCO);
            put_bytes(out, &simple_compress(numbers, &ChunkConfig::default())?);
        }
    }
    Ok(())
}

/// The column of `n` numbers that stands here.
pub(super) fn read(bytes: &mut Cursor<'_>, n: usize) -> Result<Vec<u64>, BlockError> {
    const EARLY: BlockError = BlockError::Malformed("column ends early");
    match bytes.u8() {
        Some(SAME) => Ok(vec![bytes.varint().ok_or(EARLY)?; n]),
        Some(PLAIN) => (0..n).map(|_| bytes.varint().ok_or(EARLY)).collect(),
        Some(PCO) => {
            let mut out = vec![0; n];
            let progress = simple_decompress_into(bytes.bytes().ok_or(EARLY)?, &mut out)?;
            if progress.n_processed == n { Ok(out) } else { Err(EARLY) }
        }
        _ => Err(BlockError::Malformed("column")),
    }
}
