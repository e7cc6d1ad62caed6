//! Time partitions: made ahead of time, dropped when passed; rows are never deleted one by one,
//! but for the small keys of `journal_seen`.

use std::collections::BTreeSet;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::schema::{blocks, drop_partitions, ensure_partition, journal, journal_seen, streams};
use super::{BlockPart, Storage, StorageError, Tier};

/// Journal partitions made ahead.
const JOURNAL_HOURS_AHEAD: i32 = 6;
/// Partitions of the spool made ahead, a quarter of an hour each.
const SPOOL_AHEAD: i32 = 6;
/// Keys removed per statement.
const SEEN_BATCH: TimeDelta = TimeDelta::minutes(10);
/// How long a retry is recognised.
const SEEN_LIFE: TimeDelta = TimeDelta::hours(2);

/// Partitions of blocks made ahead.
const BLOCKS_AHEAD: i32 = 1;
/// Span of the spool's partitions.
const SPOOL_SPAN: TimeDelta = TimeDelta::minutes(15);
/// Windows that were not rolled up, in whole or because the server was away, outlive their life by so much at most.
const UNCOMPACTED_LIFE: TimeDelta = TimeDelta::days(7);
/// How long retention waits for a table that somebody reads.
const PATIENCE: &str = "SET LOCAL lock_timeout = '300ms'";
/// What is past its life is dropped a little later, so that points that were just young enough are not cut off.
const GRACE: TimeDelta = TimeDelta::hours(1);

/// The partitioned table of each tier, and the span of its partitions.
const fn partitioned(tier: Tier) -> (&'static str, TimeDelta) {
    match tier {
        Tier::Fine => ("blocks_fine", TimeDelta::days(1)),
        Tier::Minute => ("blocks_minute", TimeDelta::days(31)),
        Tier::Hour => ("blocks_hour", TimeDelta::days(372)),
    }
}

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

    /// Makes the partitions of the time that comes; those of blocks are otherwise made when they are first written to.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn ensure_partitions(&self) -> Result<(), StorageError> {
        let at = self.now().await?;
        let mut conn = self.conn().await?;
        let blocks = Tier::ALL.map(|tier| (partitioned(tier), 0, BLOCKS_AHEAD));
        let journal = (("journal", TimeDelta::hours(1)), -1, JOURNAL_HOURS_AHEAD);
        let spool = (("trace_spool", SPOOL_SPAN), -1, SPOOL_AHEAD);
        for ((parent, span), first, last) in blocks.into_iter().chain([journal, spool]) {
            let start = at.duration_trunc(span).unwrap_or(at);
            for k in first..=last {
                let from = start + span * k;
                diesel::select(ensure_partition(parent, from, from + span)).execute(&mut conn).await?;
            }
        }
        Ok(())
    }

    /// Makes the partitions that `parts` are going to be in.
    pub(super) async fn ensure_partitions_of(&self, parts: &[BlockPart]) -> Result<(), StorageError> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut conn = self.conn().await?;
        ensure_partitions_of_in_txn(&mut conn, parts).await
    }

    /// Drops what is past its life: blocks by retention, journal partitions that every cursor has passed, old keys.
    /// Returns the number of partitions dropped.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn drop_expired(&self, retention: Retention) -> Result<i32, StorageError> {
        let at = self.now().await?;
        let (mut dropped, fine) = (0, at - retention.fine - GRACE);
        let passed = self.oldest_needed_journal_time().await?.unwrap_or(at).min(at - TimeDelta::hours(1));
        for (parent, before) in [
            ("journal", passed),
            ("trace_spool", self.spool_needed_since().await?.unwrap_or(at).min(at - SPOOL_SPAN)),
            ("blocks_fine", self.fine_needed_since(passed).await?.min(fine).max(fine - UNCOMPACTED_LIFE)),
            ("blocks_minute", at - retention.minute - GRACE),
            ("blocks_hour", at - retention.hour - GRACE),
        ] {
            let mut conn = self.conn().await?;
            // Who waits for the lock holds up whoever comes behind, and with the journal every export.
            let drop = conn.transaction(async |conn| {
                diesel::sql_query(PATIENCE).execute(conn).await?;
                diesel::select(drop_partitions(parent, before)).get_result::<i32>(conn).await
            });
            match drop.await {
                Ok(some) => dropped += some,
                Err(error) => tracing::warn!(parent, %error, "expired partitions are dropped another time"),
            }
        }
        self.forget_seen(at).await?;
        Ok(dropped)
    }

    /// The oldest hour that must be there to be rolled up, or to which rows of the journal, written since `passed`, may belong.
    async fn fine_needed_since(&self, passed: DateTime<Utc>) -> Result<DateTime<Utc>, StorageError> {
        let mut conn = self.conn().await?;
        let open = blocks::table.filter(blocks::tier.eq(Tier::Fine as i16).and(blocks::compacted.eq(false)));
        let oldest: Option<DateTime<Utc>> =
            open.select(diesel::dsl::min(blocks::starts_at)).get_result(&mut conn).await?;
        Ok(oldest.unwrap_or(passed).min(passed - TimeDelta::hours(1)))
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

/// The same inside a transaction.
pub(super) async fn ensure_partitions_of_in_txn(
    conn: &mut AsyncPgConnection,
    parts: &[BlockPart],
) -> Result<(), StorageError> {
    let wanted: BTreeSet<(&str, DateTime<Utc>, TimeDelta)> = parts
        .iter()
        .filter_map(|part| {
            let (parent, span) = partitioned(Tier::from_number(part.tier)?);
            Some((parent, part.starts_at.duration_trunc(span).ok()?, span))
        })
        .collect();
    for (parent, from, span) in wanted {
        diesel::select(ensure_partition(parent, from, from + span)).execute(conn).await?;
    }
    Ok(())
}
