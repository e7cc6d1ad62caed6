//! Why alerting does not do what was asked.

use crate::error::ErrorCode;
use crate::model::{Violation, in_words};
use crate::query::QueryError;
use crate::storage::{StorageError, WriteError};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum AlertingError {
    /// What was written is not sound.
    #[error("{}", in_words(.0))]
    Invalid(Vec<Violation>),
    /// There is no such thing.
    #[error("there is no {0}")]
    Absent(String),
    /// There is one already.
    #[error("there is a {0} already")]
    Exists(String),
    /// It has changed since it was read.
    #[error("the {what} is at revision {revision} by now: read it again")]
    Stale {
        /// What.
        what: String,
        /// Where it is.
        revision: i64,
    },
    /// It cannot be done as things are.
    #[error("{0}")]
    Impossible(String),
    /// A query failed.
    #[error("the query of the condition failed: {0}")]
    Query(#[from] QueryError),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Vec<Violation>> for AlertingError {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Invalid(violations)
    }
}

impl AlertingError {
    /// One mistake.
    pub(super) fn invalid(field: &str, what: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field: field.to_owned(), what: what.into() }])
    }

    /// A write to `what` that was not taken.
    pub(super) fn of_write(error: WriteError, what: String) -> Self {
        match error {
            WriteError::Absent => Self::Absent(what),
            WriteError::Exists => Self::Exists(what),
            WriteError::Stale(revision) => Self::Stale { what, revision },
            WriteError::Busy(other) => Self::Impossible(format!("{other} of {what} is under way")),
            WriteError::Full(limit) => Self::Impossible(limit),
            WriteError::Storage(error) => Self::Storage(error),
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::InvalidArgument,
            Self::Absent(_) => ErrorCode::NotFound,
            Self::Exists(_) => ErrorCode::AlreadyExists,
            Self::Stale { .. } => ErrorCode::Conflict,
            Self::Impossible(_) => ErrorCode::Unprocessable,
            Self::Query(error) => error.code(),
            Self::Storage(error) => error.code(),
        }
    }
}
