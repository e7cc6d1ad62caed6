//! Why data points and spans are refused, counted and explained to the sender.

use std::fmt::Write as _;

/// A reason to refuse one data point or span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum RejectReason {
    /// Empty, longer than 255 bytes, or not UTF-8.
    MetricName,
    /// An attribute key that is empty, longer than 256 bytes, or not UTF-8.
    AttributeKey,
    /// More than 64 attributes.
    AttributeCount,
    /// NaN or infinite where a total is wanted.
    NotFinite,
    /// A monotonic sum below zero.
    NegativeMonotonic,
    /// `bucket_counts` does not have one element more than `explicit_bounds`.
    BucketCount,
    /// `explicit_bounds` is not ascending.
    BoundsOrder,
    /// Bucket counts that do not add up to `count`.
    CountMismatch,
    /// Scale outside of -10..=20.
    Scale,
    /// More than 320 exponential buckets on a side.
    TooManyBuckets,
    /// Neither delta nor cumulative.
    Temporality,
    /// Time 0.
    NoTime,
    /// More than ten minutes ahead of the server.
    Future,
    /// Older than what is retained in windows.
    TooOld,
    /// A metric without data, or of a kind that is not known.
    UnsupportedType,
    /// Trace id not 16 bytes or all zero.
    TraceId,
    /// Span id not 8 bytes or all zero.
    SpanId,
    /// Span end before its start.
    SpanTimes,
    /// A number point without a value.
    NoValue,
    /// Labels of resource, scope and point together larger than 16 KiB.
    SeriesLabels,
    /// A new metric of a service that has made 10 000.
    MetricCount,
    /// A new service while 10 000 report.
    ServiceCount,
    /// Past the caps, and not to be folded.
    SeriesCap,
    /// Another series has the same id.
    SeriesId,
}

/// All reasons, in the order of their numbers.
pub const REASONS: [RejectReason; 24] = [
    RejectReason::MetricName,
    RejectReason::AttributeKey,
    RejectReason::AttributeCount,
    RejectReason::NotFinite,
    RejectReason::NegativeMonotonic,
    RejectReason::BucketCount,
    RejectReason::BoundsOrder,
    RejectReason::CountMismatch,
    RejectReason::Scale,
    RejectReason::TooManyBuckets,
    RejectReason::Temporality,
    RejectReason::NoTime,
    RejectReason::Future,
    RejectReason::TooOld,
    RejectReason::UnsupportedType,
    RejectReason::TraceId,
    RejectReason::SpanId,
    RejectReason::SpanTimes,
    RejectReason::NoValue,
    RejectReason::SeriesLabels,
    RejectReason::MetricCount,
    RejectReason::ServiceCount,
    RejectReason::SeriesCap,
    RejectReason::SeriesId,
];

impl RejectReason {
    /// The label value under which it is counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MetricName => "metric_name",
            Self::AttributeKey => "attribute_key",
            Self::AttributeCount => "attribute_count",
            Self::NotFinite => "not_finite",
            Self::NegativeMonotonic => "negative_monotonic",
            Self::BucketCount => "bucket_count",
            Self::BoundsOrder => "bounds_order",
            Self::CountMismatch => "count_mismatch",
            Self::Scale => "scale",
            Self::TooManyBuckets => "too_many_buckets",
            Self::Temporality => "temporality",
            Self::NoTime => "no_time",
            Self::Future => "future",
            Self::TooOld => "too_old",
            Self::UnsupportedType => "unsupported_type",
            Self::TraceId => "trace_id",
            Self::SpanId => "span_id",
            Self::SpanTimes => "span_times",
            Self::NoValue => "no_value",
            Self::SeriesLabels => "series_labels",
            Self::MetricCount => "metric_count",
            Self::ServiceCount => "service_count",
            Self::SeriesCap => "series_cap",
            Self::SeriesId => "series_id",
        }
    }

    /// What the sender reads: field and limit.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::MetricName => "metric name must be 1 to 255 bytes of UTF-8",
            Self::AttributeKey => "attribute key must be 1 to 256 bytes of UTF-8",
            Self::AttributeCount => "more than 64 attributes",
            Self::NotFinite => "value of a sum or histogram must be finite",
            Self::NegativeMonotonic => "monotonic sum is negative",
            Self::BucketCount => "bucket_counts must have one element more than explicit_bounds",
            Self::BoundsOrder => "explicit_bounds must be strictly ascending",
            Self::CountMismatch => "bucket counts do not add up to count",
            Self::Scale => "scale must be -10 to 20",
            Self::TooManyBuckets => "more than 320 buckets",
            Self::Temporality => "aggregation_temporality must be delta or cumulative",
            Self::NoTime => "time_unix_nano is 0",
            Self::Future => "time_unix_nano is more than 10 minutes ahead of the server",
            Self::TooOld => "time_unix_nano is older than the retention of fine windows",
            Self::UnsupportedType => "unsupported type of metric data",
            Self::TraceId => "trace_id must be 16 bytes, not all zero",
            Self::SpanId => "span_id must be 8 bytes, not all zero",
            Self::SpanTimes => "end_time_unix_nano is before start_time_unix_nano",
            Self::NoValue => "data point has no value",
            Self::SeriesLabels => "labels of a series are together more than 16 KiB",
            Self::MetricCount => "service has more than 10000 metrics",
            Self::ServiceCount => "more than 10000 services report",
            Self::SeriesId => "another series has the same 64-bit id",
            Self::SeriesCap => "series is past the cap and cannot be folded: a summary, or too many cumulative series",
        }
    }
}

/// First reasons told to the sender.
const TOLD: usize = 3;
/// Longest text told to the sender, in bytes.
const TEXT_MAX: usize = 1024;
/// Longest name quoted, in bytes.
const NAME_MAX: usize = 120;

/// The refusals of one export.
#[derive(Clone, Debug, Default)]
pub struct Rejects {
    counts: [u64; REASONS.len()],
    told: Vec<(RejectReason, String)>,
    warning: Option<String>,
}

impl Rejects {
    /// Counts `n` refusals of something called `name`.
    pub fn add(&mut self, reason: RejectReason, n: u64, name: &str) {
        if n == 0 {
            return;
        }
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count += n;
        }
        if self.told.len() < TOLD && !self.told.iter().any(|(told, _)| *told == reason) {
            self.told.push((reason, shorten(name).to_owned()));
        }
    }

    /// Something the sender should know though nothing was refused.
    pub fn warn(&mut self, text: String) {
        self.warning.get_or_insert(text);
    }

    /// How many were refused.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Reasons and their counts, without the zeros.
    pub fn counts(&self) -> impl Iterator<Item = (RejectReason, u64)> {
        REASONS.into_iter().zip(self.counts).filter(|(_, n)| *n > 0)
    }

    /// The text for `error_message`; empty when there is nothing to say.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = String::new();
        for (reason, name) in &self.told {
            let separator = if text.is_empty() { "" } else { "; " };
            let count = self.counts.get(*reason as usize).copied().unwrap_or_default();
            let _infallible = write!(text, "{separator}{} ({count} refused, first in \"{name}\")", reason.explain());
        }
        if let Some(warning) = &self.warning {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(warning);
        }
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text
    }
}

fn shorten(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers() {
        for (i, reason) in REASONS.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }

    #[test]
    fn the_first_three_reasons_are_told_with_their_counts() {
        let mut rejects = Rejects::default();
        for (reason, n) in
            [(RejectReason::Future, 2), (RejectReason::Scale, 1), (RejectReason::NoTime, 1), (RejectReason::TooOld, 9)]
        {
            rejects.add(reason, n, "a.metric");
        }
        assert_eq!(rejects.total(), 13);
        let message = rejects.message();
        assert!(message.starts_with(
            "time_unix_nano is more than 10 minutes ahead of the server (2 refused, first in \"a.metric\"); scale"
        ));
        assert!(!message.contains("older"));
    }
}
