//! Who is told of an alert: silences, maintenance, inhibition, routes, severities, acknowledgement, tests.

use serde_json::{Value, json};

use crate::alerting::{active, call, deliveries, options, save_rule, send, wait_for_state};
use crate::support::{Database, Server, eventually};

fn host(value: &str) -> Value {
    json!([{ "name": "host", "value": value }])
}

async fn wait_for_suppression(server: &Server, rule: &str, kind: &str) {
    eventually(&format!("an alert of {rule} is suppressed by {kind}"), async || {
        active(server, rule).await.iter().any(|alert| alert["suppressed"][0]["kind"] == kind)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_silenced_fires_quietly_and_is_told_when_the_silence_is_ended() {
    let database = Database::create().await;
    let server = options(&database).start();
    save_rule(&server, "load", json!({})).await;
    let silence = json!({ "matchers": host("a"), "endsAt": "2099-01-01T00:00:00Z" });
    let (status, answer) = call(&server, "POST", "/api/silences", &silence).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("endsAt")), "{answer}");
    let ends = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let silence = json!({ "matchers": host("a"), "endsAt": ends, "createdBy": "ada", "comment": "upgrade" });
    let (status, silence) = call(&server, "POST", "/api/silences", &silence).await;
    assert_eq!((status, &silence["state"]), (201, &json!("active")), "{silence}");
    send(&server, "a", 12.0).await;
    wait_for_state(&server, "load", "firing").await;
    wait_for_suppression(&server, "load", "silence").await;
    assert_eq!(deliveries(&database, "fired").await, 0);
    let (_, preview) = call(&server, "POST", "/api/silences/preview", &json!({ "matchers": host("a") })).await;
    assert_eq!(preview["alerts"].as_array().unwrap().len(), 1);
    let explained = server.get("/api/alerts/explain?ruleId=load&label.host=a").await;
    assert_eq!(explained["verdict"], "not_notified", "{explained}");
    assert!(explained.to_string().contains("silenced by ada"), "{explained}");
    let path = format!("/api/silences/{}", silence["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await["affected"], 1);
    let (status, over) = call(&server, "DELETE", &path, &Value::Null).await;
    assert_eq!((status, &over["state"]), (200, &json!("expired")));
    eventually("it is told", async || deliveries(&database, "fired").await == 1).await;
    let explained = server.get("/api/alerts/explain?ruleId=load").await;
    assert_eq!(explained["verdict"], "notified", "{explained}");
    assert!(explained.to_string().contains("fired to email"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_and_inhibition_keep_alerts_quiet_and_say_so() {
    let database = Database::create().await;
    let server = options(&database).start();
    let window = json!({
        "name": "always", "matchers": host("a"), "timeZone": "Europe/Berlin", "schedule": { "from": "00:00", "to": "24:00" },
    });
    let (status, window) = call(&server, "POST", "/api/maintenance-windows", &window).await;
    assert_eq!((status, &window["active"]), (201, &json!(true)), "{window}");
    let bad = json!({ "name": "bad", "timeZone": "Mars/Olympus", "schedule": { "from": "00:00", "to": "24:00" } });
    let (status, answer) = call(&server, "POST", "/api/maintenance-windows", &bad).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("timeZone")), "{answer}");
    let inhibitions = json!([{
        "source": [{ "name": "rule_id", "value": "cause" }],
        "target": [{ "name": "rule_id", "value": "effect" }],
        "equal": ["host"],
    }]);
    assert_eq!(call(&server, "PUT", "/api/inhibitions", &inhibitions).await.0, 200);
    save_rule(&server, "cause", json!({})).await;
    send(&server, "a", 12.0).await;
    send(&server, "b", 12.0).await;
    wait_for_suppression(&server, "cause", "maintenance").await;
    eventually("the other host is told", async || deliveries(&database, "fired").await == 1).await;
    save_rule(&server, "effect", json!({ "condition": "max by (host) (load{host=\"b\"}) > threshold" })).await;
    wait_for_suppression(&server, "effect", "inhibition").await;
    assert_eq!(deliveries(&database, "fired").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routing_tree_says_who_gets_what_and_severities_escalate_at_once() {
    let database = Database::create().await;
    let server = options(&database).start();
    let tree = json!({
        "receivers": ["email"],
        "routes": [{ "matchers": [{ "name": "host", "value": "b" }], "receivers": ["pager"], "groupBy": ["host"] }],
    });
    let (status, saved) = call(&server, "PUT", "/api/routes", &tree).await;
    assert_eq!((status, &saved["revision"]), (200, &json!(1)), "{saved}");
    let mut stale = tree.clone();
    stale["revision"] = json!(0);
    assert_eq!(call(&server, "PUT", "/api/routes", &stale).await.0, 409);
    let (_, to) = call(&server, "POST", "/api/routes/test", &json!({ "labels": { "host": "b" } })).await;
    assert_eq!(to, json!({ "receivers": ["pager"], "path": ["route/0"] }));
    let more = json!({ "notificationChannels": [], "thresholds": [{ "severity": "critical", "threshold": 20 }] });
    save_rule(&server, "load", more).await;
    send(&server, "a", 12.0).await;
    send(&server, "b", 12.0).await;
    let to = async |receiver: &str, reason: &str| {
        let sql = format!(
            "SELECT count(*) FROM deliveries WHERE receiver_id = '{receiver}' AND notification->>'reason' = '{reason}'"
        );
        database.number(&sql).await
    };
    eventually("each is told where it belongs", async || {
        to("email", "fired").await == 1 && to("pager", "fired").await == 1
    })
    .await;
    send(&server, "b", 25.0).await;
    eventually("it is told at once that it got worse", async || to("pager", "escalated").await == 1).await;
    let alerts = active(&server, "load").await;
    assert_eq!(
        (&alerts[0]["severity"], &alerts[0]["threshold"]),
        (&json!("critical"), &json!(20.0)),
        "the worst first"
    );
    assert_eq!(to("email", "escalated").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_goes_up_the_chain_and_what_somebody_took_does_not() {
    let database = Database::create().await;
    let server = options(&database).start();
    let chain = json!({ "escalation": [{ "after": "4s", "notificationChannels": ["boss"] }], "groupBy": ["host"] });
    save_rule(&server, "load", chain).await;
    send(&server, "a", 12.0).await;
    send(&server, "b", 12.0).await;
    eventually("both fire", async || active(&server, "load").await.len() == 2).await;
    let alerts = active(&server, "load").await;
    let taken = alerts.iter().find(|alert| alert["labels"]["host"] == "a").unwrap();
    let path = format!("/api/alerts/{}/ack", taken["id"].as_str().unwrap());
    let (status, answer) = call(&server, "POST", &path, &json!({ "by": "", "note": "" })).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("by")));
    let (status, answer) = call(&server, "POST", &path, &json!({ "by": "ada", "note": "on it" })).await;
    assert_eq!((status, &answer["acknowledged"]["by"]), (200, &json!("ada")), "{answer}");
    let boss =
        "SELECT count(*) FROM deliveries WHERE receiver_id = 'boss' AND notification->>'reason' = 'unacknowledged'";
    eventually("the boss hears of the other", async || database.number(boss).await == 1).await;
    let of_taken = format!("{boss} AND notification->'alerts'->0->'labels'->>'host' = 'a'");
    assert_eq!(database.number(&of_taken).await, 0);
    let (status, answer) = call(&server, "DELETE", &path, &Value::Null).await;
    assert_eq!((status, &answer["acknowledged"]), (200, &Value::Null));
    eventually("given back, it goes up too", async || database.number(&of_taken).await == 1).await;
}

/// Fails when `let may = told.at + cooldown.delta()` in `alerting::dispatch` leaves the cooldown out.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_within_its_cooldown_is_not_told_again() {
    let database = Database::create().await;
    let server = options(&database).start();
    save_rule(&server, "load", json!({})).await;
    for _ in 0..3 {
        send(&server, "a", 12.0).await;
        wait_for_state(&server, "load", "firing").await;
        send(&server, "a", 1.0).await;
        eventually("it is over", async || active(&server, "load").await.is_empty()).await;
    }
    let lives = "SELECT count(*) FROM alert_instances WHERE rule_id = 'load' AND state = 'resolved'";
    assert_eq!(database.number(lives).await, 3);
    assert_eq!((deliveries(&database, "fired").await, deliveries(&database, "resolved").await), (1, 1));
    let held = "SELECT count(*) FROM decisions WHERE kind = 'cooldown'";
    assert!(database.number(held).await >= 1, "why is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_goes_the_way_of_the_rules_alerts() {
    let database = Database::create().await;
    let server = options(&database).start();
    save_rule(&server, "load", json!({})).await;
    let (status, answer) = call(&server, "POST", "/api/alerts/rules/load/test", &json!({ "by": "ada" })).await;
    assert_eq!((status, &answer["receivers"]), (200, &json!(["email"])), "{answer}");
    assert_eq!(deliveries(&database, "test").await, 1);
    let (status, answer) = call(&server, "POST", "/api/alerts/rules/system_cpu_usage/test", &json!({})).await;
    assert_eq!((status, &answer["code"]), (422, &json!("unprocessable")), "nobody is configured: {answer}");
}
