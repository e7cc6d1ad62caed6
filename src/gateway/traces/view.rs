//! Traces and spans as the JSON API writes them. Times are Unix nanoseconds as text where JavaScript's numbers would lose
//! digits; within a trace they are numbers from its start.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::model::{Attribute, AttributeValue, Span, SpanEvent, SpanLink};
use crate::traces::{FoundTrace, WholeTrace};

/// A trace in a line.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundView {
    trace_id: String,
    started_at: DateTime<Utc>,
    start_nanos: String,
    duration_ms: f64,
    /// Null while the root has not come.
    root_service: Option<String>,
    root_operation: Option<String>,
    services: Vec<String>,
    span_count: u64,
    error_count: u64,
    /// Why it was kept.
    reasons: Vec<&'static str>,
}

impl From<&FoundTrace> for FoundView {
    fn from(trace: &FoundTrace) -> Self {
        let root = trace.root.clone();
        let (root_service, root_operation) = root.map_or((None, None), |(service, name)| (Some(service), Some(name)));
        Self {
            trace_id: trace.trace_id.to_string(),
            started_at: DateTime::from_timestamp_nanos(trace.start_ns),
            start_nanos: trace.start_ns.to_string(),
            duration_ms: trace.duration_ns as f64 / 1e6,
            root_service,
            root_operation,
            services: trace.services.clone(),
            span_count: trace.span_count,
            error_count: trace.error_count,
            reasons: trace.reasons.names(),
        }
    }
}

/// A trace in columns: span `i` is the `i`-th of each.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TraceView<'a> {
    trace: FoundView,
    /// When its first span began.
    start_nanos: String,
    services: Vec<&'a str>,
    operations: Vec<&'a str>,
    spans: SpanColumns,
}

/// The columns.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SpanColumns {
    id: Vec<String>,
    /// The place of the parent, if it is here.
    parent: Vec<Option<usize>>,
    /// The id of a parent that is not here: another service's, or one that is late.
    parent_id: Vec<Option<String>>,
    /// A place in `services`.
    service: Vec<usize>,
    /// A place in `operations`.
    operation: Vec<usize>,
    kind: Vec<&'static str>,
    status: Vec<&'static str>,
    /// From the start of the trace.
    start_nanos: Vec<u64>,
    duration_nanos: Vec<u64>,
}

/// One span with all that it carries.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpanView<'a> {
    span_id: String,
    parent_span_id: Option<String>,
    service: &'a str,
    operation: &'a str,
    kind: &'static str,
    status: &'static str,
    status_message: &'a str,
    start_nanos: String,
    duration_nanos: u64,
    trace_state: &'a str,
    attributes: BTreeMap<String, Value>,
    resource: BTreeMap<String, Value>,
    scope: ScopeView<'a>,
    events: Vec<EventView<'a>>,
    links: Vec<LinkView>,
    dropped: DroppedView,
}

/// What made a span.
#[derive(Serialize, ToSchema)]
struct ScopeView<'a> {
    name: &'a str,
    version: &'a str,
    attributes: BTreeMap<String, Value>,
}

/// What happened within a span.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventView<'a> {
    name: &'a str,
    /// From the start of the span.
    at_nanos: i64,
    attributes: BTreeMap<String, Value>,
}

/// Another span that has to do with it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LinkView {
    trace_id: String,
    span_id: String,
    attributes: BTreeMap<String, Value>,
}

/// What the client left out.
#[derive(Serialize, ToSchema)]
struct DroppedView {
    attributes: u32,
    events: u32,
    links: u32,
}

/// Texts by number, as they come.
#[derive(Default)]
struct Names<'a> {
    numbers: HashMap<&'a str, usize>,
    list: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn number(&mut self, text: &'a str) -> usize {
        *self.numbers.entry(text).or_insert_with(|| {
            self.list.push(text);
            self.list.len() - 1
        })
    }
}

pub(super) fn trace(trace: &WholeTrace) -> TraceView<'_> {
    let spans = &trace.spans;
    let places: HashMap<_, usize> = spans.iter().enumerate().map(|(i, span)| (span.span_id, i)).collect();
    let (mut services, mut operations) = (Names::default(), Names::default());
    let start = spans.first().map_or(0, |span| span.start);
    let away = |span: &Span| !span.parent_id.is_none() && !places.contains_key(&span.parent_id);
    let columns = SpanColumns {
        id: spans.iter().map(|span| span.span_id.to_string()).collect(),
        parent: spans.iter().map(|span| places.get(&span.parent_id).copied()).collect(),
        parent_id: spans.iter().map(|span| away(span).then(|| span.parent_id.to_string())).collect(),
        service: spans.iter().map(|span| services.number(span.source.service())).collect(),
        operation: spans.iter().map(|span| operations.number(&span.name)).collect(),
        kind: spans.iter().map(|span| span.kind.as_str()).collect(),
        status: spans.iter().map(|span| span.status.as_str()).collect(),
        start_nanos: spans.iter().map(|span| span.start - start).collect(),
        duration_nanos: spans.iter().map(|span| span.end - span.start).collect(),
    };
    TraceView {
        trace: (&trace.found).into(),
        start_nanos: start.to_string(),
        services: services.list,
        operations: operations.list,
        spans: columns,
    }
}

pub(super) fn span(span: &Span) -> SpanView<'_> {
    let [attributes_dropped, events, links] = span.dropped;
    SpanView {
        span_id: span.span_id.to_string(),
        parent_span_id: (!span.parent_id.is_none()).then(|| span.parent_id.to_string()),
        service: span.source.service(),
        operation: &span.name,
        kind: span.kind.as_str(),
        status: span.status.as_str(),
        status_message: &span.status_message,
        start_nanos: span.start.to_string(),
        duration_nanos: span.end - span.start,
        trace_state: &span.trace_state,
        attributes: attributes(&span.attributes),
        resource: attributes(&span.source.resource),
        scope: ScopeView {
            name: &span.source.scope_name,
            version: &span.source.scope_version,
            attributes: attributes(&span.source.scope_attributes),
        },
        events: span.events.iter().map(|event| self::event(span, event)).collect(),
        links: span.links.iter().map(link).collect(),
        dropped: DroppedView { attributes: attributes_dropped, events, links },
    }
}

fn event<'a>(span: &Span, event: &'a SpanEvent) -> EventView<'a> {
    EventView {
        name: &event.name,
        at_nanos: event.time as i64 - span.start as i64,
        attributes: attributes(&event.attributes),
    }
}

fn link(link: &SpanLink) -> LinkView {
    LinkView {
        trace_id: link.trace_id.to_string(),
        span_id: link.span_id.to_string(),
        attributes: attributes(&link.attributes),
    }
}

fn attributes(attributes: &[Attribute]) -> BTreeMap<String, Value> {
    attributes.iter().map(|attribute| (attribute.key.clone(), value(&attribute.value))).collect()
}

fn value(given: &AttributeValue) -> Value {
    match given {
        AttributeValue::Empty => Value::Null,
        AttributeValue::Text(text) => json!(text),
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::Int(value) => json!(value),
        AttributeValue::Double(value) => json!(value),
        AttributeValue::Bytes(bytes) => json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        AttributeValue::List(values) => Value::Array(values.iter().map(value).collect()),
        AttributeValue::Map(pairs) => {
            Value::Object(pairs.iter().map(|pair| (pair.key.clone(), value(&pair.value))).collect::<Map<_, _>>())
        }
    }
}
