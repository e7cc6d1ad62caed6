//! `POST /api/alerts/rules/:id/backtest` and `GET /api/alerts/explain`: what would have been, and why it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{Body, read};
use super::json as answer;
use super::problem::Problem;
use super::rules::READ_ONLY;
use crate::alerting::{Alerting, Backtest, BacktestSummary};
use crate::model::Rule;

/// What is to be tried.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BacktestRequest {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// An edit; with `new` as the rule's id, the rule itself.
    rule: Option<Map<String, Value>>,
}

fn summary(summary: &BacktestSummary) -> Value {
    json!({
        "alerts": summary.alerts,
        "notifications": summary.notifications,
        "firingSeconds": summary.firing_seconds,
        "byReceiver": summary.by_receiver,
    })
}

fn view(result: &Backtest) -> Value {
    let transition = |one: &crate::alerting::ReplayedTransition| {
        let mut view = serde_json::to_value(&one.transition).unwrap_or_default();
        if let Some(view) = view.as_object_mut() {
            view.insert("fingerprint".to_owned(), json!(one.fingerprint));
            view.insert("labels".to_owned(), json!(one.labels));
        }
        view
    };
    let notification = |one: &crate::model::Notification| {
        let alerts: Vec<&str> = one.alerts.iter().map(|alert| alert.fingerprint.as_str()).collect();
        json!({
            "at": one.decided_at,
            "receiver": one.receiver,
            "reason": one.reason,
            "severity": one.severity(),
            "alerts": alerts,
        })
    };
    let series =
        |(labels, values): &(BTreeMap<String, String>, Vec<Option<f64>>)| json!({ "labels": labels, "values": values });
    let mut view = json!({
        "evaluations": result.evaluations,
        "transitions": result.transitions.iter().map(transition).collect::<Vec<_>>(),
        "alerts": result.alerts,
        "notifications": result.notifications.iter().map(notification).collect::<Vec<_>>(),
        "summary": summary(&result.summary),
        "series": {
            "start": DateTime::from_timestamp_millis(result.series.start_ms),
            "step": result.series.step_ms as f64 / 1_000.0,
            "values": result.series.values.iter().map(series).collect::<Vec<_>>(),
        },
        "warnings": result.warnings,
    });
    if let (Some(view), Some(live)) = (view.as_object_mut(), &result.live) {
        view.insert("live".to_owned(), summary(live));
    }
    view
}

/// Runs a rule or an edit of it over stored history.
pub(super) async fn backtest(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Body(request): Body<BacktestRequest>,
) -> Result<Response, Problem> {
    let edit = match request.rule {
        None => None,
        Some(mut rule) => {
            rule.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
            rule.entry("id").or_insert_with(|| json!(id));
            Some(read::<Rule>(Value::Object(rule))?)
        }
    };
    let result = alerting.backtest(&id, (request.from, request.to), edit).await?;
    Ok(answer(&view(&result)))
}

/// Explains what a rule did: `?ruleId=&at=&label.NAME=VALUE`.
pub(super) async fn explain(
    State(alerting): State<Arc<Alerting>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let mut labels = BTreeMap::new();
    let (mut rule_id, mut at) = (None, None);
    for (name, value) in query {
        match name.as_str() {
            "ruleId" => rule_id = Some(value),
            "at" => {
                let time = value.parse::<DateTime<Utc>>();
                at = Some(time.map_err(|_| Problem::parameter("at", format!("at must be RFC 3339, not {value:?}")))?);
            }
            other => match other.strip_prefix("label.") {
                Some(label) => drop(labels.insert(label.to_owned(), value)),
                None => {
                    let text = format!("{other:?} is not one of ruleId, at and label.NAME");
                    return Err(Problem::parameter(other, text));
                }
            },
        }
    }
    let rule_id = rule_id.ok_or_else(|| Problem::parameter("ruleId", "ruleId must be given"))?;
    let explanation = alerting.explain(&rule_id, at, &labels).await?;
    Ok(answer(&serde_json::to_value(&explanation).unwrap_or_default()))
}
