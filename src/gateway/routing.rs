//! `/api/routes` and `/api/inhibitions`: who gets what, and what explains what.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{Body, read, revised, seen_revision};
use super::problem::{Problem, Refused};
use super::typed;
use crate::alerting::{Alerting, RouteAnswer};
use crate::model::{Inhibition, Route};

/// The routing tree.
#[derive(Serialize, ToSchema)]
struct TreeView {
    #[serde(flatten)]
    tree: Route,
    /// Grows by one at each accepted change.
    revision: i64,
}

/// The routing tree: who gets what.
#[utoipa::path(
    get,
    path = "/api/routes",
    operation_id = "getRoutes",
    tag = "routes",
    responses((status = 200, body = TreeView))
)]
pub(super) async fn tree(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    let (tree, revision) = alerting.routes().await?;
    Ok(revised(StatusCode::OK, revision, &TreeView { tree, revision }))
}

/// Replaces the routing tree.
#[utoipa::path(
    put,
    path = "/api/routes",
    operation_id = "replaceRoutes",
    tag = "routes",
    request_body = Route,
    responses((status = 200, body = TreeView), Refused)
)]
pub(super) async fn replace_tree(
    State(alerting): State<Arc<Alerting>>,
    headers: HeaderMap,
    Body(mut body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let seen = body.remove("revision").as_ref().and_then(Value::as_i64);
    let new: Route = read(Value::Object(body))?;
    alerting.put_routes(&new, seen_revision(&headers, seen)?).await?;
    tree(State(alerting)).await
}

/// Labels of an alert.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestLabels {
    labels: BTreeMap<String, String>,
}

/// Where an alert with some labels would go.
#[utoipa::path(
    post,
    path = "/api/routes/test",
    operation_id = "testRoutes",
    tag = "routes",
    request_body = TestLabels,
    responses((status = 200, body = RouteAnswer), Refused)
)]
pub(super) async fn test(
    State(alerting): State<Arc<Alerting>>,
    Body(test): Body<TestLabels>,
) -> Result<Response, Problem> {
    Ok(typed(&alerting.test_routes(&test.labels).await?))
}

/// Which alerts explain which others.
#[utoipa::path(
    get,
    path = "/api/inhibitions",
    operation_id = "listInhibitions",
    tag = "routes",
    responses((status = 200, body = Vec<Inhibition>))
)]
pub(super) async fn inhibitions(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    let (inhibitions, revision) = alerting.inhibitions().await?;
    Ok(revised(StatusCode::OK, revision, &inhibitions))
}

/// Replaces what explains what.
#[utoipa::path(
    put,
    path = "/api/inhibitions",
    operation_id = "replaceInhibitions",
    tag = "routes",
    request_body = Vec<Inhibition>,
    responses((status = 200, body = Vec<Inhibition>), Refused)
)]
pub(super) async fn replace_inhibitions(
    State(alerting): State<Arc<Alerting>>,
    headers: HeaderMap,
    Body(new): Body<Vec<Inhibition>>,
) -> Result<Response, Problem> {
    alerting.put_inhibitions(&new, seen_revision(&headers, None)?).await?;
    inhibitions(State(alerting)).await
}
