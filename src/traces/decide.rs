//! What makes a trace worth keeping. Pure: state, spans and time in, marks out.
//!
//! A trace is kept when any of its spans, wherever it was seen, *marks* it. Marks only ever add up, so the decision is the
//! same for any order of arrival, any lateness and any split over replicas. An error marks at once; the slowest spans of an
//! operation, its steady sample and its exemplar are bounded per operation and minute.

use crate::model::{Buckets, Histogram, SpanId, TimeMs, TraceId};

/// Durations of that long are compared with; then the older half is forgotten.
const MEMORY_MS: TimeMs = 300_000;
/// Fewer durations than that tell nothing of what is slow.
const LEAST_SEEN: u64 = 100;
/// How often the bar of the slow is reckoned anew.
const RECKON_EVERY_MS: TimeMs = 1_000;
const MINUTE_MS: TimeMs = 60_000;
/// Resolution of the durations: 2^(1/16).
const SCALE: i32 = 4;

/// A span stands for no more than that many.
const WEIGHT_MAX: f64 = 1_048_576.0;

/// Why a trace is kept; several at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reasons(u8);

impl Reasons {
    /// None: it is not kept.
    pub const NONE: Self = Self(0);
    /// A span ended with an error.
    pub const ERROR: Self = Self(1);
    /// A span was among the slowest of its operation.
    pub const SLOW: Self = Self(2);
    /// A chart's point names it.
    pub const EXEMPLAR: Self = Self(4);
    /// A span has an attribute that a setting names.
    pub const RULE: Self = Self(8);
    /// One of the steady sample of an operation.
    pub const SAMPLE: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::ERROR, "error"),
        (Self::SLOW, "slow"),
        (Self::EXEMPLAR, "exemplar"),
        (Self::RULE, "rule"),
        (Self::SAMPLE, "sample"),
    ];

    /// As it is stored; what is not known is left out.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }

    /// To be stored.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when all of `other` are among them.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when there is none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// In words.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(reason, _)| self.has(*reason)).map(|(_, name)| *name).collect()
    }

    /// How much it is worth where room is short.
    #[must_use]
    pub const fn class(self) -> Class {
        if self.has(Self::ERROR) {
            Class::Error
        } else if self.0 & (Self::SLOW.0 | Self::EXEMPLAR.0 | Self::RULE.0) != 0 {
            Class::Notable
        } else {
            Class::Sample
        }
    }
}

/// What goes first when room is short, the least wanted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Class {
    /// Steady samples.
    Sample = 0,
    /// Slow, named by an exemplar or by a rule.
    Notable = 1,
    /// With an error.
    Error = 2,
}

impl Class {
    /// The least wanted first.
    pub const ALL: [Self; 3] = [Self::Sample, Self::Notable, Self::Error];
}

/// How much is kept of each operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Traces of the steady sample a minute.
    pub samples: u32,
    /// Slow traces a minute.
    pub slow: u32,
    /// What part of the durations is not slow.
    pub slow_quantile: f64,
    /// Least time between exemplars that nothing else asks for.
    pub exemplar_every_ms: TimeMs,
}

impl Default for Rates {
    /// Two samples and six slow traces a minute past the 99th percentile, an exemplar each minute.
    fn default() -> Self {
        Self { samples: 2, slow: 6, slow_quantile: 0.99, exemplar_every_ms: 60_000 }
    }
}

/// A span that may be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its trace.
    pub trace_id: TraceId,
    /// Which.
    pub span_id: SpanId,
    /// When it ended.
    pub time: TimeMs,
    /// How long it took.
    pub nanos: u64,
}

/// What a span is compared with, so that most of them cost two comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bar {
    /// Longer is slow.
    slow_above: u64,
    /// A trace whose [`TraceId::spread`] is not greater is of the sample.
    sample_up_to: u64,
}

/// Spans of one operation, as one export has them.
#[derive(Clone, Debug)]
pub struct Seen {
    bar: Bar,
    rates: Rates,
    slow: Vec<Candidate>,
    samples: Vec<Candidate>,
    /// The longest with an error or by a rule.
    marked: Option<Candidate>,
    longest: Option<Candidate>,
}

impl Seen {
    /// Takes a span; `is_marked` when it was marked without regard to its operation.
    #[inline]
    pub fn add(&mut self, span: Candidate, is_marked: bool) {
        if self.longest.is_none_or(|longest| span.nanos > longest.nanos) {
            self.longest = Some(span);
        }
        if is_marked && self.marked.is_none_or(|marked| span.nanos > marked.nanos) {
            self.marked = Some(span);
        }
        if span.nanos > self.bar.slow_above {
            self.add_slow(span);
        }
        if self.samples.len() < self.rates.samples as usize && span.trace_id.spread() <= self.bar.sample_up_to {
            self.samples.push(span);
        }
    }

    /// Keeps the longest, no more than a minute may have.
    #[cold]
    fn add_slow(&mut self, span: Candidate) {
        if self.slow.len() < self.rates.slow as usize {
            self.slow.push(span);
        } else if let Some(shortest) = self.slow.iter_mut().min_by_key(|candidate| candidate.nanos)
            && shortest.nanos < span.nanos
        {
            *shortest = span;
        }
    }
}

/// What becomes of the spans of one operation in one export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Traces to keep.
    pub marks: Vec<(TraceId, Reasons)>,
    /// The span that the chart's point names; its trace is kept.
    pub exemplar: Option<Candidate>,
}

/// What is known of an operation: a service's spans of one name and kind.
#[derive(Clone, Debug)]
pub struct Operation {
    recent: Histogram,
    earlier: Histogram,
    turned_at: TimeMs,
    slow_above: u64,
    reckoned_at: TimeMs,
    minute: i64,
    /// Spans of this minute and of the one before.
    seen: u64,
    seen_before: u64,
    /// Marked in this minute.
    samples: u32,
    slow: u32,
    exemplar_at: TimeMs,
    /// What rounding of weights owes.
    owed: f64,
}

impl Operation {
    /// Never seen before `now`.
    #[must_use]
    pub fn new(now: TimeMs) -> Self {
        Self {
            recent: Histogram::exponential(SCALE),
            earlier: Histogram::exponential(SCALE),
            turned_at: now,
            slow_above: u64::MAX,
            reckoned_at: 0,
            minute: now.div_euclid(MINUTE_MS),
            seen: 0,
            seen_before: 0,
            samples: 0,
            slow: 0,
            exemplar_at: TimeMs::MIN / 2,
            owed: 0.0,
        }
    }

    /// A weight as a whole number; what is rounded away goes to the next one, so that the sum is right.
    pub fn whole(&mut self, weight: f64) -> u64 {
        let exact = weight.min(WEIGHT_MAX) + self.owed;
        let whole = exact.floor();
        self.owed = exact - whole;
        whole as u64
    }

    /// Begins to look at the spans of an export.
    pub fn begin(&mut self, now: TimeMs, rates: Rates) -> Seen {
        self.turn(now);
        let bar = Bar { slow_above: self.slow_above, sample_up_to: self.sample_up_to(rates) };
        Seen { bar, rates, slow: Vec::new(), samples: Vec::new(), marked: None, longest: None }
    }

    /// So many of all hashes that about the wanted number of spans is met, judged by the minute before.
    fn sample_up_to(&self, rates: Rates) -> u64 {
        let share = f64::from(rates.samples) / self.seen_before.max(1) as f64;
        if share >= 1.0 { u64::MAX } else { (share * u64::MAX as f64) as u64 }
    }

    fn turn(&mut self, now: TimeMs) {
        let minute = now.div_euclid(MINUTE_MS);
        if minute != self.minute {
            self.seen_before = if minute == self.minute + 1 { self.seen } else { 0 };
            (self.minute, self.seen, self.samples, self.slow) = (minute, 0, 0, 0);
        }
        if now - self.turned_at >= MEMORY_MS {
            self.earlier = std::mem::replace(&mut self.recent, Histogram::exponential(SCALE));
            self.turned_at = now;
        }
    }

    /// Decides on the spans of an export; `durations` in seconds are all of them.
    pub fn settle(&mut self, now: TimeMs, seen: Seen, durations: &Histogram) -> Settled {
        let Seen { rates, mut slow, samples, marked, longest, .. } = seen;
        self.seen = self.seen.saturating_add(durations.count);
        let mut marks = Vec::new();
        slow.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.nanos));
        slow.truncate(rates.slow.saturating_sub(self.slow) as usize);
        self.slow += slow.len() as u32;
        marks.extend(slow.iter().map(|candidate| (candidate.trace_id, Reasons::SLOW)));
        let samples = samples.get(..rates.samples.saturating_sub(self.samples) as usize).unwrap_or(&samples);
        self.samples += samples.len() as u32;
        marks.extend(samples.iter().map(|candidate| (candidate.trace_id, Reasons::SAMPLE)));
        let kept = marked.iter().chain(slow.first()).chain(samples).copied().max_by_key(|candidate| candidate.nanos);
        let exemplar = match longest {
            Some(longest) if now - self.exemplar_at >= rates.exemplar_every_ms => {
                marks.push((longest.trace_id, Reasons::EXEMPLAR));
                Some(longest)
            }
            _ => kept,
        };
        if exemplar.is_some() {
            self.exemplar_at = now;
        }
        self.recent.merge(durations);
        self.reckon(now, rates);
        Settled { marks, exemplar }
    }

    fn reckon(&mut self, now: TimeMs, rates: Rates) {
        if now - self.reckoned_at < RECKON_EVERY_MS || self.recent.count + self.earlier.count < LEAST_SEEN {
            return;
        }
        self.reckoned_at = now;
        let mut both = self.earlier.clone();
        both.merge(&self.recent);
        self.slow_above = bound_above(&both, rates.slow_quantile).map_or(u64::MAX, |seconds| (seconds * 1e9) as u64);
    }
}

/// The upper bound of the bucket in which the quantile lies; `None` without buckets.
fn bound_above(histogram: &Histogram, quantile: f64) -> Option<f64> {
    let Buckets::Exponential { scale, zero_count, positive, .. } = &histogram.buckets else { return None };
    let wanted = (histogram.count as f64 * quantile) as u64;
    let mut below = *zero_count;
    for (index, count) in (i64::from(positive.offset)..).zip(&positive.counts) {
        below += count;
        if below > wanted {
            return Some(((index + 1) as f64 * f64::from(-scale).exp2()).exp2());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u64, nanos: u64) -> Candidate {
        let mut id = [7; 16];
        id.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
        Candidate { trace_id: TraceId(id), span_id: SpanId([1; 8]), time: 0, nanos }
    }

    fn export(operation: &mut Operation, now: TimeMs, rates: Rates, spans: &[(Candidate, bool)]) -> Settled {
        let mut seen = operation.begin(now, rates);
        spans.iter().for_each(|(span, is_marked)| seen.add(*span, *is_marked));
        let mut durations = Histogram::exponential(SCALE);
        durations.observe(&spans.iter().map(|(span, _)| span.nanos as f64 / 1e9).collect::<Vec<_>>());
        operation.settle(now, seen, &durations)
    }

    #[test]
    fn an_operation_seen_for_the_first_time_is_sampled_and_gives_an_exemplar() {
        let mut operation = Operation::new(0);
        let first = candidate(1, 5);
        let settled = export(&mut operation, 0, Rates::default(), &[(first, false)]);
        let id = first.trace_id;
        assert_eq!(settled.marks, [(id, Reasons::SAMPLE), (id, Reasons::EXEMPLAR)]);
        assert_eq!(settled.exemplar, Some(first));
    }

    #[test]
    fn the_sample_is_steady_whatever_the_rate() {
        let (mut operation, rates) = (Operation::new(0), Rates::default());
        for minute in 0..10 {
            let mut samples = 0;
            for second in 0..60 {
                let now = minute * MINUTE_MS + second * 1_000;
                let spans: Vec<_> = (0..500).map(|i| (candidate((now * 500 + i) as u64, 1_000_000), false)).collect();
                let settled = export(&mut operation, now, rates, &spans);
                samples += settled.marks.iter().filter(|(_, reason)| *reason == Reasons::SAMPLE).count();
            }
            assert!(samples <= 2, "minute {minute}: {samples}");
        }
    }

    #[test]
    fn what_takes_longer_than_nearly_all_is_slow_and_no_more_of_it_than_a_minute_may_have() {
        let (mut operation, rates) = (Operation::new(0), Rates::default());
        let spans: Vec<_> = (0..1_000).map(|i| (candidate(i, 1_000_000 + i), false)).collect();
        export(&mut operation, 2_000, rates, &spans);
        let slow: Vec<_> = (0..100).map(|i| (candidate(5_000 + i, 2_000_000 + i), false)).collect();
        let settled = export(&mut operation, 4_000, rates, &slow);
        let marked: Vec<_> = settled.marks.iter().filter(|(_, reason)| *reason == Reasons::SLOW).collect();
        assert_eq!(marked.len(), 6);
        assert_eq!(settled.marks.first().map(|(id, _)| *id), Some(candidate(5_099, 0).trace_id), "the slowest first");
        assert_eq!(settled.exemplar.map(|exemplar| exemplar.nanos), Some(2_000_099));
    }

    #[test]
    fn an_exemplar_names_a_trace_that_is_kept() {
        let (mut operation, rates) = (Operation::new(0), Rates { samples: 0, ..Rates::default() });
        export(&mut operation, 0, rates, &[(candidate(1, 5), false)]);
        assert_eq!(export(&mut operation, 1_000, rates, &[(candidate(2, 9), false)]), Settled::default());
        let error = candidate(3, 4);
        let settled = export(&mut operation, 2_000, rates, &[(candidate(4, 9), false), (error, true)]);
        assert_eq!((settled.marks, settled.exemplar), (Vec::new(), Some(error)));
    }

    #[test]
    fn weights_are_rounded_without_losing_any() {
        let mut operation = Operation::new(0);
        let counts: Vec<u64> = (0..9).map(|_| operation.whole(10.0 / 3.0)).collect();
        let sum: u64 = counts.iter().sum();
        assert!((29..=30).contains(&sum) && counts.iter().all(|n| (3..=4).contains(n)), "{counts:?}");
        assert_eq!(operation.whole(1e300), 1_048_576);
    }

    #[test]
    fn reasons_add_up_and_the_gravest_says_what_it_is_worth() {
        let both = Reasons::SAMPLE.and(Reasons::ERROR);
        assert_eq!((both.class(), both.names()), (Class::Error, vec!["error", "sample"]));
        assert_eq!(Reasons::from_bits(both.bits()), both);
        assert_eq!(Reasons::SLOW.and(Reasons::SAMPLE).class(), Class::Notable);
        assert!(Reasons::NONE.is_none());
    }
}
