//! Services that call each other are one trace and one graph, also with the SDKs of three languages.

use std::process::Command;

use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, propagation::TextMapPropagator};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;

use crate::exporters::{NODE, PYTHON, directory};
use crate::support::server::{Options, client};
use crate::support::spans::{CLIENT, failed, kept_spans, send, span, trace_id, with};
use crate::support::{Database, Server, eventually};

fn options(database: &Database) -> Options {
    Options::on(database).with("FASTBREAK_TRACE_WAIT", "1s").with("FASTBREAK_WINDOW", "1s")
}

/// The graph's edges in words, with calls and errors.
async fn edges(server: &Server) -> Vec<String> {
    let graph = server.get("/api/service-graph?minutes=10").await;
    let text = |edge: &Value, field: &str| edge[field].as_str().unwrap().to_owned();
    let line = |edge: &Value| {
        let (requests, errors) = (edge["requests"].as_f64().unwrap(), edge["errorRate"].as_f64().unwrap());
        let ends = [text(edge, "client"), text(edge, "connection"), text(edge, "server")].join(" ");
        format!("{ends} {requests:.0} {:.0}", requests * errors)
    };
    graph["edges"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_edges_with_their_rate_errors_and_durations() {
    let server = options(&Database::create().await).start();
    for trace in 1..=10 {
        let mut call = span(trace, (2, 1), "GET", 40);
        call.kind = CLIENT;
        send(&server, "front", vec![span(trace, (1, 0), "GET /cart", 50), call]).await;
        let mut query = with(span(trace, (4, 3), "SELECT", 5), &[("db.system", "postgresql"), ("db.name", "shop")]);
        query.kind = CLIENT;
        let answer = span(trace, (3, 2), "GET /stock", 30);
        send(&server, "stock", vec![if trace == 1 { failed(answer) } else { answer }, query]).await;
    }
    eventually("all calls are edges", async || {
        edges(&server).await == ["front request stock 10 1", "stock database postgresql shop 10 0"]
    })
    .await;
    let graph = server.get("/api/service-graph").await;
    let p95 = graph["edges"][0]["p95Ms"].as_f64().unwrap();
    assert!((28.0..32.0).contains(&p95), "as the called saw it: {p95}");
    let kinds: Vec<&str> =
        graph["nodes"].as_array().unwrap().iter().map(|node| node["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["service", "database", "service"], "{graph}");
    let total = server.number("sum(increase(traces_service_graph_request_total[10m]))").await;
    assert_eq!(total, Some(20.0), "they are series like any other");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_each_see_a_side_pair_the_call() {
    let database = Database::create().await;
    let (one, other) = (options(&database).start(), options(&database).start());
    for trace in 1..=10 {
        let mut call = span(trace, (2, 1), "GET", 40);
        call.kind = CLIENT;
        send(&one, "front", vec![span(trace, (1, 0), "GET /cart", 50), call]).await;
        send(&other, "stock", vec![span(trace, (3, 2), "GET /stock", 30)]).await;
    }
    eventually("all calls are one edge", async || edges(&one).await == ["front request stock 10 0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn literals_of_statements_are_never_stored() {
    let database = Database::create().await;
    let server = options(&database).start();
    let text = "SELECT * FROM users WHERE mail = 'jane@example.org' AND pin = 4711";
    let query = with(span(1, (1, 0), "SELECT", 5), &[("db.system", "postgresql"), ("db.statement", text)]);
    send(&server, "stock", vec![failed(query)]).await;
    eventually("the trace is kept", async || kept_spans(&server, 1).await == Some(1)).await;
    let whole = server.get(&format!("/api/traces/{}/spans/0000000000000001", trace_id(1))).await;
    assert_eq!(whole["attributes"]["db.statement"], "SELECT * FROM users WHERE mail = ? AND pin = ?");
}

/// A root in Rust, which calls Python, which calls Node, which asks its database.
async fn call_through(server: &Server) -> String {
    let exporter = SpanExporter::builder().with_http().with_endpoint(format!("{}/v1/traces", server.otlp_http));
    let resource = Resource::builder().with_service_name("front").build();
    let endpoint = server.otlp_http.clone();
    tokio::task::block_in_place(|| {
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter.build().unwrap()).build();
        let tracer = provider.tracer("fastbreak.exporters");
        let root = tracer.span_builder("GET /").with_kind(SpanKind::Server);
        let root = Context::new().with_span(root.start_with_context(&tracer, &Context::new()));
        let call = tracer.span_builder("GET").with_kind(SpanKind::Client).start_with_context(&tracer, &root);
        let call = root.with_span(call);
        let mut carrier = std::collections::HashMap::new();
        TraceContextPropagator::new().inject_context(&call, &mut carrier);
        let status = Command::new(directory().join("python/.venv/bin/python"))
            .args(["python/call.py", &endpoint, "cart", &carrier["traceparent"]])
            .args(["node", "node/call.mjs", &endpoint, "stock"])
            .current_dir(directory())
            .status()
            .unwrap();
        assert!(status.success());
        call.span().end();
        root.span().end();
        let id = root.span().span_context().trace_id().to_string();
        provider.shutdown().unwrap();
        id
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn services_in_three_languages_are_one_trace_and_one_graph() {
    let installed = tokio::task::spawn_blocking(|| PYTHON.install() && NODE.install()).await.unwrap();
    if !installed {
        println!("skipped: there is no python or node here");
        return;
    }
    let server = options(&Database::create().await).with("FASTBREAK_TRACE_WAIT", "3s").start();
    let id = call_through(&server).await;
    eventually("all six spans are in the trace", async || {
        let answer = client().get(format!("{}/api/traces/{id}", server.http)).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        body["trace"]["spanCount"] == 6
    })
    .await;
    let trace = server.get(&format!("/api/traces/{id}")).await;
    assert_eq!(trace["trace"]["rootService"], "front");
    assert_eq!(trace["trace"]["services"], serde_json::json!(["cart", "front", "stock"]));
    // From the query up to the root; clocks of one millisecond leave the order of the last two open.
    let place = |i: usize| trace["spans"]["operation"][i].as_u64().unwrap() as usize;
    let name = |i: usize| trace["operations"][place(i)].as_str().unwrap().to_owned();
    let query = (0..6).find(|i| name(*i) == "SELECT stock").unwrap();
    let up = |i: &usize| trace["spans"]["parent"][*i].as_u64().map(|parent| parent as usize);
    let chain: Vec<String> = std::iter::successors(Some(query), up).map(name).collect();
    assert_eq!(chain, ["SELECT stock", "GET /stock", "GET", "GET /cart", "GET", "GET /"], "each calls the next");
    eventually("the graph has all edges", async || {
        edges(&server).await
            == ["cart request stock 1 0", "front request cart 1 0", "stock database postgresql shop 1 1"]
    })
    .await;
    let query = trace["spans"]["id"][query].as_str().unwrap();
    let query = server.get(&format!("/api/traces/{id}/spans/{query}")).await;
    assert_eq!(query["attributes"]["db.query.text"], "SELECT * FROM stock WHERE sku = ? AND n > ?");
}
