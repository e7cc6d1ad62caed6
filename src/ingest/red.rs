//! What the spans of an export come to: the RED windows of their operations, marks on traces to keep, exemplars.
//!
//! Spans are summed up per operation and window before they are journaled, as delta exponential histograms of
//! [`SPAN_METRIC`](super::traces::SPAN_METRIC). Errors, the slowest and a steady sample of each operation mark their traces,
//! and one of the spans that did becomes the exemplar. A span that stands for several, since its client samples, counts as
//! many.

use hashbrown::HashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::attributes::AttributeError;
use super::points::Common;
use super::traces::{Around, Span, read};
use super::walk::{MetricInScope, Walk};
use super::wire::WireError;
use crate::model::{Exemplar, Histogram, SpanId, TimeMs, TraceId};
use crate::rollup::Slot;
use crate::traces::{Candidate, Marks, OperationRef, Reasons, Seen, begin, settle, whole};

/// Resolution of the buckets: 2^(1/16), so a quantile is within 2.2 % of the truth.
const SCALE: i32 = 4;

/// The spans of one operation and window.
struct Sum {
    slot: Slot,
    time: TimeMs,
    /// In seconds.
    durations: Vec<f64>,
    /// Of spans that stand for several: how many, and the duration.
    weighted: Vec<(f64, f64)>,
    operation: OperationRef,
    seen: Seen,
}

/// The spans of one resource by operation and window.
pub(super) struct Sums<'t> {
    around: Around<'t>,
    metric: MetricInScope,
    order: Vec<Sum>,
    at: HashMap<(Slot, u32), usize>,
    scratch: Vec<u8>,
}

impl<'t> Sums<'t> {
    pub(super) fn new(around: Around<'t>, metric: MetricInScope) -> Self {
        Self { around, metric, order: Vec::new(), at: HashMap::new(), scratch: Vec::new() }
    }

    pub(super) fn add<'b>(
        &mut self,
        walk: &mut Walk<'_>,
        span: &mut Span<'b>,
        message: &'b [u8],
    ) -> Result<(), WireError> {
        read(message, span)?;
        span.note_statements(&mut walk.export.statements, self.around.body);
        let time = match span.check(walk) {
            Ok(time) => time,
            Err(reason) => {
                walk.export.rejects.add(reason, 1, &String::from_utf8_lossy(span.name));
                return Ok(());
            }
        };
        let hash = span.identity(self.metric.seed, &mut self.scratch);
        let slot = match walk.series_with(&self.metric, hash, || span.labels()) {
            Ok(found) => {
                if found.folded {
                    walk.count_folded();
                }
                found.slot
            }
            Err(AttributeError::Wire(error)) => return Err(error),
            Err(AttributeError::Rejected(reason)) => {
                walk.export.rejects.add(reason, 1, &String::from_utf8_lossy(span.name));
                return Ok(());
            }
        };
        self.count(walk, (slot, time), span);
        Ok(())
    }

    fn count(&mut self, walk: &mut Walk<'_>, (slot, time): (Slot, TimeMs), span: &Span<'_>) {
        let nanos = span.end - span.start;
        let candidate = Candidate {
            trace_id: TraceId(span.trace_id.try_into().unwrap_or_default()),
            span_id: SpanId(span.span_id.try_into().unwrap_or_default()),
            time,
            nanos,
        };
        let marks = span.marks();
        if !marks.is_none() {
            mark(&mut walk.export.marks, (candidate.trace_id, marks));
        }
        let at = *self.at.entry((slot, self.around.width.window_of(time))).or_insert(self.order.len());
        if at == self.order.len() {
            let sum = self.sum(walk, (slot, time), span);
            self.order.push(sum);
        }
        let Some(sum) = self.order.get_mut(at) else { return };
        sum.time = sum.time.max(time);
        let weight = span.weight();
        if weight > 1.0 {
            sum.weighted.push((weight, nanos as f64 / 1e9));
        } else {
            sum.durations.push(nanos as f64 / 1e9);
        }
        sum.seen.add(candidate, !marks.is_none());
    }

    #[cold]
    fn sum(&self, walk: &Walk<'_>, (slot, time): (Slot, TimeMs), span: &Span<'_>) -> Sum {
        let now = walk.context.now;
        // Series that differ in other labels are the same operation.
        let name = || {
            let service = xxh3_64(walk.resource.service.name.as_bytes());
            xxh3_64_with_seed(span.name, service ^ span.kind)
        };
        let operation = self.around.traces.operations.of(slot, now, name);
        let seen = begin(&operation, now, self.around.traces.rates());
        Sum { slot, time, durations: Vec::new(), weighted: Vec::new(), operation, seen }
    }

    pub(super) fn push_all(self, walk: &mut Walk<'_>) {
        for sum in self.order {
            let mut durations = Histogram::exponential(SCALE);
            durations.observe(&sum.durations);
            for (weight, seconds) in &sum.weighted {
                add_weighted(&mut durations, *seconds, whole(&sum.operation, *weight));
            }
            let settled = settle(&sum.operation, walk.context.now, sum.seen, &durations);
            settled.marks.into_iter().for_each(|marked| mark(&mut walk.export.marks, marked));
            let exemplars = settled.exemplar.map(exemplar).into_iter().collect();
            let mut common = Common { exemplars, ..Common::default() };
            walk.push(sum.slot, &mut common, |points| points.histogram(sum.time, &durations));
            walk.export.accepted += (sum.durations.len() + sum.weighted.len()) as u64 - 1;
        }
    }
}

/// Adds a duration as that of `n` spans.
fn add_weighted(durations: &mut Histogram, seconds: f64, n: u64) {
    if n == 0 {
        return;
    }
    let mut one = Histogram::exponential(SCALE);
    one.observe(&[seconds]);
    durations.merge(&one.times(n as f64));
}

/// Adds a mark; those of one trace mostly follow each other.
fn mark(marks: &mut Marks, (trace_id, reasons): (TraceId, Reasons)) {
    match marks.last_mut().filter(|(last, _)| *last == trace_id) {
        Some((_, known)) => *known = known.and(reasons),
        None => marks.push((trace_id, reasons)),
    }
}

fn exemplar(candidate: Candidate) -> Exemplar {
    Exemplar {
        time: candidate.time,
        value: candidate.nanos as f64 / 1e9,
        trace_id: candidate.trace_id.0,
        span_id: candidate.span_id.0,
    }
}
