//! The journal: append with fence and dedup keys in one round trip, read back by followers.

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{Array, Binary};
use diesel_async::RunQueryDsl;

use super::schema::{journal, journal_append, journal_append_spans, journal_secret, journal_seen};
use super::spool::SpoolPart;
use super::{Storage, StorageError};

/// One group commit as stored.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = journal)]
pub struct JournalRow {
    /// Place in the stream, without gaps.
    pub seq: i64,
    /// Encoded records.
    pub frame: Vec<u8>,
}

/// Why a group commit was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// At least one export of the group was committed before; nothing was written.
    #[error("an export of the group was committed before")]
    Duplicate,
    /// Another process holds the stream; nothing was written.
    #[error("the stream was taken over by another process")]
    Fenced,
    /// The statement failed and wrote nothing.
    #[error("the group was not committed")]
    Failed(#[source] StorageError),
    /// The connection was lost: the group may or may not be committed.
    #[error("the outcome of the commit is unknown")]
    Unknown(#[source] StorageError),
}

impl Storage {
    /// Appends a group of exports, their keys and their spans; returns its sequence number once it is on disk.
    ///
    /// # Errors
    /// See [`AppendError`]; only `Unknown` leaves the outcome open.
    pub async fn journal_append(
        &self,
        stream: i64,
        epoch: i64,
        keys: &[[u8; 16]],
        (frame, spans): (&[u8], Option<&SpoolPart>),
    ) -> Result<i64, AppendError> {
        let mut conn = self.conn().await.map_err(AppendError::Failed)?;
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
        let keys = keys.into_sql::<Array<Binary>>();
        let appended = match spans {
            None => diesel::select(journal_append(stream, epoch, keys, frame)).get_result(&mut conn).await,
            Some(part) => {
                let spool = vec![part.marks.as_slice(), part.spans.as_slice()].into_sql::<Array<Binary>>();
                let append = journal_append_spans(stream, epoch, keys, frame, spool);
                diesel::select(append).get_result(&mut conn).await
            }
        };
        appended.map_err(append_error)
    }

    /// Which of `keys` are committed. For an append whose outcome is unknown, and to single out duplicates.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn journal_seen(&self, keys: &[[u8; 16]]) -> Result<Vec<[u8; 16]>, StorageError> {
        let mut conn = self.conn().await?;
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
        let found: Vec<Vec<u8>> = journal_seen::table
            .filter(journal_seen::key.eq_any(keys))
            .select(journal_seen::key)
            .load(&mut conn)
            .await?;
        Ok(found.iter().filter_map(|key| key.as_slice().try_into().ok()).collect())
    }

    /// The rows of `stream` after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn journal_read(&self, stream: i64, after: i64, limit: i64) -> Result<Vec<JournalRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(journal::table
            .filter(journal::stream_id.eq(stream).and(journal::seq.gt(after)))
            .order(journal::seq)
            .limit(limit)
            .select(JournalRow::as_select())
            .load(&mut conn)
            .await?)
    }

    /// The seed of export keys, the same for every replica on this database.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn journal_seed(&self) -> Result<u64, StorageError> {
        let mut conn = self.conn().await?;
        let seed: Vec<u8> = journal_secret::table.select(journal_secret::seed).get_result(&mut conn).await?;
        let mut eight = [0u8; 8];
        for (to, from) in eight.iter_mut().zip(&seed) {
            *to = *from;
        }
        Ok(u64::from_le_bytes(eight))
    }
}

fn append_error(error: DieselError) -> AppendError {
    if let DieselError::DatabaseError(kind, info) = &error {
        let message = info.message();
        if message.contains("were seen before") {
            return AppendError::Duplicate;
        }
        if message.contains("is no longer held at epoch") {
            return AppendError::Fenced;
        }
        // What the server reports is an aborted statement. A connection that ended may hide a commit.
        let ended = matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand)
            || message.contains("terminating connection");
        if !ended {
            return AppendError::Failed(error.into());
        }
    }
    AppendError::Unknown(match StorageError::from(error) {
        StorageError::Statement(error) => StorageError::Unavailable(Box::new(error)),
        other => other,
    })
}
