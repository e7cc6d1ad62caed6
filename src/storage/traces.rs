//! Kept traces: blocks of spans, and the index that a search looks at.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, SmallInt, Timestamptz};
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::schema::{drop_partitions, ensure_partition, trace_blocks, trace_index, trace_index_put, trace_tails};
use super::{Storage, StorageError, kept};

/// Span of a partition.
const SLOT: TimeDelta = TimeDelta::hours(12);
/// Partitioned tables by class.
const BLOCKS: [&str; 3] = ["trace_blocks_sample", "trace_blocks_notable", "trace_blocks_error"];
const INDEX: [&str; 3] = ["trace_index_sample", "trace_index_notable", "trace_index_error"];
/// Blocks in one insert.
const ROWS_PER_INSERT: usize = 100;

/// A block to write, or read back.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = trace_blocks)]
pub struct TraceBlock {
    /// Unique.
    pub id: i64,
    /// Why its traces are kept, from the least to the most.
    pub class: i16,
    /// The hours in which it was stored.
    pub slot_at: DateTime<Utc>,
    /// Spans in it.
    pub span_count: i32,
    /// Bloom filter of its attributes.
    pub pairs: Vec<u8>,
    /// `traces::block` encoding.
    pub payload: Vec<u8>,
}

/// Where a block is, and its filter.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = trace_blocks)]
pub struct TraceBlockKey {
    /// Unique.
    pub id: i64,
    /// See [`TraceBlock::class`].
    pub class: i16,
    /// See [`TraceBlock::slot_at`].
    pub slot_at: DateTime<Utc>,
    /// See [`TraceBlock::pairs`].
    pub pairs: Vec<u8>,
}

/// One trace and class in the index.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = trace_index)]
pub struct TraceRow {
    /// Which.
    pub trace_id: Vec<u8>,
    /// As its blocks have it.
    pub class: i16,
    /// As its blocks have it.
    pub slot_at: DateTime<Utc>,
    /// When its first span began, in Unix nanoseconds.
    pub start_ns: i64,
    /// When its last span ended.
    pub end_ns: i64,
    /// Service of the root.
    pub root_service: Option<String>,
    /// Operation of the root.
    pub root_operation: Option<String>,
    /// Every service.
    pub services: Vec<String>,
    /// Hashes of services and operations.
    pub terms: Vec<i64>,
    /// Why it is kept.
    pub reasons: i16,
    /// Spans.
    pub span_count: i32,
    /// Spans that ended with an error.
    pub error_count: i32,
    /// Where they are.
    pub blocks: Vec<i64>,
}

/// Up to where a write decides a stream's spool.
#[derive(Clone, Copy, Debug)]
pub struct DecidedTo {
    /// Which stream.
    pub stream: i64,
    /// At which epoch of its tail.
    pub epoch: i64,
    /// Up to which row.
    pub seq: i64,
}

/// What is kept of a piece of the spool. Blocks and index name each other by place in `blocks` until they are written.
#[derive(Clone, Debug, Default)]
pub struct TraceWrite {
    /// Blocks; ids and slots are given when they are written.
    pub blocks: Vec<TraceBlock>,
    /// Index rows; `blocks` are places.
    pub index: Vec<TraceRow>,
}

/// Disk of one class and slot.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct TraceUsage {
    /// Which class.
    #[diesel(sql_type = SmallInt)]
    pub class: i16,
    /// End of the slot.
    #[diesel(sql_type = Timestamptz)]
    pub ends_at: DateTime<Utc>,
    /// Bytes, indexes included.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
}

#[derive(QueryableByName)]
struct NewId {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Class, slot and ids of the blocks that `rows` name.
fn places(rows: &[&TraceRow]) -> Vec<(i16, DateTime<Utc>, Vec<i64>)> {
    let mut places: BTreeMap<(i16, DateTime<Utc>), BTreeSet<i64>> = BTreeMap::new();
    for row in rows {
        places.entry((row.class, row.slot_at)).or_default().extend(&row.blocks);
    }
    places.into_iter().map(|((class, slot_at), ids)| (class, slot_at, ids.into_iter().collect())).collect()
}

fn index_json(row: &TraceRow, ids: &[i64]) -> serde_json::Value {
    let place = |at: &i64| usize::try_from(*at).ok().and_then(|at| ids.get(at)).copied();
    let hex: String = row.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    serde_json::json!({
        "trace_id": hex,
        "class": row.class,
        "start_ns": row.start_ns,
        "end_ns": row.end_ns,
        "root_service": row.root_service.as_deref().map(kept),
        "root_operation": row.root_operation.as_deref().map(kept),
        "services": row.services.iter().map(|service| kept(service)).collect::<Vec<_>>(),
        "terms": row.terms,
        "reasons": row.reasons,
        "span_count": row.span_count,
        "error_count": row.error_count,
        "blocks": row.blocks.iter().filter_map(place).collect::<Vec<_>>(),
    })
}

impl Storage {
    /// Writes what is kept of a piece of the spool and moves the cursor past it: both or neither, hence exactly once.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] when another process decides the tail; nothing is written then.
    pub async fn traces_write(&self, write: TraceWrite, to: DecidedTo) -> Result<(), StorageError> {
        let slot_at = self.trace_slot(&write).await?;
        let mut conn = self.conn().await?;
        let own =
            || trace_tails::table.filter(trace_tails::stream_id.eq(to.stream).and(trace_tails::epoch.eq(to.epoch)));
        let written = conn.transaction(async move |conn| {
            if let (TraceWrite { mut blocks, index }, Some(slot_at)) = (write, slot_at) {
                let ids: Vec<NewId> =
                    diesel::sql_query("SELECT nextval('trace_blocks_id') AS id FROM generate_series(1, $1)")
                        .bind::<BigInt, _>(blocks.len() as i64)
                        .load(conn)
                        .await?;
                let ids: Vec<i64> = ids.into_iter().map(|row| row.id).collect();
                for (block, id) in blocks.iter_mut().zip(&ids) {
                    (block.id, block.slot_at) = (*id, slot_at);
                }
                for rows in blocks.chunks(ROWS_PER_INSERT) {
                    diesel::insert_into(trace_blocks::table).values(rows).execute(conn).await?;
                }
                let rows = serde_json::Value::Array(index.iter().map(|row| index_json(row, &ids)).collect());
                diesel::select(trace_index_put(slot_at, rows)).execute(conn).await?;
            }
            let moved = diesel::update(own().filter(trace_tails::decided_seq.lt(to.seq)))
                .set((
                    trace_tails::decided_seq.eq(to.seq),
                    trace_tails::decided_at.eq(sql::<Timestamptz>(
                        "coalesce((SELECT s.written_at FROM trace_spool s WHERE s.stream_id = ",
                    )
                    .bind::<BigInt, _>(to.stream)
                    .sql(" AND s.seq > ")
                    .bind::<BigInt, _>(to.seq)
                    .sql(" ORDER BY s.seq LIMIT 1), now())")),
                    trace_tails::expires_at.eq(sql::<Timestamptz>("now() + interval '15 seconds'")),
                ))
                .execute(conn)
                .await?;
            if moved == 1 { Ok(()) } else { Err(StorageError::Fenced) }
        });
        match written.await {
            Err(StorageError::Fenced) => {
                // One that was written already, its answer lost, is done.
                let cursor = own().select(trace_tails::decided_seq).get_result::<i64>(&mut conn).await.optional()?;
                if cursor.is_some_and(|cursor| cursor >= to.seq) { Ok(()) } else { Err(StorageError::Fenced) }
            }
            written => written,
        }
    }

    /// The slot that a write goes to, its partitions made.
    async fn trace_slot(&self, write: &TraceWrite) -> Result<Option<DateTime<Utc>>, StorageError> {
        if write.blocks.is_empty() {
            return Ok(None);
        }
        let at = self.now().await?;
        let slot_at = at.duration_trunc(SLOT).unwrap_or(at);
        let mut conn = self.conn().await?;
        for class in 0..BLOCKS.len() {
            if write.blocks.iter().any(|block| usize::try_from(block.class) == Ok(class)) {
                for parent in [BLOCKS[class], INDEX[class]] {
                    diesel::select(ensure_partition(parent, slot_at, slot_at + SLOT)).execute(&mut conn).await?;
                }
            }
        }
        Ok(Some(slot_at))
    }

    /// The index rows of these traces.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn trace_rows(&self, ids: &[Vec<u8>]) -> Result<Vec<TraceRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(trace_index::table
            .filter(trace_index::trace_id.eq_any(ids))
            .select(TraceRow::as_select())
            .order((trace_index::trace_id, trace_index::class))
            .load(&mut conn)
            .await?)
    }

    /// The blocks that `rows` name.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn trace_blocks(&self, rows: &[&TraceRow]) -> Result<Vec<TraceBlock>, StorageError> {
        let mut conn = self.conn().await?;
        let mut blocks = Vec::new();
        for (class, slot_at, ids) in places(rows) {
            let found: Vec<TraceBlock> = trace_blocks::table
                .filter(trace_blocks::id.eq_any(ids))
                .filter(trace_blocks::class.eq(class))
                .filter(trace_blocks::slot_at.eq(slot_at))
                .select(TraceBlock::as_select())
                .load(&mut conn)
                .await?;
            blocks.extend(found);
        }
        Ok(blocks)
    }

    /// The filters of the blocks that `rows` name.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn trace_block_pairs(&self, rows: &[&TraceRow]) -> Result<Vec<TraceBlockKey>, StorageError> {
        let mut conn = self.conn().await?;
        let mut keys = Vec::new();
        for (class, slot_at, ids) in places(rows) {
            let found: Vec<TraceBlockKey> = trace_blocks::table
                .filter(trace_blocks::id.eq_any(ids))
                .filter(trace_blocks::class.eq(class))
                .filter(trace_blocks::slot_at.eq(slot_at))
                .select(TraceBlockKey::as_select())
                .load(&mut conn)
                .await?;
            keys.extend(found);
        }
        Ok(keys)
    }

    /// The bytes of one block; `None` when it was dropped in between.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn trace_block(&self, key: &TraceBlockKey) -> Result<Option<Vec<u8>>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(trace_blocks::table
            .filter(trace_blocks::id.eq(key.id))
            .filter(trace_blocks::class.eq(key.class))
            .filter(trace_blocks::slot_at.eq(key.slot_at))
            .select(trace_blocks::payload)
            .get_result(&mut conn)
            .await
            .optional()?)
    }

    /// Bytes of kept traces by class and slot, the least wanted first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn trace_usage(&self) -> Result<Vec<TraceUsage>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query("SELECT class, ends_at, bytes FROM trace_usage()").load(&mut conn).await?)
    }

    /// Drops the slots of `class` that ended at or before `before`. Returns the number of partitions dropped.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn traces_drop(&self, class: i16, before: DateTime<Utc>) -> Result<i32, StorageError> {
        let mut conn = self.conn().await?;
        let mut dropped = 0;
        // The index first: what it names is there as long as it is.
        for tables in [INDEX, BLOCKS] {
            let Some(parent) = usize::try_from(class).ok().and_then(|class| tables.get(class)) else { continue };
            dropped += diesel::select(drop_partitions(*parent, before)).get_result::<i32>(&mut conn).await?;
        }
        Ok(dropped)
    }
}
