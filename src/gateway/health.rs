//! Probes, our own metrics, and what there is to know of the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http::{StatusCode, header};
use serde_json::json;

use super::{State, json};

/// How long the database may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

async fn database_is_up(state: &State) -> bool {
    matches!(tokio::time::timeout(PROBE_TIMEOUT, state.streams.storage().ping()).await, Ok(Ok(())))
}

fn redis_state(state: &State) -> &'static str {
    match state.streams.redis_is_up() {
        None => "off",
        Some(true) => "up",
        Some(false) => "down",
    }
}

/// `GET /health`.
pub(super) async fn health(extract::State(state): extract::State<Arc<State>>) -> Response {
    let database = database_is_up(&state).await;
    let redis = redis_state(&state);
    let body = json!({
        "status": if database { "ok" } else { "degraded" },
        "version": env!("CARGO_PKG_VERSION"),
        "components": { "database": if database { "up" } else { "down" }, "redis": redis, "ingest": "up" },
    });
    let status = if database { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json(&body)).into_response()
}

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: exports would be taken.
pub(super) async fn ready(extract::State(state): extract::State<Arc<State>>) -> Response {
    let ready = state.ready.load(Ordering::Relaxed) && database_is_up(&state).await;
    if ready { "ready\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response() }
}

/// `GET /metrics`: our own, in the `OpenMetrics` text format.
pub(super) async fn metrics(extract::State(state): extract::State<Arc<State>>) -> Response {
    state.streams.sample_gauges();
    state.ingest.sample_gauges();
    state.engine.sample_gauges();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.telemetry.text()).into_response()
}

/// `GET /api/system/info`.
pub(super) async fn system_info(extract::State(state): extract::State<Arc<State>>) -> Response {
    let registry = state.streams.registry();
    let (resources, identities) = state.ingest.memo_size();
    let (used, most) = state.streams.storage().pool_usage();
    let facts = &state.facts;
    json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "startedAt": facts.started,
        "uptimeSeconds": (Utc::now() - facts.started).num_seconds(),
        "addresses": {
            "http": facts.http.to_string(),
            "grpc": facts.grpc.to_string(),
            "otlpHttp": facts.otlp_http.to_string(),
        },
        "database": {
            "private": facts.private_postgres,
            "version": state.streams.storage().server_version().await.ok(),
            "connectionsUsed": used,
            "connectionsMax": most,
        },
        "redis": redis_state(&state),
        "windowSeconds": facts.window.seconds(),
        "metrics": registry.metrics().len(),
        "series": registry.series_count(),
        "labelTexts": registry.interner.len(),
        "resources": resources,
        "identities": identities,
        "headEntries": state.streams.list().iter().map(|stream| stream.head.entries()).sum::<usize>(),
        "streams": state.streams.list().iter().map(|s| json!({"id": s.id(), "appliedSeq": s.head.applied_seq()})).collect::<Vec<_>>(),
    }))
}
