//! OTLP in: admission, decoding in place, the committer.
//!
//! Layer 6. A body is admitted by bytes before it is buffered, inflated within a bound, walked once without building
//! protobuf structs, written to the journal with everything else that waits, and acknowledged after the commit.
//! Nothing here queries, and nothing here writes to Postgres but the journal.

#![deny(clippy::indexing_slicing)]

mod attributes;
mod body;
mod committer;
mod counters;
mod export;
mod graph;
pub mod grpc;
pub mod http;
mod json;
mod memo;
mod metrics;
mod overflow;
mod own;
mod points;
mod recent;
mod red;
mod refusal;
mod reject;
mod resource;
mod response;
mod service;
mod spans;
mod statement;
mod traces;
mod walk;
mod wire;

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_128_with_seed;

pub use body::Limits;
pub use committer::Ack;
pub use counters::IngestMetrics;
pub use export::{Export, Section, Signal, WalkError};
pub use graph::encode_edges;
pub use json::{JsonError, metrics_to_wire, traces_to_wire};
pub use own::encode_host;
pub use recent::Refused;
pub use refusal::{Refusal, RefusalKind};
pub use reject::{REASONS, RejectReason, Rejects};
pub use service::{Offender, SeriesCaps, Service};
pub use spans::walk_spans;
pub use traces::SPAN_METRIC;
pub use wire::WireError;

use crate::model::TimeMs;
use crate::rollup::Streams;
use crate::storage::StorageError;
use crate::traces::{ExportSpans, Traces, compress};
use body::{Admission, Admitted};
use committer::{Committer, Pending, Signals};
use export::Statement;
use resource::Resources;

/// Most resources whose sequence memos are kept.
const RESOURCES_MAX: usize = 100_000;
/// Memos unused for so long are forgotten.
const RESOURCE_LIFE: TimeDelta = TimeDelta::hours(2);

/// Ingest's limits.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Of bodies.
    pub limits: Limits,
    /// Of series.
    pub caps: SeriesCaps,
    /// Points older than this are refused.
    pub retention: TimeDelta,
    /// Generations that may wait to be in blocks: until then they are in memory.
    pub checkpoints_waiting: usize,
}

impl Default for Config {
    fn default() -> Self {
        let (limits, caps) = (Limits::default(), SeriesCaps::default());
        Self { limits, caps, retention: TimeDelta::hours(48), checkpoints_waiting: 30 }
    }
}

/// The door for exports.
pub struct Ingest {
    /// What is counted here.
    pub metrics: Arc<IngestMetrics>,
    config: Config,
    streams: Arc<Streams>,
    traces: Arc<Traces>,
    resources: Resources,
    admission: Admission,
    queue: mpsc::Sender<Pending>,
    signals: Arc<Signals>,
    seed: u64,
    started: TimeMs,
}

impl Ingest {
    /// The door, and the committer to be run beside it: it ends when cancelled and its queue is empty.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn open(
        streams: Arc<Streams>,
        traces: Arc<Traces>,
        config: Config,
        cancel: CancellationToken,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static), StorageError> {
        let seed = streams.storage().journal_seed().await?;
        let (queue, waiting) = mpsc::channel(committer::QUEUE);
        let (signals, metrics) = (Arc::new(Signals::default()), Arc::new(IngestMetrics::default()));
        let rooms = (Arc::clone(&streams), Arc::clone(&traces));
        let committer = Committer::new(rooms, Arc::clone(&signals), Arc::clone(&metrics));
        let ingest = Self {
            metrics,
            config,
            streams,
            traces,
            resources: Resources::new(RESOURCES_MAX),
            admission: Admission::new(config.limits),
            queue,
            signals,
            seed,
            started: Utc::now().timestamp_millis(),
        };
        Ok((Arc::new(ingest), committer.run(waiting, cancel)))
    }

    /// Walks, commits and answers one export that came over `transport`.
    async fn export(&self, signal: Signal, transport: &'static str, body: Admitted) -> Result<Ack, Refusal> {
        self.metrics.received(signal, transport, body.bytes.len());
        let away = || Refusal::unavailable("the database is not available");
        if self.signals.is_broken() {
            return Err(away());
        }
        if self.is_behind() {
            let (most, waiting) = (self.config.checkpoints_waiting, self.streams.checkpoints_waiting());
            return Err(Refusal::unavailable(format!(
                "{waiting} checkpoints wait to be written, limit checkpoints_waiting of {most}"
            )));
        }
        let key = xxh3_128_with_seed(&body.bytes, self.seed ^ signal as u64).to_le_bytes();
        let mut export =
            self.walk(signal, &body.bytes).map_err(|e| Refusal::of(RefusalKind::Malformed, e.to_string()))?;
        if export.sections.is_empty() {
            // Nothing to keep: an empty export, or one refused in all its parts.
            self.metrics.acknowledged(signal, &export, false);
            export.settle();
            return Ok(Ack { accepted: 0, rejects: export.rejects, duplicate: false });
        }
        if signal == Signal::Traces {
            export.spans = Some(spooled(&mut export, &body.bytes));
        }
        // Only now is it sure to be tried.
        if !self.signals.may_try() {
            return Err(away());
        }
        let (reply, answer) = oneshot::channel();
        let pending = Pending { key, signal, export, _admitted: body.permits, reply };
        self.queue.try_send(pending).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::unavailable(format!("{} exports wait already", committer::QUEUE)),
            TrySendError::Closed(_) => Refusal::unavailable("the server is shutting down"),
        })?;
        answer.await.unwrap_or_else(|_| Err(Refusal::unavailable("the server is shutting down")))
    }

    /// Takes an export made in this process, such as the host's own measurements.
    ///
    /// # Errors
    /// As any sender would see.
    pub async fn take_own(&self, body: Vec<u8>) -> Result<Ack, Refusal> {
        let body = Admitted { bytes: body.into(), ..Admitted::default() };
        self.export(Signal::Metrics, counters::OWN, body).await
    }

    /// Walks a body without committing it.
    ///
    /// # Errors
    /// When the body is not protobuf of the expected shape.
    pub fn walk(&self, signal: Signal, body: &[u8]) -> Result<Export, WalkError> {
        let now = Utc::now().timestamp_millis();
        let context = walk::Context {
            registry: self.streams.registry(),
            resources: &self.resources,
            caps: self.config.caps,
            now,
            oldest: now - self.config.retention.num_milliseconds(),
            started: self.started,
        };
        match signal {
            Signal::Metrics => metrics::walk(&context, body),
            Signal::Traces => traces::walk(&context, body, self.streams.width(), &self.traces),
        }
    }

    /// Takes the measure of what is in flight, for whoever reads the metrics now.
    pub fn sample_gauges(&self) {
        self.metrics.in_flight_bytes.set(self.admission.in_flight() as i64);
    }

    /// True while exports are refused at once: the database has failed a moment ago, or takes no blocks.
    #[must_use]
    pub fn is_refusing(&self) -> bool {
        self.signals.is_broken() || self.is_behind()
    }

    /// What is acknowledged now would only fill memory.
    fn is_behind(&self) -> bool {
        self.streams.checkpoints_waiting() >= self.config.checkpoints_waiting
    }

    /// Ends the open generation, so that it can be flushed.
    pub fn cut(&self) {
        self.signals.want_cut();
    }

    /// Every service seen since the start.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.resources.services()
    }

    /// `(resources, raw identities)` in memory.
    #[must_use]
    pub fn memo_size(&self) -> (usize, usize) {
        self.resources.size()
    }

    /// Forgets what senders that are gone left in memory.
    pub fn forget_unused(&self) {
        self.resources.forget_unused(Utc::now().timestamp_millis() - RESOURCE_LIFE.num_milliseconds());
    }
}

/// The spans of a walked body for the spool: literals of statements are gone before anything is stored.
fn spooled(export: &mut Export, body: &[u8]) -> ExportSpans {
    let marks = std::mem::take(&mut export.marks);
    let statements = std::mem::take(&mut export.statements);
    if statements.is_empty() {
        return ExportSpans { marks, body: compress(body) };
    }
    let mut masked = body.to_vec();
    for Statement { part, at, system } in statements {
        if let Some(text) = masked.get_mut(at) {
            statement::mask(&system, part, text);
        }
    }
    ExportSpans { marks, body: compress(&masked) }
}

#[cfg(test)]
mod tests;
