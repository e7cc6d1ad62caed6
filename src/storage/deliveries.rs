//! The outbox: notifications to be delivered, each once to its receiver.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::schema::deliveries;
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
