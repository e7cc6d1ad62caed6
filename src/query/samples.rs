//! From windows to samples: what a series shows at an instant, and what it added over a span.
//!
//! A window counts from its end on, so that nothing is told before it happened; the windows that are still open at the time
//! of asking count from their start on, so that what was just sent is seen. A value is shown until the look-back has
//! passed or the series is marked stale.
//!
//! Increases are exact between window ends. A cumulative run adds its total less the one before it of the same start
//! time; a run with a later start time, or a total that fell, is a reset and adds its whole total. The first total of a
//! series adds all of itself when its run began within the span, and otherwise is only a base to count from.

use std::sync::Arc;

use super::value::{HistogramSample, Sample};
use crate::model::{Cell, Histogram, Run, SeriesWindows, TimeMs, Width, WindowStart};

/// The steps of a query, and when it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) start: TimeMs,
    pub(super) step: TimeMs,
    pub(super) steps: usize,
    pub(super) now: TimeMs,
    pub(super) lookback: TimeMs,
    pub(super) width: Width,
}

impl Grid {
    pub(super) const fn time(&self, step: usize) -> TimeMs {
        self.start + self.step * step as TimeMs
    }

    /// When a window begins to count.
    fn counts_from(&self, window: WindowStart) -> TimeMs {
        let start = TimeMs::from(window) * 1000;
        let end = start + self.width.millis();
        if end > self.now { start } else { end }
    }
}

/// The value at each step, looked up `offset` earlier.
pub(super) fn instant(series: &SeriesWindows, grid: &Grid, offset: TimeMs) -> Vec<Sample> {
    let mut next = 0;
    (0..grid.steps)
        .map(|step| {
            let at = grid.time(step) - offset;
            while series.windows.get(next).is_some_and(|(window, _)| grid.counts_from(*window) <= at) {
                next += 1;
            }
            let Some((window, cell)) = next.checked_sub(1).and_then(|last| series.windows.get(last)) else {
                return Sample::None;
            };
            let end = TimeMs::from(*window) * 1000 + grid.width.millis();
            if at - end >= grid.lookback { Sample::None } else { shown(cell) }
        })
        .collect()
}

/// What a window shows: the last value, total, or what it added.
fn shown(cell: &Cell) -> Sample {
    let histogram = |h: &Histogram| Sample::Histogram(HistogramSample { histogram: Arc::new(h.clone()), factor: 1.0 });
    match cell {
        Cell::Gauge(gauge) => Sample::Float(gauge.last),
        Cell::Counter(counter) => counter.runs().last().map(|run| run.value).into(),
        Cell::Delta(delta) => Sample::Float(delta.sum),
        Cell::Histogram(h) => histogram(h),
        Cell::HistogramRuns(runs) => runs.0.last().map_or(Sample::None, |run| histogram(&run.value)),
        Cell::Summary(summary) => Sample::Float(summary.count as f64),
        Cell::Stale => Sample::None,
    }
}

/// What a window added.
struct Added<T> {
    at: TimeMs,
    amount: T,
    /// Set on the first total of a series: it counts only in spans that hold this start time.
    since: Option<TimeMs>,
}

/// Walks the runs of a series and says what each added.
struct Totals<T> {
    last: Option<Run<T>>,
}

impl<T: Clone> Totals<T> {
    /// `less(new, old)` is the difference of two totals of one run, `None` when the total fell.
    fn add(&mut self, run: &Run<T>, less: impl Fn(&T, &T) -> Option<T>) -> Option<(T, Option<TimeMs>)> {
        let added = match &self.last {
            // An older run in a later window is a late point of a run that has ended: it is in what came before.
            Some(last) if run.start != 0 && run.start < last.start => return None,
            Some(last) if run.start == last.start => {
                (less(&run.value, &last.value).unwrap_or_else(|| run.value.clone()), None)
            }
            Some(_) => (run.value.clone(), None),
            None => (run.value.clone(), Some(if run.start == 0 { TimeMs::MIN } else { run.start })),
        };
        self.last = Some(run.clone());
        Some(added)
    }
}

fn added_numbers(series: &SeriesWindows, grid: &Grid) -> Vec<Added<f64>> {
    let mut totals = Totals { last: None };
    let less = |new: &f64, old: &f64| (new >= old).then_some(new - old);
    let mut out = Vec::with_capacity(series.windows.len());
    for (window, cell) in &series.windows {
        let at = grid.counts_from(*window);
        match cell {
            Cell::Delta(delta) => out.push(Added { at, amount: delta.sum, since: None }),
            Cell::Counter(counter) => {
                let added = counter.runs().filter_map(|run| totals.add(run, less));
                out.extend(added.map(|(amount, since)| Added { at, amount, since }));
            }
            // Gauges have no increase of their own: what rose and fell is told by its values, a fall as a reset.
            Cell::Gauge(gauge) => {
                let run = Run { start: 0, time: gauge.time, value: gauge.last };
                out.extend(totals.add(&run, less).map(|(amount, since)| Added { at, amount, since }));
            }
            _ => {}
        }
    }
    out
}

fn added_histograms(series: &SeriesWindows, grid: &Grid) -> Vec<Added<Histogram>> {
    let mut totals = Totals { last: None };
    let mut out = Vec::new();
    for (window, cell) in &series.windows {
        let at = grid.counts_from(*window);
        match cell {
            Cell::Histogram(h) => out.push(Added { at, amount: (**h).clone(), since: None }),
            Cell::HistogramRuns(runs) => {
                let added = runs.0.iter().filter_map(|run| totals.add(run, |new, old| new.since(old)));
                out.extend(added.map(|(amount, since)| Added { at, amount, since }));
            }
            _ => {}
        }
    }
    out
}

/// True for series whose windows are distributions.
fn is_histogram(series: &SeriesWindows) -> bool {
    series.windows.iter().any(|(_, cell)| matches!(cell, Cell::Histogram(_) | Cell::HistogramRuns(_)))
}

/// What was added over `(t - range, t]` at each step, times `factor`.
pub(super) fn increase(
    series: &SeriesWindows,
    grid: &Grid,
    (range, offset): (TimeMs, TimeMs),
    factor: f64,
) -> Vec<Sample> {
    if is_histogram(series) {
        let added = added_histograms(series, grid);
        return spans(&added, grid, (range, offset), |inside| {
            let mut sum: Option<Histogram> = None;
            for one in inside {
                match &mut sum {
                    Some(sum) => sum.merge(&one.amount),
                    None => sum = Some(one.amount.clone()),
                }
            }
            sum.map_or(Sample::None, |sum| Sample::Histogram(HistogramSample { histogram: Arc::new(sum), factor }))
        });
    }
    let added = added_numbers(series, grid);
    spans(&added, grid, (range, offset), |inside| {
        let mut sum = None;
        for one in inside {
            *sum.get_or_insert(0.0) += one.amount;
        }
        sum.map(|sum: f64| sum * factor).into()
    })
}

/// Sums over sliding spans; a first total that began before the span is only a base.
fn spans<'a, T>(
    added: &'a [Added<T>],
    grid: &Grid,
    (range, offset): (TimeMs, TimeMs),
    sum: impl Fn(&mut dyn Iterator<Item = &'a Added<T>>) -> Sample,
) -> Vec<Sample> {
    let (mut from, mut to) = (0, 0);
    (0..grid.steps)
        .map(|step| {
            let end = grid.time(step) - offset;
            let start = end - range;
            while added.get(to).is_some_and(|one| one.at <= end) {
                to += 1;
            }
            while added.get(from).is_some_and(|one| one.at <= start) {
                from += 1;
            }
            let inside = added.get(from..to).unwrap_or_default();
            let mut counted = inside.iter().filter(|one| one.since.is_none_or(|since| since >= start));
            sum(&mut counted)
        })
        .collect()
}

/// A window's aggregate for `*_over_time`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) time: TimeMs,
    pub(super) last: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    pub(super) count: f64,
}

fn span_of(at: TimeMs, cell: &Cell) -> Option<Span> {
    let plain = |time, value: f64| Span { time, last: value, min: value, max: value, sum: value, count: 1.0 };
    Some(match cell {
        Cell::Gauge(g) if g.count > 0 => {
            Span { time: g.time, last: g.last, min: g.min, max: g.max, sum: g.sum, count: f64::from(g.count) }
        }
        Cell::Gauge(g) => plain(g.time, g.last),
        Cell::Counter(counter) => counter.runs().last().map(|run| plain(run.time, run.value))?,
        Cell::Delta(delta) => plain(at, delta.sum),
        _ => return None,
    })
}

/// `f` over the windows of `(t - range, t]` at each step; no window, no sample.
pub(super) fn over_time(
    series: &SeriesWindows,
    grid: &Grid,
    (range, offset): (TimeMs, TimeMs),
    f: impl Fn(&[Span], TimeMs) -> Option<f64>,
) -> Vec<Sample> {
    let windows: Vec<(TimeMs, Span)> = series
        .windows
        .iter()
        .filter_map(|(window, cell)| {
            let at = grid.counts_from(*window);
            Some((at, span_of(at, cell)?))
        })
        .collect();
    let values: Vec<Span> = windows.iter().map(|(_, span)| *span).collect();
    let (mut from, mut to) = (0, 0);
    (0..grid.steps)
        .map(|step| {
            let end = grid.time(step) - offset;
            while windows.get(to).is_some_and(|(at, _)| *at <= end) {
                to += 1;
            }
            while windows.get(from).is_some_and(|(at, _)| *at <= end - range) {
                from += 1;
            }
            let inside = values.get(from..to).unwrap_or_default();
            if inside.is_empty() { Sample::None } else { f(inside, end).into() }
        })
        .collect()
}
