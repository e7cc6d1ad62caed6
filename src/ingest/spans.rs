//! Spans read back from a body that was walked before: what the decider of traces looks at, and whole spans of those kept.
//!
//! Field numbers are those of `opentelemetry/proto/{trace,common,resource}/v1`. A body that does not read is left where it
//! stops: it was read once already.

use std::cell::OnceCell;
use std::sync::Arc;

use super::attributes::{key_value, plain};
use super::points::millis;
use super::statement::part_of;
use super::wire::{Fields, Value, WireError};
use crate::model::{
    Attribute, AttributeValue, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanSource, SpanStatus, TraceId,
};
use crate::traces::{Peer, PeerKind, WalkedSpan};

/// Longest text of an attribute that is stored; a stack trace is no longer.
const TEXT_MAX: usize = 16 << 10;
/// Most attributes, events and links of a span that are stored; what is left out is counted as dropped.
const ATTRIBUTES_MAX: usize = 256;
const EVENTS_MAX: usize = 256;
/// Deepest nesting of a value that is stored.
const DEPTH_MAX: usize = 8;

/// Shows each span of `body`.
pub fn walk_spans(body: &[u8], each: &mut dyn FnMut(&WalkedSpan<'_>)) {
    let mut fields = Fields::new(body);
    while let Ok(Some((1, Value::Bytes(message)))) = fields.next_field() {
        if resource_spans(message, each).is_err() {
            return;
        }
    }
}

fn resource_spans(message: &[u8], each: &mut dyn FnMut(&WalkedSpan<'_>)) -> Result<(), WireError> {
    let mut resource: &[u8] = &[];
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == 1 {
            resource = value.bytes(field)?;
        }
    }
    let resource = attributes(resource, 1)?;
    let service = SpanSource { resource: resource.clone(), ..SpanSource::default() };
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == 2 {
            scope_spans(value.bytes(field)?, &resource, service.service(), each)?;
        }
    }
    Ok(())
}

fn scope_spans(
    message: &[u8],
    resource: &[Attribute],
    service: &str,
    each: &mut dyn FnMut(&WalkedSpan<'_>),
) -> Result<(), WireError> {
    let source = OnceCell::new();
    let make = || {
        let mut source = SpanSource { resource: resource.to_vec(), ..SpanSource::default() };
        let mut fields = Fields::new(message);
        while let Ok(Some((field, value))) = fields.next_field() {
            if let (1, Value::Bytes(scope)) = (field, value) {
                // A scope that does not read leaves the source without one.
                let _unread = read_scope(scope, &mut source);
            }
        }
        Arc::new(source)
    };
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field != 2 {
            continue;
        }
        let message = value.bytes(field)?;
        let Some(head) = read_head(message)? else { continue };
        each(&WalkedSpan {
            trace_id: head.trace_id,
            span_id: head.span_id,
            parent_id: head.parent_id,
            kind: head.kind,
            status: head.status,
            nanos: head.end - head.start,
            end_ms: millis(head.end),
            weight: weight(head.trace_state),
            service,
            peer: &|| peer(message),
            whole: &|| read_whole(message, Arc::clone(source.get_or_init(make))).ok(),
        });
    }
    Ok(())
}

fn read_scope(scope: &[u8], source: &mut SpanSource) -> Result<(), WireError> {
    let mut fields = Fields::new(scope);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => source.scope_name = text(value.bytes(field)?),
            2 => source.scope_version = text(value.bytes(field)?),
            _ => {}
        }
    }
    source.scope_attributes = attributes(scope, 3)?;
    Ok(())
}

/// What every span is looked at for.
#[derive(Default)]
struct Head<'a> {
    trace_id: TraceId,
    span_id: SpanId,
    parent_id: SpanId,
    trace_state: &'a [u8],
    kind: SpanKind,
    start: u64,
    end: u64,
    status: SpanStatus,
}

/// `None` for a span that was refused when it came.
fn read_head(message: &[u8]) -> Result<Option<Head<'_>>, WireError> {
    let mut head = Head::default();
    let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => trace_id = value.bytes(field)?,
            2 => span_id = value.bytes(field)?,
            3 => head.trace_state = value.bytes(field)?,
            4 => head.parent_id = SpanId(value.bytes(field)?.try_into().unwrap_or_default()),
            6 => head.kind = SpanKind::from_number(value.varint(field)?),
            7 => head.start = value.fixed64(field)?,
            8 => head.end = value.fixed64(field)?,
            15 => head.status = SpanStatus::from_number(status_code(value.bytes(field)?)?),
            _ => {}
        }
    }
    let (Ok(trace_id), Ok(span_id)) = (trace_id.try_into(), span_id.try_into()) else { return Ok(None) };
    (head.trace_id, head.span_id) = (TraceId(trace_id), SpanId(span_id));
    let sound = head.trace_id != TraceId::default() && !head.span_id.is_none() && head.end >= head.start;
    Ok(sound.then_some(head))
}

fn status_code(message: &[u8]) -> Result<u64, WireError> {
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == 3 {
            return value.varint(field);
        }
    }
    Ok(0)
}

fn read_whole(message: &[u8], source: Arc<SpanSource>) -> Result<Span, WireError> {
    let mut span = Span { source, attributes: attributes(message, 9)?, ..Span::default() };
    let (mut events, mut links) = (0, 0);
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            2 => span.span_id = SpanId(value.bytes(field)?.try_into().unwrap_or_default()),
            3 => span.trace_state = text(value.bytes(field)?),
            4 => span.parent_id = SpanId(value.bytes(field)?.try_into().unwrap_or_default()),
            5 => span.name = text(value.bytes(field)?),
            6 => span.kind = SpanKind::from_number(value.varint(field)?),
            7 => span.start = value.fixed64(field)?,
            8 => span.end = value.fixed64(field)?,
            10 => span.dropped[0] = value.varint(field)? as u32,
            11 => {
                events += 1;
                if span.events.len() < EVENTS_MAX {
                    span.events.push(read_event(value.bytes(field)?)?);
                }
            }
            12 => span.dropped[1] = value.varint(field)? as u32,
            13 => {
                links += 1;
                if span.links.len() < EVENTS_MAX {
                    span.links.push(read_link(value.bytes(field)?)?);
                }
            }
            14 => span.dropped[2] = value.varint(field)? as u32,
            15 => read_status(value.bytes(field)?, &mut span)?,
            16 => span.flags = flags(value),
            _ => {}
        }
    }
    span.dropped[1] += (events - span.events.len()) as u32;
    span.dropped[2] += (links - span.links.len()) as u32;
    Ok(span)
}

const fn flags(value: Value<'_>) -> u32 {
    if let Value::Fixed32(flags) = value { flags } else { 0 }
}

fn read_status(message: &[u8], span: &mut Span) -> Result<(), WireError> {
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            2 => span.status_message = text(value.bytes(field)?),
            3 => span.status = SpanStatus::from_number(value.varint(field)?),
            _ => {}
        }
    }
    Ok(())
}

fn read_event(message: &[u8]) -> Result<SpanEvent, WireError> {
    let mut event = SpanEvent { attributes: attributes(message, 3)?, ..SpanEvent::default() };
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => event.time = value.fixed64(field)?,
            2 => event.name = text(value.bytes(field)?),
            4 => event.dropped_attributes = value.varint(field)? as u32,
            _ => {}
        }
    }
    Ok(event)
}

fn read_link(message: &[u8]) -> Result<SpanLink, WireError> {
    let mut link = SpanLink { attributes: attributes(message, 4)?, ..SpanLink::default() };
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => link.trace_id = TraceId(value.bytes(field)?.try_into().unwrap_or_default()),
            2 => link.span_id = SpanId(value.bytes(field)?.try_into().unwrap_or_default()),
            3 => link.trace_state = text(value.bytes(field)?),
            5 => link.dropped_attributes = value.varint(field)? as u32,
            6 => link.flags = flags(value),
            _ => {}
        }
    }
    Ok(link)
}

fn text(bytes: &[u8]) -> String {
    plain(bytes, TEXT_MAX)
}

/// The attributes that are the fields `number` of a message.
fn attributes(message: &[u8], number: u32) -> Result<Vec<Attribute>, WireError> {
    let mut out = Vec::new();
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == number && out.len() < ATTRIBUTES_MAX {
            out.push(attribute(value.bytes(field)?, DEPTH_MAX)?);
        }
    }
    Ok(out)
}

fn attribute(message: &[u8], depth: usize) -> Result<Attribute, WireError> {
    let (key, any) = key_value(message)?;
    let mut value = any_value(any, depth)?;
    if let AttributeValue::Text(statement) = &mut value
        && part_of(key).is_some()
    {
        // It was written over itself.
        statement.truncate(statement.trim_end().len());
    }
    Ok(Attribute { key: text(key), value })
}

fn any_value(any: &[u8], depth: usize) -> Result<AttributeValue, WireError> {
    let mut out = AttributeValue::Empty;
    let mut fields = Fields::new(any);
    while let Some((field, value)) = fields.next_field()? {
        out = match field {
            1 => AttributeValue::Text(text(value.bytes(field)?)),
            2 => AttributeValue::Bool(value.varint(field)? != 0),
            3 => AttributeValue::Int(value.varint(field)? as i64),
            4 => AttributeValue::Double(value.double(field)?),
            5 if depth > 0 => AttributeValue::List(elements(value.bytes(field)?, |m| any_value(m, depth - 1))?),
            6 if depth > 0 => AttributeValue::Map(elements(value.bytes(field)?, |m| attribute(m, depth - 1))?),
            7 => {
                let bytes = value.bytes(field)?;
                AttributeValue::Bytes(bytes.get(..TEXT_MAX).unwrap_or(bytes).to_vec())
            }
            _ => AttributeValue::Empty,
        };
    }
    Ok(out)
}

fn elements<T>(message: &[u8], read: impl Fn(&[u8]) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
    let mut out = Vec::new();
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == 1 && out.len() < ATTRIBUTES_MAX {
            out.push(read(value.bytes(field)?)?);
        }
    }
    Ok(out)
}

/// How many spans one stands for, from `ot=th:…` of its trace state: the threshold is 56 bits, zeros behind left out.
///
/// Source: OpenTelemetry, "Trace State: Probability Sampling".
pub(super) fn weight(trace_state: &[u8]) -> f64 {
    const BITS: u64 = 1 << 56;
    let threshold = || {
        let state = std::str::from_utf8(trace_state).ok()?;
        let ours = state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
        let digits = ours.split(';').find_map(|field| field.strip_prefix("th:"))?;
        let sound = (1..=14).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(digits, 16).ok().filter(|_| sound)?;
        Some(number << (4 * (14 - digits.len())))
    };
    if trace_state.is_empty() {
        return 1.0;
    }
    threshold().map_or(1.0, |threshold| BITS as f64 / (BITS - threshold) as f64)
}

/// Attributes that tell the other side of a call, the most telling first.
const PEERS: &[(&str, PeerKind)] = &[
    ("messaging.system", PeerKind::Queue),
    ("db.system.name", PeerKind::Database),
    ("db.system", PeerKind::Database),
    ("peer.service", PeerKind::Service),
    ("server.address", PeerKind::Service),
    ("net.peer.name", PeerKind::Service),
];
/// Databases that are caches.
const CACHES: &[&str] = &["redis", "memcached", "valkey", "dragonfly", "ehcache", "infinispan", "coherence"];
/// What tells one database or queue from another of the same system.
const PLACES: &[&str] = &[
    "messaging.destination.name",
    "messaging.destination",
    "db.namespace",
    "db.name",
    "server.address",
    "net.peer.name",
];

fn peer(message: &[u8]) -> Option<Peer> {
    let attributes = attributes(message, 9).ok()?;
    let of = |name: &str| attributes.iter().find(|attribute| attribute.key == name)?.value.scalar();
    let (kind, name) = PEERS.iter().find_map(|(key, kind)| Some((*kind, of(key)?)))?;
    let place =
        || PLACES.iter().find_map(|name| of(name)).map(|place| format!("{name} {place}")).unwrap_or(name.clone());
    Some(match kind {
        PeerKind::Service => Peer { kind, name },
        PeerKind::Database if CACHES.contains(&name.as_str()) => Peer { kind: PeerKind::Cache, name: place() },
        _ => Peer { kind, name: place() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent, Status, span};
    use prost::Message;

    fn kv(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn body(spans: Vec<Sent>) -> Vec<u8> {
        let service = kv("service.name", Any::StringValue("shop".into()));
        let resource = Some(Resource { attributes: vec![service], ..Resource::default() });
        let scope = Some(InstrumentationScope { name: "lib".into(), version: "1".into(), ..Default::default() });
        let scope_spans = vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    #[test]
    fn a_span_comes_back_whole_and_those_refused_are_passed_over() {
        let sent = Sent {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            parent_span_id: vec![3; 8],
            name: "GET /cart".into(),
            kind: 3,
            start_time_unix_nano: 1_000,
            end_time_unix_nano: 1_500,
            trace_state: "ot=th:c".into(),
            flags: 0x101,
            attributes: vec![kv("db.system", Any::StringValue("redis".into())), kv("n", Any::IntValue(-3))],
            events: vec![span::Event { time_unix_nano: 1_100, name: "exception".into(), ..Default::default() }],
            status: Some(Status { code: 2, message: "no".into() }),
            ..Sent::default()
        };
        let bad = Sent { trace_id: vec![0; 16], ..sent.clone() };
        let mut seen = Vec::new();
        walk_spans(&body(vec![bad, sent]), &mut |span| {
            seen.push(((span.trace_id, span.nanos, span.weight), (span.peer)(), (span.whole)().expect("reads")));
        });
        let [(facts, peer, whole)] = seen.as_slice() else { panic!("one span, not {}", seen.len()) };
        assert_eq!(*facts, (TraceId([1; 16]), 500, 4.0));
        assert_eq!(*peer, Some(Peer { kind: PeerKind::Cache, name: "redis".to_owned() }));
        assert_eq!((whole.span_id, whole.parent_id), (SpanId([2; 8]), SpanId([3; 8])));
        assert_eq!((whole.source.service(), whole.source.scope_name.as_str()), ("shop", "lib"));
        assert_eq!((whole.status, whole.status_message.as_str(), whole.flags), (SpanStatus::Error, "no", 0x101));
        assert_eq!(whole.attributes.last().map(|a| a.value.clone()), Some(AttributeValue::Int(-3)));
        assert_eq!(whole.events.first().map(|event| (event.time, event.name.as_str())), Some((1_100, "exception")));
    }

    #[test]
    fn a_threshold_tells_how_many_spans_one_stands_for() {
        let check = |state: &str, expect: f64| assert_eq!(weight(state.as_bytes()), expect, "{state:?}");
        check("", 1.0);
        check("ot=th:0", 1.0);
        check("ot=th:8", 2.0);
        check("vendor=x,ot=rv:1234;th:fd70a4", 1.0 / (1.0 - 0xfd_70a4 as f64 / (1 << 24) as f64));
        check("ot=th:", 1.0);
        check("ot=th:xyz", 1.0);
        check("ot=th:123456789012345", 1.0);
    }
}
