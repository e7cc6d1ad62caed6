//! `/api/catalog`: the metrics that are there, and where their series come from.

use std::sync::Arc;

use axum::Router;
use axum::extract::{self, Path, Query};
use axum::response::Response;
use axum::routing::get;
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{State, json};
use crate::query::{Counted, MetricCardinality, MetricFacts};

/// Most rows of any list here.
const TOP_MAX: usize = 1_000;
/// Rows of a list when nobody says.
const TOP: usize = 20;
/// Most metrics in one answer.
const METRICS_MAX: usize = 10_000;

/// The routes.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/catalog/metrics", get(metrics))
        .route("/api/catalog/metrics/{name}", get(metric))
        .route("/api/catalog/cardinality", get(cardinality))
}

/// Which metrics.
#[derive(Deserialize)]
struct MetricsQuery {
    search: Option<String>,
    limit: Option<String>,
}

/// Which part of a list.
#[derive(Deserialize)]
struct TopQuery {
    top: Option<String>,
}

/// A number of rows from 1 to `most`.
fn rows(field: &str, text: Option<&str>, (usual, most): (usize, usize)) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(usual) };
    text.parse()
        .ok()
        .filter(|n| (1..=most).contains(n))
        .ok_or_else(|| Problem::parameter(field, format!("{field} must be 1 to {most}, not {text:?}")))
}

fn facts_view(facts: &MetricFacts) -> Value {
    json!({
        "name": &*facts.metric.name,
        "prometheusName": facts.prometheus_name,
        "unit": &*facts.metric.unit,
        "kind": facts.metric.kind.as_str(),
        "temporality": facts.metric.temporality.as_str(),
        "description": facts.description,
        "series": facts.series,
        "lastSeenAt": facts.last_seen.and_then(DateTime::from_timestamp_millis),
    })
}

async fn metrics(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<MetricsQuery>,
) -> Result<Response, Problem> {
    let limit = rows("limit", query.limit.as_deref(), (METRICS_MAX, METRICS_MAX))?;
    let mut found = state.engine.catalog().await?;
    if let Some(words) = &query.search {
        found.retain(|facts| facts.is_about(words));
    }
    let views: Vec<Value> = found.iter().take(limit).map(facts_view).collect();
    Ok(json(&json!({ "metrics": views, "total": found.len() })))
}

fn counted(counted: &[Counted], what: &str) -> Vec<Value> {
    counted.iter().map(|one| json!({ "name": one.name, what: one.count })).collect()
}

fn cardinality_view(one: &MetricCardinality) -> Value {
    json!({
        "name": &*one.metric.name,
        "prometheusName": one.prometheus_name,
        "series": one.series,
        "labels": counted(&one.labels, "values"),
        "services": counted(&one.services, "series"),
    })
}

async fn metric(
    extract::State(state): extract::State<Arc<State>>,
    Path(name): Path<String>,
    Query(query): Query<TopQuery>,
) -> Result<Response, Problem> {
    let top = rows("top", query.top.as_deref(), (TOP, TOP_MAX))?;
    let facts = state.engine.catalog().await?;
    let facts: Vec<&MetricFacts> =
        facts.iter().filter(|facts| *facts.metric.name == *name || facts.prometheus_name == name).collect();
    if facts.is_empty() {
        return Err(Problem::not_found("there is no metric of this name"));
    }
    let found = state.engine.cardinality(Some(&name), top).await?;
    let mut views = Vec::new();
    for facts in facts {
        let mut view = facts_view(facts);
        let own = found.metrics.iter().find(|one| one.metric == facts.metric);
        if let (Some(view), Some(own)) = (view.as_object_mut(), own) {
            view.insert("labels".to_owned(), counted(&own.labels, "values").into());
            view.insert("services".to_owned(), counted(&own.services, "series").into());
        }
        views.push(view);
    }
    Ok(json(&json!({ "metrics": views })))
}

async fn cardinality(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<TopQuery>,
) -> Result<Response, Problem> {
    let top = rows("top", query.top.as_deref(), (TOP, TOP_MAX))?;
    let found = state.engine.cardinality(None, top).await?;
    Ok(json(&json!({
        "series": found.series,
        "metrics": found.metrics.iter().map(cardinality_view).collect::<Vec<_>>(),
        "services": counted(&found.services, "series"),
    })))
}
