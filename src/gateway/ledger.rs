//! Who sends what, and what became of it: received = accepted + rejected by reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::State;
use crate::ingest::{Offender, Service, Signal};
use crate::live::Items;

/// What last hit a cap.
#[derive(Serialize, ToSchema)]
struct OverCapView {
    metric: String,
    /// Its attribute with the most values, as far as the refused series tells.
    attribute: Option<String>,
}

/// A service, and what this process had of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServiceView {
    name: String,
    series: u32,
    /// Data points and spans taken.
    accepted: u64,
    /// Data points and spans refused.
    rejected: u64,
    /// Data points folded into overflow series.
    folded: u64,
    last_seen: Option<DateTime<Utc>>,
    /// What last hit a cap.
    over_cap: Option<OverCapView>,
}

impl From<&Offender> for OverCapView {
    fn from(of: &Offender) -> Self {
        Self { metric: of.metric.to_string(), attribute: of.attribute.as_deref().map(str::to_owned) }
    }
}

/// The services that have series.
#[derive(Serialize, ToSchema)]
struct ServicesView {
    services: Vec<ServiceView>,
}

/// What became of a signal's data points or spans.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SignalView {
    received: u64,
    accepted: u64,
    rejected: u64,
    #[schema(value_type = BTreeMap<String, u64>)]
    rejected_by_reason: BTreeMap<&'static str, u64>,
    duplicates: u64,
}

/// An export that was refused, whole or in part, and what its sender was told.
#[derive(Serialize, ToSchema)]
struct RefusedView {
    at: DateTime<Utc>,
    signal: &'static str,
    reason: &'static str,
    message: String,
}

/// Since this process started.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LedgerView {
    since: DateTime<Utc>,
    #[schema(value_type = BTreeMap<String, SignalView>)]
    signals: BTreeMap<&'static str, SignalView>,
    /// The last refusals, newest first.
    recently_refused: Vec<RefusedView>,
}

fn service_view(service: &Service) -> ServiceView {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    ServiceView {
        name: service.name.to_string(),
        series: service.series.load(Ordering::Relaxed),
        accepted: count(&service.accepted),
        rejected: count(&service.rejected),
        folded: count(&service.folded),
        last_seen: DateTime::from_timestamp_millis(service.last_seen.load(Ordering::Relaxed)),
        over_cap: service.offender.lock().as_ref().map(OverCapView::from),
    }
}

fn service_views(state: &State) -> Vec<ServiceView> {
    let mut services: Vec<ServiceView> = state.ingest.services().iter().map(|service| service_view(service)).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

fn signal_views(state: &State) -> BTreeMap<&'static str, SignalView> {
    let view = |signal: Signal| {
        let (accepted, by_reason, duplicates) = state.ingest.metrics.ledger(signal);
        let rejected = by_reason.iter().map(|(_, n)| n).sum();
        let rejected_by_reason = by_reason.into_iter().collect();
        let view = SignalView { received: accepted + rejected, accepted, rejected, rejected_by_reason, duplicates };
        (signal.as_str(), view)
    };
    [Signal::Metrics, Signal::Traces].map(view).into()
}

fn refused_views(state: &State) -> Vec<RefusedView> {
    let refused = state.ingest.metrics.recently_refused().into_iter().rev();
    refused.map(|r| RefusedView { at: r.at, signal: r.signal.as_str(), reason: r.reason, message: r.message }).collect()
}

/// Every service that has series, and what this process had of it.
#[utoipa::path(get, path = "/api/services", operation_id = "listServices", tag = "services", responses((status = 200, body = ServicesView)))]
pub(super) async fn services(extract::State(state): extract::State<Arc<State>>) -> Response {
    super::typed(&ServicesView { services: service_views(&state) })
}

/// What was received since this process started, and what became of it.
#[utoipa::path(get, path = "/api/ingest/ledger", operation_id = "getIngestLedger", tag = "ingest", responses((status = 200, body = LedgerView)))]
pub(super) async fn ledger(extract::State(state): extract::State<Arc<State>>) -> Response {
    let (signals, recently_refused) = (signal_views(&state), refused_views(&state));
    super::typed(&LedgerView { since: state.facts.started, signals, recently_refused })
}

/// The same for those who watch: `service:<name>`, `signal:<name>`, `refused`.
pub(super) fn items(state: &State) -> Items {
    let services = service_views(state).into_iter().map(|view| (format!("service:{}", view.name), json!(view)));
    let signals = signal_views(state).into_iter().map(|(name, view)| (format!("signal:{name}"), json!(view)));
    let refused = json!(refused_views(state));
    services.chain(signals).chain([("refused".to_owned(), refused)]).collect()
}
