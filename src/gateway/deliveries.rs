//! Deliveries: who was told what, by which attempts, and once more.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::json;
use super::problem::Problem;
use super::same_origin::same_origin;
use crate::model::Notification;
use crate::notify::Notifier;
use crate::storage::{AttemptRow, DeliveryFilter, DeliveryRow};

/// Deliveries of a page when nothing is said.
const LIMIT: i64 = 100;
/// Most deliveries of a page.
const LIMIT_MAX: i64 = 1_000;
/// Longest range, in hours: what the retention holds.
const HOURS_MAX: f64 = 2_160.0;

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(notifier: &Arc<Notifier>) -> Router<S> {
    Router::new()
        .route("/api/deliveries", get(list))
        .route("/api/deliveries/{id}", get(find))
        .route("/api/deliveries/{id}/resend", post(resend))
        .layer(from_fn(same_origin))
        .with_state(Arc::clone(notifier))
}

/// Query of `GET /api/deliveries`.
#[derive(Clone, Deserialize)]
struct Listed {
    receiver: Option<String>,
    state: Option<String>,
    fingerprint: Option<String>,
    hours: Option<String>,
    limit: Option<String>,
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

fn view((row, attempts): &(DeliveryRow, Vec<AttemptRow>)) -> Value {
    let told = serde_json::from_value::<Notification>(row.notification.clone()).ok();
    let fingerprints =
        |told: &Notification| told.alerts.iter().map(|alert| alert.fingerprint.clone()).collect::<Vec<_>>();
    let queued = row.state == "queued";
    let attempt = |attempt: &AttemptRow| {
        json!({
            "number": attempt.number,
            "beganAt": attempt.began_at,
            "endedAt": attempt.ended_at,
            "outcome": attempt.outcome,
            "status": attempt.status,
            "detail": attempt.detail,
        })
    };
    json!({
        "id": row.id,
        "notificationId": row.notification_id,
        "receiver": row.receiver_id,
        "reason": told.as_ref().map(|told| told.reason.as_str()),
        "severity": told.as_ref().map(Notification::severity),
        "groupKey": row.group_key,
        "groupLabels": told.as_ref().map(|told| &told.group_labels),
        "alerts": told.as_ref().map(fingerprints).unwrap_or_default(),
        "state": row.state,
        "attempts": row.attempts,
        "createdAt": row.created_at,
        "endedAt": row.ended_at,
        "nextAttemptAt": queued.then_some(row.next_attempt_at),
        "log": attempts.iter().map(attempt).collect::<Vec<_>>(),
    })
}

fn id(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::not_found(format!("there is no delivery {text:?}")))
}

async fn list(State(notifier): State<Arc<Notifier>>, Query(listed): Query<Listed>) -> Result<Response, Problem> {
    let filter = listed.filter()?;
    let page = notifier.deliveries(&filter).await?;
    let mut response = json(&page.iter().map(view).collect());
    let last = page.last().filter(|_| i64::try_from(page.len()) == Ok(filter.limit));
    if let Some((last, _)) = last
        && let Ok(link) = HeaderValue::from_str(&format!("<{}>; rel=\"next\"", listed.next(last.id)))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

async fn find(State(notifier): State<Arc<Notifier>>, Path(text): Path<String>) -> Result<Response, Problem> {
    Ok(json(&view(&notifier.delivery(id(&text)?).await?)))
}

async fn resend(State(notifier): State<Arc<Notifier>>, Path(text): Path<String>) -> Result<Response, Problem> {
    Ok(json(&view(&notifier.resend(id(&text)?).await?)))
}
