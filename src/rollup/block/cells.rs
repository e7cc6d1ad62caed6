//! Cells of a block as columns, one set of columns for each shape.
//!
//! What a cell nearly always has comes as a full column; what is rare (several values in a gauge's window, a reset inside
//! a counter's) comes as positions and columns for those cells only.

use super::columns::{ColumnReader, ColumnWriter};
use super::histograms;
use super::{BlockError, BlockSeries};
use crate::model::{Cell, Counter, Delta, Gauge, HistogramRuns, Run, Summary};

const EMPTY: u8 = 0;
const GAUGE: u8 = 1;
const COUNTER: u8 = 2;
const DELTA: u8 = 3;
const HISTOGRAM: u8 = 4;
const HISTOGRAM_RUNS: u8 = 5;
const SUMMARY: u8 = 6;

const fn shape(cell: &Cell) -> u8 {
    match cell {
        Cell::Gauge(_) => GAUGE,
        Cell::Counter(_) => COUNTER,
        Cell::Delta(_) => DELTA,
        Cell::Histogram(_) => HISTOGRAM,
        Cell::HistogramRuns(_) => HISTOGRAM_RUNS,
        Cell::Summary(_) => SUMMARY,
        Cell::Stale => EMPTY,
    }
}

/// Takes the variant's content of each cell, out of its box with `boxed`; all have been checked to be of one shape.
macro_rules! only {
    ($cells:expr, $variant:ident) => {
        $cells
            .iter()
            .filter_map(|cell| if let Cell::$variant(inner) = cell { Some(inner) } else { None })
            .collect::<Vec<_>>()
    };
    ($cells:expr, boxed $variant:ident) => {
        $cells
            .iter()
            .filter_map(|cell| if let Cell::$variant(inner) = cell { Some(&**inner) } else { None })
            .collect::<Vec<_>>()
    };
}

pub(super) fn encode(out: &mut ColumnWriter, cells: &[&Cell], series: &[BlockSeries]) -> Result<(), BlockError> {
    let stale: Vec<u32> = positions(cells, |cell| matches!(cell, Cell::Stale));
    out.varint(stale.len() as u64);
    out.numbers(&stale)?;
    let live: Vec<&Cell> = cells.iter().copied().filter(|cell| !matches!(cell, Cell::Stale)).collect();
    let kind = live.first().map_or(EMPTY, |cell| shape(cell));
    if live.iter().any(|cell| shape(cell) != kind) {
        return Err(BlockError::MixedShapes);
    }
    out.raw(&[kind]);
    match kind {
        GAUGE => gauges(out, &only!(live, Gauge)),
        COUNTER => counters(out, &only!(live, Counter)),
        DELTA => deltas(out, &only!(live, Delta)),
        HISTOGRAM => histograms::encode(out, &only!(live, boxed Histogram), &[]),
        HISTOGRAM_RUNS => histogram_runs(out, &only!(live, boxed HistogramRuns), series),
        SUMMARY => summaries(out, &only!(live, boxed Summary)),
        _ => Ok(()),
    }
}

/// The cells of a block as their columns stand, so that only those that are wanted are made: a block has some hundred
/// thousand.
pub(super) struct Cells {
    live: Live,
    /// Positions of stale cells among all.
    stale: Vec<u32>,
}

enum Live {
    Gauges { times: Vec<i64>, lasts: Vec<f64>, rich: Rare<Gauge> },
    Counters { firsts: Runs, more: Rare<Vec<Run>> },
    Deltas { sums: Vec<f64>, counts: Vec<u32> },
    Made(Vec<Cell>),
}

/// What only some cells have, by ascending position.
struct Rare<T>(Vec<(u32, T)>);

impl<T: Clone> Rare<T> {
    fn get(&self, at: usize) -> Option<T> {
        let place = self.0.binary_search_by_key(&at, |(of, _)| *of as usize).ok()?;
        self.0.get(place).map(|(_, rare)| rare.clone())
    }
}

impl Live {
    fn take(&mut self, at: usize) -> Option<Cell> {
        match self {
            Self::Gauges { times, lasts, rich } => {
                Some(Cell::Gauge(rich.get(at).unwrap_or(Gauge::one(*times.get(at)?, *lasts.get(at)?))))
            }
            Self::Counters { firsts, more } => {
                Some(Cell::Counter(Counter { first: firsts.get(at)?, more: more.get(at).map(Box::new) }))
            }
            Self::Deltas { sums, counts } => Some(Cell::Delta(Delta { sum: *sums.get(at)?, count: *counts.get(at)? })),
            Self::Made(cells) => Some(std::mem::replace(cells.get_mut(at)?, Cell::Stale)),
        }
    }
}

impl Cells {
    /// The cells at `positions`, which are asked for once.
    pub(super) fn take(&mut self, positions: std::ops::Range<usize>) -> impl Iterator<Item = Cell> {
        let mut stale_before = self.stale.partition_point(|at| (*at as usize) < positions.start);
        positions.map_while(move |at| {
            if self.stale.get(stale_before).is_some_and(|stale| *stale as usize == at) {
                stale_before += 1;
                return Some(Cell::Stale);
            }
            self.live.take(at - stale_before)
        })
    }
}

pub(super) fn decode(columns: &mut ColumnReader<'_>, counts: &[u32]) -> Result<Cells, BlockError> {
    let total = counts.iter().map(|n| *n as usize).sum::<usize>();
    let stale = rare(columns, total)?;
    let n = total - stale.len();
    let [kind] = columns.array()?;
    let live = match kind {
        EMPTY if n == 0 => Live::Made(Vec::new()),
        GAUGE => read_gauges(columns, n)?,
        COUNTER => read_counters(columns, n)?,
        DELTA => Live::Deltas { sums: columns.numbers(n)?, counts: columns.numbers(n)? },
        HISTOGRAM => {
            let histograms = histograms::decode(columns, n, &[])?;
            Live::Made(histograms.into_iter().map(|histogram| Cell::Histogram(Box::new(histogram))).collect())
        }
        HISTOGRAM_RUNS => {
            let runs = read_histogram_runs(columns, n)?;
            Live::Made(runs.into_iter().map(|runs| Cell::HistogramRuns(Box::new(runs))).collect())
        }
        SUMMARY => {
            let summaries = read_summaries(columns, n)?;
            Live::Made(summaries.into_iter().map(|summary| Cell::Summary(Box::new(summary))).collect())
        }
        _ => return Err(BlockError::Malformed("shape")),
    };
    Ok(Cells { live, stale })
}

/// The runs of `n` windows of counters; none when some are stale, of another shape, or hold several runs.
pub(super) fn decode_totals(columns: &mut ColumnReader<'_>, n: usize) -> Result<Option<Runs>, BlockError> {
    let stale = rare(columns, n)?;
    let [kind] = columns.array()?;
    if !stale.is_empty() || kind != COUNTER {
        return Ok(None);
    }
    let runs = Runs::read(columns, n)?;
    Ok(rare(columns, n)?.is_empty().then_some(runs))
}

/// Positions of what is rare, checked to ascend below `n`.
fn ascending(positions: Vec<u32>, n: usize) -> Result<Vec<u32>, BlockError> {
    let sound = positions.is_sorted_by(|a, b| a < b) && positions.last().is_none_or(|last| (*last as usize) < n);
    if sound { Ok(positions) } else { Err(BlockError::Malformed("positions")) }
}

fn positions<T: Copy>(items: &[T], which: impl Fn(T) -> bool) -> Vec<u32> {
    items.iter().enumerate().filter(|(_, item)| which(**item)).map(|(i, _)| i as u32).collect()
}

fn column<T, N>(items: &[T], field: impl Fn(&T) -> N) -> Vec<N> {
    items.iter().map(field).collect()
}

/// True when the window holds one value, so that all aggregates follow from it.
fn is_one(gauge: &Gauge) -> bool {
    let one = Gauge::one(gauge.time, gauge.last);
    gauge.count == 1
        && gauge.min.to_bits() == one.min.to_bits()
        && gauge.max.to_bits() == one.max.to_bits()
        && gauge.sum.to_bits() == one.sum.to_bits()
}

fn gauges(out: &mut ColumnWriter, cells: &[&Gauge]) -> Result<(), BlockError> {
    out.numbers(&column(cells, |g| g.time))?;
    out.numbers(&column(cells, |g| g.last))?;
    let several = positions(cells, |g| !is_one(g));
    let rich: Vec<&Gauge> = cells.iter().copied().filter(|g| !is_one(g)).collect();
    out.varint(several.len() as u64);
    out.numbers(&several)?;
    out.numbers(&column(&rich, |g| g.count))?;
    out.numbers(&column(&rich, |g| g.min))?;
    out.numbers(&column(&rich, |g| g.max))?;
    out.numbers(&column(&rich, |g| g.sum))
}

fn rare(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<u32>, BlockError> {
    let k = usize::try_from(columns.varint()?).ok().filter(|k| *k <= n).ok_or(BlockError::Malformed("positions"))?;
    ascending(columns.numbers(k)?, n)
}

fn read_gauges(columns: &mut ColumnReader<'_>, n: usize) -> Result<Live, BlockError> {
    let times: Vec<i64> = columns.numbers(n)?;
    let lasts: Vec<f64> = columns.numbers(n)?;
    let several = rare(columns, n)?;
    let counts: Vec<u32> = columns.numbers(several.len())?;
    let mins: Vec<f64> = columns.numbers(several.len())?;
    let maxes: Vec<f64> = columns.numbers(several.len())?;
    let sums: Vec<f64> = columns.numbers(several.len())?;
    let mut rich = Vec::with_capacity(several.len());
    for ((((at, count), min), max), sum) in several.into_iter().zip(counts).zip(mins).zip(maxes).zip(sums) {
        let (time, last) =
            times.get(at as usize).zip(lasts.get(at as usize)).ok_or(BlockError::Malformed("position"))?;
        rich.push((at, Gauge { count, min, max, sum, ..Gauge::one(*time, *last) }));
    }
    Ok(Live::Gauges { times, lasts, rich: Rare(rich) })
}

fn run_columns(out: &mut ColumnWriter, runs: &[Run]) -> Result<(), BlockError> {
    out.numbers(&column(runs, |r| r.start))?;
    out.numbers(&column(runs, |r| r.time))?;
    out.numbers(&column(runs, |r| r.value))
}

/// Runs of counters as columns.
#[derive(Default)]
pub(super) struct Runs {
    starts: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Runs {
    fn read(columns: &mut ColumnReader<'_>, n: usize) -> Result<Self, BlockError> {
        Ok(Self { starts: columns.numbers(n)?, times: columns.numbers(n)?, values: columns.numbers(n)? })
    }

    fn get(&self, at: usize) -> Option<Run> {
        Some(Run { start: *self.starts.get(at)?, time: *self.times.get(at)?, value: *self.values.get(at)? })
    }

    pub(super) fn iter(&self, places: std::ops::Range<usize>) -> impl Iterator<Item = Run> {
        let starts = self.starts.get(places.clone()).unwrap_or_default();
        let times = self.times.get(places.clone()).unwrap_or_default();
        let values = self.values.get(places).unwrap_or_default();
        let runs = starts.iter().zip(times).zip(values);
        runs.map(|((start, time), value)| Run { start: *start, time: *time, value: *value })
    }
}

fn counters(out: &mut ColumnWriter, cells: &[&Counter]) -> Result<(), BlockError> {
    run_columns(out, &column(cells, |c| c.first))?;
    let reset = positions(cells, |c| c.more.is_some());
    let more: Vec<&Counter> = cells.iter().copied().filter(|c| c.more.is_some()).collect();
    out.varint(reset.len() as u64);
    out.numbers(&reset)?;
    out.numbers(&column(&more, |c| c.runs().count() as u32 - 1))?;
    let runs: Vec<Run> = more.iter().flat_map(|c| c.runs().skip(1)).copied().collect();
    out.varint(runs.len() as u64);
    run_columns(out, &runs)
}

fn read_counters(columns: &mut ColumnReader<'_>, n: usize) -> Result<Live, BlockError> {
    let firsts = Runs::read(columns, n)?;
    let reset = rare(columns, n)?;
    let counts: Vec<u32> = columns.numbers(reset.len())?;
    let k = usize::try_from(columns.varint()?).map_err(|_| BlockError::Malformed("runs"))?;
    if k as u64 != counts.iter().map(|n| u64::from(*n)).sum::<u64>() || k > super::WINDOWS_MAX as usize {
        return Err(BlockError::Malformed("runs"));
    }
    let runs = Runs::read(columns, k)?;
    let mut runs = (0..k).filter_map(|at| runs.get(at));
    let more = |(at, count)| (at, runs.by_ref().take(count as usize).collect());
    Ok(Live::Counters { firsts, more: Rare(reset.into_iter().zip(counts).map(more).collect()) })
}

fn deltas(out: &mut ColumnWriter, cells: &[&Delta]) -> Result<(), BlockError> {
    out.numbers(&column(cells, |d| d.sum))?;
    out.numbers(&column(cells, |d| d.count))
}

fn histogram_runs(out: &mut ColumnWriter, cells: &[&HistogramRuns], series: &[BlockSeries]) -> Result<(), BlockError> {
    let counts = column(cells, |c| c.0.len() as u32);
    out.numbers(&counts)?;
    let runs: Vec<&Run<_>> = cells.iter().flat_map(|c| &c.0).collect();
    out.varint(runs.len() as u64);
    out.numbers(&column(&runs, |r| r.start))?;
    out.numbers(&column(&runs, |r| r.time))?;
    // A total is coded as what it adds to the one before it in the same series.
    let first = first_of_series(series);
    out.varint(first.len() as u64);
    out.numbers(&first)?;
    histograms::encode(out, &column(&runs, |r| &r.value), &first)
}

/// Positions among the runs of a block at which a series begins.
fn first_of_series(series: &[BlockSeries]) -> Vec<u32> {
    let mut at = 0u32;
    let mut out = Vec::new();
    for one in series {
        let runs =
            one.windows.iter().map(|(_, cell)| if let Cell::HistogramRuns(runs) = cell { runs.0.len() } else { 0 });
        let runs = runs.sum::<usize>() as u32;
        if runs > 0 {
            out.push(at);
        }
        at += runs;
    }
    out
}

fn read_histogram_runs(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<HistogramRuns>, BlockError> {
    let counts: Vec<u32> = columns.numbers(n)?;
    let k = usize::try_from(columns.varint()?).map_err(|_| BlockError::Malformed("runs"))?;
    if k as u64 != counts.iter().map(|n| u64::from(*n)).sum::<u64>() || k > super::WINDOWS_MAX as usize {
        return Err(BlockError::Malformed("runs"));
    }
    let starts: Vec<i64> = columns.numbers(k)?;
    let times: Vec<i64> = columns.numbers(k)?;
    let first = rare(columns, k)?;
    let values = histograms::decode(columns, k, &first)?;
    let mut runs = starts.into_iter().zip(times).zip(values).map(|((start, time), value)| Run { start, time, value });
    Ok(counts.into_iter().map(|count| HistogramRuns(runs.by_ref().take(count as usize).collect())).collect())
}

fn summaries(out: &mut ColumnWriter, cells: &[&Summary]) -> Result<(), BlockError> {
    out.numbers(&column(cells, |s| s.time))?;
    out.numbers(&column(cells, |s| s.start))?;
    out.numbers(&column(cells, |s| s.count))?;
    out.numbers(&column(cells, |s| s.sum))?;
    out.numbers(&column(cells, |s| s.quantiles.len() as u32))?;
    let quantiles: Vec<(f64, f64)> = cells.iter().flat_map(|s| s.quantiles.iter().copied()).collect();
    out.varint(quantiles.len() as u64);
    out.numbers(&column(&quantiles, |q| q.0))?;
    out.numbers(&column(&quantiles, |q| q.1))
}

fn read_summaries(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<Summary>, BlockError> {
    let times: Vec<i64> = columns.numbers(n)?;
    let starts: Vec<i64> = columns.numbers(n)?;
    let counts: Vec<u64> = columns.numbers(n)?;
    let sums: Vec<f64> = columns.numbers(n)?;
    let lengths: Vec<u32> = columns.numbers(n)?;
    let k = usize::try_from(columns.varint()?).map_err(|_| BlockError::Malformed("quantiles"))?;
    if k as u64 != lengths.iter().map(|n| u64::from(*n)).sum::<u64>() || k > super::WINDOWS_MAX as usize {
        return Err(BlockError::Malformed("quantiles"));
    }
    let of: Vec<f64> = columns.numbers(k)?;
    let values: Vec<f64> = columns.numbers(k)?;
    let mut quantiles = of.into_iter().zip(values);
    let fields = times.into_iter().zip(starts).zip(counts).zip(sums).zip(lengths);
    Ok(fields
        .map(|((((time, start), count), sum), length)| Summary {
            time,
            start,
            count,
            sum,
            quantiles: quantiles.by_ref().take(length as usize).collect(),
        })
        .collect())
}
