//! What evaluation remembers of rules, the decisions that explain it, and which replicas live.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Jsonb, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use serde_json::Value;

use super::schema::{decisions, rule_states};
use super::{Storage, StorageError};

/// The beginning of a tick, in one round trip.
#[derive(Clone, Debug, QueryableByName)]
pub struct Tick {
    /// The database's clock.
    #[diesel(sql_type = Timestamptz)]
    pub now: DateTime<Utc>,
    /// Changes of rules so far.
    #[diesel(sql_type = BigInt)]
    pub rules_revision: i64,
    /// Changes of routing so far.
    #[diesel(sql_type = BigInt)]
    pub routing_revision: i64,
    /// Replicas that live.
    #[diesel(sql_type = Array<Text>)]
    pub replicas: Vec<String>,
    /// Groups that are to be looked at.
    #[diesel(sql_type = BigInt)]
    pub groups_due: i64,
}

/// What evaluation remembers of a rule.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = rule_states)]
pub struct RuleStateRow {
    /// Which rule.
    pub rule_id: String,
    /// Fencing number.
    pub epoch: i64,
    /// Time of the last evaluation.
    pub evaluated_at: Option<DateTime<Utc>>,
    /// `ok`, `no_data`, `error` or `unknown`.
    pub health: String,
    /// What is wrong.
    pub error: Option<String>,
    /// How long the last evaluation took.
    pub duration_seconds: f64,
    /// New alerts beyond the limit.
    pub left_out: i32,
    /// Label sets to be missed.
    pub known: Value,
    /// How the last evaluations decided.
    pub run_kind: String,
    /// Since when.
    pub run_since: Option<DateTime<Utc>>,
    /// How many they are.
    pub run_evaluations: i64,
    /// The worst value among them.
    pub run_worst: Option<f64>,
}

/// The next state of a rule; written only over the epoch that it names.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the columns of rule_states")]
pub struct StateChange {
    pub rule_id: String,
    pub epoch: i64,
    pub evaluated_at: DateTime<Utc>,
    pub health: String,
    pub error: Option<String>,
    pub duration_seconds: f64,
    pub left_out: i32,
    /// `None` leaves them.
    pub known: Option<Value>,
    pub run_kind: String,
    pub run_since: DateTime<Utc>,
    pub run_evaluations: i64,
    pub run_worst: Option<f64>,
    /// The run that ended with this evaluation, in words.
    pub ended_detail: Option<String>,
}

/// Why something was decided.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = decisions)]
pub struct DecisionRow {
    /// Which rule.
    pub rule_id: String,
    /// Which alert; empty for the rule as a whole.
    pub fingerprint: String,
    /// In a word.
    pub kind: String,
    /// In a sentence.
    pub detail: String,
    /// From.
    pub since: DateTime<Utc>,
    /// To.
    pub until: DateTime<Utc>,
}

const TICK: &str = "WITH lease AS (INSERT INTO replicas (id, expires_at) VALUES ($1, now() + interval '6 seconds') \
     ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at \
     WHERE replicas.expires_at < now() + interval '4 seconds') \
     SELECT clock_timestamp() AS now, \
     (SELECT revision FROM alerting_changes WHERE kind = 'rules') AS rules_revision, \
     (SELECT revision FROM alerting_changes WHERE kind = 'routing') AS routing_revision, \
     coalesce((SELECT array_agg(id) FROM replicas WHERE expires_at > now()), '{}') AS replicas, \
     (SELECT count(*) FROM (SELECT 1 FROM alert_groups WHERE next_at <= clock_timestamp() LIMIT 1000) due) AS groups_due";

/// The compare and set that fences: a row whose epoch has passed is left alone, with all that would go with it.
const ADVANCE: &str = "WITH next AS (SELECT * FROM jsonb_to_recordset($1) AS q(rule_id text, epoch bigint, \
     evaluated_at timestamptz, health text, error text, duration_seconds double precision, left_out integer, known jsonb, \
     run_kind text, run_since timestamptz, run_evaluations bigint, run_worst double precision, ended_detail text)), \
     ended AS (INSERT INTO decisions (rule_id, kind, detail, since, until) \
     SELECT s.rule_id, s.run_kind, next.ended_detail, s.run_since, s.evaluated_at FROM next JOIN rule_states s \
     ON s.rule_id = next.rule_id AND s.epoch = next.epoch WHERE next.ended_detail IS NOT NULL) \
     UPDATE rule_states s SET epoch = s.epoch + 1, evaluated_at = next.evaluated_at, health = next.health, \
     error = next.error, duration_seconds = next.duration_seconds, left_out = next.left_out, \
     known = coalesce(nullif(next.known, 'null'::jsonb), s.known), \
     run_kind = next.run_kind, run_since = next.run_since, run_evaluations = next.run_evaluations, \
     run_worst = next.run_worst FROM next WHERE s.rule_id = next.rule_id AND s.epoch = next.epoch RETURNING s.rule_id";

#[derive(QueryableByName)]
struct Advanced {
    #[diesel(sql_type = Text)]
    rule_id: String,
}

/// Moves rule states on; returns those that were still at the epoch that was named.
pub(super) async fn advance_in_txn(conn: &mut AsyncPgConnection, changes: &[StateChange]) -> QueryResult<Vec<String>> {
    let changes =
        serde_json::to_value(changes).map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    let advanced: Vec<Advanced> = diesel::sql_query(ADVANCE).bind::<Jsonb, _>(changes).load(conn).await?;
    Ok(advanced.into_iter().map(|advanced| advanced.rule_id).collect())
}

impl Storage {
    /// Renews the lease of `replica` and tells the time, what changed, and who lives.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alerting_tick(&self, replica: &str) -> Result<Tick, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(TICK).bind::<Text, _>(replica).get_result(&mut conn).await?)
    }

    /// Ends the lease of `replica` and forgets those that lapsed long ago.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn replica_leave(&self, replica: &str) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let leave = "DELETE FROM replicas WHERE id = $1 OR expires_at < now() - interval '1 hour'";
        diesel::sql_query(leave).bind::<Text, _>(replica).execute(&mut conn).await?;
        Ok(())
    }

    /// What is remembered of rules.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rule_states(&self, rule_ids: &[String]) -> Result<Vec<RuleStateRow>, StorageError> {
        let mut conn = self.conn().await?;
        let of_rules = rule_states::table.filter(rule_states::rule_id.eq_any(rule_ids));
        Ok(of_rules.select(RuleStateRow::as_select()).load(&mut conn).await?)
    }

    /// What is remembered of every rule.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rule_states_all(&self) -> Result<Vec<RuleStateRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(rule_states::table.select(RuleStateRow::as_select()).load(&mut conn).await?)
    }

    /// Moves on the states of rules that have no alerts, all at once; returns the rules that were not fenced off.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rule_states_advance(&self, changes: &[StateChange]) -> Result<Vec<String>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(advance_in_txn(&mut conn, changes).await?)
    }

    /// Decisions of a rule, about it as a whole or about `fingerprints`, that held at some time in `[from, to]`, in order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn decisions(
        &self,
        (rule_id, fingerprints): (&str, &[String]),
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        limit: i64,
    ) -> Result<Vec<DecisionRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(decisions::table
            .filter(decisions::rule_id.eq(rule_id))
            .filter(decisions::fingerprint.eq_any(fingerprints))
            .filter(decisions::until.ge(from).and(decisions::since.le(to)))
            .order((decisions::until.asc(), decisions::id.asc()))
            .limit(limit)
            .select(DecisionRow::as_select())
            .load(&mut conn)
            .await?)
    }

    /// Deletes what is older than `days`: settled alerts with their transitions, decisions, idle groups, ended silences.
    /// Returns how many alerts and decisions went.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alerting_forget(&self, days: i32) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        let mut gone = 0;
        for statement in [
            "DELETE FROM alert_instances WHERE id IN (SELECT id FROM alert_instances \
             WHERE settled AND ended_at < now() - make_interval(days => $1) LIMIT 5000)",
            "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions \
             WHERE until < now() - make_interval(days => $1) LIMIT 5000)",
            "DELETE FROM silences WHERE ends_at < now() - make_interval(days => $1)",
            "DELETE FROM alert_groups g WHERE updated_at < now() - make_interval(days => $1) AND next_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM alert_instances a WHERE NOT a.settled AND a.group_keys @> ARRAY[g.key])",
        ] {
            gone += diesel::sql_query(statement).bind::<diesel::sql_types::Integer, _>(days).execute(&mut conn).await?;
        }
        Ok(gone)
    }
}
