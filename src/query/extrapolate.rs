//! Increases as Prometheus tells them: from the first to the last sample of a range, extrapolated to its ends.
//!
//! A sample is the last value of a window, at the window's end. Only values tell a reset, since Prometheus knows no start
//! times. Source: Prometheus, `promql/functions.go`, `extrapolatedRate`.

use std::sync::Arc;

use super::samples::{Grid, Over, Source, added_histograms, is_histogram};
use super::value::{HistogramSample, Sample};
use crate::model::{Cell, Histogram, SeriesWindows, TimeMs};

/// The samples of a series, and what was added before each.
#[derive(Default)]
struct Track {
    at: Vec<TimeMs>,
    values: Vec<f64>,
    added: Vec<f64>,
}

impl Track {
    fn push(&mut self, at: TimeMs, value: f64) {
        let more = match self.values.last() {
            Some(before) if value < *before => value,
            Some(before) => value - before,
            None => 0.0,
        };
        self.added.push(self.added.last().unwrap_or(&0.0) + more);
        self.at.push(at);
        self.values.push(value);
    }

    fn of(source: Source<'_>, grid: &Grid) -> Self {
        let mut track = Self::default();
        match source {
            Source::Points(points) => points.iter().for_each(|(at, value)| track.push(*at, *value)),
            Source::Series(series) => {
                for (window, run) in &series.totals {
                    track.push(grid.counts_from(*window), run.value);
                }
                let mut total = 0.0;
                for (window, cell) in &series.windows {
                    let value = match cell {
                        Cell::Gauge(gauge) => gauge.last,
                        Cell::Delta(delta) => {
                            total += delta.sum;
                            total
                        }
                        Cell::Counter(counter) => match counter.runs().last() {
                            Some(run) => run.value,
                            None => continue,
                        },
                        _ => continue,
                    };
                    track.push(grid.counts_from(*window), value);
                }
            }
        }
        track
    }
}

/// `f` over the places of the samples in `(t - range, t]` at each step, with both ends; none for fewer than two.
fn over_samples(
    at: &[TimeMs],
    grid: &Grid,
    over: Over,
    f: impl Fn((usize, usize), (TimeMs, TimeMs)) -> Sample,
) -> Vec<Sample> {
    let (mut from, mut to) = (0, 0);
    (0..grid.steps)
        .map(|step| {
            let end = grid.time(step) - over.offset;
            let start = end - over.range;
            while at.get(to).is_some_and(|at| *at <= end) {
                to += 1;
            }
            while at.get(from).is_some_and(|at| *at <= start) {
                from += 1;
            }
            if to < from + 2 { Sample::None } else { f((from, to - 1), (start, end)) }
        })
        .collect()
}

/// What to multiply the difference of the first and last of `n` samples by. `to_zero` is the part of the sampled time
/// in which a counter would have risen from nothing to its first sample.
fn factor(
    (first, last, n): (TimeMs, TimeMs, usize),
    (start, end): (TimeMs, TimeMs),
    to_zero: Option<f64>,
    per_second: bool,
) -> f64 {
    let seconds = |ms: TimeMs| ms as f64 / 1000.0;
    let sampled = seconds(last - first);
    let between = sampled / (n - 1) as f64;
    let within = |gap: f64| if gap >= between * 1.1 { between / 2.0 } else { gap };
    let (mut before, after) = (within(seconds(first - start)), within(seconds(end - last)));
    if let Some(share) = to_zero {
        before = before.min(sampled * share);
    }
    let factor = (sampled + before + after) / sampled;
    if per_second { factor / seconds(end - start) } else { factor }
}

/// `rate` and `increase`.
pub(super) fn increase(source: Source<'_>, grid: &Grid, over: Over) -> Vec<Sample> {
    if let Source::Series(series) = source
        && is_histogram(series)
    {
        return of_histograms(series, grid, over);
    }
    let track = Track::of(source, grid);
    over_samples(&track.at, grid, over, |(first, last), span| {
        let at = |of: &[f64], place: usize| of.get(place).copied().unwrap_or(f64::NAN);
        let time = |place: usize| track.at.get(place).copied().unwrap_or_default();
        let added = at(&track.added, last) - at(&track.added, first);
        let value = at(&track.values, first);
        let to_zero = (added > 0.0 && value >= 0.0).then(|| value / added);
        let ends = (time(first), time(last), last - first + 1);
        Sample::Float(added * factor(ends, span, to_zero, over.per_second))
    })
}

/// `delta`, which knows no resets.
pub(super) fn delta(source: Source<'_>, grid: &Grid, over: Over) -> Vec<Sample> {
    let track = Track::of(source, grid);
    over_samples(&track.at, grid, over, |(first, last), span| {
        let at = |place: usize| Some((*track.at.get(place)?, *track.values.get(place)?));
        let (Some((from, before)), Some((to, after))) = (at(first), at(last)) else { return Sample::None };
        Sample::Float((after - before) * factor((from, to, last - first + 1), span, None, false))
    })
}

fn of_histograms(series: &SeriesWindows, grid: &Grid, over: Over) -> Vec<Sample> {
    let added = added_histograms(series, grid);
    let at: Vec<TimeMs> = added.iter().map(|one| one.at).collect();
    let totals: Vec<f64> = added
        .iter()
        .scan(0.0, |total, one| {
            *total += one.amount.count as f64;
            Some(*total)
        })
        .collect();
    over_samples(&at, grid, over, |(first, last), span| {
        let (Some(from), Some(to)) = (at.get(first), at.get(last)) else { return Sample::None };
        let inside = added.get(first + 1..=last).unwrap_or_default();
        let Some(sum) = sum_of(inside.iter().map(|one| &one.amount)) else { return Sample::None };
        let to_zero = (sum.count > 0).then(|| totals.get(first).copied().unwrap_or(0.0) / sum.count as f64);
        let factor = factor((*from, *to, last - first + 1), span, to_zero, over.per_second);
        Sample::Histogram(HistogramSample { histogram: Arc::new(sum), factor })
    })
}

fn sum_of<'a>(mut histograms: impl Iterator<Item = &'a Histogram>) -> Option<Histogram> {
    let mut sum = histograms.next()?.clone();
    histograms.for_each(|one| sum.merge(one));
    Some(sum)
}
