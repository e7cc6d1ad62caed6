//! Groups of alerts: the row that is locked while somebody decides what is told, and what the decision writes.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel::sql_types::{Array, Jsonb, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

use super::alerts::{AlertRow, SHORT};
use super::deliveries::{NewDelivery, enqueue_in_txn};
use super::evaluations::DecisionRow;
use super::schema::{
    alert_groups, alert_instances, alert_routing, decisions, maintenance_windows, receivers, silences,
};
use super::{Storage, StorageError};

/// Most alerts that inhibition looks at.
const SOURCES_MAX: i64 = 10_000;
/// Most members of a group that are looked at.
const MEMBERS_MAX: i64 = 1_000;

/// A group with its members, locked.
#[derive(Clone, Debug)]
pub struct GroupCase {
    /// Names it over its life.
    pub key: String,
    /// `model::GroupPolicy` as JSON.
    pub policy: Value,
    /// What was told so far.
    pub state: Value,
    /// Its alerts: open, or ended and not settled.
    pub members: Vec<AlertRow>,
}

/// Everything around groups that a decision depends on, as of the same transaction.
#[derive(Clone, Debug)]
pub struct Around {
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// Silences that have not ended.
    pub silences: Vec<Value>,
    /// Every maintenance window.
    pub windows: Vec<Value>,
    /// Inhibitions, if somebody wrote any.
    pub inhibitions: Option<Value>,
    /// Alerts that fire, as JSON; read only where there are inhibitions.
    pub firing: Vec<Value>,
    /// Enabled receivers.
    pub receivers: Vec<String>,
}

/// What was decided on a group.
#[derive(Clone, Debug, Default)]
pub struct GroupDecision {
    /// Notifications to be delivered.
    pub deliveries: Vec<NewDelivery>,
    /// What is told so far.
    pub state: Value,
    /// When to look again.
    pub next_at: Option<DateTime<Utc>>,
    /// What keeps alerts from being told, by id; only those that changed.
    pub suppressed: Vec<(i64, Value)>,
    /// Alerts of which nothing more is to be told.
    pub settled: Vec<i64>,
    /// Why.
    pub decisions: Vec<DecisionRow>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = alert_groups)]
struct GroupRow {
    key: String,
    policy: Value,
    state: Value,
}

#[derive(QueryableByName)]
struct Clock {
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
}

/// Makes groups known and locks them, in the order given.
pub(super) async fn join_in_txn(conn: &mut AsyncPgConnection, groups: &[(String, Option<Value>)]) -> QueryResult<()> {
    for (key, policy) in groups {
        let Some(policy) = policy else {
            alert_groups::table.find(key).select(alert_groups::key).for_update().execute(conn).await?;
            continue;
        };
        diesel::insert_into(alert_groups::table)
            .values((alert_groups::key.eq(key), alert_groups::policy.eq(policy)))
            .on_conflict(alert_groups::key)
            .do_update()
            .set((alert_groups::policy.eq(policy), alert_groups::updated_at.eq(now)))
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Everything around, read after the groups are locked.
async fn around_in_txn(conn: &mut AsyncPgConnection) -> QueryResult<Around> {
    let clock: Clock = diesel::sql_query("SELECT clock_timestamp() AS at").get_result(conn).await?;
    let silences = silences::table.filter(silences::ends_at.gt(now)).select(silences::definition).load(conn).await?;
    let windows = maintenance_windows::table.select(maintenance_windows::definition).load(conn).await?;
    let written = alert_routing::table.find("inhibitions").select(alert_routing::definition);
    let inhibitions: Option<Value> = written.first(conn).await.optional()?;
    let some = inhibitions.as_ref().and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let firing = if some {
        let firing = alert_instances::table.filter(alert_instances::state.eq("firing"));
        firing.order(alert_instances::id).limit(SOURCES_MAX).select(alert_instances::alert).load(conn).await?
    } else {
        Vec::new()
    };
    let enabled = receivers::table.filter(receivers::enabled.eq(true)).order(receivers::id);
    let receivers = enabled.select(receivers::id).load(conn).await?;
    Ok(Around { now: clock.at, silences, windows, inhibitions, firing, receivers })
}

/// Locks the groups, lets `decide` decide, and writes what it decided. Returns how many deliveries are new.
pub(super) async fn dispatch_in_txn(
    conn: &mut AsyncPgConnection,
    keys: &[String],
    mut decide: impl FnMut(&GroupCase, &Around) -> GroupDecision + Send,
) -> QueryResult<usize> {
    if keys.is_empty() {
        return Ok(0);
    }
    let groups = alert_groups::table.filter(alert_groups::key.eq_any(keys)).order(alert_groups::key);
    let groups: Vec<GroupRow> = groups.select(GroupRow::as_select()).for_update().load(conn).await?;
    let around = around_in_txn(conn).await?;
    let mut queued = 0;
    for GroupRow { key, policy, state } in groups {
        let members = alert_instances::table
            .filter(alert_instances::settled.eq(false))
            .filter(alert_instances::group_keys.contains(vec![&key]))
            .order(alert_instances::id)
            .limit(MEMBERS_MAX)
            .select(AlertRow::as_select())
            .load(conn)
            .await?;
        let case = GroupCase { key, policy, state, members };
        queued += apply_in_txn(conn, &case.key, decide(&case, &around)).await?;
    }
    Ok(queued)
}

async fn apply_in_txn(conn: &mut AsyncPgConnection, key: &str, decision: GroupDecision) -> QueryResult<usize> {
    let mut queued = 0;
    if !decision.deliveries.is_empty() {
        queued = enqueue_in_txn(conn, &decision.deliveries).await?;
    }
    diesel::update(alert_groups::table.find(key))
        .set((
            alert_groups::state.eq(decision.state),
            alert_groups::next_at.eq(decision.next_at),
            alert_groups::updated_at.eq(now),
        ))
        .execute(conn)
        .await?;
    for (id, suppressed) in &decision.suppressed {
        let changed = alert_instances::suppressed.eq(suppressed);
        diesel::update(alert_instances::table.find(id)).set(changed).execute(conn).await?;
    }
    if !decision.settled.is_empty() {
        let settled = alert_instances::table.filter(alert_instances::id.eq_any(&decision.settled));
        diesel::update(settled).set(alert_instances::settled.eq(true)).execute(conn).await?;
    }
    if !decision.decisions.is_empty() {
        diesel::insert_into(decisions::table).values(&decision.decisions).execute(conn).await?;
    }
    Ok(queued)
}

/// Lets every group with something to tell be looked at now: what suppresses has changed.
pub(super) async fn reconsider_in_txn(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE alert_groups SET next_at = now() WHERE key IN (SELECT key FROM alert_groups WHERE key IN \
         (SELECT unnest(group_keys) FROM alert_instances WHERE NOT settled) ORDER BY key FOR UPDATE)",
    )
    .execute(conn)
    .await
    .map(drop)
}

impl Storage {
    /// Decides on the group that has been due for longest, if any and nobody else is at it. `None` when there is none,
    /// otherwise how many deliveries were queued.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn dispatch_due(
        &self,
        decide: impl FnMut(&GroupCase, &Around) -> GroupDecision + Send,
    ) -> Result<Option<usize>, StorageError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            conn.batch_execute(SHORT).await?;
            let due = alert_groups::table.filter(alert_groups::next_at.le(now)).order(alert_groups::next_at).limit(1);
            let due: Option<String> =
                due.select(alert_groups::key).for_update().skip_locked().first(conn).await.optional()?;
            let Some(key) = due else { return Ok(None) };
            Ok(Some(dispatch_in_txn(conn, &[key], decide).await?))
        })
        .await
    }

    /// Queues notifications that no transition caused, such as tests. Returns how many are new.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn deliveries_enqueue(&self, new: &[NewDelivery]) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        if new.is_empty() { Ok(0) } else { Ok(enqueue_in_txn(&mut conn, new).await?) }
    }

    /// Enabled receivers, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receivers_enabled(&self) -> Result<Vec<String>, StorageError> {
        let mut conn = self.conn().await?;
        let enabled = receivers::table.filter(receivers::enabled.eq(true)).order(receivers::id);
        Ok(enabled.select(receivers::id).load(&mut conn).await?)
    }

    /// The deliveries about one alert's groups since `since`, newest first, as JSON objects of what is known of each.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn deliveries_about(
        &self,
        group_keys: &[String],
        fingerprint: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<Value>, StorageError> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Jsonb)]
            delivery: Value,
        }
        let mut conn = self.conn().await?;
        let rows: Vec<Row> = diesel::sql_query(
            "SELECT jsonb_build_object('id', d.id::text, 'notificationId', d.notification_id, 'receiver', d.receiver_id, \
             'reason', d.notification->'reason', 'groupKey', d.group_key, 'groupLabels', d.notification->'groupLabels', \
             'severity', d.notification#>'{alerts,0,severity}', \
             'alerts', jsonb_path_query_array(d.notification, '$.alerts[*].fingerprint'), \
             'state', d.state, 'attempts', d.attempts, 'createdAt', d.created_at, 'endedAt', d.ended_at, \
             'nextAttemptAt', CASE WHEN d.state = 'queued' THEN d.next_attempt_at END, \
             'log', coalesce((SELECT jsonb_agg(jsonb_build_object('number', a.number, 'beganAt', a.began_at, \
             'endedAt', a.ended_at, 'outcome', a.outcome, 'status', a.status, 'detail', a.detail) ORDER BY a.number) \
             FROM delivery_attempts a WHERE a.delivery_id = d.id), '[]')) AS delivery \
             FROM deliveries d WHERE d.group_key = ANY($1) AND d.created_at >= $3 \
             AND d.notification->'alerts' @> jsonb_build_array(jsonb_build_object('fingerprint', $2)) \
             ORDER BY d.id DESC LIMIT 200",
        )
        .bind::<Array<Text>, _>(group_keys)
        .bind::<Text, _>(fingerprint)
        .bind::<Timestamptz, _>(since)
        .load(&mut conn)
        .await?;
        Ok(rows.into_iter().map(|row| row.delivery).collect())
    }
}
