//! `ExportTraceServiceRequest` walked in place: every span feeds the RED windows of its operation.
//!
//! What is summed up, and which traces are marked, is in `red`.
//! Field numbers are those of `opentelemetry/proto/{collector/trace,trace}/v1`.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::attributes::{self, AttributeError, key_value, plain};
use super::export::{Export, Statement, WalkError, at};
use super::metrics::find;
use super::red::Sums;
use super::reject::RejectReason;
use super::spans::weight;
use super::statement::{self, Part};
use super::walk::{Context, MetricInScope, OwnLabels, Walk, with_resource};
use super::wire::{Fields, Value, WireError};
use crate::model::{Metric, MetricKind, Temporality, TimeMs, Width};
use crate::rollup::Shape;
use crate::traces::{Reasons, Traces};

/// The metric that spans feed, named as the collector's span-metrics connector does; in seconds.
pub const SPAN_METRIC: &str = "traces.span.metrics.duration";
/// Longest span name kept, in bytes.
const NAME_MAX: usize = 255;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

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

/// What the spans of a body are looked at with.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) width: Width,
    pub(super) traces: &'a Traces,
    /// The body, to tell where in it a statement stands.
    pub(super) body: &'a [u8],
}

/// Walks a body.
pub(super) fn walk(context: &Context<'_>, body: &[u8], width: Width, traces: &Traces) -> Result<Export, WalkError> {
    let mut export = Export::default();
    let around = Around { width, traces, body };
    let mut fields = Fields::new(body);
    while let Some((field, value)) = at("ExportTraceServiceRequest", fields.next_field())? {
        if field == 1 {
            let message = at("resource_spans", value.bytes(field))?;
            // Nothing in it: a body of such must cost no more than its bytes.
            if !message.is_empty() {
                resource_spans(context, &mut export, message, around)?;
            }
        }
    }
    Ok(export)
}

fn resource_spans(
    context: &Context<'_>,
    export: &mut Export,
    message: &[u8],
    around: Around<'_>,
) -> Result<(), WalkError> {
    let resource = at("resource_spans", find(message, 1))?.unwrap_or_default();
    with_resource(
        context,
        export,
        resource,
        |walk| {
            let mut sums = Sums::new(around, span_metric(walk));
            let mut span = Span { rules: around.traces.keep(), ..Span::default() };
            each_span(message, |message| sums.add(walk, &mut span, message))?;
            sums.push_all(walk);
            Ok(())
        },
        |export, reason| {
            let (mut n, mut span) = (0, Span::default());
            each_span(message, |message| {
                n += 1;
                read(message, &mut span)?;
                // The spool holds them all the same.
                span.note_statements(&mut export.statements, around.body);
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
pub(super) struct Span<'a> {
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: &'a [u8],
    trace_state: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) kind: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    status: u64,
    /// Key and raw value of the attributes in [`LABELS`].
    labels: Vec<(&'static str, &'a [u8])>,
    /// Attributes whose traces are kept, and whether it has one of them.
    rules: &'a [(String, String)],
    is_ruled: bool,
    /// Raw values of the attributes that hold statements.
    statements: Vec<(Part, &'a [u8])>,
}

/// The tags that nearly every span has are a byte each; whatever else there is goes the general way.
pub(super) fn read<'b>(message: &'b [u8], out: &mut Span<'b>) -> Result<(), WireError> {
    let (labels, statements) = (std::mem::take(&mut out.labels), std::mem::take(&mut out.statements));
    *out = Span { labels, statements, rules: out.rules, ..Span::default() };
    out.labels.clear();
    out.statements.clear();
    let mut fields = Fields::new(message);
    loop {
        match fields.peek() {
            0x0a => out.trace_id = fields.run()?,
            0x12 => out.span_id = fields.run()?,
            0x1a => out.trace_state = fields.run()?,
            0x2a => out.name = fields.run()?,
            0x39 => out.start = fields.eight()?,
            0x41 => out.end = fields.eight()?,
            0x4a => out.attribute(fields.run()?)?,
            _ => {
                let Some((field, value)) = fields.next_field()? else { return Ok(()) };
                match field {
                    1 | 2 | 3 | 5 | 7 | 8 | 9 => return Err(WireError::Type(field)),
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
        if !self.rules.is_empty() {
            self.rule(message)?;
        }
        // Most are key and value and nothing else, and most become no label: those cost a look at their key.
        if let [0x0a, len @ 0..=0x7f, rest @ ..] = message
            && let Some((key, rest)) = rest.split_at_checked(usize::from(*len))
        {
            match (label_of(key), rest) {
                (None, _) if !key.starts_with(b"db.") => return Ok(()),
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
        } else if let Some(part) = statement::part_of(key) {
            self.statements.push((part, any));
        }
        Ok(())
    }

    /// Notes where in `body` its statements stand, and of which database.
    pub(super) fn note_statements(&self, statements: &mut Vec<Statement>, body: &[u8]) {
        if self.statements.is_empty() {
            return;
        }
        let system = self.labels.iter().find(|(label, _)| *label == "db.system");
        let system: Arc<str> = system.and_then(|(_, any)| attributes::text(any).ok()).unwrap_or_default().into();
        for (part, any) in &self.statements {
            let mut fields = Fields::new(any);
            while let Ok(Some((field, value))) = fields.next_field() {
                let (1, Value::Bytes(text)) = (field, value) else { continue };
                let start = (text.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
                statements.push(Statement { part: *part, at: start..start + text.len(), system: Arc::clone(&system) });
            }
        }
    }

    /// How many spans it stands for.
    #[inline]
    pub(super) fn weight(&self) -> f64 {
        if self.trace_state.is_empty() { 1.0 } else { weight(self.trace_state) }
    }

    /// Looks whether the attribute is one whose traces are kept.
    #[cold]
    fn rule(&mut self, message: &'b [u8]) -> Result<(), WireError> {
        let (key, any) = key_value(message)?;
        let mut meant = self.rules.iter().filter(|(name, _)| name.as_bytes() == key).peekable();
        if meant.peek().is_some() {
            let text = attributes::text(any)?;
            self.is_ruled |= meant.any(|(_, value)| *value == text);
        }
        Ok(())
    }

    pub(super) fn marks(&self) -> Reasons {
        let error = if self.status == ERROR { Reasons::ERROR } else { Reasons::NONE };
        if self.is_ruled { error.and(Reasons::RULE) } else { error }
    }

    pub(super) fn check(&self, walk: &Walk<'_>) -> Result<TimeMs, RejectReason> {
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
    pub(super) fn identity(&self, seed: u64, scratch: &mut Vec<u8>) -> u128 {
        scratch.clear();
        scratch.extend_from_slice(self.name);
        scratch.extend_from_slice(&[0xff, self.kind as u8, self.status as u8]);
        for (label, any) in &self.labels {
            scratch.extend_from_slice(label.as_bytes());
            scratch.extend_from_slice(any);
        }
        xxh3_128_with_seed(scratch, seed)
    }

    pub(super) fn labels(&self) -> Result<OwnLabels<'_>, AttributeError> {
        let name = plain(self.name, NAME_MAX);
        let mut labels: OwnLabels<'_> = vec![
            ("span.name".into(), name),
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
