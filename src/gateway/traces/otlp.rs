//! A trace as an OTLP/JSON export, to be sent or opened anywhere else.
//!
//! Source: opentelemetry-proto, "JSON Protobuf Encoding": ids are hexadecimal, 64-bit numbers are text.

use std::sync::Arc;

use base64::Engine;
use serde_json::{Value, json};

use crate::model::{Attribute, AttributeValue, Span, SpanEvent, SpanLink, SpanSource, TraceId};

/// The export: spans of one source together.
pub(super) fn export(trace_id: TraceId, spans: &[Span]) -> Value {
    let mut sources: Vec<(&Arc<SpanSource>, Vec<Value>)> = Vec::new();
    for span in spans {
        let written = self::span(trace_id, span);
        match sources.iter_mut().find(|(source, _)| *source == &span.source) {
            Some((_, spans)) => spans.push(written),
            None => sources.push((&span.source, vec![written])),
        }
    }
    let resource_spans = |(source, spans): (&Arc<SpanSource>, Vec<Value>)| {
        json!({
            "resource": { "attributes": attributes(&source.resource) },
            "scopeSpans": [{
                "scope": {
                    "name": source.scope_name,
                    "version": source.scope_version,
                    "attributes": attributes(&source.scope_attributes),
                },
                "spans": spans,
            }],
        })
    };
    json!({ "resourceSpans": sources.into_iter().map(resource_spans).collect::<Vec<_>>() })
}

fn span(trace_id: TraceId, span: &Span) -> Value {
    json!({
        "traceId": trace_id.to_string(),
        "spanId": span.span_id.to_string(),
        "parentSpanId": if span.parent_id.is_none() { String::new() } else { span.parent_id.to_string() },
        "traceState": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes(&span.attributes),
        "droppedAttributesCount": span.dropped[0],
        "events": span.events.iter().map(event).collect::<Vec<_>>(),
        "droppedEventsCount": span.dropped[1],
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "droppedLinksCount": span.dropped[2],
        "status": { "code": span.status as u8, "message": span.status_message },
    })
}

fn event(event: &SpanEvent) -> Value {
    json!({
        "timeUnixNano": event.time.to_string(),
        "name": event.name,
        "attributes": attributes(&event.attributes),
        "droppedAttributesCount": event.dropped_attributes,
    })
}

fn link(link: &SpanLink) -> Value {
    json!({
        "traceId": link.trace_id.to_string(),
        "spanId": link.span_id.to_string(),
        "traceState": link.trace_state,
        "attributes": attributes(&link.attributes),
        "droppedAttributesCount": link.dropped_attributes,
        "flags": link.flags,
    })
}

fn attributes(attributes: &[Attribute]) -> Value {
    Value::Array(attributes.iter().map(pair).collect())
}

fn pair(attribute: &Attribute) -> Value {
    json!({ "key": attribute.key, "value": value(&attribute.value) })
}

fn value(given: &AttributeValue) -> Value {
    match given {
        AttributeValue::Empty => json!({}),
        AttributeValue::Text(text) => json!({ "stringValue": text }),
        AttributeValue::Bool(value) => json!({ "boolValue": value }),
        AttributeValue::Int(value) => json!({ "intValue": value.to_string() }),
        AttributeValue::Double(value) if value.is_finite() => json!({ "doubleValue": value }),
        AttributeValue::Double(value) if value.is_nan() => json!({ "doubleValue": "NaN" }),
        AttributeValue::Double(value) => {
            json!({ "doubleValue": if value.is_sign_positive() { "Infinity" } else { "-Infinity" } })
        }
        AttributeValue::Bytes(bytes) => {
            json!({ "bytesValue": base64::engine::general_purpose::STANDARD.encode(bytes) })
        }
        AttributeValue::List(values) => {
            json!({ "arrayValue": { "values": values.iter().map(value).collect::<Vec<_>>() } })
        }
        AttributeValue::Map(pairs) => json!({ "kvlistValue": { "values": attributes(pairs) } }),
    }
}
