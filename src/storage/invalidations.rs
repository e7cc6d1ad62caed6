//! Invalidations of cached entries: numbered without gaps, and known to have reached everybody or not.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Jsonb, Text};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde_json::Value;

use super::schema::policy_invalidations;
use super::{Storage, StorageError};

/// An invalidation that is asked for.
#[derive(Clone, Debug)]
pub struct NewInvalidation {
    /// Whose caches; a `*` stands for any characters, and nothing for every service.
    pub service: String,
    /// Which caches, alike.
    pub key_space: String,
    /// `model::InvalidationTargets` as JSON.
    pub targets: Value,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// An invalidation.
#[derive(Clone, Debug, Queryable, Selectable, QueryableByName)]
#[diesel(table_name = policy_invalidations)]
pub struct InvalidationRow {
    /// Grows by one with each.
    pub sequence: i64,
    /// As in [`NewInvalidation`].
    pub service: String,
    /// As in [`NewInvalidation`].
    pub key_space: String,
    /// As in [`NewInvalidation`].
    pub targets: Value,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// An instance that has such a cache has acknowledged it.
    pub applied: bool,
    /// From then on nobody reads an entry from before.
    pub converged_at: Option<DateTime<Utc>>,
}

/// How far an invalidation has come.
#[derive(Clone, Debug, QueryableByName)]
pub struct Reached {
    /// Which.
    #[diesel(sql_type = BigInt)]
    pub sequence: i64,
    /// How long it took.
    #[diesel(sql_type = Double)]
    pub seconds: f64,
}

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = Text)]
    service: String,
    #[diesel(sql_type = Text)]
    instance: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// The row of `policy_changes` is locked first: numbers are in the order of the commits.
const PUT: &str = "WITH next AS (UPDATE policy_changes SET invalidation = invalidation + 1, revision = revision + 1 \
       RETURNING invalidation) \
     INSERT INTO policy_invalidations (sequence, service, service_like, key_space, targets, author, reason, created_at) \
     SELECT next.invalidation, $1, $2, $3, $4, $5, $6, clock_timestamp() FROM next RETURNING *";

/// Instances that may still read what invalidation `v` has ended: they have not acknowledged it, and a lease from before it
/// may run. Whoever is answered later knows of it first, so no such lease outlasts its commit by more than its own length;
/// the margin is for clocks that run apart. An instance that was lost has no lease from after that.
const WAITING: &str = "SELECT i.service, i.instance FROM policy_instances i \
     WHERE i.invalidation < v.sequence AND i.service LIKE v.service_like \
       AND (v.committed_at IS NULL OR v.committed_at + make_interval(secs => i.lease_ms * 0.00101 + 0.1) > clock_timestamp()) \
       AND (i.connected OR i.last_seen_at + make_interval(secs => i.lease_ms * 0.00101 + 0.1) > clock_timestamp())";

fn like(pattern: &str) -> String {
    if pattern.is_empty() {
        return "%".to_owned();
    }
    let mut like = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match c {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            other => like.push(other),
        }
    }
    like
}

impl Storage {
    /// Numbers an invalidation and keeps it. When this answers it is committed.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn invalidation_put(&self, new: &NewInvalidation) -> Result<InvalidationRow, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(PUT)
            .bind::<Text, _>(&new.service)
            .bind::<Text, _>(like(&new.service))
            .bind::<Text, _>(&new.key_space)
            .bind::<Jsonb, _>(&new.targets)
            .bind::<Text, _>(&new.author)
            .bind::<Text, _>(&new.reason)
            .get_result(&mut conn)
            .await?)
    }

    /// The invalidations after `sequence`, in order; at most `limit`, the newest of them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn invalidations_after(&self, sequence: i64, limit: i64) -> Result<Vec<InvalidationRow>, StorageError> {
        let mut conn = self.conn().await?;
        let after = policy_invalidations::table.filter(policy_invalidations::sequence.gt(sequence));
        let newest = after.order(policy_invalidations::sequence.desc()).limit(limit);
        let mut rows: Vec<InvalidationRow> = newest.select(InvalidationRow::as_select()).load(&mut conn).await?;
        rows.reverse();
        Ok(rows)
    }

    /// Those of `sequences` that an instance has applied to its Redis.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn invalidations_applied(&self, sequences: &[i64]) -> Result<Vec<i64>, StorageError> {
        let mut conn = self.conn().await?;
        let applied = policy_invalidations::sequence.eq_any(sequences).and(policy_invalidations::applied);
        let applied = policy_invalidations::table.filter(applied).select(policy_invalidations::sequence);
        Ok(applied.load(&mut conn).await?)
    }

    /// One invalidation.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn invalidation_find(&self, sequence: i64) -> Result<Option<InvalidationRow>, StorageError> {
        let mut conn = self.conn().await?;
        let found = policy_invalidations::table.find(sequence).select(InvalidationRow::as_select());
        Ok(found.first(&mut conn).await.optional()?)
    }

    /// Writes down which invalidations have reached everybody by now; returns those, and how many have not.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn invalidations_settle(&self) -> Result<(Vec<Reached>, i64), StorageError> {
        let mut conn = self.conn().await?;
        // What is seen here is committed; a moment later is soon enough.
        let committed = "UPDATE policy_invalidations SET committed_at = clock_timestamp() WHERE committed_at IS NULL AND converged_at IS NULL";
        diesel::sql_query(committed).execute(&mut conn).await?;
        let settle = format!(
            "UPDATE policy_invalidations v SET converged_at = clock_timestamp() \
             WHERE v.converged_at IS NULL AND v.applied AND NOT EXISTS ({WAITING}) \
             RETURNING sequence, extract(epoch FROM converged_at - created_at)::double precision AS seconds"
        );
        conn.transaction(async |conn| {
            let reached: Vec<Reached> = diesel::sql_query(settle).load(conn).await?;
            let open = policy_invalidations::table.filter(policy_invalidations::converged_at.is_null()).count();
            Ok((reached, open.get_result(conn).await?))
        })
        .await
    }

    /// Instances that have acknowledged an invalidation, and, as `service/instance`, the first hundred that it waits for.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn invalidation_reach(&self, sequence: i64) -> Result<(i64, Vec<String>), StorageError> {
        let mut conn = self.conn().await?;
        let acknowledged = "SELECT count(*) AS count FROM policy_invalidations v JOIN policy_instances i \
             ON i.service LIKE v.service_like AND i.invalidation >= v.sequence WHERE v.sequence = $1";
        let count: Count = diesel::sql_query(acknowledged).bind::<BigInt, _>(sequence).get_result(&mut conn).await?;
        let waiting = format!(
            "SELECT w.service, w.instance FROM policy_invalidations v CROSS JOIN LATERAL ({WAITING}) w \
             WHERE v.sequence = $1 AND v.converged_at IS NULL ORDER BY 1, 2 LIMIT 100"
        );
        let waiting: Vec<Waiting> = diesel::sql_query(waiting).bind::<BigInt, _>(sequence).load(&mut conn).await?;
        Ok((count.count, waiting.into_iter().map(|row| format!("{}/{}", row.service, row.instance)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn a_star_is_any_characters_and_nothing_else_is() {
        assert_eq!(like("shop-*_%\\"), "shop-%\\_\\%\\\\");
        assert_eq!(like(""), "%");
    }
}
