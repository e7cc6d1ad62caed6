//! Data points as a frame holds them: in template order, times as differences, values plain.
//!
//! A whole number takes a few bytes, any other ten or so. Which fields follow is decided by the [`Shape`] of the series, not told by the bytes.

use std::sync::Arc;

use crate::model::{Buckets, ExponentialBuckets, Histogram, Metric, MetricKind, Run, Summary, Temporality, TimeMs};
use crate::varint::{Cursor, put, put_signed, unzigzag, zigzag};

/// What a series' points and cells look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Time and value.
    Gauge,
    /// Time, start and total.
    Counter,
    /// Time and difference.
    Delta,
    /// Time and distribution since the last point.
    Histogram,
    /// Time, start and distribution since the start.
    HistogramRuns,
    /// Time, start, count, sum and quantiles.
    Summary,
}

impl Shape {
    /// True for gauges, deltas and counters.
    #[must_use]
    #[inline]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Gauge | Self::Counter | Self::Delta)
    }

    /// The shape of `metric`'s points. A non-monotonic cumulative sum is kept as a gauge.
    #[must_use]
    pub const fn of(metric: &Metric) -> Self {
        match (metric.kind, metric.temporality) {
            (MetricKind::Counter | MetricKind::UpDownCounter, Temporality::Delta) => Self::Delta,
            (MetricKind::Counter, _) => Self::Counter,
            (MetricKind::Gauge | MetricKind::UpDownCounter, _) => Self::Gauge,
            (MetricKind::Histogram | MetricKind::ExponentialHistogram, Temporality::Delta) => Self::Histogram,
            (MetricKind::Histogram | MetricKind::ExponentialHistogram, _) => Self::HistogramRuns,
            (MetricKind::Summary, _) => Self::Summary,
        }
    }
}

/// One data point.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// Gauge and delta sum.
    Value(TimeMs, f64),
    /// Cumulative sum.
    Total(Run),
    /// Delta histogram.
    Histogram(TimeMs, Histogram),
    /// Cumulative histogram.
    HistogramTotal(Run<Histogram>),
    /// Summary.
    Summary(Summary),
    /// The series has ended.
    Stale(TimeMs),
}

/// A point of a gauge, delta or counter.
#[derive(Clone, Copy, Debug)]
pub struct NumberPoint {
    /// When.
    pub time: TimeMs,
    /// Start of the run, for counters.
    pub start: TimeMs,
    /// `None` when the series has ended.
    pub value: Option<f64>,
}

/// Bits of flags below a point's time.
const FLAGS: u32 = 2;
/// The series has ended.
const STALE: u64 = 1;
/// The value is a whole number, written as one.
const WHOLE: u64 = 2;
/// Every whole number up to here is a double.
const WHOLE_MAX: i64 = 1 << 53;

/// The whole number that `value` is, bit for bit.
#[inline]
fn whole(value: f64) -> Option<i64> {
    let whole = value as i64;
    ((whole as f64).to_bits() == value.to_bits() && -WHOLE_MAX < whole && whole < WHOLE_MAX).then_some(whole)
}

/// Writes points.
#[derive(Debug, Default)]
pub struct PointWriter {
    out: Vec<u8>,
    time: TimeMs,
    start: TimeMs,
    /// Of the last explicit histogram.
    bounds: Option<Arc<[f64]>>,
}

impl PointWriter {
    /// Writes into `out`, from its end on.
    #[must_use]
    pub const fn new(out: Vec<u8>) -> Self {
        Self { out, time: 0, start: 0, bounds: None }
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    #[inline]
    fn time(&mut self, time: TimeMs, flags: u64) {
        put(&mut self.out, zigzag(time.wrapping_sub(self.time)) << FLAGS | flags);
        self.time = time;
    }

    #[inline]
    fn start(&mut self, start: TimeMs) {
        put_signed(&mut self.out, start.wrapping_sub(self.start));
        self.start = start;
    }

    /// A gauge's value or a delta.
    #[inline]
    pub fn value(&mut self, time: TimeMs, value: f64) {
        match whole(value) {
            Some(whole) => {
                self.time(time, WHOLE);
                put_signed(&mut self.out, whole);
            }
            None => {
                self.time(time, 0);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// A cumulative total.
    #[inline]
    pub fn total(&mut self, run: Run) {
        self.value(run.time, run.value);
        self.start(run.start);
    }

    /// A delta histogram.
    pub fn histogram(&mut self, time: TimeMs, histogram: &Histogram) {
        self.time(time, 0);
        self.put_histogram(histogram);
    }

    /// A cumulative histogram.
    pub fn histogram_total(&mut self, start: TimeMs, time: TimeMs, histogram: &Histogram) {
        self.time(time, 0);
        self.start(start);
        self.put_histogram(histogram);
    }

    fn put_histogram(&mut self, h: &Histogram) {
        let exponential = matches!(h.buckets, Buckets::Exponential { .. });
        let same =
            matches!((&h.buckets, &self.bounds), (Buckets::Explicit { bounds, .. }, Some(last)) if bounds == last);
        let flags =
            [(h.min.is_some(), HAS_MIN), (h.max.is_some(), HAS_MAX), (exponential, EXPONENTIAL), (same, SAME_BOUNDS)];
        let out = &mut self.out;
        out.push(flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
        put(out, h.count);
        out.extend_from_slice(&h.sum.to_le_bytes());
        for value in [h.min, h.max].into_iter().flatten() {
            out.extend_from_slice(&value.to_le_bytes());
        }
        match &h.buckets {
            Buckets::Explicit { bounds, counts } => {
                if !same {
                    put(out, bounds.len() as u64);
                    for bound in bounds.iter() {
                        out.extend_from_slice(&bound.to_le_bytes());
                    }
                    self.bounds = Some(Arc::clone(bounds));
                }
                put_counts(out, counts);
            }
            Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
                put_signed(out, i64::from(*scale));
                put(out, *zero_count);
                out.extend_from_slice(&zero_threshold.to_le_bytes());
                for side in [positive, negative] {
                    put_signed(out, i64::from(side.offset));
                    put_counts(out, &side.counts);
                }
            }
        }
    }

    /// A summary.
    pub fn summary(&mut self, summary: &Summary) {
        self.time(summary.time, 0);
        self.start(summary.start);
        put(&mut self.out, summary.count);
        self.out.extend_from_slice(&summary.sum.to_le_bytes());
        put(&mut self.out, summary.quantiles.len() as u64);
        for (quantile, value) in &summary.quantiles {
            self.out.extend_from_slice(&quantile.to_le_bytes());
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A no-recorded-value mark.
    pub fn stale(&mut self, time: TimeMs) {
        self.time(time, STALE);
    }
}

/// Reads what [`PointWriter`] wrote.
pub struct PointReader<'a> {
    bytes: Cursor<'a>,
    time: TimeMs,
    start: TimeMs,
    bounds: Option<Arc<[f64]>>,
}

impl<'a> PointReader<'a> {
    /// Reads from the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Cursor(bytes), time: 0, start: 0, bounds: None }
    }

    /// The next point of a shape that is a number; `None` when the bytes are damaged or used up.
    #[inline]
    pub fn next_number(&mut self, shape: Shape) -> Option<NumberPoint> {
        let flags = self.next_time()?;
        if flags & STALE != 0 {
            return Some(NumberPoint { time: self.time, start: 0, value: None });
        }
        let value = if flags & WHOLE != 0 { self.bytes.signed()? as f64 } else { self.bytes.f64()? };
        let start = if shape == Shape::Counter { self.next_start()? } else { 0 };
        Some(NumberPoint { time: self.time, start, value: Some(value) })
    }

    /// The next point, which is one of `shape`; `None` when the bytes are damaged or used up.
    pub fn next_point(&mut self, shape: Shape) -> Option<Point> {
        if shape.is_number() {
            let NumberPoint { time, start, value } = self.next_number(shape)?;
            return Some(match value {
                None => Point::Stale(time),
                Some(value) if shape == Shape::Counter => Point::Total(Run { start, time, value }),
                Some(value) => Point::Value(time, value),
            });
        }
        if self.next_time()? & STALE != 0 {
            return Some(Point::Stale(self.time));
        }
        let time = self.time;
        Some(match shape {
            Shape::HistogramRuns => {
                let start = self.next_start()?;
                Point::HistogramTotal(Run { start, time, value: self.histogram()? })
            }
            Shape::Summary => Point::Summary(self.summary(time)?),
            _ => Point::Histogram(time, self.histogram()?),
        })
    }

    /// Moves on to the next point's time; returns its flags.
    #[inline]
    fn next_time(&mut self) -> Option<u64> {
        let head = self.bytes.varint()?;
        self.time = self.time.wrapping_add(unzigzag(head >> FLAGS));
        Some(head)
    }

    #[inline]
    fn next_start(&mut self) -> Option<TimeMs> {
        self.start = self.start.wrapping_add(self.bytes.signed()?);
        Some(self.start)
    }

    fn histogram(&mut self) -> Option<Histogram> {
        let bytes = &mut self.bytes;
        let flags = bytes.u8()?;
        let count = bytes.varint()?;
        let sum = bytes.f64()?;
        let min = if flags & HAS_MIN != 0 { Some(bytes.f64()?) } else { None };
        let max = if flags & HAS_MAX != 0 { Some(bytes.f64()?) } else { None };
        let buckets = if flags & EXPONENTIAL == 0 {
            if flags & SAME_BOUNDS == 0 {
                let n = bytes.count(8)?;
                self.bounds = Some((0..n).map(|_| bytes.f64()).collect::<Option<_>>()?);
            }
            Buckets::Explicit { bounds: Arc::clone(self.bounds.as_ref()?), counts: counts(bytes)? }
        } else {
            Buckets::Exponential {
                scale: i32::try_from(bytes.signed()?).ok()?,
                zero_count: bytes.varint()?,
                zero_threshold: bytes.f64()?,
                positive: side(bytes)?,
                negative: side(bytes)?,
            }
        };
        Some(Histogram { count, sum, min, max, buckets })
    }

    fn summary(&mut self, time: TimeMs) -> Option<Summary> {
        let start = self.next_start()?;
        let count = self.bytes.varint()?;
        let sum = self.bytes.f64()?;
        let n = self.bytes.count(16)?;
        let quantiles = (0..n).map(|_| Some((self.bytes.f64()?, self.bytes.f64()?))).collect::<Option<_>>()?;
        Some(Summary { time, start, count, sum, quantiles })
    }
}

const HAS_MIN: u8 = 1;
const HAS_MAX: u8 = 2;
const EXPONENTIAL: u8 = 4;
/// The bounds are those of the explicit histogram before.
const SAME_BOUNDS: u8 = 8;

fn put_counts(out: &mut Vec<u8>, counts: &[u64]) {
    put(out, counts.len() as u64);
    for n in counts {
        put(out, *n);
    }
}

fn counts(bytes: &mut Cursor<'_>) -> Option<Vec<u64>> {
    let n = bytes.count(1)?;
    let mut out = Vec::with_capacity(n);
    for _ in 0..n {
        out.push(bytes.varint()?);
    }
    Some(out)
}

fn side(bytes: &mut Cursor<'_>) -> Option<ExponentialBuckets> {
    Some(ExponentialBuckets { offset: i32::try_from(bytes.signed()?).ok()?, counts: counts(bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [f64; 8] =
        [0.0, -0.0, -3.0, 9_007_199_254_740_991.0, 9_007_199_254_740_992.0, 1e300, f64::NEG_INFINITY, f64::NAN];

    #[test]
    fn every_shape_reads_back_as_written() {
        let explicit = Histogram {
            count: 3,
            sum: 4.5,
            min: Some(0.5),
            max: None,
            buckets: Buckets::Explicit { bounds: [1.0, 2.0].into(), counts: vec![1, 2, 0] },
        };
        let exponential = Histogram {
            buckets: Buckets::Exponential {
                scale: -3,
                zero_count: 1,
                zero_threshold: 1e-9,
                positive: ExponentialBuckets { offset: -7, counts: vec![1, 300] },
                negative: ExponentialBuckets::default(),
            },
            ..explicit.clone()
        };
        let summary = Summary { time: 30, start: 2, count: 9, sum: 1.0, quantiles: vec![(0.5, 1.0), (0.9, f64::NAN)] };
        let mut writer = PointWriter::default();
        writer.value(1_000, 1.5);
        writer.total(Run { start: 10, time: 999, value: -0.0 });
        writer.stale(1_001);
        for value in NUMBERS {
            writer.value(1_002, value);
        }
        writer.histogram(5, &explicit);
        writer.histogram_total(7, 6, &exponential);
        writer.histogram(8, &explicit);
        writer.summary(&summary);
        let bytes = writer.finish();
        let mut reader = PointReader::new(&bytes);
        assert_eq!(reader.next_point(Shape::Gauge), Some(Point::Value(1_000, 1.5)));
        assert_eq!(reader.next_point(Shape::Counter), Some(Point::Total(Run { start: 10, time: 999, value: -0.0 })));
        assert_eq!(reader.next_point(Shape::Counter), Some(Point::Stale(1_001)));
        for value in NUMBERS {
            let Some(Point::Value(1_002, read)) = reader.next_point(Shape::Delta) else { panic!("{value}") };
            assert_eq!(read.to_bits(), value.to_bits());
        }
        assert_eq!(reader.next_point(Shape::Histogram), Some(Point::Histogram(5, explicit.clone())));
        assert_eq!(
            reader.next_point(Shape::HistogramRuns),
            Some(Point::HistogramTotal(Run { start: 7, time: 6, value: exponential }))
        );
        assert_eq!(reader.next_point(Shape::Histogram), Some(Point::Histogram(8, explicit)));
        assert!(
            matches!(reader.next_point(Shape::Summary), Some(Point::Summary(s)) if s.quantiles.len() == 2 && s.start == 2)
        );
        assert_eq!(reader.next_point(Shape::Gauge), None);
    }
}
