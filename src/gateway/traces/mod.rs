//! Kept traces over HTTP: a search, one trace in columns, one span whole, the download as OTLP/JSON.

mod otlp;
mod search;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;

use super::problem::Problem;
use super::{json, json_text};
use crate::model::{SpanId, TraceId};
use crate::traces::{SpanDetail, TraceError, Traces};

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(traces: &Arc<Traces>) -> Router<S> {
    Router::new()
        .route("/api/traces", get(search::list))
        .route("/api/traces/{id}", get(one))
        .route("/api/traces/{id}/otlp", get(download))
        .with_state(Arc::clone(traces))
}

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

/// Query of `GET /api/traces/:traceId`.
#[derive(Deserialize)]
struct One {
    span: Option<String>,
}

/// `GET /api/traces/:traceId`: the spans in columns, or with `span` one of them whole.
async fn one(
    State(traces): State<Arc<Traces>>,
    Path(id): Path<String>,
    Query(query): Query<One>,
) -> Result<Response, Problem> {
    let id = trace_id(&id)?;
    if let Some(text) = query.span {
        let span: SpanId = text.parse().map_err(|error| Problem::parameter("span", format!("span {error}")))?;
        let span = traces.span(id, span).await?;
        return Ok(json(&view::span(&span)));
    }
    let trace = traces.trace(id, SpanDetail::Outline).await?;
    written(move || view::trace(&trace)).await
}

/// A large trace takes its time to be written: not on a thread that others wait for.
async fn written(value: impl FnOnce() -> Value + Send + 'static) -> Result<Response, Problem> {
    let text = tokio::task::spawn_blocking(move || value().to_string()).await.map_err(TraceError::from)?;
    Ok(json_text(text))
}

/// `GET /api/traces/:traceId/otlp`: the whole trace as an OTLP/JSON export.
async fn download(State(traces): State<Arc<Traces>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = trace_id(&id)?;
    let trace = traces.trace(id, SpanDetail::Whole).await?;
    let mut response = written(move || otlp::export(id, &trace.spans)).await?;
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"trace-{id}.json\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
