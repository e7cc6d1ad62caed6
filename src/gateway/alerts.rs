//! `/api/alerts`: alerts that are open, were open, and one with all that is known of it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::DateTime;
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::json as answer;
use super::problem::Problem;
use crate::alerting::{AlertDetail, Alerting};
use crate::model::{Alert, Severity};
use crate::storage::ActiveFilter;

/// Furthest back that history goes, in hours.
const HOURS_MAX: f64 = 9_600.0;
/// Most alerts in one page of history.
const PAGE_MAX: i64 = 1_000;
/// Alerts in one page when nobody says.
const PAGE: i64 = 200;

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(alerting: &Arc<Alerting>) -> Router<S> {
    Router::new()
        .route("/api/alerts/active", get(active))
        .route("/api/alerts/history", get(history))
        .route("/api/alerts/{id}", get(one))
        .route("/api/alerts/{id}/ack", post(acknowledge).delete(unacknowledge))
        .with_state(Arc::clone(alerting))
}

fn view(alerts: &[Alert]) -> Response {
    answer(&serde_json::to_value(alerts).unwrap_or_default())
}

/// Which open alerts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActiveQuery {
    severity: Option<Severity>,
    rule_id: Option<String>,
    state: Option<String>,
}

async fn active(State(alerting): State<Arc<Alerting>>, Query(query): Query<ActiveQuery>) -> Result<Response, Problem> {
    if let Some(state) = query.state.as_deref().filter(|state| !matches!(*state, "pending" | "firing")) {
        return Err(Problem::parameter("state", format!("state must be pending or firing, not {state:?}")));
    }
    let filter = ActiveFilter {
        rule_id: query.rule_id,
        state: query.state,
        severity: query.severity.map(|severity| severity.as_str().to_owned()),
    };
    Ok(view(&alerting.active_alerts(&filter).await?))
}

/// Which alerts of the past.
#[derive(Deserialize)]
struct HistoryQuery {
    hours: Option<String>,
    limit: Option<i64>,
    cursor: Option<i64>,
}

async fn history(
    State(alerting): State<Arc<Alerting>>,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Problem> {
    let text = query.hours.as_deref().unwrap_or("24");
    let hours = text.parse::<f64>().ok().filter(|hours| *hours > 0.0 && *hours <= HOURS_MAX).ok_or_else(|| {
        Problem::parameter("hours", format!("hours must be more than 0 and at most {HOURS_MAX}, not {text:?}"))
    })?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::parameter("limit", format!("limit must be 1 to {PAGE_MAX}, not {limit}")));
    }
    let alerts = alerting.alert_history(hours, query.cursor, limit).await?;
    let mut response = view(&alerts);
    if let Some(last) = alerts.last().filter(|_| alerts.len() as i64 == limit) {
        let next = format!("</api/alerts/history?hours={hours}&limit={limit}&cursor={}>; rel=\"next\"", last.id);
        if let Ok(next) = HeaderValue::from_str(&next) {
            response.headers_mut().insert(header::LINK, next);
        }
    }
    Ok(response)
}

fn detail(detail: &AlertDetail) -> Value {
    let mut view = serde_json::to_value(&detail.alert).unwrap_or_default();
    let more = json!({
        "transitions": detail.transitions,
        "deliveries": detail.deliveries,
        "chart": {
            "start": DateTime::from_timestamp_millis(detail.chart.start_ms),
            "step": detail.chart.step_ms as f64 / 1_000.0,
            "values": detail.chart.values,
        },
    });
    if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
        view.extend(more);
    }
    view
}

async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(&detail(&alerting.alert(&id).await?)))
}

/// Who takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Take {
    by: String,
    #[serde(default)]
    note: String,
}

async fn acknowledge(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Body(take): Body<Take>,
) -> Result<Response, Problem> {
    let alert = alerting.acknowledge(&id, &take.by, &take.note).await?;
    Ok(answer(&serde_json::to_value(&alert).unwrap_or_default()))
}

async fn unacknowledge(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let alert = alerting.unacknowledge(&id).await?;
    Ok(answer(&serde_json::to_value(&alert).unwrap_or_default()))
}
