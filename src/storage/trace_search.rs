//! Searches of the index of kept traces.
//!
//! Which way is quick depends on how much is met, and the planner cannot tell: the partition that is written to has stale
//! statistics or none, and how long traces are hangs together with whose they are. Hence three ways in turn, each of
//! bounded cost but for the last: the first rows in order, looked through; all that began in the time asked for, if those
//! are few; all that have the terms. The rest of the planner's choices are taken from it.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::schema::trace_index;
use super::traces::TraceRow;
use super::{Storage, StorageError};

/// Rows looked through in order. Where fewer of them are met than asked for, at most some per cent of all are.
const WALKED: i64 = 3_000;
/// Rows in the time asked for, up to which all of them are looked at.
const RANGED: i64 = 20_000;
/// The index of terms is read by bitmaps only, that of an order never has to be.
const IN_ORDER: &str = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off";
const BY_TERMS: &str = "SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on";

/// Order of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceOrder {
    /// Latest start first.
    #[default]
    Newest,
    /// Longest first.
    Slowest,
}

/// Which traces.
#[derive(Clone, Debug, Default)]
pub struct TraceFilter {
    /// Hashes that must all be among its terms.
    pub terms: Vec<i64>,
    /// Least duration in nanoseconds.
    pub least_ns: Option<i64>,
    /// Greatest duration.
    pub most_ns: Option<i64>,
    /// With an error, or without.
    pub error: Option<bool>,
    /// Earliest start.
    pub from_ns: i64,
    /// Latest start.
    pub to_ns: i64,
    /// Order.
    pub order: TraceOrder,
    /// Last start or duration of the page before, and the trace that had it.
    pub after: Option<(i64, Vec<u8>)>,
    /// Most rows.
    pub limit: i64,
}

impl TraceFilter {
    const fn column(&self) -> Column {
        match self.order {
            TraceOrder::Newest => Column::Start,
            TraceOrder::Slowest => Column::Duration,
        }
    }

    /// Asks for more than rows in their order.
    const fn narrows(&self) -> bool {
        self.by_contents() || self.error.is_some() || matches!(self.order, TraceOrder::Slowest)
    }

    /// Asks for what an index tells, beside time.
    const fn by_contents(&self) -> bool {
        !self.terms.is_empty() || self.least_ns.is_some() || self.most_ns.is_some()
    }
}

/// What rows are ordered by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Start,
    Duration,
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start_ns",
            Self::Duration => "duration_ns",
        }
    }

    /// The same to whoever reads it, and no index's key.
    const fn hidden(self) -> &'static str {
        match self {
            Self::Start => "(start_ns + 0)",
            Self::Duration => "(duration_ns + 0)",
        }
    }
}

/// What the planner may see of a search.
#[derive(Clone, Copy)]
struct Sight {
    start: bool,
    order: bool,
}

type Rows<'a> = trace_index::BoxedQuery<'a, diesel::pg::Pg>;

/// Rows in the time asked for and after the page before, as the index of the order has them.
fn ahead<'a>(filter: &TraceFilter) -> Rows<'a> {
    let mut rows = trace_index::table.into_boxed();
    if let Some((last, _)) = &filter.after {
        rows = rows.filter(sql::<Bool>(filter.column().name()).sql(" <= ").bind::<BigInt, _>(*last));
    }
    match filter.column() {
        Column::Start => rows.filter(trace_index::start_ns.between(filter.from_ns, filter.to_ns)),
        Column::Duration => {
            if let Some(least) = filter.least_ns {
                rows = rows.filter(trace_index::duration_ns.ge(least));
            }
            match filter.most_ns {
                Some(most) => rows.filter(trace_index::duration_ns.le(most)),
                None => rows,
            }
        }
    }
}

/// The value in the order that `WALKED` rows are above; none when there are fewer.
async fn walk_end(conn: &mut AsyncPgConnection, filter: &TraceFilter) -> QueryResult<Option<i64>> {
    let rows = ahead(filter).offset(WALKED).limit(1);
    let end = match filter.column() {
        Column::Start => rows.select(trace_index::start_ns).order(trace_index::start_ns.desc()).load(conn).await?,
        Column::Duration => {
            rows.select(trace_index::duration_ns).order(trace_index::duration_ns.desc()).load(conn).await?
        }
    };
    Ok(end.into_iter().next())
}

/// Whether so few traces began in the time asked for that each can be looked at.
async fn few_in_range(conn: &mut AsyncPgConnection, filter: &TraceFilter) -> QueryResult<bool> {
    let beyond: Vec<i64> = trace_index::table
        .filter(trace_index::start_ns.between(filter.from_ns, filter.to_ns))
        .select(trace_index::start_ns)
        .order(trace_index::start_ns)
        .offset(RANGED)
        .limit(1)
        .load(conn)
        .await?;
    Ok(beyond.is_empty())
}

/// What `filter` meets, of what is past `end` in the order if that is given.
fn met(filter: &TraceFilter, end: Option<i64>, sight: Sight) -> Rows<'_> {
    let seen = |column: Column, is_seen: bool| if is_seen { column.name() } else { column.hidden() };
    let start = seen(Column::Start, sight.start);
    let order = seen(filter.column(), sight.order);
    let mut rows = trace_index::table.limit(filter.limit).into_boxed();
    let within = sql::<Bool>(start).sql(" BETWEEN ").bind::<BigInt, _>(filter.from_ns);
    rows = rows.filter(within.sql(" AND ").bind::<BigInt, _>(filter.to_ns));
    if !filter.terms.is_empty() {
        rows = rows.filter(trace_index::terms.contains(&filter.terms));
    }
    if let Some(least) = filter.least_ns {
        rows = rows.filter(trace_index::duration_ns.ge(least));
    }
    if let Some(most) = filter.most_ns {
        rows = rows.filter(trace_index::duration_ns.le(most));
    }
    rows = match filter.error {
        Some(true) => rows.filter(trace_index::error_count.gt(0)),
        Some(false) => rows.filter(trace_index::error_count.eq(0)),
        None => rows,
    };
    if let Some(end) = end {
        rows = rows.filter(sql::<Bool>(order).sql(" > ").bind::<BigInt, _>(end));
    }
    // The same value twice is told apart by the trace's id.
    if let Some((last, id)) = &filter.after {
        rows = rows.filter(sql::<Bool>(order).sql(" <= ").bind::<BigInt, _>(*last));
        let before = sql::<Bool>(order).sql(" < ").bind::<BigInt, _>(*last);
        rows = rows.filter(before.or(trace_index::trace_id.lt(id)));
    }
    rows.order((sql::<BigInt>(order).sql(" DESC"), trace_index::trace_id.desc()))
}

async fn search(conn: &mut AsyncPgConnection, filter: &TraceFilter) -> QueryResult<Vec<TraceRow>> {
    let walk = Sight { start: filter.column() == Column::Start, order: true };
    conn.batch_execute(IN_ORDER).await?;
    let end = if filter.narrows() { walk_end(conn, filter).await? } else { None };
    let first: Vec<TraceRow> = met(filter, end, walk).select(TraceRow::as_select()).load(conn).await?;
    if end.is_none() || first.len() as i64 >= filter.limit {
        return Ok(first);
    }
    let sight = if !filter.by_contents() || few_in_range(conn, filter).await? {
        Sight { start: true, order: false }
    } else {
        conn.batch_execute(BY_TERMS).await?;
        Sight { start: false, order: false }
    };
    met(filter, None, sight).select(TraceRow::as_select()).load(conn).await
}

impl Storage {
    /// The index rows that `filter` meets, in its order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn trace_search(&self, filter: &TraceFilter) -> Result<Vec<TraceRow>, StorageError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| Ok(search(conn, filter).await?)).await
    }
}
