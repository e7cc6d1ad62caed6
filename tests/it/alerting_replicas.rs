//! Several replicas evaluate the same rules: nothing is told twice, nothing is forgotten, whatever is stopped or killed.

use std::time::Instant;

use fastbreak::storage::{
    AlertChange, AlertWrite, Config, EvaluationWrite, GroupDecision, StateChange, Storage, StorageError, TransitionRow,
};
use serde_json::json;

use crate::alerting::{active, deliveries, options, save_rule, send, wait_for_state};
use crate::support::{Database, Server, eventually};

const RULES: usize = 5;
const HOSTS: usize = 20;
const WAVES: usize = 5;
/// Those of the tests' rules; the host may well give the shipped ones something to say.
const TRANSITIONS: &str = "SELECT count(*) FROM alert_transitions t JOIN alert_instances a ON a.id = t.alert_id \
                           WHERE a.rule_id LIKE 'load%'";

/// Alerts of a wave in some state.
async fn in_state(database: &Database, wave: usize, state: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM alert_instances WHERE state = '{state}' AND alert->'labels'->>'host' LIKE 'w{wave}-%'"
    );
    database.number(&sql).await
}

async fn send_wave(server: &Server, wave: usize, value: f64) {
    for host in 0..HOSTS {
        send(server, &format!("w{wave}-{host}"), value).await;
    }
}

/// 500 incidents on three replicas. In each wave one replica sleeps past its lease and wakes up, another is killed and
/// comes back. Every incident fires and is resolved once, and each of both is told once.
///
/// What keeps it so, and was taken out to see this fail: `s.epoch = next.epoch` in `storage::evaluations::ADVANCE` (see
/// the next test, which fails without it each time), `FOR UPDATE` on groups in `storage::groups::dispatch_in_txn`, the
/// transaction around `Storage::evaluation_write`.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_incidents_are_told_once_whatever_sleeps_or_dies() {
    let database = Database::create().await;
    let options = options(&database).with("RUST_LOG", "error");
    let mut servers = vec![options.start(), options.start(), options.start()];
    for rule in 0..RULES {
        save_rule(&servers[0], &format!("load_{rule}"), json!({ "groupBy": ["host"] })).await;
    }
    let all = (RULES * HOSTS) as i64;
    for wave in 0..WAVES {
        let (sleeper, dead, awake) = (wave % 3, (wave + 1) % 3, (wave + 2) % 3);
        servers[sleeper].signal("STOP");
        send_wave(&servers[awake], wave, 20.0).await;
        let killed = servers.remove(dead);
        killed.kill();
        servers.insert(dead, options.start());
        eventually(&format!("wave {wave} fires"), async || in_state(&database, wave, "firing").await == all).await;
        servers[sleeper].signal("CONT");
        send_wave(&servers[awake], wave, 1.0).await;
        eventually(&format!("wave {wave} is over"), async || in_state(&database, wave, "resolved").await == all).await;
    }
    let incidents = (RULES * HOSTS * WAVES) as i64;
    eventually("all is told", async || deliveries(&database, "resolved").await >= incidents).await;
    assert_eq!(deliveries(&database, "fired").await, incidents);
    assert_eq!(deliveries(&database, "resolved").await, incidents);
    for state in ["firing", "resolved"] {
        let sql = format!("{TRANSITIONS} AND to_state = '{state}'");
        assert_eq!(database.number(&sql).await, incidents, "{state}");
    }
    let twice = "SELECT count(*) FROM (SELECT 1 FROM deliveries GROUP BY group_key, notification->>'reason' \
                 HAVING count(*) > 1) twice";
    assert_eq!(database.number(twice).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_within_ten_seconds() {
    let database = Database::create().await;
    let options = options(&database).with("RUST_LOG", "error");
    let (a, b) = (options.start(), options.start());
    for rule in 0..8 {
        save_rule(&b, &format!("load_{rule}"), json!({})).await;
    }
    eventually("both live", async || database.number("SELECT count(*) FROM replicas").await == 2).await;
    a.kill();
    let killed = Instant::now();
    send(&b, "a", 20.0).await;
    for rule in 0..8 {
        wait_for_state(&b, &format!("load_{rule}"), "firing").await;
    }
    assert!(killed.elapsed().as_secs() < 10, "{:?}", killed.elapsed());
}

/// An evaluation that read epoch 0 and writes an alert that fires, at `second`.
fn evaluation(id: Option<i64>, second: i64) -> EvaluationWrite {
    let at = chrono::DateTime::from_timestamp(1_000_000 + second, 0).unwrap();
    let state = StateChange {
        rule_id: "load".to_owned(),
        epoch: 0,
        evaluated_at: at,
        health: "ok",
        error: None,
        duration_seconds: 0.0,
        left_out: 0,
        known: None,
        run_kind: "breach".to_owned(),
        run_since: at,
        run_evaluations: 1,
        run_worst: None,
        ended_detail: None,
    };
    let change = AlertChange {
        rule_id: "load".to_owned(),
        fingerprint: "f".to_owned(),
        state: if id.is_some() { "resolved" } else { "firing" },
        severity: "warning",
        alert: json!({}),
        machine: json!({}),
        chart: None,
        group_keys: None,
        settled: false,
        pending_since: at,
        starts_at: Some(at),
        ended_at: id.map(|_| at),
    };
    let transition = TransitionRow {
        at,
        from_state: "inactive".to_owned(),
        to_state: change.state.to_owned(),
        severity: "warning".to_owned(),
        value: None,
        reason: "held".to_owned(),
    };
    let alert = AlertWrite { id, change, transition: Some(transition), drop_acknowledgement: false };
    EvaluationWrite { state, alerts: vec![alert], groups: Vec::new() }
}

/// Fails when `s.epoch = next.epoch` is taken out of `storage::evaluations::ADVANCE`.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_from_an_old_state_is_not_written() {
    let database = Database::create().await;
    let storage = Storage::connect(Config::new(database.url.clone())).await.unwrap();
    storage.migrate().await.unwrap();
    let definition = json!({ "id": "load" });
    storage.rule_put(("load", &definition), "api", fastbreak::storage::Expected::Absent).await.unwrap();
    let nothing = |_: &fastbreak::storage::GroupCase, _: &fastbreak::storage::Around| GroupDecision::default();
    storage.evaluation_write(&evaluation(None, 0), nothing).await.unwrap();
    // Another replica read the same epoch, slept, and woke up.
    let id = database.number("SELECT id FROM alert_instances").await;
    let late = storage.evaluation_write(&evaluation(Some(id), 10), nothing).await;
    assert!(matches!(late, Err(StorageError::Fenced)), "{late:?}");
    assert_eq!(database.number("SELECT count(*) FROM alert_transitions").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM alert_instances WHERE state = 'firing'").await, 1);
    // An edit fences the evaluations of what it replaces.
    let edited = json!({ "id": "load", "name": "x" });
    storage.rule_put(("load", &edited), "api", fastbreak::storage::Expected::Present).await.unwrap();
    let mut after_edit = evaluation(Some(id), 20);
    after_edit.state.epoch = 1;
    assert!(matches!(storage.evaluation_write(&after_edit, nothing).await, Err(StorageError::Fenced)));
}

/// Fails when `Storage::evaluation_write` does not run in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_row_in_the_outbox_a_transition_is_not_written() {
    let database = Database::create().await;
    let server = options(&database).with("RUST_LOG", "error").start();
    save_rule(&server, "load", json!({})).await;
    database.execute("ALTER TABLE deliveries RENAME TO elsewhere").await;
    send(&server, "a", 20.0).await;
    eventually("evaluations fail", async || {
        let text = crate::support::server::client().get(format!("{}/metrics", server.http)).send().await.unwrap();
        text.text().await.unwrap().contains("alerting_evaluations_total{result=\"failed\"}")
    })
    .await;
    assert!(active(&server, "load").await.is_empty());
    assert_eq!(database.number(TRANSITIONS).await, 0);
    database.execute("ALTER TABLE elsewhere RENAME TO deliveries").await;
    eventually("it is told", async || deliveries(&database, "fired").await == 1).await;
    assert_eq!(database.number(TRANSITIONS).await, 1);
}
