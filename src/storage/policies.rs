//! Policies and their revisions.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde_json::Value;

use super::rules::{Expected, WriteError};
use super::schema::{policies, policy_revisions};
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

/// Who changes something, and why.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// The policy as it stands, locked.
async fn lock_in_txn(conn: &mut AsyncPgConnection, id: &str) -> QueryResult<Option<PolicyRow>> {
    policies::table.find(id).select(PolicyRow::as_select()).for_update().first(conn).await.optional()
}

/// Writes the next revision of a policy and its history.
async fn write_in_txn(conn: &mut AsyncPgConnection, next: &PolicyRow) -> QueryResult<PolicyRow> {
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
        .await?;
    Ok(row)
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

    /// A number that grows with each change of any policy.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn policies_version(&self) -> Result<i64, StorageError> {
        let mut conn = self.conn().await?;
        let revisions = policy_revisions::table.count();
        Ok(revisions.get_result(&mut conn).await?)
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
    /// When what is there is not what was expected.
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
            let next = PolicyRow {
                id: id.to_owned(),
                definition: definition.clone(),
                revision: there.as_ref().map_or(1, |policy| policy.revision + 1),
                deleted: false,
                author: change.author.clone(),
                reason: change.reason.clone(),
                created_at: DateTime::default(),
                updated_at: DateTime::default(),
            };
            Ok(write_in_txn(conn, &next).await?)
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
            policy.revision += 1;
            policy.deleted = true;
            policy.author.clone_from(&change.author);
            policy.reason.clone_from(&change.reason);
            write_in_txn(conn, &policy).await?;
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
