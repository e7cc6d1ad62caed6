//! PromQL evaluation and indicators: the only way to read measurements.
//!
//! Layer 5. [`Plan`] compiles a query and says which series it needs; [`Engine`] fetches them from blocks and heads; the
//! plan then evaluates them, all steps of the range at once. Everything but the engine is pure.

mod aggregate;
mod binary;
mod calls;
mod compile;
mod condition;
mod engine;
mod eval;
mod functions;
mod indicators;
mod many;
mod quantile;
mod samples;
mod select;
mod value;

pub use compile::{Params, Plan};
pub use condition::{Compare, Condition};
pub use engine::Engine;
pub use indicators::{INDICATORS, Indicator, indicator};
pub use many::{Standing, Told};
pub use select::{Select, View};
pub use value::{Answer, AnswerValue, Column, HistogramSample, Sample};

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
            Self::Storage(_) | Self::Replay(_) | Self::Blocks(BlockReadError::Storage(_)) => ErrorCode::Unavailable,
            Self::Blocks(BlockReadError::Block(_)) => ErrorCode::Internal,
        }
    }
}

#[cfg(test)]
mod tests;
