//! Several replicas on one outbox: each page once; a duplicate only where a sender died, and under the same id.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use fastbreak::model::NotificationReason::Fired;
use fastbreak::storage::{AttemptEnd, Config, Ending, Storage, StorageError};
use serde_json::json;

use super::{notification, options, queue, receiver};
use crate::support::hook::{Hook, Reply};
use crate::support::{Database, eventually};

const PAGES: usize = 200;
/// Attempts of one process to one receiver at once.
const AT_ONCE: usize = 4;

async fn fill(database: &Database) {
    let pages: Vec<_> =
        (0..PAGES).map(|i| notification(&format!("page-{i}"), "ops", &format!("g-{i}"), Fired)).collect();
    queue(database, &pages).await;
}

fn by_id(hook: &Hook) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for seen in hook.seen() {
        *count.entry(seen.header("webhook-id").to_owned()).or_default() += 1;
    }
    count
}

async fn all_sent(database: &Database) {
    let left = "SELECT count(*) FROM deliveries WHERE state <> 'sent'";
    eventually("all are sent", async || database.number(left).await == 0).await;
}

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// A receiver slow enough that processes are killed while they send.
async fn slow_hook() -> Hook {
    Hook::start(|_, _| Reply::Late(200, Duration::from_millis(60))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_kill_two_replicas_send_each_page_exactly_once() {
    let database = Database::create().await;
    let (a, _b) = (options(&database).start(), options(&database).start());
    let hook = slow_hook().await;
    receiver(&a, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    fill(&database).await;
    all_sent(&database).await;
    let count = by_id(&hook);
    assert_eq!((count.len(), hook.count()), (PAGES, PAGES));
    let holders = "SELECT count(DISTINCT holder) FROM delivery_attempts";
    assert_eq!(database.number(holders).await, 2, "both took part");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_loses_no_page_and_doubles_only_what_it_was_sending() {
    let database = Database::create().await;
    let (a, b) = (options(&database).start(), options(&database).start());
    let hook = slow_hook().await;
    receiver(&b, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    fill(&database).await;
    eventually("a quarter is sent", async || hook.count() > PAGES / 4).await;
    a.kill();
    all_sent(&database).await;
    let count = by_id(&hook);
    assert_eq!(count.len(), PAGES, "none is missing");
    let doubled = count.values().filter(|n| **n > 1).count();
    assert!(doubled <= AT_ONCE && hook.count() <= PAGES + AT_ONCE, "{doubled} doubled, {} in all", hook.count());
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replica_that_goes_on_sends_nothing_that_was_taken_from_it() {
    let database = Database::create().await;
    let (a, b) = (options(&database).start(), options(&database).start());
    let hook = slow_hook().await;
    receiver(&b, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    fill(&database).await;
    eventually("a quarter is sent", async || hook.count() > PAGES / 4).await;
    signal(a.pid(), "-STOP");
    all_sent(&database).await;
    let before = hook.count();
    signal(a.pid(), "-CONT");
    // It is awake again once it has sent something new; the other one may be faster for a while.
    let by_a = format!(
        "SELECT count(*) FROM delivery_attempts a JOIN deliveries d ON d.id = a.delivery_id \
                        WHERE d.notification_id LIKE 'new-%' AND a.holder LIKE '%/{}'",
        a.pid()
    );
    let mut new = 0;
    while database.number(&by_a).await == 0 {
        assert!(new < 40 * 50, "the stopped one takes part again");
        let pages = new..new + 40;
        new = pages.end;
        let pages: Vec<_> = pages.map(|i| notification(&format!("new-{i}"), "ops", &format!("n-{i}"), Fired)).collect();
        queue(&database, &pages).await;
        all_sent(&database).await;
    }
    let count = by_id(&hook);
    assert_eq!(count.len(), PAGES + new, "none is missing");
    assert_eq!(hook.count(), before + new, "nothing was sent late");
    let doubled = count.values().filter(|n| **n > 1).count();
    assert!(doubled <= AT_ONCE, "{doubled} doubled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_the_key_leaves_the_receiver_to_the_others() {
    let database = Database::create().await;
    let key = |n: &str| options(&database).with("FASTBREAK_SECRET_KEY", &n.repeat(32));
    let (a, b) = (key("a").start(), key("b").start());
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    receiver(&a, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    let shown = b.get("/api/receivers/ops").await;
    assert!(shown["problem"].as_str().unwrap().contains("another key"), "{shown}");
    let pages: Vec<_> = (0..20).map(|i| notification(&format!("p-{i}"), "ops", &format!("g-{i}"), Fired)).collect();
    queue(&database, &pages).await;
    all_sent(&database).await;
    assert_eq!(database.number("SELECT count(DISTINCT holder) FROM delivery_attempts").await, 1);
    assert_eq!(hook.count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_its_lease_neither_begins_nor_records() {
    let database = Database::create().await;
    drop(options(&database).start());
    queue(&database, &[notification("n", "ops", "g", Fired)]).await;
    let storage = Storage::connect(Config::new(database.url.clone())).await.unwrap();
    let claim = async |holder: &str| storage.outbox_claim(holder, "ops", 1, 15.0).await.unwrap().pop();
    let lapse = "UPDATE deliveries SET lease_expires_at = now() - interval '1 second'";
    let slow = claim("slow").await.unwrap();
    assert!(claim("other").await.is_none(), "it is taken");
    database.execute(lapse).await;
    assert!(storage.outbox_begin(&slow, 15.0).await.unwrap().is_none(), "the lease has lapsed");
    let slow = claim("slow").await.unwrap();
    let begun = storage.outbox_begin(&slow, 15.0).await.unwrap().unwrap();
    database.execute(lapse).await;
    let other = claim("other").await.unwrap();
    assert!(other.lease_epoch > slow.lease_epoch);
    let end = |claimed: &fastbreak::storage::ClaimedDelivery, begun, holder: &str| AttemptEnd {
        delivery_id: claimed.id,
        lease_epoch: claimed.lease_epoch,
        holder: holder.to_owned(),
        begun,
        ending: Ending::Sent { remote_ref: None },
        status: Some(200),
        detail: String::new(),
    };
    assert!(storage.outbox_begin(&slow, 15.0).await.unwrap().is_none(), "another has it");
    let late = storage.outbox_record(&end(&slow, begun, "slow")).await;
    assert!(matches!(late, Err(StorageError::Fenced)), "{late:?}");
    let begun = storage.outbox_begin(&other, 15.0).await.unwrap().unwrap();
    assert_eq!((begun.number, begun.number_in_round), (2, 2));
    storage.outbox_record(&end(&other, begun, "other")).await.unwrap();
    let log = storage.delivery_attempts(&[other.id]).await.unwrap();
    let told: Vec<(&str, &str)> = log.iter().map(|a| (a.outcome.as_str(), a.detail.as_str())).collect();
    assert_eq!(told, [("retry", "the sender ended before it told the outcome"), ("sent", "")]);
}

/// What a bad day at the receiver looks like: a third of the requests fail in one way or another.
fn bad_day(n: usize) -> Reply {
    match n % 20 {
        3 | 11 => Reply::Status(500),
        6 | 14 => Reply::TooMany(1),
        9 => Reply::Hang,
        17 => Reply::Status(503),
        _ => Reply::Late(200, Duration::from_millis(20)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_pages_survive_kills_of_any_replica_and_a_receiver_on_a_bad_day() {
    const INCIDENTS: usize = 500;
    let database = Database::create().await;
    let options = options(&database);
    let mut servers: Vec<_> = (0..3).map(|_| options.start()).collect();
    let hook = Hook::start(|n, _| bad_day(n)).await;
    let url = json!({ "url": hook.url });
    for i in 0..4 {
        receiver(&servers[0], &format!("ops-{i}"), "webhook", json!({}), url.clone()).await;
    }
    let pages = |i: usize| notification(&format!("page-{i}"), &format!("ops-{}", i % 4), &format!("g-{i}"), Fired);
    queue(&database, &(0..INCIDENTS).map(pages).collect::<Vec<_>>()).await;
    let (mut kills, mut round) = (0, 0);
    let left = "SELECT count(*) FROM deliveries WHERE state <> 'sent'";
    while database.number(left).await > 0 {
        assert!(round < 90, "not done within 90 s");
        tokio::time::sleep(Duration::from_secs(1)).await;
        super::hurry(&database).await;
        round += 1;
        if round % 3 == 0 && kills < 4 {
            servers.remove(0).kill();
            servers.push(options.start());
            kills += 1;
        }
    }
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    for (n, seen) in hook.seen().iter().enumerate() {
        if matches!(bad_day(n), Reply::Late(..)) {
            *accepted.entry(seen.header("webhook-id").to_owned()).or_default() += 1;
        }
    }
    assert_eq!(accepted.len(), INCIDENTS, "none is missing");
    let doubled: usize = accepted.values().map(|n| n - 1).sum();
    assert!(kills > 0 && doubled <= kills * AT_ONCE * 4, "{doubled} doubled by {kills} kills");
    println!("{INCIDENTS} pages, {} requests, {kills} kills, {doubled} doubled, {round} s", hook.count());
}
