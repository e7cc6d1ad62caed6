//! Traces: which are kept, where they are kept, how services call each other.
//!
//! Layer 4. The way of a span: its export is walked by `ingest`, which asks [`Operations`] what marks its trace; the body
//! goes compressed into the *spool*, in the statement that commits the export, and into the [`Traces`] tail in memory. Once
//! it has waited, the decider reads it again: spans of marked traces go into blocks and the index, in one transaction with
//! the cursor of the spool. Marks of other replicas come through the spool too, so that each keeps its part of a trace.
//! A process that dies leaves its spool to whoever finds the tail's lease lapsed.

mod block;
mod counters;
mod decide;
mod decider;
mod filter;
mod gather;
mod graph;
mod house;
mod operations;
mod read;
mod spool;
mod tail;

use std::sync::Arc;
use std::sync::atomic::AtomicI16;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use hashbrown::HashMap;
use parking_lot::Mutex;

pub use counters::TraceMetrics;
pub use decide::{Candidate, Class, Operation, Rates, Reasons, Seen, Settled};
pub use gather::{Peer, PeerKind, WalkBody, WalkedSpan};
pub use graph::{Calls, Connection, Edge};
pub use operations::{OperationRef, Operations, begin, settle, whole};
pub use read::{FoundTrace, LIMIT_MAX, Page, Search, SpanDetail, TraceError, WholeTrace};
pub use spool::{ExportSpans, Marks, compress, encode as encode_spool};

use crate::model::Width;
use crate::storage::Storage;
use graph::Graph;
use tail::{Pushed, Tail};

/// Limits and wishes.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long spans wait for the rest of their trace.
    pub wait: Duration,
    /// How long a kept trace takes late spans.
    pub remember: Duration,
    /// Compressed bytes that wait in memory.
    pub tail_bytes: usize,
    /// How much is kept of each operation.
    pub rates: Rates,
    /// Attributes whose traces are kept.
    pub keep: Vec<(String, String)>,
    /// How long kept traces live.
    pub retention: TimeDelta,
    /// Most bytes of kept traces in the database.
    pub disk_bytes: u64,
}

impl Default for Config {
    /// 10 s of waiting, 5 min of late spans, 64 MiB of memory, 7 d and 20 GiB of disk.
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(10),
            remember: Duration::from_secs(300),
            tail_bytes: 64 << 20,
            rates: Rates::default(),
            keep: Vec::new(),
            retention: TimeDelta::days(7),
            disk_bytes: 20 << 30,
        }
    }
}

/// Everything about traces in this process.
pub struct Traces {
    /// What is counted here.
    pub metrics: TraceMetrics,
    /// Operations seen by this process.
    pub operations: Operations,
    config: Config,
    storage: Storage,
    tail: Tail,
    graph: Mutex<Graph>,
    /// By stream: the row up to which the graph has had its spans. What could not be written is looked at again.
    fed: Mutex<HashMap<i64, i64>>,
    walk: WalkBody,
    /// The least class that is written; past the last when the disk budget leaves room for none.
    least_class: AtomicI16,
}

impl Traces {
    /// Nothing known yet; edges are summed up in windows of `width`, `walk` reads bodies.
    #[must_use]
    pub fn new(storage: Storage, width: Width, config: Config, walk: WalkBody) -> Arc<Self> {
        let tail = Tail::new(config.tail_bytes, config.remember, Instant::now());
        Arc::new(Self {
            metrics: TraceMetrics::default(),
            operations: Operations::default(),
            config,
            storage,
            tail,
            graph: Mutex::new(Graph::new(width)),
            fed: Mutex::default(),
            walk,
            least_class: AtomicI16::new(Class::Sample as i16),
        })
    }

    /// How much is kept of each operation.
    #[must_use]
    pub const fn rates(&self) -> Rates {
        self.config.rates
    }

    /// Attributes whose traces are kept.
    #[must_use]
    pub fn keep(&self) -> &[(String, String)] {
        &self.config.keep
    }

    /// Takes the spans of a group that is committed as row `seq` of `stream`.
    pub fn take(&self, stream: i64, seq: i64, exports: Vec<ExportSpans>) {
        for export in &exports {
            self.metrics.marks(&export.marks);
            self.metrics.spool_bytes.inc_by(export.body.len() as u64);
        }
        if self.tail.push(stream, seq, exports, Instant::now()) == Pushed::Spilled {
            self.metrics.spilled_chunks.inc();
        }
    }

    /// An append to `stream` had an unknown outcome: what was committed of it is read from the spool.
    pub fn may_have_missed(&self, stream: i64) {
        self.tail.may_have_missed(stream);
    }

    /// The calls between services since the last time, to be fed in as metrics.
    pub fn take_edges(&self) -> Vec<(Edge, Calls)> {
        let (edges, counts) = self.graph.lock().take();
        self.metrics.calls(counts);
        edges
    }

    /// Takes back what could not be fed in.
    pub fn give_back_edges(&self, edges: Vec<(Edge, Calls)>) {
        self.graph.lock().give_back(edges);
    }

    /// Takes the measure of what is in memory, for whoever reads the metrics now.
    pub fn sample_gauges(&self) {
        let (chunks, bytes) = self.tail.size();
        self.metrics.tail_chunks.set(chunks as i64);
        self.metrics.tail_bytes.set(bytes as i64);
        self.metrics.remembered.set(self.tail.kept.read().len() as i64);
        self.metrics.half_calls.set(self.graph.lock().waiting() as i64);
        self.metrics.operations.set(self.operations.count() as i64);
    }
}

#[cfg(test)]
mod tests;
