//! `/api/alerts`: alerts that are open, were open, and one with all that is known of it.

#![expect(unused_qualifications, reason = "what utoipa makes of IntoParams qualifies its types")]

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Body;
use super::deliveries::DeliveryView;
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::alerting::{Alerting, Chart};
use crate::model::{Alert, Severity, Transition};
use crate::storage::ActiveFilter;

/// Furthest back that history goes, in hours.
const HOURS_MAX: f64 = 9_600.0;
/// Most alerts in one page of history.
const PAGE_MAX: i64 = 1_000;
/// Alerts in one page when nobody says.
const PAGE: i64 = 200;

/// Which open alerts.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct ActiveQuery {
    severity: Option<Severity>,
    rule_id: Option<String>,
    /// pending or firing.
    state: Option<String>,
}

/// Alerts that are pending or firing: the worst first, then the oldest.
#[utoipa::path(get, path = "/api/alerts/active", operation_id = "listActiveAlerts", tag = "alerts", params(ActiveQuery), responses((status = 200, body = Vec<Alert>)))]
pub(super) async fn active(
    State(alerting): State<Arc<Alerting>>,
    Query(query): Query<ActiveQuery>,
) -> Result<Response, Problem> {
    if let Some(state) = query.state.as_deref().filter(|state| !matches!(*state, "pending" | "firing")) {
        return Err(Problem::parameter("state", format!("state must be pending or firing, not {state:?}")));
    }
    let filter = ActiveFilter {
        rule_id: query.rule_id,
        state: query.state,
        severity: query.severity.map(|severity| severity.as_str().to_owned()),
    };
    Ok(typed(&alerting.active_alerts(&filter).await?))
}

/// Which alerts of the past.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// 24 by default.
    hours: Option<String>,
    limit: Option<i64>,
    /// One that an answer's `Link` gave.
    cursor: Option<i64>,
}

/// Alerts that fired and were open in the range, newest first.
#[utoipa::path(get, path = "/api/alerts/history", operation_id = "listPastAlerts", tag = "alerts", params(HistoryQuery), responses((status = 200, body = Vec<Alert>)))]
pub(super) async fn history(
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
    let mut response = typed(&alerts);
    if let Some(last) = alerts.last().filter(|_| alerts.len() as i64 == limit) {
        let next = format!("</api/alerts/history?hours={hours}&limit={limit}&cursor={}>; rel=\"next\"", last.id);
        if let Ok(next) = HeaderValue::from_str(&next) {
            response.headers_mut().insert(header::LINK, next);
        }
    }
    Ok(response)
}

/// The value around an alert.
#[derive(Serialize, ToSchema)]
struct ChartView {
    start: Option<DateTime<Utc>>,
    /// Seconds between two values.
    step: f64,
    values: Vec<Option<f64>>,
}

impl From<Chart> for ChartView {
    fn from(chart: Chart) -> Self {
        let (start, step) = (DateTime::from_timestamp_millis(chart.start_ms), chart.step_ms as f64 / 1_000.0);
        Self { start, step, values: chart.values }
    }
}

/// An alert with all that is known of it.
#[derive(Serialize, ToSchema)]
struct AlertDetailView {
    #[serde(flatten)]
    alert: Alert,
    /// In order.
    transitions: Vec<Transition>,
    /// Newest first.
    #[schema(value_type = Vec<DeliveryView>)]
    deliveries: Vec<serde_json::Value>,
    chart: ChartView,
}

/// One alert with all that is known of it.
#[utoipa::path(
    get,
    path = "/api/alerts/{id}",
    operation_id = "getAlert",
    tag = "alerts",
    params(("id" = String, Path, description = "of the alert; or a fingerprint, for the newest with it")),
    responses((status = 200, body = AlertDetailView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let detail = alerting.alert(&id).await?;
    Ok(typed(&AlertDetailView {
        alert: detail.alert,
        transitions: detail.transitions,
        deliveries: detail.deliveries,
        chart: detail.chart.into(),
    }))
}

/// Who takes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Take {
    by: String,
    #[serde(default)]
    note: String,
}

/// A person takes an alert: no more repeats, no escalation.
#[utoipa::path(
    post,
    path = "/api/alerts/{id}/ack",
    operation_id = "acknowledgeAlert",
    tag = "alerts",
    params(("id" = String, Path)),
    request_body = Take,
    responses((status = 200, body = Alert), Refused)
)]
pub(super) async fn acknowledge(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Body(take): Body<Take>,
) -> Result<Response, Problem> {
    let alert = alerting.acknowledge(&id, &take.by, &take.note).await?;
    Ok(typed(&alert))
}

/// Gives an alert back.
#[utoipa::path(
    delete,
    path = "/api/alerts/{id}/ack",
    operation_id = "unacknowledgeAlert",
    tag = "alerts",
    params(("id" = String, Path)),
    responses((status = 200, body = Alert), Refused)
)]
pub(super) async fn unacknowledge(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let alert = alerting.unacknowledge(&id).await?;
    Ok(typed(&alert))
}
