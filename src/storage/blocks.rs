//! Blocks: what a checkpoint writes, what a query and compaction read.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Binary;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::partitions::ensure_partitions_of_in_txn;
use super::schema::{blocks, metrics, streams};
use super::{Storage, StorageError, StreamRow};

/// Blocks in one insert: a few MiB, well under the parameter limit.
const ROWS_PER_INSERT: usize = 200;

/// How wide the windows of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Tier {
    /// As ingested; a block spans an hour.
    Fine = 0,
    /// Minutes; a block spans a day.
    Minute = 1,
    /// Hours; a block spans a month's worth of 31 days.
    Hour = 2,
}

impl Tier {
    /// Finest first.
    pub const ALL: [Self; 3] = [Self::Fine, Self::Minute, Self::Hour];

    /// The tier that a `tier` column names.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| *tier as i16 == number)
    }

    /// Seconds that one block spans.
    #[must_use]
    pub const fn span_seconds(self) -> i64 {
        match self {
            Self::Fine => 3_600,
            Self::Minute => 86_400,
            Self::Hour => 31 * 86_400,
        }
    }

    /// Start of the block that holds `unix_seconds`.
    #[must_use]
    pub const fn block_start(self, unix_seconds: i64) -> i64 {
        unix_seconds - unix_seconds.rem_euclid(self.span_seconds())
    }
}

/// Where a block is, without its bytes. Blocks never change under their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Queryable)]
pub struct BlockKey {
    /// Of which metric.
    pub metric_id: i64,
    /// [`Tier`] as a number.
    pub tier: i16,
    /// Start of the span.
    pub starts_at: DateTime<Utc>,
    /// Unique.
    pub id: i64,
}

/// Which blocks of a tier a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSpan {
    /// The tier.
    pub tier: Tier,
    /// Least start of a block.
    pub from: DateTime<Utc>,
    /// Greatest start of a block.
    pub to: DateTime<Utc>,
    /// Only the parts of checkpoints, which coarser tiers do not hold yet.
    pub parts_only: bool,
}

/// A block to write.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = blocks)]
pub struct BlockPart {
    /// Of which metric.
    pub metric_id: i64,
    /// [`Tier`] as a number.
    pub tier: i16,
    /// Start of the span.
    pub starts_at: DateTime<Utc>,
    /// Series in it.
    pub series_count: i32,
    /// Written by compaction.
    pub compacted: bool,
    /// `rollup::block` encoding.
    pub payload: Vec<u8>,
}

/// One checkpoint: blocks and the cursor, all or nothing.
#[derive(Debug, Default)]
pub struct Flush {
    /// Whose checkpoint.
    pub stream: i64,
    /// At which epoch.
    pub epoch: i64,
    /// Journal rows up to here are in it.
    pub cursor_seq: i64,
    /// Windows.
    pub blocks: Vec<BlockPart>,
}

/// Parts of one metric and span that wait to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable)]
pub struct HourToCompact {
    /// Of which metric.
    pub metric_id: i64,
    /// Start of the span.
    pub starts_at: DateTime<Utc>,
}

/// The blocks under `keys`, named by what their index begins with; none of no keys.
fn under(keys: &[BlockKey]) -> Option<blocks::BoxedQuery<'static, diesel::pg::Pg>> {
    let from = keys.iter().map(|key| key.starts_at).min()?;
    let to = keys.iter().map(|key| key.starts_at).max()?;
    let distinct = |mut numbers: Vec<i64>| {
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let metric_ids = distinct(keys.iter().map(|key| key.metric_id).collect());
    let tiers = distinct(keys.iter().map(|key| i64::from(key.tier)).collect());
    let tiers: Vec<i16> = tiers.into_iter().filter_map(|tier| i16::try_from(tier).ok()).collect();
    let ids: Vec<i64> = keys.iter().map(|key| key.id).collect();
    let found = blocks::table
        .filter(blocks::metric_id.eq_any(metric_ids))
        .filter(blocks::tier.eq_any(tiers))
        .filter(blocks::starts_at.between(from, to))
        .filter(blocks::id.eq_any(ids));
    Some(found.into_boxed())
}

impl Storage {
    /// Writes a checkpoint: effect and cursor together, and only if the cursor is still before it, hence exactly once. One
    /// that was written already, its answer lost, is done. The cursor moves last: appends wait for its row's lock.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when another process has the stream; nothing is written then.
    pub async fn checkpoint(&self, flush: &Flush) -> Result<(), StorageError> {
        self.ensure_partitions_of(&flush.blocks).await?;
        let mut conn = self.conn().await?;
        let own = || streams::table.filter(streams::id.eq(flush.stream).and(streams::epoch.eq(flush.epoch)));
        let written = conn.transaction(async |conn| {
            for rows in flush.blocks.chunks(ROWS_PER_INSERT) {
                diesel::insert_into(blocks::table).values(rows).execute(conn).await?;
            }
            let moved = diesel::update(own().filter(streams::cursor_seq.lt(flush.cursor_seq)))
                .set(streams::cursor_seq.eq(flush.cursor_seq))
                .execute(conn)
                .await?;
            if moved == 1 { Ok(()) } else { Err(StorageError::Fenced) }
        });
        match written.await {
            Err(StorageError::Fenced) => {
                let cursor = own().select(streams::cursor_seq).get_result::<i64>(&mut conn).await.optional()?;
                if cursor.is_some_and(|cursor| cursor >= flush.cursor_seq) { Ok(()) } else { Err(StorageError::Fenced) }
            }
            written => written,
        }
    }

    /// The blocks of `metric_ids` in each of `spans`, and the streams as they stand in the same snapshot: what a stream
    /// has flushed is in the blocks, what it has not is in its head.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn block_keys(
        &self,
        metric_ids: &[i64],
        spans: &[BlockSpan],
    ) -> Result<(Vec<BlockKey>, Vec<StreamRow>), StorageError> {
        let mut conn = self.conn().await?;
        conn.build_transaction()
            .read_only()
            .repeatable_read()
            .run(async |conn| {
                let streams = streams::table.select(StreamRow::as_select()).load(conn).await?;
                let mut keys = Vec::new();
                for span in spans {
                    let states = if span.parts_only { vec![false] } else { vec![false, true] };
                    let of_span = blocks::table
                        .filter(blocks::metric_id.eq_any(metric_ids))
                        .filter(blocks::tier.eq(span.tier as i16))
                        .filter(blocks::starts_at.between(span.from, span.to))
                        .filter(blocks::compacted.eq_any(states))
                        .select((blocks::metric_id, blocks::tier, blocks::starts_at, blocks::id));
                    keys.extend(of_span.load::<BlockKey>(conn).await?);
                }
                Ok((keys, streams))
            })
            .await
    }

    /// For each metric that has blocks, the start of the last hour that it has in them.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn last_hours(&self) -> Result<Vec<(i64, Option<DateTime<Utc>>)>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(blocks::table
            .filter(blocks::tier.eq(Tier::Fine as i16))
            .group_by(blocks::metric_id)
            .select((blocks::metric_id, diesel::dsl::max(blocks::starts_at)))
            .load(&mut conn)
            .await?)
    }

    /// The bytes of blocks by id, within the metrics, tiers and spans that `keys` name. A block that compaction has
    /// replaced in between is missing from the answer: read the keys again.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn block_payloads(&self, keys: &[BlockKey]) -> Result<Vec<(i64, Vec<u8>)>, StorageError> {
        let Some(found) = under(keys) else { return Ok(Vec::new()) };
        let mut conn = self.conn().await?;
        Ok(found.select((blocks::id, blocks::payload)).load(&mut conn).await?)
    }

    /// The first bytes of blocks by id: as many as name their series. Otherwise as [`Storage::block_payloads`].
    ///
    /// # Errors
    /// When the database is away.
    pub async fn block_beginnings(&self, keys: &[BlockKey]) -> Result<Vec<(i64, Vec<u8>)>, StorageError> {
        let Some(found) = under(keys) else { return Ok(Vec::new()) };
        let beginning = sql::<Binary>("substring(payload FROM 1 FOR 32 + 8 * series_count)");
        let mut conn = self.conn().await?;
        Ok(found.select((blocks::id, beginning)).load(&mut conn).await?)
    }

    /// Spans of tier 0 that ended before `before` and still hold parts of checkpoints.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn blocks_to_compact(
        &self,
        before: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<HourToCompact>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(blocks::table
            .filter(blocks::tier.eq(Tier::Fine as i16))
            .filter(blocks::starts_at.lt(before))
            .filter(blocks::compacted.eq(false))
            .select((blocks::metric_id, blocks::starts_at))
            .distinct()
            .order((blocks::starts_at, blocks::metric_id))
            .limit(limit)
            .load(&mut conn)
            .await?)
    }

    /// Replaces all blocks of one metric in several spans by what `rewrite` makes of them, in one transaction.
    /// The metric is locked while it runs: of two replicas one does the work, the other then finds nothing left.
    /// Without an answer from `rewrite` all stays as it is. Returns how many blocks were replaced in the first span.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn blocks_rewrite(
        &self,
        metric_id: i64,
        spans: &[(Tier, DateTime<Utc>)],
        rewrite: impl FnOnce(Vec<Vec<Vec<u8>>>) -> Option<Vec<BlockPart>> + Send,
    ) -> Result<usize, StorageError> {
        let mut conn = self.conn().await?;
        conn.transaction(async move |conn| {
            // First and in a statement of its own: what is read after it has seen whatever held it before. Spans of two
            // calls overlap in the coarser tiers only, where locked blocks alone would not keep them apart.
            let _locked: i64 = metrics::table
                .filter(metrics::id.eq(metric_id))
                .select(metrics::id)
                .for_update()
                .get_result(conn)
                .await?;
            let of_span = |(tier, starts_at): (Tier, DateTime<Utc>)| {
                blocks::table
                    .filter(blocks::metric_id.eq(metric_id))
                    .filter(blocks::tier.eq(tier as i16))
                    .filter(blocks::starts_at.eq(starts_at))
            };
            let (mut ids, mut payloads) = (Vec::new(), Vec::new());
            for span in spans {
                let found: Vec<(i64, Vec<u8>)> =
                    of_span(*span).select((blocks::id, blocks::payload)).order(blocks::id).load(conn).await?;
                let (span_ids, span_payloads): (Vec<i64>, Vec<Vec<u8>>) = found.into_iter().unzip();
                ids.push(span_ids);
                payloads.push(span_payloads);
            }
            let first = ids.as_slice().first().map_or(0, Vec::len);
            let Some(written) = rewrite(payloads).filter(|_| first > 0) else { return Ok(0) };
            ensure_partitions_of_in_txn(conn, &written).await?;
            for (span, ids) in spans.iter().zip(&ids) {
                diesel::delete(of_span(*span).filter(blocks::id.eq_any(ids))).execute(conn).await?;
            }
            for rows in written.chunks(ROWS_PER_INSERT) {
                diesel::insert_into(blocks::table).values(rows).execute(conn).await?;
            }
            Ok::<_, StorageError>(first)
        })
        .await
    }
}
