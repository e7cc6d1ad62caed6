//! OTLP/gRPC: the unary framing by hand, so that a body is bytes and never a protobuf struct.
//!
//! Sources: "gRPC over HTTP/2", OTLP 1.11 "OTLP/gRPC". Codes are those of [`Refusal`].

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::body::{Admitted, Encoding, too_large};
use super::committer::Ack;
use super::export::Signal;
use super::refusal::{Refusal, RefusalKind};
use super::{Ingest, response};

/// Flag and length before a message.
const PREFIX: usize = 5;

/// The routes of the OTLP services.
pub fn router(ingest: Arc<Ingest>) -> Router {
    let unserved = |what: &'static str| {
        post(async move || {
            Status::unimplemented(format!("FastBreak takes metrics and traces; {what} have no store here"))
                .into_http::<Body>()
        })
    };
    Router::new()
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", post(metrics))
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post(traces))
        .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", unserved("logs"))
        .route("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", unserved("profiles"))
        .fallback(async || Status::unimplemented("there is no such method here").into_http::<Body>())
        .with_state(ingest)
}

async fn metrics(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    export(&ingest, Signal::Metrics, request).await
}

async fn traces(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    export(&ingest, Signal::Traces, request).await
}

async fn export(ingest: &Ingest, signal: Signal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !content_type.starts_with(b"application/grpc") || content_type.starts_with(b"application/grpc-web") {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type must be application/grpc\n").into_response();
    }
    let answer = match take(ingest, &parts.headers, body).await {
        Ok(body) => ingest.export(signal, "grpc", body).await,
        Err(refusal) => Err(refusal),
    };
    match answer {
        Ok(ack) => success(signal, &ack),
        Err(refusal) => {
            ingest.metrics.refused_because(signal, &refusal);
            failure(refusal)
        }
    }
}

async fn take(ingest: &Ingest, headers: &HeaderMap, body: Body) -> Result<Admitted, Refusal> {
    if let Some(timeout) = headers.get("grpc-timeout").filter(|value| !is_timeout(value.as_bytes())) {
        let text = format!("grpc-timeout {timeout:?} is not digits and one of H M S m u n");
        return Err(Refusal::of(RefusalKind::Malformed, text));
    }
    let encoding = headers.get("grpc-encoding").map(HeaderValue::as_bytes).unwrap_or_default();
    let encoding = Encoding::parse(encoding)?;
    let limit = ingest.admission.limits.receive_bytes;
    let Admitted { bytes, permits } = ingest.admission.read(body, PREFIX, |so_far| check_prefix(so_far, limit)).await?;
    let (&flag, length) = bytes
        .split_first()
        .and_then(|(flag, rest)| Some((flag, u32::from_be_bytes(*rest.first_chunk()?) as usize)))
        .ok_or_else(|| Refusal::of(RefusalKind::Malformed, "request has no message"))?;
    match (bytes.len() - PREFIX).cmp(&length) {
        std::cmp::Ordering::Less => return Err(Refusal::of(RefusalKind::Malformed, "message ends before its length")),
        std::cmp::Ordering::Greater => {
            return Err(Refusal::of(RefusalKind::Malformed, "unary request has more than one message"));
        }
        std::cmp::Ordering::Equal => {}
    }
    let encoding = match (flag, encoding) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Identity) => {
            return Err(Refusal::of(RefusalKind::Framing, "message is flagged as compressed without grpc-encoding"));
        }
        (_, encoding) => encoding,
    };
    let message = Admitted { bytes: bytes.slice(PREFIX..), permits };
    ingest.admission.inflate(encoding, message)
}

/// Refuses by the first five bytes, before the rest is read.
fn check_prefix(so_far: &[u8], limit: usize) -> Result<usize, Refusal> {
    let Some(([flag, length @ ..], _)) = so_far.split_first_chunk::<PREFIX>() else { return Ok(0) };
    if *flag > 1 {
        return Err(Refusal::of(RefusalKind::Framing, format!("message flag {flag} is neither 0 nor 1")));
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > limit { Err(too_large(length, limit)) } else { Ok(PREFIX + length) }
}

/// `TimeoutValue TimeoutUnit`, the value at most eight digits.
fn is_timeout(value: &[u8]) -> bool {
    let Some((unit, digits)) = value.split_last() else { return false };
    b"HMSmun".contains(unit) && (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

fn success(signal: Signal, ack: &Ack) -> Response {
    let message = response::encode(signal, ack);
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn failure(refusal: Refusal) -> Response {
    let code = match refusal.kind {
        RefusalKind::Malformed => Code::InvalidArgument,
        RefusalKind::TooLarge => Code::ResourceExhausted,
        RefusalKind::Deadline => Code::DeadlineExceeded,
        RefusalKind::Unavailable => Code::Unavailable,
        RefusalKind::Encoding => Code::Unimplemented,
        RefusalKind::Framing => Code::Internal,
    };
    let status = status(code, &refusal);
    let mut response = status.into_http::<Body>();
    if refusal.kind == RefusalKind::Encoding {
        response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static(Encoding::ACCEPTED));
    }
    response
}

/// `google.rpc` details: when to come again, or which field is bad.
pub(super) fn status(code: Code, refusal: &Refusal) -> Status {
    let mut details = ErrorDetails::new();
    if let Some(after) = refusal.retry_after {
        details.set_retry_info(Some(after));
    }
    if refusal.kind == RefusalKind::Malformed {
        let (field, what) = refusal.message.split_once(": ").unwrap_or(("body", &refusal.message));
        details.add_bad_request_violation(field, what);
    }
    Status::with_error_details(code, &refusal.message, details)
}

/// The same as a `google.rpc.Status` message, for OTLP/HTTP.
pub(super) fn status_message(code: Code, refusal: &Refusal) -> Vec<u8> {
    let status = status(code, refusal);
    // Details are a whole `google.rpc.Status` already; without any, one is made.
    if status.details().is_empty() {
        let bare = tonic_types::Status { code: code as i32, message: refusal.message.clone(), details: Vec::new() };
        return bare.encode_to_vec();
    }
    status.details().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        for good in ["1S", "99999999n"] {
            assert!(is_timeout(good.as_bytes()), "{good}");
        }
        for bad in ["", "S", "10", "1x", "999999999S", "-1S"] {
            assert!(!is_timeout(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_by_its_prefix() {
        let refusal = check_prefix(&[0, 0xff, 0xff, 0xff, 0xff], 64).expect_err("too large");
        assert_eq!((refusal.kind, refusal.retry_after), (RefusalKind::TooLarge, None));
        assert!(check_prefix(&[0, 0, 0], 64).is_ok());
        assert_eq!(check_prefix(&[7, 0, 0, 0, 1], 64).map_err(|r| r.kind), Err(RefusalKind::Framing));
    }
}
