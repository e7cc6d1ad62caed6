//! Edges of the service graph as an export of metrics like any other, so that they have history.
//!
//! Names are those of the collector's service-graph connector, which Grafana's graph asks for.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    exponential_histogram_data_point::Buckets as Sent, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::model::{Buckets, ExponentialBuckets, Histogram};
use crate::traces::{Calls, Edge};

const DELTA: i32 = 1;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn labels(edge: &Edge) -> Vec<KeyValue> {
    [("client", &*edge.client), ("server", &*edge.server), ("connection_type", edge.connection.as_str())]
        .map(|(key, value)| attribute(key, value))
        .into()
}

fn nanos(calls: &Calls) -> u64 {
    calls.time.max(0) as u64 * 1_000_000
}

fn sum(name: &str, edges: &[(Edge, Calls)], value: impl Fn(&Calls) -> f64) -> Metric {
    let point = |(edge, calls): &(Edge, Calls)| NumberDataPoint {
        attributes: labels(edge),
        time_unix_nano: nanos(calls),
        value: Some(number_data_point::Value::AsDouble(value(calls))),
        ..NumberDataPoint::default()
    };
    let data_points = edges.iter().map(point).collect();
    let data = Data::Sum(Sum { data_points, aggregation_temporality: DELTA, is_monotonic: true });
    Metric { name: name.to_owned(), unit: "{request}".to_owned(), data: Some(data), ..Metric::default() }
}

fn buckets(buckets: &ExponentialBuckets) -> Option<Sent> {
    Some(Sent { offset: buckets.offset, bucket_counts: buckets.counts.clone() })
}

fn durations(name: &str, edges: &[(Edge, Calls)], of: impl Fn(&Calls) -> &Histogram) -> Metric {
    let point = |(edge, calls): &(Edge, Calls)| {
        let histogram = of(calls);
        let Buckets::Exponential { scale, zero_count, positive, negative, .. } = &histogram.buckets else {
            return None;
        };
        Some(ExponentialHistogramDataPoint {
            attributes: labels(edge),
            time_unix_nano: nanos(calls),
            count: histogram.count,
            sum: Some(histogram.sum),
            min: histogram.min,
            max: histogram.max,
            scale: *scale,
            zero_count: *zero_count,
            positive: buckets(positive),
            negative: buckets(negative),
            ..ExponentialHistogramDataPoint::default()
        })
    };
    let data_points = edges.iter().filter_map(point).collect();
    let data = Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: DELTA });
    Metric { name: name.to_owned(), unit: "s".to_owned(), data: Some(data), ..Metric::default() }
}

/// `edges` as an `ExportMetricsServiceRequest`.
#[must_use]
pub fn encode_edges(edges: &[(Edge, Calls)]) -> Vec<u8> {
    let metrics = vec![
        sum("traces.service.graph.request", edges, |calls| calls.count),
        sum("traces.service.graph.request.failed", edges, |calls| calls.failed),
        durations("traces.service.graph.request.client", edges, |calls| &calls.client),
        durations("traces.service.graph.request.server", edges, |calls| &calls.server),
    ];
    let attributes = vec![attribute("service.name", "fastbreak")];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope = Some(InstrumentationScope { name: "fastbreak.traces".to_owned(), ..InstrumentationScope::default() });
    let scope_metrics = vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}
