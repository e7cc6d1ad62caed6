//! Time partitions: made ahead of time, dropped when passed; rows are never deleted one by one,
//! but for the small keys of `journal_seen`.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::RunQueryDsl;

use super::schema::{drop_partitions, ensure_partition, journal, journal_seen, streams};
use super::{Storage, StorageError, Tier};

/// Journal partitions made ahead.
const JOURNAL_HOURS_AHEAD: i32 = 6;
/// Keys removed per statement.
const SEEN_BATCH: TimeDelta = TimeDelta::minutes(10);
/// How long a retry is recognised.
const SEEN_LIFE: TimeDelta = TimeDelta::hours(2);

/// Parent table, partition span, partitions before and after now.
const PARTITIONED: [(&str, TimeDelta, i32, i32); 4] = [
    ("journal", TimeDelta::hours(1), 1, JOURNAL_HOURS_AHEAD),
    ("blocks_fine", TimeDelta::days(1), 3, 2),
    ("blocks_minute", TimeDelta::days(31), 1, 1),
    ("blocks_hour", TimeDelta::days(372), 1, 1),
];

/// How long data of each tier lives.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Windows as ingested.
    pub fine: TimeDelta,
    /// Minutes.
    pub minute: TimeDelta,
    /// Hours.
    pub hour: TimeDelta,
}

impl Retention {
    /// The life of `tier`.
    #[must_use]
    pub const fn of(&self, tier: Tier) -> TimeDelta {
        match tier {
            Tier::Fine => self.fine,
            Tier::Minute => self.minute,
            Tier::Hour => self.hour,
        }
    }
}

impl Default for Retention {
    /// 48 h, 30 d, 400 d.
    fn default() -> Self {
        Self { fine: TimeDelta::hours(48), minute: TimeDelta::days(30), hour: TimeDelta::days(400) }
    }
}

impl Storage {
    /// The database's clock.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn now(&self) -> Result<DateTime<Utc>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::select(diesel::dsl::sql::<Timestamptz>("now()")).get_result(&mut conn).await?)
    }

    /// Makes the partitions around now.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn ensure_partitions(&self) -> Result<(), StorageError> {
        let at = self.now().await?;
        let mut conn = self.conn().await?;
        for (parent, span, before, after) in PARTITIONED {
            let start = at.duration_trunc(span).unwrap_or(at);
            for k in -before..=after {
                let from = start + span * k;
                diesel::select(ensure_partition(parent, from, from + span)).execute(&mut conn).await?;
            }
        }
        Ok(())
    }

    /// Drops what is past its life: blocks by retention, journal partitions that every cursor has passed, old keys.
    /// Returns the number of partitions dropped.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn drop_expired(&self, retention: Retention) -> Result<i32, StorageError> {
        let at = self.now().await?;
        let mut dropped = 0;
        let passed = self.oldest_needed_journal_time().await?.unwrap_or(at).min(at - TimeDelta::hours(1));
        for (parent, before) in [
            ("journal", passed),
            ("blocks_fine", at - retention.fine),
            ("blocks_minute", at - retention.minute),
            ("blocks_hour", at - retention.hour),
        ] {
            let mut conn = self.conn().await?;
            dropped += diesel::select(drop_partitions(parent, before)).get_result::<i32>(&mut conn).await?;
        }
        self.forget_seen(at).await?;
        Ok(dropped)
    }

    /// When the oldest journal row that is not yet in blocks was written.
    async fn oldest_needed_journal_time(&self) -> Result<Option<DateTime<Utc>>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(journal::table
            .inner_join(streams::table.on(streams::id.eq(journal::stream_id)))
            .filter(journal::seq.gt(streams::cursor_seq))
            .select(diesel::dsl::min(journal::written_at))
            .get_result(&mut conn)
            .await?)
    }

    /// Removes keys older than two hours, at most ten minutes' worth of them a statement.
    async fn forget_seen(&self, at: DateTime<Utc>) -> Result<(), StorageError> {
        let cutoff = at - SEEN_LIFE;
        let mut conn = self.conn().await?;
        loop {
            let oldest: Option<DateTime<Utc>> =
                journal_seen::table.select(diesel::dsl::min(journal_seen::seen_at)).get_result(&mut conn).await?;
            let Some(oldest) = oldest.filter(|oldest| *oldest < cutoff) else { return Ok(()) };
            let until = cutoff.min(oldest + SEEN_BATCH);
            diesel::delete(journal_seen::table.filter(journal_seen::seen_at.le(until))).execute(&mut conn).await?;
        }
    }
}
