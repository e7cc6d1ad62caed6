//! Receivers of notifications: made, changed, removed, tried. Secrets go in and never come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::json;
use super::problem::Problem;
use super::same_origin::same_origin;
use crate::notify::{Notifier, ReceiverChange, ReceiverView};

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 256 << 10;

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(notifier: &Arc<Notifier>) -> Router<S> {
    Router::new()
        .route("/api/receivers", get(list).post(create))
        .route("/api/receivers/{id}", get(find).put(update).delete(remove))
        .route("/api/receivers/{id}/test", post(test))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(same_origin))
        .with_state(Arc::clone(notifier))
}

/// What a client may say of a receiver; what else an answer of ours holds is taken back and not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    id: Option<String>,
    kind: String,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    secrets: BTreeMap<String, Value>,
    enabled: Option<bool>,
    revision: Option<i64>,
    #[serde(rename = "origin", default)]
    _origin: Option<Value>,
    #[serde(rename = "problem", default)]
    _problem: Option<Value>,
    #[serde(rename = "lastDelivery", default)]
    _last_delivery: Option<Value>,
}

impl Body {
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    #[serde(default)]
    dry_run: bool,
    revision: Option<i64>,
}

fn view(receiver: &ReceiverView) -> Value {
    let row = &receiver.row;
    let secret = |(name, secret): (&&str, &crate::notify::ShownSecret)| {
        ((*name).to_owned(), json!({ "set": secret.set, "last4": secret.last4 }))
    };
    json!({
        "id": row.id,
        "kind": row.kind,
        "settings": row.settings,
        "secrets": receiver.secrets.iter().map(secret).collect::<Map<_, _>>(),
        "enabled": row.enabled,
        "origin": row.origin,
        "revision": row.revision,
        "problem": receiver.problem,
        "lastDelivery": receiver.last_delivery.as_ref().map(|last| json!({ "at": last.at, "outcome": last.state })),
    })
}

fn answer(status: StatusCode, receiver: &ReceiverView) -> Response {
    let mut response = (status, json(&view(receiver))).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", receiver.row.revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The revision that the client saw: of `If-Match`, or of the field.
fn seen(headers: &HeaderMap, field: Option<i64>) -> Result<i64, Problem> {
    let missing = || Problem::parameter("revision", "the revision that was read must be told, in If-Match or revision");
    match headers.get(header::IF_MATCH) {
        None => field.ok_or_else(missing),
        Some(tag) => tag.to_str().ok().and_then(|tag| tag.trim_matches('"').parse().ok()).ok_or_else(missing),
    }
}

async fn list(State(notifier): State<Arc<Notifier>>) -> Result<Response, Problem> {
    Ok(json(&notifier.receivers().await?.iter().map(view).collect()))
}

async fn find(State(notifier): State<Arc<Notifier>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &notifier.receiver(&id).await?))
}

async fn create(
    State(notifier): State<Arc<Notifier>>,
    Query(options): Query<Options>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let body = Body::read(&headers, &bytes)?;
    let id = body.id.clone().ok_or_else(|| Problem::parameter("id", "id is missing"))?;
    let made = notifier.create_receiver(&id, body.change()?, options.dry_run).await?;
    Ok(answer(if options.dry_run { StatusCode::OK } else { StatusCode::CREATED }, &made))
}

async fn update(
    State(notifier): State<Arc<Notifier>>,
    Path(id): Path<String>,
    Query(options): Query<Options>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let body = Body::read(&headers, &bytes)?;
    if body.id.as_ref().is_some_and(|named| *named != id) {
        return Err(Problem::parameter("id", "id is not the one of the path; a receiver keeps its name"));
    }
    let revision = seen(&headers, body.revision.or(options.revision))?;
    let changed = notifier.update_receiver((&id, revision), body.change()?, options.dry_run).await?;
    Ok(answer(StatusCode::OK, &changed))
}

async fn remove(
    State(notifier): State<Arc<Notifier>>,
    Path(id): Path<String>,
    Query(options): Query<Options>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    notifier.delete_receiver(&id, seen(&headers, options.revision)?, options.dry_run).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn test(State(notifier): State<Arc<Notifier>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let test = notifier.test_receiver(&id).await?;
    Ok(json(&json!({
        "outcome": test.outcome.verdict.as_str(),
        "status": test.outcome.status,
        "detail": test.outcome.detail,
        "durationMs": u64::try_from(test.took.as_millis()).unwrap_or(u64::MAX),
    })))
}
