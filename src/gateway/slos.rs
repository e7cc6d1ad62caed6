//! `/api/slos`: objectives, and how they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::body::{Body, WriteQuery, expected, read, revised};
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::alerting::{Alerting, SloStatus};
use crate::model::Slo;
use crate::storage::Expected;

/// What an objective's answer has beside what was written.
const READ_ONLY: &[&str] = &["revision", "sli", "errorBudget", "burnRates", "state"];

/// An objective and how it stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SloView {
    #[serde(flatten)]
    slo: Slo,
    /// Grows by one at each accepted change.
    revision: i64,
    /// Share of good events over the window, in percent; null while nothing is measured.
    sli: Option<f64>,
    /// Share of the error budget that is left: 1 is all of it, below 0 is more than all spent.
    error_budget: Option<f64>,
    /// How many times faster than sustainable the budget burns, by window.
    #[schema(value_type = BTreeMap<String, Option<f64>>)]
    burn_rates: BTreeMap<&'static str, Option<f64>>,
    /// ok, burning, exhausted or unmeasured.
    state: &'static str,
}

impl From<SloStatus> for SloView {
    fn from(of: SloStatus) -> Self {
        let SloStatus { slo, revision, sli, error_budget, burn_rates, state } = of;
        Self { slo, revision, sli, error_budget, burn_rates: burn_rates.into_iter().collect(), state }
    }
}

fn answer(status: StatusCode, slo: SloStatus) -> Response {
    revised(status, slo.revision, &SloView::from(slo))
}

/// Every objective, and how it stands.
#[utoipa::path(
    get,
    path = "/api/slos",
    operation_id = "listSlos",
    tag = "slos",
    responses((status = 200, body = Vec<SloView>))
)]
pub(super) async fn list(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    Ok(typed(&alerting.slos().await?.into_iter().map(SloView::from).collect::<Vec<_>>()))
}

/// One objective; its revision is the `ETag`.
#[utoipa::path(
    get,
    path = "/api/slos/{id}",
    operation_id = "getSlo",
    tag = "slos",
    params(("id" = String, Path)),
    responses((status = 200, body = SloView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, alerting.slo(&id).await?))
}

/// Makes an objective.
#[utoipa::path(
    post,
    path = "/api/slos",
    operation_id = "createSlo",
    tag = "slos",
    request_body = Slo,
    responses((status = 201, body = SloView), Refused)
)]
pub(super) async fn create(
    State(alerting): State<Arc<Alerting>>,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    let slo: Slo = read(Value::Object(body))?;
    Ok(answer(StatusCode::CREATED, alerting.put_slo(&slo, Expected::Absent).await?))
}

/// Replaces an objective.
#[utoipa::path(
    put,
    path = "/api/slos/{id}",
    operation_id = "replaceSlo",
    tag = "slos",
    params(("id" = String, Path)),
    request_body = Slo,
    responses((status = 200, body = SloView), Refused)
)]
pub(super) async fn replace(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let seen = body.get("revision").and_then(Value::as_i64);
    body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    body.insert("id".to_owned(), json!(id));
    let slo: Slo = read(Value::Object(body))?;
    Ok(answer(StatusCode::OK, alerting.put_slo(&slo, expected(&headers, seen)?).await?))
}

/// Ends an objective.
#[utoipa::path(
    delete,
    path = "/api/slos/{id}",
    operation_id = "deleteSlo",
    tag = "slos",
    params(("id" = String, Path), WriteQuery),
    responses((status = 204), Refused)
)]
pub(super) async fn delete(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    alerting.delete_slo(&id, expected(&headers, query.revision)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
