//! Alerting, from a measurement to the outbox: rules through the API, evaluation, who is told, and what is remembered.

use serde_json::{Value, json};

use crate::support::export::{bytes, gauge, http, now, point, request};
use crate::support::server::{Options, client};
use crate::support::{Database, Server, eventually};

/// A server that evaluates every second.
pub(crate) fn options(database: &Database) -> Options {
    Options::on(database).with("FASTBREAK_WINDOW", "1s")
}

/// Sends `value` as the gauge `load` of `host`.
pub(crate) async fn send(server: &Server, host: &str, value: f64) {
    let body = bytes(&request("shop", vec![gauge("load", vec![point(value, now(), &[("host", host)])])]));
    eventually("an export is taken", async || http(&client(), &server.otlp_http, &body).await).await;
}

/// Any call with a JSON body; returns status and answer.
pub(crate) async fn call(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = client().request(method, format!("{}{path}", server.http));
    if !body.is_null() {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Saves a rule over `load`, with `more` over the usual fields.
pub(crate) async fn save_rule(server: &Server, id: &str, more: Value) -> Value {
    let mut rule = json!({
        "id": id, "name": "Load", "condition": "max by (host) (load) > threshold", "threshold": 10,
        "severity": "warning", "enabled": true, "cooldownMinutes": 5, "notificationChannels": ["email"],
    });
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, answer) = call(server, "POST", "/api/alerts/rules", &rule).await;
    assert_eq!(status, 201, "{answer}");
    answer
}

/// The open alerts of a rule.
pub(crate) async fn active(server: &Server, rule: &str) -> Vec<Value> {
    server.get(&format!("/api/alerts/active?ruleId={rule}")).await.as_array().unwrap().clone()
}

pub(crate) async fn wait_for_state(server: &Server, rule: &str, state: &str) {
    eventually(&format!("an alert of {rule} is {state}"), async || {
        active(server, rule).await.iter().any(|alert| alert["state"] == state)
    })
    .await;
}

pub(crate) async fn deliveries(database: &Database, reason: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM deliveries WHERE notification->>'reason' = '{reason}'");
    database.number(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_fires_a_rule_that_is_told_once_and_told_again_when_it_is_over() {
    let database = Database::create().await;
    let server = options(&database).start();
    save_rule(&server, "load", json!({ "annotations": { "summary": "{{ labels.host }} is at {{ value }}" } })).await;
    send(&server, "a", 12.0).await;
    wait_for_state(&server, "load", "firing").await;
    eventually("it is told", async || deliveries(&database, "fired").await == 1).await;
    let alert = &active(&server, "load").await[0];
    assert_eq!(
        (&alert["severity"], &alert["value"], &alert["threshold"]),
        (&json!("warning"), &json!(12.0), &json!(10.0))
    );
    assert_eq!(alert["annotations"]["summary"], "a is at 12.0");
    assert_eq!(alert["labels"], json!({ "host": "a" }));
    send(&server, "a", 3.0).await;
    eventually("its end is told", async || deliveries(&database, "resolved").await == 1).await;
    assert!(active(&server, "load").await.is_empty());
    assert_eq!(deliveries(&database, "fired").await, 1, "told once");
    let history = server.get("/api/alerts/history?hours=1").await;
    let over = history.as_array().unwrap().iter().find(|alert| alert["ruleId"] == "load").unwrap().clone();
    assert_eq!((&over["state"], &over["resolvedReason"]), (&json!("resolved"), &json!("recovered")));
    assert_eq!(over["peak"], 12.0);
    let detail = server.get(&format!("/api/alerts/{}", over["id"].as_str().unwrap())).await;
    let states: Vec<&str> =
        detail["transitions"].as_array().unwrap().iter().map(|t| t["to"].as_str().unwrap()).collect();
    assert_eq!(states, ["firing", "resolved"]);
    assert_eq!(detail["deliveries"].as_array().unwrap().len(), 2);
    assert!(detail["chart"]["values"].as_array().unwrap().iter().any(Value::is_number), "{}", detail["chart"]);
    let text = "SELECT count(*) FROM deliveries WHERE notification->'alerts'->0->'chart'->0 IS NOT NULL";
    assert_eq!(database.number(text).await, 2, "a chart goes with each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_must_last_and_the_clock_survives_a_restart() {
    let database = Database::create().await;
    let mut server = options(&database).start();
    save_rule(&server, "load", json!({ "for": "6s" })).await;
    send(&server, "a", 12.0).await;
    wait_for_state(&server, "load", "pending").await;
    let since = active(&server, "load").await[0]["pendingSince"].clone();
    server.kill();
    server = options(&database).start();
    wait_for_state(&server, "load", "firing").await;
    let alert = &active(&server, "load").await[0];
    assert_eq!(alert["pendingSince"], since);
    let time = |field: &Value| chrono::DateTime::parse_from_rfc3339(field.as_str().unwrap()).unwrap();
    let held = time(&alert["startsAt"]) - time(&since);
    assert!((6..=14).contains(&held.num_seconds()), "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_have_revisions_and_every_mistake_is_named() {
    let server = Server::start().await;
    let saved = save_rule(&server, "load", json!({})).await;
    assert_eq!((&saved["revision"], &saved["origin"]), (&json!(1), &json!("api")));
    let path = "/api/alerts/rules/load";
    let (status, changed) = call(&server, "PUT", path, &json!({ "threshold": 20, "revision": 1 })).await;
    assert_eq!((status, &changed["revision"], &changed["threshold"]), (200, &json!(2), &json!(20.0)));
    let (status, answer) = call(&server, "PUT", path, &json!({ "threshold": 30, "revision": 1 })).await;
    assert_eq!((status, &answer["code"]), (409, &json!("conflict")));
    let mut whole = changed.clone();
    whole["name"] = json!("Other");
    let (status, answer) = call(&server, "PUT", path, &whole).await;
    assert_eq!((status, &answer["revision"], &answer["name"]), (200, &json!(3), &json!("Other")));
    let (status, answer) = call(&server, "POST", &format!("{path}/revert"), &json!({ "revision": 1 })).await;
    assert_eq!((status, &answer["revision"], &answer["threshold"]), (200, &json!(4), &json!(10.0)));
    assert_eq!(server.get(&format!("{path}/revisions")).await.as_array().unwrap().len(), 4);
    let check = async |rule: Value, field: &str| {
        let (status, answer) = call(&server, "POST", "/api/alerts/rules?dryRun=true", &rule).await;
        assert_eq!((status, answer["field"].as_str()), (400, Some(field)), "{answer}");
    };
    let rule = |more: Value| {
        let mut rule = json!({ "id": "x", "name": "x", "condition": "load > threshold", "threshold": 1 });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    check(rule(json!({ "condition": "rate(" })), "condition").await;
    check(rule(json!({ "condition": "load[5m] > threshold" })), "condition").await;
    check(rule(json!({ "treshold": 1 })), "treshold").await;
    check(rule(json!({ "for": "5 minutes" })), "for").await;
    check(rule(json!({ "for": "60d" })), "for").await;
    check(rule(json!({ "cooldownMinutes": -1 })), "cooldownMinutes").await;
    check(rule(json!({ "severity": "bad" })), "severity").await;
    check(rule(json!({ "recoveryThreshold": 2 })), "recoveryThreshold").await;
    check(rule(json!({ "annotations": { "summary": "{{ labels.x " } })), "annotations.summary").await;
    check(rule(json!({ "id": "no spaces" })), "id").await;
    check(json!({ "id": "x", "name": "x" }), "condition").await;
    let (status, _) = call(&server, "DELETE", path, &Value::Null).await;
    assert_eq!(status, 204);
    let (status, _) = call(&server, "GET", path, &Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_rules_are_on_from_the_first_start_and_a_persons_edit_stays() {
    let database = Database::create().await;
    let server = Options::on(&database).start();
    let rules = server.get("/api/alerts/rules").await;
    let shipped =
        rules.as_array().unwrap().iter().filter(|rule| rule["origin"] == "default" && rule["enabled"] == true);
    assert!(shipped.count() >= 10);
    let (status, _) = call(&server, "PUT", "/api/alerts/rules/system_cpu_usage", &json!({ "threshold": 50 })).await;
    assert_eq!(status, 200);
    let (status, _) = call(&server, "DELETE", "/api/alerts/rules/ai_confidence", &Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(server.terminate(), Some(0));
    let server = Options::on(&database).start();
    let rule = server.get("/api/alerts/rules/system_cpu_usage").await;
    assert_eq!((&rule["threshold"], &rule["origin"], &rule["revision"]), (&json!(50.0), &json!("api"), &json!(2)));
    let (status, _) = call(&server, "GET", "/api/alerts/rules/ai_confidence", &Value::Null).await;
    assert_eq!(status, 404, "what was deleted stays deleted");
    eventually("a shipped rule was evaluated", async || {
        server.get("/api/alerts/rules/system_memory_usage").await["health"]["state"] == "ok"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_deleted_rule_resolves_its_alerts_and_says_why() {
    let database = Database::create().await;
    let server = options(&database).start();
    for rule in ["changed", "disabled", "deleted"] {
        save_rule(&server, rule, json!({})).await;
    }
    send(&server, "a", 12.0).await;
    for rule in ["changed", "disabled", "deleted"] {
        wait_for_state(&server, rule, "firing").await;
    }
    let path = |rule: &str| format!("/api/alerts/rules/{rule}");
    let edit = json!({ "condition": "max by (host) (load) > threshold + 0", "id": "changed", "name": "Load", "threshold": 100 });
    assert_eq!(call(&server, "PUT", &path("changed"), &edit).await.0, 200);
    assert_eq!(call(&server, "PUT", &path("disabled"), &json!({ "enabled": false })).await.0, 200);
    assert_eq!(call(&server, "DELETE", &path("deleted"), &Value::Null).await.0, 204);
    for rule in ["changed", "disabled", "deleted"] {
        let sql = format!(
            "SELECT count(*) FROM alert_instances WHERE rule_id = '{rule}' AND alert->>'resolvedReason' = 'rule_{rule}'"
        );
        eventually(&format!("rule_{rule}"), async || database.number(&sql).await == 1).await;
    }
    eventually("all are told", async || deliveries(&database, "resolved").await == 3).await;
}
