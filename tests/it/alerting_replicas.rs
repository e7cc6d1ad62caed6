//! What keeps several replicas from telling twice or forgetting: takeover, the fence, the one transaction.
//!
//! Each test names the line without which it fails. `alerting_torture` has the same under load.

use std::time::Instant;

use fastbreak::storage::{
    AlertChange, AlertWrite, Config, EvaluationWrite, GroupDecision, StateChange, Storage, StorageError, TransitionRow,
};
use serde_json::json;

use crate::alerting::{active, deliveries, options, save_rule, send, wait_for_state};
use crate::support::{Database, eventually};

/// Those of the tests' rules; the host may well give the shipped ones something to say.
const TRANSITIONS: &str = "SELECT count(*) FROM alert_transitions t JOIN alert_instances a ON a.id = t.alert_id \
                           WHERE a.rule_id LIKE 'load%'";

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
        health: "ok".to_owned(),
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

/// Fails when `AND s.epoch = next.epoch` is taken out of the last line of `storage::evaluations::ADVANCE`.
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

/// Fails when `conn.transaction` is taken out of `Storage::evaluation_write`, so that its statements stand alone.
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
