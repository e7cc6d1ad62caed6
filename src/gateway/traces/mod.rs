//! Kept traces over HTTP: a search, one trace in columns, one span whole, the download as OTLP/JSON.

mod otlp;
pub(super) mod search;
mod view;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::problem::Problem;
use super::{json_text, typed};
use crate::model::{SpanId, TraceId};
use crate::traces::{SpanDetail, TraceError, Traces};

impl From<TraceError> for Problem {
    fn from(error: TraceError) -> Self {
        let code = error.code();
        if code.http().is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, "traces not answered");
        }
        match &error {
            TraceError::Invalid { field, .. } => Self::parameter(field, error.to_string()),
            _ => Self::of(code.http(), code.as_str(), error.to_string()),
        }
    }
}

fn trace_id(text: &str) -> Result<TraceId, Problem> {
    text.parse().map_err(|error| Problem::parameter("traceId", format!("traceId {error}")))
}

/// A trace with its spans in columns.
#[utoipa::path(
    get,
    path = "/api/traces/{id}",
    operation_id = "getTrace",
    tag = "traces",
    params(("id" = String, Path, description = "the trace's id, 32 hexadecimal digits")),
    responses((status = 200, body = view::TraceView<'_>), (status = 404, description = "no such trace is kept"))
)]
pub(super) async fn one(State(traces): State<Arc<Traces>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let trace = traces.trace(trace_id(&id)?, SpanDetail::Outline).await?;
    written(move || serde_json::to_string(&view::trace(&trace))).await
}

/// One span with all that it carries.
#[utoipa::path(
    get,
    path = "/api/traces/{id}/spans/{span}",
    operation_id = "getSpan",
    tag = "traces",
    params(
        ("id" = String, Path, description = "the trace's id, 32 hexadecimal digits"),
        ("span" = String, Path, description = "the span's id, 16 hexadecimal digits")
    ),
    responses((status = 200, body = view::SpanView<'_>), (status = 404, description = "no such span is kept"))
)]
pub(super) async fn span(
    State(traces): State<Arc<Traces>>,
    Path((id, span)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = trace_id(&id)?;
    let span: SpanId = span.parse().map_err(|error| Problem::parameter("span", format!("span {error}")))?;
    let span = traces.span(id, span).await?;
    Ok(typed(&view::span(&span)))
}

/// A large trace takes its time to be written: not on a thread that others wait for.
async fn written(write: impl FnOnce() -> serde_json::Result<String> + Send + 'static) -> Result<Response, Problem> {
    let text = tokio::task::spawn_blocking(write).await.map_err(TraceError::from)?;
    let internal =
        |error: serde_json::Error| Problem::of(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string());
    Ok(json_text(text.map_err(internal)?))
}

/// A whole trace as an OTLP/JSON export.
#[utoipa::path(
    get,
    path = "/api/traces/{id}/otlp",
    operation_id = "downloadTrace",
    tag = "traces",
    params(("id" = String, Path, description = "the trace's id, 32 hexadecimal digits")),
    responses((status = 200, body = serde_json::Value), (status = 404, description = "no such trace is kept"))
)]
pub(super) async fn download(State(traces): State<Arc<Traces>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = trace_id(&id)?;
    let trace = traces.trace(id, SpanDetail::Whole).await?;
    let mut response = written(move || Ok(otlp::export(id, &trace.spans).to_string())).await?;
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"trace-{id}.json\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
