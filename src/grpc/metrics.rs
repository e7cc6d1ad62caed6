//! `MetricsService`: the catalog and where series come from.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tonic::{Request, Response, Status};

use super::convert::{bad_field, refusal, time, timestamp};
use crate::model::{MetricKind, Temporality};
use crate::proto;
use crate::proto::metrics_service_server::MetricsService;
use crate::query::{Cardinality, Counted, Engine, MetricCardinality, MetricFacts, QueryError};

/// Most rows of a list.
const TOP_MAX: u32 = 1_000;
/// Rows of a list when nobody says.
const TOP: u32 = 20;
/// How far back is looked when nobody says, in milliseconds.
const SPAN_MS: i64 = 24 * 3_600_000;

/// The service.
pub(super) struct Metrics(pub(super) Arc<Engine>);

fn status(error: &QueryError) -> Status {
    refusal(error, error.code(), &[])
}

const fn kind(kind: MetricKind) -> proto::MetricKind {
    match kind {
        MetricKind::Gauge => proto::MetricKind::Gauge,
        MetricKind::Counter => proto::MetricKind::Counter,
        MetricKind::UpDownCounter => proto::MetricKind::UpDownCounter,
        MetricKind::Histogram => proto::MetricKind::Histogram,
        MetricKind::ExponentialHistogram => proto::MetricKind::ExponentialHistogram,
        MetricKind::Summary => proto::MetricKind::Summary,
    }
}

const fn temporality(temporality: Temporality) -> proto::Temporality {
    match temporality {
        Temporality::None => proto::Temporality::Unspecified,
        Temporality::Delta => proto::Temporality::Delta,
        Temporality::Cumulative => proto::Temporality::Cumulative,
    }
}

impl From<MetricFacts> for proto::MetricInfo {
    fn from(facts: MetricFacts) -> Self {
        Self {
            name: facts.metric.name.to_string(),
            prometheus_name: facts.prometheus_name,
            unit: facts.metric.unit.to_string(),
            kind: kind(facts.metric.kind).into(),
            temporality: temporality(facts.metric.temporality).into(),
            description: facts.description,
            series: facts.series as u64,
            last_seen_at: facts.last_seen.and_then(DateTime::from_timestamp_millis).map(timestamp),
        }
    }
}

fn all(counted: Vec<Counted>) -> Vec<proto::Counted> {
    counted.into_iter().map(|one| proto::Counted { name: one.name, count: one.series }).collect()
}

impl From<MetricCardinality> for proto::MetricCardinality {
    fn from(one: MetricCardinality) -> Self {
        Self {
            name: one.metric.name.to_string(),
            prometheus_name: one.prometheus_name,
            series: one.series,
            labels: one.labels.into_iter().map(|l| proto::Counted { name: l.name, count: l.value_count }).collect(),
            services: all(one.services),
        }
    }
}

impl From<Cardinality> for proto::Cardinality {
    fn from(found: Cardinality) -> Self {
        Self {
            series: found.series,
            metrics: found.metrics.into_iter().map(Into::into).collect(),
            services: all(found.services),
        }
    }
}

#[tonic::async_trait]
impl MetricsService for Metrics {
    async fn list_metrics(
        &self,
        request: Request<proto::ListMetricsRequest>,
    ) -> Result<Response<proto::ListMetricsResponse>, Status> {
        let search = request.into_inner().search;
        let found = self.0.catalog().await.map_err(|error| status(&error))?;
        let metrics = found.into_iter().filter(|facts| facts.is_about(&search)).map(Into::into).collect();
        Ok(Response::new(proto::ListMetricsResponse { metrics }))
    }

    async fn list_label_values(
        &self,
        request: Request<proto::ListLabelValuesRequest>,
    ) -> Result<Response<proto::ListLabelValuesResponse>, Status> {
        let proto::ListLabelValuesRequest { label, matchers, start, end } = request.into_inner();
        if label.is_empty() {
            return Err(bad_field("label", "must be the name of a label"));
        }
        let end = time("end", end)?.unwrap_or_else(Utc::now).timestamp_millis();
        let start = time("start", start)?.map_or(end - SPAN_MS, |start| start.timestamp_millis());
        if end < start {
            return Err(bad_field("end", "must not be before start"));
        }
        let values = self.0.label_values(&label, &matchers, (start, end)).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListLabelValuesResponse { values }))
    }

    async fn get_cardinality(
        &self,
        request: Request<proto::GetCardinalityRequest>,
    ) -> Result<Response<proto::Cardinality>, Status> {
        let proto::GetCardinalityRequest { metric, top } = request.into_inner();
        if top > TOP_MAX {
            return Err(bad_field("top", format!("must be at most {TOP_MAX}")));
        }
        let top = if top == 0 { TOP } else { top };
        let name = Some(metric.as_str()).filter(|name| !name.is_empty());
        let found = self.0.cardinality(name, top as usize).await.map_err(|error| status(&error))?;
        Ok(Response::new(found.into()))
    }
}
