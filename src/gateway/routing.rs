//! `/api/routes` and `/api/inhibitions`: who gets what, and what explains what.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{Body, read, revised, seen_revision};
use super::json as answer;
use super::problem::Problem;
use crate::alerting::Alerting;
use crate::model::{Inhibition, Route};

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(alerting: &Arc<Alerting>) -> Router<S> {
    Router::new()
        .route("/api/routes", get(tree).put(replace_tree))
        .route("/api/routes/test", post(test))
        .route("/api/inhibitions", get(inhibitions).put(replace_inhibitions))
        .with_state(Arc::clone(alerting))
}

fn tree_view(tree: &Route, revision: i64) -> Response {
    let mut view = serde_json::to_value(tree).unwrap_or_default();
    if let Some(view) = view.as_object_mut() {
        view.insert("revision".to_owned(), Value::from(revision));
    }
    revised(StatusCode::OK, revision, &view)
}

async fn tree(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    let (tree, revision) = alerting.routes().await?;
    Ok(tree_view(&tree, revision))
}

async fn replace_tree(
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    labels: BTreeMap<String, String>,
}

async fn test(State(alerting): State<Arc<Alerting>>, Body(test): Body<Test>) -> Result<Response, Problem> {
    let found = alerting.test_routes(&test.labels).await?;
    Ok(answer(&json!({ "receivers": found.receivers, "path": found.path })))
}

async fn inhibitions(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    let (inhibitions, revision) = alerting.inhibitions().await?;
    Ok(revised(StatusCode::OK, revision, &serde_json::to_value(inhibitions).unwrap_or_default()))
}

async fn replace_inhibitions(
    State(alerting): State<Arc<Alerting>>,
    headers: HeaderMap,
    Body(new): Body<Vec<Inhibition>>,
) -> Result<Response, Problem> {
    alerting.put_inhibitions(&new, seen_revision(&headers, None)?).await?;
    inhibitions(State(alerting)).await
}
