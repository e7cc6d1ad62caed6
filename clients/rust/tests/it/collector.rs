//! An OTLP receiver that keeps what is exported.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    pub(crate) metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    pub(crate) traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

/// Last values by metric and labels, such as `name{a=1,b=x}`; of a histogram its count.
pub(crate) type Series = BTreeMap<String, f64>;

impl Collector {
    pub(crate) fn services(&self) -> (MetricsServiceServer<Self>, TraceServiceServer<Self>) {
        (MetricsServiceServer::new(self.clone()), TraceServiceServer::new(self.clone()))
    }

    /// What the last export of metrics said; every metric must have a unit, and those that begin so a description.
    pub(crate) fn series(&self, described: &str) -> Series {
        let exports = self.metrics.lock();
        let resources = exports.last().unwrap().resource_metrics.iter();
        let metrics = resources.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
        let mut series = Series::new();
        for metric in metrics {
            assert!(!metric.unit.is_empty(), "{} has no unit", metric.name);
            assert!(
                !metric.name.starts_with(described) || !metric.description.is_empty(),
                "{} says nothing",
                metric.name
            );
            for (labels, value) in points(metric) {
                series.insert(format!("{}{{{labels}}}", metric.name), value);
            }
        }
        series
    }
}

fn points(metric: &Metric) -> Vec<(String, f64)> {
    let numbers = match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => &gauge.data_points,
        Data::Sum(sum) => &sum.data_points,
        Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            return points.map(|point| (labels(&point.attributes), point.count as f64)).collect();
        }
        other => panic!("not expected: {other:?}"),
    };
    let value = |value| match value {
        number_data_point::Value::AsDouble(value) => value,
        number_data_point::Value::AsInt(value) => value as f64,
    };
    numbers.iter().map(|point| (labels(&point.attributes), value(point.value.unwrap()))).collect()
}

fn labels(attributes: &[KeyValue]) -> String {
    let text = |kv: &KeyValue| match kv.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => format!("{}={text}", kv.key),
        Value::IntValue(number) => format!("{}={number}", kv.key),
        other => panic!("not expected: {other:?}"),
    };
    let mut labels: Vec<_> = attributes.iter().map(text).collect();
    labels.sort();
    labels.join(",")
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
