//! `/api/slos`: objectives, and how they stand.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{Body, WriteQuery, expected, read, revised};
use super::json as answer;
use super::problem::Problem;
use crate::alerting::{Alerting, SloStatus};
use crate::model::Slo;
use crate::storage::Expected;

/// What an objective's answer has beside what was written.
const READ_ONLY: &[&str] = &["revision", "sli", "errorBudget", "burnRates", "state"];

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(alerting: &Arc<Alerting>) -> Router<S> {
    Router::new()
        .route("/api/slos", get(list).post(create))
        .route("/api/slos/{id}", get(one).put(replace).delete(delete))
        .with_state(Arc::clone(alerting))
}

fn view(status: &SloStatus) -> Value {
    let rates: Map<String, Value> =
        status.burn_rates.iter().map(|(window, rate)| ((*window).to_owned(), json!(rate))).collect();
    let mut view = serde_json::to_value(&status.slo).unwrap_or_default();
    let more = json!({
        "revision": status.revision,
        "sli": status.sli,
        "errorBudget": status.error_budget,
        "burnRates": rates,
        "state": status.state,
    });
    if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
        view.extend(more);
    }
    view
}

async fn list(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    Ok(answer(&alerting.slos().await?.iter().map(view).collect()))
}

async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let status = alerting.slo(&id).await?;
    Ok(revised(StatusCode::OK, status.revision, &view(&status)))
}

async fn create(
    State(alerting): State<Arc<Alerting>>,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    let slo: Slo = read(Value::Object(body))?;
    let status = alerting.put_slo(&slo, Expected::Absent).await?;
    Ok(revised(StatusCode::CREATED, status.revision, &view(&status)))
}

async fn replace(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let seen = body.get("revision").and_then(Value::as_i64);
    body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    body.insert("id".to_owned(), json!(id));
    let slo: Slo = read(Value::Object(body))?;
    let status = alerting.put_slo(&slo, expected(&headers, seen)?).await?;
    Ok(revised(StatusCode::OK, status.revision, &view(&status)))
}

async fn delete(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    alerting.delete_slo(&id, expected(&headers, query.revision)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
