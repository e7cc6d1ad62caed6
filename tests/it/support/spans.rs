//! Spans made by hand.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use super::Server;
use super::export::{attributes, now};
use super::server::client;

pub(crate) const SERVER: i32 = 2;
pub(crate) const CLIENT: i32 = 3;

/// A trace id as the API writes it.
pub(crate) fn trace_id(number: u64) -> String {
    format!("{:016x}{number:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Span `id` of trace `trace`, below `parent` unless that is zero, that took `ms` and ends now.
pub(crate) fn span(trace: u64, (id, parent): (u64, u64), name: &str, ms: u64) -> Span {
    let end = now();
    Span {
        trace_id: bytes(&trace_id(trace)),
        span_id: id.to_be_bytes().into(),
        parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().into() },
        name: name.to_owned(),
        kind: SERVER,
        start_time_unix_nano: end - ms * 1_000_000,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

pub(crate) fn failed(span: Span) -> Span {
    Span { status: Some(Status { code: 2, message: "out of stock".to_owned() }), ..span }
}

pub(crate) fn with(mut span: Span, pairs: &[(&str, &str)]) -> Span {
    span.attributes.extend(attributes(pairs));
    span
}

/// An export of one service.
pub(crate) fn request(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Some(Resource { attributes: attributes(&[("service.name", service)]), ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// Sends spans of one service; they are acknowledged.
pub(crate) async fn send(server: &Server, service: &str, spans: Vec<Span>) {
    let body = request(service, spans).encode_to_vec();
    let post =
        client().post(format!("{}/v1/traces", server.otlp_http)).header("content-type", "application/x-protobuf");
    let answer = post.body(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// The trace's number of spans stored, if it is kept.
pub(crate) async fn kept_spans(server: &Server, trace: u64) -> Option<u64> {
    let answer = client().get(format!("{}/api/traces/{}", server.http, trace_id(trace))).send().await.unwrap();
    if answer.status() == 404 {
        return None;
    }
    assert!(answer.status().is_success(), "{}", answer.status());
    let body: serde_json::Value = answer.json().await.unwrap();
    let spans = body["spans"]["id"].as_array().unwrap().len() as u64;
    Some(spans)
}
