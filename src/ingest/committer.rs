//! The committer: one task that writes every export that waits into the journal, in one transaction, and then answers.
//!
//! No timer: while one commit is on its way the next group gathers, bounded in bytes and exports. A definition (metric,
//! series, template) goes into the row that first needs it, so a row is readable from what came before it. An export whose
//! key is in the database already was committed by an earlier attempt; it is answered, not written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::counters::IngestMetrics;
use super::export::{Export, Signal};
use super::refusal::Refusal;
use super::reject::Rejects;
use crate::rollup::{FrameWriter, LiveRow, Slot, Stream, Streams, Template};
use crate::storage::{AppendError, StorageError};
use crate::traces::{ExportSpans, Traces, encode_spool};

/// Exports that may wait for the committer.
pub(super) const QUEUE: usize = 1_024;
/// Exports in one group.
const GROUP_EXPORTS: usize = 512;
/// Encoded bytes in one group, beyond which no export is added.
const GROUP_BYTES: usize = 4 << 20;
/// How long exports are refused at once after the database failed; then one is let through to try.
const BREAKER: Duration = Duration::from_millis(500);
/// How long that one may take before the next is let through.
const PROBE_FOR: Duration = Duration::from_secs(15);
/// How long an append may take before its outcome counts as unknown.
const APPEND_FOR: Duration = Duration::from_secs(10);
/// How long an append of unknown outcome is looked up.
const LOOK_UP_FOR: Duration = Duration::from_secs(3);

/// An export that waits.
pub(super) struct Pending {
    pub(super) key: [u8; 16],
    pub(super) signal: Signal,
    pub(super) export: Export,
    /// Gives the admitted bytes back when dropped.
    pub(super) _admitted: Vec<OwnedSemaphorePermit>,
    pub(super) reply: oneshot::Sender<Result<Ack, Refusal>>,
}

/// A committed export.
#[derive(Debug)]
pub struct Ack {
    /// Data points or spans taken.
    pub accepted: u64,
    /// Data points or spans refused.
    pub rejects: Rejects,
    /// True when an earlier attempt had committed it.
    pub duplicate: bool,
}

/// What passes between the committer and other tasks besides exports.
pub(super) struct Signals {
    cut_wanted: AtomicBool,
    wake: Notify,
    started: Instant,
    /// Milliseconds since `started` until which exports are refused at once.
    broken_until: AtomicU64,
}

impl Default for Signals {
    fn default() -> Self {
        let (cut_wanted, broken_until) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { cut_wanted, wake: Notify::new(), started: Instant::now(), broken_until }
    }
}

impl Signals {
    /// Asks for the end of the open generation.
    pub(super) fn want_cut(&self) {
        self.cut_wanted.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether an export may try the database. While it is known to be away none may; once the pause is over one is let
    /// through, and finds out.
    pub(super) fn may_try(&self) -> bool {
        let until = self.broken_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.started.elapsed();
        let next = (now + PROBE_FOR).as_millis() as u64;
        (now.as_millis() as u64) >= until
            && self.broken_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// True while exports are refused. Who only looks takes nobody's turn to try.
    pub(super) fn is_broken(&self) -> bool {
        (self.started.elapsed().as_millis() as u64) < self.broken_until.load(Ordering::Relaxed)
    }

    fn open_breaker(&self) {
        let until = self.started.elapsed() + BREAKER;
        self.broken_until.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    fn close_breaker(&self) {
        self.broken_until.store(0, Ordering::Relaxed);
    }
}

/// The committer's state.
pub(super) struct Committer {
    streams: Arc<Streams>,
    traces: Arc<Traces>,
    signals: Arc<Signals>,
    metrics: Arc<IngestMetrics>,
    own: Option<(Arc<Stream>, i64)>,
    /// Counts cuts and changes of stream, so that a template is defined anew after each.
    generation: u64,
}

/// What a group defines, to be noted once it is committed.
#[derive(Default)]
struct Defines {
    series: HashSet<Slot>,
    metrics: HashSet<u32>,
    templates: HashSet<u64>,
}

impl Committer {
    pub(super) fn new(
        (streams, traces): (Arc<Streams>, Arc<Traces>),
        signals: Arc<Signals>,
        metrics: Arc<IngestMetrics>,
    ) -> Self {
        Self { streams, traces, signals, metrics, own: None, generation: 1 }
    }

    /// Commits until the queue is closed and empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Pending>, cancel: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                first = queue.recv() => match first {
                    Some(first) => Some(first),
                    None => break,
                },
                () = self.signals.wake.notified() => None,
                () = cancel.cancelled() => {
                    queue.close();
                    continue;
                }
            };
            let mut group: Vec<Pending> = first.into_iter().collect();
            let mut bytes = group.iter().map(size).sum::<usize>();
            while group.len() < GROUP_EXPORTS && bytes < GROUP_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += size(&next);
                group.push(next);
            }
            self.commit(group).await;
        }
    }

    async fn commit(&mut self, group: Vec<Pending>) {
        let (mut group, twins) = without_twins(group);
        while !group.is_empty() || self.cut_is_due() {
            match self.append(&group).await {
                Ok(()) => {
                    self.signals.close_breaker();
                    group.drain(..).for_each(|pending| self.acknowledge(pending, false));
                }
                // It has answered, whatever it says.
                Err(AppendError::Duplicate) => {
                    self.signals.close_breaker();
                    group = self.answer_duplicates(group).await;
                }
                Err(AppendError::Fenced) => {
                    self.signals.close_breaker();
                    self.own = None;
                }
                Err(AppendError::Unknown(error)) => {
                    // It may have held a cut, after which nothing counts as defined.
                    self.generation += 1;
                    if let Some((stream, _)) = &self.own {
                        self.traces.may_have_missed(stream.id());
                    }
                    group = self.look_up(group, error).await;
                }
                Err(AppendError::Failed(error)) => {
                    self.refuse_all(group, &error);
                    break;
                }
            }
        }
        // The twin of a committed export is one; the twin of a refused one will be sent again.
        for twin in twins {
            let answer = Refusal::unavailable("the same export is being committed");
            let _gone = twin.reply.send(Err(answer));
        }
    }

    fn cut_is_due(&self) -> bool {
        self.signals.cut_wanted.load(Ordering::Acquire)
            && self.own.as_ref().is_some_and(|(stream, _)| stream.head.has_open_rows())
    }

    #[tracing::instrument(name = "fastbreak.ingest.commit", skip_all, fields(fastbreak.ingest.exports = group.len()))]
    async fn append(&mut self, group: &[Pending]) -> Result<(), AppendError> {
        let (stream, epoch) = match &self.own {
            Some((stream, epoch)) => (Arc::clone(stream), *epoch),
            None => {
                let own = self.streams.begin_own().await.map_err(AppendError::Failed)?;
                self.generation += 1;
                self.own = Some(own.clone());
                own
            }
        };
        let cut = self.cut_is_due();
        // Until it is known that the cut is committed, what is defined counts for neither generation.
        let generation = self.generation + u64::from(cut);
        let (frame, defines, row) = self.encode(&stream, group, cut, generation);
        let keys: Vec<[u8; 16]> = group.iter().map(|pending| pending.key).collect();
        let spans: Vec<ExportSpans> = group.iter().filter_map(|pending| pending.export.spans.clone()).collect();
        let spool = (!spans.is_empty()).then(|| encode_spool(&spans));
        let began = Instant::now();
        let append = self.streams.storage().journal_append(stream.id(), epoch, &keys, (&frame, spool.as_ref()));
        let late = |_| AppendError::Unknown(StorageError::late(APPEND_FOR));
        let seq = tokio::time::timeout(APPEND_FOR, append).await.map_err(late)??;
        self.metrics.committed(group.len(), frame.len(), began.elapsed());
        if cut {
            self.generation = generation;
            self.signals.cut_wanted.store(false, Ordering::Release);
        }
        if !spans.is_empty() {
            self.traces.take(stream.id(), seq, spans);
        }
        self.note(&stream, defines, group);
        if let Err(error) = stream.apply_live(seq, row).await {
            // The row is safe in the journal; the next row or query applies it from there.
            tracing::error!(error = &error as &dyn std::error::Error, "committed row not applied yet");
        }
        self.streams.share(stream.id(), seq, frame);
        if cut {
            self.streams.sealed(&stream);
        }
        Ok(())
    }

    fn encode<'g>(
        &self,
        stream: &Stream,
        group: &'g [Pending],
        cut: bool,
        generation: u64,
    ) -> (Vec<u8>, Defines, LiveRow<'g>) {
        let mut writer = FrameWriter::default();
        let mut defines = Defines::default();
        let mut row = LiveRow { cut, ..LiveRow::default() };
        if cut {
            writer.cut();
        }
        for export in group.iter().map(|pending| &pending.export) {
            for section in &export.sections {
                let template = &section.template;
                let known = template.defined_in.load(Ordering::Relaxed) == generation;
                if !known && defines.templates.insert(template.id) {
                    self.define(&mut writer, &mut defines, stream, template);
                }
                writer.points(template.id, &section.points);
                row.sections.push((Arc::clone(template), section.points.as_slice()));
            }
            if !export.exemplars.is_empty() {
                writer.exemplars(self.streams.registry(), &export.exemplars);
                row.exemplars.extend(export.exemplars.iter().cloned());
            }
        }
        (writer.finish(), defines, row)
    }

    fn define(&self, writer: &mut FrameWriter, defines: &mut Defines, stream: &Stream, template: &Template) {
        let registry = self.streams.registry();
        for slot in &template.slots {
            let Some(entry) = registry.get(*slot).filter(|entry| !entry.is_defined_for(stream.id())) else { continue };
            if !defines.series.insert(*slot) {
                continue;
            }
            if !entry.metric.stored.load(Ordering::Relaxed) && defines.metrics.insert(entry.metric.index) {
                writer.metric(&entry.metric);
            }
            writer.series(registry, entry);
        }
        writer.template(registry, template);
    }

    /// Notes what the committed row defines.
    fn note(&self, stream: &Stream, defines: Defines, group: &[Pending]) {
        for entry in defines.series.iter().filter_map(|slot| self.streams.registry().get(*slot)) {
            entry.set_defined_by(stream.id());
        }
        for section in group.iter().flat_map(|pending| &pending.export.sections) {
            if defines.templates.contains(&section.template.id) {
                section.template.defined_in.store(self.generation, Ordering::Relaxed);
            }
        }
    }

    fn acknowledge(&self, pending: Pending, duplicate: bool) {
        let Pending { signal, mut export, reply, .. } = pending;
        self.metrics.acknowledged(signal, &export, duplicate);
        if duplicate {
            export.settle_duplicate();
        } else {
            export.settle();
        }
        let ack = Ack { accepted: export.accepted, rejects: export.rejects, duplicate };
        // A caller that has gone will send again; the key makes that harmless.
        let _gone = reply.send(Ok(ack));
    }

    /// Answers those that were committed before; returns the rest.
    async fn answer_duplicates(&self, group: Vec<Pending>) -> Vec<Pending> {
        let keys: Vec<[u8; 16]> = group.iter().map(|pending| pending.key).collect();
        match self.streams.storage().journal_seen(&keys).await {
            Ok(seen) => self.answer_seen(group, &seen),
            Err(error) => {
                self.refuse_all(group, &error);
                Vec::new()
            }
        }
    }

    fn answer_seen(&self, group: Vec<Pending>, seen: &[[u8; 16]]) -> Vec<Pending> {
        let (committed, rest): (Vec<_>, Vec<_>) = group.into_iter().partition(|pending| seen.contains(&pending.key));
        committed.into_iter().for_each(|pending| self.acknowledge(pending, true));
        rest
    }

    /// The connection was lost: what is in the database now was committed. What is not is refused, since the append may
    /// still be running there; the sender's retry waits for it and is then known as a duplicate.
    async fn look_up(&self, group: Vec<Pending>, error: StorageError) -> Vec<Pending> {
        tracing::warn!(error = &error as &dyn std::error::Error, "outcome of a commit is unknown, looking it up");
        let keys: Vec<[u8; 16]> = group.iter().map(|pending| pending.key).collect();
        let seen = tokio::time::timeout(LOOK_UP_FOR, self.streams.storage().journal_seen(&keys)).await;
        let rest = match seen {
            Ok(Ok(seen)) => self.answer_seen(group, &seen),
            _ => group,
        };
        self.refuse_all(rest, &error);
        Vec::new()
    }

    fn refuse_all(&self, group: Vec<Pending>, error: &StorageError) {
        if error.is_unavailable() {
            self.signals.open_breaker();
        }
        tracing::warn!(
            error = error as &dyn std::error::Error,
            exports = group.len(),
            "exports refused: not committed"
        );
        for pending in group {
            self.metrics.refused(pending.signal, "storage");
            let _gone = pending.reply.send(Err(Refusal::unavailable("the database is not available")));
        }
    }
}

/// Exports apart from those whose key another one in the group has: they are answered once that one is.
fn without_twins(group: Vec<Pending>) -> (Vec<Pending>, Vec<Pending>) {
    let mut keys = HashSet::with_capacity(group.len());
    group.into_iter().partition(|pending| keys.insert(pending.key))
}

fn size(pending: &Pending) -> usize {
    let spans = pending.export.spans.as_ref().map_or(0, |spans| spans.body.len());
    let points = pending.export.sections.iter().map(|section| section.points.len()).sum::<usize>();
    pending.export.defined_bytes + points + spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_one_export_tries_and_whoever_looks_takes_nobodys_turn() {
        let signals = Signals::default();
        assert!(signals.may_try() && signals.may_try() && !signals.is_broken());
        signals.open_breaker();
        assert!(!signals.may_try() && signals.is_broken());
        // As if the pause were over.
        signals.broken_until.store(1, Ordering::Relaxed);
        while signals.started.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        assert!(!signals.is_broken() && !signals.is_broken());
        assert!(signals.may_try() && !signals.may_try(), "one");
        assert!(signals.is_broken());
        signals.close_breaker();
        assert!(signals.may_try() && signals.may_try());
    }
}
