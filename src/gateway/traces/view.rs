//! Traces and spans as the JSON API writes them. Times are Unix nanoseconds as text where JavaScript's numbers would lose
//! digits; within a trace they are numbers from its start.

use std::collections::HashMap;

use chrono::DateTime;
use serde_json::{Map, Value, json};

use crate::model::{Attribute, AttributeValue, Span, SpanEvent, SpanLink};
use crate::traces::{FoundTrace, WholeTrace};

/// A trace in a line.
pub(super) fn found(trace: &FoundTrace) -> Value {
    json!({
        "traceId": trace.trace_id.to_string(),
        "startedAt": DateTime::from_timestamp_nanos(trace.start_ns),
        "startNanos": trace.start_ns.to_string(),
        "durationMs": trace.duration_ns as f64 / 1e6,
        "rootService": trace.root.as_ref().map(|(service, _)| service),
        "rootOperation": trace.root.as_ref().map(|(_, operation)| operation),
        "services": trace.services,
        "spanCount": trace.span_count,
        "errorCount": trace.error_count,
        "reasons": trace.reasons.names(),
    })
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

/// A trace in columns: span `i` is the `i`-th of each; services and operations are places in their lists, a parent is the
/// place of a span or null.
pub(super) fn trace(trace: &WholeTrace) -> Value {
    let places: HashMap<_, usize> = trace.spans.iter().enumerate().map(|(i, span)| (span.span_id, i)).collect();
    let (mut services, mut operations) = (Names::default(), Names::default());
    let start = trace.spans.first().map_or(0, |span| span.start);
    let column = |of: &mut dyn FnMut(&'_ Span) -> Value| Value::Array(trace.spans.iter().map(of).collect());
    let service: Vec<usize> = trace.spans.iter().map(|span| services.number(span.source.service())).collect();
    let operation: Vec<usize> = trace.spans.iter().map(|span| operations.number(&span.name)).collect();
    json!({
        "trace": found(&trace.found),
        "startNanos": start.to_string(),
        "services": services.list,
        "operations": operations.list,
        "spans": {
            "id": column(&mut |span| json!(span.span_id.to_string())),
            "parent": column(&mut |span| json!(places.get(&span.parent_id))),
            // Of a parent that is not here: another service's, or one that is late.
            "parentId": column(&mut |span| {
                let away = !span.parent_id.is_none() && !places.contains_key(&span.parent_id);
                json!(away.then(|| span.parent_id.to_string()))
            }),
            "service": service,
            "operation": operation,
            "kind": column(&mut |span| json!(span.kind.as_str())),
            "status": column(&mut |span| json!(span.status.as_str())),
            "startNanos": column(&mut |span| json!(span.start - start)),
            "durationNanos": column(&mut |span| json!(span.end - span.start)),
        },
    })
}

/// One span with all that it carries.
pub(super) fn span(span: &Span) -> Value {
    json!({
        "spanId": span.span_id.to_string(),
        "parentSpanId": (!span.parent_id.is_none()).then(|| span.parent_id.to_string()),
        "service": span.source.service(),
        "operation": span.name,
        "kind": span.kind.as_str(),
        "status": span.status.as_str(),
        "statusMessage": span.status_message,
        "startNanos": span.start.to_string(),
        "durationNanos": span.end - span.start,
        "traceState": span.trace_state,
        "attributes": attributes(&span.attributes),
        "resource": attributes(&span.source.resource),
        "scope": {
            "name": span.source.scope_name,
            "version": span.source.scope_version,
            "attributes": attributes(&span.source.scope_attributes),
        },
        "events": span.events.iter().map(|event| self::event(span, event)).collect::<Vec<_>>(),
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "dropped": { "attributes": span.dropped[0], "events": span.dropped[1], "links": span.dropped[2] },
    })
}

fn event(span: &Span, event: &SpanEvent) -> Value {
    json!({
        "name": event.name,
        "atNanos": event.time as i64 - span.start as i64,
        "attributes": attributes(&event.attributes),
    })
}

fn link(link: &SpanLink) -> Value {
    json!({
        "traceId": link.trace_id.to_string(),
        "spanId": link.span_id.to_string(),
        "attributes": attributes(&link.attributes),
    })
}

fn attributes(attributes: &[Attribute]) -> Value {
    Value::Object(attributes.iter().map(|attribute| (attribute.key.clone(), value(&attribute.value))).collect())
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
