//! Silences, maintenance windows, the routing tree, inhibitions and objectives: small things that people write whole.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::Value;

use super::groups::reconsider_in_txn;
use super::rules::{Expected, WriteError, changed_in_txn};
use super::schema::{alert_routing, maintenance_windows, silences, slos};
use super::{Storage, StorageError};

/// A definition with its revision.
#[derive(Clone, Debug, Queryable)]
pub struct Revised {
    /// As JSON.
    pub definition: Value,
    /// Grows by one at each accepted change.
    pub revision: i64,
}

impl Storage {
    /// Silences that have not ended longer than a day ago, newest first, and the time.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn silence_list(&self) -> Result<Vec<Value>, StorageError> {
        let mut conn = self.conn().await?;
        let recent = silences::table.order(silences::created_at.desc()).limit(1_000);
        Ok(recent.select(silences::definition).load(&mut conn).await?)
    }

    /// One silence.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn silence_find(&self, id: &str) -> Result<Option<Value>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(silences::table.find(id).select(silences::definition).first(&mut conn).await.optional()?)
    }

    /// Writes a silence.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn silence_put(
        &self,
        (id, definition): (&str, &Value),
        (starts_at, ends_at): (DateTime<Utc>, DateTime<Utc>),
        expected: Expected,
    ) -> Result<(), WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there: Option<String> =
                silences::table.find(id).select(silences::id).for_update().first(conn).await.optional()?;
            expected.check(there.map(|_| 0))?;
            let values =
                (silences::definition.eq(definition), silences::starts_at.eq(starts_at), silences::ends_at.eq(ends_at));
            diesel::insert_into(silences::table)
                .values((silences::id.eq(id), values))
                .on_conflict(silences::id)
                .do_update()
                .set((values, silences::updated_at.eq(now)))
                .execute(conn)
                .await?;
            Ok(reconsider_in_txn(conn).await?)
        })
        .await
    }

    /// Every maintenance window, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn window_list(&self) -> Result<Vec<Value>, StorageError> {
        let mut conn = self.conn().await?;
        let all = maintenance_windows::table.order(maintenance_windows::id);
        Ok(all.select(maintenance_windows::definition).load(&mut conn).await?)
    }

    /// Writes a maintenance window, or with no definition deletes it.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn window_put(&self, id: &str, definition: Option<&Value>, expected: Expected) -> Result<(), WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there = maintenance_windows::table.find(id).select(maintenance_windows::id).for_update();
            let there: Option<String> = there.first(conn).await.optional()?;
            expected.check(there.map(|_| 0))?;
            match definition {
                None => diesel::delete(maintenance_windows::table.find(id)).execute(conn).await?,
                Some(definition) => {
                    diesel::insert_into(maintenance_windows::table)
                        .values((maintenance_windows::id.eq(id), maintenance_windows::definition.eq(definition)))
                        .on_conflict(maintenance_windows::id)
                        .do_update()
                        .set((maintenance_windows::definition.eq(definition), maintenance_windows::updated_at.eq(now)))
                        .execute(conn)
                        .await?
                }
            };
            Ok(reconsider_in_txn(conn).await?)
        })
        .await
    }

    /// `routes` or `inhibitions`, when somebody wrote them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn routing_find(&self, kind: &str) -> Result<Option<Revised>, StorageError> {
        let mut conn = self.conn().await?;
        let found = alert_routing::table.find(kind).select((alert_routing::definition, alert_routing::revision));
        Ok(found.first(&mut conn).await.optional()?)
    }

    /// Replaces `routes` or `inhibitions`; returns the new revision.
    ///
    /// # Errors
    /// When it is not at the revision that was expected; what nobody has written is at 0.
    pub async fn routing_put(&self, kind: &str, definition: &Value, expected: Option<i64>) -> Result<i64, WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            // Also the lock that makes one writer at a time.
            changed_in_txn(conn, "routing").await?;
            let there = alert_routing::table.find(kind).select(alert_routing::revision).for_update();
            let there: Option<i64> = there.first(conn).await.optional()?;
            let revision = there.unwrap_or(0);
            if expected.is_some_and(|expected| expected != revision) {
                return Err(WriteError::Stale(revision));
            }
            let values = (alert_routing::definition.eq(definition), alert_routing::revision.eq(revision + 1));
            diesel::insert_into(alert_routing::table)
                .values((alert_routing::kind.eq(kind), values))
                .on_conflict(alert_routing::kind)
                .do_update()
                .set((values, alert_routing::updated_at.eq(now)))
                .execute(conn)
                .await?;
            reconsider_in_txn(conn).await?;
            Ok(revision + 1)
        })
        .await
    }

    /// Every objective, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn slo_list(&self) -> Result<Vec<Revised>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(slos::table.order(slos::id).select((slos::definition, slos::revision)).load(&mut conn).await?)
    }

    /// Writes an objective, or with no definition deletes it; returns the new revision.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn slo_put(&self, id: &str, definition: Option<&Value>, expected: Expected) -> Result<i64, WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there: Option<i64> =
                slos::table.find(id).select(slos::revision).for_update().first(conn).await.optional()?;
            expected.check(there)?;
            let revision = there.unwrap_or(0) + 1;
            let Some(definition) = definition else {
                diesel::delete(slos::table.find(id)).execute(conn).await?;
                return Ok(revision);
            };
            let values = (slos::definition.eq(definition), slos::revision.eq(revision));
            diesel::insert_into(slos::table)
                .values((slos::id.eq(id), values))
                .on_conflict(slos::id)
                .do_update()
                .set((values, slos::updated_at.eq(now)))
                .execute(conn)
                .await?;
            Ok(revision)
        })
        .await
    }
}
