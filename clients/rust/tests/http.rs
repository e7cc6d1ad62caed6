//! The HTTP layer under axum, read back from the SDK's own memory.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use fastbreak_client::http::HttpLayer;
use http_body_util::BodyExt as _;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, global};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tower::ServiceExt as _;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Series = BTreeMap<Vec<(String, String)>, f64>;

/// Every series of a metric, and what it counts; boundaries must be those of the conventions.
fn read(exporter: &InMemoryMetricExporter, name: &str) -> Series {
    let mut found = Series::new();
    let exported = exporter.get_finished_metrics().unwrap();
    let metrics = exported.last().unwrap().scope_metrics().flat_map(|scope| scope.metrics());
    for metric in metrics.filter(|metric| metric.name() == name) {
        let labels = |attributes: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| -> Vec<(String, String)> {
            let mut labels: Vec<_> = attributes.map(|kv| (kv.key.to_string(), kv.value.to_string())).collect();
            labels.sort();
            labels
        };
        match metric.data() {
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                assert_eq!(metric.unit(), "s");
                for point in histogram.data_points() {
                    assert_eq!(point.bounds().count(), 14);
                    found.insert(labels(&mut point.attributes()), point.count() as f64);
                }
            }
            AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                for point in sum.data_points() {
                    found.insert(labels(&mut point.attributes()), point.value() as f64);
                }
            }
            other => panic!("not expected: {other:?}"),
        }
    }
    found
}

fn label<'a>(labels: &'a [(String, String)], key: &str) -> Option<&'a str> {
    labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

async fn ask(app: &Router, method: &str, path: &str) -> StatusCode {
    let request =
        Request::builder().method(method).uri(path).header("traceparent", PARENT).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn requests_are_named_by_route_and_never_by_path() {
    let metrics = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(metrics.clone()).build()).build();
    let spans = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(tracers.clone());
    let layer = HttpLayer::with(&meters.meter("test"), global::tracer("test")).exclude(["/health", "/internal/*"]);
    let in_trace = || async { Context::current().span().span_context().trace_id().to_string() };
    let app = Router::new()
        .route("/users/{id}", get(in_trace))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/health", get(|| async { "ok" }))
        .route("/internal/x", get(|| async { "ok" }))
        .layer(layer);

    for id in 0..300 {
        assert_eq!(ask(&app, "GET", &format!("/users/{id}")).await, StatusCode::OK);
        assert_eq!(ask(&app, "GET", &format!("/nobody/knows/{id}")).await, StatusCode::NOT_FOUND);
        assert_eq!(ask(&app, &format!("BREW{id}"), "/users/7").await, StatusCode::METHOD_NOT_ALLOWED);
    }
    for path in ["/broken", "/health", "/internal/x"] {
        ask(&app, "GET", path).await;
    }
    // One whose caller leaves.
    drop(app.clone().oneshot(Request::get("/users/left").body(Body::empty()).unwrap()));
    meters.force_flush().unwrap();

    let durations = read(&metrics, "http.server.request.duration");
    let of = |route: &str, method: &str| {
        let is_it = |labels: &[(String, String)]| {
            label(labels, "http.route") == Some(route) && label(labels, "http.request.method") == Some(method)
        };
        durations.iter().find(|(labels, _)| is_it(labels)).map(|(labels, count)| (labels.clone(), *count))
    };
    assert_eq!(durations.len(), 4, "{durations:#?}");
    let (labels, count) = of("/users/{id}", "GET").unwrap();
    assert_eq!((count, label(&labels, "http.response.status_code")), (300.0, Some("200")));
    assert_eq!(label(&labels, "error.type"), None);
    assert_eq!(of("unmatched", "GET").unwrap().1, 300.0);
    assert_eq!(of("/users/{id}", "_OTHER").unwrap().1, 300.0);
    let (labels, _) = of("/broken", "GET").unwrap();
    assert_eq!(label(&labels, "error.type"), Some("502"));
    let active = read(&metrics, "http.server.active_requests");
    assert!(active.values().all(|now| *now == 0.0) && active.len() == 2, "{active:?}");

    let spans = spans.get_finished_spans().unwrap();
    let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == trace && span.span_kind == SpanKind::Server));
    let named = |name: &str| spans.iter().filter(|span| span.name == name).count();
    assert_eq!((spans.len(), named("GET /users/{id}"), named("GET"), named("GET /broken")), (901, 300, 300, 1));
}

#[tokio::test]
async fn a_handler_works_within_the_span() {
    let tracers = SdkTracerProvider::builder().build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = global::BoxedTracer::new(Box::new(opentelemetry::trace::TracerProvider::tracer(&tracers, "test")));
    let layer = HttpLayer::with(&SdkMeterProvider::default().meter("test"), tracer);
    let trace = || async { Context::current().span().span_context().trace_id().to_string() };
    let app = Router::new().route("/trace", get(trace)).layer(layer);
    let request = Request::get("/trace").header("traceparent", PARENT).body(Body::empty()).unwrap();
    let body = app.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "0af7651916cd43dd8448eb211c80319c");
}
