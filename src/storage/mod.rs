//! All diesel: the schema, one file a table family, the pool, the migrations.
//!
//! Layer 3. A row type and its statements live in the same file; one statement a function, `_in_txn` for those that
//! run inside a caller's transaction. All clocks are Postgres's. Nothing above this module names diesel.

mod alerts;
mod blocks;
mod calls;
mod connect;
mod deliveries;
mod evaluations;
mod fleet;
mod groups;
mod invalidations;
mod journal;
mod outbox;
mod overrides;
mod partitions;
mod policies;
mod receivers;
mod rollouts;
mod routing;
mod rules;
mod schema;
mod series;
mod spool;
mod streams;
mod trace_search;
mod traces;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::{Pool, PooledConnection};

pub use alerts::{ActiveFilter, AlertChange, AlertRow, AlertWrite, EvaluationWrite, TransitionRow};
pub use blocks::{BlockKey, BlockPart, BlockSpan, Flush, HourToCompact, Tier};
pub use calls::CallSide;
pub use deliveries::{AttemptRow, DeliveryFilter, DeliveryRow, NewDelivery};
pub use evaluations::{DecisionRow, RuleStateRow, StateChange, Tick};
pub use fleet::{InstanceRow, InstanceWrite, WarmedRow, WarmingRow};
pub use groups::{Around, GroupCase, GroupDecision};
pub use invalidations::{InvalidationRow, NewInvalidation, Reached};
pub use journal::{AppendError, JournalRow};
pub use outbox::{AttemptEnd, BegunAttempt, ClaimedDelivery, Ending, QueueState};
pub use overrides::{NewOverride, OverrideEndRow, OverrideRow};
pub use partitions::Retention;
pub use policies::{Change, PolicyRevisionRow, PolicyRow, PolicyVersion};
pub use receivers::{LastDelivery, NewReceiver, ReceiverRow};
pub use rollouts::{NewRollout, RolloutMove, RolloutRow};
pub use routing::Revised;
pub use rules::{Expected, RuleRevisionRow, RuleRow, WriteError};
pub use series::{MetricRow, NewSeries, SeriesRow};
pub use spool::{SpoolPart, SpoolRow, TailRow};
pub use streams::StreamRow;
pub use trace_search::{TraceFilter, TraceOrder};
pub use traces::{DecidedTo, TraceBlock, TraceBlockKey, TraceRow, TraceUsage, TraceWrite};

use crate::error::ErrorCode;

/// Text that Postgres keeps: it has no NUL.
#[must_use]
pub fn kept(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// How to reach Postgres.
#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://…`, with `sslmode` where wanted.
    pub url: String,
    /// Most connections of this process.
    pub connections: u32,
    /// How long to wait for a free or new connection.
    pub connect_timeout: Duration,
}

impl Config {
    /// The defaults for `url`: 12 connections, 5 s.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { url, connections: 12, connect_timeout: Duration::from_secs(5) }
    }
}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No connection, a lost one, a failover, a full disk: the same call may work later.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another process holds the stream now.
    #[error("the stream was taken over by another process")]
    Fenced,
    /// Anything else: a bug or a broken database.
    #[error("the database refused a statement")]
    Statement(#[source] DieselError),
    /// A migration failed.
    #[error("the schema could not be migrated")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A setting that would break a promise.
    #[error("{0}")]
    Setting(String),
    /// Somebody sent it.
    #[error("a text holds NUL, which the database does not keep")]
    Nul,
}

impl StorageError {
    /// No answer within `waited`.
    #[must_use]
    pub fn late(waited: Duration) -> Self {
        Self::Unavailable(format!("no answer within {} s", waited.as_secs()).into())
    }

    /// True when trying again can help.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The row of the table of errors.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Nul => ErrorCode::InvalidArgument,
            Self::Fenced | Self::Statement(_) | Self::Migration(_) | Self::Setting(_) => ErrorCode::Internal,
        }
    }
}

impl From<DieselError> for StorageError {
    fn from(error: DieselError) -> Self {
        match &error {
            _ if is_transient(&error) => Self::Unavailable(Box::new(error)),
            DieselError::DatabaseError(_, info) if is_nul(info.message()) => Self::Nul,
            _ => Self::Statement(error),
        }
    }
}

/// What Postgres says of a NUL in a text (22021) and in JSON (22P05); diesel does not pass SQLSTATE on.
fn is_nul(message: &str) -> bool {
    message == "invalid byte sequence for encoding \"UTF8\": 0x00" || message == "unsupported Unicode escape sequence"
}

/// Diesel does not pass SQLSTATE on for classes 08, 57P, 25006, 53: their messages are known.
fn is_transient(error: &DieselError) -> bool {
    let DieselError::DatabaseError(kind, info) = error else {
        return matches!(error, DieselError::BrokenTransactionManager);
    };
    match kind {
        DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::SerializationFailure
        | DatabaseErrorKind::ReadOnlyTransaction => true,
        _ => {
            let message = info.message();
            [
                "terminating connection",
                "the database system is",
                "connection closed",
                "error communicating with the server",
                "could not extend file",
                "No space left on device",
                "too many clients",
                "remaining connection slots",
                "canceling statement due to",
                "deadlock detected",
            ]
            .iter()
            .any(|known| message.contains(known))
        }
    }
}

/// A handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Storage {
    pool: Pool<AsyncPgConnection>,
    config: Arc<Config>,
}

impl Storage {
    /// Opens the pool; connects once to fail early and to check what the promises need.
    ///
    /// # Errors
    /// When no connection can be had in time, or the server would acknowledge before it is on disk.
    pub async fn connect(config: Config) -> Result<Self, StorageError> {
        let pool = connect::pool(&config).await?;
        let storage = Self { pool, config: Arc::new(config) };
        storage.check_settings().await?;
        Ok(storage)
    }

    /// Applies the migrations that are missing and creates the partitions of the next hours.
    ///
    /// # Errors
    /// When a migration fails or the database is away.
    pub async fn migrate(&self) -> Result<Vec<String>, StorageError> {
        let applied = connect::migrate(&self.config).await?;
        self.ensure_partitions().await?;
        Ok(applied)
    }

    pub(crate) async fn conn(&self) -> Result<PooledConnection<'_, AsyncPgConnection>, StorageError> {
        self.pool.get().await.map_err(|error| StorageError::Unavailable(Box::new(error)))
    }

    /// `(connections in use, most connections)`.
    #[must_use]
    pub fn pool_usage(&self) -> (u32, u32) {
        let state = self.pool.state();
        (state.connections - state.idle_connections, self.config.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_worth_another_try_and_a_bad_statement_is_not() {
        let error =
            |kind, message: &str| StorageError::from(DieselError::DatabaseError(kind, Box::new(message.to_owned())));
        assert!(error(DatabaseErrorKind::ClosedConnection, "x").is_unavailable());
        assert!(
            error(DatabaseErrorKind::Unknown, "terminating connection due to administrator command").is_unavailable()
        );
        assert!(!error(DatabaseErrorKind::UniqueViolation, "duplicate key").is_unavailable());
    }
}
