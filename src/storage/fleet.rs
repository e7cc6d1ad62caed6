//! The fleet: instances that watch policies, and what they are to load before it is asked for.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde::Serialize;
use serde_json::Value;

use super::policies::changed_in_txn;
use super::rules::WriteError;
use super::schema::policy_warmings;
use super::{Storage, StorageError};

/// An instance whose stream is lost may come back for so long; then it is forgotten. A replica that has been away for less
/// than an hour may go on, and its streams with it: they say nothing while nothing changes.
const FORGET: &str = "DELETE FROM policy_instances WHERE last_seen_at < now() - interval '7 days' AND NOT (connected \
     AND EXISTS (SELECT FROM replicas r WHERE r.id = replica AND r.expires_at > now() - interval '1 hour'))";

/// What is written of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceWrite {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// The stream that writes it.
    pub session: String,
    /// The server that has the stream.
    pub replica: String,
    /// Of the service.
    pub version: String,
    /// By name.
    pub labels: Value,
    /// Of the SDK.
    pub sdk: String,
    /// False: the stream is lost.
    pub connected: bool,
    /// For how long after a Pong its memory may be read.
    pub lease_ms: i64,
    /// The last invalidation that it has acknowledged.
    pub invalidation: i64,
    /// By policy.
    pub running: Value,
    /// The stream is new: it takes the row over.
    pub opens: bool,
}

/// An instance as the fleet has it.
#[derive(Clone, Debug, QueryableByName)]
pub struct InstanceRow {
    /// `service.name`.
    #[diesel(sql_type = Text)]
    pub service: String,
    /// `service.instance.id`.
    #[diesel(sql_type = Text)]
    pub instance: String,
    /// Of the service.
    #[diesel(sql_type = Text)]
    pub version: String,
    /// By name.
    #[diesel(sql_type = Jsonb)]
    pub labels: Value,
    /// Of the SDK.
    #[diesel(sql_type = Text)]
    pub sdk: String,
    /// Its stream is open, and the server that has it is heard.
    #[diesel(sql_type = Bool)]
    pub connected: bool,
    /// The last invalidation that it has acknowledged.
    #[diesel(sql_type = BigInt)]
    pub invalidation: i64,
    /// By policy.
    #[diesel(sql_type = Jsonb)]
    pub running: Value,
    /// First heard of.
    #[diesel(sql_type = Timestamptz)]
    pub first_seen_at: DateTime<Utc>,
    /// When it last changed or was lost; now, when it is connected.
    #[diesel(sql_type = Timestamptz)]
    pub last_seen_at: DateTime<Utc>,
}

/// Keys that one instance is to load.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = policy_warmings)]
pub struct WarmingRow {
    /// In order.
    pub id: i64,
    /// Those asked for together.
    pub batch: String,
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Of which cache.
    pub key_space: String,
    /// Which keys.
    pub keys: Value,
}

/// What one instance was asked to load, and what came of it.
#[derive(Clone, Debug, QueryableByName)]
pub struct WarmedRow {
    /// Those asked for together.
    #[diesel(sql_type = Text)]
    pub batch: String,
    /// `service.name`.
    #[diesel(sql_type = Text)]
    pub service: String,
    /// `service.instance.id`.
    #[diesel(sql_type = Text)]
    pub instance: String,
    /// Of which cache.
    #[diesel(sql_type = Text)]
    pub key_space: String,
    /// How many keys.
    #[diesel(sql_type = Integer)]
    pub keys: i32,
    /// When it was asked for.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// Keys that it loaded; nothing until it has reported.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub loaded: Option<i64>,
    /// Keys that it could not load.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub failed: Option<i64>,
}

/// The newest warmings, or the one that is `$1`, instance by instance.
const WARMED: &str = "SELECT w.batch, service, instance, key_space, jsonb_array_length(keys) AS keys, created_at, loaded, failed \
     FROM policy_warmings w JOIN (SELECT batch, min(id) AS first FROM policy_warmings \
       WHERE $1 = '' OR batch = $1 GROUP BY batch ORDER BY first DESC LIMIT $2) b ON b.batch = w.batch \
     ORDER BY b.first DESC, w.id";

/// Most instances that are told to load keys at a time: what they are to load is held for them.
const WARMINGS_OPEN_MAX: i64 = 200;

/// What is not reported on, and asked for within five minutes.
const OPEN: &str = "loaded IS NULL AND created_at > now() - interval '5 minutes'";

/// A row belongs to the stream that opened last; a lease from before may still run, so it only grows by that.
const WRITE: &str = "INSERT INTO policy_instances AS i (service, instance, session, replica, version, labels, sdk, \
       connected, lease_ms, invalidation, running) \
     SELECT service, instance, session, replica, version, labels, sdk, connected, lease_ms, invalidation, running \
     FROM jsonb_to_recordset($1) AS q(service text, instance text, session text, replica text, version text, \
       labels jsonb, sdk text, connected boolean, lease_ms bigint, invalidation bigint, running jsonb) \
     ORDER BY service, instance \
     ON CONFLICT (service, instance) DO UPDATE SET session = excluded.session, replica = excluded.replica, \
       version = excluded.version, labels = excluded.labels, sdk = excluded.sdk, connected = excluded.connected, \
       lease_ms = CASE WHEN i.last_seen_at + make_interval(secs => i.lease_ms / 1000.0) > now() \
         THEN greatest(i.lease_ms, excluded.lease_ms) ELSE excluded.lease_ms END, \
       invalidation = excluded.invalidation, running = excluded.running, last_seen_at = now() \
     WHERE i.session = excluded.session OR excluded.session = ANY($2)";

const LIST: &str = "SELECT service, instance, version, labels, sdk, invalidation, running, first_seen_at, \
       live AS connected, CASE WHEN live THEN now() ELSE last_seen_at END AS last_seen_at \
     FROM (SELECT *, connected AND EXISTS (SELECT FROM replicas r WHERE r.id = i.replica AND r.expires_at > now()) AS live \
       FROM policy_instances i WHERE $1 = '' OR service = $1) fleet \
     ORDER BY service, instance";

impl Storage {
    /// Writes what is new of instances, and which invalidations have reached a Redis.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn instances_write(&self, rows: &[&InstanceWrite], applied: &[i64]) -> Result<(), StorageError> {
        let opens: Vec<&str> = rows.iter().filter(|row| row.opens).map(|row| row.session.as_str()).collect();
        let json = serde_json::to_value(rows).unwrap_or_default();
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let write = diesel::sql_query(WRITE).bind::<Jsonb, _>(json).bind::<Array<Text>, _>(&opens);
            write.execute(conn).await?;
            if !applied.is_empty() {
                let reached = "UPDATE policy_invalidations SET applied = true WHERE sequence = ANY($1) AND NOT applied";
                diesel::sql_query(reached).bind::<Array<BigInt>, _>(applied).execute(conn).await?;
            }
            Ok(())
        })
        .await
    }

    /// The instances of a service, or of all when it is empty, by service and instance.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn instance_list(&self, service: &str) -> Result<Vec<InstanceRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(LIST).bind::<Text, _>(service).load(&mut conn).await?)
    }

    /// Forgets instances that were lost a week ago, and what nobody asks for any more.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn fleet_forget(&self) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        let mut gone = diesel::sql_query(FORGET).execute(&mut conn).await?;
        for old in [
            "DELETE FROM policy_warmings WHERE created_at < now() - interval '1 day'",
            "DELETE FROM policy_override_ends WHERE ended_at < now() - interval '90 days'",
            "DELETE FROM policy_invalidations WHERE sequence < (SELECT invalidation FROM policy_changes) - 10000",
        ] {
            gone += diesel::sql_query(old).execute(&mut conn).await?;
        }
        Ok(gone)
    }

    /// Has instances load keys: `(service, instance)` each.
    ///
    /// # Errors
    /// When too many instances load keys already, or the database is away.
    pub async fn warming_put(
        &self,
        (batch, key_space, keys): (&str, &str, &Value),
        instances: &[(String, String)],
    ) -> Result<(), WriteError> {
        let rows: Vec<_> = instances
            .iter()
            .map(|(service, instance)| {
                (
                    policy_warmings::batch.eq(batch),
                    policy_warmings::service.eq(service),
                    policy_warmings::instance.eq(instance),
                    policy_warmings::key_space.eq(key_space),
                    policy_warmings::keys.eq(keys),
                )
            })
            .collect();
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            changed_in_txn(conn).await?;
            let open: i64 =
                policy_warmings::table.filter(diesel::dsl::sql::<Bool>(OPEN)).count().get_result(conn).await?;
            if open + rows.len() as i64 > WARMINGS_OPEN_MAX {
                let (more, most) = (rows.len(), WARMINGS_OPEN_MAX);
                return Err(WriteError::Full(format!(
                    "{open} instances load keys, and {more} more are over the limit warmings_open of {most}"
                )));
            }
            diesel::insert_into(policy_warmings::table).values(rows).execute(conn).await?;
            Ok(())
        })
        .await
    }

    /// What was asked for and not reported on within five minutes, in order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn warmings_open(&self) -> Result<Vec<WarmingRow>, StorageError> {
        let mut conn = self.conn().await?;
        let open = policy_warmings::table.filter(diesel::dsl::sql::<Bool>(OPEN)).select(WarmingRow::as_select());
        Ok(open.order(policy_warmings::id).limit(WARMINGS_OPEN_MAX).load(&mut conn).await?)
    }

    /// What was asked for together, or with no name the newest warmings, the newest first; instance by instance.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn warmed(&self, batch: &str, most: i64) -> Result<Vec<WarmedRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(WARMED).bind::<Text, _>(batch).bind::<BigInt, _>(most).load(&mut conn).await?)
    }

    /// What came of one.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn warming_end(&self, id: i64, (loaded, failed): (i64, i64)) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let ended = (policy_warmings::loaded.eq(loaded), policy_warmings::failed.eq(failed));
        diesel::update(policy_warmings::table.find(id)).set(ended).execute(&mut conn).await?;
        Ok(())
    }
}
