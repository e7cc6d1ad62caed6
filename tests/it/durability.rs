//! Acknowledged is committed, and counted once, whatever is killed.

use std::process::Command;
use std::time::{Duration, Instant};

use tonic_types::StatusExt;

use crate::support::export::{DELTA, bytes, counter, grpc, http, now, point, request};
use crate::support::postgres::{open_dir, start};
use crate::support::server::{Options, client};
use crate::support::{Database, Server, eventually};

/// Ports that stay the same over restarts.
fn fixed_ports(options: Options, server: &Server) -> Options {
    let bare = |url: &str| url.trim_start_matches("http://").to_owned();
    options
        .with("FASTBREAK_HTTP_ADDR", &bare(&server.http))
        .with("FASTBREAK_GRPC_ADDR", &bare(&server.grpc))
        .with("FASTBREAK_OTLP_HTTP_ADDR", &bare(&server.otlp_http))
}

/// Sends exports of one each, again and again until acknowledged, until told to stop; returns how many.
async fn send_until(endpoint: String, sender: usize, stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let client = client();
    let mut sent = 0;
    while !*stop.borrow() {
        let metrics = vec![counter("sent", DELTA, vec![point(1.0, now(), &[("sender", &sender.to_string())])])];
        let body = bytes(&request(&format!("sender-{sender}-{sent}"), metrics));
        while !http(&client, &endpoint, &body).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_of_the_server_lose_nothing_and_double_nothing() {
    let database = Database::create().await;
    let options = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s").with("RUST_LOG", "off");
    let mut server = options.start();
    let options = fixed_ports(options, &server);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let senders: Vec<_> =
        (0..8).map(|i| tokio::spawn(send_until(server.otlp_http.clone(), i, stopped.clone()))).collect();
    for round in 0..20u64 {
        // Kills fall at different points of commits and checkpoints.
        tokio::time::sleep(Duration::from_millis(100 + round * 37 % 400)).await;
        server.kill();
        server = options.start();
    }
    stop.send(true).unwrap();
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    assert!(sent > 200, "only {sent} exports in all");
    let counted = server.number("sum(increase(sent_total[1h]))").await;
    assert_eq!(counted, Some(sent as f64), "acknowledged {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_cannot_be_written_fill_memory_no_further_than_the_limit() {
    let database = Database::create().await;
    let options = Options::on(&database).with("FASTBREAK_CHECKPOINT", "100ms");
    let server = options.with("FASTBREAK_CHECKPOINTS_WAITING", "3").start();
    let send = async || {
        let point = point(1.0, now(), &[]);
        grpc(&server.grpc, request("shop", vec![counter("orders", DELTA, vec![point])])).await
    };
    database.execute("ALTER TABLE blocks RENAME TO away").await;
    let (mut taken, mut refused) = (0, None);
    eventually("exports are refused", async || {
        match send().await {
            Ok(_) => taken += 1,
            Err(status) => refused = Some(status),
        }
        refused.is_some()
    })
    .await;
    let refused = refused.unwrap();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    assert!(refused.message().contains("limit checkpoints_waiting of 3"), "{refused}");
    assert!(refused.get_details_retry_info().is_some(), "{refused}");
    let ready = client().get(format!("{}/readyz", server.http)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    database.execute("ALTER TABLE away RENAME TO blocks").await;
    eventually("they are taken again", async || send().await.is_ok()).await;
    assert_eq!(server.number("sum(increase(orders_total[1h]))").await, Some(f64::from(taken + 1)), "none was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stopped_at_once_under_load_loses_nothing_and_doubles_nothing() {
    let data_dir = open_dir("crashing-pg");
    let (url, mut pid) = start(data_dir.clone());
    let options = Options::on(&Database { url }).with("FASTBREAK_CHECKPOINT", "1s").with("RUST_LOG", "off");
    let server = options.start();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let senders: Vec<_> =
        (0..8).map(|i| tokio::spawn(send_until(server.otlp_http.clone(), i, stopped.clone()))).collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        // SIGQUIT is what `pg_ctl stop -m immediate` sends.
        assert!(Command::new("kill").args(["-QUIT", &pid.to_string()]).status().unwrap().success());
        let data_dir = data_dir.clone();
        (_, pid) = tokio::task::spawn_blocking(move || start(data_dir)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.send(true).unwrap();
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    assert!(sent > 50, "only {sent} exports in all");
    assert_eq!(server.number("sum(increase(sent_total[1h]))").await, Some(sent as f64), "acknowledged {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_senders_are_told_at_once_when_to_come_again() {
    let data_dir = open_dir("absent-pg");
    let (url, pid) = start(data_dir.clone());
    let server = Options::on(&Database { url }).with("RUST_LOG", "off").start();
    assert!(Command::new("kill").args(["-QUIT", &pid.to_string()]).status().unwrap().success());
    let client = client();
    let mut slowest = Duration::ZERO;
    let mut refused = 0;
    eventually("twenty exports are refused", async || {
        let body = bytes(&request("shop", vec![counter("sent", DELTA, vec![point(1.0, now(), &[])])]));
        let began = Instant::now();
        let post =
            client.post(format!("{}/v1/metrics", server.otlp_http)).header("content-type", "application/x-protobuf");
        let answer = post.body(body).send().await.unwrap();
        if answer.status() == 503 {
            assert!(answer.headers().contains_key("retry-after"));
            refused += 1;
            // The first ones find out; after them the breaker answers.
            if refused > 3 {
                slowest = slowest.max(began.elapsed());
            }
        }
        refused >= 20
    })
    .await;
    let _restarted = tokio::task::spawn_blocking(move || start(data_dir)).await.unwrap();
    let body = bytes(&request("shop", vec![counter("sent", DELTA, vec![point(1.0, now(), &[])])]));
    eventually("exports are taken again", async || http(&client, &server.otlp_http, &body).await).await;
}
