//! Several replicas on one database: any of them answers for all, and takes over from any other.

use std::time::{Duration, Instant};

use crate::support::export::{CUMULATIVE, DELTA, bytes, counter, http, now, point, request};
use crate::support::proxy::Proxy;
use crate::support::server::{Options, client};
use crate::support::{Database, eventually};

const SECOND: u64 = 1_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn exports_retried_to_the_other_replica_count_once_and_both_answer_alike() {
    let database = Database::create().await;
    let (a, b) = (Options::on(&database).start(), Options::on(&database).start());
    let client = client();
    let started = now() - now() % (1000 * SECOND);
    for i in 0..30u64 {
        let mut total = point((i + 1) as f64, now(), &[]);
        total.start_time_unix_nano = started;
        let metrics =
            vec![counter("deltas", DELTA, vec![point(1.0, now(), &[])]), counter("totals", CUMULATIVE, vec![total])];
        let body = bytes(&request("shop", metrics));
        let (first, second) = if i % 2 == 0 { (&a, &b) } else { (&b, &a) };
        assert!(http(&client, &first.otlp_http, &body).await);
        // As if the answer had been lost on its way.
        assert!(http(&client, &second.otlp_http, &body).await);
    }
    for server in [&a, &b] {
        assert_eq!(server.number("sum(increase(deltas_total[1h]))").await, Some(30.0));
        assert_eq!(server.number("sum(increase(totals_total[1h]))").await, Some(30.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_lost_after_the_commit_and_retried_to_the_other_replica_count_once() {
    const SENDERS: usize = 8;
    const EXPORTS: usize = 25;
    let database = Database::create().await;
    let (a, b) = (Options::on(&database).start(), Options::on(&database).start());
    let ways = [Proxy::before(&a.otlp_http).await, Proxy::before(&b.otlp_http).await];
    let send = async |sender: usize| {
        // A connection for each request, so that each has its chance to break.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        for i in 0..EXPORTS {
            let (who, which) = (sender.to_string(), i.to_string());
            let metrics =
                vec![counter("sent", DELTA, vec![point(1.0, now(), &[("sender", &who), ("export", &which)])])];
            let body = bytes(&request("shop", metrics));
            let mut to = sender + i;
            while !http(&client, &ways[to % 2].url, &body).await {
                to += 1;
                assert!(to < sender + i + 100, "export {i} of sender {sender} is never acknowledged");
            }
        }
    };
    let _client_makes_the_tls_provider = client();
    futures::future::join_all((0..SENDERS).map(send)).await;
    let lost: u64 = ways.iter().map(Proxy::lost).sum();
    assert!(lost >= (SENDERS * EXPORTS / 10) as u64, "only {lost} answers were lost");
    for server in [&a, &b] {
        let counted = server.number("sum(increase(sent_total[1h]))").await;
        assert_eq!(counted, Some((SENDERS * EXPORTS) as f64), "{lost} answers were lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replicas_journal_is_folded_within_twenty_seconds() {
    let database = Database::create().await;
    let (a, b) = (Options::on(&database).start(), Options::on(&database).start());
    let client = client();
    for i in 0..20u64 {
        let body = bytes(&request("shop", vec![counter("sent", DELTA, vec![point(1.0, now() + i, &[])])]));
        assert!(http(&client, if i % 2 == 0 { &a.otlp_http } else { &b.otlp_http }, &body).await);
    }
    a.kill();
    let killed = Instant::now();
    assert_eq!(b.number("sum(increase(sent_total[1h]))").await, Some(20.0), "what was acknowledged is seen at once");
    eventually("the dead replica's stream is folded", async || {
        database.number("SELECT count(*) FROM streams").await == 1
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(20), "{:?}", killed.elapsed());
    assert_eq!(b.number("sum(increase(sent_total[1h]))").await, Some(20.0));
    assert!(database.number("SELECT count(*) FROM blocks").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_slept_past_its_lease_cannot_write_into_what_was_taken_over() {
    let database = Database::create().await;
    let (a, b) = (Options::on(&database).with("RUST_LOG", "error").start(), Options::on(&database).start());
    let client = client();
    let send = async |to: &str, i: u64| {
        let body = bytes(&request("shop", vec![counter("sent", DELTA, vec![point(1.0, now() + i, &[])])]));
        eventually("an export is taken", async || http(&client, to, &body).await).await;
    };
    send(&a.otlp_http, 1).await;
    let before = database.number("SELECT max(id) FROM streams").await;
    // The lease lapses as if the process had been stopped for long.
    database.execute("UPDATE streams SET expires_at = now() - interval '1 minute' WHERE id = (SELECT min(stream_id) FROM journal)").await;
    eventually("the stream is taken over", async || {
        database.number("SELECT count(*) FROM streams").await <= 2
            && database.number("SELECT min(epoch) FROM streams").await >= 1
    })
    .await;
    for i in 0..10 {
        send(if i % 2 == 0 { &a.otlp_http } else { &b.otlp_http }, 100 + i).await;
    }
    for server in [&a, &b] {
        assert_eq!(server.number("sum(increase(sent_total[1h]))").await, Some(11.0));
    }
    assert!(database.number("SELECT max(id) FROM streams").await >= before);
}
