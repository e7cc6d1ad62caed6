//! PromQL evaluation and indicators: the only way to read measurements.
//!
//! Layer 5. [`Plan`] compiles a query and says which series it needs; [`Engine`] fetches them from blocks and heads; the
//! plan then evaluates them, all steps of the range at once. Everything but the engine is pure.

mod aggregate;
mod binary;
mod calls;
mod cardinality;
mod catalog;
mod compile;
mod condition;
mod counters;
mod engine;
mod eval;
mod exemplars;
mod extrapolate;
mod fetch;
mod fold;
mod functions;
mod histograms;
mod index;
mod indicators;
mod limits;
mod many;
mod measure;
mod notes;
mod parts;
mod quantile;
mod range_calls;
mod relabel;
mod remember;
mod samples;
mod script;
mod select;
mod snapshot;
mod value;
mod vector_calls;

pub use cardinality::{Cardinality, Counted, LabelCardinality, MetricCardinality};
pub use catalog::MetricFacts;
pub use compile::{Increases, Params, Plan, format_query, query_tree};
pub use condition::{Compare, Condition};
pub use counters::QueryMetrics;
pub use engine::Engine;
pub use exemplars::SeriesExemplars;
pub use indicators::{INDICATORS, Indicator, indicator};
pub use limits::{Budget, Limits};
pub use many::{Standing, Told};
pub use script::{Report, run_script};
pub use select::{Meant, Select, View};
pub use value::{Answer, AnswerValue, Column, HistogramSample, Sample};

use std::time::Duration;

use crate::error::ErrorCode;
use crate::rollup::{BlockReadError, ReplayError};
use crate::storage::StorageError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It does not parse, or its types do not fit.
    #[error("{0}")]
    Invalid(String),
    /// PromQL that is not supported here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// Over a limit.
    #[error("{0}")]
    Limit(String),
    /// Operands that cannot be matched.
    #[error("{0}")]
    Execution(String),
    /// As many queries wait as may.
    #[error("{0} queries wait, which is the limit query_waiting: try again")]
    Busy(usize),
    /// It took longer than it may.
    #[error("the query took longer than the limit query_deadline of {0:?}")]
    Deadline(Duration),
    /// The database is away.
    #[error("stored measurements cannot be read")]
    Storage(#[from] StorageError),
    /// Another replica's journal cannot be read.
    #[error("measurements of another replica cannot be read")]
    Replay(#[from] ReplayError),
    /// Blocks cannot be read or decoded.
    #[error("stored windows cannot be read")]
    Blocks(#[from] BlockReadError),
}

impl QueryError {
    /// What kind of failure it is.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::InvalidArgument,
            Self::Unsupported(_) | Self::Execution(_) => ErrorCode::Unprocessable,
            Self::Limit(_) => ErrorCode::LimitExceeded,
            Self::Busy(_) => ErrorCode::Unavailable,
            Self::Deadline(_) => ErrorCode::DeadlineExceeded,
            Self::Storage(_) | Self::Replay(_) | Self::Blocks(BlockReadError::Storage(_)) => ErrorCode::Unavailable,
            Self::Blocks(BlockReadError::Block(_)) => ErrorCode::Internal,
        }
    }
}

#[cfg(test)]
mod tests;
