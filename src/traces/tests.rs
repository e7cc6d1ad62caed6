//! Which traces are kept, compared with a model: any order of arrival, any lateness, any split over two replicas, any budget.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::decide::{Class, Reasons};
use super::gather::{Piece, WalkedSpan, look};
use super::graph::Graph;
use super::spool::{ExportSpans, compress, decode_bodies, decode_marks, encode};
use super::tail::Tail;
use crate::model::{Span, SpanId, SpanKind, SpanStatus, TraceId, Width};
use crate::storage::SpoolPart;

const WAIT_S: u64 = 10;
/// How long a mark takes to the other replica.
const FOLLOW_S: u64 = 1;
const END_S: u64 = 60;

/// A span that arrives somewhere.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at_s: u64,
    replica: usize,
    trace: u8,
    is_error: bool,
}

/// A body of the test: trace, span and status of each.
fn walk(body: &[u8], each: &mut dyn FnMut(&WalkedSpan<'_>)) {
    for chunk in body.chunks_exact(6) {
        let span_id = SpanId([chunk[1], chunk[2], chunk[3], chunk[4], 0, 0, 0, 1]);
        let status = if chunk[5] == 1 { SpanStatus::Error } else { SpanStatus::Unset };
        each(&WalkedSpan {
            trace_id: TraceId([chunk[0]; 16]),
            span_id,
            parent_id: SpanId::default(),
            kind: SpanKind::Internal,
            status,
            nanos: 1,
            end_ms: 1,
            weight: 1.0,
            service: "s",
            peer: &|| None,
            whole: &|| Some(Span { span_id, status, ..Span::default() }),
        });
    }
}

fn body(spans: &[(usize, Arrival)]) -> Vec<u8> {
    let one = |(number, arrival): &(usize, Arrival)| {
        let [a, b, c, d] = (*number as u32).to_be_bytes();
        [arrival.trace, a, b, c, d, u8::from(arrival.is_error)]
    };
    spans.iter().flat_map(one).collect()
}

fn number(span_id: SpanId) -> usize {
    let [a, b, c, d, ..] = span_id.0;
    u32::from_be_bytes([a, b, c, d]) as usize
}

/// A replica with its part of the spool.
struct Replica {
    tail: Tail,
    spool: BTreeMap<i64, (u64, SpoolPart)>,
    decided: i64,
    stored: BTreeSet<usize>,
    graph: Mutex<Graph>,
}

impl Replica {
    fn new(budget: usize, now: Instant) -> Self {
        let tail = Tail::new(budget, Duration::from_secs(600), now);
        let graph = Mutex::new(Graph::new(Width::TEN_SECONDS));
        Self { tail, spool: BTreeMap::new(), decided: 0, stored: BTreeSet::new(), graph }
    }

    fn receive(&mut self, spans: &[(usize, Arrival)], at_s: u64, now: Instant) {
        let errors = spans.iter().filter(|(_, arrival)| arrival.is_error);
        let marks = errors.map(|(_, arrival)| (TraceId([arrival.trace; 16]), Reasons::ERROR)).collect();
        let export = ExportSpans { marks, body: compress(&body(spans)) };
        let seq = self.spool.len() as i64 + 1;
        self.spool.insert(seq, (at_s, encode(std::slice::from_ref(&export))));
        self.tail.push(1, seq, vec![export], now);
    }

    fn decide(&mut self, due: Instant) {
        let from_spool = |seq: i64, part: &SpoolPart| Piece {
            seq,
            marks: decode_marks(&part.marks),
            bodies: decode_bodies(part.spans.clone()),
        };
        let mut pieces = Vec::new();
        for chunk in self.tail.due(due, usize::MAX) {
            match chunk.bodies {
                Some(bodies) => pieces.push(Piece { seq: chunk.seq, marks: chunk.marks, bodies }),
                None => {
                    let last = pieces.last().map_or(self.decided, |piece: &Piece| piece.seq);
                    let rows = self.spool.range(last + 1..=chunk.seq);
                    pieces.extend(rows.map(|(seq, (_, part))| from_spool(*seq, part)));
                }
            }
        }
        let looked = look(pieces, walk, &self.tail.kept, (&self.graph, i64::MIN));
        if looked.seq == 0 {
            return;
        }
        let write = looked.gathered.into_write(Some(Class::Sample)).expect("encodes");
        for block in &write.blocks {
            let block = super::block::Block::decode(&block.payload).expect("sound");
            for (_, range) in block.traces() {
                self.stored.extend(range.clone().map(|i| number(block.span_id(i))));
            }
        }
        self.decided = looked.seq;
        self.tail.forget(1, looked.seq);
    }
}

fn simulate(arrivals: &[Arrival], budget: usize) -> BTreeSet<usize> {
    let start = Instant::now();
    let second = |s: u64| start + Duration::from_secs(s);
    let mut replicas = [Replica::new(budget, start), Replica::new(budget, start)];
    for now_s in 0..=END_S + WAIT_S {
        let now = second(now_s);
        for (place, replica) in replicas.iter_mut().enumerate() {
            let here = arrivals.iter().copied().enumerate();
            let here: Vec<_> = here.filter(|(_, a)| a.at_s == now_s && a.replica == place).collect();
            for export in here.chunks(2) {
                replica.receive(export, now_s, now);
            }
        }
        for place in 0..replicas.len() {
            let Some(before) = now_s.checked_sub(FOLLOW_S) else { continue };
            let rows = replicas[1 - place].spool.values().filter(|(at_s, _)| *at_s == before);
            for (_, part) in rows {
                replicas[place].tail.kept.write().mark(&decode_marks(&part.marks), now);
            }
            if let Some(due_s) = now_s.checked_sub(WAIT_S) {
                replicas[place].decide(second(due_s));
            }
            // Of a chunk over the budget only its place in the spool is listed.
            let (chunks, bytes) = replicas[place].tail.size();
            assert!(bytes <= budget + chunks * 128, "{bytes} bytes in {chunks} chunks, budget {budget}");
        }
    }
    replicas.into_iter().flat_map(|replica| replica.stored).collect()
}

/// A span is kept when an error of its trace was known where it waits, before it had waited.
fn model(arrivals: &[Arrival]) -> BTreeSet<usize> {
    let is_kept = |arrival: &Arrival| {
        arrivals.iter().filter(|error| error.is_error && error.trace == arrival.trace).any(|error| {
            let travel = if error.replica == arrival.replica { 0 } else { FOLLOW_S };
            error.at_s + travel <= arrival.at_s + WAIT_S
        })
    };
    arrivals.iter().enumerate().filter(|(_, arrival)| is_kept(arrival)).map(|(number, _)| number).collect()
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let parts = (0..END_S, 0..2usize, 1..8u8, prop::bool::weighted(0.15));
    parts.prop_map(|(at_s, replica, trace, is_error)| Arrival { at_s, replica, trace, is_error })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_what_the_model_keeps(
        arrivals in prop::collection::vec(arrival(), 0..120),
        budget in prop_oneof![Just(0usize), Just(1_000), Just(1 << 20)],
    ) {
        let kept = simulate(&arrivals, budget);
        prop_assert_eq!(&kept, &model(&arrivals));
        let errors = arrivals.iter().enumerate().filter(|(_, arrival)| arrival.is_error);
        prop_assert!(errors.into_iter().all(|(number, _)| kept.contains(&number)), "an error was lost");
    }
}

#[test]
fn bodies_that_cannot_be_read_are_counted_and_passed_over() {
    let tail = Tail::new(0, Duration::from_secs(1), Instant::now());
    let graph = Mutex::new(Graph::new(Width::TEN_SECONDS));
    let whole = compress(&[7; 600]);
    let cut = whole.slice(..whole.len() - 4);
    let error = Arrival { at_s: 0, replica: 0, trace: 1, is_error: true };
    let sound: Bytes = compress(&body(&[(3, error)]));
    let marks = vec![(TraceId([1; 16]), Reasons::ERROR)];
    let looked = look(vec![Piece { seq: 9, marks, bodies: vec![cut, sound] }], walk, &tail.kept, (&graph, i64::MIN));
    assert_eq!((looked.damaged, looked.spans, looked.gathered.spans, looked.seq), (1, 1, 1, 9));
}
