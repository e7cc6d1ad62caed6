//! What a database client does, measured.
//!
//! By the semantic conventions: `db.client.operation.duration` by what is done and to what, and the pool's
//! `db.client.connection.*`. A call that is slower than [`DatabaseMonitor::slow_after`] also makes a span and a line in the
//! log, with its statement, in which every literal is a `?`. No literal leaves the process.
//!
//! ```
//! use fastbreak_client::database::DatabaseMonitor;
//!
//! # async fn show() -> Result<(), std::io::Error> {
//! let database = DatabaseMonitor::new("postgresql", "shop");
//! # async fn query() -> Result<u32, std::io::Error> { Ok(1) }
//! let user = database.query("SELECT * FROM users WHERE id = $1", query()).await?;
//! # let _: u32 = user;
//! # Ok(()) }
//! ```
//!
//! Diesel says by itself what it does: `connection.set_instrumentation(database.diesel())`, with the feature `diesel`.

#[cfg(feature = "diesel")]
mod diesel;
mod pool;
mod statement;

#[cfg(feature = "diesel")]
pub use diesel::DieselMonitor;
pub use pool::{Pool, PoolState};
use statement::READ_MAX;
pub use statement::Statement;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _};
use opentelemetry::{Context, KeyValue};
use parking_lot::Mutex;

/// The boundaries that the semantic conventions advise, in seconds.
const BOUNDARIES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Statements that are remembered, so that each is read once; one that is longer than what is read of it is not.
const STATEMENTS_MAX: usize = 1_000;
/// Summaries that are told apart in metrics; more are all `other`.
const SUMMARIES_MAX: usize = 500;

struct Inner {
    system: String,
    namespace: String,
    slow_after: Duration,
    traces_all: bool,
    tracer: BoxedTracer,
    meter: Meter,
    duration: Histogram<f64>,
    slow: Counter<u64>,
    known: Mutex<Known>,
}

/// By the statement as it was written.
#[derive(Default)]
struct Known {
    statements: HashMap<Box<str>, Arc<Statement>>,
    summaries: HashSet<String>,
}

/// Measures the calls of one database; cheap to clone.
#[derive(Clone)]
pub struct DatabaseMonitor(Arc<Inner>);

impl DatabaseMonitor {
    /// Of a database of that system (a `db.system.name`, such as `postgresql`) and that name. Exports through the global
    /// providers, which [`crate::FastBreak`] sets.
    #[must_use]
    pub fn new(system: &str, namespace: &str) -> Self {
        Self::with((system, namespace), global::meter("fastbreak.database"), global::tracer("fastbreak.database"))
    }

    /// Of `(system, namespace)`, over providers of your own.
    #[must_use]
    pub fn with((system, namespace): (&str, &str), meter: Meter, tracer: BoxedTracer) -> Self {
        let duration = meter
            .f64_histogram("db.client.operation.duration")
            .with_unit("s")
            .with_description("Duration of database client operations.")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        let slow = meter
            .u64_counter("fastbreak.db.slow_queries")
            .with_unit("{query}")
            .with_description("Calls that took longer than the threshold.")
            .build();
        Self(Arc::new(Inner {
            system: system.to_owned(),
            namespace: namespace.to_owned(),
            slow_after: Duration::from_secs(1),
            traces_all: false,
            tracer,
            meter,
            duration,
            slow,
            known: Mutex::default(),
        }))
    }

    /// From how long on a call is slow; 1 s by default. To be set before the monitor is shared.
    #[must_use]
    pub fn slow_after(mut self, threshold: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.slow_after = threshold;
        }
        self
    }

    /// A span for every call, not only for slow ones. To be set before the monitor is shared.
    #[must_use]
    pub fn trace_all(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.traces_all = true;
        }
        self
    }

    /// Measures `call`, which runs `sql`: of any driver or pool.
    ///
    /// # Errors
    /// Those of `call`.
    pub async fn query<T, E>(&self, sql: &str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let query = self.start(sql);
        let result = call.await;
        query.end(result.is_err().then_some("failed"));
        result
    }

    /// A call of `sql` begins. It ends with [`Query::end`]; dropped before, it was cancelled.
    #[must_use]
    pub fn start(&self, sql: &str) -> Query {
        let statement = self.statement(sql);
        Query { monitor: self.clone(), statement, began: Instant::now(), at: SystemTime::now(), ended: false }
    }

    /// The monitor of a pool, whose state `read` gives whenever metrics are collected.
    pub fn pool(&self, name: &str, read: impl Fn() -> PoolState + Send + Sync + 'static) -> Pool {
        Pool::new(&self.0.meter, &self.0.system, name, read)
    }

    fn statement(&self, sql: &str) -> Arc<Statement> {
        if let Some(known) = self.0.known.lock().statements.get(sql) {
            return Arc::clone(known);
        }
        let mut statement = Statement::read(&self.0.system, sql);
        let mut known = self.0.known.lock();
        if !known.summaries.contains(&statement.summary) {
            if known.summaries.len() >= SUMMARIES_MAX {
                statement.summary = "other".to_owned();
            } else {
                known.summaries.insert(statement.summary.clone());
            }
        }
        let statement = Arc::new(statement);
        if sql.len() > READ_MAX {
            return statement;
        }
        if known.statements.len() >= STATEMENTS_MAX {
            // Literals in it make each a new one; those that come again are soon here again.
            known.statements.clear();
        }
        known.statements.insert(sql.into(), Arc::clone(&statement));
        statement
    }
}

/// A call under way.
pub struct Query {
    monitor: DatabaseMonitor,
    statement: Arc<Statement>,
    began: Instant,
    at: SystemTime,
    ended: bool,
}

impl Query {
    /// The call has ended; `error` is its kind, of few values, when it failed.
    pub fn end(mut self, error: Option<&'static str>) {
        self.tell(error);
    }

    fn tell(&mut self, error: Option<&'static str>) {
        self.ended = true;
        let inner = &*self.monitor.0;
        let took = self.began.elapsed();
        let mut attributes = vec![
            KeyValue::new("db.system.name", inner.system.clone()),
            KeyValue::new("db.namespace", inner.namespace.clone()),
            KeyValue::new("db.query.summary", self.statement.summary.clone()),
        ];
        let verb = self.statement.summary.split(' ').next().unwrap_or_default().to_owned();
        attributes.push(KeyValue::new("db.operation.name", verb));
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        inner.duration.record(took.as_secs_f64(), &attributes);
        let is_slow = took >= inner.slow_after;
        if is_slow {
            inner.slow.add(1, &attributes);
            let statement = self.statement.text.as_str();
            tracing::warn!(db.query.text = statement, duration_ms = took.as_millis() as u64, "slow query");
        }
        if is_slow || inner.traces_all {
            self.trace(attributes, is_slow, error);
        }
    }

    fn trace(&self, mut attributes: Vec<KeyValue>, is_slow: bool, error: Option<&'static str>) {
        attributes.push(KeyValue::new("db.query.text", self.statement.text.clone()));
        attributes.push(KeyValue::new("fastbreak.db.slow", is_slow));
        let tracer = &self.monitor.0.tracer;
        let builder = tracer
            .span_builder(self.statement.summary.clone())
            .with_kind(SpanKind::Client)
            .with_start_time(self.at)
            .with_attributes(attributes);
        let mut span = tracer.build_with_context(builder, &Context::current());
        if let Some(error) = error {
            span.set_status(Status::error(error));
        }
        span.end();
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Some("cancelled"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_statements_are_not_remembered() {
        let monitor = DatabaseMonitor::new("postgresql", "shop");
        let rows = ", (1)".repeat(20_000);
        for n in 0..20 {
            let statement = monitor.statement(&format!("INSERT INTO t VALUES ({n}){rows}"));
            assert_eq!(statement.summary, "INSERT t");
        }
        let _short = monitor.statement("SELECT 1");
        let known = monitor.0.known.lock();
        let bytes: usize = known.statements.keys().map(|sql| sql.len()).sum();
        assert_eq!((known.statements.len(), bytes), (1, "SELECT 1".len()));
    }
}
