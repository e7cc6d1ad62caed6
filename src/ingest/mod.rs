//! OTLP in: admission, decoding in place, the committer.
//!
//! Layer 6. A body is admitted by bytes before it is buffered, inflated within a bound, walked once without building
//! protobuf structs, written to the journal with everything else that waits, and acknowledged after the commit.
//! Nothing here queries, and nothing here writes to Postgres but the journal.

#![deny(clippy::indexing_slicing)]

mod attributes;
mod export;
mod memo;
mod metrics;
mod points;
mod reject;
mod resource;
mod traces;
mod walk;
mod wire;

pub use export::{Export, Section, Signal, WalkError};
pub use reject::{REASONS, RejectReason, Rejects};
pub use resource::{SeriesCaps, Service};
pub use traces::SPAN_METRIC;
pub use wire::WireError;
