//! The axum gateway: JSON API, probes, `/metrics`, and the page at `/`.
//!
//! Layer 7. One file a resource; a handler reads its query, asks the engine or ingest, and answers JSON in camelCase.
//! Errors are problem documents (RFC 9457). Nothing here evaluates or stores.

mod alerts;
mod backtest;
mod body;
mod deliveries;
mod exemplars;
mod health;
mod indicators;
mod ledger;
mod page;
mod problem;
mod query;
mod receivers;
mod routing;
mod rules;
mod same_origin;
mod service_graph;
mod silences;
mod slos;
mod traces;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::alerting::Alerting;
use crate::ingest::Ingest;
use crate::model::Width;
use crate::notify::Notifier;
use crate::query::Engine;
use crate::rollup::Streams;
use crate::telemetry::Telemetry;
use crate::traces::Traces;
use problem::Problem;

/// What the gateway may tell of the server.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Dashboard and API.
    pub http: SocketAddr,
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// OTLP/HTTP.
    pub otlp_http: SocketAddr,
    /// Postgres is our own child.
    pub private_postgres: bool,
    /// Our own children, by name, and their process ids.
    pub private_servers: Vec<(&'static str, u32)>,
    /// Width of the windows.
    pub window: Width,
    /// When this process started.
    pub started: DateTime<Utc>,
}

/// What every handler may use.
pub(crate) struct State {
    pub(crate) streams: Arc<Streams>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) facts: Facts,
    ready: AtomicBool,
}

/// The gateway.
pub struct Gateway(Arc<State>);

impl Gateway {
    /// Not ready yet.
    #[must_use]
    pub fn new(
        streams: Arc<Streams>,
        ingest: Arc<Ingest>,
        engine: Arc<Engine>,
        telemetry: Arc<Telemetry>,
        facts: Facts,
    ) -> Self {
        Self(Arc::new(State { streams, ingest, engine, telemetry, facts, ready: AtomicBool::new(false) }))
    }

    /// What it may tell.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// What `/readyz` says.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// The routes; `notifier` has the receivers, `alerting` rules and alerts, `traces` the traces kept.
    pub fn router(&self, notifier: &Arc<Notifier>, alerting: &Arc<Alerting>, traces: &Arc<Traces>) -> Router {
        Router::new()
            .route("/", get(page::index))
            .route("/health", get(health::health))
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(health::metrics))
            .route("/api/metrics/current", get(indicators::current))
            .route("/api/metrics/history", get(indicators::history))
            .route("/api/services", get(ledger::services))
            .route("/api/service-graph", get(service_graph::graph))
            .route("/api/ingest/ledger", get(ledger::ledger))
            .route("/api/system/info", get(health::system_info))
            .route("/prometheus/api/v1/query", get(query::instant).post(query::instant_form))
            .route("/prometheus/api/v1/query_range", get(query::range).post(query::range_form))
            .merge(receivers::routes(notifier))
            .merge(deliveries::routes(notifier))
            .merge(alerts::routes(alerting))
            .merge(rules::routes(alerting))
            .merge(silences::routes(alerting))
            .merge(routing::routes(alerting))
            .merge(slos::routes(alerting))
            .merge(traces::routes(traces))
            .route("/prometheus/api/v1/query_exemplars", get(exemplars::get).post(exemplars::post))
            .fallback(|| async { Problem::not_found("there is nothing at this path") })
            .method_not_allowed_fallback(|| async {
                Problem::of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path takes other methods")
            })
            .layer(from_fn(security_headers))
            .with_state(Arc::clone(&self.0))
    }
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// JSON that is not to be kept.
fn json(value: &serde_json::Value) -> Response {
    json_text(value.to_string())
}

/// The same, written already.
fn json_text(text: String) -> Response {
    ([(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")], text).into_response()
}
