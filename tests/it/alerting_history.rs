//! What would have been: backtests and explanations against what happened live; objectives.

use std::time::Instant;

use serde_json::{Value, json};

use crate::alerting::{active, call, deliveries, options, save_rule, send, wait_for_state};
use crate::support::export::{DELTA, bytes, counter, gauge, http, now, point, request};
use crate::support::server::client;
use crate::support::{Database, Server, eventually};

async fn live_states(server: &Server, rule: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for alert in server.get("/api/alerts/history?hours=1").await.as_array().unwrap() {
        if alert["ruleId"] == rule {
            let detail = server.get(&format!("/api/alerts/{}", alert["id"].as_str().unwrap())).await;
            for transition in detail["transitions"].as_array().unwrap() {
                let host = alert["labels"]["host"].as_str().unwrap().to_owned();
                out.push((host, transition["to"].as_str().unwrap().to_owned()));
            }
        }
    }
    out.sort();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_of_what_was_stored_is_what_happened_live() {
    let database = Database::create().await;
    let server = options(&database).start();
    let from = chrono::Utc::now();
    save_rule(&server, "load", json!({ "for": "1s", "groupBy": ["host"] })).await;
    for host in ["a", "b"] {
        send(&server, host, 12.0).await;
    }
    eventually("both fire", async || {
        active(&server, "load").await.iter().filter(|alert| alert["state"] == "firing").count() == 2
    })
    .await;
    send(&server, "a", 1.0).await;
    eventually("one is over", async || deliveries(&database, "resolved").await == 1).await;
    let path = "/api/alerts/rules/load/backtest";
    let body = json!({ "from": from, "to": chrono::Utc::now() });
    let (status, result) = call(&server, "POST", path, &body).await;
    assert_eq!(status, 200, "{result}");
    let mut replayed: Vec<(String, String)> = result["transitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["labels"]["host"].as_str().unwrap().to_owned(), t["to"].as_str().unwrap().to_owned()))
        .collect();
    replayed.sort();
    assert_eq!(replayed, live_states(&server, "load").await, "{result}");
    let told = deliveries(&database, "fired").await + deliveries(&database, "resolved").await;
    assert_eq!(result["summary"]["notifications"], told, "{result}");
    assert_eq!(result["summary"]["byReceiver"], json!({ "email": told }));
    assert!(!result["series"]["values"].as_array().unwrap().is_empty());
    let edit = json!({ "from": from, "to": chrono::Utc::now(), "rule": {
        "name": "Load", "condition": "max by (host) (load) > threshold", "threshold": 100,
    } });
    let (status, result) = call(&server, "POST", path, &edit).await;
    assert_eq!(
        (status, &result["summary"]["alerts"], &result["live"]["alerts"]),
        (200, &json!(0), &json!(2)),
        "{result}"
    );
    let long = json!({ "from": "2020-01-01T00:00:00Z", "to": chrono::Utc::now() });
    let (status, answer) = call(&server, "POST", path, &long).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("from")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_why_nothing_fired_from_what_was_stored() {
    let database = Database::create().await;
    let server = options(&database).start();
    save_rule(&server, "load", json!({ "for": "1h" })).await;
    eventually("it was evaluated", async || {
        server.get("/api/alerts/explain?ruleId=load").await["verdict"] == "not_fired"
    })
    .await;
    let told = server.get("/api/alerts/explain?ruleId=load").await;
    assert!(told.to_string().contains("got no data"), "{told}");
    send(&server, "a", 3.0).await;
    eventually("a value was seen", async || {
        server.get("/api/alerts/explain?ruleId=load").await.to_string().contains("worst value 3, threshold 10")
    })
    .await;
    send(&server, "a", 12.0).await;
    wait_for_state(&server, "load", "pending").await;
    let told = server.get("/api/alerts/explain?ruleId=load&label.host=a").await;
    assert_eq!(told["verdict"], "pending", "{told}");
    let ended = "SELECT count(*) FROM decisions WHERE rule_id = 'load' AND kind = 'no_breach'";
    assert_eq!(database.number(ended).await, 1, "the run that ended is kept");
    let (status, answer) = call(&server, "GET", "/api/alerts/explain?ruleId=load&at=yesterday", &Value::Null).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("at")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objective_is_unmeasured_then_kept_then_exhausted() {
    let database = Database::create().await;
    let server = options(&database).start();
    let slo = json!({
        "id": "shop", "name": "Shop", "objective": 90, "windowDays": 7,
        "good": "served_total{code=\"200\"}", "total": "served_total",
    });
    let (status, saved) = call(&server, "POST", "/api/slos", &slo).await;
    assert_eq!((status, &saved["state"], &saved["sli"]), (201, &json!("unmeasured"), &Value::Null), "{saved}");
    assert_eq!(server.get("/api/alerts/rules/slo:shop:medium").await["labels"]["slo"], "shop");
    let serve = async |code: &str, count: f64| {
        let metrics = vec![counter("served", DELTA, vec![point(count, now(), &[("code", code)])])];
        let body = bytes(&request("shop", metrics));
        eventually("an export is taken", async || http(&client(), &server.otlp_http, &body).await).await;
    };
    serve("200", 100.0).await;
    eventually("it is kept", async || server.get("/api/slos/shop").await["state"] == "ok").await;
    serve("500", 50.0).await;
    eventually("it is exhausted", async || server.get("/api/slos/shop").await["state"] == "exhausted").await;
    let status = server.get("/api/slos/shop").await;
    let sli = status["sli"].as_f64().unwrap();
    assert!((sli - 66.67).abs() < 0.1, "{status}");
    assert_eq!(call(&server, "DELETE", "/api/slos/shop", &Value::Null).await.0, 204);
    assert_eq!(call(&server, "GET", "/api/alerts/rules/slo:shop:medium", &Value::Null).await.0, 404);
}

/// Sends one point of `service`.
async fn report(server: &Server, service: &str) {
    let body = bytes(&request(service, vec![gauge("alive", vec![point(1.0, now(), &[])])]));
    eventually("an export is taken", async || http(&client(), &server.otlp_http, &body).await).await;
}

/// The services that are told to be silent.
async fn silent(server: &Server) -> Vec<String> {
    let alerts = active(server, "service_silent").await;
    alerts.iter().map(|alert| alert["labels"]["reporting_service"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_to_report_is_told_and_a_restart_of_ours_is_not_blamed_on_anyone() {
    let database = Database::create().await;
    let mut server = options(&database).start();
    let lag = "max by (reporting_service) ({\"fastbreak.service.report.lag\"})";
    eventually("both are known", async || {
        report(&server, "shop").await;
        report(&server, "bank").await;
        server.query(lag).await.as_array().unwrap().len() == 2
    })
    .await;
    eventually("the silent one is told", async || {
        report(&server, "bank").await;
        silent(&server).await == ["shop"]
    })
    .await;
    eventually("it is back", async || {
        report(&server, "shop").await;
        report(&server, "bank").await;
        silent(&server).await.is_empty()
    })
    .await;
    assert_eq!(server.terminate(), Some(0));
    let stopped = Instant::now();
    eventually("longer than both intervals", async || stopped.elapsed().as_secs() > 8).await;
    server = options(&database).start();
    // Both come back a little late; nobody is blamed for the time in which nothing could be taken in.
    eventually("their intervals are known again", async || {
        report(&server, "bank").await;
        server.query(lag).await.as_array().unwrap().len() == 2
    })
    .await;
    report(&server, "shop").await;
    assert_eq!(silent(&server).await, [""; 0]);
    eventually("what is silent after a restart is told too", async || {
        report(&server, "bank").await;
        silent(&server).await == ["shop"]
    })
    .await;
}
