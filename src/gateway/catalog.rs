//! `/api/catalog`: the metrics that there are, with their labels, and where their series come from.

#![expect(unused_qualifications, reason = "what utoipa makes of IntoParams qualifies its types")]

use std::sync::Arc;

use axum::extract::{self, Path, Query};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::{State, typed};
use crate::query::{Counted, LabelCardinality, MetricCardinality, MetricFacts};

/// Most rows of any list here.
const TOP_MAX: usize = 1_000;
/// Rows of a list when nobody says.
const TOP: usize = 20;
/// Most metrics in one answer.
const METRICS_MAX: usize = 10_000;

/// Which metrics.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MetricsQuery {
    /// Words that name or description hold.
    search: Option<String>,
    /// Most metrics, 1 to 10000.
    limit: Option<String>,
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TopQuery {
    /// Most rows of each list, 1 to 1000; 20 by default.
    top: Option<String>,
}

impl TopQuery {
    fn rows(&self) -> Result<usize, Problem> {
        rows("top", self.top.as_deref(), (TOP, TOP_MAX))
    }
}

/// A metric.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MetricView {
    /// As sent.
    name: String,
    /// As Prometheus would call it.
    prometheus_name: String,
    kind: &'static str,
    temporality: &'static str,
    unit: String,
    description: String,
    series: usize,
    /// When its last window ended: to the window while it is in memory, to the hour later.
    last_seen_at: Option<DateTime<Utc>>,
}

/// The metrics that there are.
#[derive(Serialize, ToSchema)]
struct MetricsView {
    metrics: Vec<MetricView>,
    /// How many are meant, those past the limit among them.
    total: usize,
}

/// A value and the series that have it.
#[derive(Serialize, ToSchema)]
struct ValueView {
    value: String,
    series: u64,
}

/// A service and the series that it sends.
#[derive(Serialize, ToSchema)]
struct SenderView {
    name: String,
    series: u64,
}

/// A label of a metric.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LabelView {
    name: String,
    /// How many different values there are.
    value_count: u64,
    /// Those with most series.
    values: Vec<ValueView>,
}

/// A metric with its labels, the one with most values first.
#[derive(Serialize, ToSchema)]
struct MetricDetail {
    #[serde(flatten)]
    metric: MetricView,
    labels: Vec<LabelView>,
    /// Who sends it, the one with most series first.
    services: Vec<SenderView>,
}

/// How many values a label has.
#[derive(Serialize, ToSchema)]
struct LabelCount {
    name: String,
    values: u64,
}

/// Where the series of a metric come from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MetricCardinalityView {
    name: String,
    prometheus_name: String,
    series: u64,
    /// The labels of most values.
    labels: Vec<LabelCount>,
    /// The services of most series.
    services: Vec<SenderView>,
}

/// Where all series come from.
#[derive(Serialize, ToSchema)]
struct CardinalityView {
    series: u64,
    /// The metrics of most series.
    metrics: Vec<MetricCardinalityView>,
    /// The services of most series.
    services: Vec<SenderView>,
}

impl From<&MetricFacts> for MetricView {
    fn from(facts: &MetricFacts) -> Self {
        let metric = &facts.metric;
        Self {
            name: metric.name.to_string(),
            prometheus_name: facts.prometheus_name.clone(),
            kind: metric.kind.as_str(),
            temporality: metric.temporality.as_str(),
            unit: metric.unit.to_string(),
            description: facts.description.clone(),
            series: facts.series,
            last_seen_at: facts.last_seen.and_then(DateTime::from_timestamp_millis),
        }
    }
}

impl From<LabelCardinality> for LabelView {
    fn from(label: LabelCardinality) -> Self {
        Self { name: label.name, value_count: label.value_count, values: values(label.values) }
    }
}

impl From<MetricCardinality> for MetricCardinalityView {
    fn from(one: MetricCardinality) -> Self {
        let count = |label: LabelCardinality| LabelCount { name: label.name, values: label.value_count };
        Self {
            name: one.metric.name.to_string(),
            prometheus_name: one.prometheus_name,
            series: one.series,
            labels: one.labels.into_iter().map(count).collect(),
            services: senders(one.services),
        }
    }
}

fn values(counted: Vec<Counted>) -> Vec<ValueView> {
    counted.into_iter().map(|one| ValueView { value: one.name, series: one.series }).collect()
}

fn senders(counted: Vec<Counted>) -> Vec<SenderView> {
    counted.into_iter().map(|one| SenderView { name: one.name, series: one.series }).collect()
}

/// A number of rows from 1 to `most`.
fn rows(field: &str, text: Option<&str>, (usual, most): (usize, usize)) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(usual) };
    text.parse()
        .ok()
        .filter(|n| (1..=most).contains(n))
        .ok_or_else(|| Problem::parameter(field, format!("{field} must be 1 to {most}, not {text:?}")))
}

/// Every metric, by name.
#[utoipa::path(get, path = "/api/catalog/metrics", operation_id = "listMetrics", tag = "catalog", params(MetricsQuery), responses((status = 200, body = MetricsView)))]
pub(super) async fn metrics(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<MetricsQuery>,
) -> Result<Response, Problem> {
    let limit = rows("limit", query.limit.as_deref(), (METRICS_MAX, METRICS_MAX))?;
    let mut found = state.engine.catalog().await?;
    if let Some(words) = &query.search {
        found.retain(|facts| facts.is_about(words));
    }
    let metrics = found.iter().take(limit).map(MetricView::from).collect();
    Ok(typed(&MetricsView { metrics, total: found.len() }))
}

/// One metric with its labels, their values and who sends it.
///
/// Of several that share a name the one with most series is meant.
#[utoipa::path(
    get,
    path = "/api/catalog/metrics/{name}",
    operation_id = "getMetric",
    tag = "catalog",
    params(("name" = String, Path, description = "as sent or as Prometheus would call it"), TopQuery),
    responses((status = 200, body = MetricDetail), (status = 404, description = "no such metric"))
)]
pub(super) async fn metric(
    extract::State(state): extract::State<Arc<State>>,
    Path(name): Path<String>,
    Query(query): Query<TopQuery>,
) -> Result<Response, Problem> {
    let found = state.engine.cardinality(Some(&name), query.rows()?).await?;
    let unknown = || Problem::not_found(format!("no metric {name:?}"));
    let own = found.metrics.into_iter().next().ok_or_else(unknown)?;
    let catalog = state.engine.catalog().await?;
    let facts = catalog.iter().find(|facts| facts.metric == own.metric).ok_or_else(unknown)?;
    Ok(typed(&MetricDetail {
        metric: facts.into(),
        labels: own.labels.into_iter().map(Into::into).collect(),
        services: senders(own.services),
    }))
}

/// Which metrics, labels and services make how many series.
#[utoipa::path(get, path = "/api/catalog/cardinality", operation_id = "getCardinality", tag = "catalog", params(TopQuery), responses((status = 200, body = CardinalityView)))]
pub(super) async fn cardinality(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<TopQuery>,
) -> Result<Response, Problem> {
    let found = state.engine.cardinality(None, query.rows()?).await?;
    Ok(typed(&CardinalityView {
        series: found.series,
        metrics: found.metrics.into_iter().map(Into::into).collect(),
        services: senders(found.services),
    }))
}
