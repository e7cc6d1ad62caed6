//! The outbox at work: claims under a lease, attempts that name the lease's epoch, retention.
//!
//! All times are the database's. A claim raises the epoch; whoever names an older one changes nothing.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;

use super::{Storage, StorageError};

/// Deliveries dropped by one statement of the retention.
const EXPIRED_PER_STATEMENT: i64 = 5_000;

/// A delivery that this process may try, while its lease lasts.
#[derive(Clone, Debug, QueryableByName)]
pub struct ClaimedDelivery {
    /// Which.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// To whom.
    #[diesel(sql_type = Text)]
    pub receiver_id: String,
    /// The notification as JSON.
    #[diesel(sql_type = Jsonb)]
    pub notification: serde_json::Value,
    /// Names this claim.
    #[diesel(sql_type = BigInt)]
    pub lease_epoch: i64,
}

/// An attempt that has begun: it is counted, and the lease is fresh.
#[derive(Clone, Debug, QueryableByName)]
pub struct BegunAttempt {
    /// Counted from one over the delivery's life.
    #[diesel(sql_type = Integer)]
    pub number: i32,
    /// Counted from one since it was queued.
    #[diesel(sql_type = Integer)]
    pub number_in_round: i32,
    /// Now, by the database's clock.
    #[diesel(sql_type = Timestamptz)]
    pub began_at: DateTime<Utc>,
    /// Seconds since it was queued.
    #[diesel(sql_type = Double)]
    pub age_seconds: f64,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It arrived.
    Sent {
        /// What the receiver calls the message.
        remote_ref: Option<String>,
    },
    /// To be tried again after so many seconds.
    Retry {
        /// Counted from the recording.
        delay_seconds: f64,
    },
    /// Given up.
    Dead {
        /// True when the receiver will never take it; false when time ran out.
        refused: bool,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// Of which delivery.
    pub delivery_id: i64,
    /// Under which claim.
    pub lease_epoch: i64,
    /// By whom.
    pub holder: String,
    /// As begun.
    pub begun: BegunAttempt,
    /// What becomes of it.
    pub ending: Ending,
    /// HTTP or SMTP status.
    pub status: Option<i32>,
    /// Why it failed, without secrets.
    pub detail: String,
}

/// What is due.
#[derive(Clone, Debug, QueryableByName)]
pub struct QueueState {
    /// Now, by the database's clock.
    #[diesel(sql_type = Timestamptz)]
    pub at: DateTime<Utc>,
    /// Receivers to which something is due, also what is being tried.
    #[diesel(sql_type = Array<Text>)]
    pub receivers: Vec<String>,
}

#[derive(QueryableByName)]
struct Depth {
    #[diesel(sql_type = BigInt)]
    depth: i64,
    #[diesel(sql_type = Double)]
    age_seconds: f64,
}

#[derive(QueryableByName)]
struct EarlierMessage {
    #[diesel(sql_type = Text)]
    remote_ref: String,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
}

/// A loose index scan: one step for each receiver, to the row of it that is due first, however many wait.
const DUE_RECEIVERS: &str = "WITH RECURSIVE waiting AS ( \
       (SELECT receiver_id, next_attempt_at FROM deliveries WHERE state = 'queued' \
        ORDER BY receiver_id, next_attempt_at LIMIT 1) \
       UNION ALL \
       SELECT d.receiver_id, d.next_attempt_at FROM waiting w CROSS JOIN LATERAL ( \
         SELECT receiver_id, next_attempt_at FROM deliveries WHERE state = 'queued' AND receiver_id > w.receiver_id \
         ORDER BY receiver_id, next_attempt_at LIMIT 1) d) \
     SELECT now() AS at, \
       coalesce((SELECT array_agg(receiver_id) FROM waiting WHERE next_attempt_at <= now()), '{}') AS receivers";

/// The first of each group only: a message never overtakes an earlier one of its group.
const CLAIM: &str = "WITH due AS ( \
       SELECT d.id FROM deliveries d \
       WHERE d.state = 'queued' AND d.receiver_id = $2 AND d.next_attempt_at <= now() \
         AND (d.lease_expires_at IS NULL OR d.lease_expires_at <= now()) \
         AND NOT EXISTS (SELECT FROM deliveries e WHERE e.state = 'queued' AND e.receiver_id = d.receiver_id \
                         AND e.group_key = d.group_key AND e.id < d.id) \
       ORDER BY d.next_attempt_at, d.id LIMIT $3 FOR UPDATE OF d SKIP LOCKED) \
     UPDATE deliveries SET lease_holder = $1, lease_epoch = lease_epoch + 1, \
       lease_expires_at = now() + make_interval(secs => $4) \
     FROM due WHERE deliveries.id = due.id \
     RETURNING deliveries.id, receiver_id, notification, lease_epoch";

/// The lease is checked by the database's clock. An attempt before this one without an outcome was lost with its sender.
const BEGIN: &str = "WITH begun AS ( \
       UPDATE deliveries SET attempts = attempts + 1, lease_expires_at = now() + make_interval(secs => $3) \
       WHERE id = $1 AND lease_epoch = $2 AND state = 'queued' AND lease_expires_at > now() \
       RETURNING id, attempts, attempts_before, queued_at), \
     lost AS ( \
       INSERT INTO delivery_attempts (delivery_id, number, holder, began_at, outcome, detail) \
       SELECT id, attempts - 1, '', now(), 'retry', 'the sender ended before it told the outcome' \
       FROM begun WHERE attempts > 1 ON CONFLICT DO NOTHING) \
     SELECT attempts AS number, attempts - attempts_before AS number_in_round, now() AS began_at, \
       extract(epoch FROM now() - queued_at)::float8 AS age_seconds FROM begun";

/// One statement, so that a process stopped in the middle of it holds no lock on the row.
const RECORD: &str = "WITH ended AS ( \
       UPDATE deliveries SET state = $3, \
         next_attempt_at = now() + make_interval(secs => $4), \
         ended_at = CASE WHEN $3 = 'queued' THEN NULL ELSE now() END, \
         remote_ref = coalesce($5, remote_ref), lease_holder = NULL, lease_expires_at = NULL \
       WHERE id = $1 AND lease_epoch = $2 AND state = 'queued' RETURNING id) \
     INSERT INTO delivery_attempts (delivery_id, number, holder, began_at, outcome, status, detail) \
     SELECT id, $6, $7, $8, $9, $10, $11 FROM ended";

impl Storage {
    /// The receivers for which something is due.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn outbox_state(&self) -> Result<QueueState, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(DUE_RECEIVERS).get_result(&mut conn).await?)
    }

    /// Claims at most `limit` due deliveries to `receiver` for `lease_seconds`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn outbox_claim(
        &self,
        holder: &str,
        receiver: &str,
        limit: usize,
        lease_seconds: f64,
    ) -> Result<Vec<ClaimedDelivery>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(CLAIM)
            .bind::<Text, _>(holder)
            .bind::<Text, _>(receiver)
            .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind::<Double, _>(lease_seconds)
            .load(&mut conn)
            .await?)
    }

    /// Counts an attempt and makes the lease fresh; `None` when the lease has lapsed or another process has the delivery.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn outbox_begin(
        &self,
        claimed: &ClaimedDelivery,
        lease_seconds: f64,
    ) -> Result<Option<BegunAttempt>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(BEGIN)
            .bind::<BigInt, _>(claimed.id)
            .bind::<BigInt, _>(claimed.lease_epoch)
            .bind::<Double, _>(lease_seconds)
            .get_result(&mut conn)
            .await
            .optional()?)
    }

    /// Writes the attempt and what becomes of the delivery, in one transaction.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when another process has claimed it since.
    pub async fn outbox_record(&self, end: &AttemptEnd) -> Result<(), StorageError> {
        let (state, delay, remote_ref, outcome) = match &end.ending {
            Ending::Sent { remote_ref } => ("sent", 0.0, remote_ref.as_deref(), "sent"),
            Ending::Retry { delay_seconds } => ("queued", *delay_seconds, None, "retry"),
            Ending::Dead { refused } => ("dead", 0.0, None, if *refused { "refused" } else { "retry" }),
        };
        let mut conn = self.conn().await?;
        let recorded = diesel::sql_query(RECORD)
            .bind::<BigInt, _>(end.delivery_id)
            .bind::<BigInt, _>(end.lease_epoch)
            .bind::<Text, _>(state)
            .bind::<Double, _>(delay)
            .bind::<Nullable<Text>, _>(remote_ref)
            .bind::<Integer, _>(end.begun.number)
            .bind::<Text, _>(&end.holder)
            .bind::<Timestamptz, _>(end.begun.began_at)
            .bind::<Text, _>(outcome)
            .bind::<Nullable<Integer>, _>(end.status)
            .bind::<Text, _>(&end.detail)
            .execute(&mut conn)
            .await?;
        if recorded == 1 { Ok(()) } else { Err(StorageError::Fenced) }
    }

    /// What the receiver calls the last message of the group before delivery `before`, unless that one told the end.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn outbox_open_message(
        &self,
        receiver: &str,
        group_key: &str,
        before: i64,
    ) -> Result<Option<String>, StorageError> {
        let mut conn = self.conn().await?;
        let earlier: Option<EarlierMessage> = diesel::sql_query(
            "SELECT remote_ref, notification->>'reason' AS reason FROM deliveries \
             WHERE receiver_id = $1 AND group_key = $2 AND id < $3 AND remote_ref IS NOT NULL \
             ORDER BY id DESC LIMIT 1",
        )
        .bind::<Text, _>(receiver)
        .bind::<Text, _>(group_key)
        .bind::<BigInt, _>(before)
        .get_result(&mut conn)
        .await
        .optional()?;
        Ok(earlier.filter(|earlier| earlier.reason.as_deref() != Some("resolved")).map(|earlier| earlier.remote_ref))
    }

    /// `(how many wait, seconds since the oldest of them was queued)`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn outbox_depth(&self) -> Result<(i64, f64), StorageError> {
        let mut conn = self.conn().await?;
        let depth: Depth = diesel::sql_query(
            "SELECT count(*) AS depth, coalesce(extract(epoch FROM now() - min(queued_at)), 0)::float8 AS age_seconds \
             FROM deliveries WHERE state = 'queued'",
        )
        .get_result(&mut conn)
        .await?;
        Ok((depth.depth, depth.age_seconds))
    }

    /// Removes deliveries older than `days`, a bounded number of them. Returns how many went.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn outbox_expire(&self, days: i32) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(
            "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries \
             WHERE created_at < now() - make_interval(days => $1) ORDER BY created_at LIMIT $2)",
        )
        .bind::<Integer, _>(days)
        .bind::<BigInt, _>(EXPIRED_PER_STATEMENT)
        .execute(&mut conn)
        .await?)
    }
}
