//! "The database cannot be reached" is itself told, by every replica under one id, and its end once.

use std::process::Command;
use std::time::{Duration, Instant};

use super::options;
use crate::support::hook::{Hook, Reply};
use crate::support::postgres::{open_dir, start};
use crate::support::server::client;
use crate::support::{Database, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn receivers_are_told_of_the_outage_from_memory_and_of_its_end_from_the_outbox() {
    let data_dir = open_dir("outage-pg");
    let (url, pid) = start(data_dir.clone());
    let database = Database { url };
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    let options = options(&database)
        .with("ALERT_WEBHOOK_URL", &hook.url)
        .with("FASTBREAK_NOTIFY_SELF_ALERT_AFTER", "3s")
        .with("RUST_LOG", "off");
    let (a, b) = (options.start(), options.start());
    let known = "SELECT count(*) FROM receivers WHERE id = 'webhook' AND origin = 'environment'";
    assert_eq!(database.number(known).await, 1);
    for server in [&a, &b] {
        eventually("it has heard the database", async || {
            let metrics = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
            metrics.contains("fastbreak_notify_looks_total{result=\"ok\"}")
        })
        .await;
    }
    assert!(Command::new("kill").args(["-QUIT", &pid.to_string()]).status().unwrap().success());
    let away = Instant::now();
    eventually("both tell", async || hook.count() == 2).await;
    assert!(away.elapsed() >= Duration::from_secs(2), "{:?}", away.elapsed());
    let seen = hook.seen();
    let ids: Vec<&str> = seen.iter().map(|seen| seen.header("webhook-id")).collect();
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].starts_with("self-"), "{ids:?}");
    let text = seen[0].json()["data"]["title"].as_str().unwrap().to_owned();
    assert_eq!(text, "[FIRING 1] critical: FastBreak cannot reach its database");
    let _restarted = tokio::task::spawn_blocking(move || start(data_dir)).await.unwrap();
    eventually("the end is told", async || hook.count() >= 3).await;
    let sent = "SELECT count(*) FROM deliveries WHERE state = 'sent'";
    eventually("and recorded", async || database.number(sent).await == 1).await;
    assert_eq!(hook.count(), 3);
    assert_eq!(hook.seen()[2].header("webhook-id"), format!("{}-resolved", ids[0]));
}
