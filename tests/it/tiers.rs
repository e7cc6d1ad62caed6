//! Tiers over the wire: what was sent long ago is compacted, what came late is not yet, and every tier tells the same.

use opentelemetry_proto::tonic::metrics::v1::{Exemplar, HistogramDataPoint, exemplar};
use serde_json::Value;

use crate::support::export::{CUMULATIVE, DELTA, bytes, counter, gauge, histogram, http, now, point, request};
use crate::support::server::{Options, Server, client};
use crate::support::{Database, eventually};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600;
/// Steps that choose the fine, the minute and the hour tier.
const STEPS: [u64; 3] = [10, 600, 6 * HOUR];

/// The start of the second of two whole hours that have settled, in seconds.
fn settled_hour() -> u64 {
    (now() / SECOND / HOUR - 3) * HOUR
}

fn took(time: u64, count: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        time_unix_nano: time * SECOND,
        count,
        sum: Some(count as f64 * 0.2),
        explicit_bounds: vec![0.1, 0.5],
        bucket_counts: vec![0, count, 0],
        ..HistogramDataPoint::default()
    }
}

/// A point a minute over the hour before `hour` and the hour itself.
async fn send_two_hours(server: &Server, hour: u64) {
    let first = hour - HOUR;
    let time = |i: u64| first + 60 * i + 30;
    let points = |value: fn(u64) -> f64| -> Vec<_> {
        let one = |i| {
            let mut one = point(value(i), time(i) * SECOND, &[]);
            one.start_time_unix_nano = (first - 60) * SECOND;
            one
        };
        (0..120).map(one).collect()
    };
    let metrics = vec![
        counter("orders", CUMULATIVE, points(|i| 10.0 * (i + 1) as f64)),
        counter("mails", DELTA, points(|_| 1.0)),
        gauge("temp", points(|i| i as f64)),
        histogram("took", DELTA, (0..120).map(|i| took(time(i), 2)).collect()),
    ];
    assert!(http(&client(), &server.otlp_http, &bytes(&request("shop", metrics))).await);
}

/// The last value of `promql` at `end`, read through the tier that `step` chooses.
async fn at(server: &Server, promql: &str, end: u64, step: u64) -> Option<f64> {
    let url = format!("{}/prometheus/api/v1/query_range", server.http);
    let span = [("query", promql.to_owned()), ("start", (end - step).to_string())];
    let span = [&span[..], &[("end", end.to_string()), ("step", step.to_string())]].concat();
    let body: Value = client().get(url).query(&span).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["status"], "success", "{promql}: {body}");
    let last = body["data"]["result"][0]["values"].as_array()?.last()?.clone();
    (last[0] == end).then(|| last[1].as_str().unwrap().parse().unwrap())
}

/// Every tier's answer to `table` at the end of `hour`.
async fn check(server: &Server, when: &str, hour: u64, table: &[(&str, f64)]) {
    for step in STEPS {
        for (promql, expected) in table {
            let told = at(server, promql, hour + HOUR, step).await;
            let close = told.is_some_and(|told| (told - expected).abs() < expected.abs() * 1e-9);
            assert!(close, "{when}, step {step}: {promql} is {told:?}, not {expected}");
        }
    }
}

const TABLE: &[(&str, f64)] = &[
    ("sum(increase(orders_total[1h]))", 600.0),
    ("sum(rate(orders_total[1h]))", 600.0 / 3600.0),
    ("sum(increase(mails_total[1h]))", 60.0),
    ("avg_over_time(temp[1h])", 89.5),
    ("max_over_time(temp[1h])", 119.0),
    ("min_over_time(temp[1h])", 60.0),
    ("temp", 119.0),
    ("histogram_count(sum(increase(took_seconds[1h])))", 120.0),
    ("histogram_quantile(0.5, sum(increase(took_seconds[1h])))", 0.3),
    ("sum(increase(took_seconds_bucket{le=\"0.5\"}[1h]))", 120.0),
];

/// Blocks of `metric` in `tier` that were written by compaction, or not.
async fn blocks(database: &Database, metric: &str, tier: u8, compacted: bool) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM blocks b JOIN metrics m ON m.id = b.metric_id \
         WHERE m.name = '{metric}' AND tier = {tier} AND compacted = {compacted}"
    );
    database.number(&sql).await
}

/// Starts anew: the compactor looks at once.
async fn restart(server: Server, options: &Options, database: &Database) -> Server {
    assert_eq!(server.terminate(), Some(0));
    let server = options.start();
    eventually("the hours are compacted", async || {
        let mut waiting = 0;
        for metric in ["orders", "mails", "temp", "took"] {
            waiting += blocks(database, metric, 0, false).await;
        }
        waiting == 0 && blocks(database, "took", 2, true).await > 0
    })
    .await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_tells_the_same_before_during_and_after_compaction() {
    let database = Database::create().await;
    let options = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s");
    let (mut server, hour) = (options.start(), settled_hour());
    send_two_hours(&server, hour).await;
    check(&server, "in the head", hour, TABLE).await;
    eventually("a checkpoint is written", async || blocks(&database, "took", 0, false).await > 0).await;
    check(&server, "in parts", hour, TABLE).await;
    server = restart(server, &options, &database).await;
    check(&server, "compacted", hour, TABLE).await;

    let late = counter("mails", DELTA, vec![point(5.0, (hour + 1800) * SECOND, &[])]);
    assert!(http(&client(), &server.otlp_http, &bytes(&request("shop", vec![late]))).await);
    let mails = &[("sum(increase(mails_total[1h]))", 65.0), ("sum(rate(mails_total[5m]))", 1.0 / 60.0)];
    check(&server, "late, in the head", hour, &mails[..1]).await;
    eventually("the late part is written", async || blocks(&database, "mails", 0, false).await > 0).await;
    check(&server, "late, in a part beside what is compacted", hour, &mails[..1]).await;
    server = restart(server, &options, &database).await;
    check(&server, "late, compacted", hour, &mails[..1]).await;
    check(&server, "all of it again", hour, &TABLE[3..]).await;
    // Five minutes are read out of minutes exactly, and out of hours as the hour's mean.
    assert_eq!(at(&server, mails[1].0, hour + HOUR, 600).await, Some(mails[1].1));
    assert_eq!(at(&server, mails[1].0, hour + HOUR, 6 * HOUR).await, Some(65.0 / 3600.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_the_last_hours_that_no_coarse_tier_holds_yet() {
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s").start();
    let minute = now() / SECOND / 60 * 60;
    let points = (20..60).map(|ago| took(minute - 60 * ago, 60)).collect();
    let body = bytes(&request("shop", vec![histogram("http.server.request.duration", DELTA, points)]));
    assert!(http(&client(), &server.otlp_http, &body).await);
    eventually("a checkpoint is written", async || {
        blocks(&database, "http.server.request.duration", 0, false).await > 0
    })
    .await;
    for hours in [2, 24, 48] {
        let path = format!("/api/metrics/history?hours={hours}&service=shop");
        let body = server.get(&path).await;
        let of = |indicator: &str| -> Vec<f64> {
            let points = body["metrics"][indicator]["points"].as_array().unwrap_or_else(|| panic!("{path}: {body}"));
            points.iter().map(|point| point[1].as_f64().unwrap()).collect()
        };
        let most = of("throughput").into_iter().fold(0.0, f64::max);
        assert!((most - 1.0).abs() < 1e-9, "{path}: {most}");
        assert!(of("avgResponseTime").iter().all(|mean| (mean - 200.0).abs() < 1e-6), "{path}");
        assert_eq!(body["metrics"]["throughput"]["unit"], "1/s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exemplars_are_read_from_heads_and_blocks_by_every_replica() {
    let database = Database::create().await;
    let options = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s");
    let (a, b) = (options.start(), Options::on(&database).start());
    let time = now();
    let exemplar = Exemplar {
        time_unix_nano: time,
        value: Some(exemplar::Value::AsDouble(250.0)),
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        ..Exemplar::default()
    };
    let mut old = histogram("http.server.duration", DELTA, vec![took(time / SECOND, 2)]);
    "ms".clone_into(&mut old.unit);
    if let Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Histogram(data)) = &mut old.data {
        data.data_points[0].exemplars = vec![exemplar];
    }
    assert!(http(&client(), &a.otlp_http, &bytes(&request("shop", vec![old]))).await);
    let seconds = time / SECOND;
    let query = "histogram_quantile(0.9, sum by (le) (rate(http_server_request_duration_seconds_bucket[5m])))";
    let read = async |server: &Server| -> Value {
        let url = format!("{}/prometheus/api/v1/query_exemplars", server.http);
        let span = [("query", query), ("start", &(seconds - 60).to_string()), ("end", &(seconds + 60).to_string())];
        client().get(url).query(&span).send().await.unwrap().json().await.unwrap()
    };
    let check = async |when: &str| {
        for server in [&a, &b] {
            let body = read(server).await;
            let series = &body["data"][0];
            assert_eq!(
                series["seriesLabels"]["__name__"], "http_server_request_duration_seconds_bucket",
                "{when}: {body}"
            );
            assert_eq!(series["seriesLabels"]["service_name"], "shop", "{when}");
            let exemplar = &series["exemplars"][0];
            assert_eq!(exemplar["labels"]["trace_id"], "ab".repeat(16), "{when}");
            assert_eq!(exemplar["labels"]["span_id"], "cd".repeat(8), "{when}");
            assert_eq!(exemplar["value"], "0.25", "{when}: in the unit of the name asked for");
            assert_eq!(series["exemplars"].as_array().unwrap().len(), 1, "{when}");
        }
    };
    check("in the head").await;
    eventually("a checkpoint is written", async || blocks(&database, "http.server.duration", 0, false).await > 0).await;
    check("in a block").await;
}
