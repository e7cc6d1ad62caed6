//! Notifications: from a row of the outbox to a real receiver.

mod admin;
mod chats;
mod delivery;
mod mail;
mod outage;
mod replicas;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};
use fastbreak::model::{Notification, NotificationReason, NotifiedAlert, Severity};
use serde_json::{Value, json};

use crate::support::server::{Options, client};
use crate::support::{Database, Server};

/// A server whose notifications may go to this machine.
fn options(database: &Database) -> Options {
    Options::on(database)
        .with("FASTBREAK_NOTIFY_ALLOW_CIDRS", "127.0.0.0/8")
        .with("FASTBREAK_NOTIFY_ALLOW_PORTS", "1-65535")
        // Several replicas a test share one Postgres with other tests.
        .with("FASTBREAK_DATABASE_CONNECTIONS", "5")
        .with("RUST_LOG", "error")
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A notification of one alert, firing or resolved.
fn notification(id: &str, receiver: &str, group: &str, reason: NotificationReason) -> Notification {
    let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let firing = reason != NotificationReason::Resolved;
    Notification {
        id: id.to_owned(),
        receiver: receiver.to_owned(),
        reason,
        group_key: group.to_owned(),
        group_labels: pairs(&[("service.name", "checkout")]),
        alerts: vec![NotifiedAlert {
            fingerprint: format!("f-{group}"),
            rule_id: "high-response-time".to_owned(),
            rule_name: "High <response> & \"time\"".to_owned(),
            condition: "avgResponseTime > threshold".to_owned(),
            firing,
            severity: Severity::Critical,
            labels: pairs(&[("service.name", "checkout"), ("note", "*bold* <b>[x](javascript:y)")]),
            annotations: pairs(&[
                ("summary", "Responses are slow"),
                ("runbook_url", "https://runbooks.example.com/slow?a=b&c=d"),
                ("bad_url", "javascript:alert(1)"),
            ]),
            value: Some(812.5),
            threshold: Some(500.0),
            unit: "ms".to_owned(),
            starts_at: at,
            ends_at: (!firing).then(|| at + TimeDelta::seconds(732)),
            peak: Some(1204.0),
            resolved_reason: (!firing).then(|| "recovered".to_owned()),
            acknowledged_by: None,
            chart: (0..60).map(|i| (1_790_000_000_000 + i * 10_000, 400.0 + (i % 20) as f64 * 10.0)).collect(),
        }],
        alerts_left_out: 2,
        decided_at: at,
        dashboard_url: "https://fastbreak.example.com".to_owned(),
    }
}

/// Writes notifications into the outbox, as alerting would.
async fn queue(database: &Database, notifications: &[Notification]) {
    for some in notifications.chunks(100) {
        let rows: Vec<String> = some
            .iter()
            .map(|n| {
                let json = serde_json::to_string(n).unwrap();
                format!("('{}', '{}', '{}', $json${json}$json$)", n.id, n.receiver, n.group_key)
            })
            .collect();
        let sql = format!(
            "INSERT INTO deliveries (notification_id, receiver_id, group_key, notification) VALUES {} \
             ON CONFLICT (notification_id, receiver_id) DO NOTHING",
            rows.join(",")
        );
        database.execute(&sql).await;
    }
}

/// Makes a receiver through the API.
async fn receiver(server: &Server, id: &str, kind: &str, settings: Value, secrets: Value) -> Value {
    let body = json!({ "id": id, "kind": kind, "settings": settings, "secrets": secrets });
    let answer = client().post(format!("{}/api/receivers", server.http)).json(&body).send().await.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 201, "{body}");
    body
}

async fn post(server: &Server, path: &str) -> Value {
    client().post(format!("{}{path}", server.http)).send().await.unwrap().json().await.unwrap()
}

/// The deliveries to a receiver, newest first.
async fn deliveries(server: &Server, receiver: &str) -> Vec<Value> {
    server.get(&format!("/api/deliveries?receiver={receiver}&limit=1000")).await.as_array().unwrap().clone()
}

/// Makes what waits due now.
async fn hurry(database: &Database) {
    database.execute("UPDATE deliveries SET next_attempt_at = now() WHERE state = 'queued'").await;
}
