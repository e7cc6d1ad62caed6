//! Alerts and their transitions, and the one transaction of an evaluation.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

use super::evaluations::{StateChange, advance_in_txn};
use super::groups::{Around, GroupCase, GroupDecision, dispatch_in_txn, join_in_txn};
use super::schema::{alert_instances, alert_transitions};
use super::{Storage, StorageError};

/// A process that is stopped in the middle of such a transaction must not hold its locks for long.
pub(super) const SHORT: &str = "SET LOCAL idle_in_transaction_session_timeout = '4s'; SET LOCAL lock_timeout = '8s'";

/// An alert as it is kept.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = alert_instances)]
pub struct AlertRow {
    /// Names this life of it.
    pub id: i64,
    /// Which rule.
    pub rule_id: String,
    /// Rule and labels.
    pub fingerprint: String,
    /// `model::Alert` as JSON.
    pub alert: Value,
    /// What the state machine and telling remember.
    pub machine: Value,
    /// Points for a small chart.
    pub chart: Value,
    /// Who took it.
    pub acknowledged: Option<Value>,
    /// What keeps it from being told.
    pub suppressed: Value,
    /// The groups that it is told with.
    pub group_keys: Vec<String>,
}

/// What an evaluation makes of one alert.
#[derive(Clone, Debug, Insertable, AsChangeset)]
#[diesel(table_name = alert_instances)]
#[expect(missing_docs, reason = "the columns of alert_instances")]
pub struct AlertChange {
    pub rule_id: String,
    pub fingerprint: String,
    pub state: &'static str,
    pub severity: &'static str,
    pub alert: Value,
    pub machine: Value,
    /// `None` leaves it.
    pub chart: Option<Value>,
    /// `None` leaves them.
    pub group_keys: Option<Vec<String>>,
    pub settled: bool,
    pub pending_since: DateTime<Utc>,
    pub starts_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// A change of state.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = alert_transitions)]
pub struct TransitionRow {
    /// Evaluation time.
    pub at: DateTime<Utc>,
    /// Before.
    pub from_state: String,
    /// After.
    pub to_state: String,
    /// After.
    pub severity: String,
    /// What caused it.
    pub value: Option<f64>,
    /// In a word.
    pub reason: String,
}

/// One alert in the transaction of an evaluation.
#[derive(Clone, Debug)]
pub struct AlertWrite {
    /// `None` for one that is new.
    pub id: Option<i64>,
    /// What it becomes.
    pub change: AlertChange,
    /// What changed of its state, if anything.
    pub transition: Option<TransitionRow>,
    /// Nobody has it any more.
    pub drop_acknowledgement: bool,
}

/// Everything that one evaluation of one rule writes, or nothing of it.
#[derive(Clone, Debug)]
pub struct EvaluationWrite {
    /// The rule's next state, and the epoch that fences.
    pub state: StateChange,
    /// Its alerts.
    pub alerts: Vec<AlertWrite>,
    /// Groups that are to be decided on now, in order of their keys, with the policies of those that alerts join.
    pub groups: Vec<(String, Option<Value>)>,
}

/// Which open alerts are meant; what is left out does not narrow.
#[derive(Clone, Debug, Default)]
pub struct ActiveFilter {
    /// Of one rule.
    pub rule_id: Option<String>,
    /// In one state.
    pub state: Option<String>,
    /// Of one severity.
    pub severity: Option<String>,
}

async fn write_in_txn(conn: &mut AsyncPgConnection, write: &AlertWrite) -> QueryResult<()> {
    let id: i64 = match write.id {
        None => {
            let insert = diesel::insert_into(alert_instances::table).values(&write.change);
            insert.returning(alert_instances::id).get_result(conn).await?
        }
        Some(id) => {
            diesel::update(alert_instances::table.find(id)).set(&write.change).execute(conn).await?;
            id
        }
    };
    if write.drop_acknowledgement {
        let gone = alert_instances::acknowledged.eq(None::<Value>);
        diesel::update(alert_instances::table.find(id)).set(gone).execute(conn).await?;
    }
    let Some(transition) = &write.transition else { return Ok(()) };
    diesel::insert_into(alert_transitions::table)
        .values((
            alert_transitions::alert_id.eq(id),
            alert_transitions::at.eq(transition.at),
            alert_transitions::from_state.eq(&transition.from_state),
            alert_transitions::to_state.eq(&transition.to_state),
            alert_transitions::severity.eq(&transition.severity),
            alert_transitions::value.eq(transition.value),
            alert_transitions::reason.eq(&transition.reason),
        ))
        .execute(conn)
        .await
        .map(drop)
}

impl Storage {
    /// Writes an evaluation: state, alerts, transitions, and what its groups are told, in one transaction that does nothing
    /// when the epoch has passed. Returns how many deliveries were queued.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when somebody else has evaluated the rule since it was read.
    pub async fn evaluation_write(
        &self,
        write: &EvaluationWrite,
        decide: impl FnMut(&GroupCase, &Around) -> GroupDecision + Send,
    ) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            conn.batch_execute(SHORT).await?;
            // First of all, and for all that follows: whoever reads the same epoch waits here, and then writes nothing.
            if advance_in_txn(conn, std::slice::from_ref(&write.state)).await?.is_empty() {
                return Err(StorageError::Fenced);
            }
            // Groups before alerts, in order, as everybody does: no deadlocks.
            join_in_txn(conn, &write.groups).await?;
            for alert in &write.alerts {
                write_in_txn(conn, alert).await?;
            }
            let keys: Vec<String> = write.groups.iter().map(|(key, _)| key.clone()).collect();
            Ok(dispatch_in_txn(conn, &keys, decide).await?)
        })
        .await
    }

    /// The open alerts of rules.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alerts_open(&self, rule_ids: &[String]) -> Result<Vec<AlertRow>, StorageError> {
        let mut conn = self.conn().await?;
        let open = alert_instances::table
            .filter(alert_instances::rule_id.eq_any(rule_ids))
            .filter(alert_instances::ended_at.is_null());
        Ok(open.order(alert_instances::id).select(AlertRow::as_select()).load(&mut conn).await?)
    }

    /// Rules that have open alerts, with how many are `(pending, firing)`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alert_counts(&self) -> Result<Vec<(String, i64, i64)>, StorageError> {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = Text)]
            rule_id: String,
            #[diesel(sql_type = BigInt)]
            pending: i64,
            #[diesel(sql_type = BigInt)]
            firing: i64,
        }
        let mut conn = self.conn().await?;
        let counts: Vec<Count> = diesel::sql_query(
            "SELECT rule_id, count(*) FILTER (WHERE state = 'pending') AS pending, \
             count(*) FILTER (WHERE state = 'firing') AS firing \
             FROM alert_instances WHERE ended_at IS NULL GROUP BY rule_id",
        )
        .load(&mut conn)
        .await?;
        Ok(counts.into_iter().map(|count| (count.rule_id, count.pending, count.firing)).collect())
    }

    /// Open alerts, in no order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alerts_active(&self, filter: &ActiveFilter, limit: i64) -> Result<Vec<AlertRow>, StorageError> {
        let mut conn = self.conn().await?;
        let mut query = alert_instances::table.filter(alert_instances::ended_at.is_null()).into_boxed();
        if let Some(rule_id) = &filter.rule_id {
            query = query.filter(alert_instances::rule_id.eq(rule_id));
        }
        if let Some(state) = &filter.state {
            query = query.filter(alert_instances::state.eq(state));
        }
        if let Some(severity) = &filter.severity {
            query = query.filter(alert_instances::severity.eq(severity));
        }
        Ok(query.limit(limit).select(AlertRow::as_select()).load(&mut conn).await?)
    }

    /// Alerts that fired and were open at some time in the last `hours`, the newest first, from `before` on.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alerts_history(&self, hours: f64, before: i64, limit: i64) -> Result<Vec<AlertRow>, StorageError> {
        let mut conn = self.conn().await?;
        let since = diesel::dsl::sql::<diesel::sql_types::Timestamptz>("now() - make_interval(secs => ")
            .bind::<diesel::sql_types::Double, _>(hours * 3_600.0)
            .sql(")");
        let open_in_range =
            alert_instances::ended_at.is_null().or(alert_instances::ended_at.assume_not_null().ge(since));
        Ok(alert_instances::table
            .filter(alert_instances::id.lt(before))
            .filter(alert_instances::starts_at.is_not_null())
            .filter(open_in_range)
            .order(alert_instances::id.desc())
            .limit(limit)
            .select(AlertRow::as_select())
            .load(&mut conn)
            .await?)
    }

    /// One alert.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alert_find(&self, id: i64) -> Result<Option<AlertRow>, StorageError> {
        let mut conn = self.conn().await?;
        let found = alert_instances::table.find(id).select(AlertRow::as_select());
        Ok(found.first(&mut conn).await.optional()?)
    }

    /// The newest alert with a fingerprint.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alert_newest(&self, fingerprint: &str) -> Result<Option<AlertRow>, StorageError> {
        let mut conn = self.conn().await?;
        let of_it = alert_instances::table.filter(alert_instances::fingerprint.eq(fingerprint));
        Ok(of_it.order(alert_instances::id.desc()).select(AlertRow::as_select()).first(&mut conn).await.optional()?)
    }

    /// Alerts of a rule that were open at `at`, newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alerts_at(&self, rule_id: &str, at: DateTime<Utc>) -> Result<Vec<AlertRow>, StorageError> {
        let mut conn = self.conn().await?;
        let still = alert_instances::ended_at.is_null().or(alert_instances::ended_at.assume_not_null().ge(at));
        Ok(alert_instances::table
            .filter(alert_instances::rule_id.eq(rule_id))
            .filter(alert_instances::pending_since.le(at))
            .filter(still)
            .order(alert_instances::id.desc())
            .limit(1_000)
            .select(AlertRow::as_select())
            .load(&mut conn)
            .await?)
    }

    /// The transitions of an alert, in order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alert_transitions(&self, alert_id: i64) -> Result<Vec<TransitionRow>, StorageError> {
        let mut conn = self.conn().await?;
        let of_alert = alert_transitions::table.filter(alert_transitions::alert_id.eq(alert_id));
        Ok(of_alert.order(alert_transitions::id).select(TransitionRow::as_select()).load(&mut conn).await?)
    }

    /// Sets or takes away who has an alert, and lets its groups be looked at. False when it is not open.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alert_acknowledge(&self, id: i64, by: Option<&Value>) -> Result<bool, StorageError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            diesel::sql_query(
                "UPDATE alert_groups SET next_at = now() WHERE key IN (SELECT g.key FROM alert_groups g \
                 JOIN alert_instances a ON g.key = ANY(a.group_keys) WHERE a.id = $1 ORDER BY g.key FOR UPDATE OF g)",
            )
            .bind::<BigInt, _>(id)
            .execute(conn)
            .await?;
            let open =
                alert_instances::table.filter(alert_instances::id.eq(id).and(alert_instances::ended_at.is_null()));
            let changed = diesel::update(open).set(alert_instances::acknowledged.eq(by)).execute(conn).await?;
            Ok(changed == 1)
        })
        .await
    }
}
