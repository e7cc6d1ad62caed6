//! OTLP/HTTP: protobuf and JSON on `/v1/metrics` and `/v1/traces`.
//!
//! Source: OTLP 1.11 "OTLP/HTTP". Errors are a `google.rpc.Status` in the request's type; only 429, 502, 503 and 504 are
//! retried by senders.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tonic::Code;

use super::body::{Admitted, Encoding};
use super::export::Signal;
use super::grpc::status_message;
use super::refusal::{Refusal, RefusalKind};
use super::{Ingest, json, response};

/// The routes.
pub fn router(ingest: Arc<Ingest>) -> Router {
    let unserved = |what: &'static str| {
        any(async move || {
            (StatusCode::NOT_FOUND, format!("FastBreak takes metrics and traces; {what} have no store here\n"))
        })
    };
    Router::new()
        .route("/v1/metrics", post(metrics))
        .route("/v1/traces", post(traces))
        .route("/v1/logs", unserved("logs"))
        .route("/v1development/profiles", unserved("profiles"))
        .fallback(|| async { (StatusCode::NOT_FOUND, "OTLP/HTTP is served on /v1/metrics and /v1/traces\n") })
        .with_state(ingest)
}

/// Type of request and response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match value.split(';').next()?.trim() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

async fn metrics(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    export(&ingest, Signal::Metrics, request).await
}

async fn traces(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    export(&ingest, Signal::Traces, request).await
}

async fn export(ingest: &Ingest, signal: Signal, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let Some(format) = Format::of(&parts.headers) else {
        let text = "Content-Type must be application/x-protobuf or application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    };
    let transport = if format == Format::Json { "http/json" } else { "http/protobuf" };
    let answer = match take(ingest, signal, format, &parts.headers, &mut body).await {
        Ok(admitted) => ingest.export(signal, transport, admitted).await,
        Err(refusal) => {
            if !parts.headers.contains_key(header::EXPECT) {
                tokio::spawn(ingest.admission.clone().linger(body));
            }
            Err(refusal)
        }
    };
    match answer {
        Ok(ack) => {
            let body = match format {
                Format::Protobuf => response::encode(signal, &ack),
                Format::Json => response::encode_json(signal, &ack),
            };
            ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
        }
        Err(refusal) => {
            ingest.metrics.refused_because(signal, &refusal);
            failure(format, &refusal)
        }
    }
}

async fn take(
    ingest: &Ingest,
    signal: Signal,
    format: Format,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Admitted, Refusal> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    let encoding = Encoding::parse(encoding)?;
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if let Some(told) = told.filter(|told| *told > ingest.admission.limits.receive_bytes) {
        return Err(super::body::too_large(told, ingest.admission.limits.receive_bytes));
    }
    let body = ingest.admission.read(body, 0, |_| Ok(told.unwrap_or_default())).await?;
    let body = ingest.admission.inflate(encoding, body)?;
    if format == Format::Protobuf {
        return Ok(body);
    }
    ingest.admission.transcode(body, |json, limit| match signal {
        Signal::Metrics => json::metrics_to_wire(json, limit),
        Signal::Traces => json::traces_to_wire(json, limit),
    })
}

fn failure(format: Format, refusal: &Refusal) -> Response {
    let (http, code) = match refusal.kind {
        RefusalKind::Malformed | RefusalKind::Framing => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
        RefusalKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
        RefusalKind::Deadline => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
        RefusalKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        RefusalKind::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented),
    };
    let body = match format {
        Format::Protobuf => status_message(code, refusal),
        Format::Json => serde_json::json!({ "code": code as i32, "message": refusal.message }).to_string().into_bytes(),
    };
    let mut response = (http, [(header::CONTENT_TYPE, format.content_type())], body).into_response();
    if let Some(after) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}
