//! The exporter program of `tests/exporters` in Rust: what `README.md` there lists, sent by the official SDK.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::metrics::{Counter, Gauge, Histogram, MeterProvider, UpDownCounter};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream, Temporality};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

const SCOPE: &str = "fastbreak.exporters";
const BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// How to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) service: &'a str,
    pub(crate) delta: bool,
}

/// Sends both rounds. Blocks; to be called on a thread that may, within the runtime.
pub(crate) fn send(way: Way<'_>) {
    let resource = Resource::builder().with_service_name(way.service.to_owned()).build();
    let (metrics, spans) = exporters(way);
    let tracers = SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(spans).build();
    let exponential = |instrument: &Instrument| {
        let aggregation = Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };
        (instrument.name() == "shop.payment.duration")
            .then(|| Stream::builder().with_aggregation(aggregation).build().unwrap())
    };
    let meters = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_periodic_exporter(metrics)
        .with_view(exponential)
        .build();
    let shop = Shop::new(&meters);
    let tracer = tracers.tracer(SCOPE);
    for _ in 0..2 {
        let first_root = record_spans(&tracer);
        shop.record(&first_root);
        tracers.force_flush().unwrap();
        meters.force_flush().unwrap();
    }
    tracers.shutdown().unwrap();
    meters.shutdown().unwrap();
}

fn exporters(way: Way<'_>) -> (MetricExporter, SpanExporter) {
    let temporality = if way.delta { Temporality::Delta } else { Temporality::Cumulative };
    let metrics = MetricExporter::builder().with_temporality(temporality);
    if way.protocol == "grpc" {
        let metrics = metrics.with_tonic().with_endpoint(way.endpoint).build().unwrap();
        return (metrics, SpanExporter::builder().with_tonic().with_endpoint(way.endpoint).build().unwrap());
    }
    let protocol = if way.protocol == "http/json" { Protocol::HttpJson } else { Protocol::HttpBinary };
    let url = |signal: &str| format!("{}/v1/{signal}", way.endpoint);
    let metrics = metrics.with_http().with_protocol(protocol).with_endpoint(url("metrics")).build().unwrap();
    let spans = SpanExporter::builder().with_http().with_protocol(protocol).with_endpoint(url("traces"));
    (metrics, spans.build().unwrap())
}

fn get_cart() -> [KeyValue; 3] {
    [
        KeyValue::new("http.request.method", "GET"),
        KeyValue::new("http.route", "/cart"),
        KeyValue::new("http.response.status_code", 200),
    ]
}

struct Shop {
    ticks: Arc<AtomicU64>,
    orders: Counter<u64>,
    revenue: Counter<f64>,
    carts: UpDownCounter<i64>,
    temperature: Gauge<f64>,
    requests: Histogram<f64>,
    payments: Histogram<f64>,
}

impl Shop {
    fn new(meters: &SdkMeterProvider) -> Self {
        let meter = meters.meter(SCOPE);
        let ticks = Arc::<AtomicU64>::default();
        let observed = Arc::clone(&ticks);
        meter
            .u64_observable_counter("shop.cpu.ticks")
            .with_unit("{tick}")
            .with_callback(move |observer| {
                observer.observe(observed.load(Ordering::Relaxed), &[KeyValue::new("core", "0")]);
            })
            .build();
        Self {
            ticks,
            orders: meter.u64_counter("shop.orders").with_unit("{order}").build(),
            revenue: meter.f64_counter("shop.revenue").with_unit("EUR").build(),
            carts: meter.i64_up_down_counter("shop.carts").with_unit("{cart}").build(),
            temperature: meter.f64_gauge("shop.temperature").with_unit("Cel").build(),
            requests: meter
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_boundaries(BOUNDS.to_vec())
                .build(),
            payments: meter.f64_histogram("shop.payment.duration").with_unit("s").build(),
        }
    }

    /// One round.
    fn record(&self, first_root: &Context) {
        let (eu, us) = ([KeyValue::new("region", "eu")], [KeyValue::new("region", "us")]);
        self.ticks.fetch_add(100, Ordering::Relaxed);
        self.orders.add(3, &eu);
        self.orders.add(4, &eu);
        self.orders.add(10, &us);
        self.revenue.add(1.25, &eu);
        self.revenue.add(2.5, &eu);
        self.carts.add(5, &[]);
        self.carts.add(-2, &[]);
        self.temperature.record(21.5, &[]);
        let attached = first_root.clone().attach();
        self.requests.record(0.001, &get_cart());
        drop(attached);
        for i in 2..=100 {
            self.requests.record(f64::from(i) / 1000.0, &get_cart());
        }
        let post_order = [
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/order"),
            KeyValue::new("http.response.status_code", 500),
        ];
        for _ in 0..4 {
            self.requests.record(0.75, &post_order);
        }
        for i in 1..=200 {
            self.payments.record(f64::from(i) / 100.0, &[]);
        }
    }
}

/// Ten pairs of a root of 100 ms and a child of 40 ms; returns the first root.
fn record_spans(tracer: &SdkTracer) -> Context {
    let end = SystemTime::now();
    let start = end - Duration::from_millis(100);
    let mut first = None;
    for number in 1..=10 {
        let root = tracer.span_builder("GET /cart").with_kind(SpanKind::Server).with_start_time(start);
        let root = root.with_attributes(get_cart()).start_with_context(tracer, &Context::new());
        let cx = Context::new().with_span(root);
        if matches!(number, 3 | 7) {
            cx.span().set_attribute(KeyValue::new("http.response.status_code", 500));
            cx.span().set_status(Status::error("out of stock"));
        }
        let attributes = [KeyValue::new("db.system.name", "postgresql"), KeyValue::new("db.operation.name", "SELECT")];
        let child = tracer.span_builder("SELECT carts").with_kind(SpanKind::Client).with_attributes(attributes);
        let child = child.with_start_time(start + Duration::from_millis(30));
        child.start_with_context(tracer, &cx).end_with_timestamp(start + Duration::from_millis(70));
        cx.span().end_with_timestamp(end);
        first.get_or_insert(cx);
    }
    first.unwrap()
}
