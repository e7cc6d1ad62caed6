//! Our own telemetry over OTLP: to another server, to ourselves, to nobody.

use std::collections::BTreeSet;

use crate::support::export::{bytes, gauge, now, point, request};
use crate::support::server::{Options, Server, client};
use crate::support::{Database, eventually};

/// A server that sends its telemetry to `endpoint`, often.
async fn sending(endpoint: &str, protocol: &str) -> Options {
    Options::on(&Database::create().await)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .with("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .with("OTEL_BSP_SCHEDULE_DELAY", "200")
        .with("FASTBREAK_CHECKPOINT", "1s")
}

/// What is at `/metrics`.
async fn scrape(server: &Server) -> String {
    client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap()
}

/// A counter at `/metrics`.
pub(crate) async fn counted(server: &Server, name: &str) -> u64 {
    let text = scrape(server).await;
    let line = format!("{name} ");
    text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |n| n.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_metrics_arrive_by_every_protocol() {
    let collector = Server::start().await;
    for (protocol, endpoint) in
        [("grpc", &collector.grpc), ("http/protobuf", &collector.otlp_http), ("http/json", &collector.otlp_http)]
    {
        let service = format!("fastbreak-{}", protocol.replace('/', "-"));
        let server = sending(endpoint, protocol).await.with("OTEL_SERVICE_NAME", &service).start();
        for metric in [
            "fastbreak.ingest.items",
            "fastbreak.rollup.series",
            "fastbreak.ingest.commit.duration.sum",
            "fastbreak.telemetry.exports",
            "fastbreak.cache.requests",
            "fastbreak.batch.items",
        ] {
            let query = format!("count({{__name__=\"{metric}\", service_name=\"{service}\"}})");
            eventually(&query, async || collector.number(&query).await.is_some_and(|n| n >= 1.0)).await;
        }
        for span in ["fastbreak.ingest.commit", "fastbreak.rollup.checkpoint"] {
            let of =
                format!("__name__=\"traces.span.metrics.duration\", service_name=\"{service}\", span_name=\"{span}\"");
            let query = format!("histogram_count(sum(increase({{{of}}}[1h])))");
            eventually(&query, async || collector.number(&query).await.is_some_and(|n| n >= 1.0)).await;
        }
        assert_eq!(server.terminate(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_watches_itself_begets_no_more_than_it_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let options = sending(&format!("http://{free}"), "grpc").await.with("FASTBREAK_GRPC_ADDR", &free);
    let server = options.start();
    let exports = async || counted(&server, "fastbreak_telemetry_exports_total").await;
    let spans = async || server.get("/api/ingest/ledger").await["signals"]["traces"]["received"].as_u64().unwrap();
    let series = async || server.get("/api/system/info").await["series"].as_u64().unwrap();
    let more = async |n: u64| {
        let until = exports().await + n;
        eventually("exports go on", async || exports().await >= until).await;
    };
    // A span's series comes with its first span; every kind of work has been done once before growth is measured.
    for work in ["fastbreak_alerting_tick_seconds_count", "fastbreak_rollup_checkpoint_seconds_count"] {
        eventually(work, async || counted(&server, work).await > 0).await;
    }
    eventually("it knows all its series", async || {
        let known = series().await;
        more(20).await;
        series().await == known
    })
    .await;
    let (exports_before, spans_before, series_before) = (exports().await, spans().await, series().await);
    more(40).await;
    let begotten = spans().await - spans_before;
    let sent = exports().await - exports_before;
    // An export is one commit, and so one span; checkpoints and the host's measurements come on top.
    assert!(begotten <= sent + 20, "{begotten} spans of {sent} exports");
    let grown = series().await - series_before;
    assert!(grown <= 10, "{grown} new series");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_whole_from_the_first_scrape() {
    let server = Server::start().await;
    let names = |text: String| -> BTreeSet<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let first = names(scrape(&server).await);
    for rule in ["ok", "no_data", "error", "fenced", "failed"] {
        let evaluations = format!("fastbreak_alerting_evaluations_total{{result=\"{rule}\"}}");
        assert!(first.contains(&evaluations), "{evaluations} is missing");
    }
    let body = bytes(&request("shop", vec![gauge("good", vec![point(1.0, now(), &[]), point(1.0, 0, &[])])]));
    for (path, body) in [("/v1/metrics", body), ("/v1/traces", b"damaged".to_vec())] {
        let post = client().post(format!("{}{path}", server.otlp_http)).body(body);
        post.header("content-type", "application/x-protobuf").send().await.unwrap();
    }
    eventually("rules are evaluated", async || counted(&server, "fastbreak_alerting_tick_seconds_count").await > 0)
        .await;
    let later = names(scrape(&server).await);
    assert_eq!(later.difference(&first).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_a_counter() {
    let server = sending("http://127.0.0.1:1", "grpc").await.with("RUST_LOG", "error").start();
    eventually("failures are counted", async || {
        counted(&server, "fastbreak_telemetry_export_failures_total").await > 0
    })
    .await;
    assert_eq!(server.get("/health").await["status"], "ok");
    assert_eq!(server.terminate(), Some(0), "and does not hold up the end");
}
