//! Redis makes replicas see each other sooner, and no answer depends on it.

use crate::support::export::{DELTA, bytes, counter, http, now, point, request};
use crate::support::postgres::open_dir;
use crate::support::server::{Options, Server, client};
use crate::support::{Database, eventually, redis};

async fn send(servers: &[&Server], n: u64) {
    let client = client();
    for i in 0..n {
        let body = bytes(&request("shop", vec![counter("sent", DELTA, vec![point(1.0, now() + i, &[])])]));
        let to = servers[i as usize % servers.len()];
        assert!(http(&client, &to.otlp_http, &body).await);
    }
}

async fn followed(server: &Server, source: &str) -> u64 {
    let text = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
    let line = format!("fastbreak_rollup_followed_rows_total{{source=\"{source}\"}} ");
    text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |n| n.parse().unwrap())
}

async fn redis_state(server: &Server) -> String {
    server.get("/health").await["components"]["redis"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_with_redis_flushed_stopped_and_back() {
    let directory = open_dir("redis");
    let url = redis::start(directory.clone());
    let database = Database::create().await;
    let options = Options::on(&database).with("REDIS_URL", &url).with("RUST_LOG", "error");
    let (a, b) = (options.start(), options.start());
    let both = [&a, &b];
    let exactly = async |expected: f64| {
        for server in both {
            assert_eq!(server.number("sum(increase(sent_total[1h]))").await, Some(expected));
        }
    };
    for server in both {
        eventually("Redis is up", async || redis_state(server).await == "up").await;
    }
    send(&both, 40).await;
    exactly(40.0).await;
    eventually("frames came through Redis", async || followed(&a, "redis").await + followed(&b, "redis").await >= 20)
        .await;

    for _ in 0..10 {
        redis::command(&url, "FLUSHALL").await;
        send(&both, 4).await;
    }
    exactly(80.0).await;

    redis::command(&url, "SHUTDOWN").await;
    eventually("its end is noticed", async || redis_state(&a).await == "down").await;
    send(&both, 20).await;
    exactly(100.0).await;
    assert_eq!(a.get("/health").await["status"], "ok", "Redis is no condition");

    assert_eq!(redis::start(directory), url);
    for server in both {
        eventually("Redis is up again", async || redis_state(server).await == "up").await;
    }
    send(&both, 20).await;
    exactly(120.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_databases_on_one_redis_do_not_see_each_other() {
    let url = redis::start(open_dir("shared-redis"));
    let (one, two) = (Database::create().await, Database::create().await);
    let on = |database| Options::on(database).with("REDIS_URL", &url).start();
    let (a, b, c, d) = (on(&one), on(&one), on(&two), on(&two));
    for (servers, n) in [([&a, &b], 10), ([&c, &d], 30)] {
        eventually("Redis is up", async || redis_state(servers[0]).await == "up").await;
        send(&servers, n).await;
    }
    for (servers, n) in [([&a, &b], 10.0), ([&c, &d], 30.0)] {
        for server in servers {
            assert_eq!(server.number("sum(increase(sent_total[1h]))").await, Some(n));
        }
    }
}
