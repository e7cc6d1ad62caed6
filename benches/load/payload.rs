//! Payloads: one export, encoded once, whose times, values and resource are patched in place before each send.
//!
//! `numbers`: 25 metrics of 40 points, a third noisy gauges of two decimals, the rest cumulative sums of uneven steps; 5 attributes a point, 6 of the resource.
//! `mixed`: two fifths of the metrics are explicit histograms of 15 buckets. `spans`: 512 server spans of 10 attributes.
//! `requests`: one counter of 1000 points: 20 routes by 50 pods, in 10 slices of 100 series.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

pub(crate) const METRICS: usize = 25;
pub(crate) const POINTS_PER_METRIC: usize = 40;
const SPANS: usize = 512;
const OPERATIONS: usize = 40;
const BOUNDS: usize = 14;
const BUCKETS: u64 = BOUNDS as u64 + 1;

/// Stand where a value is patched in; no other eight bytes of a payload look like them.
const TIME: u64 = 0x7a11_0000_dead_0001;
const START: u64 = 0x7a11_0000_dead_0002;
const COUNTER: u64 = 0x7a11_0000_dead_0003;
const GAUGE: u64 = 0x7a11_0000_dead_0004;
const SPAN_ID: u64 = 0x7a11_0000_dead_0005;
const COUNT: u64 = 0x7a11_0000_dead_0006;
const BUCKET: u64 = 0x7a11_0000_dead_0007;
const INSTANCE: &str = "instance-00000000";

/// What a payload carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Numbers,
    Mixed,
    Spans,
    Requests,
}

/// An encoded export and where to patch it.
pub(crate) struct Payload {
    pub(crate) kind: Kind,
    /// Points or spans in it.
    pub(crate) items: u64,
    body: Vec<u8>,
    times: Vec<usize>,
    starts: Vec<usize>,
    counters: Vec<usize>,
    gauges: Vec<usize>,
    span_ids: Vec<usize>,
    /// Of histograms, each followed by its buckets.
    counts: Vec<usize>,
    buckets: Vec<usize>,
    instances: Vec<usize>,
}

impl Payload {
    pub(crate) fn new(kind: Kind) -> Self {
        let body = match kind {
            Kind::Numbers => metrics(0),
            Kind::Mixed => metrics(METRICS * 2 / 5),
            Kind::Spans => spans(),
            Kind::Requests => requests(),
        };
        let find = |needle: &[u8]| {
            body.windows(needle.len()).enumerate().filter(|(_, at)| *at == needle).map(|(at, _)| at).collect()
        };
        Self {
            kind,
            items: if kind == Kind::Spans { SPANS as u64 } else { (METRICS * POINTS_PER_METRIC) as u64 },
            times: find(&TIME.to_le_bytes()),
            starts: find(&START.to_le_bytes()),
            counters: find(&COUNTER.to_le_bytes()),
            gauges: find(&GAUGE.to_le_bytes()),
            span_ids: find(&SPAN_ID.to_le_bytes()),
            counts: find(&COUNT.to_le_bytes()),
            buckets: find(&BUCKET.to_le_bytes()),
            instances: find(INSTANCE.as_bytes()),
            body,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The export number `turn` of `instance` at `time` (Unix nanoseconds), with room for `prefix` bytes before it.
    pub(crate) fn make(&self, prefix: usize, instance: u32, turn: u64, time: u64) -> Vec<u8> {
        let mut out = vec![0; prefix];
        out.reserve_exact(self.body.len());
        out.extend_from_slice(&self.body);
        let body = &mut out[prefix..];
        let mut put = |places: &[usize], value: &dyn Fn(u64) -> u64| {
            for (i, at) in places.iter().enumerate() {
                body[*at..*at + 8].copy_from_slice(&value(i as u64).to_le_bytes());
            }
        };
        put(&self.times, &|_| time);
        let duration = |i: u64| (i * 7919 % 997 + 1) * 100_000;
        let span_start = |i| if self.kind == Kind::Spans { time - duration(i) } else { time / 3_600_000_000_000 };
        put(&self.starts, &span_start);
        put(&self.counters, &|i| total(turn, 16 * (i % 17 + 1), i));
        put(&self.gauges, &|i| (500.0 + (noise(turn, i) % 10_000) as f64 / 100.0).to_bits());
        let bucket = |i: u64| total(turn, i % BUCKETS + 1, i);
        put(&self.buckets, &bucket);
        put(&self.counts, &|i| (i * BUCKETS..(i + 1) * BUCKETS).map(bucket).sum());
        put(&self.span_ids, &|i| (turn << 16 | i) + 1);
        let name = format!("instance-{instance:08}");
        for at in &self.instances {
            body[*at..*at + name.len()].copy_from_slice(name.as_bytes());
        }
        out
    }

    /// A gRPC message: the export behind its prefix.
    pub(crate) fn grpc(&self, instance: u32, turn: u64, time: u64) -> Bytes {
        let mut out = self.make(5, instance, turn, time);
        let len = (out.len() - 5) as u32;
        out[1..5].copy_from_slice(&len.to_be_bytes());
        out.into()
    }
}

/// The same for the same, and otherwise like nothing else: windows of a real service do not repeat (splitmix64).
fn noise(turn: u64, i: u64) -> u64 {
    let mut z = (turn << 32 ^ i).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A total that grows by about `step` a turn, never the same twice and never down.
fn total(turn: u64, step: u64, i: u64) -> u64 {
    turn * step + noise(turn, i) % step
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..Default::default()
    }
}

fn resource() -> Option<Resource> {
    let attributes = [
        ("service.name", "checkout"),
        ("service.namespace", "shop"),
        ("service.version", "1.42.0"),
        ("service.instance.id", INSTANCE),
        ("host.name", "node-17.internal.example"),
        ("deployment.environment.name", "production"),
    ];
    let attributes = attributes.map(|(key, value)| attribute(key, value.to_owned())).into();
    Some(Resource { attributes, ..Resource::default() })
}

/// The service of [`memory_utilization`].
pub(crate) const FRESH: &str = "fresh";

/// An export of one gauge that an indicator shows, of a service of its own.
pub(crate) fn memory_utilization(ratio: f64) -> Vec<u8> {
    let point = NumberDataPoint {
        attributes: vec![attribute("system.memory.state", "used".to_owned())],
        time_unix_nano: crate::generator::now(),
        value: Some(number_data_point::Value::AsDouble(ratio)),
        ..NumberDataPoint::default()
    };
    let data = metric::Data::Gauge(Gauge { data_points: vec![point] });
    let name = "system.memory.utilization".to_owned();
    let metrics = vec![Metric { name, unit: "1".to_owned(), data: Some(data), ..Metric::default() }];
    let resource = Resource { attributes: vec![attribute("service.name", FRESH.to_owned())], ..Resource::default() };
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "bench".to_owned(), version: "1.0.0".to_owned(), ..Default::default() })
}

fn point_attributes(metric: usize, point: usize) -> Vec<KeyValue> {
    vec![
        attribute("http.request.method", ["GET", "POST", "PUT", "DELETE"][point % 4].to_owned()),
        attribute("http.route", format!("/api/v1/resource-{metric}/{{id}}/items-{}", point / 4)),
        attribute("http.response.status_code", (200 + point % 5 * 100).to_string()),
        attribute("server.address", format!("backend-{point:02}.internal.example")),
        attribute("network.protocol.version", "1.1".to_owned()),
    ]
}

fn number(metric: usize, point: usize, value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: point_attributes(metric, point),
        start_time_unix_nano: START,
        time_unix_nano: TIME,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn histogram(metric: usize, point: usize) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: point_attributes(metric, point),
        start_time_unix_nano: START,
        time_unix_nano: TIME,
        count: COUNT,
        sum: Some(123.25),
        explicit_bounds: (0..BOUNDS).map(|i| 0.005 * f64::from(1 << i)).collect(),
        bucket_counts: vec![BUCKET; BOUNDS + 1],
        ..HistogramDataPoint::default()
    }
}

fn requests() -> Vec<u8> {
    let point = |i: usize| NumberDataPoint {
        attributes: vec![
            attribute("http.route", format!("/api/v1/resource-{}", i % 20)),
            attribute("k8s.pod.name", format!("pod-{}", i / 20)),
            attribute("slice", format!("s{}", i % 10)),
        ],
        start_time_unix_nano: START,
        time_unix_nano: TIME,
        value: Some(number_data_point::Value::AsInt(COUNTER as i64)),
        ..NumberDataPoint::default()
    };
    let data_points = (0..METRICS * POINTS_PER_METRIC).map(point).collect();
    let sum = Sum { data_points, aggregation_temporality: 2, is_monotonic: true };
    let name = "bench.requests".to_owned();
    export(vec![Metric { name, data: Some(metric::Data::Sum(sum)), ..Metric::default() }])
}

fn metrics(histograms: usize) -> Vec<u8> {
    let points = 0..POINTS_PER_METRIC;
    let one = |i: usize| {
        let data = if i < histograms {
            let data_points = points.clone().map(|point| histogram(i, point)).collect();
            metric::Data::Histogram(Histogram { data_points, aggregation_temporality: 2 })
        } else if i.is_multiple_of(3) {
            let value = number_data_point::Value::AsDouble(f64::from_bits(GAUGE));
            metric::Data::Gauge(Gauge { data_points: points.clone().map(|point| number(i, point, value)).collect() })
        } else {
            let value = number_data_point::Value::AsInt(COUNTER as i64);
            let data_points = points.clone().map(|point| number(i, point, value)).collect();
            metric::Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true })
        };
        Metric { name: format!("bench.metric.{i}"), unit: "1".to_owned(), data: Some(data), ..Metric::default() }
    };
    export((0..METRICS).map(one).collect())
}

fn export(metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn spans() -> Vec<u8> {
    let one = |i: usize| {
        let operation = i % OPERATIONS;
        let attributes = vec![
            attribute("http.request.method", ["GET", "POST"][operation % 2].to_owned()),
            attribute("http.route", format!("/api/v1/resource-{operation}/{{id}}")),
            attribute("http.response.status_code", "200".to_owned()),
            attribute("url.scheme", "https".to_owned()),
            attribute("url.path", format!("/api/v1/resource-{operation}/{i}")),
            attribute("server.address", "shop.example".to_owned()),
            attribute("client.address", format!("10.1.{}.{}", i % 7, i % 251)),
            attribute("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)".to_owned()),
            attribute("network.protocol.version", "1.1".to_owned()),
            attribute("thread.name", format!("worker-{}", i % 16)),
        ];
        Span {
            trace_id: [SPAN_ID.to_le_bytes(), SPAN_ID.to_le_bytes()].concat(),
            span_id: SPAN_ID.to_le_bytes().to_vec(),
            name: format!("GET /api/v1/resource-{operation}/{{id}}"),
            kind: 2,
            start_time_unix_nano: START,
            end_time_unix_nano: TIME,
            attributes,
            ..Span::default()
        }
    };
    let scope_spans =
        vec![ScopeSpans { scope: scope(), spans: (0..SPANS).map(one).collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}
