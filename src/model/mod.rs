//! The words of the product: metrics, labels, series, windows and what is kept per window.
//!
//! Layer 1. No I/O, no async, no wire format: a thing comes in as wire bytes, is one of these types from
//! `ingest` to `query`, and leaves as protobuf or JSON.

mod cell;
mod histogram;
mod labels;
mod metric;
mod notification;
mod semconv;
mod series;
mod units;
mod window;

pub use cell::{Cell, Counter, Delta, Gauge, HistogramRuns, Run, Summary};
pub use histogram::{Buckets, ExponentialBuckets, Histogram, MAX_BUCKETS, MAX_SCALE, MIN_SCALE};
pub use labels::{Labels, canonical_label_name};
pub use metric::{Metric, MetricId, MetricKind, Temporality, prometheus_name};
pub use notification::{Notification, NotificationReason, NotifiedAlert, Severity};
pub use semconv::{Alias, alias_of, label_aliases};
pub use series::{Exemplar, SeriesId, SeriesWindows};
pub use units::UnitScale;
pub use window::{TimeMs, Width, WindowStart};
