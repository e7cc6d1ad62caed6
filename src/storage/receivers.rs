//! Receivers: configured destinations, with their secrets sealed by `notify`.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;

use super::schema::receivers;
use super::{Storage, StorageError};

/// A receiver as it stands.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = receivers)]
pub struct ReceiverRow {
    /// Its name in rules and routes.
    pub id: String,
    /// `email`, `webhook`, `slack`, …
    pub kind: String,
    /// Settings that may be shown.
    pub settings: serde_json::Value,
    /// The others, sealed.
    pub secrets: Option<Vec<u8>>,
    /// False when nothing is delivered to it.
    pub enabled: bool,
    /// `environment` or `api`.
    pub origin: String,
    /// Grows by one at each change.
    pub revision: i64,
}

/// What a receiver is to be.
#[derive(Clone, Debug, Insertable, AsChangeset)]
#[diesel(table_name = receivers, treat_none_as_null = true)]
pub struct NewReceiver {
    /// Its name.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Settings that may be shown.
    pub settings: serde_json::Value,
    /// The others, sealed.
    pub secrets: Option<Vec<u8>>,
    /// False when nothing is to be delivered to it.
    pub enabled: bool,
    /// `environment` or `api`.
    pub origin: String,
}

/// The last delivery to a receiver that ended.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct LastDelivery {
    /// To whom.
    #[diesel(sql_type = Text)]
    pub receiver_id: String,
    /// When it ended.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub at: Option<DateTime<Utc>>,
    /// `sent` or `dead`.
    #[diesel(sql_type = Text)]
    pub state: String,
}

impl Storage {
    /// All receivers, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receiver_list(&self) -> Result<Vec<ReceiverRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(receivers::table.select(ReceiverRow::as_select()).order(receivers::id).load(&mut conn).await?)
    }

    /// One receiver.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receiver_find(&self, id: &str) -> Result<Option<ReceiverRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(receivers::table.find(id).select(ReceiverRow::as_select()).get_result(&mut conn).await.optional()?)
    }

    /// A new receiver; `None` when its name is taken.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receiver_insert(&self, new: &NewReceiver) -> Result<Option<ReceiverRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::insert_into(receivers::table)
            .values(new)
            .on_conflict_do_nothing()
            .returning(ReceiverRow::as_returning())
            .get_result(&mut conn)
            .await
            .optional()?)
    }

    /// Changes a receiver; `None` when `revision` is not the one it has.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receiver_update(
        &self,
        revision: i64,
        change: &NewReceiver,
    ) -> Result<Option<ReceiverRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::update(receivers::table.find(&change.id).filter(receivers::revision.eq(revision)))
            .set((change, receivers::revision.eq(revision + 1), receivers::updated_at.eq(now)))
            .returning(ReceiverRow::as_returning())
            .get_result(&mut conn)
            .await
            .optional()?)
    }

    /// Delivers nothing to it from now on. False when `revision` is not the one it has.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receiver_disable(&self, id: &str, revision: i64) -> Result<bool, StorageError> {
        let mut conn = self.conn().await?;
        let disabled = diesel::update(receivers::table.find(id).filter(receivers::revision.eq(revision)))
            .set((receivers::enabled.eq(false), receivers::revision.eq(revision + 1), receivers::updated_at.eq(now)))
            .execute(&mut conn)
            .await?;
        Ok(disabled == 1)
    }

    /// Removes a receiver. False when `revision` is not the one it has.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receiver_delete(&self, id: &str, revision: i64) -> Result<bool, StorageError> {
        let mut conn = self.conn().await?;
        let deleted = diesel::delete(receivers::table.find(id).filter(receivers::revision.eq(revision)))
            .execute(&mut conn)
            .await?;
        Ok(deleted == 1)
    }

    /// The last delivery that ended, of each receiver that has one.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receiver_last_deliveries(&self) -> Result<Vec<LastDelivery>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(
            "SELECT r.id AS receiver_id, d.ended_at AS at, d.state FROM receivers r CROSS JOIN LATERAL \
             (SELECT ended_at, state FROM deliveries WHERE receiver_id = r.id AND state <> 'queued' \
              ORDER BY id DESC LIMIT 1) d",
        )
        .load(&mut conn)
        .await?)
    }
}
