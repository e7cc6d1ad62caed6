//! Data points as a frame holds them: in template order, times as differences, values plain.
//!
//! A number takes ten bytes or so. Which fields follow is decided by the [`Shape`] of the series, not told by the bytes.

use std::sync::Arc;

use super::varint::{Cursor, put, put_signed, unzigzag, zigzag};
use crate::model::{Buckets, ExponentialBuckets, Histogram, Metric, MetricKind, Run, Summary, Temporality, TimeMs};

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

/// Writes points.
#[derive(Debug, Default)]
pub struct PointWriter {
    out: Vec<u8>,
    time: TimeMs,
    start: TimeMs,
}

impl PointWriter {
    /// Writes into `out`, from its end on.
    #[must_use]
    pub const fn new(out: Vec<u8>) -> Self {
        Self { out, time: 0, start: 0 }
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    #[inline]
    fn time(&mut self, time: TimeMs, stale: bool) {
        put(&mut self.out, zigzag(time.wrapping_sub(self.time)) << 1 | u64::from(stale));
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
        self.time(time, false);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A cumulative total.
    #[inline]
    pub fn total(&mut self, run: Run) {
        self.time(run.time, false);
        self.start(run.start);
        self.out.extend_from_slice(&run.value.to_le_bytes());
    }

    /// A delta histogram.
    pub fn histogram(&mut self, time: TimeMs, histogram: &Histogram) {
        self.time(time, false);
        put_histogram(&mut self.out, histogram);
    }

    /// A cumulative histogram.
    pub fn histogram_total(&mut self, start: TimeMs, time: TimeMs, histogram: &Histogram) {
        self.time(time, false);
        self.start(start);
        put_histogram(&mut self.out, histogram);
    }

    /// A summary.
    pub fn summary(&mut self, summary: &Summary) {
        self.time(summary.time, false);
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
        self.time(time, true);
    }
}

/// Reads what [`PointWriter`] wrote.
pub struct PointReader<'a> {
    bytes: Cursor<'a>,
    time: TimeMs,
    start: TimeMs,
}

impl<'a> PointReader<'a> {
    /// Reads from the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Cursor(bytes), time: 0, start: 0 }
    }

    /// The next point, which is one of `shape`; `None` when the bytes are damaged or used up.
    #[inline]
    pub fn next_point(&mut self, shape: Shape) -> Option<Point> {
        let head = self.bytes.varint()?;
        self.time = self.time.wrapping_add(unzigzag(head >> 1));
        let time = self.time;
        if head & 1 == 1 {
            return Some(Point::Stale(time));
        }
        Some(match shape {
            Shape::Gauge | Shape::Delta => Point::Value(time, self.bytes.f64()?),
            Shape::Counter => {
                let start = self.next_start()?;
                Point::Total(Run { start, time, value: self.bytes.f64()? })
            }
            Shape::Histogram => Point::Histogram(time, histogram(&mut self.bytes)?),
            Shape::HistogramRuns => {
                let start = self.next_start()?;
                Point::HistogramTotal(Run { start, time, value: histogram(&mut self.bytes)? })
            }
            Shape::Summary => Point::Summary(self.summary(time)?),
        })
    }

    #[inline]
    fn next_start(&mut self) -> Option<TimeMs> {
        self.start = self.start.wrapping_add(self.bytes.signed()?);
        Some(self.start)
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

fn put_histogram(out: &mut Vec<u8>, h: &Histogram) {
    let exponential = matches!(h.buckets, Buckets::Exponential { .. });
    let flags = [(h.min.is_some(), HAS_MIN), (h.max.is_some(), HAS_MAX), (exponential, EXPONENTIAL)];
    out.push(flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
    put(out, h.count);
    out.extend_from_slice(&h.sum.to_le_bytes());
    for value in [h.min, h.max].into_iter().flatten() {
        out.extend_from_slice(&value.to_le_bytes());
    }
    match &h.buckets {
        Buckets::Explicit { bounds, counts } => {
            put(out, bounds.len() as u64);
            for bound in bounds.iter() {
                out.extend_from_slice(&bound.to_le_bytes());
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

fn put_counts(out: &mut Vec<u8>, counts: &[u64]) {
    put(out, counts.len() as u64);
    for n in counts {
        put(out, *n);
    }
}

fn counts(bytes: &mut Cursor<'_>) -> Option<Vec<u64>> {
    let n = bytes.count(1)?;
    (0..n).map(|_| bytes.varint()).collect()
}

fn histogram(bytes: &mut Cursor<'_>) -> Option<Histogram> {
    let flags = bytes.u8()?;
    let count = bytes.varint()?;
    let sum = bytes.f64()?;
    let min = if flags & HAS_MIN != 0 { Some(bytes.f64()?) } else { None };
    let max = if flags & HAS_MAX != 0 { Some(bytes.f64()?) } else { None };
    let buckets = if flags & EXPONENTIAL == 0 {
        let n = bytes.count(8)?;
        let bounds: Arc<[f64]> = (0..n).map(|_| bytes.f64()).collect::<Option<_>>()?;
        Buckets::Explicit { bounds, counts: counts(bytes)? }
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

fn side(bytes: &mut Cursor<'_>) -> Option<ExponentialBuckets> {
    Some(ExponentialBuckets { offset: i32::try_from(bytes.signed()?).ok()?, counts: counts(bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        writer.histogram(5, &explicit);
        writer.histogram_total(7, 6, &exponential);
        writer.summary(&summary);
        let bytes = writer.finish();
        let mut reader = PointReader::new(&bytes);
        assert_eq!(reader.next_point(Shape::Gauge), Some(Point::Value(1_000, 1.5)));
        assert_eq!(reader.next_point(Shape::Counter), Some(Point::Total(Run { start: 10, time: 999, value: -0.0 })));
        assert_eq!(reader.next_point(Shape::Counter), Some(Point::Stale(1_001)));
        assert_eq!(reader.next_point(Shape::Histogram), Some(Point::Histogram(5, explicit)));
        assert_eq!(
            reader.next_point(Shape::HistogramRuns),
            Some(Point::HistogramTotal(Run { start: 7, time: 6, value: exponential }))
        );
        assert!(
            matches!(reader.next_point(Shape::Summary), Some(Point::Summary(s)) if s.quantiles.len() == 2 && s.start == 2)
        );
        assert_eq!(reader.next_point(Shape::Gauge), None);
    }
}
