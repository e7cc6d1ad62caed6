//! Streams: the lease that makes one process the writer of one part of the journal.
//!
//! All times are the database's. Never session locks: they break under connection poolers.

use diesel::dsl::{now, sql};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::RunQueryDsl;

use super::schema::streams;
use super::{Storage, StorageError};

/// How long a lease lives without renewal, in SQL.
const LEASE: &str = "now() + interval '15 seconds'";

/// A stream as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = streams)]
pub struct StreamRow {
    /// Which.
    pub id: i64,
    /// Instance id of the holder.
    pub holder: String,
    /// Fencing number.
    pub epoch: i64,
    /// Sequence number of the last journal row.
    pub last_seq: i64,
    /// Journal rows up to here are in blocks.
    pub cursor_seq: i64,
}

impl Storage {
    /// A new stream, leased to `holder`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn stream_create(&self, holder: &str) -> Result<StreamRow, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::insert_into(streams::table)
            .values((streams::holder.eq(holder), streams::expires_at.eq(sql::<Timestamptz>(LEASE))))
            .returning(StreamRow::as_returning())
            .get_result(&mut conn)
            .await?)
    }

    /// All streams, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn stream_list(&self) -> Result<Vec<StreamRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(streams::table.select(StreamRow::as_select()).order(streams::id).load(&mut conn).await?)
    }

    /// Prolongs the lease.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when another process has the stream.
    pub async fn stream_renew(&self, id: i64, epoch: i64) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let renewed = diesel::update(streams::table.filter(streams::id.eq(id).and(streams::epoch.eq(epoch))))
            .set(streams::expires_at.eq(sql::<Timestamptz>(LEASE)))
            .execute(&mut conn)
            .await?;
        if renewed == 1 { Ok(()) } else { Err(StorageError::Fenced) }
    }

    /// Takes over one stream whose lease has lapsed, raising its epoch: the old holder's writes fail from here on.
    /// Appends in flight hold the row's lock, so what returns here has seen them all.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn stream_take_over(&self, holder: &str) -> Result<Option<StreamRow>, StorageError> {
        let mut conn = self.conn().await?;
        let lapsed = streams::table
            .filter(streams::expires_at.lt(now))
            .order(streams::id)
            .limit(1)
            .select(streams::id)
            .get_result::<i64>(&mut conn)
            .await
            .optional()?;
        let Some(id) = lapsed else { return Ok(None) };
        Ok(diesel::update(streams::table.filter(streams::id.eq(id).and(streams::expires_at.lt(now))))
            .set((
                streams::holder.eq(holder),
                streams::epoch.eq(streams::epoch + 1),
                streams::expires_at.eq(sql::<Timestamptz>(LEASE)),
            ))
            .returning(StreamRow::as_returning())
            .get_result(&mut conn)
            .await
            .optional()?)
    }

    /// Ends a stream whose journal is wholly in blocks; its rows go with their partitions.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when another process has the stream, or rows are still to be folded.
    pub async fn stream_close(&self, id: i64, epoch: i64) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let closed =
            diesel::delete(streams::table.filter(
                streams::id.eq(id).and(streams::epoch.eq(epoch)).and(streams::cursor_seq.eq(streams::last_seq)),
            ))
            .execute(&mut conn)
            .await?;
        if closed == 1 { Ok(()) } else { Err(StorageError::Fenced) }
    }
}
