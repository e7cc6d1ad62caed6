//! `ExportTraceServiceRequest` walked in place: every span feeds the RED windows of its operation.
//!
//! The spans of an export are summed up per operation and window before they are journaled, as delta exponential
//! histograms of the metric [`SPAN_METRIC`]; the slowest of each becomes an exemplar.
//! Field numbers are those of `opentelemetry/proto/{collector/trace,trace}/v1`.

use std::sync::Arc;

use hashbrown::HashMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::attributes::{self, AttributeError, key_value};
use super::export::{Export, WalkError, at};
use super::metrics::find;
use super::points::Common;
use super::reject::RejectReason;
use super::walk::{Context, MetricInScope, OwnLabels, Walk, with_resource};
use super::wire::{Fields, WireError};
use crate::model::{Exemplar, Histogram, Metric, MetricKind, Temporality, TimeMs, Width};
use crate::rollup::{Shape, Slot};

/// The metric that spans feed, named as the collector's span-metrics connector does; in seconds.
pub const SPAN_METRIC: &str = "traces.span.metrics.duration";
/// Resolution of its buckets: 2^(1/16), so a quantile is within 2.2 % of the truth.
const SCALE: i32 = 4;
/// Longest span name kept, in bytes.
const NAME_MAX: usize = 255;

/// Span attributes that become labels, old names beside the current ones.
const LABELS: &[(&str, &str)] = &[
    ("http.route", "http.route"),
    ("http.request.method", "http.request.method"),
    ("http.method", "http.request.method"),
    ("http.response.status_code", "http.response.status_code"),
    ("http.status_code", "http.response.status_code"),
    ("rpc.system", "rpc.system"),
    ("rpc.service", "rpc.service"),
    ("rpc.method", "rpc.method"),
    ("db.system.name", "db.system"),
    ("db.system", "db.system"),
    ("db.operation.name", "db.operation"),
    ("db.operation", "db.operation"),
    ("db.collection.name", "db.collection"),
    ("messaging.system", "messaging.system"),
    ("messaging.destination.name", "messaging.destination"),
];

/// Walks a body.
pub(super) fn walk(context: &Context<'_>, body: &[u8], width: Width) -> Result<Export, WalkError> {
    let mut export = Export::default();
    let mut fields = Fields::new(body);
    while let Some((field, value)) = at("ExportTraceServiceRequest", fields.next_field())? {
        if field == 1 {
            let message = at("resource_spans", value.bytes(field))?;
            // Nothing in it: a body of such must cost no more than its bytes.
            if !message.is_empty() {
                resource_spans(context, &mut export, message, width)?;
            }
        }
    }
    Ok(export)
}

fn resource_spans(context: &Context<'_>, export: &mut Export, message: &[u8], width: Width) -> Result<(), WalkError> {
    let resource = at("resource_spans", find(message, 1))?.unwrap_or_default();
    with_resource(
        context,
        export,
        resource,
        |walk| {
            let mut sums = Sums::new(width, span_metric(walk));
            let mut span = Span::default();
            each_span(message, |message| sums.add(walk, &mut span, message))?;
            sums.push_all(walk);
            Ok(())
        },
        |export, reason| {
            let mut n = 0;
            each_span(message, |_| {
                n += 1;
                Ok(())
            })?;
            export.rejects.add(reason, n, "resource");
            Ok(())
        },
    )
}

fn each_span<'b>(message: &'b [u8], mut each: impl FnMut(&'b [u8]) -> Result<(), WireError>) -> Result<(), WalkError> {
    let mut fields = Fields::new(message);
    while let Some((field, value)) = at("resource_spans", fields.next_field())? {
        if field != 2 {
            continue;
        }
        let mut spans = Fields::new(at("scope_spans", value.bytes(field))?);
        while let Some((field, value)) = at("scope_spans", spans.next_field())? {
            if field == 2 {
                at("spans", value.bytes(field).and_then(&mut each))?;
            }
        }
    }
    Ok(())
}

fn span_metric(walk: &Walk<'_>) -> MetricInScope {
    let metric = Metric {
        name: SPAN_METRIC.into(),
        unit: "s".into(),
        kind: MetricKind::ExponentialHistogram,
        temporality: Temporality::Delta,
    };
    let entry = walk.context.registry.metric(metric, "Duration of spans by operation");
    MetricInScope {
        entry,
        shape: Shape::Histogram,
        seed: xxh3_64(SPAN_METRIC.as_bytes()),
        base: Arc::from(walk.resource.labels.clone()),
        attributes_field: 9,
    }
}

/// The parts of a span that RED windows need.
#[derive(Default)]
struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    name: &'a [u8],
    kind: u64,
    start: u64,
    end: u64,
    status: u64,
    /// Key and raw value of the attributes in [`LABELS`].
    labels: Vec<(&'static str, &'a [u8])>,
}

/// The tags that nearly every span has are a byte each; whatever else there is goes the general way.
fn read<'b>(message: &'b [u8], out: &mut Span<'b>) -> Result<(), WireError> {
    let labels = std::mem::take(&mut out.labels);
    *out = Span { labels, ..Span::default() };
    out.labels.clear();
    let mut fields = Fields::new(message);
    loop {
        match fields.peek() {
            0x0a => out.trace_id = fields.run()?,
            0x12 => out.span_id = fields.run()?,
            0x2a => out.name = fields.run()?,
            0x39 => out.start = fields.eight()?,
            0x41 => out.end = fields.eight()?,
            0x4a => out.attribute(fields.run()?)?,
            _ => {
                let Some((field, value)) = fields.next_field()? else { return Ok(()) };
                match field {
                    1 | 2 | 5 | 7 | 8 | 9 => return Err(WireError::Type(field)),
                    6 => out.kind = value.varint(field)?,
                    15 => out.status = status(value.bytes(field)?)?,
                    _ => {}
                }
            }
        }
    }
}

/// The label that an attribute becomes, if any; most are told apart by their first two bytes.
#[inline]
fn label_of(key: &[u8]) -> Option<&'static str> {
    if !matches!(key.get(..2), Some(b"ht" | b"rp" | b"db" | b"me")) {
        return None;
    }
    LABELS.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, label)| *label)
}

fn status(message: &[u8]) -> Result<u64, WireError> {
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == 3 {
            return value.varint(field);
        }
    }
    Ok(0)
}

impl<'b> Span<'b> {
    /// Takes the attribute, when it becomes a label.
    #[inline]
    fn attribute(&mut self, message: &'b [u8]) -> Result<(), WireError> {
        // Most are key and value and nothing else, and most become no label: those cost a look at their key.
        if let [0x0a, len @ 0..=0x7f, rest @ ..] = message
            && let Some((key, rest)) = rest.split_at_checked(usize::from(*len))
        {
            match (label_of(key), rest) {
                (None, _) => return Ok(()),
                (Some(label), [0x12, len @ 0..=0x7f, any @ ..]) if any.len() == usize::from(*len) => {
                    self.labels.push((label, any));
                    return Ok(());
                }
                _ => {}
            }
        }
        let (key, any) = key_value(message)?;
        if let Some(label) = label_of(key) {
            self.labels.push((label, any));
        }
        Ok(())
    }

    fn check(&self, walk: &Walk<'_>) -> Result<TimeMs, RejectReason> {
        if self.trace_id.len() != 16 || self.trace_id.iter().all(|b| *b == 0) {
            return Err(RejectReason::TraceId);
        }
        if self.span_id.len() != 8 || self.span_id.iter().all(|b| *b == 0) {
            return Err(RejectReason::SpanId);
        }
        if self.end < self.start {
            return Err(RejectReason::SpanTimes);
        }
        walk.check_time(self.end)
    }

    /// Hash of what tells operations apart, put together in `scratch`.
    fn identity(&self, seed: u64, scratch: &mut Vec<u8>) -> u128 {
        scratch.clear();
        scratch.extend_from_slice(self.name);
        scratch.extend_from_slice(&[0xff, self.kind as u8, self.status as u8]);
        for (label, any) in &self.labels {
            scratch.extend_from_slice(label.as_bytes());
            scratch.extend_from_slice(any);
        }
        xxh3_128_with_seed(scratch, seed)
    }

    fn labels(&self) -> Result<OwnLabels<'_>, AttributeError> {
        let name = String::from_utf8_lossy(self.name);
        let name = name.get(..name.floor_char_boundary(NAME_MAX)).unwrap_or_default();
        let mut labels: OwnLabels<'_> = vec![
            ("span.name".into(), name.to_owned()),
            ("span.kind".into(), kind_name(self.kind).to_owned()),
            ("status.code".into(), status_name(self.status).to_owned()),
        ];
        for (label, any) in &self.labels {
            if !labels.iter().any(|(known, _)| known == label) {
                labels.push(((*label).into(), attributes::text(any)?));
            }
        }
        Ok(labels)
    }
}

const fn kind_name(kind: u64) -> &'static str {
    match kind {
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        _ => "SPAN_KIND_UNSPECIFIED",
    }
}

const fn status_name(status: u64) -> &'static str {
    match status {
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        _ => "STATUS_CODE_UNSET",
    }
}

struct Sum {
    slot: Slot,
    time: TimeMs,
    /// In seconds.
    durations: Vec<f64>,
    slowest: Exemplar,
}

/// The spans of one resource by operation and window.
struct Sums {
    width: Width,
    metric: MetricInScope,
    order: Vec<Sum>,
    at: HashMap<(Slot, u32), usize>,
    scratch: Vec<u8>,
}

impl Sums {
    fn new(width: Width, metric: MetricInScope) -> Self {
        Self { width, metric, order: Vec::new(), at: HashMap::new(), scratch: Vec::new() }
    }

    fn add<'b>(&mut self, walk: &mut Walk<'_>, span: &mut Span<'b>, message: &'b [u8]) -> Result<(), WireError> {
        read(message, span)?;
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
        self.count(slot, time, span);
        Ok(())
    }

    fn count(&mut self, slot: Slot, time: TimeMs, span: &Span<'_>) {
        let seconds = (span.end - span.start) as f64 / 1e9;
        let slowest = || Exemplar {
            time,
            value: seconds,
            trace_id: span.trace_id.try_into().unwrap_or_default(),
            span_id: span.span_id.try_into().unwrap_or_default(),
        };
        let at = *self.at.entry((slot, self.width.window_of(time))).or_insert(self.order.len());
        match self.order.get_mut(at) {
            Some(sum) => {
                sum.time = sum.time.max(time);
                sum.durations.push(seconds);
                if seconds > sum.slowest.value {
                    sum.slowest = slowest();
                }
            }
            None => {
                self.order.push(Sum { slot, time, durations: vec![seconds], slowest: slowest() });
            }
        }
    }

    fn push_all(self, walk: &mut Walk<'_>) {
        for sum in self.order {
            let mut common = Common { exemplars: vec![sum.slowest], ..Common::default() };
            let mut durations = Histogram::exponential(SCALE);
            durations.observe(&sum.durations);
            walk.push(sum.slot, &mut common, |points| points.histogram(sum.time, &durations));
            walk.export.accepted += durations.count - 1;
        }
    }
}
