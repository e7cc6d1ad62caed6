//! Probes, our own metrics, and what there is to know of the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{State, typed};
use crate::telemetry::is_alive;

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

/// Whether the server and what it needs are up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HealthView {
    /// ok or degraded.
    status: &'static str,
    version: &'static str,
    components: ComponentsView,
    /// Our own Postgres and Redis: up or down.
    #[schema(value_type = BTreeMap<String, String>)]
    private_servers: BTreeMap<&'static str, &'static str>,
    streams: usize,
    checkpoint_age_seconds: Option<i64>,
}

/// Each part: up, down or off; ingest: up or refusing.
#[derive(Serialize, ToSchema)]
struct ComponentsView {
    database: &'static str,
    redis: &'static str,
    ingest: &'static str,
}

/// Whether the server and what it needs are up; 503 when the database is not, or exports are refused.
#[utoipa::path(get, path = "/health", operation_id = "getHealth", tag = "system", responses((status = 200, body = HealthView), (status = 503, body = HealthView)))]
pub(super) async fn health(extract::State(state): extract::State<Arc<State>>) -> Response {
    let word = |up: bool| if up { "up" } else { "down" };
    let database = database_is_up(&state).await;
    let refusing = state.ingest.is_refusing();
    let well = database && !refusing;
    let servers = state.facts.private_servers.iter();
    let checkpoint = state.streams.metrics.checkpoint_timestamp_seconds.get();
    let body = HealthView {
        status: if well { "ok" } else { "degraded" },
        version: env!("CARGO_PKG_VERSION"),
        components: ComponentsView {
            database: word(database),
            redis: redis_state(&state),
            ingest: if refusing { "refusing" } else { "up" },
        },
        private_servers: servers.map(|(name, pid)| (*name, word(is_alive(*pid)))).collect(),
        streams: state.streams.list().len(),
        checkpoint_age_seconds: (checkpoint > 0).then(|| Utc::now().timestamp() - checkpoint),
    };
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, typed(&body)).into_response()
}

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: exports would be taken.
pub(super) async fn ready(extract::State(state): extract::State<Arc<State>>) -> Response {
    let is_open = state.ready.load(Ordering::Relaxed) && !state.ingest.is_refusing();
    let ready = is_open && database_is_up(&state).await;
    if ready { "ready\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response() }
}

/// `GET /metrics`: our own, in the `OpenMetrics` text format.
pub(super) async fn metrics(extract::State(state): extract::State<Arc<State>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.telemetry.text()).into_response()
}

/// Where the server listens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AddressesView {
    http: String,
    grpc: String,
    otlp_http: String,
}

/// The server's Postgres.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DatabaseView {
    /// Started by us.
    private: bool,
    version: Option<String>,
    connections_used: usize,
    connections_max: usize,
}

/// One replica's journal, as far as this process has applied it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StreamView {
    id: i64,
    applied_seq: i64,
}

/// What there is to know of this process.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SystemView {
    version: &'static str,
    started_at: DateTime<Utc>,
    uptime_seconds: i64,
    addresses: AddressesView,
    database: DatabaseView,
    /// up, down or off.
    redis: &'static str,
    window_seconds: u32,
    metrics: usize,
    series: usize,
    label_texts: usize,
    resources: usize,
    identities: usize,
    head_entries: usize,
    streams: Vec<StreamView>,
}

/// What there is to know of this process.
#[utoipa::path(get, path = "/api/system/info", operation_id = "getSystemInfo", tag = "system", responses((status = 200, body = SystemView)))]
pub(super) async fn system_info(extract::State(state): extract::State<Arc<State>>) -> Response {
    let registry = state.streams.registry();
    let (resources, identities) = state.ingest.memo_size();
    let (connections_used, connections_max) = state.streams.storage().pool_usage();
    let (facts, streams) = (&state.facts, state.streams.list());
    typed(&SystemView {
        version: env!("CARGO_PKG_VERSION"),
        started_at: facts.started,
        uptime_seconds: (Utc::now() - facts.started).num_seconds(),
        addresses: AddressesView {
            http: facts.http.to_string(),
            grpc: facts.grpc.to_string(),
            otlp_http: facts.otlp_http.to_string(),
        },
        database: DatabaseView {
            private: facts.private_postgres,
            version: state.streams.storage().server_version().await.ok(),
            connections_used: connections_used as usize,
            connections_max: connections_max as usize,
        },
        redis: redis_state(&state),
        window_seconds: facts.window.seconds(),
        metrics: registry.metrics().len(),
        series: registry.series_count(),
        label_texts: registry.interner.len(),
        resources,
        identities,
        head_entries: streams.iter().map(|stream| stream.head.entries()).sum(),
        streams: streams.iter().map(|s| StreamView { id: s.id(), applied_seq: s.head.applied_seq() }).collect(),
    })
}
