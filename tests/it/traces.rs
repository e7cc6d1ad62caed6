//! Traces that matter are kept, whatever is killed, late, split or too much.

use serde_json::Value;

use crate::support::server::{Options, client};
use crate::support::spans::{CLIENT, failed, kept_spans, send, span, trace_id, with};
use crate::support::{Database, Server, eventually};

/// Decides soon, so that tests need not wait.
fn soon(database: &Database) -> Options {
    Options::on(database).with("FASTBREAK_TRACE_WAIT", "1s")
}

/// Keeps nothing for being one of many.
fn without_samples(options: Options) -> Options {
    options.with("FASTBREAK_TRACE_SAMPLES", "0").with("FASTBREAK_TRACE_SLOW", "0")
}

async fn of(server: &Server, path: &str) -> (u16, Value) {
    let answer = client().get(format!("{}{path}", server.http)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_error_is_there_after_the_server_was_killed() {
    let database = Database::create().await;
    let options = Options::on(&database).with("FASTBREAK_TRACE_WAIT", "300s");
    let server = options.start();
    for trace in 1..=20 {
        send(&server, "front", vec![span(trace, (1, 0), "GET /cart", 50)]).await;
        send(&server, "stock", vec![failed(span(trace, (2, 1), "reserve", 20))]).await;
    }
    server.kill();
    let server = soon(&database).start();
    for trace in 1..=20 {
        eventually("both halves of an error trace are kept", async || kept_spans(&server, trace).await == Some(2))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_wait_are_decided_before_the_server_leaves() {
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_TRACE_WAIT", "300s").start();
    send(&server, "front", vec![failed(span(1, (1, 0), "GET /cart", 50))]).await;
    assert_eq!(server.terminate(), Some(0));
    let server = soon(&database).start();
    assert_eq!(kept_spans(&server, 1).await, Some(1), "at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_slow_ones_and_a_steady_sample_are_kept_and_the_rest_is_not() {
    let database = Database::create().await;
    let server = soon(&database).start();
    for export in 0..10u64 {
        let spans = (0..100).map(|i| span(1 + export * 100 + i, (1, 0), "GET /cart", 10)).collect();
        send(&server, "front", spans).await;
    }
    send(&server, "front", vec![span(5_000, (1, 0), "GET /cart", 900)]).await;
    send(&server, "front", vec![failed(span(6_000, (1, 0), "GET /cart", 1))]).await;
    eventually("the slow one and the error are kept", async || {
        kept_spans(&server, 5_000).await == Some(1) && kept_spans(&server, 6_000).await == Some(1)
    })
    .await;
    let (_, page) = of(&server, "/api/traces?service=front&limit=100").await;
    let traces = page["traces"].as_array().unwrap();
    assert!((3..=8).contains(&traces.len()), "{} of 1 002 are kept: {page}", traces.len());
    let reasons = |trace: u64| {
        let found = traces.iter().find(|found| found["traceId"] == trace_id(trace).as_str()).unwrap();
        found["reasons"].clone()
    };
    assert_eq!(reasons(5_000), serde_json::json!(["slow"]));
    assert_eq!(reasons(6_000), serde_json::json!(["error"]));
    // Whatever a chart's point names is kept.
    let url = format!("{}/prometheus/api/v1/query_exemplars", server.http);
    let query = [("query", "{\"traces.span.metrics.duration\"}")];
    let body: Value = client().get(url).query(&query).send().await.unwrap().json().await.unwrap();
    let exemplars: Vec<&Value> =
        body["data"].as_array().unwrap().iter().flat_map(|series| series["exemplars"].as_array().unwrap()).collect();
    assert!(!exemplars.is_empty());
    for exemplar in exemplars {
        let id = exemplar["labels"]["trace_id"].as_str().unwrap();
        assert_eq!(of(&server, &format!("/api/traces/{id}")).await.0, 200, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_is_given_back_as_it_came() {
    let database = Database::create().await;
    let server = soon(&database).start();
    let root = with(span(7, (1, 0), "POST /order", 80), &[("http.route", "/order"), ("user.id", "42")]);
    let mut call = failed(with(span(7, (2, 1), "INSERT orders", 30), &[("db.system.name", "postgresql")]));
    call.kind = CLIENT;
    send(&server, "front", vec![root.clone(), call.clone()]).await;
    eventually("the trace is kept", async || kept_spans(&server, 7).await == Some(2)).await;
    let path = format!("/api/traces/{}", trace_id(7));
    let (_, columns) = of(&server, &path).await;
    assert_eq!(columns["trace"]["rootOperation"], "POST /order");
    assert_eq!(columns["trace"]["reasons"][0], "error");
    assert_eq!(columns["spans"]["parent"], serde_json::json!([null, 0]));
    assert_eq!(columns["spans"]["kind"], serde_json::json!(["server", "client"]));
    assert_eq!(columns["operations"], serde_json::json!(["POST /order", "INSERT orders"]));
    let (_, whole) = of(&server, &format!("{path}/spans/0000000000000001")).await;
    assert_eq!(whole["attributes"], serde_json::json!({ "http.route": "/order", "user.id": "42" }));
    assert_eq!(whole["resource"]["service.name"], "front");
    // The download, sent to another server, is the same trace there.
    let (_, export) = of(&server, &format!("{path}/otlp")).await;
    let other = soon(&Database::create().await).start();
    let post = client().post(format!("{}/v1/traces", other.otlp_http)).json(&export).send().await.unwrap();
    assert!(post.status().is_success());
    eventually("it is kept there too", async || kept_spans(&other, 7).await == Some(2)).await;
    assert_eq!(of(&other, &format!("{path}/otlp")).await.1, export);
    for (path, status, what) in [
        ("/api/traces/xyz", 400, "traceId must be 32 hexadecimal digits"),
        ("/api/traces/0af7651916cd43dd8448eb211c80319c", 404, "no trace 0af7651916cd43dd8448eb211c80319c is kept"),
        (&format!("{path}/spans/1"), 400, "span must be 16 hexadecimal digits"),
        (&format!("{path}/spans/00000000000000ff"), 404, "has no span 00000000000000ff"),
        ("/api/traces?limit=0", 400, "limit must be from 1 to 1000"),
        ("/api/traces?colour=red", 400, "\"colour\" is not one of service, with, operation"),
    ] {
        let (got, body) = of(&server, path).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(body["detail"].as_str().unwrap().contains(what), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_come_late_join_their_trace() {
    let database = Database::create().await;
    let server = without_samples(soon(&database)).start();
    send(&server, "front", vec![failed(span(1, (1, 0), "GET /cart", 50))]).await;
    eventually("the error is kept", async || kept_spans(&server, 1).await == Some(1)).await;
    send(&server, "stock", vec![span(1, (2, 1), "reserve", 20)]).await;
    eventually("what came late is with it", async || kept_spans(&server, 1).await == Some(2)).await;
    let (_, page) = of(&server, "/api/traces?error=true").await;
    assert_eq!(page["traces"].as_array().unwrap().len(), 1);
    assert_eq!(page["traces"][0]["services"], serde_json::json!(["front", "stock"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_each_see_half_keep_both_halves() {
    let database = Database::create().await;
    let options = without_samples(Options::on(&database)).with("FASTBREAK_TRACE_WAIT", "4s");
    let (one, other) = (options.start(), options.start());
    for trace in 1..=30 {
        // What is of no note comes first, or last, and to either.
        let (plain, error) = if trace % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let root = vec![span(trace, (1, 0), "GET /cart", 50)];
        let call = vec![failed(span(trace, (2, 1), "reserve", 20))];
        if trace % 3 == 0 {
            send(error, "stock", call).await;
            send(plain, "front", root).await;
        } else {
            send(plain, "front", root).await;
            send(error, "stock", call).await;
        }
    }
    for trace in 1..=30 {
        for server in [&one, &other] {
            eventually("both halves are kept", async || kept_spans(server, trace).await == Some(2)).await;
        }
    }
    let (_, page) = of(&one, "/api/traces?error=true&limit=100").await;
    assert_eq!(page["traces"].as_array().unwrap().len(), 30, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_memory_budget_loses_no_error() {
    let database = Database::create().await;
    let options = without_samples(soon(&database)).with("FASTBREAK_TRACE_TAIL_BYTES", "64KiB");
    let server = options.with("FASTBREAK_TRACE_WAIT", "5s").start();
    for export in 0..100u64 {
        let one = |i: u64| {
            let number = 1 + export * 100 + i;
            let random = [1, 2, 3, 4].map(|n| trace_id((number * 8 + n).wrapping_mul(0x5851_f42d_4c95_7f2d))).concat();
            let span = with(span(number, (number, 0), "GET /cart", 5), &[("request.id", &random)]);
            if i == 0 { failed(span) } else { span }
        };
        send(&server, "front", (0..100).map(one).collect()).await;
    }
    let metrics = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert!(value("fastbreak_traces_spool_bytes_total") > 655_360.0, "{}", value("fastbreak_traces_spool_bytes_total"));
    assert!(value("fastbreak_traces_spilled_chunks_total") > 10.0);
    assert!(value("fastbreak_traces_tail_bytes") < 96_000.0, "chunks that only the spool has are counted too");
    eventually("every error is kept", async || {
        let (_, page) = of(&server, "/api/traces?error=true&limit=1000").await;
        page["traces"].as_array().unwrap().len() == 100
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_of_a_client_that_samples_counts_as_the_spans_that_it_stands_for() {
    let server = soon(&Database::create().await).start();
    let sampled = |trace: u64, state: &str| {
        let mut span = span(trace, (1, 0), "GET /cart", 10);
        span.trace_state = state.to_owned();
        span
    };
    // One of two, and one of three: 2^56 * 2 / 3 is not sent.
    let halves = (1..=10).map(|trace| sampled(trace, "ot=th:8"));
    let thirds = (11..=19).map(|trace| sampled(trace, "ot=th:aaaaaaaaaaaaaa"));
    send(&server, "front", halves.chain(thirds).collect()).await;
    let red = "sum(increase({\"traces.span.metrics.duration\", service_name=\"front\"}[1h]))";
    let count = server.number(&format!("histogram_count({red})")).await.unwrap();
    assert!((46.0..=47.0).contains(&count), "{count}");
    let mean = server.number(&format!("histogram_avg({red})")).await.unwrap();
    assert!((0.0099..0.0101).contains(&mean), "{mean}");
    let ledger = server.get("/api/ingest/ledger").await;
    assert_eq!(ledger["signals"]["traces"]["accepted"], 19, "spans are taken as they came");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_disk_budget_the_oldest_samples_go_and_errors_stay() {
    let database = Database::create().await;
    let server = soon(&database).start();
    send(&server, "front", vec![failed(span(1, (1, 0), "GET /cart", 50))]).await;
    eventually("the error is kept", async || kept_spans(&server, 1).await == Some(1)).await;
    assert_eq!(server.terminate(), Some(0));
    let old = "date_trunc('day', now(), 'UTC') - interval '2 days'";
    for table in ["trace_blocks_sample", "trace_index_sample"] {
        database.execute(&format!("SELECT ensure_partition('{table}', {old}, {old} + interval '12 hours')")).await;
    }
    let bytes = "decode(string_agg(md5(random()::text), ''), 'hex') FROM generate_series(1, 100000)";
    database.execute(&format!("INSERT INTO trace_blocks SELECT 0, 0, {old}, 1, '', {bytes}")).await;
    let _server = soon(&database).with("FASTBREAK_TRACES_BYTES", "1MiB").start();
    eventually("the old samples are gone", async || {
        database.number("SELECT count(*) FROM trace_blocks WHERE class = 0").await == 0
    })
    .await;
    assert_eq!(database.number("SELECT count(*) FROM trace_index WHERE class = 2").await, 1);
}
