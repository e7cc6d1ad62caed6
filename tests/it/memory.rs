//! What hostile senders can make the server hold stays under the configured budget.

use std::time::Duration;

use futures::future::join_all;

use crate::support::export::{bytes, gauge, now, point, request};
use crate::support::server::{Options, Server};
use crate::support::wire::{connection, framed, grpc, grpc_on, gzip};
use crate::support::{Database, eventually};

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const MIB: usize = 1 << 20;
const BUDGET: usize = 32 * MIB;
/// Connections' own buffers, allocator slack, the pages of code first used.
const SLACK: usize = 48 * MIB;

/// A server with a budget of [`BUDGET`] that has served an export, so that what is made once is made.
async fn start() -> Server {
    let database = Database::create().await;
    let server = Options::on(&database)
        .with("FASTBREAK_RECEIVE_BYTES", "8MiB")
        .with("FASTBREAK_IN_FLIGHT_BYTES", "32MiB")
        .with("FASTBREAK_BODY_DEADLINE", "2s")
        .start();
    well(&server).await;
    server
}

async fn well(server: &Server) {
    let body = bytes(&request("shop", vec![gauge("good", vec![point(1.0, now(), &[])])]));
    eventually("a good export is taken", async || {
        grpc(&server.grpc, METRICS, &[], framed(0, &body), false).await.code == Some(0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decode_bombs_cost_no_more_than_their_bytes() {
    let server = start().await;
    let before = server.peak_memory();
    // Each pair of bytes is an empty message: structs would take a hundred times as much.
    let empty_messages = gzip(&[0x0a, 0x00].repeat(4 * MIB - 8));
    let zeros = gzip(&vec![0; 64 * MIB]);
    for path in [METRICS, TRACES] {
        for bomb in [&empty_messages, &zeros] {
            let calls = (0..3).map(|_| grpc(&server.grpc, path, &[("grpc-encoding", "gzip")], framed(1, bomb), false));
            for answer in join_all(calls).await {
                // Taken, too large, or to be sent again when there is room.
                assert!(matches!(answer.code, Some(0 | 8 | 14)), "{answer:?}");
            }
        }
    }
    let grown = server.peak_memory() - before;
    assert!(grown < BUDGET + SLACK, "grew by {} MiB", grown / MIB);
    well(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_open_streams_stay_within_the_budget() {
    let server = start().await;
    let before = server.peak_memory();
    let opening = [&[0][..], &(4 * MIB as u32).to_be_bytes(), &vec![0x0a; 100 << 10]].concat();
    let connections: Vec<_> = (0..20).map(|_| connection()).collect();
    let to = (server.grpc.as_str(), METRICS);
    let calls = (0..1000).map(|i| grpc_on(&connections[i % 20], to, &[], opening.clone(), true));
    let answers = tokio::time::timeout(Duration::from_secs(60), join_all(calls)).await.expect("all end by themselves");
    let with = |code: i32| answers.iter().filter(|answer| answer.code == Some(code)).count();
    let (late, sent_away) = (with(4), with(14));
    assert_eq!(late + sent_away, 1000);
    assert!(late > 100, "only {late} were let in");
    assert!(sent_away > 100, "only {sent_away} were sent away");
    let grown = server.peak_memory() - before;
    assert!(grown < BUDGET + SLACK, "grew by {} MiB", grown / MIB);
    well(&server).await;
}
