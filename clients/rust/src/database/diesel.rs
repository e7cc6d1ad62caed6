//! The monitor as diesel's `Instrumentation`, which diesel-async takes too.

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::result::{DatabaseErrorKind, Error};

use super::{DatabaseMonitor, Query};

/// Of one connection, which runs one query at a time.
pub struct DieselMonitor {
    monitor: DatabaseMonitor,
    query: Option<Query>,
}

impl DatabaseMonitor {
    /// For `connection.set_instrumentation(…)`.
    #[must_use]
    pub fn diesel(&self) -> DieselMonitor {
        DieselMonitor { monitor: self.clone(), query: None }
    }
}

impl Instrumentation for DieselMonitor {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => {
                let written = query.to_string();
                // Diesel puts the values behind it.
                let sql = written.split(" -- binds: ").next().unwrap_or_default();
                self.query = Some(self.monitor.start(sql));
            }
            InstrumentationEvent::FinishQuery { error, .. } => {
                if let Some(query) = self.query.take() {
                    query.end(error.and_then(kind));
                }
            }
            _ => {}
        }
    }
}

/// None: nothing found is no failure.
const fn kind(error: &Error) -> Option<&'static str> {
    match error {
        Error::NotFound => None,
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Some("unique_violation"),
        Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => Some("foreign_key_violation"),
        Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => Some("serialization_failure"),
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection, _) => Some("closed_connection"),
        Error::DatabaseError(..) => Some("database"),
        Error::QueryBuilderError(_) | Error::SerializationError(_) | Error::DeserializationError(_) => Some("client"),
        _ => Some("failed"),
    }
}
