//! Histograms as columns: counts, sums, extremes, and bucket vectors beside a dictionary of their layouts.

use std::sync::Arc;

use super::BlockError;
use super::columns::{ColumnReader, ColumnWriter};
use crate::model::{Buckets, ExponentialBuckets, Histogram};

/// Writes `histograms`. `first` lists where a series begins, when totals of the same run follow each other in it: each is
/// then coded as its difference from the one before. Without `first` they stand for themselves.
pub(super) fn encode(out: &mut ColumnWriter, histograms: &[&Histogram], first: &[u32]) -> Result<(), BlockError> {
    let of = |field: &dyn Fn(&Histogram) -> u64| histograms.iter().map(|h| field(h)).collect::<Vec<u64>>();
    let count = of(&|h| h.count);
    out.numbers(&count)?;
    out.numbers(&histograms.iter().map(|h| h.sum).collect::<Vec<f64>>())?;
    extremes(out, histograms, |h| h.min)?;
    extremes(out, histograms, |h| h.max)?;
    let layouts = write_layouts(out, histograms)?;
    out.numbers(&layouts)?;
    exponential_columns(out, histograms)?;
    let vectors: Vec<Vec<u64>> = histograms.iter().map(|h| vector(h)).collect();
    out.numbers(&vectors.iter().map(|v| v.len() as u32).collect::<Vec<_>>())?;
    let mut values: Vec<i64> = Vec::new();
    let mut first = first.iter().peekable();
    let mut previous: Option<&[u64]> = None;
    let differences = first.peek().is_some();
    for (i, vector) in vectors.iter().enumerate() {
        let begins = first.next_if_eq(&&(i as u32)).is_some();
        let base = previous.filter(|p| differences && !begins && p.len() == vector.len());
        for (j, n) in vector.iter().enumerate() {
            values.push((*n as i64).wrapping_sub(base.and_then(|b| b.get(j)).map_or(0, |b| *b as i64)));
        }
        previous = Some(vector);
    }
    out.varint(values.len() as u64);
    out.numbers(&values)
}

/// All counts of a histogram in one vector.
fn vector(histogram: &Histogram) -> Vec<u64> {
    match &histogram.buckets {
        Buckets::Explicit { counts, .. } => counts.clone(),
        Buckets::Exponential { positive, negative, .. } => [&positive.counts[..], &negative.counts[..]].concat(),
    }
}

fn extremes(
    out: &mut ColumnWriter,
    histograms: &[&Histogram],
    of: fn(&Histogram) -> Option<f64>,
) -> Result<(), BlockError> {
    out.numbers(&histograms.iter().map(|h| u32::from(of(h).is_some())).collect::<Vec<_>>())?;
    let known: Vec<f64> = histograms.iter().filter_map(|h| of(h)).collect();
    out.numbers(&known)
}

fn read_extremes(columns: &mut ColumnReader<'_>, n: usize) -> Result<Vec<Option<f64>>, BlockError> {
    let has: Vec<u32> = columns.numbers(n)?;
    let known: Vec<f64> = columns.numbers(has.iter().filter(|has| **has == 1).count())?;
    let mut known = known.into_iter();
    Ok(has.into_iter().map(|has| if has == 1 { known.next() } else { None }).collect())
}

/// Writes the different bounds; returns for each histogram which it has, 0 for exponential.
fn write_layouts(out: &mut ColumnWriter, histograms: &[&Histogram]) -> Result<Vec<u32>, BlockError> {
    let mut known: Vec<&Arc<[f64]>> = Vec::new();
    let mut which = Vec::with_capacity(histograms.len());
    for histogram in histograms {
        let Buckets::Explicit { bounds, .. } = &histogram.buckets else {
            which.push(0);
            continue;
        };
        let at = known.iter().position(|k| *k == bounds).unwrap_or_else(|| {
            known.push(bounds);
            known.len() - 1
        });
        which.push(at as u32 + 1);
    }
    out.varint(known.len() as u64);
    for bounds in known {
        out.varint(bounds.len() as u64);
        out.numbers(bounds)?;
    }
    Ok(which)
}

fn exponential_columns(out: &mut ColumnWriter, histograms: &[&Histogram]) -> Result<(), BlockError> {
    let mut columns: [Vec<i64>; 5] = Default::default();
    let mut thresholds = Vec::new();
    for histogram in histograms {
        let Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative } = &histogram.buckets else {
            continue;
        };
        let fields = [
            i64::from(*scale),
            *zero_count as i64,
            i64::from(positive.offset),
            i64::from(negative.offset),
            positive.counts.len() as i64,
        ];
        for (column, field) in columns.iter_mut().zip(fields) {
            column.push(field);
        }
        thresholds.push(*zero_threshold);
    }
    for column in &columns {
        out.numbers(column)?;
    }
    out.numbers(&thresholds)
}

struct Exponential {
    fields: std::vec::IntoIter<[i64; 5]>,
    thresholds: std::vec::IntoIter<f64>,
}

fn read_exponential(columns: &mut ColumnReader<'_>, n: usize) -> Result<Exponential, BlockError> {
    let mut fields = vec![[0i64; 5]; n];
    for k in 0..5 {
        let column: Vec<i64> = columns.numbers(n)?;
        for (row, value) in fields.iter_mut().zip(column) {
            if let Some(field) = row.get_mut(k) {
                *field = value;
            }
        }
    }
    let thresholds: Vec<f64> = columns.numbers(n)?;
    Ok(Exponential { fields: fields.into_iter(), thresholds: thresholds.into_iter() })
}

/// Reads `n` histograms; `first` as in [`encode`].
pub(super) fn decode(columns: &mut ColumnReader<'_>, n: usize, first: &[u32]) -> Result<Vec<Histogram>, BlockError> {
    let counts: Vec<u64> = columns.numbers(n)?;
    let sums: Vec<f64> = columns.numbers(n)?;
    let mins = read_extremes(columns, n)?;
    let maxes = read_extremes(columns, n)?;
    let k = columns.count(1)?;
    let mut layouts: Vec<Arc<[f64]>> = Vec::with_capacity(k);
    for _ in 0..k {
        let len = usize::try_from(columns.varint()?)
            .ok()
            .filter(|len| *len < 1 << 16)
            .ok_or(BlockError::Malformed("bounds"))?;
        layouts.push(columns.numbers::<f64>(len)?.into());
    }
    let which: Vec<u32> = columns.numbers(n)?;
    let mut exponential = read_exponential(columns, which.iter().filter(|w| **w == 0).count())?;
    let vectors = read_vectors(columns, n, first)?;
    let fields = counts.into_iter().zip(sums).zip(mins.into_iter().zip(maxes)).zip(which.into_iter().zip(vectors));
    fields
        .map(|(((count, sum), (min, max)), (which, vector))| {
            let buckets = if which == 0 {
                exponential.next_buckets(vector)?
            } else {
                let bounds = layouts.get(which as usize - 1).ok_or(BlockError::Malformed("layout"))?;
                Buckets::Explicit { bounds: Arc::clone(bounds), counts: vector }
            };
            Ok(Histogram { count, sum, min, max, buckets })
        })
        .collect()
}

impl Exponential {
    fn next_buckets(&mut self, mut positive: Vec<u64>) -> Result<Buckets, BlockError> {
        let malformed = || BlockError::Malformed("exponential buckets");
        let (Some([scale, zero_count, positive_offset, negative_offset, split]), Some(zero_threshold)) =
            (self.fields.next(), self.thresholds.next())
        else {
            return Err(malformed());
        };
        let split = usize::try_from(split).ok().filter(|split| *split <= positive.len()).ok_or_else(malformed)?;
        let negative = positive.split_off(split);
        let small = |value| i32::try_from(value).map_err(|_| malformed());
        Ok(Buckets::Exponential {
            scale: small(scale)?,
            zero_count: zero_count as u64,
            zero_threshold,
            positive: ExponentialBuckets { offset: small(positive_offset)?, counts: positive },
            negative: ExponentialBuckets { offset: small(negative_offset)?, counts: negative },
        })
    }
}

fn read_vectors(columns: &mut ColumnReader<'_>, n: usize, first: &[u32]) -> Result<Vec<Vec<u64>>, BlockError> {
    let lengths: Vec<u32> = columns.numbers(n)?;
    let total = columns.varint()?;
    if total != lengths.iter().map(|l| u64::from(*l)).sum::<u64>() || total > super::WINDOWS_MAX {
        return Err(BlockError::Malformed("bucket counts"));
    }
    let values: Vec<i64> = columns.numbers(total as usize)?;
    let mut values = values.into_iter();
    let mut first = first.iter().peekable();
    let differences = first.peek().is_some();
    let mut out: Vec<Vec<u64>> = Vec::with_capacity(n);
    for (i, length) in lengths.into_iter().enumerate() {
        let begins = first.next_if_eq(&&(i as u32)).is_some();
        let mut vector: Vec<u64> = values.by_ref().take(length as usize).map(|value| value as u64).collect();
        let base = out.last().filter(|p| differences && !begins && p.len() == vector.len());
        for (value, before) in vector.iter_mut().zip(base.into_iter().flatten()) {
            *value = value.wrapping_add(*before);
        }
        out.push(vector);
    }
    Ok(out)
}
