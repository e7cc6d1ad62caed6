//! Series past the caps: their points fold into one series a metric, and the totals stay exact.
//!
//! Deltas add up as they are. Of a cumulative total only the difference to the last one seen can be added, so the last
//! one is remembered. A difference that was not committed is owed, and goes out with the next one.
//! A cumulative series whose exports alternate between replicas is counted by each of them: senders keep to a connection.

use hashbrown::HashMap;

use crate::model::{Histogram, TimeMs};

/// Cumulative series past the caps that are remembered of one resource; the points of others are refused.
pub(super) const FOLDED_MAX: usize = 1 << 20;
/// The same of histograms, which are larger.
pub(super) const FOLDED_HISTOGRAMS_MAX: usize = 1 << 16;

/// A cumulative total, or a difference of two.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Total {
    Value(f64),
    Histogram(Box<Histogram>),
}

impl Total {
    /// What was added since `earlier`; `None` when that is not an older total of the same run.
    fn since(&self, earlier: &Self) -> Option<Self> {
        match (self, earlier) {
            (Self::Value(now), Self::Value(then)) => (now >= then).then_some(Self::Value(now - then)),
            (Self::Histogram(now), Self::Histogram(then)) => Some(Self::Histogram(Box::new(now.since(then)?))),
            _ => None,
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Value(sum), Self::Value(value)) => *sum += value,
            (Self::Histogram(sum), Self::Histogram(histogram)) => sum.merge(histogram),
            _ => {}
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Value(value) => *value == 0.0,
            Self::Histogram(histogram) => histogram.count == 0,
        }
    }
}

#[derive(Debug)]
struct Folded {
    start: TimeMs,
    /// Of the last total.
    time: TimeMs,
    last: Total,
    /// Differences that were not committed.
    owed: Option<Total>,
}

/// What the folded cumulative series of one resource showed last, by raw identity.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    by_identity: HashMap<u128, Folded>,
    histograms: usize,
}

/// Differences taken by one export, to be given back unless it is committed.
pub(super) type Taken = Vec<(u128, Total)>;

impl Overflow {
    /// What `total` of the run that began at `start` adds; one that is older than the last adds nothing. The first total of a run from before `known_since` was perhaps
    /// counted by another process, and only begins the count. `None` when no more series can be remembered.
    pub(super) fn take(
        &mut self,
        identity: u128,
        (start, time): (TimeMs, TimeMs),
        total: Total,
        known_since: TimeMs,
    ) -> Option<Total> {
        let Some(folded) = self.by_identity.get_mut(&identity) else {
            let is_histogram = matches!(total, Total::Histogram(_));
            if self.by_identity.len() >= FOLDED_MAX || (is_histogram && self.histograms >= FOLDED_HISTOGRAMS_MAX) {
                return None;
            }
            self.histograms += usize::from(is_histogram);
            let added = if start < known_since { total.since(&total)? } else { total.clone() };
            self.by_identity.insert(identity, Folded { start, time, last: total, owed: None });
            return Some(added);
        };
        let same_run = folded.start == start;
        let is_late = time < folded.time && (same_run || start < folded.start);
        let mut added = if is_late {
            folded.last.since(&folded.last)?
        } else {
            total.since(&folded.last).filter(|_| same_run).unwrap_or_else(|| total.clone())
        };
        if let Some(owed) = folded.owed.take() {
            added.add(&owed);
        }
        if !is_late {
            (folded.start, folded.time, folded.last) = (start, time, total);
        }
        Some(added)
    }

    /// Owes differences that were not committed.
    pub(super) fn give_back(&mut self, taken: Taken) {
        for (identity, total) in taken {
            let Some(folded) = self.by_identity.get_mut(&identity) else { continue };
            match &mut folded.owed {
                Some(owed) => owed.add(&total),
                None => folded.owed = Some(total),
            }
        }
    }

    /// Notes a difference, unless it is nothing.
    pub(super) fn note(taken: &mut Taken, identity: u128, added: &Total) {
        if !added.is_zero() {
            taken.push((identity, added.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: TimeMs = 1_000;

    #[test]
    fn differences_add_up_to_the_total_through_resets_and_refusals() {
        let mut overflow = Overflow::default();
        let mut time = 0;
        let mut take = |start, value| {
            time += 1;
            overflow.take(1, (start, time), Total::Value(value), 0).expect("room")
        };
        assert_eq!(take(RUN, 5.0), Total::Value(5.0));
        assert_eq!(take(RUN, 7.0), Total::Value(2.0));
        assert_eq!(take(RUN, 3.0), Total::Value(3.0), "it fell: a reset without a new start");
        assert_eq!(take(RUN + 1, 4.0), Total::Value(4.0), "a new run");
        overflow.give_back(vec![(1, Total::Value(4.0))]);
        assert_eq!(overflow.take(1, (RUN + 1, 9), Total::Value(4.0), 0), Some(Total::Value(4.0)), "owed, sent again");
        assert_eq!(overflow.take(1, (RUN + 1, 10), Total::Value(6.0), 0), Some(Total::Value(2.0)));
    }

    #[test]
    fn totals_that_come_out_of_order_add_up_all_the_same() {
        let mut overflow = Overflow::default();
        let mut take = |time, value| match overflow.take(1, (RUN, time), Total::Value(value), 0) {
            Some(Total::Value(added)) => added,
            other => panic!("{other:?}"),
        };
        assert_eq!([take(1, 1000.0), take(3, 1010.0), take(2, 1005.0), take(4, 1020.0)], [1000.0, 10.0, 0.0, 10.0]);
    }

    #[test]
    fn a_run_that_another_process_may_have_counted_only_begins_the_count() {
        let mut overflow = Overflow::default();
        assert_eq!(overflow.take(1, (RUN, 1), Total::Value(100.0), RUN + 1), Some(Total::Value(0.0)));
        assert_eq!(overflow.take(1, (RUN, 2), Total::Value(101.0), RUN + 1), Some(Total::Value(1.0)));
    }

    #[test]
    fn histograms_are_differenced_bucket_by_bucket() {
        let mut overflow = Overflow::default();
        let mut histogram = Histogram::exponential(3);
        histogram.observe(&[1.0]);
        let first = Total::Histogram(Box::new(histogram.clone()));
        assert_eq!(overflow.take(1, (RUN, 1), first.clone(), 0), Some(first));
        histogram.observe(&[2.0]);
        let Some(Total::Histogram(added)) = overflow.take(1, (RUN, 2), Total::Histogram(Box::new(histogram)), 0) else {
            panic!("a histogram")
        };
        assert_eq!((added.count, added.sum), (1, 2.0));
    }
}
