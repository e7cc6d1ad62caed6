//! Deliveries: notifications to be delivered, each once to its receiver, and what became of them.
//!
//! Here they are queued and read; `outbox` claims them and records their attempts.

use chrono::{DateTime, Utc};
use diesel::dsl::{now, sql};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Double, Jsonb};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::schema::{deliveries, delivery_attempts};
use super::{Storage, StorageError};
use crate::model::Notification;

/// A notification to be written with the transition that caused it.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = deliveries)]
pub struct NewDelivery {
    /// [`Notification::id`].
    pub notification_id: String,
    /// Which receiver.
    pub receiver_id: String,
    /// [`Notification::group_key`].
    pub group_key: String,
    /// The notification as JSON.
    pub notification: serde_json::Value,
}

impl From<&Notification> for NewDelivery {
    fn from(notification: &Notification) -> Self {
        Self {
            notification_id: notification.id.clone(),
            receiver_id: notification.receiver.clone(),
            group_key: notification.group_key.clone(),
            notification: serde_json::to_value(notification).unwrap_or_default(),
        }
    }
}

/// Queues deliveries; one that is there already stays as it is. Returns how many are new.
pub(super) async fn enqueue_in_txn(conn: &mut AsyncPgConnection, new: &[NewDelivery]) -> QueryResult<usize> {
    diesel::insert_into(deliveries::table)
        .values(new)
        .on_conflict((deliveries::notification_id, deliveries::receiver_id))
        .do_nothing()
        .execute(conn)
        .await
}

/// A delivery as it stands.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = deliveries)]
pub struct DeliveryRow {
    /// Which.
    pub id: i64,
    /// Idempotency key.
    pub notification_id: String,
    /// To whom.
    pub receiver_id: String,
    /// Of which group.
    pub group_key: String,
    /// The notification as JSON.
    pub notification: serde_json::Value,
    /// `queued`, `sent` or `dead`.
    pub state: String,
    /// Attempts begun.
    pub attempts: i32,
    /// When it is due, while queued.
    pub next_attempt_at: DateTime<Utc>,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
    /// When it was sent or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

/// One attempt as it ended.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = delivery_attempts)]
pub struct AttemptRow {
    /// Of which delivery.
    pub delivery_id: i64,
    /// Counted from one.
    pub number: i32,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// `sent`, `retry` or `refused`.
    pub outcome: String,
    /// HTTP or SMTP status, where there was one.
    pub status: Option<i32>,
    /// Why it failed.
    pub detail: String,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// To this receiver.
    pub receiver: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Telling of the alert with this fingerprint.
    pub fingerprint: Option<String>,
    /// Created within so many hours.
    pub hours: Option<f64>,
    /// Older than this one.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

impl Storage {
    /// Queues deliveries outside any other transaction. Returns how many are new.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn delivery_enqueue(&self, new: &[NewDelivery]) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        Ok(enqueue_in_txn(&mut conn, new).await?)
    }

    /// Deliveries that pass `filter`, newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn delivery_list(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRow>, StorageError> {
        let mut conn = self.conn().await?;
        let mut query = deliveries::table.select(DeliveryRow::as_select()).into_boxed();
        if let Some(receiver) = &filter.receiver {
            query = query.filter(deliveries::receiver_id.eq(receiver));
        }
        if let Some(state) = &filter.state {
            query = query.filter(deliveries::state.eq(state));
        }
        if let Some(fingerprint) = &filter.fingerprint {
            let alerts = serde_json::json!({ "alerts": [{ "fingerprint": fingerprint }] });
            query = query.filter(sql::<Bool>("notification @> ").bind::<Jsonb, _>(alerts));
        }
        if let Some(hours) = filter.hours {
            let young = sql::<Bool>("created_at > now() - interval '1 hour' * ").bind::<Double, _>(hours);
            query = query.filter(young);
        }
        if let Some(before) = filter.before {
            query = query.filter(deliveries::id.lt(before));
        }
        Ok(query.order(deliveries::id.desc()).limit(filter.limit).load(&mut conn).await?)
    }

    /// One delivery.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn delivery_find(&self, id: i64) -> Result<Option<DeliveryRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(deliveries::table.find(id).select(DeliveryRow::as_select()).get_result(&mut conn).await.optional()?)
    }

    /// The attempts of these deliveries, in order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn delivery_attempts(&self, ids: &[i64]) -> Result<Vec<AttemptRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(delivery_attempts::table
            .filter(delivery_attempts::delivery_id.eq_any(ids))
            .order((delivery_attempts::delivery_id, delivery_attempts::number))
            .select(AttemptRow::as_select())
            .load(&mut conn)
            .await?)
    }

    /// Queues a delivery again that was sent or given up, or makes one that waits due now; its attempts are kept.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn delivery_resend(&self, id: i64) -> Result<Option<DeliveryRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::update(deliveries::table.find(id))
            .set((
                deliveries::state.eq("queued"),
                deliveries::queued_at.eq(now),
                deliveries::attempts_before.eq(deliveries::attempts),
                deliveries::next_attempt_at.eq(now),
                deliveries::ended_at.eq(None::<DateTime<Utc>>),
            ))
            .returning(DeliveryRow::as_returning())
            .get_result(&mut conn)
            .await
            .optional()?)
    }
}
