//! Exports made by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
    number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

pub(crate) const DELTA: i32 = 1;
pub(crate) const CUMULATIVE: i32 = 2;

/// Now in nanoseconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

pub(crate) fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| attribute(key, value)).collect()
}

pub(crate) fn point(value: f64, time: u64, pairs: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(pairs),
        time_unix_nano: time,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

pub(crate) fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric { name: name.to_owned(), data: Some(Data::Gauge(Gauge { data_points })), ..Metric::default() }
}

pub(crate) fn counter(name: &str, aggregation_temporality: i32, data_points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum { data_points, aggregation_temporality, is_monotonic: true };
    Metric { name: name.to_owned(), data: Some(Data::Sum(sum)), ..Metric::default() }
}

pub(crate) fn histogram(name: &str, aggregation_temporality: i32, data_points: Vec<HistogramDataPoint>) -> Metric {
    let data = Some(Data::Histogram(Histogram { data_points, aggregation_temporality }));
    Metric { name: name.to_owned(), unit: "s".to_owned(), data, ..Metric::default() }
}

pub(crate) fn request(service: &str, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let resource = Some(Resource { attributes: attributes(&[("service.name", service)]), ..Resource::default() });
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Sends over gRPC.
pub(crate) async fn grpc(
    endpoint: &str,
    request: ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, tonic::Status> {
    let mut client = MetricsServiceClient::connect(endpoint.to_owned())
        .await
        .map_err(|e| tonic::Status::unavailable(e.to_string()))?;
    Ok(client.export(request).await?.into_inner())
}

/// Sends over HTTP as protobuf; true when acknowledged.
pub(crate) async fn http(client: &reqwest::Client, endpoint: &str, body: &[u8]) -> bool {
    let request = client.post(format!("{endpoint}/v1/metrics")).header("content-type", "application/x-protobuf");
    matches!(request.body(body.to_vec()).send().await, Ok(answer) if answer.status().is_success())
}

pub(crate) fn bytes(request: &ExportMetricsServiceRequest) -> Vec<u8> {
    request.encode_to_vec()
}
