//! The spool: spans that are acknowledged and not decided on yet, and how far each stream's spool is decided.
//!
//! A spool row is written by the statement that appends the journal row. A tail is decided by the process that writes the
//! stream; once that stream has gone to another epoch no more rows come, and whoever finds the tail's lease lapsed decides
//! the rest of it.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, max, min, not, now, sql};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::RunQueryDsl;

use super::schema::{streams, trace_spool, trace_tails};
use super::{Storage, StorageError};

/// How long a tail is left to whoever decides it, without a sign of life, in SQL.
const LEASE: &str = "now() + interval '15 seconds'";

/// Spans of a group commit, as they are to be written.
#[derive(Clone, Debug, Default)]
pub struct SpoolPart {
    /// Traces to keep and why.
    pub marks: Vec<u8>,
    /// Compressed bodies.
    pub spans: Vec<u8>,
}

/// The same read back.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = trace_spool)]
pub struct SpoolRow {
    /// Place in the stream.
    pub seq: i64,
    /// When it was written.
    pub written_at: DateTime<Utc>,
    /// Traces to keep and why.
    pub marks: Vec<u8>,
    /// Compressed bodies.
    pub spans: Vec<u8>,
}

/// How far a spool is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = trace_tails)]
pub struct TailRow {
    /// Of which stream.
    pub stream_id: i64,
    /// Fencing number.
    pub epoch: i64,
    /// Rows up to here are decided.
    pub decided_seq: i64,
}

impl Storage {
    /// Every tail.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn tail_list(&self) -> Result<Vec<TailRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(trace_tails::table.select(TailRow::as_select()).order(trace_tails::stream_id).load(&mut conn).await?)
    }

    /// Prolongs the lease on a tail. With nothing left to decide, what was written before now is decided.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when another process decides it.
    pub async fn tail_renew(&self, stream: i64, epoch: i64, is_empty: bool) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let own = trace_tails::table.filter(trace_tails::stream_id.eq(stream).and(trace_tails::epoch.eq(epoch)));
        let lease = trace_tails::expires_at.eq(sql::<Timestamptz>(LEASE));
        let renewed = if is_empty {
            diesel::update(own).set((lease, trace_tails::decided_at.eq(now))).execute(&mut conn).await?
        } else {
            diesel::update(own).set(lease).execute(&mut conn).await?
        };
        if renewed == 1 { Ok(()) } else { Err(StorageError::Fenced) }
    }

    /// Takes over a tail whose stream gets no more rows and that nobody decides, raising its epoch.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn tail_take_over(&self) -> Result<Option<TailRow>, StorageError> {
        let mut conn = self.conn().await?;
        let writing = streams::table
            .filter(streams::id.eq(trace_tails::stream_id).and(streams::epoch.eq(trace_tails::stream_epoch)));
        let orphan = trace_tails::table
            .filter(trace_tails::expires_at.lt(now))
            .filter(not(exists(writing)))
            .order(trace_tails::stream_id)
            .limit(1)
            .select(trace_tails::stream_id)
            .get_result::<i64>(&mut conn)
            .await
            .optional()?;
        let Some(stream) = orphan else { return Ok(None) };
        let lapsed = trace_tails::stream_id.eq(stream).and(trace_tails::expires_at.lt(now));
        Ok(diesel::update(trace_tails::table.filter(lapsed))
            .set((trace_tails::epoch.eq(trace_tails::epoch + 1), trace_tails::expires_at.eq(sql::<Timestamptz>(LEASE))))
            .returning(TailRow::as_returning())
            .get_result(&mut conn)
            .await
            .optional()?)
    }

    /// Ends a tail of which all is decided.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when another process decides it.
    pub async fn tail_close(&self, stream: i64, epoch: i64) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let own = trace_tails::table.filter(trace_tails::stream_id.eq(stream).and(trace_tails::epoch.eq(epoch)));
        let closed = diesel::delete(own).execute(&mut conn).await?;
        if closed == 1 { Ok(()) } else { Err(StorageError::Fenced) }
    }

    /// Rows of a stream's spool after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn spool_read(&self, stream: i64, after: i64, limit: i64) -> Result<Vec<SpoolRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(trace_spool::table
            .filter(trace_spool::stream_id.eq(stream).and(trace_spool::seq.gt(after)))
            .order(trace_spool::seq)
            .limit(limit)
            .select(SpoolRow::as_select())
            .load(&mut conn)
            .await?)
    }

    /// The marks of a stream's spool after `after`, oldest first, with their places; at most `limit`. Rows without marks
    /// are left out.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn spool_marks(&self, stream: i64, after: i64, limit: i64) -> Result<Vec<(i64, Vec<u8>)>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(trace_spool::table
            .filter(trace_spool::stream_id.eq(stream).and(trace_spool::seq.gt(after)))
            .filter(trace_spool::marks.ne(Vec::<u8>::new()))
            .order(trace_spool::seq)
            .limit(limit)
            .select((trace_spool::seq, trace_spool::marks))
            .load(&mut conn)
            .await?)
    }

    /// The last row of a stream's spool; zero when it has none.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn spool_end(&self, stream: i64) -> Result<i64, StorageError> {
        let mut conn = self.conn().await?;
        let last: Option<i64> = trace_spool::table
            .filter(trace_spool::stream_id.eq(stream))
            .select(max(trace_spool::seq))
            .get_result(&mut conn)
            .await?;
        Ok(last.unwrap_or_default())
    }

    /// Spool rows written before this are decided by everybody; `None` when there is no tail.
    pub(super) async fn spool_needed_since(&self) -> Result<Option<DateTime<Utc>>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(trace_tails::table.select(min(trace_tails::decided_at)).get_result(&mut conn).await?)
    }
}
