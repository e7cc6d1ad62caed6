//! What kept traces cost, how fast one opens, and how fast a search over many of them answers.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use crate::Effort;
use crate::contenders::{Contender, Field};
use crate::generator::now;
use crate::process::Server;
use crate::tables::median;

/// Spans of a usual trace, and traces of an export.
const SPANS: u64 = 8;
const TRACES: u64 = 250;
/// Spans of one export of a large trace.
const PIECE: u64 = 5_000;
/// How long the decider may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// A number that looks like chance, the same in every run.
fn chance(i: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes())
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    }
}

fn trace_id(trace: u64) -> Vec<u8> {
    [chance(trace).to_le_bytes(), chance(trace ^ u64::MAX).to_le_bytes()].concat()
}

/// Span `i` of a trace, as an instrumented service makes it: ten attributes, four of which are seldom the same.
fn span(trace: u64, i: u64, end: u64) -> Span {
    let own = chance(trace * 1_000_003 + i);
    let route = own % 50;
    let attributes = vec![
        attribute("http.request.method", ["GET", "POST"][(own % 2) as usize].to_owned()),
        attribute("http.route", format!("/api/v1/resource-{route}/{{id}}")),
        attribute("http.response.status_code", "200".to_owned()),
        attribute("url.scheme", "https".to_owned()),
        attribute("url.path", format!("/api/v1/resource-{route}/{}", own % 100_000)),
        attribute("server.address", "shop.example".to_owned()),
        attribute("client.address", format!("10.1.{}.{}", own % 7, own % 251)),
        attribute("user.id", format!("user-{}", chance(trace) % 1_000_000)),
        attribute("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)".to_owned()),
        attribute("thread.name", format!("worker-{}", own % 16)),
    ];
    let start = end - 50_000_000 - own % 40_000_000;
    Span {
        trace_id: trace_id(trace),
        span_id: (own | 1).to_le_bytes().to_vec(),
        parent_span_id: if i == 0 {
            Vec::new()
        } else {
            (chance(trace * 1_000_003 + i / 2) | 1).to_le_bytes().to_vec()
        },
        name: format!("GET /api/v1/resource-{route}/{{id}}"),
        kind: 2 + (i % 2) as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000 + own % 20_000_000,
        attributes,
        status: (i == 0).then(|| Status { code: 2, message: String::new() }),
        ..Span::default()
    }
}

fn body(service: u64, spans: Vec<Span>) -> Vec<u8> {
    let attributes = vec![
        attribute("service.name", format!("service-{service}")),
        attribute("service.version", "1.42.0".to_owned()),
        attribute("host.name", format!("node-{service}.internal.example")),
    ];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

async fn send(client: &reqwest::Client, server: &Server, body: Vec<u8>) {
    let post = client.post(format!("http://{}/v1/traces", server.otlp_http));
    let answer = post.header("content-type", "application/x-protobuf").body(body).send().await.expect("answers");
    assert!(answer.status().is_success(), "{}", answer.status());
}

async fn get(client: &reqwest::Client, server: &Server, path: &str) -> (Duration, String) {
    let began = Instant::now();
    let answer = client.get(format!("http://{}{path}", server.http)).send().await.expect("answers");
    let text = answer.text().await.expect("whole");
    (began.elapsed(), text)
}

/// Waits until `spans` are stored.
async fn stored(client: &reqwest::Client, server: &Server, spans: u64) {
    let began = Instant::now();
    loop {
        let (_, metrics) = get(client, server, "/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("fastbreak_traces_kept_spans_total "));
        if line.and_then(|value| value.parse::<f64>().ok()).is_some_and(|kept| kept >= spans as f64) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{spans} spans were not stored");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every trace sent here has an error, so that all are kept.
pub(crate) async fn kept(effort: Effort) {
    let mut field = Field::default();
    field.fastbreak(&[("FASTBREAK_TRACE_WAIT", "2s")]);
    let Some(server) = field.get(Contender::FastBreak) else { return };
    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let traces = u64::from(effort.many);
    let began = Instant::now();
    for export in 0..traces / TRACES {
        let end = now();
        let spans = (0..TRACES * SPANS).map(|i| span(export * TRACES + i / SPANS, i % SPANS, end)).collect();
        send(&client, server, body(export % 20, spans)).await;
    }
    let sent = began.elapsed();
    stored(&client, server, traces * SPANS).await;
    println!(
        "\n### Kept traces: {traces} of {SPANS} spans, sent in {:.0} s, stored after {:.0} s\n",
        sent.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    weigh(&field.database_url, traces).await;
    let mut large = traces;
    let mut sum = traces * SPANS;
    println!("\n| a trace of | opened p50 ms | bytes of JSON |\n| ---: | ---: | ---: |");
    for spans in [SPANS, 10_000, 100_000] {
        large += 1;
        sum += spans;
        let end = now();
        for first in (0..spans).step_by(PIECE as usize) {
            let piece = (first..spans.min(first + PIECE)).map(|i| span(large, i, end)).collect();
            send(&client, server, body(first / PIECE % 5, piece)).await;
        }
        stored(&client, server, sum).await;
        let path = format!("/api/traces/{}", hex(&trace_id(large)));
        let (mut times, mut bytes) = (Vec::new(), 0);
        for _ in 0..effort.repetitions * 5 {
            let (took, text) = get(&client, server, &path).await;
            times.push(took.as_secs_f64() * 1e3);
            bytes = text.len();
        }
        println!("| {spans} spans | {:.1} | {bytes} |", median(&mut times));
    }
    searches(&client, server, effort).await;
}

async fn weigh(url: &str, traces: u64) {
    let (postgres, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("ours");
    tokio::spawn(connection);
    println!("| | B a span | B a trace |\n| --- | ---: | ---: |");
    for (name, table) in [("blocks", "trace_blocks"), ("index", "trace_index")] {
        let query =
            format!("SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM pg_partition_tree('{table}')");
        let bytes = postgres.query_one(&query, &[]).await.expect("answers").get::<_, i64>(0) as f64;
        println!("| {name} | {:.1} | {:.0} |", bytes / (traces * SPANS) as f64, bytes / traces as f64);
    }
}

async fn searches(client: &reqwest::Client, server: &Server, effort: Effort) {
    println!("\n| search | p50 ms | p95 ms |\n| --- | ---: | ---: |");
    let user = |i: u64| chance(chance(i) % u64::from(effort.many)) % 1_000_000;
    let asked: [(&str, &dyn Fn(u64) -> String); 6] = [
        ("newest", &|_| String::new()),
        ("slowest", &|_| "order=slowest".to_owned()),
        ("service and operation, newest", &|i| {
            let (service, route) = (i % 20, chance(i) % 50);
            format!("service=service-{service}&operation=GET%20%2Fapi%2Fv1%2Fresource-{route}%2F%7Bid%7D")
        }),
        ("service, slowest", &|i| format!("service=service-{}&order=slowest", i % 20)),
        ("errors from 65 to 66 ms", &|_| "error=true&minDuration=65ms&maxDuration=66ms".to_owned()),
        ("attribute of one trace, of a service and a duration", &|i| {
            format!("service=service-{}&minDuration=60ms&attribute=user.id%3Duser-{}", i % 20, user(i))
        }),
    ];
    for (name, query) in asked {
        let mut times = Vec::new();
        for i in 0..(effort.repetitions * 20) as u64 {
            let (took, text) = get(client, server, &format!("/api/traces?limit=50&{}", query(i))).await;
            assert!(text.starts_with("{\"traces\":["), "{text}");
            times.push(took.as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |q: f64| times[(times.len() as f64 * q) as usize];
        println!("| {name} | {:.1} | {:.1} |", at(0.5), at(0.95));
    }
}
