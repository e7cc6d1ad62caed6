//! `POST /api/alerts/rules/:id/backtest` and `GET /api/alerts/explain`: what would have been, and why it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::body::{Body, read};
use super::problem::{Problem, Refused};
use super::rules::READ_ONLY;
use super::typed;
use crate::alerting::{Alerting, Backtest, BacktestSummary, Explanation, ReplayedTransition};
use crate::model::{Alert, Notification, NotificationReason, Rule, Severity, Transition};

/// What is to be tried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BacktestRequest {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// An edit; with `new` as the rule's id, the rule itself.
    #[schema(value_type = Option<Rule>)]
    rule: Option<Map<String, Value>>,
}

/// A backtest in numbers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SummaryView {
    alerts: u64,
    notifications: u64,
    /// For how long anything fired, summed over alerts.
    firing_seconds: f64,
    /// Notifications by receiver.
    by_receiver: BTreeMap<String, u64>,
}

impl From<BacktestSummary> for SummaryView {
    fn from(of: BacktestSummary) -> Self {
        let BacktestSummary { alerts, notifications, firing_seconds, by_receiver } = of;
        Self { alerts, notifications, firing_seconds, by_receiver }
    }
}

/// A change of state that would have been.
#[derive(Serialize, ToSchema)]
struct ReplayedView {
    #[serde(flatten)]
    transition: Transition,
    fingerprint: String,
    labels: BTreeMap<String, String>,
}

impl From<ReplayedTransition> for ReplayedView {
    fn from(of: ReplayedTransition) -> Self {
        let labels = of.labels.into_iter().collect();
        Self { transition: of.transition, fingerprint: of.fingerprint, labels }
    }
}

/// A notification that would have been.
#[derive(Serialize, ToSchema)]
struct ToldView {
    at: DateTime<Utc>,
    receiver: String,
    reason: NotificationReason,
    severity: Severity,
    /// Fingerprints.
    alerts: Vec<String>,
}

impl From<Notification> for ToldView {
    fn from(of: Notification) -> Self {
        let severity = of.severity();
        let alerts = of.alerts.into_iter().map(|alert| alert.fingerprint).collect();
        Self { at: of.decided_at, receiver: of.receiver, reason: of.reason, severity, alerts }
    }
}

/// The values of one label set.
#[derive(Serialize, ToSchema)]
struct LabelledValues {
    labels: BTreeMap<String, String>,
    values: Vec<Option<f64>>,
}

/// Values at even steps.
#[derive(Serialize, ToSchema)]
struct SeriesView {
    start: Option<DateTime<Utc>>,
    /// Seconds between two values.
    step: f64,
    values: Vec<LabelledValues>,
}

/// What a rule would have done.
#[derive(Serialize, ToSchema)]
struct BacktestView {
    evaluations: u64,
    transitions: Vec<ReplayedView>,
    alerts: Vec<Alert>,
    notifications: Vec<ToldView>,
    summary: SummaryView,
    /// The same of the rule as it is stored, when an edit was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<SummaryView>,
    series: SeriesView,
    warnings: Vec<String>,
}

impl From<Backtest> for BacktestView {
    fn from(of: Backtest) -> Self {
        let values = of.series.values.into_iter();
        let values = values.map(|(labels, values)| LabelledValues { labels: labels.into_iter().collect(), values });
        Self {
            evaluations: of.evaluations,
            transitions: of.transitions.into_iter().map(ReplayedView::from).collect(),
            alerts: of.alerts,
            notifications: of.notifications.into_iter().map(ToldView::from).collect(),
            summary: of.summary.into(),
            live: of.live.map(SummaryView::from),
            series: SeriesView {
                start: DateTime::from_timestamp_millis(of.series.start_ms),
                step: of.series.step_ms as f64 / 1_000.0,
                values: values.collect(),
            },
            warnings: of.warnings,
        }
    }
}

/// Runs a rule or an edit of it over stored history.
#[utoipa::path(
    post,
    path = "/api/alerts/rules/{rule}/backtest",
    operation_id = "backtestRule",
    tag = "rules",
    params(("rule" = String, Path, description = "the rule's id; `new` for one that is not saved")),
    request_body = BacktestRequest,
    responses((status = 200, body = BacktestView), Refused)
)]
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
    Ok(typed(&BacktestView::from(result)))
}

/// Explains what a rule did.
#[utoipa::path(
    get,
    path = "/api/alerts/explain",
    operation_id = "explainAlert",
    tag = "alerts",
    params(
        ("ruleId" = String, Query),
        ("at" = Option<DateTime<Utc>>, Query, description = "now by default"),
        ("label.NAME" = Option<String>, Query, description = "the value of the label NAME of the alerts that are meant; once for each")
    ),
    responses((status = 200, body = Explanation), Refused)
)]
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
    Ok(typed(&explanation))
}
