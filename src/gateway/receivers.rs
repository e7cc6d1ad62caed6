//! Receivers of notifications: made, changed, removed, tried. Secrets go in and never come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{WriteQuery, revised};
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::notify::{self, Notifier, ReceiverChange};

/// What a client may say of a receiver; what else an answer of ours holds is taken back and not looked at.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReceiverBody {
    id: Option<String>,
    kind: String,
    #[serde(default)]
    settings: Map<String, Value>,
    /// Text sets one, null removes it; what an answer shows of one leaves it as it is.
    #[serde(default)]
    secrets: BTreeMap<String, Value>,
    enabled: Option<bool>,
    revision: Option<i64>,
    #[serde(rename = "origin", default)]
    #[schema(ignore)]
    _origin: Option<Value>,
    #[serde(rename = "problem", default)]
    #[schema(ignore)]
    _problem: Option<Value>,
    #[serde(rename = "lastDelivery", default)]
    #[schema(ignore)]
    _last_delivery: Option<Value>,
}

impl ReceiverBody {
    fn read(headers: &HeaderMap, bytes: &Bytes) -> Result<Self, Problem> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !content_type.starts_with("application/json") {
            let detail = "the body must be application/json";
            return Err(Problem::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
        }
        serde_json::from_slice(bytes).map_err(|error| Problem::parameter("body", format!("body: {error}")))
    }

    fn change(self) -> Result<ReceiverChange, Problem> {
        let mut secrets = BTreeMap::new();
        for (name, value) in self.secrets {
            match value {
                Value::String(secret) => _ = secrets.insert(name, Some(SecretString::from(secret))),
                Value::Null => _ = secrets.insert(name, None),
                // As an answer shows it: it stays as it is.
                Value::Object(_) => {}
                _ => {
                    return Err(Problem::parameter(
                        "secrets",
                        format!("secrets.{name} must be text, or null to remove it"),
                    ));
                }
            }
        }
        Ok(ReceiverChange { kind: self.kind, settings: self.settings, secrets, enabled: self.enabled })
    }
}

/// What may be shown of a secret.
#[derive(Serialize, ToSchema)]
struct SecretView {
    set: bool,
    last4: Option<String>,
}

/// How the last delivery ended.
#[derive(Serialize, ToSchema)]
struct LastDeliveryView {
    at: Option<DateTime<Utc>>,
    outcome: String,
}

/// A receiver; its secrets never come out.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReceiverView {
    id: String,
    /// email, webhook, slack, pagerduty, teams or telegram.
    kind: String,
    #[schema(value_type = BTreeMap<String, Value>)]
    settings: Value,
    #[schema(value_type = BTreeMap<String, SecretView>)]
    secrets: BTreeMap<&'static str, SecretView>,
    enabled: bool,
    /// environment or api.
    origin: String,
    revision: i64,
    /// Why it cannot be used.
    problem: Option<String>,
    last_delivery: Option<LastDeliveryView>,
}

impl From<notify::ReceiverView> for ReceiverView {
    fn from(of: notify::ReceiverView) -> Self {
        let notify::ReceiverView { row, secrets, problem, last_delivery } = of;
        let secret =
            |(name, shown): (_, notify::ShownSecret)| (name, SecretView { set: shown.set, last4: shown.last4 });
        Self {
            id: row.id,
            kind: row.kind,
            settings: row.settings,
            secrets: secrets.into_iter().map(secret).collect(),
            enabled: row.enabled,
            origin: row.origin,
            revision: row.revision,
            problem,
            last_delivery: last_delivery.map(|last| LastDeliveryView { at: last.at, outcome: last.state }),
        }
    }
}

/// What became of a trial.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TriedView {
    /// sent, retry or refused.
    outcome: &'static str,
    /// HTTP or SMTP status, where there was one.
    status: Option<u16>,
    detail: String,
    duration_ms: u64,
}

fn answer(status: StatusCode, receiver: notify::ReceiverView) -> Response {
    revised(status, receiver.row.revision, &ReceiverView::from(receiver))
}

/// The revision that the client saw: of `If-Match`, or of the field.
fn seen(headers: &HeaderMap, field: Option<i64>) -> Result<i64, Problem> {
    let missing = || Problem::parameter("revision", "the revision that was read must be told, in If-Match or revision");
    match headers.get(header::IF_MATCH) {
        None => field.ok_or_else(missing),
        Some(tag) => tag.to_str().ok().and_then(|tag| tag.trim_matches('"').parse().ok()).ok_or_else(missing),
    }
}

/// Every receiver, by id.
#[utoipa::path(
    get,
    path = "/api/receivers",
    operation_id = "listReceivers",
    tag = "receivers",
    responses((status = 200, body = Vec<ReceiverView>))
)]
pub(super) async fn list(State(notifier): State<Arc<Notifier>>) -> Result<Response, Problem> {
    Ok(typed(&notifier.receivers().await?.into_iter().map(ReceiverView::from).collect::<Vec<_>>()))
}

/// One receiver; its revision is the `ETag`.
#[utoipa::path(
    get,
    path = "/api/receivers/{id}",
    operation_id = "getReceiver",
    tag = "receivers",
    params(("id" = String, Path)),
    responses((status = 200, body = ReceiverView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn find(State(notifier): State<Arc<Notifier>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, notifier.receiver(&id).await?))
}

/// Makes a receiver; with `dryRun` it is only checked.
#[utoipa::path(
    post,
    path = "/api/receivers",
    operation_id = "createReceiver",
    tag = "receivers",
    params(WriteQuery),
    request_body = ReceiverBody,
    responses((status = 201, body = ReceiverView), (status = 200, description = "checked", body = ReceiverView), Refused)
)]
pub(super) async fn create(
    State(notifier): State<Arc<Notifier>>,
    Query(options): Query<WriteQuery>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let body = ReceiverBody::read(&headers, &bytes)?;
    let id = body.id.clone().ok_or_else(|| Problem::parameter("id", "id is missing"))?;
    let made = notifier.create_receiver(&id, body.change()?, options.dry_run).await?;
    Ok(answer(if options.dry_run { StatusCode::OK } else { StatusCode::CREATED }, made))
}

/// Changes a receiver.
#[utoipa::path(
    put,
    path = "/api/receivers/{id}",
    operation_id = "replaceReceiver",
    tag = "receivers",
    params(("id" = String, Path), WriteQuery),
    request_body = ReceiverBody,
    responses((status = 200, body = ReceiverView), Refused)
)]
pub(super) async fn update(
    State(notifier): State<Arc<Notifier>>,
    Path(id): Path<String>,
    Query(options): Query<WriteQuery>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let body = ReceiverBody::read(&headers, &bytes)?;
    if body.id.as_ref().is_some_and(|named| *named != id) {
        return Err(Problem::parameter("id", "id is not the one of the path; a receiver keeps its name"));
    }
    let revision = seen(&headers, body.revision.or(options.revision))?;
    let changed = notifier.update_receiver((&id, revision), body.change()?, options.dry_run).await?;
    Ok(answer(StatusCode::OK, changed))
}

/// Removes a receiver.
#[utoipa::path(
    delete,
    path = "/api/receivers/{id}",
    operation_id = "deleteReceiver",
    tag = "receivers",
    params(("id" = String, Path), WriteQuery),
    responses((status = 204), Refused)
)]
pub(super) async fn remove(
    State(notifier): State<Arc<Notifier>>,
    Path(id): Path<String>,
    Query(options): Query<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    notifier.delete_receiver(&id, seen(&headers, options.revision)?, options.dry_run).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Sends a test now, and says what became of it.
#[utoipa::path(
    post,
    path = "/api/receivers/{id}/test",
    operation_id = "testReceiver",
    tag = "receivers",
    params(("id" = String, Path)),
    responses((status = 200, body = TriedView), Refused)
)]
pub(super) async fn test(State(notifier): State<Arc<Notifier>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let test = notifier.test_receiver(&id).await?;
    Ok(typed(&TriedView {
        outcome: test.outcome.verdict.as_str(),
        status: test.outcome.status,
        detail: test.outcome.detail,
        duration_ms: u64::try_from(test.took.as_millis()).unwrap_or(u64::MAX),
    }))
}
