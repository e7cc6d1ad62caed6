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

pub(super) fn decode(columns: &mut ColumnReader<'_>, counts: &[u32]) -> Result<Vec<Cell>, BlockError> {
    let total = counts.iter().map(|n| *n as usize).sum::<usize>();
    let n_stale =
        usize::try_from(columns.varint()?).ok().filter(|n| *n <= total).ok_or(BlockError::Malformed("stale"))?;
    let stale: Vec<u32> = columns.numbers(n_stale)?;
    let n = total - n_stale;
    let [kind] = columns.array()?;
    let live: Vec<Cell> = match kind {
        EMPTY if n == 0 => Vec::new(),
        GAUGE => read_gauges(columns, n)?.into_iter().map(Cell::Gauge).collect(),
        COUNTER => read_counters(columns, n)?.into_iter().map(Cell::Counter).collect(),
        DELTA => read_deltas(columns, n)?.into_iter().map(Cell::Delta).collect(),
        HISTOGRAM => histograms::decode(columns, n, &[])?.into_iter().map(|h| Cell::Histogram(Box::new(h))).collect(),
        HISTOGRAM_RUNS => {
            read_histogram_runs(columns, n)?.into_iter().map(|r| Cell::HistogramRuns(Box::new(r))).collect()
        }
        SUMMARY => read_summaries(columns, n)?.into_iter().map(|s| Cell::Summary(Box::new(s))).collect(),
        _ => return Err(BlockError::Malformed("shape")),
    };
    if stale.is_empty() {
        return Ok(live);
    }
    let (mut live, mut stale) = (live.into_iter(), stale.into_iter().peekable());
    (0..total as u32)
        .map(|at| if stale.next_if_eq(&at).is_some() { Some(Cell::Stale) } else { live.next() })
        .collect::<Option<_>>()
        .ok_or(BlockError::Malformed("stale positions"))
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
    columns.numbers(k)
}

fn read_gauges(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<Gauge>, BlockError> {
    let times: Vec<i64> = columns.numbers(n)?;
    let lasts: Vec<f64> = columns.numbers(n)?;
    let mut out: Vec<Gauge> = times.into_iter().zip(lasts).map(|(time, last)| Gauge::one(time, last)).collect();
    let several = rare(columns, n)?;
    let counts: Vec<u32> = columns.numbers(several.len())?;
    let mins: Vec<f64> = columns.numbers(several.len())?;
    let maxes: Vec<f64> = columns.numbers(several.len())?;
    let sums: Vec<f64> = columns.numbers(several.len())?;
    for ((((at, count), min), max), sum) in several.into_iter().zip(counts).zip(mins).zip(maxes).zip(sums) {
        let gauge = out.get_mut(at as usize).ok_or(BlockError::Malformed("position"))?;
        (gauge.count, gauge.min, gauge.max, gauge.sum) = (count, min, max, sum);
    }
    Ok(out)
}

fn run_columns(out: &mut ColumnWriter, runs: &[Run]) -> Result<(), BlockError> {
    out.numbers(&column(runs, |r| r.start))?;
    out.numbers(&column(runs, |r| r.time))?;
    out.numbers(&column(runs, |r| r.value))
}

fn read_runs(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<Run>, BlockError> {
    let starts: Vec<i64> = columns.numbers(n)?;
    let times: Vec<i64> = columns.numbers(n)?;
    let values: Vec<f64> = columns.numbers(n)?;
    Ok(starts.into_iter().zip(times).zip(values).map(|((start, time), value)| Run { start, time, value }).collect())
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

fn read_counters(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<Counter>, BlockError> {
    let mut out: Vec<Counter> = read_runs(columns, n)?.into_iter().map(Counter::one).collect();
    let reset = rare(columns, n)?;
    let counts: Vec<u32> = columns.numbers(reset.len())?;
    let k = usize::try_from(columns.varint()?).map_err(|_| BlockError::Malformed("runs"))?;
    if k as u64 != counts.iter().map(|n| u64::from(*n)).sum::<u64>() || k > super::WINDOWS_MAX as usize {
        return Err(BlockError::Malformed("runs"));
    }
    let mut runs = read_runs(columns, k)?.into_iter();
    for (at, count) in reset.into_iter().zip(counts) {
        let counter = out.get_mut(at as usize).ok_or(BlockError::Malformed("position"))?;
        counter.more = Some(Box::new(runs.by_ref().take(count as usize).collect()));
    }
    Ok(out)
}

fn deltas(out: &mut ColumnWriter, cells: &[&Delta]) -> Result<(), BlockError> {
    out.numbers(&column(cells, |d| d.sum))?;
    out.numbers(&column(cells, |d| d.count))
}

fn read_deltas(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<Delta>, BlockError> {
    let sums: Vec<f64> = columns.numbers(n)?;
    let counts: Vec<u32> = columns.numbers(n)?;
    Ok(sums.into_iter().zip(counts).map(|(sum, count)| Delta { sum, count }).collect())
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
