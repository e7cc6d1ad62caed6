//! Cardinality: how many series there are, and which metric, label and service they come from.

use std::sync::Arc;

use hashbrown::HashMap;

use super::QueryError;
use super::engine::Engine;
use super::select::told_name;
use crate::model::{Metric, canonical_label_name};
use crate::rollup::MetricEntry;

/// The label that says who sends a series.
const SERVICE: &str = "service_name";

/// So many series of something named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// A value or a service.
    pub name: String,
    /// Its series.
    pub series: u64,
}

/// The values of one label of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelCardinality {
    /// The label, in PromQL's spelling.
    pub name: String,
    /// Distinct values.
    pub value_count: u64,
    /// The values of the most series, the most first; none where all metrics are told.
    pub values: Vec<Counted>,
}

/// Where the series of one metric come from.
#[derive(Clone, Debug)]
pub struct MetricCardinality {
    /// Its identity.
    pub metric: Arc<Metric>,
    /// Its current name in PromQL's spelling.
    pub prometheus_name: String,
    /// Its series.
    pub series: u64,
    /// Its labels by distinct values, the most first.
    pub labels: Vec<LabelCardinality>,
    /// Who sends it by series, the most first.
    pub services: Vec<Counted>,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Cardinality {
    /// All series.
    pub series: u64,
    /// The metrics of the most series, the most first.
    pub metrics: Vec<MetricCardinality>,
    /// The services of the most series, over all metrics, the most first.
    pub services: Vec<Counted>,
}

impl Engine {
    /// The `top` metrics and services by series; of the metric called `name`, in either spelling, when one is given.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn cardinality(&self, name: Option<&str>, top: usize) -> Result<Cardinality, QueryError> {
        let mut metrics = self.admitted(self.all_metrics()).await?;
        if let Some(name) = name {
            metrics.retain(|entry| &*entry.metric.name == name || told_name(&entry.metric) == name);
        }
        let values = if name.is_some() { top } else { 0 };
        tokio::task::block_in_place(|| Ok(self.cardinality_of(metrics, (top, values))))
    }

    fn cardinality_of(&self, mut metrics: Vec<Arc<MetricEntry>>, (top, values): (usize, usize)) -> Cardinality {
        let mut services: HashMap<String, u64> = HashMap::new();
        for metric in &metrics {
            for service in self.values_of(metric, SERVICE) {
                *services.entry(service.name).or_default() += service.series;
            }
        }
        let services = services.into_iter().map(|(name, series)| Counted { name, series });
        let series = metrics.iter().map(|metric| metric.series_count() as u64).sum();
        metrics.sort_by_key(|metric| (std::cmp::Reverse(metric.series_count()), metric.id));
        metrics.truncate(top);
        let metrics = metrics.iter().map(|metric| MetricCardinality {
            metric: Arc::clone(&metric.metric),
            prometheus_name: told_name(&metric.metric),
            series: metric.series_count() as u64,
            labels: self.labels_of(metric, (top, values)),
            services: most(self.values_of(metric, SERVICE), top),
        });
        Cardinality { series, metrics: metrics.collect(), services: most(services, top) }
    }

    /// The `top` labels of a metric, each with so many `values`.
    fn labels_of(&self, metric: &MetricEntry, (top, values): (usize, usize)) -> Vec<LabelCardinality> {
        let registry = self.streams.registry();
        let names = self.indexes.names(registry, metric).into_iter();
        let counts = names.map(|name| (self.indexes.values(registry, metric, &name).len() as u64, name));
        let mut counts: Vec<(u64, Arc<str>)> = counts.collect();
        counts.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        counts.truncate(top);
        let label = |(value_count, name): (u64, Arc<str>)| LabelCardinality {
            values: if values == 0 { Vec::new() } else { most(self.values_of(metric, &name), values) },
            name: canonical_label_name(&name).into_owned(),
            value_count,
        };
        counts.into_iter().map(label).collect()
    }

    /// The values of a label of a metric with how many series each has.
    fn values_of(&self, metric: &MetricEntry, label: &str) -> impl Iterator<Item = Counted> + use<> {
        let values = self.indexes.values(self.streams.registry(), metric, label).into_iter();
        values.map(|(value, series)| Counted { name: (*value).to_owned(), series })
    }
}

fn most(counted: impl Iterator<Item = Counted>, top: usize) -> Vec<Counted> {
    let mut counted: Vec<Counted> = counted.collect();
    counted.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.name.cmp(&b.name)));
    counted.truncate(top);
    counted
}
