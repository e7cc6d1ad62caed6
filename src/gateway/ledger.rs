//! Who sends what, and what became of it: received = accepted + rejected by reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract;
use axum::response::Response;
use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::{State, json};
use crate::ingest::{Service, Signal};

fn view(service: &Service) -> Value {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "name": service.name,
        "series": service.series.load(Ordering::Relaxed),
        "accepted": count(&service.accepted),
        "rejected": count(&service.rejected),
        "folded": count(&service.folded),
        "lastSeen": DateTime::from_timestamp_millis(service.last_seen.load(Ordering::Relaxed)),
        "overCap": service.offender.lock().as_ref().map(|o| json!({ "metric": o.metric, "attribute": o.attribute })),
    })
}

/// `GET /api/services`: every service that has series, and what this process had of it.
pub(super) async fn services(extract::State(state): extract::State<Arc<State>>) -> Response {
    let mut services = state.ingest.services();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    json(&json!({ "services": services.iter().map(|service| view(service)).collect::<Vec<_>>() }))
}

/// `GET /api/ingest/ledger`: since this process started.
pub(super) async fn ledger(extract::State(state): extract::State<Arc<State>>) -> Response {
    let mut signals = Map::new();
    for signal in [Signal::Metrics, Signal::Traces] {
        let (accepted, rejected, duplicates) = state.ingest.metrics.ledger(signal);
        let by_reason: Map<String, Value> =
            rejected.iter().map(|(reason, n)| ((*reason).to_owned(), json!(n))).collect();
        let refused: u64 = rejected.iter().map(|(_, n)| n).sum();
        let ledger = json!({
            "received": accepted + refused,
            "accepted": accepted,
            "rejected": refused,
            "rejectedByReason": by_reason,
            "duplicates": duplicates,
        });
        signals.insert(signal.as_str().to_owned(), ledger);
    }
    json(&json!({ "since": state.facts.started, "signals": signals }))
}
