//! Histograms with explicit or exponential bounds: merge, scale-down, subtraction.
//!
//! Merging keeps every count: exponential histograms meet at the lower scale, explicit ones at the bounds both have.
//! Source: OpenTelemetry metrics data model, "Exponential Histogram".

use std::sync::Arc;

/// The least scale accepted.
pub const MIN_SCALE: i32 = -10;
/// The greatest scale accepted.
pub const MAX_SCALE: i32 = 20;
/// Most buckets kept on one side of zero; a merge that needs more goes down in scale.
pub const MAX_BUCKETS: usize = 320;

/// A distribution of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Number of values.
    pub count: u64,
    /// Sum of values.
    pub sum: f64,
    /// Least value, where the sender says.
    pub min: Option<f64>,
    /// Greatest value, where the sender says.
    pub max: Option<f64>,
    /// The distribution itself.
    pub buckets: Buckets,
}

/// The bucket vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Buckets {
    /// `counts[i]` are the values in `(bounds[i-1], bounds[i]]`; there is one count more than bounds.
    Explicit {
        /// Upper bounds, ascending.
        bounds: Arc<[f64]>,
        /// Counts, not accumulated.
        counts: Vec<u64>,
    },
    /// Bucket `i` holds `(base^i, base^(i+1)]`, `base = 2^(2^-scale)`.
    Exponential {
        /// Resolution.
        scale: i32,
        /// Values within `zero_threshold` of zero.
        zero_count: u64,
        /// Half width of the zero bucket.
        zero_threshold: f64,
        /// Buckets of positive values.
        positive: ExponentialBuckets,
        /// Buckets of negative values, by absolute value.
        negative: ExponentialBuckets,
    },
}

/// Consecutive exponential buckets from index `offset` on.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ExponentialBuckets {
    /// Index of the first count.
    pub offset: i32,
    /// Counts, not accumulated.
    pub counts: Vec<u64>,
}

impl ExponentialBuckets {
    /// Sum of the counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n))
    }

    /// The index after the last bucket.
    #[must_use]
    pub fn end(&self) -> i64 {
        i64::from(self.offset) + self.counts.len() as i64
    }

    /// Halves the resolution `by` times.
    pub fn scale_down(&mut self, by: u32) {
        if by == 0 || self.counts.is_empty() {
            return;
        }
        let by = by.min(31);
        let offset = self.offset >> by;
        let mut counts = vec![0u64; (((self.end() - 1) >> by) - i64::from(offset) + 1) as usize];
        for (i, n) in self.counts.iter().enumerate() {
            let at = ((i64::from(self.offset) + i as i64) >> by) - i64::from(offset);
            if let Some(slot) = counts.get_mut(at as usize) {
                *slot = slot.saturating_add(*n);
            }
        }
        self.offset = offset;
        self.counts = counts;
    }

    /// These counts less those of `earlier`, which is `finer` halvings above; `None` when one would fall below zero.
    fn since(&self, earlier: &Self, finer: u32) -> Option<Self> {
        let mut earlier = earlier.clone();
        earlier.scale_down(finer);
        let mut out = self.clone();
        for (i, n) in earlier.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let at = usize::try_from(i64::from(earlier.offset) + i as i64 - i64::from(self.offset)).ok()?;
            let slot = out.counts.get_mut(at)?;
            *slot = slot.checked_sub(*n)?;
        }
        Some(out)
    }

    /// Adds `other`, which must be of the same scale.
    pub fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            *self = other.clone();
            return;
        }
        let offset = self.offset.min(other.offset);
        let end = self.end().max(other.end());
        let front = (i64::from(self.offset) - i64::from(offset)) as usize;
        if front > 0 {
            self.counts.splice(0..0, std::iter::repeat_n(0, front));
        }
        self.counts.resize((end - i64::from(offset)) as usize, 0);
        self.offset = offset;
        let shift = (i64::from(other.offset) - i64::from(offset)) as usize;
        for (slot, n) in self.counts.iter_mut().skip(shift).zip(&other.counts) {
            *slot = slot.saturating_add(*n);
        }
    }
}

impl Histogram {
    /// An empty exponential histogram.
    #[must_use]
    pub fn exponential(scale: i32) -> Self {
        let buckets = Buckets::Exponential {
            scale,
            zero_count: 0,
            zero_threshold: 0.0,
            positive: ExponentialBuckets::default(),
            negative: ExponentialBuckets::default(),
        };
        Self { count: 0, sum: 0.0, min: None, max: None, buckets }
    }

    /// Adds values that are not negative to an exponential histogram, growing its buckets once; goes down in scale when
    /// they would be too many.
    pub fn observe(&mut self, values: &[f64]) {
        self.count += values.len() as u64;
        self.sum += values.iter().sum::<f64>();
        let Buckets::Exponential { scale, zero_count, positive, .. } = &mut self.buckets else { return };
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            self.min = Some(self.min.map_or(*value, |min| min.min(*value)));
            self.max = Some(self.max.map_or(*value, |max| max.max(*value)));
            if *value > f64::MIN_POSITIVE {
                (least, greatest) = (least.min(*value), greatest.max(*value));
            } else {
                *zero_count += 1;
            }
        }
        if least > greatest {
            return;
        }
        let index = |value: f64, scale: i32| (value.log2() * f64::from(scale).exp2()).ceil() as i64 - 1;
        let (mut first, mut last) = (index(least, *scale), index(greatest, *scale));
        let reach = |positive: &ExponentialBuckets, first: i64, last: i64| {
            if positive.counts.is_empty() {
                return (first, last);
            }
            (first.min(i64::from(positive.offset)), last.max(positive.end() - 1))
        };
        while let (from, to) = reach(positive, first, last)
            && to - from >= MAX_BUCKETS as i64
        {
            positive.scale_down(1);
            *scale -= 1;
            (first, last) = (first >> 1, last >> 1);
        }
        positive.add(&ExponentialBuckets { offset: first as i32, counts: vec![0; (last - first + 1) as usize] });
        for value in values.iter().filter(|value| **value > f64::MIN_POSITIVE) {
            // Rounding may put a bound one further.
            let at = index(*value, *scale).clamp(first, last) - i64::from(positive.offset);
            if let Some(count) = positive.counts.get_mut(at as usize) {
                *count = count.saturating_add(1);
            }
        }
    }

    /// What was added since `earlier`, an older total of the same run; `None` when it is not one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let count = self.count.checked_sub(earlier.count)?;
        let sum = self.sum - earlier.sum;
        let buckets = match (&self.buckets, &earlier.buckets) {
            (Buckets::Explicit { bounds, counts }, Buckets::Explicit { bounds: b, counts: c }) if bounds == b => {
                let counts = counts.iter().zip(c).map(|(now, then)| now.checked_sub(*then)).collect::<Option<_>>()?;
                Buckets::Explicit { bounds: Arc::clone(bounds), counts }
            }
            (
                Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative },
                Buckets::Exponential { scale: s, zero_count: zc, positive: p, negative: n, .. },
            ) if s >= scale => Buckets::Exponential {
                scale: *scale,
                zero_count: zero_count.checked_sub(*zc)?,
                zero_threshold: *zero_threshold,
                positive: positive.since(p, (*s - *scale) as u32)?,
                negative: negative.since(n, (*s - *scale) as u32)?,
            },
            _ => return None,
        };
        Some(Self { count, sum, min: None, max: None, buckets })
    }

    /// Folds `other` in. Explicit and exponential buckets do not meet in one series; if they do, count and sum still add up
    /// and the buckets of the greater count stay.
    pub fn merge(&mut self, other: &Self) {
        let keep_other = other.count > self.count;
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.min = fold(self.min, other.min, f64::min);
        self.max = fold(self.max, other.max, f64::max);
        match (&mut self.buckets, &other.buckets) {
            (Buckets::Explicit { bounds, counts }, Buckets::Explicit { bounds: b, counts: c }) => {
                merge_explicit(bounds, counts, b, c);
            }
            (mine @ Buckets::Exponential { .. }, theirs @ Buckets::Exponential { .. }) => {
                merge_exponential(mine, theirs)
            }
            (mine, theirs) if keep_other => *mine = theirs.clone(),
            _ => {}
        }
    }
}

fn fold(a: Option<f64>, b: Option<f64>, f: fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(f(a, b)),
        (a, b) => a.or(b),
    }
}

fn merge_explicit(bounds: &mut Arc<[f64]>, counts: &mut Vec<u64>, other_bounds: &Arc<[f64]>, other_counts: &[u64]) {
    if bounds != other_bounds {
        let common: Arc<[f64]> = bounds.iter().copied().filter(|b| other_bounds.contains(b)).collect();
        *counts = regroup(bounds, counts, &common);
        let theirs = regroup(other_bounds, other_counts, &common);
        *bounds = common;
        add_counts(counts, &theirs);
        return;
    }
    add_counts(counts, other_counts);
}

fn add_counts(into: &mut [u64], from: &[u64]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a = a.saturating_add(*b);
    }
}

/// The counts of `bounds` summed up to the coarser `target`, a subset of `bounds`.
fn regroup(bounds: &[f64], counts: &[u64], target: &[f64]) -> Vec<u64> {
    let mut out = vec![0u64; target.len() + 1];
    for (i, n) in counts.iter().enumerate() {
        let at = bounds.get(i).map_or(target.len(), |bound| target.partition_point(|t| t < bound));
        if let Some(slot) = out.get_mut(at) {
            *slot = slot.saturating_add(*n);
        }
    }
    out
}

fn merge_exponential(mine: &mut Buckets, theirs: &Buckets) {
    let (
        Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative },
        Buckets::Exponential { scale: s, zero_count: zc, zero_threshold: zt, positive: p, negative: n },
    ) = (mine, theirs)
    else {
        return;
    };
    *zero_count = zero_count.saturating_add(*zc);
    *zero_threshold = zero_threshold.max(*zt);
    let (mut p, mut n) = (p.clone(), n.clone());
    let target = (*scale).min(*s);
    let (mut down_mine, mut down_theirs) = ((*scale - target) as u32, (*s - target) as u32);
    let need = extra_scale_down([(&*positive, down_mine), (&p, down_theirs)])
        .max(extra_scale_down([(&*negative, down_mine), (&n, down_theirs)]));
    down_mine += need;
    down_theirs += need;
    for (side, down) in
        [(&mut *positive, down_mine), (&mut *negative, down_mine), (&mut p, down_theirs), (&mut n, down_theirs)]
    {
        side.scale_down(down);
    }
    positive.add(&p);
    negative.add(&n);
    *scale = target - need as i32;
    absorb_into_zero(*scale, *zero_threshold, zero_count, [positive, negative]);
}

/// How many more halvings until the union of two sides fits into [`MAX_BUCKETS`].
fn extra_scale_down(sides: [(&ExponentialBuckets, u32); 2]) -> u32 {
    let mut range: Option<(i64, i64)> = None;
    for (side, down) in sides {
        if side.counts.is_empty() {
            continue;
        }
        let (first, last) = (i64::from(side.offset) >> down, (side.end() - 1) >> down);
        range = Some(range.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
    }
    let Some((first, last)) = range else { return 0 };
    (0..63).find(|by| (last >> by) - (first >> by) < MAX_BUCKETS as i64).unwrap_or(63)
}

/// A widened zero bucket takes in the buckets that it covers whole, so no value is told twice as precise as it is known.
fn absorb_into_zero(scale: i32, threshold: f64, zero_count: &mut u64, sides: [&mut ExponentialBuckets; 2]) {
    if threshold <= 0.0 {
        return;
    }
    // Bucket i lies within the zero bucket when base^(i+1) <= threshold.
    let below = (threshold.log2() * f64::from(scale).exp2()).floor() as i64;
    for side in sides {
        let covered = (below - i64::from(side.offset)).clamp(0, side.counts.len() as i64) as usize;
        let moved = side.counts.drain(..covered).fold(0u64, u64::saturating_add);
        *zero_count = zero_count.saturating_add(moved);
        side.offset = side.offset.saturating_add(covered as i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn side() -> impl Strategy<Value = ExponentialBuckets> {
        (-2000i32..2000, prop::collection::vec(0u64..50, 0..40))
            .prop_map(|(offset, counts)| ExponentialBuckets { offset, counts })
    }

    fn exponential() -> impl Strategy<Value = Histogram> {
        (MIN_SCALE..=MAX_SCALE, 0u64..5, prop::sample::select(vec![0.0, 1e-6, 0.5]), side(), side()).prop_map(
            |(scale, zero_count, zero_threshold, positive, negative)| Histogram {
                count: zero_count + positive.total() + negative.total(),
                sum: 1.0,
                min: None,
                max: None,
                buckets: Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative },
            },
        )
    }

    fn bucket_total(h: &Histogram) -> u64 {
        match &h.buckets {
            Buckets::Explicit { counts, .. } => counts.iter().sum(),
            Buckets::Exponential { zero_count, positive, negative, .. } => {
                zero_count + positive.total() + negative.total()
            }
        }
    }

    proptest! {
        #[test]
        fn exponential_merge_keeps_every_count(a in exponential(), b in exponential()) {
            let mut m = a.clone();
            m.merge(&b);
            prop_assert_eq!(bucket_total(&m), a.count + b.count);
            prop_assert_eq!(m.count, a.count + b.count);
            if let Buckets::Exponential { positive, negative, .. } = &m.buckets {
                prop_assert!(positive.counts.len() <= MAX_BUCKETS && negative.counts.len() <= MAX_BUCKETS);
            }
        }

        #[test]
        fn scale_down_keeps_every_count(mut s in side(), by in 0u32..12) {
            let before = s.total();
            s.scale_down(by);
            prop_assert_eq!(s.total(), before);
        }
    }

    proptest! {
        #[test]
        fn what_was_added_is_found_again(values in prop::collection::vec(1e-6f64..1e6, 1..60), split in 0usize..60) {
            let mut total = Histogram::exponential(4);
            let mut earlier = total.clone();
            for (i, value) in values.iter().enumerate() {
                if i == split {
                    earlier = total.clone();
                }
                total.observe(&[*value]);
            }
            let mut again = earlier.clone();
            let added = total.since(&earlier).expect("an older total");
            prop_assert_eq!(added.count + earlier.count, total.count);
            again.merge(&added);
            prop_assert_eq!(bucket_total(&again), total.count);
        }
    }

    #[test]
    fn observed_values_fall_into_their_buckets() {
        let mut h = Histogram::exponential(0);
        h.observe(&[1.0, 1.5, 4.0, 0.0]);
        h.observe(&[2.0]);
        let Buckets::Exponential { zero_count, positive, .. } = h.buckets else { panic!("exponential") };
        assert_eq!((zero_count, positive.offset, positive.counts), (1, -1, vec![1, 2, 1]));
    }

    #[test]
    fn changed_bounds_meet_at_the_common_ones() {
        let explicit = |bounds: &[f64], counts: &[u64]| Histogram {
            count: counts.iter().sum(),
            sum: 0.0,
            min: Some(1.0),
            max: None,
            buckets: Buckets::Explicit { bounds: bounds.into(), counts: counts.to_vec() },
        };
        let mut a = explicit(&[1.0, 5.0, 10.0], &[1, 2, 3, 4]);
        a.merge(&explicit(&[5.0, 10.0, 20.0], &[1, 1, 1, 1]));
        assert_eq!(a.buckets, Buckets::Explicit { bounds: [5.0, 10.0].into(), counts: vec![4, 4, 6] });
        assert_eq!(a.count, 14);
    }
}
