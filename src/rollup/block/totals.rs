//! Counters of a block as their columns stand: what a query for increases reads without a cell being made of each.

use std::ops::Range;

use super::cells::{self, Runs};
use super::{BlockError, ids_and_counts, open, window_starts};
use crate::model::{Run, SeriesId, WindowStart};

/// A block of counters none of which was reset within a window or ended.
pub struct BlockTotals {
    series: Vec<(SeriesId, Range<usize>)>,
    starts: Vec<WindowStart>,
    runs: Runs,
}

impl BlockTotals {
    /// Its series, with the places of their windows.
    pub fn series(&self) -> impl Iterator<Item = (SeriesId, Range<usize>)> {
        self.series.iter().cloned()
    }

    /// The starts of the windows at `places`, ascending within a series.
    #[must_use]
    pub fn starts(&self, places: Range<usize>) -> &[WindowStart] {
        self.starts.get(places).unwrap_or_default()
    }

    /// The windows at `places`.
    pub fn windows(&self, places: Range<usize>) -> impl Iterator<Item = (WindowStart, Run)> {
        self.starts(places.clone()).iter().copied().zip(self.runs.iter(places))
    }
}

/// Decodes a block that is of counters alone; none when it is not, or when a window has more than one run.
///
/// # Errors
/// When the bytes are not a sound block.
pub(in crate::rollup) fn decode_totals(
    bytes: &[u8],
    want: &dyn Fn(SeriesId) -> bool,
) -> Result<Option<BlockTotals>, BlockError> {
    let mut columns = open(bytes)?;
    let (width, ids, counts) = ids_and_counts(&mut columns)?;
    if !ids.iter().any(|id| want(*id)) {
        let (series, starts, runs) = (Vec::new(), Vec::new(), Runs::default());
        return Ok(Some(BlockTotals { series, starts, runs }));
    }
    let starts = window_starts(&mut columns, width, &counts)?;
    let Some(runs) = cells::decode_totals(&mut columns, starts.len())? else { return Ok(None) };
    let mut from = 0;
    let place = |(id, count): (SeriesId, u32)| {
        let places = from..from + count as usize;
        from = places.end;
        (id, places)
    };
    let series = ids.into_iter().zip(counts).map(place).filter(|(id, _)| want(*id)).collect();
    Ok(Some(BlockTotals { series, starts, runs }))
}
