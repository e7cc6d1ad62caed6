//! Quantiles of histograms.
//!
//! Explicit buckets are interpolated linearly, exponential ones exponentially, as Prometheus does for classic and native
//! histograms; the answer lies in the bucket that holds the true value, and within minimum and maximum where they are known.

use crate::model::{Buckets, ExponentialBuckets, Histogram};

/// `(upper bound, values up to it)`, ascending, ending at +Inf; negative buckets first.
pub(super) fn cumulative(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut total = 0;
    let mut out: Vec<(f64, u64)> = ranges(histogram)
        .into_iter()
        .map(|(_, upper, n)| {
            total += n;
            (upper, total)
        })
        .collect();
    if out.last().is_none_or(|(upper, _)| upper.is_finite()) {
        out.push((f64::INFINITY, histogram.count.max(total)));
    }
    out
}

/// `(lower, upper, values in it)`, ascending.
fn ranges(histogram: &Histogram) -> Vec<(f64, f64, u64)> {
    match &histogram.buckets {
        Buckets::Explicit { bounds, counts } => counts
            .iter()
            .enumerate()
            .map(|(i, n)| {
                let lower = i.checked_sub(1).and_then(|i| bounds.get(i)).copied().unwrap_or(f64::NEG_INFINITY);
                (lower, bounds.get(i).copied().unwrap_or(f64::INFINITY), *n)
            })
            .collect(),
        Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
            let mut out: Vec<(f64, f64, u64)> =
                side(negative, *scale).into_iter().rev().map(|(low, high, n)| (-high, -low, n)).collect();
            out.push((-zero_threshold, *zero_threshold, *zero_count));
            out.extend(side(positive, *scale));
            out
        }
    }
}

fn side(buckets: &ExponentialBuckets, scale: i32) -> Vec<(f64, f64, u64)> {
    let bound = |index: i64| (index as f64 * f64::from(-scale).exp2()).exp2();
    let from = i64::from(buckets.offset);
    buckets.counts.iter().enumerate().map(|(i, n)| (bound(from + i as i64), bound(from + i as i64 + 1), *n)).collect()
}

/// The `q`-quantile; NaN when there is no value, infinities outside of 0..=1.
pub(super) fn of_histogram(q: f64, histogram: &Histogram) -> f64 {
    if q.is_nan() || histogram.count == 0 {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let exponential = matches!(histogram.buckets, Buckets::Exponential { .. });
    let ranges = ranges(histogram);
    let total: u64 = ranges.iter().map(|(_, _, n)| n).sum();
    let rank = q * total as f64;
    let mut below = 0.0;
    let mut found = f64::NAN;
    for (lower, upper, n) in ranges.iter().filter(|(_, _, n)| *n > 0) {
        let n = *n as f64;
        if below + n >= rank {
            found = within(*lower, *upper, ((rank - below) / n).clamp(0.0, 1.0), exponential);
            break;
        }
        below += n;
    }
    let found = histogram.min.map_or(found, |min| found.max(min));
    histogram.max.map_or(found, |max| found.min(max))
}

/// The value at `share` of a bucket. An open bucket has only one end to tell.
fn within(lower: f64, upper: f64, share: f64, exponential: bool) -> f64 {
    if upper.is_infinite() {
        return lower;
    }
    if lower.is_infinite() {
        // The first explicit bucket begins at zero unless it ends below.
        return if upper > 0.0 { upper * share } else { upper };
    }
    if exponential && lower > 0.0 {
        return lower * (upper / lower).powf(share);
    }
    if exponential && upper < 0.0 {
        return upper * (lower / upper).powf(1.0 - share);
    }
    lower + (upper - lower) * share
}

/// The `q`-quantile of classic buckets `(le, count up to it)`, sorted.
pub(super) fn of_classic(q: f64, buckets: &[(f64, f64)]) -> f64 {
    let Some(&(last, total)) = buckets.last() else { return f64::NAN };
    if last.is_finite() || buckets.len() < 2 || total.is_nan() || total == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let rank = q * total;
    let at = buckets.iter().position(|(_, n)| *n >= rank).unwrap_or(buckets.len() - 1);
    let before = at.checked_sub(1).and_then(|i| buckets.get(i));
    let (lower, below) = before.copied().unwrap_or((f64::NEG_INFINITY, 0.0));
    let Some(&(upper, n)) = buckets.get(at) else { return f64::NAN };
    let share = if n > below { (rank - below) / (n - below) } else { 1.0 };
    within(lower, upper, share, false)
}

/// The `q`-quantile of plain values, which are sorted here; between two values it is interpolated.
pub(super) fn of_values(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    at(low) + (at(high) - at(low)) * (rank - rank.floor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_lies_within_the_bucket_of_the_true_one(
            mut values in prop::collection::vec(1e-3f64..1e3, 1..200),
            q in 0.0f64..=1.0,
        ) {
            let mut histogram = Histogram::exponential(4);
            histogram.observe(&values);
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let truth = values[rank - 1];
            let Buckets::Exponential { scale, .. } = histogram.buckets else { panic!("exponential") };
            let width = f64::from(-scale).exp2().exp2();
            let told = of_histogram(q, &histogram);
            prop_assert!(told >= truth / width * 0.999_999 && told <= truth * width * 1.000_001, "{told} for {truth}");
        }
    }

    #[test]
    fn classic_buckets_are_interpolated() {
        let buckets = [(1.0, 10.0), (2.0, 30.0), (f64::INFINITY, 40.0)];
        assert_eq!(of_classic(0.5, &buckets), 1.5);
        assert_eq!(of_classic(0.125, &buckets), 0.5);
        assert_eq!(of_classic(0.99, &buckets), 2.0);
        assert!(of_classic(0.5, &buckets[..2]).is_nan());
    }
}
