//! What tests stand on: one Postgres for the run with a database for each test, servers as child processes, exports.

pub(crate) mod export;
pub(crate) mod hook;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod rust_exporter;
pub(crate) mod server;
pub(crate) mod smtp;
pub(crate) mod spans;
pub(crate) mod wire;

use std::time::{Duration, Instant};

pub(crate) use postgres::Database;
pub(crate) use server::Server;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at `condition` until it is true; says what was awaited when it never is.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, condition).await;
}

/// The same with another patience.
pub(crate) async fn within(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < patience, "{what}: not within {} s", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
