//! The axum gateway: JSON API, probes, `/metrics`, `/ws`, and the embedded dashboard.
//!
//! Layer 7. One file a resource; a handler reads its query, asks the engine or ingest, and answers JSON in camelCase.
//! Errors are problem documents (RFC 9457). Nothing here evaluates or stores.

mod alerts;
mod assets;
mod backtest;
mod body;
mod catalog;
mod deliveries;
mod discovery;
mod exemplars;
mod fleet;
mod health;
mod indicators;
mod ledger;
mod live;
mod nul;
mod openapi;
mod overrides;
mod page;
mod policies;
mod problem;
mod prometheus_rules;
mod query;
mod receivers;
mod rollouts;
mod routing;
mod rules;
mod same_origin;
mod service_graph;
mod silences;
mod slos;
mod traces;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::alerting::Alerting;
use crate::ingest::Ingest;
use crate::model::Width;
use crate::notify::Notifier;
use crate::policy::Policies;
use crate::query::Engine;
use crate::rollup::Streams;
use crate::telemetry::Telemetry;
use crate::traces::Traces;
use live::Live;
use problem::Problem;

/// Largest body.
const BODY_BYTES_MAX: usize = 1 << 20;

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
    /// Where browsers find the dashboard when a proxy stands before it.
    pub public_url: Option<String>,
    /// When this process started.
    pub started: DateTime<Utc>,
}

/// What the gateway shows.
pub struct Shown {
    /// What is measured.
    pub streams: Arc<Streams>,
    /// What is sent.
    pub ingest: Arc<Ingest>,
    /// How it is read.
    pub engine: Arc<Engine>,
    /// What we tell of ourselves.
    pub telemetry: Arc<Telemetry>,
    /// Rules and alerts.
    pub alerting: Arc<Alerting>,
    /// Receivers and deliveries.
    pub notifier: Arc<Notifier>,
    /// Policies.
    pub policies: Arc<Policies>,
    /// Kept traces.
    pub traces: Arc<Traces>,
    /// The rest.
    pub facts: Facts,
}

/// What every handler may use.
pub(crate) struct State {
    shown: Shown,
    live: Live,
    ready: AtomicBool,
}

impl Deref for State {
    type Target = Shown;

    fn deref(&self) -> &Shown {
        &self.shown
    }
}

/// The gateway.
pub struct Gateway(Arc<State>);

impl Gateway {
    /// Not ready yet.
    #[must_use]
    pub fn new(shown: Shown) -> Self {
        let live = Live::new();
        shown.telemetry.register(|registry| live.register(registry));
        Self(Arc::new(State { shown, live, ready: AtomicBool::new(false) }))
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

    /// Keeps what is shown live up to date until cancelled.
    pub fn drive_live(&self, cancel: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        live::drive(Arc::clone(&self.0), cancel)
    }

    /// Ends every socket, so that a drain need not wait for them.
    pub fn close_live(&self) {
        self.0.live.close();
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.0.engine)
    }

    /// Policies.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.0.policies)
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(health::metrics))
            .route("/ws", get(live::upgrade))
            .merge(openapi::router(&self.0))
            .fallback(assets::fallback)
            .method_not_allowed_fallback(|| async {
                Problem::of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path takes other methods")
            })
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn(security_headers))
            .with_state(Arc::clone(&self.0))
    }
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

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

/// A view as JSON that is not to be kept.
fn typed(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => json_text(text),
        Err(error) => Problem::of(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()).into_response(),
    }
}

/// The same, already written.
fn json_text(text: String) -> Response {
    ([(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")], text).into_response()
}
