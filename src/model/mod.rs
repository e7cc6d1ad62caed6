//! The words of the product: metrics, labels, series, windows and what is kept per window; rules, alerts, silences, routes; policies.
//!
//! Layer 1. No I/O, no async, no wire format: a thing comes in as wire bytes, is one of these types from
//! `ingest` to `query`, and leaves as protobuf or JSON.

mod alert;
mod cell;
mod histogram;
mod labels;
mod matcher;
mod metric;
mod mistakes;
mod notification;
mod period;
mod policy;
mod routing;
mod rule;
mod semconv;
mod series;
mod silence;
mod slo;
mod span;
mod units;
mod window;

pub use alert::{Acknowledgement, Alert, AlertState, SuppressedBy, Suppression, Transition, fingerprint};
pub use cell::{Cell, Counter, Delta, Gauge, HistogramRuns, Run, Summary};
pub use histogram::{Buckets, ExponentialBuckets, Histogram, MAX_BUCKETS, MAX_SCALE, MIN_SCALE};
pub use labels::{Labels, canonical_label_name};
pub use matcher::{LabelMatcher, MatchOp, all_match};
pub use metric::{Metric, MetricId, MetricKind, Temporality, prometheus_name};
pub(crate) use mistakes::{ID_BYTES_MAX, Mistakes, NAME_BYTES_MAX};
pub use mistakes::{Violation, in_words};
pub use notification::{Notification, NotificationReason, NotifiedAlert, Severity};
pub use period::Period;
pub use policy::{
    Adjustment, BatchPolicy, CachePolicy, CacheStrategy, Compression, GuardAction, GuardReading, InvalidationTargets,
    LABELS_MAX, OverrideBounds, Policy, PolicyChange, PolicySelector, RatePolicy, RetryPolicy, RolloutGuard,
    RolloutStage, RolloutState, RolloutStep, StoredPolicy, changes, check_lease, check_warming, glob, longest_lease,
    share,
};
pub use routing::{GroupPolicy, Inhibition, Route};
pub use rule::{
    EscalationStep, HeldOverride, MissingSeries, NoData, Rule, RuleHealth, RuleOrigin, SeverityThreshold, StoredRule,
};
pub use semconv::{Alias, alias_of, label_aliases};
pub use series::{Exemplar, SeriesId, SeriesWindows};
pub use silence::{Day, MaintenanceWindow, Recurring, Schedule, Silence, WallTime};
pub use slo::Slo;
pub use span::{
    Attribute, AttributeValue, BadId, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanSource, SpanStatus, TraceId,
};
pub use units::UnitScale;
pub use window::{TimeMs, Width, WindowStart};
