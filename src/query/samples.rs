//! From windows to samples: what a series shows at an instant, and what it added over a span.
//!
//! A window counts from its end on, so that nothing is told before it happened; the windows that are still open at the time
//! of asking count earlier, so that what was just sent is seen. A value is shown until the look-back has passed or the
//! series is marked stale.
//!
//! Increases are exact between window ends. A cumulative run adds its total less the one before it of the same start
//! time; a run with a later start time, or a total that fell, is a reset and adds its whole total. The first total of a
//! series adds all of itself when its run began within the span, and otherwise is only a base to count from.
//! A range that is not a whole number of windows is widened to one, and what it added is scaled back.

use std::ops::Range;
use std::sync::Arc;

use super::compile::Increases;
use super::value::{HistogramSample, Sample};
use crate::model::{Cell, Histogram, Run, SeriesWindows, TimeMs, Width, WindowStart};

/// Windows narrower than this are told to be open from their start on.
const SHOWN_EARLY: TimeMs = Width::MINUTE.millis();

/// The steps of a query, and when it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) start: TimeMs,
    pub(super) step: TimeMs,
    pub(super) steps: usize,
    pub(super) now: TimeMs,
    pub(super) lookback: TimeMs,
    pub(super) width: Width,
    pub(super) increases: Increases,
}

impl Grid {
    pub(super) const fn time(&self, step: usize) -> TimeMs {
        self.start + self.step * step as TimeMs
    }

    /// One step at `at`.
    pub(super) const fn only(&self, at: TimeMs) -> Self {
        Self { start: at, steps: 1, ..*self }
    }

    /// When a window begins to count: at its end; when it is still open, at its start or a minute ago.
    pub(super) fn counts_from(&self, window: WindowStart) -> TimeMs {
        let start = TimeMs::from(window) * 1000;
        let end = start + self.width.millis();
        if end > self.now { start.max(self.now - SHOWN_EARLY) } else { end }
    }

    fn scale(&self, over: Over) -> Scale {
        let covered = over.covered(self.width);
        if !over.per_second {
            let factor = if covered == over.range { 1.0 } else { over.range as f64 / covered as f64 };
            return Scale { factor, open: None };
        }
        // A wide window that is open adds what it holds so far, and the time in which it came.
        let open = self.width.window_of(self.now);
        let so_far = self.now - TimeMs::from(open) * 1000;
        let is_wide = !over.of_points && self.width.millis() >= SHOWN_EARLY;
        Scale {
            factor: 1000.0 / covered as f64,
            open: is_wide.then(|| (self.counts_from(open), 1000.0 / (covered + so_far) as f64)),
        }
    }
}

/// What to multiply the sums of ranges by.
#[derive(Clone, Copy)]
struct Scale {
    factor: f64,
    /// From which end on a range holds the open window, and the factor of those.
    open: Option<(TimeMs, f64)>,
}

impl Scale {
    fn at(&self, end: TimeMs) -> f64 {
        match self.open {
            Some((from, factor)) if from <= end => factor,
            _ => self.factor,
        }
    }
}

/// A range to look back over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) range: TimeMs,
    pub(super) offset: TimeMs,
    pub(super) per_second: bool,
    /// Of the steps of a subquery, which are points in time and no windows.
    pub(super) of_points: bool,
}

impl Over {
    const fn covered(&self, width: Width) -> TimeMs {
        if self.of_points { self.range } else { covered(self.range, width) }
    }
}

/// The least whole number of windows that is not shorter than `range`.
pub(super) const fn covered(range: TimeMs, width: Width) -> TimeMs {
    (range + width.millis() - 1) / width.millis() * width.millis()
}

/// Where the values of a range come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// Windows of a series.
    Series(&'a SeriesWindows),
    /// The numbers that a subquery gives.
    Points(&'a [(TimeMs, f64)]),
}

/// The windows that count at each step, the last of them not yet over the look-back.
fn seen_at<'a>(
    series: &'a SeriesWindows,
    grid: &Grid,
    offset: TimeMs,
) -> impl Iterator<Item = Option<&'a (WindowStart, Cell)>> {
    let grid = *grid;
    let mut next = 0;
    (0..grid.steps).map(move |step| {
        let at = grid.time(step) - offset;
        while series.windows.get(next).is_some_and(|(window, _)| grid.counts_from(*window) <= at) {
            next += 1;
        }
        let seen = next.checked_sub(1).and_then(|last| series.windows.get(last))?;
        (at - grid.counts_from(seen.0) < grid.lookback).then_some(seen)
    })
}

/// The value at each step, looked up `offset` earlier.
pub(super) fn instant(series: &SeriesWindows, grid: &Grid, offset: TimeMs) -> Vec<Sample> {
    seen_at(series, grid, offset).map(|seen| seen.map_or(Sample::None, |(_, cell)| shown(cell))).collect()
}

/// When the value of each step was measured, in seconds.
pub(super) fn timestamps(series: &SeriesWindows, grid: &Grid, offset: TimeMs) -> Vec<Sample> {
    let measured = |(window, cell): &(WindowStart, Cell)| {
        let end = TimeMs::from(*window) * 1000 + grid.width.millis();
        Some(match cell {
            Cell::Gauge(gauge) => gauge.time,
            Cell::Counter(counter) => counter.runs().last()?.time,
            Cell::HistogramRuns(runs) => runs.0.last()?.time,
            Cell::Summary(summary) => summary.time,
            Cell::Delta(_) | Cell::Histogram(_) => end.min(grid.now),
            Cell::Stale => return None,
        })
    };
    let seconds = |seen| Some(measured(seen)? as f64 / 1000.0);
    seen_at(series, grid, offset).map(|seen| seen.and_then(seconds).into()).collect()
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
pub(super) struct Added<T> {
    pub(super) at: TimeMs,
    pub(super) amount: T,
    /// Set on the first total of a series: it counts only in spans that hold this start time.
    since: Option<TimeMs>,
}

impl<T> Added<T> {
    /// Whether it was added in a span that begins at `start`: a first total that began before is only a base.
    fn counts(&self, start: TimeMs) -> bool {
        self.since.is_none_or(|since| since >= start)
    }
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

/// What windows added, side by side.
struct AddedNumbers {
    at: Vec<TimeMs>,
    amounts: Vec<f64>,
    /// [`Added::since`] of the first: no other is the first total of a series.
    since: Option<TimeMs>,
}

impl AddedNumbers {
    fn with_capacity(room: usize) -> Self {
        Self { at: Vec::with_capacity(room), amounts: Vec::with_capacity(room), since: None }
    }

    fn push(&mut self, at: TimeMs, (amount, since): (f64, Option<TimeMs>)) {
        if self.at.is_empty() {
            self.since = since;
        }
        self.at.push(at);
        self.amounts.push(amount);
    }

    /// Sum of those at `places`, of a span that begins at `start`.
    fn sum(&self, places: Range<usize>, start: TimeMs) -> Option<f64> {
        let is_base = places.start == 0 && self.since.is_some_and(|since| since < start);
        let amounts = self.amounts.get(places).unwrap_or_default();
        let amounts = if is_base { amounts.get(1..).unwrap_or_default() } else { amounts };
        (!amounts.is_empty()).then(|| amounts.iter().fold(0.0, |sum, amount| sum + amount))
    }
}

fn added_numbers(source: Source<'_>, grid: &Grid) -> AddedNumbers {
    let mut totals = Totals { last: None };
    let less = |new: &f64, old: &f64| (new >= old).then_some(new - old);
    let series = match source {
        Source::Series(series) => series,
        Source::Points(points) => {
            let mut out = AddedNumbers::with_capacity(points.len());
            for (at, value) in points {
                let added = totals.add(&Run { start: 0, time: *at, value: *value }, less);
                added.into_iter().for_each(|added| out.push(*at, added));
            }
            return out;
        }
    };
    let mut out = AddedNumbers::with_capacity(series.windows.len() + series.totals.len());
    for (window, run) in &series.totals {
        totals.add(run, less).into_iter().for_each(|added| out.push(grid.counts_from(*window), added));
    }
    for (window, cell) in &series.windows {
        let at = grid.counts_from(*window);
        match cell {
            Cell::Delta(delta) => out.push(at, (delta.sum, None)),
            Cell::Counter(counter) => {
                counter.runs().filter_map(|run| totals.add(run, less)).for_each(|added| out.push(at, added));
            }
            // Gauges have no increase of their own: what rose and fell is told by its values, a fall as a reset.
            Cell::Gauge(gauge) => {
                let run = Run { start: 0, time: gauge.time, value: gauge.last };
                totals.add(&run, less).into_iter().for_each(|added| out.push(at, added));
            }
            _ => {}
        }
    }
    out
}

pub(super) fn added_histograms(series: &SeriesWindows, grid: &Grid) -> Vec<Added<Histogram>> {
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
pub(super) fn is_histogram(series: &SeriesWindows) -> bool {
    series.windows.iter().any(|(_, cell)| matches!(cell, Cell::Histogram(_) | Cell::HistogramRuns(_)))
}

/// What was added over `(t - range, t]` at each step.
pub(super) fn increase(source: Source<'_>, grid: &Grid, over: Over) -> Vec<Sample> {
    if let Source::Series(series) = source
        && is_histogram(series)
    {
        let added = added_histograms(series, grid);
        let at: Vec<TimeMs> = added.iter().map(|one| one.at).collect();
        return spans(&at, grid, over, |inside, start, factor| {
            let mut sum: Option<Histogram> = None;
            for one in added.get(inside).unwrap_or_default().iter().filter(|one| one.counts(start)) {
                match &mut sum {
                    Some(sum) => sum.merge(&one.amount),
                    None => sum = Some(one.amount.clone()),
                }
            }
            sum.map_or(Sample::None, |sum| Sample::Histogram(HistogramSample { histogram: Arc::new(sum), factor }))
        });
    }
    let added = added_numbers(source, grid);
    spans(&added.at, grid, over, |inside, start, factor| added.sum(inside, start).map(|sum| sum * factor).into())
}

/// Sums over sliding spans.
fn spans(at: &[TimeMs], grid: &Grid, over: Over, sum: impl Fn(Range<usize>, TimeMs, f64) -> Sample) -> Vec<Sample> {
    let range = over.covered(grid.width);
    let (mut from, mut to) = (0, 0);
    let scale = grid.scale(over);
    (0..grid.steps)
        .map(|step| {
            let end = grid.time(step) - over.offset;
            let start = end - range;
            while at.get(to).is_some_and(|at| *at <= end) {
                to += 1;
            }
            while at.get(from).is_some_and(|at| *at <= start) {
                from += 1;
            }
            sum(from..to, start, scale.at(end))
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
    /// When the run of a cumulative total began, 0 when that is not known.
    pub(super) start: TimeMs,
    /// The value is what was added, no total.
    pub(super) is_delta: bool,
}

impl Span {
    const fn plain(time: TimeMs, value: f64) -> Self {
        Self { time, last: value, min: value, max: value, sum: value, count: 1.0, start: 0, is_delta: false }
    }

    fn of(at: TimeMs, cell: &Cell) -> Option<Self> {
        Some(match cell {
            Cell::Gauge(g) if g.count > 0 => {
                Self { min: g.min, max: g.max, sum: g.sum, count: f64::from(g.count), ..Self::plain(g.time, g.last) }
            }
            Cell::Gauge(g) => Self::plain(g.time, g.last),
            Cell::Counter(counter) => {
                counter.runs().last().map(|run| Self { start: run.start, ..Self::plain(run.time, run.value) })?
            }
            Cell::Delta(delta) => Self { is_delta: true, ..Self::plain(at, delta.sum) },
            _ => return None,
        })
    }
}

/// `f` over the windows of `(t - range, t]` at each step, at least one window wide; no window, no sample.
pub(super) fn over_time(
    source: Source<'_>,
    grid: &Grid,
    over: Over,
    f: impl Fn(&[Span], TimeMs) -> Option<f64>,
) -> Vec<Sample> {
    let (windows, range): (Vec<(TimeMs, Span)>, TimeMs) = match source {
        Source::Points(points) => {
            (points.iter().map(|(at, value)| (*at, Span::plain(*at, *value))).collect(), over.range)
        }
        Source::Series(series) => {
            let of = |(window, cell): &(WindowStart, Cell)| {
                let at = grid.counts_from(*window);
                Some((at, Span::of(at, cell)?))
            };
            (series.windows.iter().filter_map(of).collect(), over.range.max(grid.width.millis()))
        }
    };
    let values: Vec<Span> = windows.iter().map(|(_, span)| *span).collect();
    let (mut from, mut to) = (0, 0);
    (0..grid.steps)
        .map(|step| {
            let end = grid.time(step) - over.offset;
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

/// How many distributions the windows of `(t - range, t]` hold at each step, for a series of them.
pub(super) fn histograms_seen(series: &SeriesWindows, grid: &Grid, over: Over) -> Option<Vec<Sample>> {
    if !is_histogram(series) {
        return None;
    }
    let present = |(window, cell): &(WindowStart, Cell)| {
        let at = grid.counts_from(*window);
        matches!(cell, Cell::Histogram(_) | Cell::HistogramRuns(_)).then_some((at, 1.0))
    };
    let points: Vec<(TimeMs, f64)> = series.windows.iter().filter_map(present).collect();
    let over = Over { range: over.range.max(grid.width.millis()), ..over };
    Some(over_time(Source::Points(&points), grid, over, |spans, _| Some(spans.len() as f64)))
}

/// The first distribution within the range at each step.
pub(super) fn first_within(series: &SeriesWindows, grid: &Grid, over: Over) -> Vec<Sample> {
    let range = over.range.max(grid.width.millis());
    let mut from = 0;
    (0..grid.steps)
        .map(|step| {
            let end = grid.time(step) - over.offset;
            while series.windows.get(from).is_some_and(|(window, _)| grid.counts_from(*window) <= end - range) {
                from += 1;
            }
            let inside = series.windows.get(from..).unwrap_or_default().iter();
            let inside = inside.take_while(|(window, _)| grid.counts_from(*window) <= end);
            inside.map(|(_, cell)| shown(cell)).find(Sample::is_some).unwrap_or(Sample::None)
        })
        .collect()
}

/// The last value within the range at each step.
pub(super) fn last_within(series: &SeriesWindows, grid: &Grid, over: Over) -> Vec<Sample> {
    let lookback = over.range.max(grid.width.millis());
    instant(series, &Grid { lookback, ..*grid }, over.offset)
}
