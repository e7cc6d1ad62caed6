//! Units: turning values that were sent in one unit into another of the same dimension.

use super::{Buckets, Cell, Counter, Delta, ExponentialBuckets, Gauge, Histogram, HistogramRuns, Run, Summary};

/// UCUM unit, its dimension, and its size in the dimension's base unit as a fraction.
const UNITS: &[(&str, &str, f64, f64)] = &[
    ("ns", "time", 1.0, 1e9),
    ("us", "time", 1.0, 1e6),
    ("ms", "time", 1.0, 1e3),
    ("s", "time", 1.0, 1.0),
    ("min", "time", 60.0, 1.0),
    ("h", "time", 3_600.0, 1.0),
    ("d", "time", 86_400.0, 1.0),
    ("By", "size", 1.0, 1.0),
    ("kBy", "size", 1e3, 1.0),
    ("KBy", "size", 1e3, 1.0),
    ("MBy", "size", 1e6, 1.0),
    ("GBy", "size", 1e9, 1.0),
    ("KiBy", "size", 1_024.0, 1.0),
    ("MiBy", "size", 1_048_576.0, 1.0),
    ("GiBy", "size", 1_073_741_824.0, 1.0),
    ("1", "ratio", 1.0, 1.0),
    ("%", "ratio", 1.0, 100.0),
];

/// Turns values of one unit into another's. A fraction, so that 250 ms is 0.25 s to the bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitScale {
    times: f64,
    over: f64,
}

impl UnitScale {
    /// Leaves values as they are.
    pub const ONE: Self = Self { times: 1.0, over: 1.0 };

    /// From `sent` to `wanted`, if they are units of one dimension.
    #[must_use]
    pub fn between(sent: &str, wanted: &str) -> Option<Self> {
        let find = |unit: &str| UNITS.iter().find(|(name, ..)| *name == unit);
        let (&(_, from, times, over), &(_, to, times_wanted, over_wanted)) = (find(sent)?, find(wanted)?);
        (from == to).then_some(Self { times: times * over_wanted, over: over * times_wanted })
    }

    /// True when nothing changes.
    #[must_use]
    pub fn is_one(self) -> bool {
        self.times == self.over
    }

    /// The value in the wanted unit.
    #[must_use]
    pub fn of(self, value: f64) -> f64 {
        value * self.times / self.over
    }

    /// What a window holds, in the wanted unit. Exponential buckets are first brought down to `scale`, the least of the
    /// series, so that totals of one run can still be subtracted; they move by whole buckets, half a bucket off at most.
    #[must_use]
    pub fn of_cell(self, cell: &Cell, scale: i32) -> Cell {
        let run = |run: &Run| Run { value: self.of(run.value), ..*run };
        match cell {
            Cell::Gauge(g) => Cell::Gauge(Gauge {
                last: self.of(g.last),
                min: self.of(g.min),
                max: self.of(g.max),
                sum: self.of(g.sum),
                ..*g
            }),
            Cell::Counter(counter) => {
                let more = counter.more.as_ref().map(|more| Box::new(more.iter().map(run).collect()));
                Cell::Counter(Counter { first: run(&counter.first), more })
            }
            Cell::Delta(delta) => Cell::Delta(Delta { sum: self.of(delta.sum), ..*delta }),
            Cell::Histogram(histogram) => Cell::Histogram(Box::new(self.of_histogram(histogram, scale))),
            Cell::HistogramRuns(runs) => {
                let run = |run: &Run<Histogram>| Run {
                    start: run.start,
                    time: run.time,
                    value: self.of_histogram(&run.value, scale),
                };
                Cell::HistogramRuns(Box::new(HistogramRuns(runs.0.iter().map(run).collect())))
            }
            Cell::Summary(summary) => Cell::Summary(Box::new(Summary {
                sum: self.of(summary.sum),
                quantiles: summary.quantiles.iter().map(|(q, value)| (*q, self.of(*value))).collect(),
                ..**summary
            })),
            Cell::Stale => Cell::Stale,
        }
    }

    fn of_histogram(self, histogram: &Histogram, least: i32) -> Histogram {
        let mut out = histogram.clone();
        out.sum = self.of(out.sum);
        out.min = out.min.map(|value| self.of(value));
        out.max = out.max.map(|value| self.of(value));
        match &mut out.buckets {
            Buckets::Explicit { bounds, .. } => *bounds = bounds.iter().map(|bound| self.of(*bound)).collect(),
            Buckets::Exponential { scale, zero_threshold, positive, negative, .. } => {
                *zero_threshold = self.of(*zero_threshold);
                let finer = u32::try_from(*scale - least).unwrap_or(0);
                *scale -= finer as i32;
                let buckets = ((self.times / self.over).log2() * f64::from(*scale).exp2()).round() as i32;
                for side in [positive, negative] {
                    side.scale_down(finer);
                    side.move_by(buckets);
                }
            }
        }
        out
    }
}

impl ExponentialBuckets {
    fn move_by(&mut self, buckets: i32) {
        if !self.counts.is_empty() {
            self.offset = self.offset.saturating_add(buckets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_change_their_unit_to_the_bit() {
        let check = |sent, wanted, value, expect| {
            assert_eq!(UnitScale::between(sent, wanted).map(|scale| scale.of(value)), expect, "{sent} to {wanted}");
        };
        check("ms", "s", 75.0, Some(0.075));
        check("us", "ms", 1_500.0, Some(1.5));
        check("s", "s", 0.1, Some(0.1));
        check("MiBy", "By", 2.0, Some(2_097_152.0));
        check("%", "1", 97.0, Some(0.97));
        check("ms", "By", 1.0, None);
        check("{request}", "s", 1.0, None);
    }
}
