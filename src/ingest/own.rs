//! The host's own measurements as an export like any other.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::model::TimeMs;
use crate::telemetry::{HostSample, SampleKind};

const CUMULATIVE: i32 = 2;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// `samples` taken at `now` on host `host` as an `ExportMetricsServiceRequest`.
#[must_use]
pub fn encode_host(samples: &[HostSample], host: &str, now: TimeMs) -> Vec<u8> {
    let nanos = now as u64 * 1_000_000;
    let metrics = samples.iter().map(|sample| metric(sample, nanos)).collect();
    let attributes =
        [("service.name", "fastbreak"), ("service.version", env!("CARGO_PKG_VERSION")), ("host.name", host)];
    let resource = Resource { attributes: attributes.map(|(k, v)| attribute(k, v)).into(), ..Resource::default() };
    let scope = InstrumentationScope { name: "fastbreak.host".to_owned(), ..InstrumentationScope::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn metric(sample: &HostSample, nanos: u64) -> Metric {
    let data_points = vec![NumberDataPoint {
        attributes: sample.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        time_unix_nano: nanos,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }];
    let data = match sample.kind {
        SampleKind::Gauge => Data::Gauge(Gauge { data_points }),
        SampleKind::Counter => Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true }),
    };
    Metric { name: sample.name.to_owned(), unit: sample.unit.to_owned(), data: Some(data), ..Metric::default() }
}
