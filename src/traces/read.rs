//! Kept traces read: one by its id, or those that a search meets.

use std::str::FromStr;

use hashbrown::{HashMap, HashSet};

use super::block::{Block, BlockError};
use super::decide::Reasons;
use super::gather::{any_operation_term, operation_term, service_term};
use super::{Traces, filter};
use crate::error::ErrorCode;
use crate::model::{Span, SpanId, TraceId};
use crate::storage::{StorageError, TraceFilter, TraceOrder, TraceRow};

/// Most traces of a page.
pub const LIMIT_MAX: usize = 1_000;
/// Index rows looked at in one step of a search by attribute, and in all.
const CANDIDATES: i64 = 500;
const CANDIDATES_MAX: usize = 20_000;

/// Why traces are not read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A parameter is wrong.
    #[error("{field} {what}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What it must be.
        what: String,
    },
    /// It is not kept, or not yet.
    #[error("no trace {0} is kept: it was of no note, has passed its retention, or came within the last seconds")]
    NotFound(TraceId),
    /// The trace is there, the span is not.
    #[error("trace {0} has no span {1}")]
    NoSpan(TraceId, SpanId),
    /// The database is away.
    #[error("traces cannot be read")]
    Storage(#[from] StorageError),
    /// A block is damaged.
    #[error("spans cannot be read")]
    Block(#[from] BlockError),
    /// A bug: decoding panicked.
    #[error("the decoder stopped")]
    Decoder(#[from] tokio::task::JoinError),
}

impl TraceError {
    /// What kind of failure it is.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::InvalidArgument,
            Self::NotFound(_) | Self::NoSpan(..) => ErrorCode::NotFound,
            Self::Storage(error) => error.code(),
            Self::Block(_) | Self::Decoder(_) => ErrorCode::Internal,
        }
    }
}

/// A kept trace in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTrace {
    /// Which.
    pub trace_id: TraceId,
    /// When its first span began, in Unix nanoseconds.
    pub start_ns: i64,
    /// From there to the end of its last span.
    pub duration_ns: i64,
    /// Service and operation of its root, once that came.
    pub root: Option<(String, String)>,
    /// Every service in it.
    pub services: Vec<String>,
    /// Why it is kept.
    pub reasons: Reasons,
    /// Spans stored.
    pub span_count: u64,
    /// Of those, with an error.
    pub error_count: u64,
}

/// A page of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order asked for.
    pub traces: Vec<FoundTrace>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
}

/// What a search asks for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// A service in the trace.
    pub service: Option<String>,
    /// Another service in it, as two that call each other are.
    pub with: Option<String>,
    /// An operation in it, of that service if one is given.
    pub operation: Option<String>,
    /// Least duration in nanoseconds.
    pub least_ns: Option<i64>,
    /// Greatest duration.
    pub most_ns: Option<i64>,
    /// With an error, or without.
    pub error: Option<bool>,
    /// Attributes, each on some span or its resource, as text.
    pub attributes: Vec<(String, String)>,
    /// Earliest and latest start, in Unix nanoseconds.
    pub span_ns: (i64, i64),
    /// Order.
    pub order: TraceOrder,
    /// Where a page before ended.
    pub cursor: Option<String>,
    /// Most traces of the page.
    pub limit: usize,
}

/// How much of each span is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanDetail {
    /// Without attributes, events and links.
    Outline,
    /// All.
    Whole,
}

/// A trace and its spans, in order of their starts.
#[derive(Clone, Debug)]
pub struct WholeTrace {
    /// In a line.
    pub found: FoundTrace,
    /// Every span once.
    pub spans: Vec<Span>,
}

/// Index rows of one trace made one.
type Rows<'r> = &'r [&'r TraceRow];

fn found(trace_id: TraceId, rows: Rows<'_>) -> FoundTrace {
    let start_ns = rows.iter().map(|row| row.start_ns).min().unwrap_or_default();
    let end_ns = rows.iter().map(|row| row.end_ns).max().unwrap_or_default();
    let root = rows.iter().find_map(|row| Some((row.root_service.clone()?, row.root_operation.clone()?)));
    let mut services: Vec<String> = rows.iter().flat_map(|row| row.services.iter().cloned()).collect();
    services.sort_unstable();
    services.dedup();
    let reasons = rows.iter().map(|row| Reasons::from_bits(row.reasons as u8));
    FoundTrace {
        trace_id,
        start_ns,
        duration_ns: end_ns - start_ns,
        root,
        services,
        reasons: reasons.fold(Reasons::NONE, Reasons::and),
        span_count: rows.iter().map(|row| row.span_count.max(0) as u64).sum(),
        error_count: rows.iter().map(|row| row.error_count.max(0) as u64).sum(),
    }
}

/// Value in the order, and the trace that had it.
fn cursor_of(row: &TraceRow, order: TraceOrder) -> (i64, Vec<u8>) {
    let value = match order {
        TraceOrder::Newest => row.start_ns,
        TraceOrder::Slowest => row.end_ns - row.start_ns,
    };
    (value, row.trace_id.clone())
}

fn write_cursor((value, id): &(i64, Vec<u8>)) -> String {
    format!("{value}:{}", id.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn read_cursor(text: &str) -> Result<(i64, Vec<u8>), TraceError> {
    let bad = || TraceError::Invalid { field: "cursor", what: "must be one that an answer gave".to_owned() };
    let (value, id) = text.split_once(':').ok_or_else(bad)?;
    let id = TraceId::from_str(id).map_err(|_| bad())?;
    Ok((value.parse().map_err(|_| bad())?, id.0.to_vec()))
}

impl Search {
    fn filter(&self) -> Result<TraceFilter, TraceError> {
        if self.limit == 0 || self.limit > LIMIT_MAX {
            return Err(TraceError::Invalid { field: "limit", what: format!("must be from 1 to {LIMIT_MAX}") });
        }
        if self.span_ns.0 > self.span_ns.1 {
            return Err(TraceError::Invalid { field: "to", what: "must not be before from".to_owned() });
        }
        let mut terms = match (&self.service, &self.operation) {
            (Some(service), Some(operation)) => vec![operation_term(service, operation)],
            (Some(service), None) => vec![service_term(service)],
            (None, Some(operation)) => vec![any_operation_term(operation)],
            (None, None) => Vec::new(),
        };
        terms.extend(self.with.as_deref().map(service_term));
        Ok(TraceFilter {
            terms,
            least_ns: self.least_ns,
            most_ns: self.most_ns,
            error: self.error,
            from_ns: self.span_ns.0,
            to_ns: self.span_ns.1,
            order: self.order,
            after: self.cursor.as_deref().map(read_cursor).transpose()?,
            // One more tells whether there is a next page.
            limit: if self.attributes.is_empty() { self.limit as i64 + 1 } else { CANDIDATES },
        })
    }
}

/// Verdicts on blocks, so that each is read once in a search.
#[derive(Default)]
struct Verdicts(HashMap<i64, HashSet<TraceId>>);

impl Traces {
    /// The traces that `search` asks for.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub async fn search(&self, search: &Search) -> Result<Page, TraceError> {
        let mut filter = search.filter()?;
        let (mut rows, mut seen, mut next) = (Vec::<TraceRow>::new(), 0, None);
        let mut verdicts = Verdicts::default();
        loop {
            let candidates = self.storage.trace_search(&filter).await?;
            let is_last = (candidates.len() as i64) < filter.limit;
            seen += candidates.len();
            let meets = self.with_attributes(&candidates, &search.attributes, &mut verdicts).await?;
            for (row, meets) in candidates.into_iter().zip(meets) {
                if meets && rows.len() == search.limit {
                    // It begins the next page.
                    return self.page(rows, next).await;
                }
                next = Some(cursor_of(&row, search.order));
                if meets && !rows.iter().any(|known| known.trace_id == row.trace_id) {
                    rows.push(row);
                }
            }
            if is_last {
                return self.page(rows, None).await;
            }
            if seen >= CANDIDATES_MAX {
                return self.page(rows, next).await;
            }
            filter.after.clone_from(&next);
        }
    }

    async fn page(&self, rows: Vec<TraceRow>, next: Option<(i64, Vec<u8>)>) -> Result<Page, TraceError> {
        let ids: Vec<Vec<u8>> = rows.iter().map(|row| row.trace_id.clone()).collect();
        // Parts of a trace that are kept for other reasons are rows of their own.
        let whole = self.storage.trace_rows(&ids).await?;
        let of = |row: &TraceRow| {
            let parts: Vec<&TraceRow> = whole.iter().filter(|part| part.trace_id == row.trace_id).collect();
            let id = row.trace_id.as_slice().try_into().unwrap_or_default();
            found(TraceId(id), if parts.is_empty() { std::slice::from_ref(&row) } else { &parts })
        };
        Ok(Page { traces: rows.iter().map(of).collect(), next: next.as_ref().map(write_cursor) })
    }

    /// Which of `rows` have all of `attributes`.
    async fn with_attributes(
        &self,
        rows: &[TraceRow],
        attributes: &[(String, String)],
        verdicts: &mut Verdicts,
    ) -> Result<Vec<bool>, TraceError> {
        if attributes.is_empty() {
            return Ok(vec![true; rows.len()]);
        }
        let unknown: Vec<&TraceRow> =
            rows.iter().filter(|row| row.blocks.iter().any(|id| !verdicts.0.contains_key(id))).collect();
        for key in self.storage.trace_block_pairs(&unknown).await? {
            let may = attributes.iter().all(|(name, text)| filter::may_have(&key.pairs, name, text));
            let mut traces = HashSet::new();
            if may && let Some(payload) = self.storage.trace_block(&key).await? {
                let wanted = attributes.to_vec();
                traces = tokio::task::spawn_blocking(move || with_all(&payload, &wanted)).await??;
            }
            verdicts.0.insert(key.id, traces);
        }
        let meets = |row: &TraceRow| {
            let id = TraceId(row.trace_id.as_slice().try_into().unwrap_or_default());
            row.blocks.iter().any(|block| verdicts.0.get(block).is_some_and(|traces| traces.contains(&id)))
        };
        Ok(rows.iter().map(meets).collect())
    }

    /// A kept trace.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub async fn trace(&self, trace_id: TraceId, detail: SpanDetail) -> Result<WholeTrace, TraceError> {
        let (rows, blocks) = self.blocks_of(trace_id).await?;
        let rows: Vec<&TraceRow> = rows.iter().collect();
        let found = found(trace_id, &rows);
        let spans = tokio::task::spawn_blocking(move || read_spans(&blocks, trace_id, detail)).await??;
        Ok(WholeTrace { found, spans })
    }

    /// One span of a kept trace, whole.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub async fn span(&self, trace_id: TraceId, span_id: SpanId) -> Result<Span, TraceError> {
        let (_, blocks) = self.blocks_of(trace_id).await?;
        let span = tokio::task::spawn_blocking(move || find_span(&blocks, trace_id, span_id)).await??;
        span.ok_or(TraceError::NoSpan(trace_id, span_id))
    }

    async fn blocks_of(&self, trace_id: TraceId) -> Result<(Vec<TraceRow>, Vec<Vec<u8>>), TraceError> {
        let rows = self.storage.trace_rows(&[trace_id.0.to_vec()]).await?;
        if rows.is_empty() {
            return Err(TraceError::NotFound(trace_id));
        }
        let blocks = self.storage.trace_blocks(&rows.iter().collect::<Vec<_>>()).await?;
        Ok((rows, blocks.into_iter().map(|block| block.payload).collect()))
    }
}

fn with_all(payload: &[u8], attributes: &[(String, String)]) -> Result<HashSet<TraceId>, BlockError> {
    let block = Block::decode(payload)?;
    let mut traces: Option<HashSet<TraceId>> = None;
    for (key, text) in attributes {
        let with: HashSet<TraceId> = block.with_attribute(key, text).into_iter().collect();
        traces = Some(match traces {
            None => with,
            Some(before) => before.intersection(&with).copied().collect(),
        });
    }
    Ok(traces.unwrap_or_default())
}

/// Every span of the trace once, in order of their starts.
fn read_spans(blocks: &[Vec<u8>], trace_id: TraceId, detail: SpanDetail) -> Result<Vec<Span>, BlockError> {
    let (mut spans, mut known) = (Vec::new(), HashSet::new());
    for payload in blocks {
        let block = Block::decode(payload)?;
        for i in block.find(trace_id).into_iter().flatten() {
            // A sender that tried again under another key has sent it twice.
            if known.insert(block.span_id(i)) {
                spans.push(if detail == SpanDetail::Whole { block.span(i)? } else { block.outline(i) });
            }
        }
    }
    // Of those that begin together the longest first: it is the caller.
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end), span.span_id));
    Ok(spans)
}

fn find_span(blocks: &[Vec<u8>], trace_id: TraceId, span_id: SpanId) -> Result<Option<Span>, BlockError> {
    for payload in blocks {
        let block = Block::decode(payload)?;
        if let Some(i) = block.find(trace_id).into_iter().flatten().find(|i| block.span_id(*i) == span_id) {
            return block.span(i).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_others_are_refused() {
        let cursor = (-5, vec![0xab; 16]);
        assert_eq!(read_cursor(&write_cursor(&cursor)).ok(), Some(cursor));
        for bad in ["", "5", "5:", "x:0af7651916cd43dd8448eb211c80319c", "5:0af7"] {
            assert!(matches!(read_cursor(bad), Err(TraceError::Invalid { field: "cursor", .. })), "{bad}");
        }
    }
}
