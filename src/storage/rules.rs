//! Rules and their revisions.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde_json::Value;

use super::schema::{alerting_changes, rule_revisions, rule_states, rules};
use super::{Storage, StorageError};

/// A rule as it stands.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = rules)]
pub struct RuleRow {
    /// Names it for ever.
    pub id: String,
    /// `model::Rule` as JSON.
    pub definition: Value,
    /// `default`, `api` or `file`.
    pub origin: String,
    /// Grows by one at each accepted change.
    pub revision: i64,
    /// Gone, but for its history.
    pub deleted: bool,
    /// First saved.
    pub created_at: DateTime<Utc>,
    /// Last changed.
    pub updated_at: DateTime<Utc>,
}

/// One revision of a rule.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = rule_revisions)]
pub struct RuleRevisionRow {
    /// Its number.
    pub revision: i64,
    /// `model::Rule` as JSON.
    pub definition: Value,
    /// Where it came from.
    pub origin: String,
    /// It was the end of the rule.
    pub deleted: bool,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

/// What a writer expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// This revision.
    Revision(i64),
    /// Something, whatever its revision.
    Present,
    /// Anything or nothing.
    Anything,
}

/// Why a write was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no such thing.
    #[error("there is no such thing")]
    Absent,
    /// There is one already.
    #[error("there is one with this id already")]
    Exists,
    /// Somebody else was faster.
    #[error("it is at revision {0} by now")]
    Stale(i64),
    /// It is held by something that must end first.
    #[error("{0} is under way")]
    Busy(String),
    /// There are so many that no more are taken; the limit is named.
    #[error("there is no room: {0}")]
    Full(String),
    /// The database.
    #[error("the database did not take it")]
    Storage(#[from] StorageError),
}

impl From<diesel::result::Error> for WriteError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error};
        match error {
            // Two made it at once.
            Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Self::Exists,
            other => Self::Storage(other.into()),
        }
    }
}

impl Expected {
    /// Whether what is there, by revision, is what was expected.
    pub(super) const fn check(self, there: Option<i64>) -> Result<(), WriteError> {
        match (self, there) {
            (Self::Absent, Some(_)) => Err(WriteError::Exists),
            (Self::Revision(_) | Self::Present, None) => Err(WriteError::Absent),
            (Self::Revision(wanted), Some(there)) if wanted != there => Err(WriteError::Stale(there)),
            _ => Ok(()),
        }
    }
}

/// Tells every replica to read `kind` anew.
pub(super) async fn changed_in_txn(conn: &mut AsyncPgConnection, kind: &str) -> QueryResult<()> {
    diesel::update(alerting_changes::table.find(kind))
        .set(alerting_changes::revision.eq(alerting_changes::revision + 1))
        .execute(conn)
        .await
        .map(drop)
}

/// The rule as it stands, locked.
async fn lock_in_txn(conn: &mut AsyncPgConnection, id: &str) -> QueryResult<Option<RuleRow>> {
    rules::table.find(id).select(RuleRow::as_select()).for_update().first(conn).await.optional()
}

/// Writes the next revision of a rule, its history, and what fences the evaluations under way.
/// What was seen of series is forgotten where they are `other` ones now: those of before would be missed.
async fn write_in_txn(conn: &mut AsyncPgConnection, next: &RuleRow, other: bool) -> QueryResult<RuleRow> {
    let same = (
        rules::definition.eq(&next.definition),
        rules::origin.eq(&next.origin),
        rules::revision.eq(next.revision),
        rules::deleted.eq(next.deleted),
    );
    let row = diesel::insert_into(rules::table)
        .values((rules::id.eq(&next.id), same))
        .on_conflict(rules::id)
        .do_update()
        .set((same, rules::updated_at.eq(now)))
        .returning(RuleRow::as_returning())
        .get_result(conn)
        .await?;
    diesel::insert_into(rule_revisions::table)
        .values((
            rule_revisions::rule_id.eq(&next.id),
            rule_revisions::revision.eq(next.revision),
            rule_revisions::definition.eq(&next.definition),
            rule_revisions::origin.eq(&next.origin),
            rule_revisions::deleted.eq(next.deleted),
        ))
        .execute(conn)
        .await?;
    diesel::insert_into(rule_states::table)
        .values(rule_states::rule_id.eq(&next.id))
        .on_conflict(rule_states::rule_id)
        .do_update()
        .set(rule_states::epoch.eq(rule_states::epoch + 1))
        .execute(conn)
        .await?;
    if other {
        let state = rule_states::table.find(&next.id);
        diesel::update(state).set(rule_states::known.eq(serde_json::json!([]))).execute(conn).await?;
    }
    changed_in_txn(conn, "rules").await?;
    Ok(row)
}

impl Storage {
    /// All rules by id, deleted ones too.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rule_list(&self) -> Result<Vec<RuleRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(rules::table.select(RuleRow::as_select()).order(rules::id).load(&mut conn).await?)
    }

    /// One rule, unless it was deleted.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rule_find(&self, id: &str) -> Result<Option<RuleRow>, StorageError> {
        let mut conn = self.conn().await?;
        let found = rules::table.find(id).filter(rules::deleted.eq(false)).select(RuleRow::as_select());
        Ok(found.first(&mut conn).await.optional()?)
    }

    /// Creates or replaces a rule. A definition that changes nothing is no new revision.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn rule_put(
        &self,
        (id, definition): (&str, &Value),
        origin: &str,
        expected: Expected,
    ) -> Result<RuleRow, WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there = lock_in_txn(conn, id).await?;
            let alive = there.as_ref().filter(|rule| !rule.deleted);
            expected.check(alive.map(|rule| rule.revision))?;
            if let Some(same) = alive.filter(|rule| rule.definition == *definition && rule.origin == origin) {
                return Ok(same.clone());
            }
            let next = RuleRow {
                id: id.to_owned(),
                definition: definition.clone(),
                origin: origin.to_owned(),
                revision: there.as_ref().map_or(1, |rule| rule.revision + 1),
                deleted: false,
                created_at: DateTime::default(),
                updated_at: DateTime::default(),
            };
            let is_same = |name: &str| alive.is_some_and(|rule| rule.definition.get(name) == definition.get(name));
            let other = !["condition", "labels", "groupBy"].into_iter().all(is_same);
            Ok(write_in_txn(conn, &next, other).await?)
        })
        .await
    }

    /// Deletes a rule; its alerts are resolved by the next evaluation.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn rule_delete(&self, id: &str, expected: Expected) -> Result<(), WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there = lock_in_txn(conn, id).await?.filter(|rule| !rule.deleted);
            expected.check(there.as_ref().map(|rule| rule.revision))?;
            let Some(mut rule) = there else { return Err(WriteError::Absent) };
            rule.revision += 1;
            rule.deleted = true;
            write_in_txn(conn, &rule, true).await?;
            Ok(())
        })
        .await
    }

    /// Every revision of a rule, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rule_revisions(&self, id: &str) -> Result<Vec<RuleRevisionRow>, StorageError> {
        let mut conn = self.conn().await?;
        let of_rule = rule_revisions::table.filter(rule_revisions::rule_id.eq(id));
        let newest_first = of_rule.order(rule_revisions::revision.desc()).select(RuleRevisionRow::as_select());
        Ok(newest_first.load(&mut conn).await?)
    }

    /// Brings the shipped rules up to date: new ones come in, untouched ones are replaced, a person's stay, deleted ones
    /// stay deleted. Returns how many were written.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rules_seed(&self, defaults: &[(String, Value)]) -> Result<usize, StorageError> {
        let mut written = 0;
        for (id, definition) in defaults {
            let mut conn = self.conn().await?;
            let done = conn.transaction(async |conn| {
                // Two replicas that start at once: the second waits here and finds it done.
                let there = lock_in_txn(conn, id).await?;
                let untouched = |rule: &RuleRow| rule.origin == "default" && !rule.deleted;
                if there.as_ref().is_some_and(|rule| !untouched(rule) || rule.definition == *definition) {
                    return Ok(false);
                }
                let next = RuleRow {
                    id: id.clone(),
                    definition: definition.clone(),
                    origin: "default".to_owned(),
                    revision: there.as_ref().map_or(1, |rule| rule.revision + 1),
                    deleted: false,
                    created_at: DateTime::default(),
                    updated_at: DateTime::default(),
                };
                write_in_txn(conn, &next, true).await.map(|_| true)
            });
            match done.await {
                Ok(new) => written += usize::from(new),
                // Another replica inserted the same revision in between.
                Err(diesel::result::Error::DatabaseError(diesel::result::DatabaseErrorKind::UniqueViolation, _)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(written)
    }
}
