//! What is sent is what is answered.

use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;

use crate::support::export::{
    CUMULATIVE, DELTA, attributes, bytes, counter, gauge, grpc, histogram, http, now, point, request,
};
use crate::support::server::{Options, client};
use crate::support::{Database, Server};

const SECOND: u64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn gauges_counters_and_histograms_are_answered_at_once() {
    let server = Server::start().await;
    let (start, time) = (now() - 30 * SECOND, now());
    let mut total = point(42.0, time, &[("http.route", "/a")]);
    total.start_time_unix_nano = start;
    let distribution = HistogramDataPoint {
        attributes: attributes(&[("http.route", "/a")]),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: 10,
        sum: Some(5.0),
        bucket_counts: vec![4, 4, 2],
        explicit_bounds: vec![0.1, 1.0],
        ..HistogramDataPoint::default()
    };
    let metrics = vec![
        gauge("room.temperature", vec![point(21.5, time, &[])]),
        counter("jobs", CUMULATIVE, vec![total]),
        counter("clicks", DELTA, vec![point(3.0, time, &[("page", "x")]), point(4.0, time, &[("page", "y")])]),
        histogram("http.server.request.duration", CUMULATIVE, vec![distribution]),
    ];
    let answer = grpc(&server.grpc, request("shop", metrics)).await.unwrap();
    assert_eq!(answer.partial_success, None);

    assert_eq!(server.number("room_temperature").await, Some(21.5));
    assert_eq!(server.number("{\"room.temperature\", service_name=\"shop\"}").await, Some(21.5));
    assert_eq!(server.number("room_temperature{service_name=\"other\"}").await, None);
    assert_eq!(server.number("increase(jobs_total[5m])").await, Some(42.0));
    assert_eq!(server.number("sum(increase(clicks_total[5m]))").await, Some(7.0));
    assert_eq!(server.number("increase(clicks_total{page=\"y\"}[5m])").await, Some(4.0));
    let of = |q: &str| format!("histogram_quantile({q}, sum(rate(http_server_request_duration_seconds[5m])))");
    let p60 = server.number(&of("0.6")).await.unwrap();
    assert!((0.1..=1.0).contains(&p60), "{p60}");
    let classic = "sum(increase(http_server_request_duration_seconds_bucket{le=\"1\"}[5m]))";
    assert_eq!(server.number(classic).await, Some(8.0));
    assert_eq!(server.number("increase(http_server_request_duration_seconds_count[5m])").await, Some(10.0));

    let current = server.get("/api/metrics/current").await;
    assert_eq!(current["metrics"]["avgResponseTime"]["value"], 500.0);
    assert_eq!(current["metrics"]["avgResponseTime"]["unit"], "ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_sent_again_counts_once() {
    let server = Server::start().await;
    let body = bytes(&request("shop", vec![counter("orders", DELTA, vec![point(5.0, now(), &[])])]));
    let client = client();
    for _ in 0..4 {
        assert!(http(&client, &server.otlp_http, &body).await);
    }
    assert_eq!(server.number("increase(orders_total[5m])").await, Some(5.0));
    let ledger = server.get("/api/ingest/ledger").await;
    assert_eq!(ledger["signals"]["metrics"]["duplicates"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_counted_exactly_and_the_rest_is_kept() {
    let server = Server::start().await;
    let metrics = vec![
        gauge("good", vec![point(1.0, now(), &[])]),
        gauge("", vec![point(1.0, now(), &[]), point(2.0, now(), &[("a", "b")])]),
        gauge("future", vec![point(1.0, now() + 3_600 * SECOND, &[])]),
        counter("below", DELTA, vec![point(-1.0, now(), &[])]),
        counter("endless", DELTA, vec![point(f64::INFINITY, now(), &[])]),
    ];
    let partial = grpc(&server.grpc, request("shop", metrics)).await.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 5);
    assert!(partial.error_message.contains("metric name must be 1 to 255 bytes"), "{}", partial.error_message);
    assert_eq!(server.number("good").await, Some(1.0));
    let ledger = &server.get("/api/ingest/ledger").await["signals"]["metrics"];
    assert_eq!(ledger["rejected"], 5);
    assert_eq!(ledger["received"], ledger["accepted"].as_u64().unwrap() + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_cap_series_fold_and_totals_stay_exact() {
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_SERIES_PER_METRIC", "10").start();
    let start = now() - 60 * SECOND;
    for temporality in [DELTA, CUMULATIVE] {
        let name = if temporality == DELTA { "delta.hits" } else { "total.hits" };
        for round in 1..=3u64 {
            let value = if temporality == DELTA { 1.0 } else { round as f64 };
            let points = (0..50).map(|user| {
                let mut point = point(value, now(), &[("user", &format!("u{user}"))]);
                point.start_time_unix_nano = start;
                point
            });
            let metrics = vec![counter(name, temporality, points.collect())];
            let answer = grpc(&server.grpc, request("shop", metrics)).await.unwrap();
            let told = answer.partial_success.map(|partial| partial.error_message).unwrap_or_default();
            let first = name == "delta.hits" && round == 1;
            assert_eq!(told.contains("otel.metric.overflow"), first, "a service is told once a minute: {told:?}");
        }
    }
    assert_eq!(server.number("sum(increase(delta_hits_total[1h]))").await, Some(150.0));
    assert_eq!(server.number("sum(increase(total_hits_total[1h]))").await, Some(150.0));
    let overflow = "sum(increase(delta_hits_total{otel_metric_overflow=\"true\"}[1h]))";
    assert_eq!(server.number(overflow).await, Some(120.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_from_head_and_from_blocks() {
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s").start();
    for i in 0..20 {
        let metrics = vec![counter("beats", DELTA, vec![point(1.0, now() - i * 10 * SECOND, &[])])];
        grpc(&server.grpc, request("heart", metrics)).await.unwrap();
        assert_eq!(server.number("sum(increase(beats_total[10m]))").await, Some((i + 1) as f64));
    }
    crate::support::eventually("blocks are written", async || database.number("SELECT count(*) FROM blocks").await > 0)
        .await;
    assert_eq!(server.number("sum(increase(beats_total[10m]))").await, Some(20.0));
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(database.number("SELECT count(*) FROM streams").await, 0, "a drained server leaves no stream");
    let next = Options::on(&database).start();
    assert_eq!(next.number("sum(increase(beats_total[10m]))").await, Some(20.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_with_nul_is_kept_without_it_and_stops_nothing() {
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s").start();
    let mut odd = gauge("odd", vec![point(1.0, now(), &[("a", "x\0y")])]);
    (odd.unit, odd.description) = ("\0".to_owned(), "de\0scribed".to_owned());
    let named = gauge("na\0me", vec![point(1.0, now(), &[])]);
    let partial = grpc(&server.grpc, request("sh\0op", vec![odd, named])).await.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1, "{}", partial.error_message);
    crate::support::eventually("it is in blocks", async || database.number("SELECT count(*) FROM blocks").await > 0)
        .await;
    assert_eq!(server.number("odd{a=\"x\u{fffd}y\",service_name=\"sh\u{fffd}op\"}").await, Some(1.0));
    assert_eq!(crate::own_telemetry::counted(&server, "fastbreak_rollup_checkpoint_failures_total").await, 0);
}
