//! Blocks: the windows of some hundred series of one metric, column-wise and compressed.
//!
//! A version byte, the CRC32C of the rest, then columns: series ids, how many windows each has, gaps between them, and one
//! column for each field of the metric's cells, series after series. Numbers are coded by `pco` (chosen by
//! `benches/micro`); floats come back bit for bit. Pure: no I/O.

mod cells;
mod columns;
mod histograms;
mod totals;

use columns::{ColumnReader, ColumnWriter};
pub use totals::BlockTotals;
pub(super) use totals::decode_totals;

use crate::model::{Cell, Exemplar, SeriesId, Width, WindowStart};

const VERSION: u8 = 1;
const HEADER: usize = 5;
/// Most windows in one block: far above an hour of a thousand series in the narrowest windows.
const WINDOWS_MAX: u64 = 16 << 20;

/// One series of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSeries {
    /// Which.
    pub id: SeriesId,
    /// Windows by ascending start, each once.
    pub windows: Vec<(WindowStart, Cell)>,
    /// Exemplars in no particular order.
    pub exemplars: Vec<Exemplar>,
}

/// Why a block cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// Written by a later version.
    #[error("block has version {0}, this binary reads {VERSION}")]
    Version(u8),
    /// The checksum does not fit.
    #[error("block is damaged: checksum mismatch")]
    Checksum,
    /// The checksum fits, but the columns do not.
    #[error("block is malformed: {0}")]
    Malformed(&'static str),
    /// The number codec refused.
    #[error("numbers of a block cannot be coded")]
    Numbers(#[from] pco::errors::PcoError),
    /// Windows that are not ascending multiples of the width.
    #[error("windows of a series are not ascending multiples of the width")]
    Windows,
    /// A block of one metric cannot hold cells of several shapes.
    #[error("cells of one block have several shapes")]
    MixedShapes,
}

/// Encodes `series`, whose windows are `width` wide.
///
/// # Errors
/// When the windows are not what a block can hold.
pub(super) fn encode(width: Width, series: &[BlockSeries]) -> Result<Vec<u8>, BlockError> {
    let mut out = ColumnWriter::new(vec![VERSION, 0, 0, 0, 0]);
    out.varint(u64::from(width.seconds()));
    out.varint(series.len() as u64);
    for one in series {
        out.raw(&one.id.0.to_le_bytes());
    }
    let counts: Vec<u32> = series.iter().map(|one| one.windows.len() as u32).collect();
    out.numbers(&counts)?;
    out.numbers(&gaps(width, series)?)?;
    let cells: Vec<&Cell> = series.iter().flat_map(|one| one.windows.iter().map(|(_, cell)| cell)).collect();
    cells::encode(&mut out, &cells, series)?;
    encode_exemplars(&mut out, series)?;
    let mut bytes = out.finish();
    let crc = crc32c::crc32c(bytes.get(HEADER..).unwrap_or_default());
    if let Some(slot) = bytes.get_mut(1..HEADER) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    Ok(bytes)
}

/// Window numbers, each as the distance from the one before; the first of a series from zero.
fn gaps(width: Width, series: &[BlockSeries]) -> Result<Vec<u32>, BlockError> {
    let mut out = Vec::new();
    for one in series {
        let mut previous = None;
        for (start, _) in &one.windows {
            if start % width.seconds() != 0 || previous.is_some_and(|p| p >= *start) {
                return Err(BlockError::Windows);
            }
            out.push((start - previous.unwrap_or(0)) / width.seconds());
            previous = Some(*start);
        }
    }
    Ok(out)
}

fn encode_exemplars(out: &mut ColumnWriter, series: &[BlockSeries]) -> Result<(), BlockError> {
    let counts: Vec<u32> = series.iter().map(|one| one.exemplars.len() as u32).collect();
    let all: Vec<&Exemplar> = series.iter().flat_map(|one| &one.exemplars).collect();
    out.varint(all.len() as u64);
    if all.is_empty() {
        return Ok(());
    }
    out.numbers(&counts)?;
    out.numbers(&all.iter().map(|e| e.time).collect::<Vec<_>>())?;
    out.numbers(&all.iter().map(|e| e.value).collect::<Vec<_>>())?;
    for exemplar in all {
        out.raw(&exemplar.trace_id);
        out.raw(&exemplar.span_id);
    }
    Ok(())
}

/// The series of a block, without their windows.
///
/// # Errors
/// When the bytes are not a sound block.
pub(super) fn series_ids(bytes: &[u8]) -> Result<Vec<SeriesId>, BlockError> {
    ids(&mut open(bytes)?)
}

/// The same of the first bytes of a block, whose checksum cannot be told.
///
/// # Errors
/// When the bytes are not the beginning of a block.
pub(super) fn series_ids_of_beginning(bytes: &[u8]) -> Result<Vec<SeriesId>, BlockError> {
    let rest = bytes.get(HEADER..).ok_or(BlockError::Malformed("ends early"))?;
    match bytes.first() {
        Some(&VERSION) => ids(&mut ColumnReader::new(rest)),
        version => Err(BlockError::Version(version.copied().unwrap_or_default())),
    }
}

fn ids(columns: &mut ColumnReader<'_>) -> Result<Vec<SeriesId>, BlockError> {
    columns.varint()?;
    let n = columns.count(8)?;
    (0..n).map(|_| columns.u64().map(SeriesId)).collect()
}

/// Width of the windows, the series, and how many windows each has.
fn ids_and_counts(columns: &mut ColumnReader<'_>) -> Result<(u32, Vec<SeriesId>, Vec<u32>), BlockError> {
    let width = u32::try_from(columns.varint()?).map_err(|_| BlockError::Malformed("width"))?;
    let n = columns.count(8)?;
    let ids: Vec<SeriesId> = (0..n).map(|_| columns.u64().map(SeriesId)).collect::<Result<_, _>>()?;
    let counts = columns.numbers(n)?;
    Ok((width, ids, counts))
}

/// Starts of the windows of all series, one series after another.
fn window_starts(columns: &mut ColumnReader<'_>, width: u32, counts: &[u32]) -> Result<Vec<WindowStart>, BlockError> {
    let windows = counts.iter().map(|count| u64::from(*count)).sum::<u64>();
    if windows > WINDOWS_MAX {
        return Err(BlockError::Malformed("too many windows"));
    }
    let mut starts: Vec<u32> = columns.numbers(windows as usize)?;
    let mut rest = starts.as_mut_slice();
    for count in counts {
        let (of_series, others) = rest.split_at_mut_checked(*count as usize).ok_or(BlockError::Malformed("windows"))?;
        let mut start = 0u32;
        for gap in of_series {
            start = start.wrapping_add(gap.wrapping_mul(width));
            *gap = start;
        }
        rest = others;
    }
    Ok(starts)
}

/// Decodes the series that `want` asks for, in the order of the block.
///
/// # Errors
/// When the bytes are not a sound block.
pub(super) fn decode(bytes: &[u8], want: &dyn Fn(SeriesId) -> bool) -> Result<Vec<BlockSeries>, BlockError> {
    let mut columns = open(bytes)?;
    let (width, ids, counts) = ids_and_counts(&mut columns)?;
    if !ids.iter().any(|id| want(*id)) {
        return Ok(Vec::new());
    }
    let starts = window_starts(&mut columns, width, &counts)?;
    let mut cells = cells::decode(&mut columns, &counts)?;
    let mut series = Vec::with_capacity(ids.len());
    let mut from = 0;
    for (id, count) in ids.iter().zip(&counts) {
        let to = from + *count as usize;
        let mut windows = Vec::new();
        if want(*id) {
            let starts = starts.get(from..to).unwrap_or_default().iter().copied();
            windows.reserve_exact(to - from);
            windows.extend(starts.zip(cells.take(from..to)));
            if windows.len() < to - from {
                return Err(BlockError::Malformed("cells"));
            }
        }
        from = to;
        series.push(BlockSeries { id: *id, windows, exemplars: Vec::new() });
    }
    decode_exemplars(&mut columns, &mut series)?;
    series.retain(|one| want(one.id));
    Ok(series)
}

fn open(bytes: &[u8]) -> Result<ColumnReader<'_>, BlockError> {
    let (version, rest) = bytes.split_first().ok_or(BlockError::Checksum)?;
    if *version != VERSION {
        return Err(BlockError::Version(*version));
    }
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(BlockError::Checksum)?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
        return Err(BlockError::Checksum);
    }
    Ok(ColumnReader::new(rest))
}

fn decode_exemplars(columns: &mut ColumnReader<'_>, series: &mut [BlockSeries]) -> Result<(), BlockError> {
    let n = columns.varint()?;
    if n == 0 {
        return Ok(());
    }
    let n = usize::try_from(n).ok().filter(|n| *n <= columns.remaining()).ok_or(BlockError::Malformed("exemplars"))?;
    let counts: Vec<u32> = columns.numbers(series.len())?;
    let times: Vec<i64> = columns.numbers(n)?;
    let values: Vec<f64> = columns.numbers(n)?;
    let mut fields = times.into_iter().zip(values);
    for (one, count) in series.iter_mut().zip(counts) {
        for (time, value) in fields.by_ref().take(count as usize) {
            one.exemplars.push(Exemplar { time, value, trace_id: columns.array()?, span_id: columns.array()? });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
