//! `/api/silences` and `/api/maintenance-windows`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::body::{Body, WriteQuery, read};
use super::json as answer;
use super::problem::Problem;
use crate::alerting::{Alerting, SilenceStatus, WindowStatus};
use crate::model::{LabelMatcher, MaintenanceWindow, Silence};
use crate::storage::Expected;

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(alerting: &Arc<Alerting>) -> Router<S> {
    Router::new()
        .route("/api/silences", get(list).post(create))
        .route("/api/silences/preview", post(preview))
        .route("/api/silences/{id}", get(one).put(replace).delete(expire))
        .route("/api/maintenance-windows", get(windows).post(create_window))
        .route("/api/maintenance-windows/{id}", get(window).put(replace_window).delete(delete_window))
        .with_state(Arc::clone(alerting))
}

/// What was written, with more beside it.
fn with(written: &impl Serialize, more: Value) -> Value {
    let mut view = serde_json::to_value(written).unwrap_or_default();
    if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
        view.extend(more);
    }
    view
}

fn view(status: &SilenceStatus) -> Value {
    with(&status.silence, json!({ "state": status.state, "affected": status.affected }))
}

fn window_view(status: &WindowStatus) -> Value {
    with(&status.window, json!({ "active": status.active }))
}

/// The fields that are written, of a body that may have been read before.
fn written(mut body: Map<String, Value>, id: Option<&str>) -> Value {
    body.retain(|name, _| !matches!(name.as_str(), "state" | "affected" | "active"));
    if let Some(id) = id {
        body.insert("id".to_owned(), Value::from(id));
    }
    Value::Object(body)
}

async fn list(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    Ok(answer(&alerting.silences().await?.iter().map(view).collect()))
}

async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(&view(&alerting.silence(&id).await?)))
}

async fn create(
    State(alerting): State<Arc<Alerting>>,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let silence: Silence = read(written(body, None))?;
    let status = alerting.put_silence(silence, Expected::Absent, query.dry_run).await?;
    let code = if query.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    Ok((code, answer(&view(&status))).into_response())
}

async fn replace(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let silence: Silence = read(written(body, Some(&id)))?;
    Ok(answer(&view(&alerting.put_silence(silence, Expected::Present, query.dry_run).await?)))
}

async fn expire(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(&view(&alerting.expire_silence(&id).await?)))
}

/// Which alerts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preview {
    matchers: Vec<LabelMatcher>,
}

async fn preview(State(alerting): State<Arc<Alerting>>, Body(preview): Body<Preview>) -> Result<Response, Problem> {
    Ok(answer(&json!({ "alerts": alerting.preview(&preview.matchers).await? })))
}

async fn windows(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    Ok(answer(&alerting.windows().await?.iter().map(window_view).collect()))
}

async fn window(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(&window_view(&alerting.window(&id).await?)))
}

async fn create_window(
    State(alerting): State<Arc<Alerting>>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let window: MaintenanceWindow = read(written(body, None))?;
    let status = alerting.put_window(window, Expected::Absent).await?;
    Ok((StatusCode::CREATED, answer(&window_view(&status))).into_response())
}

async fn replace_window(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let window: MaintenanceWindow = read(written(body, Some(&id)))?;
    Ok(answer(&window_view(&alerting.put_window(window, Expected::Present).await?)))
}

async fn delete_window(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    alerting.delete_window(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
