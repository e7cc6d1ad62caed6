//! Deliveries: who was told what, by which attempts, and once more.

#![expect(unused_qualifications, reason = "what utoipa makes of IntoParams qualifies its types")]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::model::{Notification, NotificationReason, Severity};
use crate::notify::Notifier;
use crate::storage::{AttemptRow, DeliveryFilter, DeliveryRow};

/// Deliveries of a page when nothing is said.
const LIMIT: i64 = 100;
/// Most deliveries of a page.
const LIMIT_MAX: i64 = 1_000;
/// Longest range, in hours: what the retention holds.
const HOURS_MAX: f64 = 2_160.0;

/// Query of `GET /api/deliveries`.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Listed {
    receiver: Option<String>,
    /// queued, sent or dead.
    state: Option<String>,
    /// Of an alert.
    fingerprint: Option<String>,
    hours: Option<String>,
    limit: Option<String>,
    /// One that an answer's `Link` gave.
    cursor: Option<String>,
}

impl Listed {
    fn filter(&self) -> Result<DeliveryFilter, Problem> {
        let state = self.state.clone();
        if state.as_deref().is_some_and(|state| !["queued", "sent", "dead"].contains(&state)) {
            return Err(Problem::parameter("state", "state must be queued, sent or dead"));
        }
        let hours = self.hours.as_deref().map(|text| {
            let hours = text.parse::<f64>().ok().filter(|hours| *hours > 0.0 && *hours <= HOURS_MAX);
            hours.ok_or_else(|| {
                Problem::parameter("hours", format!("hours must be more than 0 and at most {HOURS_MAX}"))
            })
        });
        let limit = self.limit.as_deref().map(|text| {
            let limit = text.parse::<i64>().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| Problem::parameter("limit", format!("limit must be from 1 to {LIMIT_MAX}")))
        });
        let before = self.cursor.as_deref().map(|text| {
            text.parse().map_err(|_| Problem::parameter("cursor", "cursor must be one that an answer gave"))
        });
        Ok(DeliveryFilter {
            receiver: self.receiver.clone(),
            state,
            fingerprint: self.fingerprint.clone(),
            hours: hours.transpose()?,
            before: before.transpose()?,
            limit: limit.transpose()?.unwrap_or(LIMIT),
        })
    }

    /// The address of the page after the one that ends with `last`.
    fn next(&self, last: i64) -> String {
        let mut query = url_query();
        for (name, value) in [
            ("receiver", &self.receiver),
            ("state", &self.state),
            ("fingerprint", &self.fingerprint),
            ("hours", &self.hours),
            ("limit", &self.limit),
        ] {
            if let Some(value) = value {
                query.query_pairs_mut().append_pair(name, value);
            }
        }
        query.query_pairs_mut().append_pair("cursor", &last.to_string());
        format!("{}?{}", query.path(), query.query().unwrap_or_default())
    }
}

fn url_query() -> reqwest::Url {
    reqwest::Url::parse("http://localhost/api/deliveries").expect("the path is constant")
}

/// One try to deliver.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AttemptView {
    number: i32,
    began_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    /// sent, retry or refused.
    outcome: String,
    /// HTTP or SMTP status, where there was one.
    status: Option<i32>,
    detail: String,
}

impl From<&AttemptRow> for AttemptView {
    fn from(row: &AttemptRow) -> Self {
        let AttemptRow { number, began_at, ended_at, outcome, status, detail, .. } = row.clone();
        Self { number, began_at, ended_at, outcome, status, detail }
    }
}

/// A notification to a receiver, and its attempts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryView {
    id: String,
    notification_id: String,
    receiver: String,
    reason: Option<NotificationReason>,
    severity: Option<Severity>,
    group_key: String,
    group_labels: Option<BTreeMap<String, String>>,
    /// Fingerprints.
    alerts: Vec<String>,
    /// queued, sent or dead.
    state: String,
    attempts: i32,
    created_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    next_attempt_at: Option<DateTime<Utc>>,
    log: Vec<AttemptView>,
}

impl From<&(DeliveryRow, Vec<AttemptRow>)> for DeliveryView {
    fn from((row, attempts): &(DeliveryRow, Vec<AttemptRow>)) -> Self {
        let told = serde_json::from_value::<Notification>(row.notification.clone()).ok();
        let fingerprints = |told: &Notification| told.alerts.iter().map(|alert| alert.fingerprint.clone()).collect();
        Self {
            id: row.id.to_string(),
            notification_id: row.notification_id.clone(),
            receiver: row.receiver_id.clone(),
            reason: told.as_ref().map(|told| told.reason),
            severity: told.as_ref().map(Notification::severity),
            group_key: row.group_key.clone(),
            group_labels: told.as_ref().map(|told| told.group_labels.clone()),
            alerts: told.as_ref().map(fingerprints).unwrap_or_default(),
            state: row.state.clone(),
            attempts: row.attempts,
            created_at: row.created_at,
            ended_at: row.ended_at,
            next_attempt_at: (row.state == "queued").then_some(row.next_attempt_at),
            log: attempts.iter().map(AttemptView::from).collect(),
        }
    }
}

fn id(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::not_found(format!("there is no delivery {text:?}")))
}

/// Deliveries, newest first.
#[utoipa::path(
    get,
    path = "/api/deliveries",
    operation_id = "listDeliveries",
    tag = "deliveries",
    params(Listed),
    responses((status = 200, body = Vec<DeliveryView>), Refused)
)]
pub(super) async fn list(
    State(notifier): State<Arc<Notifier>>,
    Query(listed): Query<Listed>,
) -> Result<Response, Problem> {
    let filter = listed.filter()?;
    let page = notifier.deliveries(&filter).await?;
    let mut response = typed(&page.iter().map(DeliveryView::from).collect::<Vec<_>>());
    let last = page.last().filter(|_| i64::try_from(page.len()) == Ok(filter.limit));
    if let Some((last, _)) = last
        && let Ok(link) = HeaderValue::from_str(&format!("<{}>; rel=\"next\"", listed.next(last.id)))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// One delivery with its attempts.
#[utoipa::path(
    get,
    path = "/api/deliveries/{id}",
    operation_id = "getDelivery",
    tag = "deliveries",
    params(("id" = String, Path)),
    responses((status = 200, body = DeliveryView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn find(State(notifier): State<Arc<Notifier>>, Path(text): Path<String>) -> Result<Response, Problem> {
    Ok(typed(&DeliveryView::from(&notifier.delivery(id(&text)?).await?)))
}

/// Delivers it once more.
#[utoipa::path(
    post,
    path = "/api/deliveries/{id}/resend",
    operation_id = "resendDelivery",
    tag = "deliveries",
    params(("id" = String, Path)),
    responses((status = 200, body = DeliveryView), Refused)
)]
pub(super) async fn resend(
    State(notifier): State<Arc<Notifier>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    Ok(typed(&DeliveryView::from(&notifier.resend(id(&text)?).await?)))
}
