//! Rules and alerts as Prometheus tells them.
//!
//! Source: Prometheus documentation, "HTTP API", "Rules" and "Alerts". All rules are of one group; a severity is a label.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::text;
use super::typed as answer;
use crate::alerting::{Alerting, AlertingError, RuleStatus};
use crate::model::{Alert, AlertState, Rule};
use crate::storage::ActiveFilter;

/// The only group, and the file that it is said to be of.
const GROUP: &str = "fastbreak";

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(alerting: &Arc<Alerting>) -> Router<S> {
    Router::new()
        .route("/prometheus/api/v1/rules", get(rules))
        .route("/prometheus/api/v1/alerts", get(alerts))
        .with_state(Arc::clone(alerting))
}

fn failure(error: &AlertingError) -> Response {
    let body = json!({ "status": "error", "errorType": "unavailable", "error": error.to_string() });
    (StatusCode::SERVICE_UNAVAILABLE, answer(&body)).into_response()
}

fn open() -> ActiveFilter {
    ActiveFilter { rule_id: None, state: None, severity: None }
}

fn alert(alert: &Alert) -> Value {
    json!({
        "labels": alert.matched_labels(),
        "annotations": alert.annotations,
        "state": if alert.state == AlertState::Firing { "firing" } else { "pending" },
        "activeAt": alert.pending_since,
        "value": text(alert.value.unwrap_or(f64::NAN)),
    })
}

async fn alerts(State(alerting): State<Arc<Alerting>>) -> Response {
    match alerting.active_alerts(&open()).await {
        Ok(alerts) => {
            let data = json!({ "alerts": alerts.iter().map(alert).collect::<Vec<_>>() });
            answer(&json!({ "status": "success", "data": data }))
        }
        Err(error) => failure(&error),
    }
}

/// Which rules.
#[derive(Deserialize)]
struct RulesQuery {
    #[serde(rename = "type")]
    kind: Option<String>,
    exclude_alerts: Option<String>,
}

/// The condition with its number put in.
fn query_of(rule: &Rule) -> String {
    let number = rule.threshold.map(text).unwrap_or_default();
    match Regex::new(r"\bthreshold\b") {
        Ok(name) if rule.threshold.is_some() => name.replace_all(&rule.condition, number.as_str()).into_owned(),
        _ => rule.condition.clone(),
    }
}

fn rule_view(status: &RuleStatus, alerts: &[&Alert]) -> Value {
    let rule = &status.stored.rule;
    let state = match (status.firing, status.pending) {
        (1.., _) => "firing",
        (_, 1..) => "pending",
        _ => "inactive",
    };
    let mut labels: BTreeMap<String, String> = rule.labels.clone();
    labels.entry("severity".to_owned()).or_insert_with(|| rule.severity.as_str().to_owned());
    json!({
        "type": "alerting",
        "name": rule.name,
        "query": query_of(rule),
        "duration": rule.hold_for.millis() as f64 / 1000.0,
        "keepFiringFor": rule.keep_firing_for.millis() as f64 / 1000.0,
        "labels": labels,
        "annotations": rule.annotations,
        "state": state,
        "health": match status.health.as_str() { "ok" | "no_data" => "ok", "error" => "err", _ => "unknown" },
        "lastError": status.error.clone().unwrap_or_default(),
        "lastEvaluation": status.evaluated_at,
        "evaluationTime": status.duration_seconds,
        "alerts": alerts.iter().map(|one| alert(one)).collect::<Vec<_>>(),
    })
}

async fn rules(State(alerting): State<Arc<Alerting>>, Query(query): Query<RulesQuery>) -> Response {
    let with_alerts = query.exclude_alerts.as_deref() != Some("true");
    let found = async {
        let rules = alerting.rules().await?;
        let alerts = if with_alerts { alerting.active_alerts(&open()).await? } else { Vec::new() };
        Ok::<_, AlertingError>((rules, alerts))
    };
    let (rules, alerts) = match found.await {
        Ok(found) => found,
        Err(error) => return failure(&error),
    };
    // There are no recording rules.
    let wanted = rules.iter().filter(|status| status.stored.rule.enabled && query.kind.as_deref() != Some("record"));
    let of_rule = |status: &RuleStatus| -> Vec<&Alert> {
        alerts.iter().filter(|alert| alert.rule_id == status.stored.rule.id).collect()
    };
    let views: Vec<Value> = wanted.map(|status| rule_view(status, &of_rule(status))).collect();
    let interval = rules.iter().filter_map(|status| status.stored.rule.evaluation_interval).min();
    let group = json!({
        "name": GROUP,
        "file": GROUP,
        "interval": interval.map_or(10.0, |interval| interval.millis() as f64 / 1000.0),
        "limit": 0,
        "rules": views,
        "lastEvaluation": rules.iter().filter_map(|status| status.evaluated_at).max(),
        "evaluationTime": rules.iter().map(|status| status.duration_seconds).sum::<f64>(),
    });
    answer(&json!({ "status": "success", "data": { "groups": [group] } }))
}
