//! Native histograms in scripts: `{{schema:1 sum:5 count:4 z_bucket:1 buckets:[1 2] offset:0}}`.
//!
//! A bucket of Prometheus is named by its upper bound, one of ours by its lower: indexes differ by one.

use std::sync::Arc;

use crate::model::{Buckets, ExponentialBuckets, Histogram};
use crate::query::quantile;
use crate::query::value::HistogramSample;

/// The schema of buckets with bounds of their own.
const CUSTOM: i32 = -53;
/// Relative difference that two equal numbers may have.
const EPSILON: f64 = 1e-6;

/// A histogram as it is written; counts may have fractions.
#[derive(Clone, Debug, Default)]
pub(super) struct Native {
    schema: i32,
    count: f64,
    sum: f64,
    zero: f64,
    zero_width: f64,
    offset: i32,
    buckets: Vec<f64>,
    negative_offset: i32,
    negative: Vec<f64>,
    bounds: Vec<f64>,
}

impl Native {
    /// Reads what stands between the braces.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut out = Self { zero_width: 0.001, ..Self::default() };
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (key, after) = rest.split_once(':').ok_or_else(|| format!("{rest:?} is no part of a histogram"))?;
            let after = after.trim_start();
            let (value, left) = match after.strip_prefix('[') {
                Some(list) => list.split_once(']').ok_or_else(|| format!("{after:?} does not close its brackets"))?,
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            out.set(key.trim(), value)?;
            rest = left.trim_start();
        }
        Ok(out)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = |text: &str| super::parse::number(text);
        let whole = || value.parse::<i32>().map_err(|_| format!("{value:?} is no whole number"));
        let list = || value.split_whitespace().map(number).collect::<Result<Vec<f64>, _>>();
        match key {
            "schema" => self.schema = whole()?,
            "count" => self.count = number(value)?,
            "sum" => self.sum = number(value)?,
            "z_bucket" => self.zero = number(value)?,
            "z_bucket_w" => self.zero_width = number(value)?,
            "offset" => self.offset = whole()?,
            "buckets" => self.buckets = list()?,
            "n_offset" => self.negative_offset = whole()?,
            "n_buckets" => self.negative = list()?,
            "custom_values" => self.bounds = list()?,
            // Ours know resets by start times.
            "counter_reset_hint" => {}
            other => return Err(format!("{other:?} is no part of a histogram")),
        }
        Ok(())
    }

    /// The one `i` steps of `step` later.
    pub(super) fn grown(&self, step: &Self, i: usize) -> Self {
        let n = i as f64;
        let add = |a: &[f64], b: &[f64]| {
            let at = |of: &[f64], i: usize| of.get(i).copied().unwrap_or(0.0);
            (0..a.len().max(b.len())).map(|i| at(a, i) + n * at(b, i)).collect()
        };
        Self {
            count: self.count + n * step.count,
            sum: self.sum + n * step.sum,
            zero: self.zero + n * step.zero,
            buckets: add(&self.buckets, &step.buckets),
            negative: add(&self.negative, &step.negative),
            ..self.clone()
        }
    }

    /// As our engine has it; counts must be whole.
    pub(super) fn histogram(&self) -> Result<Histogram, String> {
        let whole = |n: &f64| {
            let fits = *n >= 0.0 && n.fract() == 0.0 && *n < 9e15;
            if fits { Ok(*n as u64) } else { Err(format!("a histogram is loaded with whole counts, not {n}")) }
        };
        let all = |of: &[f64]| of.iter().map(whole).collect::<Result<Vec<u64>, String>>();
        let buckets = if self.schema == CUSTOM {
            let mut counts = vec![0; usize::try_from(self.offset).map_err(|_| "a negative offset")?];
            counts.extend(all(&self.buckets)?);
            counts.resize(self.bounds.len() + 1, 0);
            Buckets::Explicit { bounds: Arc::from(self.bounds.as_slice()), counts }
        } else {
            Buckets::Exponential {
                scale: self.schema,
                zero_count: whole(&self.zero)?,
                zero_threshold: self.zero_width,
                positive: ExponentialBuckets { offset: self.offset - 1, counts: all(&self.buckets)? },
                negative: ExponentialBuckets { offset: self.negative_offset - 1, counts: all(&self.negative)? },
            }
        };
        Ok(Histogram { count: whole(&self.count)?, sum: self.sum, min: None, max: None, buckets })
    }

    /// True when `told` is this one: count, sum and every bucket that is not empty.
    pub(super) fn is(&self, told: &HistogramSample) -> bool {
        let close = |a: f64, b: f64| a == b || (a - b).abs() <= EPSILON * a.abs().max(b.abs());
        let numbers =
            [(self.count, told.histogram.count as f64 * told.factor), (self.sum, told.histogram.sum * told.factor)];
        let (own, others) = (self.filled(), filled(told));
        numbers.iter().all(|(a, b)| close(*a, *b))
            && own.len() == others.len()
            && own.iter().zip(&others).all(|(a, b)| close(a.0, b.0) && close(a.1, b.1))
    }

    /// Upper bounds and counts of buckets that are not empty, ascending.
    fn filled(&self) -> Vec<(f64, f64)> {
        let bound = |index: i32| (f64::from(index) * f64::from(-self.schema).exp2()).exp2();
        let at = |offset: i32, i: usize| offset + i32::try_from(i).unwrap_or(i32::MAX / 2);
        let mut out: Vec<(f64, f64)> = Vec::new();
        if self.schema == CUSTOM {
            let upper = |i: usize| usize::try_from(at(self.offset, i)).ok().and_then(|i| self.bounds.get(i)).copied();
            out.extend(self.buckets.iter().enumerate().map(|(i, n)| (upper(i).unwrap_or(f64::INFINITY), *n)));
        } else {
            let negative = self.negative.iter().enumerate();
            out.extend(negative.map(|(i, n)| (-bound(at(self.negative_offset, i) - 1), *n)).rev());
            out.push((self.zero_width, self.zero));
            out.extend(self.buckets.iter().enumerate().map(|(i, n)| (bound(at(self.offset, i)), *n)));
        }
        out.retain(|(_, n)| *n != 0.0);
        out
    }
}

fn filled(sample: &HistogramSample) -> Vec<(f64, f64)> {
    let mut before = 0;
    let steps = quantile::cumulative(&sample.histogram).into_iter().map(|(upper, up_to)| {
        let n = up_to - std::mem::replace(&mut before, up_to);
        (upper, n as f64 * sample.factor)
    });
    steps.filter(|(_, n)| *n != 0.0).collect()
}
