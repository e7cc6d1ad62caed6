//! What is kept of a series in one window, and how partials of it merge.
//!
//! Merging is commutative and associative, so partials from any number of replicas in any order give the same answer.
//! Cumulative points are kept as they came, one run per start time, and turned into increases when read.

use super::{Histogram, TimeMs};

/// The aggregate of one series over one window.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Gauges, and non-monotonic cumulative sums.
    Gauge(Gauge),
    /// Cumulative monotonic sums.
    Counter(Counter),
    /// Delta sums, monotonic or not.
    Delta(Delta),
    /// Delta histograms.
    Histogram(Box<Histogram>),
    /// Cumulative histograms.
    HistogramRuns(Box<HistogramRuns>),
    /// Summaries.
    Summary(Box<Summary>),
    /// The series ended before this window (OTLP "no recorded value"); any data in the window outweighs it.
    Stale,
}

impl Cell {
    /// Folds another partial of the same series and window into this one.
    /// Partials of different shapes cannot come from one series (the kind is part of its identity); the later variant is then kept.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Gauge(a), Self::Gauge(b)) => a.merge(b),
            (Self::Counter(a), Self::Counter(b)) => a.merge(b),
            (Self::Delta(a), Self::Delta(b)) => a.merge(b),
            (Self::Histogram(a), Self::Histogram(b)) => a.merge(b),
            (Self::HistogramRuns(a), Self::HistogramRuns(b)) => a.merge(b),
            (Self::Summary(a), Self::Summary(b)) => a.merge(b),
            (_, Self::Stale) => {}
            (this, other) => {
                if this.rank() < other.rank() {
                    *this = other.clone();
                }
            }
        }
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let beside = match self {
            Self::Gauge(_) | Self::Delta(_) | Self::Stale => 0,
            Self::Counter(counter) => counter.more.as_ref().map_or(0, |more| more.len() * size_of::<Run>()),
            Self::Histogram(histogram) => histogram.bytes(),
            Self::HistogramRuns(runs) => runs.0.iter().map(|run| size_of::<Run>() + run.value.bytes()).sum(),
            Self::Summary(summary) => size_of::<Summary>() + summary.quantiles.len() * size_of::<(f64, f64)>(),
        };
        size_of::<Self>() + beside
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Stale => 0,
            Self::Gauge(_) => 1,
            Self::Counter(_) => 2,
            Self::Delta(_) => 3,
            Self::Histogram(_) => 4,
            Self::HistogramRuns(_) => 5,
            Self::Summary(_) => 6,
        }
    }
}

/// Last, least, greatest, sum and number of a window's values. NaN values count only as `last`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    /// Time of `last`.
    pub time: TimeMs,
    /// The value with the greatest time.
    pub last: f64,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Sum of values.
    pub sum: f64,
    /// Number of values.
    pub count: u32,
}

impl Gauge {
    /// The window of one value.
    #[must_use]
    pub fn one(time: TimeMs, value: f64) -> Self {
        if value.is_nan() {
            return Self { time, last: value, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0, count: 0 };
        }
        Self { time, last: value, min: value, max: value, sum: value, count: 1 }
    }

    /// Folds `other` in; of two values at the same time the greater stays.
    pub fn merge(&mut self, other: &Self) {
        if (other.time, OrderedBits(other.last)) > (self.time, OrderedBits(self.last)) {
            self.time = other.time;
            self.last = other.last;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
    }
}

/// Total order on floats, so that ties are broken alike on every replica.
struct OrderedBits(f64);

impl PartialEq for OrderedBits {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

impl PartialOrd for OrderedBits {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.0.total_cmp(&other.0))
    }
}

/// One unbroken cumulative run: the last total seen of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run<T = f64> {
    /// When the run began; 0 when the sender does not say.
    pub start: TimeMs,
    /// Time of `value`.
    pub time: TimeMs,
    /// Total since `start`.
    pub value: T,
}

/// The runs that a cumulative counter had in a window: nearly always one.
/// (The rest is boxed twice so that the common cell stays 32 bytes.)
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// The run with the least start time.
    pub first: Run,
    /// Later runs by ascending start time, when the counter was reset inside the window.
    pub more: Option<Box<Vec<Run>>>,
}

impl Counter {
    /// The window of one point.
    #[must_use]
    pub fn one(run: Run) -> Self {
        Self { first: run, more: None }
    }

    /// All runs by ascending start time.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        std::iter::once(&self.first).chain(self.more.iter().flat_map(|more| more.iter()))
    }

    /// Folds `other` in: of each run the later total stays.
    pub fn merge(&mut self, other: &Self) {
        for run in other.runs() {
            self.add(*run);
        }
    }

    /// Folds one point in.
    #[inline]
    pub fn add(&mut self, run: Run) {
        if run.start == self.first.start {
            if supersedes(&run, &self.first) {
                self.first = run;
            }
            return;
        }
        self.add_other(run);
    }

    #[cold]
    fn add_other(&mut self, run: Run) {
        let more = self.more.get_or_insert_default();
        let is_full = more.len() + 1 >= RUNS_MAX;
        if run.start < self.first.start {
            if !is_full {
                more.insert(0, std::mem::replace(&mut self.first, run));
            }
            return;
        }
        match more.binary_search_by_key(&run.start, |r| r.start) {
            Ok(at) => {
                if let Some(known) = more.get_mut(at).filter(|known| supersedes(&run, known)) {
                    *known = run;
                }
            }
            Err(at) => {
                more.insert(at, run);
                if is_full {
                    self.first = more.remove(0);
                }
            }
        }
    }
}

/// Most runs of one window; of more, those that started last stay, in whatever order they come. A process that begins anew
/// once in 150 ms does not reach it in a window of ten seconds.
const RUNS_MAX: usize = 64;

fn supersedes(new: &Run, known: &Run) -> bool {
    (new.time, OrderedBits(new.value)) > (known.time, OrderedBits(known.value))
}

/// The runs that a cumulative histogram had in a window, by ascending start time.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct HistogramRuns(pub Vec<Run<Histogram>>);

impl HistogramRuns {
    /// The window of one point.
    #[must_use]
    pub fn one(run: Run<Histogram>) -> Self {
        Self(vec![run])
    }

    /// Folds `other` in: of each run the later total stays.
    pub fn merge(&mut self, other: &Self) {
        for run in &other.0 {
            self.add(run.clone());
        }
    }

    /// Folds one point in.
    pub fn add(&mut self, run: Run<Histogram>) {
        match self.0.binary_search_by_key(&run.start, |r| r.start) {
            Ok(at) => {
                let newer = |known: &Run<Histogram>| (run.time, run.value.count) > (known.time, known.value.count);
                if let Some(known) = self.0.get_mut(at).filter(|known| newer(known)) {
                    *known = run;
                }
            }
            Err(0) if self.0.len() >= RUNS_MAX => {}
            Err(at) => {
                self.0.insert(at, run);
                if self.0.len() > RUNS_MAX {
                    self.0.remove(0);
                }
            }
        }
    }
}

/// The sum of a window's deltas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delta {
    /// Sum of the deltas.
    pub sum: f64,
    /// Number of points.
    pub count: u32,
}

impl Delta {
    /// Folds `other` in.
    pub fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
    }
}

/// The last summary point of a window: quantiles do not merge, so the latest stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// When.
    pub time: TimeMs,
    /// Start of the cumulative count and sum.
    pub start: TimeMs,
    /// Observations since `start`.
    pub count: u64,
    /// Sum of observations since `start`.
    pub sum: f64,
    /// `(quantile, value)` by ascending quantile.
    pub quantiles: Vec<(f64, f64)>,
}

impl Summary {
    /// Keeps the later of the two.
    pub fn merge(&mut self, other: &Self) {
        if (other.time, other.count) > (self.time, self.count) {
            *self = other.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Buckets, ExponentialBuckets};

    /// Whole numbers, so that sums do not depend on their order.
    fn number() -> impl Strategy<Value = f64> {
        (-50i32..50).prop_map(f64::from)
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        (prop::collection::vec(0u64..5, 1..6), -3i32..3, -2i32..4, number()).prop_map(|(counts, offset, scale, sum)| {
            let positive = ExponentialBuckets { offset, counts };
            let (count, negative) = (positive.total(), ExponentialBuckets::default());
            let buckets = Buckets::Exponential { scale, zero_count: 0, zero_threshold: 0.0, positive, negative };
            Histogram { count, sum, min: None, max: None, buckets }
        })
    }

    /// Partials of one window of one series, of one shape.
    fn partials() -> impl Strategy<Value = Vec<Cell>> {
        let run = || (0i64..3, 0i64..20);
        let gauge = (0i64..20, number()).prop_map(|(time, value)| Cell::Gauge(Gauge::one(time, value)));
        let delta = number().prop_map(|sum| Cell::Delta(Delta { sum, count: 1 }));
        let counter = (run(), number())
            .prop_map(|((start, time), value)| Cell::Counter(Counter::one(Run { start, time, value })));
        let distribution = histogram().prop_map(|h| Cell::Histogram(Box::new(h)));
        let runs = run().prop_map(|(start, time)| {
            let histogram = Histogram { count: time as u64, ..Histogram::exponential(2) };
            Cell::HistogramRuns(Box::new(HistogramRuns::one(Run { start, time, value: histogram })))
        });
        let some =
            |cell: BoxedStrategy<Cell>| prop::collection::vec(prop_oneof![9 => cell, 1 => Just(Cell::Stale)], 1..12);
        prop_oneof![
            some(gauge.boxed()),
            some(delta.boxed()),
            some(counter.boxed()),
            some(distribution.boxed()),
            some(runs.boxed())
        ]
    }

    fn merged<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Cell {
        let mut cells = cells.into_iter();
        let mut out = cells.next().expect("not empty").clone();
        cells.for_each(|cell| out.merge(cell));
        out
    }

    proptest! {
        #[test]
        fn partials_merge_alike_in_any_order_and_any_split(
            cells in partials(),
            keys in prop::collection::vec((any::<u32>(), 0usize..3), 12),
        ) {
            let straight = merged(&cells);
            let mut order: Vec<usize> = (0..cells.len()).collect();
            order.sort_by_key(|i| keys[*i].0);
            prop_assert_eq!(&merged(order.iter().map(|i| &cells[*i])), &straight, "another order");
            let mut replicas: [Option<Cell>; 3] = [None, None, None];
            for i in order {
                match &mut replicas[keys[i].1] {
                    Some(cell) => cell.merge(&cells[i]),
                    empty => *empty = Some(cells[i].clone()),
                }
            }
            prop_assert_eq!(merged(replicas.iter().flatten()), straight, "three replicas");
        }

        #[test]
        fn cumulative_partials_seen_twice_change_nothing(cells in partials()) {
            let cumulative = |cell: &Cell| matches!(cell, Cell::Counter(_) | Cell::HistogramRuns(_) | Cell::Stale);
            prop_assume!(cells.iter().all(cumulative));
            prop_assert_eq!(merged(cells.iter().chain(&cells)), merged(&cells));
        }
    }

    proptest! {
        #[test]
        fn of_a_great_many_runs_those_that_started_last_stay_in_any_order(
            starts in Just((0..200i64).collect::<Vec<_>>()).prop_shuffle(), split in 0..200usize,
        ) {
            let run = |start: &i64| Run { start: *start, time: *start, value: *start as f64 };
            let of = |starts: &[i64]| {
                let mut cell: Option<Counter> = None;
                for start in starts {
                    match &mut cell {
                        Some(cell) => cell.add(run(start)),
                        None => cell = Some(Counter::one(run(start))),
                    }
                }
                cell
            };
            let (left, right) = starts.split_at(split);
            let mut merged = of(right).expect("some");
            of(left).iter().for_each(|left| merged.merge(left));
            prop_assert_eq!(&Some(merged), &of(&starts));
            let kept: Vec<i64> = of(&starts).expect("some").runs().map(|run| run.start).collect();
            prop_assert_eq!(kept, (200 - RUNS_MAX as i64..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn cells_stay_small() {
        assert!(size_of::<Cell>() <= 56, "{}", size_of::<Cell>());
    }

    #[test]
    fn data_outweighs_a_stale_mark_in_any_order() {
        let data = Cell::Delta(Delta { sum: 1.0, count: 1 });
        let (mut a, mut b) = (data.clone(), Cell::Stale);
        a.merge(&Cell::Stale);
        b.merge(&data);
        assert_eq!(a, data);
        assert_eq!(b, data);
    }

    #[test]
    fn a_reset_inside_a_window_keeps_both_runs() {
        let mut counter = Counter::one(Run { start: 5, time: 6, value: 1.0 });
        counter.add(Run { start: 1, time: 4, value: 9.0 });
        counter.add(Run { start: 5, time: 7, value: 2.0 });
        counter.add(Run { start: 1, time: 3, value: 8.0 });
        let totals: Vec<_> = counter.runs().map(|r| (r.start, r.value)).collect();
        assert_eq!(totals, [(1, 9.0), (5, 2.0)]);
    }
}
