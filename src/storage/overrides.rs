//! Temporary changes of policies, each under a lease.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Jsonb, Nullable, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde_json::Value;

use super::policies::{Change, changed_in_txn};
use super::rules::WriteError;
use super::schema::{policies, policy_override_ends, policy_overrides};
use super::{Storage, StorageError};

/// An override that is put or renewed.
#[derive(Clone, Debug)]
pub struct NewOverride {
    /// Names it as long as it lasts.
    pub id: String,
    /// Which policy it changes.
    pub policy_id: String,
    /// `model::Adjustment` as JSON.
    pub adjustment: Value,
    /// From now on.
    pub lease_ms: i64,
    /// The rule that holds it, when one does.
    pub rule_id: Option<String>,
    /// Who, and why.
    pub change: Change,
}

/// An override.
#[derive(Clone, Debug, Queryable, Selectable, QueryableByName)]
#[diesel(table_name = policy_overrides)]
pub struct OverrideRow {
    /// Names it as long as it lasts.
    pub id: String,
    /// Which policy it changes.
    pub policy_id: String,
    /// `model::Adjustment` as JSON.
    pub adjustment: Value,
    /// As it was given last.
    pub lease_ms: i64,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The rule that holds it, when one does.
    pub rule_id: Option<String>,
    /// Since when it counts.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// An override that was.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = policy_override_ends)]
pub struct OverrideEndRow {
    /// Named it.
    pub override_id: String,
    /// Which policy it changed.
    pub policy_id: String,
    /// `model::Adjustment` as JSON.
    pub adjustment: Value,
    /// The rule that held it, when one did.
    pub rule_id: Option<String>,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Since when it counted.
    pub created_at: DateTime<Utc>,
    /// Until when.
    pub ended_at: DateTime<Utc>,
    /// Who ended it.
    pub end_author: String,
    /// Why.
    pub end_reason: String,
}

/// Most overrides of one policy at a time.
const OVERRIDES_MAX: i64 = 50;

const PUT: &str = "INSERT INTO policy_overrides AS o (id, policy_id, adjustment, lease_ms, author, reason, rule_id, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $4 / 1000.0)) \
     ON CONFLICT (id) DO UPDATE SET lease_ms = excluded.lease_ms, expires_at = excluded.expires_at \
     WHERE o.policy_id = excluded.policy_id RETURNING *";

/// Moves overrides to the audit; `$1` ended them, for `$2`.
fn end(which: &str) -> String {
    format!(
        "WITH ended AS (DELETE FROM policy_overrides WHERE {which} RETURNING *) \
         INSERT INTO policy_override_ends \
           (override_id, policy_id, adjustment, rule_id, author, reason, created_at, ended_at, end_author, end_reason) \
         SELECT id, policy_id, adjustment, rule_id, author, reason, created_at, least(now(), expires_at), $1, $2 FROM ended"
    )
}

/// Ends those whose lease is over.
async fn expire(conn: &mut AsyncPgConnection) -> QueryResult<usize> {
    let end = diesel::sql_query(end("expires_at <= now()"));
    end.bind::<Text, _>("").bind::<Text, _>("its lease is over").execute(conn).await
}

/// Ends the one whose place `new` takes, because it does something else.
async fn displace(conn: &mut AsyncPgConnection, new: &NewOverride) -> QueryResult<usize> {
    let end = diesel::sql_query(end("id = $3 AND policy_id = $4 AND adjustment <> $5"));
    end.bind::<Text, _>(&new.change.author)
        .bind::<Text, _>("another took its place")
        .bind::<Text, _>(&new.id)
        .bind::<Text, _>(&new.policy_id)
        .bind::<Jsonb, _>(&new.adjustment)
        .execute(conn)
        .await
}

impl Storage {
    /// Puts an override, or renews the one of that id if it does the same.
    ///
    /// # Errors
    /// When there is no such policy, it has too many overrides, or the id names an override of another.
    pub async fn override_put(&self, new: &NewOverride) -> Result<OverrideRow, WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let policy = policies::table.find(&new.policy_id).filter(policies::deleted.eq(false));
            let there: Option<String> = policy.select(policies::id).for_share().first(conn).await.optional()?;
            if there.is_none() {
                return Err(WriteError::Absent);
            }
            // Whoever else puts one waits here.
            changed_in_txn(conn).await?;
            expire(conn).await?;
            displace(conn, new).await?;
            let others = policy_overrides::table
                .filter(policy_overrides::policy_id.eq(&new.policy_id).and(policy_overrides::id.ne(&new.id)));
            let others: i64 = others.count().get_result(conn).await?;
            if others >= OVERRIDES_MAX {
                return Err(WriteError::Full(format!(
                    "policy {:?} has {others} overrides, which is the limit overrides_max",
                    new.policy_id
                )));
            }
            let put = diesel::sql_query(PUT)
                .bind::<Text, _>(&new.id)
                .bind::<Text, _>(&new.policy_id)
                .bind::<Jsonb, _>(&new.adjustment)
                .bind::<BigInt, _>(new.lease_ms)
                .bind::<Text, _>(&new.change.author)
                .bind::<Text, _>(&new.change.reason)
                .bind::<Nullable<Text>, _>(&new.rule_id);
            put.get_result(conn).await.optional()?.ok_or(WriteError::Exists)
        })
        .await
    }

    /// The overrides whose lease runs, the oldest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn override_list(&self) -> Result<Vec<OverrideRow>, StorageError> {
        let mut conn = self.conn().await?;
        let running = policy_overrides::table.filter(policy_overrides::expires_at.gt(diesel::dsl::now));
        let oldest_first = running.order((policy_overrides::created_at, policy_overrides::id));
        Ok(oldest_first.select(OverrideRow::as_select()).load(&mut conn).await?)
    }

    /// Ends an override. False when there was none.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn override_end(&self, id: &str, change: &Change) -> Result<bool, StorageError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            changed_in_txn(conn).await?;
            let end = diesel::sql_query(end("id = $3")).bind::<Text, _>(&change.author);
            Ok(end.bind::<Text, _>(&change.reason).bind::<Text, _>(id).execute(conn).await? > 0)
        })
        .await
    }

    /// Writes down that leases are over. How many were.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn overrides_expire(&self) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        Ok(expire(&mut conn).await?)
    }

    /// The last hundred overrides of a policy that have ended, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn override_ends(&self, policy: &str) -> Result<Vec<OverrideEndRow>, StorageError> {
        let mut conn = self.conn().await?;
        let of_policy = policy_override_ends::table.filter(policy_override_ends::policy_id.eq(policy));
        let newest = of_policy.order(policy_override_ends::ended_at.desc()).limit(100);
        Ok(newest.select(OverrideEndRow::as_select()).load(&mut conn).await?)
    }
}
