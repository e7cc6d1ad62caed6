//! Policies and their revisions.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde_json::Value;

use super::rules::{Expected, WriteError};
use super::schema::{policies, policy_changes, policy_revisions, policy_rollouts};
use super::{Storage, StorageError};

/// A policy as it stands.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = policies)]
pub struct PolicyRow {
    /// Names it for ever.
    pub id: String,
    /// `model::Policy` as JSON.
    pub definition: Value,
    /// Grows by one at each accepted change.
    pub revision: i64,
    /// Gone, but for its history.
    pub deleted: bool,
    /// Who made this revision.
    pub author: String,
    /// And why.
    pub reason: String,
    /// First saved.
    pub created_at: DateTime<Utc>,
    /// Last changed.
    pub updated_at: DateTime<Utc>,
}

/// One revision of a policy.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = policy_revisions)]
pub struct PolicyRevisionRow {
    /// Its number.
    pub revision: i64,
    /// `model::Policy` as JSON.
    pub definition: Value,
    /// It was the end of the policy.
    pub deleted: bool,
    /// Who made it.
    pub author: String,
    /// And why.
    pub reason: String,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

/// How far the house is: numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = policy_changes)]
pub struct PolicyVersion {
    /// Changes of anything that an instance may have to be told of.
    pub revision: i64,
    /// The last invalidation.
    pub invalidation: i64,
}

/// Most policies that are not deleted: whoever watches may have to be told all of them.
const POLICIES_MAX: i64 = 5_000;

/// Who changes something, and why.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// Tells every replica that something is to be read anew; whoever else changes something waits for the transaction's end.
pub(super) async fn changed_in_txn(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    let grown = policy_changes::revision.eq(policy_changes::revision + 1);
    diesel::update(policy_changes::table).set(grown).execute(conn).await.map(drop)
}

/// The number after the newest revision of a policy, of which a rollout may have been rolled back.
pub(super) async fn next_revision_in_txn(conn: &mut AsyncPgConnection, id: &str) -> QueryResult<i64> {
    let of_policy = policy_revisions::table.filter(policy_revisions::policy_id.eq(id));
    let newest: Option<i64> = of_policy.select(diesel::dsl::max(policy_revisions::revision)).first(conn).await?;
    Ok(newest.unwrap_or(0) + 1)
}

/// The policy as it stands, locked.
pub(super) async fn lock_in_txn(conn: &mut AsyncPgConnection, id: &str) -> QueryResult<Option<PolicyRow>> {
    policies::table.find(id).select(PolicyRow::as_select()).for_update().first(conn).await.optional()
}

/// Refuses while a rollout of the policy is under way.
pub(super) async fn at_rest_in_txn(conn: &mut AsyncPgConnection, id: &str) -> Result<(), WriteError> {
    let open = policy_rollouts::table
        .filter(policy_rollouts::policy_id.eq(id).and(policy_rollouts::ended_at.is_null()))
        .select(policy_rollouts::id);
    let open: Option<String> = open.first(conn).await.optional()?;
    open.map_or(Ok(()), |rollout| Err(WriteError::Busy(rollout)))
}

/// Makes `next` the policy as it stands.
pub(super) async fn stand_in_txn(conn: &mut AsyncPgConnection, next: &PolicyRow) -> QueryResult<PolicyRow> {
    let same = (
        policies::definition.eq(&next.definition),
        policies::revision.eq(next.revision),
        policies::deleted.eq(next.deleted),
        policies::author.eq(&next.author),
        policies::reason.eq(&next.reason),
    );
    let row = diesel::insert_into(policies::table)
        .values((policies::id.eq(&next.id), same))
        .on_conflict(policies::id)
        .do_update()
        .set((same, policies::updated_at.eq(now)))
        .returning(PolicyRow::as_returning())
        .get_result(conn)
        .await?;
    changed_in_txn(conn).await?;
    Ok(row)
}

/// Writes a revision into the history.
pub(super) async fn remember_in_txn(conn: &mut AsyncPgConnection, next: &PolicyRow) -> QueryResult<()> {
    diesel::insert_into(policy_revisions::table)
        .values((
            policy_revisions::policy_id.eq(&next.id),
            policy_revisions::revision.eq(next.revision),
            policy_revisions::definition.eq(&next.definition),
            policy_revisions::deleted.eq(next.deleted),
            policy_revisions::author.eq(&next.author),
            policy_revisions::reason.eq(&next.reason),
        ))
        .execute(conn)
        .await
        .map(drop)
}

impl Storage {
    /// Every policy that was not deleted, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn policy_list(&self) -> Result<Vec<PolicyRow>, StorageError> {
        let mut conn = self.conn().await?;
        let alive = policies::table.filter(policies::deleted.eq(false));
        Ok(alive.select(PolicyRow::as_select()).order(policies::id).load(&mut conn).await?)
    }

    /// Grows with each change that an instance may have to be told of.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn policies_version(&self) -> Result<PolicyVersion, StorageError> {
        let mut conn = self.conn().await?;
        Ok(policy_changes::table.select(PolicyVersion::as_select()).get_result(&mut conn).await?)
    }

    /// One policy, unless it was deleted.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn policy_find(&self, id: &str) -> Result<Option<PolicyRow>, StorageError> {
        let mut conn = self.conn().await?;
        let found = policies::table.find(id).filter(policies::deleted.eq(false)).select(PolicyRow::as_select());
        Ok(found.first(&mut conn).await.optional()?)
    }

    /// Creates or replaces a policy. A definition that changes nothing is no new revision.
    ///
    /// # Errors
    /// When what is there is not what was expected, or there are too many.
    pub async fn policy_put(
        &self,
        (id, definition): (&str, &Value),
        change: &Change,
        expected: Expected,
    ) -> Result<PolicyRow, WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there = lock_in_txn(conn, id).await?;
            let alive = there.as_ref().filter(|policy| !policy.deleted);
            expected.check(alive.map(|policy| policy.revision))?;
            if let Some(same) = alive.filter(|policy| policy.definition == *definition) {
                return Ok(same.clone());
            }
            if alive.is_none() {
                let alive: i64 = policies::table.filter(policies::deleted.eq(false)).count().get_result(conn).await?;
                if alive >= POLICIES_MAX {
                    return Err(WriteError::Full(format!(
                        "there are {alive} policies, which is the limit policies_max"
                    )));
                }
            }
            at_rest_in_txn(conn, id).await?;
            let next = PolicyRow {
                id: id.to_owned(),
                definition: definition.clone(),
                revision: next_revision_in_txn(conn, id).await?,
                deleted: false,
                author: change.author.clone(),
                reason: change.reason.clone(),
                created_at: DateTime::default(),
                updated_at: DateTime::default(),
            };
            let row = stand_in_txn(conn, &next).await?;
            remember_in_txn(conn, &next).await?;
            Ok(row)
        })
        .await
    }

    /// Deletes a policy; its revisions stay.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn policy_delete(&self, id: &str, change: &Change, expected: Expected) -> Result<(), WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there = lock_in_txn(conn, id).await?.filter(|policy| !policy.deleted);
            expected.check(there.as_ref().map(|policy| policy.revision))?;
            let Some(mut policy) = there else { return Err(WriteError::Absent) };
            at_rest_in_txn(conn, id).await?;
            policy.revision = next_revision_in_txn(conn, id).await?;
            policy.deleted = true;
            policy.author.clone_from(&change.author);
            policy.reason.clone_from(&change.reason);
            stand_in_txn(conn, &policy).await?;
            remember_in_txn(conn, &policy).await?;
            Ok(())
        })
        .await
    }

    /// Every revision of a policy, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn policy_revisions(&self, id: &str) -> Result<Vec<PolicyRevisionRow>, StorageError> {
        let mut conn = self.conn().await?;
        let of_policy = policy_revisions::table.filter(policy_revisions::policy_id.eq(id));
        let newest_first = of_policy.order(policy_revisions::revision.desc()).select(PolicyRevisionRow::as_select());
        Ok(newest_first.load(&mut conn).await?)
    }
}
