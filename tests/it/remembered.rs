//! Remembered parts of answers: used again, and never instead of what has come in since.

use serde_json::Value;

use crate::support::export::{CUMULATIVE, bytes, counter, http, now, point, request};
use crate::support::postgres::open_dir;
use crate::support::server::{Options, Server, client};
use crate::support::{Database, eventually, redis};

const HOUR: u64 = 3_600_000_000_000;
const MINUTE: u64 = 60_000_000_000;

async fn send(server: &Server, room: &str, points: &[(u64, f64)]) {
    let points = points.iter().map(|(at, total)| point(*total, *at, &[("room", room)])).collect();
    let body = bytes(&request("shop", vec![counter("orders", CUMULATIVE, points)]));
    assert!(http(&client(), &server.otlp_http, &body).await);
}

/// The range `[start, start + 3 h]` of `query`, a step a minute.
async fn range(server: &Server, query: &str, start: u64) -> Value {
    let (start, end) = ((start / 1_000_000_000).to_string(), ((start + 3 * HOUR) / 1_000_000_000).to_string());
    let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "60")];
    let url = format!("{}/prometheus/api/v1/query_range", server.http);
    let body: Value = client().get(url).query(&parameters).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["status"], "success", "{body}");
    body["data"]["result"].clone()
}

async fn parts(server: &Server, source: &str) -> u64 {
    let text = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
    let line = format!("fastbreak_query_parts_total{{source=\"{source}\"}} ");
    text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |n| n.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_remembered_parts_are_those_without() {
    let database = Database::create().await;
    let options = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s");
    let server = options.start();
    let start = now() / HOUR * HOUR - 4 * HOUR;
    for (room, pace) in [("a", 3.0), ("b", 5.0)] {
        let points: Vec<(u64, f64)> = (0..180).map(|i| (start + i * MINUTE + 1, i as f64 * pace)).collect();
        send(&server, room, &points).await;
    }
    eventually("the windows are in blocks", async || {
        database.number("SELECT coalesce(sum(series_count), 0)::bigint FROM blocks b JOIN metrics m ON m.id = b.metric_id WHERE m.name = 'orders'").await >= 6
    })
    .await;
    let queries = [
        "sum(rate(orders_total[5m]))",
        "orders_total",
        "orders_total{room=\"a\"} offset 20m",
        "sum by (room) (increase(orders_total[10m])) > 40",
        "max_over_time(sum(orders_total)[10m:2m])",
        "count(orders_total) + 1",
        "topk(1, orders_total)",
        "absent(orders_total)",
    ];
    // A server that has nothing to remember says what is right.
    let fresh = || options.start();
    let mut whole = Vec::new();
    for query in queries {
        whole.push(range(&fresh(), query, start + 20 * MINUTE).await);
    }
    for (query, whole) in queries.iter().zip(&whole) {
        // Another beginning, so that parts and not answers are used again.
        range(&server, query, start).await;
        let before = parts(&server, "remembered").await;
        eventually("the parts are remembered", async || {
            let again = range(&server, query, start + 20 * MINUTE).await;
            assert_eq!(again, *whole, "{query}");
            parts(&server, "remembered").await > before
        })
        .await;
    }
    // Late windows are seen at once, and again once they are in blocks.
    let late = start + 90 * MINUTE + 30_000_000_000;
    send(&server, "c", &[(late, 1.0), (late + MINUTE, 1_001.0)]).await;
    let sum = async || {
        let rows = range(&server, "sum(increase(orders_total{room=\"c\"}[5m]))", start).await;
        rows[0]["values"].as_array().map_or(0, Vec::len)
    };
    assert!(sum().await > 0, "from the head");
    eventually("flushed", async || {
        database.number("SELECT count(*) FROM series WHERE labels->>'room' = 'c'").await == 1
    })
    .await;
    for _ in 0..3 {
        assert!(sum().await > 0, "from blocks");
    }
    let with_c = range(&server, queries[5], start + 20 * MINUTE).await;
    assert_ne!(with_c, whole[5], "what was remembered is not told any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_parts_through_redis_and_answer_the_same_without_it() {
    let redis = redis::start(open_dir("remembered"));
    let options = Options::on(&Database::create().await).with("FASTBREAK_CHECKPOINT", "1s").with("REDIS_URL", &redis);
    let (one, two) = (options.start(), options.start());
    let start = now() / HOUR * HOUR - 4 * HOUR;
    let points: Vec<(u64, f64)> = (0..180).map(|i| (start + i * MINUTE + 1, i as f64)).collect();
    send(&one, "a", &points).await;
    // Another question each time, so that the other replica's own memory has nothing.
    let (mut n, mut whole) = (0, Value::Null);
    eventually("parts come from the other replica", async || {
        n += 1;
        let query = format!("sum(rate(orders_total[5m])) * {n}");
        whole = range(&one, &query, start).await;
        assert_eq!(range(&two, &query, start).await, whole);
        parts(&two, "shared").await > 0
    })
    .await;
    let query = &format!("sum(rate(orders_total[5m])) * {n}");
    redis::command(&redis, "FLUSHALL").await;
    assert_eq!(range(&options.start(), query, start).await, whole, "with nothing in Redis");
    assert_eq!(range(&options.with("REDIS_URL", "off").start(), query, start).await, whole, "without Redis");
}
