//! Which metrics there are, with their labels and how many series each makes.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{self, Path};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::{State, typed};
use crate::model::{Labels, canonical_label_name, prometheus_name};
use crate::rollup::MetricEntry;

/// Values of a label that are listed, those with most series first.
const VALUES_MAX: usize = 100;

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
}

/// The metrics that there are.
#[derive(Serialize, ToSchema)]
struct MetricsView {
    metrics: Vec<MetricView>,
}

/// A label's value and the series that have it.
#[derive(Serialize, ToSchema)]
struct ValueView {
    value: String,
    series: usize,
}

/// A label of a metric.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LabelView {
    name: String,
    /// How many different values there are.
    value_count: usize,
    /// Those with most series, at most 100.
    values: Vec<ValueView>,
}

/// A metric with its labels, the one with most values first.
#[derive(Serialize, ToSchema)]
struct MetricDetail {
    #[serde(flatten)]
    metric: MetricView,
    labels: Vec<LabelView>,
}

fn view(entry: &MetricEntry) -> MetricView {
    let metric = &entry.metric;
    MetricView {
        name: metric.name.to_string(),
        prometheus_name: prometheus_name(metric),
        kind: metric.kind.as_str(),
        temporality: metric.temporality.as_str(),
        unit: metric.unit.to_string(),
        description: entry.description.to_string(),
        series: entry.series_count(),
    }
}

/// Every metric, by name.
#[utoipa::path(get, path = "/api/metrics/catalog", operation_id = "listMetrics", tag = "metrics", responses((status = 200, body = MetricsView)))]
pub(super) async fn metrics(extract::State(state): extract::State<Arc<State>>) -> Result<Response, Problem> {
    let entries = state.engine.metrics().await?;
    let mut metrics: Vec<MetricView> = entries.iter().map(|entry| view(entry)).collect();
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(typed(&MetricsView { metrics }))
}

/// One metric with its labels and their values.
#[utoipa::path(
    get,
    path = "/api/metrics/catalog/{name}",
    operation_id = "getMetric",
    tag = "metrics",
    params(("name" = String, Path, description = "as sent or as Prometheus would call it")),
    responses((status = 200, body = MetricDetail), (status = 404, description = "no such metric"))
)]
pub(super) async fn metric(
    extract::State(state): extract::State<Arc<State>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let entries = state.engine.metrics().await?;
    let is_meant = |entry: &&Arc<MetricEntry>| *entry.metric.name == *name || prometheus_name(&entry.metric) == name;
    let entry = entries.iter().find(is_meant).ok_or_else(|| Problem::not_found(format!("no metric {name:?}")))?;
    let labels = labels(&state.engine.series_labels(entry));
    Ok(typed(&MetricDetail { metric: view(entry), labels }))
}

fn labels(series: &[Labels]) -> Vec<LabelView> {
    let mut counts: HashMap<String, HashMap<&str, usize>> = HashMap::new();
    for (name, value) in series.iter().flat_map(Labels::iter) {
        *counts.entry(canonical_label_name(name).into_owned()).or_default().entry(value).or_default() += 1;
    }
    let mut labels: Vec<LabelView> = counts
        .into_iter()
        .map(|(name, values)| {
            let value_count = values.len();
            let view = |(value, series): (&str, usize)| ValueView { value: value.to_owned(), series };
            let mut values: Vec<ValueView> = values.into_iter().map(view).collect();
            values.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.value.cmp(&b.value)));
            values.truncate(VALUES_MAX);
            LabelView { name, value_count, values }
        })
        .collect();
    labels.sort_by(|a, b| b.value_count.cmp(&a.value_count).then_with(|| a.name.cmp(&b.name)));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_that_makes_most_series_comes_first() {
        let series = [
            Labels::of(&[("http.route", "/a"), ("service.name", "shop")]),
            Labels::of(&[("http.route", "/b"), ("service.name", "shop")]),
        ];
        let labels = labels(&series);
        let named: Vec<(&str, usize)> = labels.iter().map(|label| (label.name.as_str(), label.value_count)).collect();
        assert_eq!(named, [("http_route", 2), ("service_name", 1)]);
        assert_eq!((labels[1].values[0].value.as_str(), labels[1].values[0].series), ("shop", 2));
    }
}
