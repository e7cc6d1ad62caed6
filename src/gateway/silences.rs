//! `/api/silences` and `/api/maintenance-windows`.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{Body, WriteQuery, read};
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::alerting::{Alerting, SilenceStatus, WindowStatus};
use crate::model::{Alert, LabelMatcher, MaintenanceWindow, Silence};
use crate::storage::Expected;

/// A silence with how it stands.
#[derive(Serialize, ToSchema)]
struct SilenceView {
    #[serde(flatten)]
    silence: Silence,
    /// pending, active or expired.
    state: &'static str,
    /// Open alerts that it meets.
    affected: usize,
}

impl From<SilenceStatus> for SilenceView {
    fn from(of: SilenceStatus) -> Self {
        Self { silence: of.silence, state: of.state, affected: of.affected }
    }
}

/// A maintenance window, and whether it is open now.
#[derive(Serialize, ToSchema)]
struct WindowView {
    #[serde(flatten)]
    window: MaintenanceWindow,
    active: bool,
}

impl From<WindowStatus> for WindowView {
    fn from(of: WindowStatus) -> Self {
        Self { window: of.window, active: of.active }
    }
}

fn silence_answer(status: SilenceStatus) -> Response {
    typed(&SilenceView::from(status))
}

fn window_answer(status: WindowStatus) -> Response {
    typed(&WindowView::from(status))
}

/// The fields that are written, of a body that may have been read before.
fn written(mut body: Map<String, Value>, id: Option<&str>) -> Value {
    body.retain(|name, _| !matches!(name.as_str(), "state" | "affected" | "active"));
    if let Some(id) = id {
        body.insert("id".to_owned(), Value::from(id));
    }
    Value::Object(body)
}

/// Every silence.
#[utoipa::path(
    get,
    path = "/api/silences",
    operation_id = "listSilences",
    tag = "silences",
    responses((status = 200, body = Vec<SilenceView>))
)]
pub(super) async fn list(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    Ok(typed(&alerting.silences().await?.into_iter().map(SilenceView::from).collect::<Vec<_>>()))
}

/// One silence.
#[utoipa::path(
    get,
    path = "/api/silences/{id}",
    operation_id = "getSilence",
    tag = "silences",
    params(("id" = String, Path)),
    responses((status = 200, body = SilenceView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(silence_answer(alerting.silence(&id).await?))
}

/// Makes a silence; with `dryRun` it is only checked.
#[utoipa::path(
    post,
    path = "/api/silences",
    operation_id = "createSilence",
    tag = "silences",
    params(WriteQuery),
    request_body = Silence,
    responses((status = 201, body = SilenceView), (status = 200, description = "checked", body = SilenceView), Refused)
)]
pub(super) async fn create(
    State(alerting): State<Arc<Alerting>>,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let silence: Silence = read(written(body, None))?;
    let status = alerting.put_silence(silence, Expected::Absent, query.dry_run).await?;
    let code = if query.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    Ok((code, silence_answer(status)).into_response())
}

/// Replaces a silence.
#[utoipa::path(
    put,
    path = "/api/silences/{id}",
    operation_id = "replaceSilence",
    tag = "silences",
    params(("id" = String, Path), WriteQuery),
    request_body = Silence,
    responses((status = 200, body = SilenceView), Refused)
)]
pub(super) async fn replace(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let silence: Silence = read(written(body, Some(&id)))?;
    Ok(silence_answer(alerting.put_silence(silence, Expected::Present, query.dry_run).await?))
}

/// Ends a silence now.
#[utoipa::path(
    delete,
    path = "/api/silences/{id}",
    operation_id = "expireSilence",
    tag = "silences",
    params(("id" = String, Path)),
    responses((status = 200, body = SilenceView), Refused)
)]
pub(super) async fn expire(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(silence_answer(alerting.expire_silence(&id).await?))
}

/// Which alerts.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Preview {
    matchers: Vec<LabelMatcher>,
}

/// Open alerts that are met.
#[derive(Serialize, ToSchema)]
struct Previewed {
    alerts: Vec<Alert>,
}

/// Open alerts that matchers meet.
#[utoipa::path(
    post,
    path = "/api/silences/preview",
    operation_id = "previewSilence",
    tag = "silences",
    request_body = Preview,
    responses((status = 200, body = Previewed), Refused)
)]
pub(super) async fn preview(
    State(alerting): State<Arc<Alerting>>,
    Body(preview): Body<Preview>,
) -> Result<Response, Problem> {
    Ok(typed(&Previewed { alerts: alerting.preview(&preview.matchers).await? }))
}

/// Every maintenance window.
#[utoipa::path(
    get,
    path = "/api/maintenance-windows",
    operation_id = "listMaintenanceWindows",
    tag = "silences",
    responses((status = 200, body = Vec<WindowView>))
)]
pub(super) async fn windows(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    Ok(typed(&alerting.windows().await?.into_iter().map(WindowView::from).collect::<Vec<_>>()))
}

/// One maintenance window.
#[utoipa::path(
    get,
    path = "/api/maintenance-windows/{id}",
    operation_id = "getMaintenanceWindow",
    tag = "silences",
    params(("id" = String, Path)),
    responses((status = 200, body = WindowView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn window(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(window_answer(alerting.window(&id).await?))
}

/// Makes a maintenance window.
#[utoipa::path(
    post,
    path = "/api/maintenance-windows",
    operation_id = "createMaintenanceWindow",
    tag = "silences",
    request_body = MaintenanceWindow,
    responses((status = 201, body = WindowView), Refused)
)]
pub(super) async fn create_window(
    State(alerting): State<Arc<Alerting>>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let window: MaintenanceWindow = read(written(body, None))?;
    let status = alerting.put_window(window, Expected::Absent).await?;
    Ok((StatusCode::CREATED, window_answer(status)).into_response())
}

/// Replaces a maintenance window.
#[utoipa::path(
    put,
    path = "/api/maintenance-windows/{id}",
    operation_id = "replaceMaintenanceWindow",
    tag = "silences",
    params(("id" = String, Path)),
    request_body = MaintenanceWindow,
    responses((status = 200, body = WindowView), Refused)
)]
pub(super) async fn replace_window(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let window: MaintenanceWindow = read(written(body, Some(&id)))?;
    Ok(window_answer(alerting.put_window(window, Expected::Present).await?))
}

/// Ends a maintenance window.
#[utoipa::path(
    delete,
    path = "/api/maintenance-windows/{id}",
    operation_id = "deleteMaintenanceWindow",
    tag = "silences",
    params(("id" = String, Path)),
    responses((status = 204), Refused)
)]
pub(super) async fn delete_window(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    alerting.delete_window(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
