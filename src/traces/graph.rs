//! How services call each other: both sides of a call paired by their span ids, summed up per edge and window. Pure.
//!
//! A call to a database or a cache is an edge at once: those send no spans. Other calls wait for their other side; what waits
//! in vain becomes an edge to what the caller says it called. Bounded in halves and edges.

use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::gather::{Peer, PeerKind, WalkedSpan};
use crate::model::{Histogram, SpanId, SpanKind, SpanStatus, TimeMs, TraceId, Width, WindowStart};
use crate::storage::CallSide;

/// Sides of calls that wait, of each half of the memory; about 150 bytes each.
const HALVES_MAX: usize = 1 << 17;
/// Sides handed to other replicas at once; the rest is as if there were none.
const STRAYS_MAX: usize = 10_000;
/// Edges of all windows that are not taken yet.
const EDGES_MAX: usize = 1 << 14;
/// Resolution of the durations, as that of the spans' own windows.
const SCALE: i32 = 4;

/// How one calls the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Connection {
    /// A request between services.
    Request,
    /// A message from service to service.
    Messaging,
    /// A message to a queue.
    Publish,
    /// A message from a queue.
    Receive,
    /// To a database.
    Database,
    /// To a cache.
    Cache,
    /// To something that sends no spans.
    External,
}

impl Connection {
    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Messaging => "messaging",
            Self::Publish => "publish",
            Self::Receive => "receive",
            Self::Database => "database",
            Self::Cache => "cache",
            Self::External => "external",
        }
    }

    const fn to(peer: PeerKind) -> Self {
        match peer {
            PeerKind::Database => Self::Database,
            PeerKind::Cache => Self::Cache,
            PeerKind::Queue => Self::Publish,
            PeerKind::Service => Self::External,
        }
    }
}

/// Who calls whom, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// The caller.
    pub client: Arc<str>,
    /// The called.
    pub server: Arc<str>,
    /// How.
    pub connection: Connection,
}

/// The calls over one edge in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// The latest end of a call.
    pub time: TimeMs,
    /// How many, those that their client did not send estimated.
    pub count: f64,
    /// Of those, with an error on either side.
    pub failed: f64,
    /// Durations as the caller saw them, in seconds.
    pub client: Histogram,
    /// Durations as the called saw them; as the caller did where that is not known.
    pub server: Histogram,
}

/// One side of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Half {
    service: Arc<str>,
    /// The caller's side.
    is_client: bool,
    is_message: bool,
    peer: Option<Peer>,
    seconds: f64,
    failed: bool,
    weight: f64,
    time: TimeMs,
}

/// Sides of calls that wait for the other, by trace and the caller's span.
type Halves = HashMap<(TraceId, SpanId), Half>;

/// What happened to what waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GraphCounts {
    /// Calls of which both sides were seen.
    pub(super) paired: u64,
    /// Sides whose other side did not come.
    pub(super) unpaired: u64,
    /// Left out since a bound was reached.
    pub(super) left_out: u64,
}

/// The graph of this process.
#[derive(Debug)]
pub(super) struct Graph {
    width: Width,
    recent: Halves,
    earlier: Halves,
    edges: HashMap<(Edge, WindowStart), Calls>,
    /// Names of services, shared.
    names: HashMap<Arc<str>, ()>,
    counts: GraphCounts,
}

impl Graph {
    /// Nothing seen yet.
    #[must_use]
    pub(super) fn new(width: Width) -> Self {
        Self {
            width,
            recent: HashMap::new(),
            earlier: HashMap::new(),
            edges: HashMap::new(),
            names: HashMap::new(),
            counts: GraphCounts::default(),
        }
    }

    /// Takes a span.
    pub(super) fn add(&mut self, span: &WalkedSpan<'_>) {
        let is_client = match span.kind {
            SpanKind::Client | SpanKind::Producer => true,
            SpanKind::Server | SpanKind::Consumer => false,
            SpanKind::Internal | SpanKind::Unspecified => return,
        };
        let is_message = matches!(span.kind, SpanKind::Producer | SpanKind::Consumer);
        if !is_client && !is_message && span.parent_id.is_none() {
            return;
        }
        let peer = if is_client || is_message { (span.peer)() } else { None };
        let half = Half {
            service: self.name(span.service),
            is_client,
            is_message,
            peer,
            seconds: span.nanos as f64 / 1e9,
            failed: span.status == SpanStatus::Error,
            weight: span.weight,
            time: span.end_ms,
        };
        if is_client && matches!(&half.peer, Some(peer) if matches!(peer.kind, PeerKind::Database | PeerKind::Cache)) {
            return self.alone(half);
        }
        if !is_client && span.parent_id.is_none() {
            // Nobody called it, but a queue may have.
            return self.alone(half);
        }
        let key = (span.trace_id, if is_client { span.span_id } else { span.parent_id });
        match self.other_side(key, is_client) {
            Some(other) => self.pair(half, other),
            None if self.recent.len() < HALVES_MAX => {
                // A second answer to one call waits in vain: the first has its place.
                self.recent.entry(key).or_insert(half);
            }
            None => self.counts.left_out += 1,
        }
    }

    fn name(&mut self, service: &str) -> Arc<str> {
        if let Some((known, ())) = self.names.get_key_value(service) {
            return Arc::clone(known);
        }
        if self.names.len() >= EDGES_MAX {
            self.names.clear();
        }
        let name: Arc<str> = Arc::from(service);
        self.names.insert(Arc::clone(&name), ());
        name
    }

    fn other_side(&mut self, key: (TraceId, SpanId), is_client: bool) -> Option<Half> {
        for halves in [&mut self.recent, &mut self.earlier] {
            if halves.get(&key).is_some_and(|half| half.is_client != is_client) {
                return halves.remove(&key);
            }
        }
        None
    }

    fn pair(&mut self, one: Half, other: Half) {
        let (client, server) = if one.is_client { (one, other) } else { (other, one) };
        self.counts.paired += 1;
        let connection =
            if client.is_message || server.is_message { Connection::Messaging } else { Connection::Request };
        let edge = Edge { client: client.service, server: server.service, connection };
        let failed = client.failed || server.failed;
        let (weight, time) = (client.weight.max(server.weight), client.time.max(server.time));
        self.count(edge, (weight, failed, time), client.seconds, server.seconds);
    }

    /// Counts a call of which only one side is to be seen.
    fn alone(&mut self, half: Half) {
        let Some(peer) = half.peer else { return };
        let (other, connection): (Arc<str>, _) = (Arc::from(peer.name), Connection::to(peer.kind));
        let edge = if half.is_client {
            Edge { client: half.service, server: other, connection }
        } else if peer.kind == PeerKind::Queue {
            Edge { client: other, server: half.service, connection: Connection::Receive }
        } else {
            return;
        };
        self.count(edge, (half.weight, half.failed, half.time), half.seconds, half.seconds);
    }

    fn count(&mut self, edge: Edge, (weight, failed, time): (f64, bool, TimeMs), client: f64, server: f64) {
        let key = (edge, self.width.window_of(time));
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&key) {
            self.counts.left_out += 1;
            return;
        }
        let calls = self.edges.entry(key).or_insert_with(|| Calls {
            time,
            count: 0.0,
            failed: 0.0,
            client: Histogram::exponential(SCALE),
            server: Histogram::exponential(SCALE),
        });
        calls.time = calls.time.max(time);
        calls.count += weight;
        calls.failed += if failed { weight } else { 0.0 };
        calls.client.observe(&[client]);
        calls.server.observe(&[server]);
    }

    /// Ends the wait of the older half, to be called once in the time that a call may wait. Where there are other replicas
    /// their spans may hold the other sides: then the sides are returned.
    pub(super) fn turn(&mut self, is_shared: bool) -> Vec<CallSide> {
        let mut sides = Vec::new();
        let earlier = std::mem::replace(&mut self.earlier, std::mem::take(&mut self.recent));
        for (key, half) in earlier {
            match side(key, &half).filter(|_| is_shared && sides.len() < STRAYS_MAX) {
                Some(side) => sides.push(side),
                None => self.give_up(half),
            }
        }
        sides
    }

    fn give_up(&mut self, half: Half) {
        self.counts.unpaired += 1;
        self.alone(half);
    }

    /// Takes sides that met those of other replicas, or waited for them in vain.
    pub(super) fn meet(&mut self, sides: Vec<CallSide>) {
        let mut waiting: Halves = HashMap::new();
        for side in sides {
            let Ok(half) = serde_json::from_value::<Half>(side.half) else { continue };
            let id = |bytes: &[u8]| SpanId(bytes.try_into().unwrap_or_default());
            let key = (TraceId(side.trace_id.as_slice().try_into().unwrap_or_default()), id(&side.span_id));
            match waiting.remove(&key) {
                _ if side.is_late => self.give_up(half),
                Some(other) => self.pair(half, other),
                None => {
                    waiting.insert(key, half);
                }
            }
        }
        waiting.into_values().for_each(|half| self.give_up(half));
    }

    /// What was summed up since the last time.
    pub(super) fn take(&mut self) -> (Vec<(Edge, Calls)>, GraphCounts) {
        let edges = std::mem::take(&mut self.edges).into_iter().map(|((edge, _), calls)| (edge, calls)).collect();
        (edges, std::mem::take(&mut self.counts))
    }

    /// Takes back what could not be passed on.
    pub(super) fn give_back(&mut self, edges: Vec<(Edge, Calls)>) {
        for (edge, calls) in edges {
            let key = (edge, self.width.window_of(calls.time));
            if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&key) {
                self.counts.left_out += 1;
                continue;
            }
            match self.edges.get_mut(&key) {
                None => {
                    self.edges.insert(key, calls);
                }
                Some(known) => {
                    known.time = known.time.max(calls.time);
                    known.count += calls.count;
                    known.failed += calls.failed;
                    known.client.merge(&calls.client);
                    known.server.merge(&calls.server);
                }
            }
        }
    }

    /// Sides that wait.
    #[must_use]
    pub(super) fn waiting(&self) -> usize {
        self.recent.len() + self.earlier.len()
    }
}

fn side((trace_id, span_id): (TraceId, SpanId), half: &Half) -> Option<CallSide> {
    Some(CallSide {
        trace_id: trace_id.0.to_vec(),
        span_id: span_id.0.to_vec(),
        is_client: half.is_client,
        half: serde_json::to_value(half).ok()?,
        is_late: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Made {
        ids: (u64, u64, u64),
        kind: SpanKind,
        service: &'static str,
        peer: Option<Peer>,
        status: SpanStatus,
    }

    fn made(service: &'static str, kind: SpanKind, ids: (u64, u64, u64)) -> Made {
        Made { ids, kind, service, peer: None, status: SpanStatus::Unset }
    }

    fn add(graph: &mut Graph, span: &Made) {
        let id = |n: u64| SpanId(n.to_le_bytes());
        let mut trace_id = TraceId::default();
        trace_id.0[0] = span.ids.0 as u8;
        graph.add(&WalkedSpan {
            trace_id,
            span_id: id(span.ids.1),
            parent_id: id(span.ids.2),
            kind: span.kind,
            status: span.status,
            nanos: 5_000_000,
            end_ms: 20_000,
            weight: 1.0,
            service: span.service,
            peer: &|| span.peer.clone(),
            whole: &|| None,
        });
    }

    fn edges(graph: &mut Graph) -> Vec<(String, f64, f64)> {
        let (mut edges, _) = graph.take();
        edges.sort_by(|a, b| a.0.cmp(&b.0));
        let line = |edge: &Edge| format!("{} -{}> {}", edge.client, edge.connection.as_str(), edge.server);
        edges.iter().map(|(edge, calls)| (line(edge), calls.count, calls.failed)).collect()
    }

    #[test]
    fn both_sides_of_a_call_are_an_edge_in_whatever_order_they_come() {
        let mut graph = Graph::new(Width::TEN_SECONDS);
        let client = |trace| made("front", SpanKind::Client, (trace, 2, 1));
        let server = |trace| made("stock", SpanKind::Server, (trace, 3, 2));
        add(&mut graph, &client(1));
        add(&mut graph, &server(1));
        add(&mut graph, &Made { status: SpanStatus::Error, ..server(2) });
        assert!(graph.turn(false).is_empty());
        add(&mut graph, &client(2));
        assert_eq!(edges(&mut graph), [("front -request> stock".to_owned(), 2.0, 1.0)]);
        assert_eq!(graph.waiting(), 0);
    }

    #[test]
    fn what_sends_no_spans_is_a_node_too() {
        let mut graph = Graph::new(Width::TEN_SECONDS);
        let to = |kind, name: &str| Some(Peer { kind, name: name.to_owned() });
        let call = |span, peer| Made { peer, ..made("stock", SpanKind::Client, (1, span, 1)) };
        add(&mut graph, &call(2, to(PeerKind::Database, "postgresql shop")));
        add(&mut graph, &call(3, to(PeerKind::Cache, "redis")));
        add(&mut graph, &call(4, to(PeerKind::Service, "api.pay.example")));
        add(&mut graph, &call(5, None));
        let queue = to(PeerKind::Queue, "kafka orders");
        add(&mut graph, &Made { peer: queue.clone(), ..made("stock", SpanKind::Producer, (1, 6, 1)) });
        add(&mut graph, &Made { peer: queue, ..made("mail", SpanKind::Consumer, (2, 7, 0)) });
        assert!(graph.turn(false).is_empty());
        assert!(graph.turn(false).is_empty());
        let expect = [
            "kafka orders -receive> mail",
            "stock -external> api.pay.example",
            "stock -publish> kafka orders",
            "stock -database> postgresql shop",
            "stock -cache> redis",
        ];
        let mut got: Vec<String> = edges(&mut graph).into_iter().map(|(edge, ..)| edge).collect();
        let mut expect: Vec<String> = expect.map(str::to_owned).into();
        got.sort();
        expect.sort();
        assert_eq!(got, expect);
    }

    #[test]
    fn sides_that_two_replicas_saw_meet_elsewhere() {
        let (mut one, mut other) = (Graph::new(Width::TEN_SECONDS), Graph::new(Width::TEN_SECONDS));
        add(&mut one, &made("front", SpanKind::Client, (1, 2, 1)));
        add(&mut other, &made("stock", SpanKind::Server, (1, 3, 2)));
        add(&mut other, &made("lost", SpanKind::Server, (2, 3, 2)));
        let turned = |graph: &mut Graph| [graph.turn(true), graph.turn(true)].concat();
        let mut sides = [turned(&mut one), turned(&mut other)].concat();
        assert_eq!(sides.len(), 3);
        sides.iter_mut().for_each(|side| side.is_late = side.half["service"] == "lost");
        one.meet(sides);
        assert_eq!(edges(&mut one), [("front -request> stock".to_owned(), 1.0, 0.0)]);
        assert!(edges(&mut other).is_empty());
    }

    #[test]
    fn sides_that_wait_are_bounded_and_what_is_left_out_is_counted() {
        let mut graph = Graph::new(Width::TEN_SECONDS);
        (0..HALVES_MAX as u64 + 10).for_each(|i| add(&mut graph, &made("a", SpanKind::Server, (1, 1, i + 1))));
        assert_eq!(graph.waiting(), HALVES_MAX);
        assert_eq!(graph.take().1, GraphCounts { paired: 0, unpaired: 0, left_out: 10 });
    }
}
