//! Data points parsed in place: number, histogram, exponential histogram, summary.
//!
//! Field numbers are those of `opentelemetry/proto/metrics/v1/metrics.proto`.

use std::sync::Arc;

use super::reject::RejectReason;
use super::wire::{Fields, Value, WireError, repeated_fixed64, repeated_varint};
use crate::model::{
    Buckets, Exemplar, ExponentialBuckets, Histogram, MAX_BUCKETS, MAX_SCALE, MIN_SCALE, Summary, TimeMs,
};

/// Exemplars kept of one point.
const EXEMPLARS_MAX: usize = 4;
const NO_RECORDED_VALUE: u64 = 1;

/// Nanoseconds as sent to milliseconds.
pub(super) const fn millis(nanos: u64) -> TimeMs {
    (nanos / 1_000_000) as TimeMs
}

/// The attribute fields of a point, tags included: the raw identity of its series.
#[derive(Default)]
pub(super) struct RawAttributes<'a> {
    run: &'a [u8],
    /// All of them, when they do not stand together.
    copied: Vec<u8>,
}

impl<'a> RawAttributes<'a> {
    /// Adds what was just walked, between `before` and `after` bytes from the end of `message`.
    #[inline]
    fn add(&mut self, message: &'a [u8], before: usize, after: usize) {
        let piece = message.get(message.len() - before..message.len() - after).unwrap_or_default();
        if self.run.is_empty() {
            self.run = piece;
        } else {
            self.add_apart(piece);
        }
    }

    #[cold]
    fn add_apart(&mut self, piece: &[u8]) {
        if self.copied.is_empty() {
            self.copied.extend_from_slice(self.run);
        }
        self.copied.extend_from_slice(piece);
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        if self.copied.is_empty() { self.run } else { &self.copied }
    }
}

/// What all points have.
#[derive(Default)]
pub(super) struct Common<'a> {
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) flags: u64,
    pub(super) attributes: RawAttributes<'a>,
    pub(super) exemplars: Vec<Exemplar>,
}

impl<'a> Common<'a> {
    /// Takes the attribute fields that stand next, all with the one-byte `tag`.
    #[inline]
    fn attributes(&mut self, message: &'a [u8], fields: &mut Fields<'a>, tag: u8) -> Result<(), WireError> {
        let before = fields.remaining();
        while fields.peek() == tag {
            fields.run()?;
        }
        self.attributes.add(message, before, fields.remaining());
        Ok(())
    }

    pub(super) const fn is_stale(&self) -> bool {
        self.flags & NO_RECORDED_VALUE != 0
    }

    fn exemplar(&mut self, message: &[u8]) -> Result<(), WireError> {
        if self.exemplars.len() < EXEMPLARS_MAX
            && let Some(exemplar) = exemplar(message)?
        {
            self.exemplars.push(exemplar);
        }
        Ok(())
    }
}

/// An exemplar that names its trace; others are of no use.
fn exemplar(message: &[u8]) -> Result<Option<Exemplar>, WireError> {
    let mut out = Exemplar { time: 0, value: 0.0, trace_id: [0; 16], span_id: [0; 8] };
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            2 => out.time = millis(value.fixed64(field)?),
            3 => out.value = value.double(field)?,
            4 => out.span_id = value.bytes(field)?.try_into().unwrap_or_default(),
            5 => out.trace_id = value.bytes(field)?.try_into().unwrap_or_default(),
            6 => out.value = value.fixed64(field)? as i64 as f64,
            _ => {}
        }
    }
    Ok((out.trace_id != [0; 16] && out.value.is_finite()).then_some(out))
}

/// A `NumberDataPoint`.
#[derive(Default)]
pub(super) struct Number<'a> {
    pub(super) common: Common<'a>,
    pub(super) value: Option<f64>,
}

/// The tags of nearly every number point are a byte each; whatever else there is goes the general way.
#[inline]
pub(super) fn number<'a>(message: &'a [u8], out: &mut Number<'a>) -> Result<(), WireError> {
    let mut fields = Fields::new(message);
    loop {
        match fields.peek() {
            0x11 => out.common.start = fields.eight()?,
            0x19 => out.common.time = fields.eight()?,
            0x21 => out.value = Some(f64::from_bits(fields.eight()?)),
            0x31 => out.value = Some(fields.eight()? as i64 as f64),
            0x3a => out.common.attributes(message, &mut fields, 0x3a)?,
            _ => {
                if !number_field(&mut fields, out)? {
                    return Ok(());
                }
            }
        }
    }
}

/// Any field of a number point; false at the end.
fn number_field<'a>(fields: &mut Fields<'a>, out: &mut Number<'a>) -> Result<bool, WireError> {
    let Some((field, value)) = fields.next_field()? else { return Ok(false) };
    match field {
        2 => out.common.start = value.fixed64(field)?,
        3 => out.common.time = value.fixed64(field)?,
        4 => out.value = Some(value.double(field)?),
        5 => out.common.exemplar(value.bytes(field)?)?,
        6 => out.value = Some(value.fixed64(field)? as i64 as f64),
        // Its tag is not one byte: no encoder writes that.
        7 => return Err(WireError::Type(field)),
        8 => out.common.flags = value.varint(field)?,
        _ => {}
    }
    Ok(true)
}

/// A histogram point of either kind, or why it is refused.
pub(super) struct Distribution<'a> {
    pub(super) common: Common<'a>,
    pub(super) histogram: Result<Histogram, RejectReason>,
}

/// A `HistogramDataPoint`.
///
/// Most points of a body have the same bounds: `last` are those of the one before.
pub(super) fn explicit<'a>(message: &'a [u8], last: &mut LastBounds) -> Result<Distribution<'a>, WireError> {
    let mut common = Common::default();
    let (mut count, mut sum, mut min, mut max) = (0, 0.0, None, None);
    let (mut counts, mut bounds) = (Vec::new(), Vec::new());
    let mut same: Option<Arc<[f64]>> = None;
    let mut fields = Fields::new(message);
    loop {
        if fields.peek() == 0x4a {
            common.attributes(message, &mut fields, 0x4a)?;
        }
        let Some((field, value)) = fields.next_field()? else { break };
        match field {
            2 => common.start = value.fixed64(field)?,
            3 => common.time = value.fixed64(field)?,
            4 => count = value.fixed64(field)?,
            5 => sum = value.double(field)?,
            6 => repeated_fixed64(field, value, &mut counts, |n| n)?,
            7 => {
                let raw = if let Value::Bytes(raw) = value { Some(raw) } else { None };
                let begins = same.is_none() && bounds.is_empty();
                if begins && raw.is_some() && raw == last.raw.as_deref() {
                    same = Some(Arc::clone(&last.bounds));
                    continue;
                }
                bounds.extend(same.take().iter().flat_map(|same| same.iter()));
                repeated_fixed64(field, value, &mut bounds, f64::from_bits)?;
                // Bounds in several parts are not worth remembering.
                last.raw = raw.filter(|_| begins).map(<[u8]>::to_vec);
            }
            8 => common.exemplar(value.bytes(field)?)?,
            9 => return Err(WireError::Type(field)),
            10 => common.flags = value.varint(field)?,
            11 => min = Some(value.double(field)?),
            12 => max = Some(value.double(field)?),
            _ => {}
        }
    }
    let bounds = same.unwrap_or_else(|| bounds.into());
    if counts.is_empty() && bounds.is_empty() {
        // A histogram without buckets is legal: count and sum only.
        counts.push(count);
    }
    let checked = check_explicit(count, sum, &counts, &bounds);
    last.bounds = Arc::clone(&bounds);
    let histogram = checked.map(|()| Histogram { count, sum, min, max, buckets: Buckets::Explicit { bounds, counts } });
    Ok(Distribution { common, histogram })
}

/// The bounds of the last explicit histogram, and how they were written.
pub(super) struct LastBounds {
    raw: Option<Vec<u8>>,
    bounds: Arc<[f64]>,
}

impl Default for LastBounds {
    fn default() -> Self {
        Self { raw: None, bounds: Arc::from([]) }
    }
}

fn check_explicit(count: u64, sum: f64, counts: &[u64], bounds: &[f64]) -> Result<(), RejectReason> {
    if counts.len() != bounds.len() + 1 {
        return Err(RejectReason::BucketCount);
    }
    if counts.len() > MAX_BUCKETS {
        return Err(RejectReason::TooManyBuckets);
    }
    if !bounds.is_sorted_by(|a, b| a < b) || bounds.iter().any(|bound| bound.is_nan()) {
        return Err(RejectReason::BoundsOrder);
    }
    if !sum.is_finite() {
        return Err(RejectReason::NotFinite);
    }
    check_total(count, counts.iter())
}

fn check_total<'a>(count: u64, counts: impl Iterator<Item = &'a u64>) -> Result<(), RejectReason> {
    let total = counts.fold(0u64, |sum, n| sum.saturating_add(*n));
    if total == count { Ok(()) } else { Err(RejectReason::CountMismatch) }
}

/// An `ExponentialHistogramDataPoint`.
pub(super) fn exponential(message: &[u8]) -> Result<Distribution<'_>, WireError> {
    let mut common = Common::default();
    let (mut count, mut sum, mut min, mut max) = (0, 0.0, None, None);
    let (mut scale, mut zero_count, mut zero_threshold) = (0, 0, 0.0);
    let (mut positive, mut negative) = (ExponentialBuckets::default(), ExponentialBuckets::default());
    let mut too_many = false;
    let mut fields = Fields::new(message);
    loop {
        if fields.peek() == 0x0a {
            common.attributes(message, &mut fields, 0x0a)?;
        }
        let Some((field, value)) = fields.next_field()? else { break };
        match field {
            1 => return Err(WireError::Type(field)),
            2 => common.start = value.fixed64(field)?,
            3 => common.time = value.fixed64(field)?,
            4 => count = value.fixed64(field)?,
            5 => sum = value.double(field)?,
            6 => scale = value.sint32(field)?,
            7 => zero_count = value.fixed64(field)?,
            8 => positive = side(value.bytes(field)?, &mut too_many)?,
            9 => negative = side(value.bytes(field)?, &mut too_many)?,
            10 => common.flags = value.varint(field)?,
            11 => common.exemplar(value.bytes(field)?)?,
            12 => min = Some(value.double(field)?),
            13 => max = Some(value.double(field)?),
            14 => zero_threshold = value.double(field)?,
            _ => {}
        }
    }
    let checked = if !(MIN_SCALE..=MAX_SCALE).contains(&scale) {
        Err(RejectReason::Scale)
    } else if too_many {
        Err(RejectReason::TooManyBuckets)
    } else if !sum.is_finite() || !zero_threshold.is_finite() {
        Err(RejectReason::NotFinite)
    } else {
        check_total(count, [&zero_count].into_iter().chain(&positive.counts).chain(&negative.counts))
    };
    let histogram = checked.map(|()| Histogram {
        count,
        sum,
        min,
        max,
        buckets: Buckets::Exponential {
            scale,
            zero_count,
            zero_threshold: zero_threshold.max(0.0),
            positive,
            negative,
        },
    });
    Ok(Distribution { common, histogram })
}

/// One side's buckets, without the empty ones at both ends; of too many only as many as fit are kept.
fn side(message: &[u8], too_many: &mut bool) -> Result<ExponentialBuckets, WireError> {
    let mut out = ExponentialBuckets::default();
    // Empty buckets are counted and written only before a full one: a byte of the body must not become eight here.
    let (mut empty, mut before) = (0usize, 0u64);
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => out.offset = value.sint32(field)?,
            2 => repeated_varint(field, value, |n| match n {
                0 if out.counts.is_empty() => before += 1,
                0 => empty += 1,
                n if out.counts.len() + empty >= MAX_BUCKETS => *too_many |= n > 0,
                n => {
                    out.counts.resize(out.counts.len() + std::mem::take(&mut empty), 0);
                    out.counts.push(n);
                }
            })?,
            _ => {}
        }
    }
    let first = i64::from(out.offset) + before.min(u64::from(u32::MAX)) as i64;
    *too_many |= i32::try_from(first + out.counts.len() as i64).is_err();
    out.offset = i32::try_from(first).unwrap_or_default();
    Ok(out)
}

/// A `SummaryDataPoint`, or why it is refused.
pub(super) struct SummaryPoint<'a> {
    pub(super) common: Common<'a>,
    pub(super) summary: Result<Summary, RejectReason>,
}

pub(super) fn summary(message: &[u8]) -> Result<SummaryPoint<'_>, WireError> {
    let mut common = Common::default();
    let (mut count, mut sum, mut quantiles) = (0, 0.0, Vec::new());
    let mut fields = Fields::new(message);
    loop {
        if fields.peek() == 0x3a {
            common.attributes(message, &mut fields, 0x3a)?;
        }
        let Some((field, value)) = fields.next_field()? else { break };
        match field {
            2 => common.start = value.fixed64(field)?,
            3 => common.time = value.fixed64(field)?,
            4 => count = value.fixed64(field)?,
            5 => sum = value.double(field)?,
            6 if quantiles.len() <= MAX_BUCKETS => quantiles.push(quantile(value)?),
            7 => return Err(WireError::Type(field)),
            8 => common.flags = value.varint(field)?,
            _ => {}
        }
    }
    quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (time, start) = (millis(common.time), millis(common.start));
    let summary = if !sum.is_finite() {
        Err(RejectReason::NotFinite)
    } else if quantiles.len() > MAX_BUCKETS {
        Err(RejectReason::TooManyBuckets)
    } else {
        Ok(Summary { time, start, count, sum, quantiles })
    };
    Ok(SummaryPoint { common, summary })
}

fn quantile(value: Value<'_>) -> Result<(f64, f64), WireError> {
    let mut out = (0.0, 0.0);
    let mut fields = Fields::new(value.bytes(6)?);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => out.0 = value.double(field)?,
            2 => out.1 = value.double(field)?,
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(message: &[u8], last: &mut LastBounds) -> Vec<f64> {
        let histogram = explicit(message, last).expect("protobuf").histogram.expect("sound");
        let Buckets::Explicit { bounds, .. } = histogram.buckets else { panic!("explicit") };
        bounds.to_vec()
    }

    #[test]
    fn bounds_are_those_of_the_point_however_they_are_written() {
        let packed = |field: u8, values: &[u64]| {
            let mut out = vec![field << 3 | 2, values.len() as u8 * 8];
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            out
        };
        let of = |parts: &[&[f64]]| {
            let bounds: Vec<u8> = parts
                .iter()
                .flat_map(|part| packed(7, &part.iter().map(|b| b.to_bits()).collect::<Vec<_>>()))
                .collect();
            [packed(6, &vec![0; parts.concat().len() + 1]), bounds].concat()
        };
        let mut last = LastBounds::default();
        for parts in [&[&[1.0, 2.0][..]][..], &[&[1.0, 2.0]], &[&[1.0], &[2.0, 3.0]], &[&[2.0, 3.0]], &[&[1.0], &[2.0]]]
        {
            assert_eq!(bounds(&of(parts), &mut last), parts.concat());
        }
    }
}
