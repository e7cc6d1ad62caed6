//! From bodies to what is written: kept spans, grouped by trace, into blocks and index rows. Pure: no I/O, no clock.

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::block::{BlockError, TraceSpans, encode};
use super::decide::{Class, Reasons};
use super::graph::Graph;
use super::spool::{Inflater, Marks};
use super::tail::Kept;
use crate::model::{Span, SpanId, SpanKind, SpanStatus, TimeMs, TraceId};
use crate::storage::{TraceBlock, TraceRow, TraceWrite};

/// Spans in one block; a trace of more is in several.
pub(super) const BLOCK_SPANS: usize = 8_192;
/// Services named of one trace, and services and operations that it is found by.
const SERVICES_MAX: usize = 64;
const TERMS_MAX: usize = 256;

/// What a span calls that may send no spans of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerKind {
    /// A database.
    Database,
    /// A cache.
    Cache,
    /// A queue or topic.
    Queue,
    /// A service.
    Service,
}

/// The other side of a call, as the attributes of the span tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// What it is.
    pub kind: PeerKind,
    /// What it is called.
    pub name: String,
}

/// A span as a walk over a body shows it.
pub struct WalkedSpan<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Which.
    pub span_id: SpanId,
    /// The span that it is a part of.
    pub parent_id: SpanId,
    /// Which side of a call.
    pub kind: SpanKind,
    /// How it ended.
    pub status: SpanStatus,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
    /// When it ended.
    pub end_ms: TimeMs,
    /// How many spans it stands for, where its client sends a part only.
    pub weight: f64,
    /// Its service.
    pub service: &'a str,
    /// The other side; looked for when asked.
    pub peer: &'a dyn Fn() -> Option<Peer>,
    /// The whole span; read when asked.
    pub whole: &'a dyn Fn() -> Option<Span>,
}

/// Walks a body and shows each span that is sound. The wire format is `ingest`'s business.
pub type WalkBody = fn(body: &[u8], each: &mut dyn FnMut(&WalkedSpan<'_>));

/// A term that a trace is found by: its service.
#[must_use]
pub(super) fn service_term(service: &str) -> i64 {
    xxh3_64(service.as_bytes()) as i64
}

/// A term that a trace is found by: a service and one of its operations.
#[must_use]
pub(super) fn operation_term(service: &str, operation: &str) -> i64 {
    xxh3_64_with_seed(operation.as_bytes(), service_term(service) as u64) as i64
}

/// A term that a trace is found by: an operation, whoever's.
#[must_use]
pub(super) fn any_operation_term(operation: &str) -> i64 {
    xxh3_64_with_seed(operation.as_bytes(), 0x0b) as i64
}

/// Spans of one group commit, at hand.
pub(super) struct Piece {
    pub(super) seq: i64,
    pub(super) marks: Marks,
    /// Compressed.
    pub(super) bodies: Vec<Bytes>,
}

/// What was found in pieces of the spool.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) gathered: Gathered,
    /// Spans looked at.
    pub(super) spans: u64,
    /// Bodies that cannot be read.
    pub(super) damaged: u64,
    /// The row up to which it was looked.
    pub(super) seq: i64,
}

/// Looks at `pieces` until a block is full: spans of kept traces are gathered, and those after row `fed` feed the graph.
pub(super) fn look(
    pieces: Vec<Piece>,
    walk: WalkBody,
    kept: &RwLock<Kept>,
    (graph, fed): (&Mutex<Graph>, i64),
) -> Looked {
    let (mut looked, mut inflater) = (Looked::default(), Inflater::default());
    for piece in pieces {
        // What was marked long ago may be forgotten; not what is marked here.
        let own: HashMap<TraceId, Reasons> = piece.marks.into_iter().collect();
        for body in piece.bodies {
            let Some(body) = inflater.inflate(&body) else {
                looked.damaged += 1;
                continue;
            };
            let (kept, mut graph) = (kept.read(), graph.lock());
            let mut last = (TraceId::default(), Reasons::NONE);
            walk(body, &mut |span| {
                looked.spans += 1;
                if piece.seq > fed {
                    graph.add(span);
                }
                if span.trace_id != last.0 {
                    let marked = own.get(&span.trace_id).copied().unwrap_or_default();
                    last = (span.trace_id, kept.reasons(span.trace_id).and(marked));
                }
                if !last.1.is_none()
                    && let Some(whole) = (span.whole)()
                {
                    looked.gathered.add(span.trace_id, last.1, whole);
                }
            });
        }
        looked.seq = piece.seq;
        if looked.gathered.spans >= BLOCK_SPANS {
            break;
        }
    }
    looked
}

/// Kept spans by trace.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    by_trace: HashMap<TraceId, (Reasons, Vec<Span>)>,
    pub(super) spans: usize,
}

impl Gathered {
    /// Takes a span of a kept trace.
    pub(super) fn add(&mut self, trace_id: TraceId, reasons: Reasons, span: Span) {
        let (known, spans) = self.by_trace.entry(trace_id).or_default();
        *known = known.and(reasons);
        spans.push(span);
        self.spans += 1;
    }

    /// What is to be written, of the classes from `least` on.
    pub(super) fn into_write(self, least: Option<Class>) -> Result<TraceWrite, BlockError> {
        let mut write = TraceWrite::default();
        let mut traces: Vec<(TraceId, Reasons, Vec<Span>)> =
            self.by_trace.into_iter().map(|(id, (reasons, spans))| (id, reasons, spans)).collect();
        traces.retain(|(_, reasons, _)| least.is_some_and(|least| reasons.class() >= least));
        // Neighbours in time share more of their values.
        traces.sort_by_key(|(id, _, spans)| (spans.iter().map(|span| span.start).min(), *id));
        for class in Class::ALL {
            let mut packer = Packer { write: &mut write, class, open: Vec::new(), spans: 0 };
            for (trace_id, reasons, spans) in traces.iter_mut().filter(|(_, reasons, _)| reasons.class() == class) {
                packer.add(*trace_id, *reasons, std::mem::take(spans))?;
            }
            packer.close()?;
        }
        Ok(write)
    }
}

/// Fills blocks of one class.
struct Packer<'w> {
    write: &'w mut TraceWrite,
    class: Class,
    open: Vec<TraceSpans>,
    spans: usize,
}

impl Packer<'_> {
    fn add(&mut self, trace_id: TraceId, reasons: Reasons, mut spans: Vec<Span>) -> Result<(), BlockError> {
        spans.sort_by_key(|span| (span.start, span.span_id));
        let mut row = index_row(trace_id, self.class, reasons, &spans);
        while !spans.is_empty() {
            let room = BLOCK_SPANS - self.spans;
            let rest = spans.split_off(spans.len().min(room));
            self.spans += spans.len();
            row.blocks.push(self.write.blocks.len() as i64);
            self.open.push(TraceSpans { trace_id, spans: std::mem::replace(&mut spans, rest) });
            if self.spans >= BLOCK_SPANS {
                self.close()?;
            }
        }
        self.write.index.push(row);
        Ok(())
    }

    fn close(&mut self) -> Result<(), BlockError> {
        if self.open.is_empty() {
            return Ok(());
        }
        self.write.blocks.push(TraceBlock {
            id: 0,
            class: self.class as i16,
            slot_at: chrono::DateTime::UNIX_EPOCH,
            span_count: self.spans as i32,
            pairs: super::filter::of(&self.open),
            payload: encode(&self.open)?,
        });
        self.open.clear();
        self.spans = 0;
        Ok(())
    }
}

fn index_row(trace_id: TraceId, class: Class, reasons: Reasons, spans: &[Span]) -> TraceRow {
    let root = spans.iter().find(|span| span.parent_id.is_none());
    let mut services: Vec<String> = Vec::new();
    let mut terms: HashSet<i64> = HashSet::new();
    for span in spans {
        let service = span.source.service();
        if services.len() < SERVICES_MAX && !services.iter().any(|known| known == service) {
            services.push(service.to_owned());
            terms.insert(service_term(service));
        }
        if terms.len() < TERMS_MAX {
            terms.extend([operation_term(service, &span.name), any_operation_term(&span.name)]);
        }
    }
    services.sort_unstable();
    let nanos = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    TraceRow {
        trace_id: trace_id.0.to_vec(),
        class: class as i16,
        slot_at: chrono::DateTime::UNIX_EPOCH,
        start_ns: nanos(spans.iter().map(|span| span.start).min().unwrap_or_default()),
        end_ns: nanos(spans.iter().map(|span| span.end).max().unwrap_or_default()),
        root_service: root.map(|span| span.source.service().to_owned()),
        root_operation: root.map(|span| span.name.clone()),
        services,
        terms: terms.into_iter().collect(),
        reasons: i16::from(reasons.bits()),
        span_count: spans.len() as i32,
        error_count: spans.iter().filter(|span| span.status == SpanStatus::Error).count() as i32,
        blocks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::block::Block;

    fn span(number: u64, parent: u64) -> Span {
        let id = |n: u64| SpanId(n.to_le_bytes());
        let (name, start) = (format!("op-{}", number % 3), 1_000 - number % 100);
        Span { span_id: id(number), parent_id: id(parent), name, start, end: 2_000, ..Span::default() }
    }

    #[test]
    fn a_trace_of_many_spans_is_in_several_blocks_and_one_row() {
        let mut gathered = Gathered::default();
        let (long, short) = (TraceId([1; 16]), TraceId([2; 16]));
        gathered.add(short, Reasons::ERROR, span(1, 0));
        (1..=20_000).for_each(|i| gathered.add(long, Reasons::ERROR, span(i, i - 1)));
        let write = gathered.into_write(Some(Class::Sample)).expect("encodes");
        assert_eq!(write.blocks.iter().map(|block| block.span_count).collect::<Vec<_>>(), [8_192, 8_192, 3_617]);
        let row = write.index.iter().find(|row| row.trace_id == long.0).expect("a row");
        assert_eq!((row.span_count, row.blocks.len(), row.root_operation.as_deref()), (20_000, 3, Some("op-1")));
        let in_block = |at: &i64| Block::decode(&write.blocks[*at as usize].payload).expect("sound");
        let spans: usize = row.blocks.iter().map(|at| in_block(at).find(long).map_or(0, |range| range.len())).sum();
        assert_eq!(spans, 20_000);
    }

    #[test]
    fn classes_are_apart_and_those_without_room_are_left_out() {
        let gathered = || {
            let mut gathered = Gathered::default();
            for (id, reasons) in [(1, Reasons::SAMPLE), (2, Reasons::SLOW), (3, Reasons::ERROR.and(Reasons::SAMPLE))] {
                gathered.add(TraceId([id; 16]), reasons, span(1, 0));
            }
            gathered
        };
        let classes = |least| {
            let write = gathered().into_write(least).expect("encodes");
            write.blocks.iter().map(|block| block.class).collect::<Vec<_>>()
        };
        assert_eq!(classes(Some(Class::Sample)), [0, 1, 2]);
        assert_eq!(classes(Some(Class::Error)), [2]);
        assert!(classes(None).is_empty());
    }
}
