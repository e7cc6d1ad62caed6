//! The loop: once, signed, again under the same id, in order, and never for ever.

use std::time::{Duration, Instant};

use fastbreak::model::NotificationReason::{Fired, Resolved};
use http::HeaderMap;
use serde_json::{Value, json};

use super::{deliveries, hurry, notification, options, post, queue, receiver};
use crate::support::hook::{Hook, Reply};
use crate::support::server::client;
use crate::support::{Database, eventually};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_arrives_once_with_a_signature_that_another_implementation_accepts() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    let url = format!("{}in?token=s3cretpath", hook.url);
    let secrets = json!({ "url": url, "signingKey": KEY, "signingKeyPrevious": OLD_KEY });
    receiver(&server, "ops", "webhook", json!({}), secrets).await;
    let began = Instant::now();
    queue(&database, &[notification("n-1", "ops", "g-1", Fired)]).await;
    eventually("it arrives", async || hook.count() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let seen = &hook.seen()[0];
    assert_eq!((seen.header("webhook-id"), seen.header("content-type")), ("n-1", "application/json"));
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, seen.headers[name].clone());
    }
    for key in [KEY, OLD_KEY] {
        standardwebhooks::Webhook::new(key).unwrap().verify(&seen.body, &headers).unwrap();
    }
    let mut bent = seen.body.to_vec();
    bent[0] = b' ';
    assert!(standardwebhooks::Webhook::new(KEY).unwrap().verify(&bent, &headers).is_err());
    assert_eq!(seen.json()["type"], "alerts.fired");
    assert_eq!(seen.json()["data"]["notification"]["alerts"][0]["peak"], 1204.0);
    eventually("it is recorded", async || deliveries(&server, "ops").await[0]["state"] == "sent").await;
    let delivery = &deliveries(&server, "ops").await[0];
    assert_eq!((&delivery["attempts"], &delivery["log"][0]["outcome"]), (&json!(1), &json!("sent")));
    assert_eq!(delivery["log"][0]["status"], 200);
    let list = server.get("/api/receivers").await;
    assert_eq!(list[0]["lastDelivery"]["outcome"], "sent");
    assert!(!list.to_string().contains("s3cret"), "{list}");
    let stored = database.text("SELECT encode(secrets, 'escape') || settings::text FROM receivers").await;
    assert!(!stored.contains("s3cret") && !stored.contains("127.0.0.1"), "{stored}");
    let metrics = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
    let counted = "fastbreak_notify_deliveries_total{receiver_kind=\"webhook\",result=\"sent\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_under_the_same_id_and_a_wait_asked_for_is_kept_to() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|n, _| match n {
        0 => Reply::Status(500),
        1 => Reply::TooMany(3_600),
        2 => Reply::Redirect("http://127.0.0.1:1/".to_owned()),
        _ => Reply::Status(204),
    })
    .await;
    receiver(&server, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    queue(&database, &[notification("n-1", "ops", "g-1", Fired)]).await;
    let attempts = async |n: i64| {
        let recorded = "SELECT count(*) FROM delivery_attempts";
        eventually("the attempt is recorded", async || database.number(recorded).await == n).await;
    };
    let wait = "SELECT extract(epoch FROM next_attempt_at - now())::bigint FROM deliveries";
    attempts(1).await;
    assert!((0..=5).contains(&database.number(wait).await));
    hurry(&database).await;
    attempts(2).await;
    assert!((3_580..=3_600).contains(&database.number(wait).await));
    hurry(&database).await;
    attempts(3).await;
    hurry(&database).await;
    attempts(4).await;
    let ids: Vec<String> = hook.seen().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!(ids, ["n-1"; 4]);
    let log = deliveries(&server, "ops").await[0]["log"].clone();
    let outcomes: Vec<&str> = log.as_array().unwrap().iter().map(|a| a["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["retry", "retry", "retry", "sent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_kept_and_can_be_resent() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Big(400)).await;
    let secret = format!("{}hidden-path", hook.url);
    receiver(&server, "ops", "webhook", json!({}), json!({ "url": secret })).await;
    queue(&database, &[notification("n-1", "ops", "g-1", Fired), notification("n-2", "nobody", "g-1", Fired)]).await;
    eventually("both are dead", async || {
        database.number("SELECT count(*) FROM deliveries WHERE state = 'dead'").await == 2
    })
    .await;
    let dead = &deliveries(&server, "ops").await[0];
    let detail = dead["log"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("status 400: xxx") && detail.chars().count() <= 300, "{detail}");
    assert_eq!(deliveries(&server, "nobody").await[0]["log"][0]["detail"], "there is no such receiver");
    hook.answers(|_, _| Reply::Status(200));
    let id = dead["id"].as_str().unwrap();
    assert_eq!(post(&server, &format!("/api/deliveries/{id}/resend")).await["state"], "queued");
    eventually("it is sent", async || deliveries(&server, "ops").await[0]["state"] == "sent").await;
    let sent = server.get(&format!("/api/deliveries/{id}")).await;
    assert_eq!((&sent["attempts"], sent["log"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(server.get("/api/deliveries/999999").await["status"], 404);
    assert!(!sent.to_string().contains("hidden-path"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_disabled() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Status(410)).await;
    receiver(&server, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    queue(&database, &[notification("n-1", "ops", "g-1", Fired)]).await;
    let off = async || server.get("/api/receivers/ops").await["enabled"] == false;
    eventually("it is disabled", off).await;
    assert_eq!(server.get("/api/receivers/ops").await["revision"], 2);
    queue(&database, &[notification("n-2", "ops", "g-2", Fired)]).await;
    let second = async || deliveries(&server, "ops").await[0]["log"][0]["detail"] == "the receiver is disabled";
    eventually("the next one is kept as dead", second).await;
    assert_eq!(hook.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_nobody_else_and_is_given_up_after_ten_seconds() {
    let database = Database::create().await;
    let server = options(&database).start();
    let (slow, quick) = (Hook::start(|_, _| Reply::Hang).await, Hook::start(|_, _| Reply::Status(200)).await);
    receiver(&server, "slow", "webhook", json!({}), json!({ "url": slow.url })).await;
    receiver(&server, "quick", "webhook", json!({}), json!({ "url": quick.url })).await;
    let many: Vec<_> = (0..20).map(|i| notification(&format!("s-{i}"), "slow", &format!("g-{i}"), Fired)).collect();
    queue(&database, &many).await;
    eventually("the slow one has all it may have", async || slow.count() == 4).await;
    let began = Instant::now();
    let many: Vec<_> = (0..20).map(|i| notification(&format!("q-{i}"), "quick", &format!("g-{i}"), Fired)).collect();
    queue(&database, &many).await;
    eventually("the quick one has all", async || quick.count() == 20).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(slow.most_at_once(), 4);
    let given_up = "SELECT count(*) FROM delivery_attempts WHERE detail LIKE '%did not answer within 10 s'";
    eventually("four are given up for now", async || database.number(given_up).await >= 4).await;
    let waited = "SELECT max(extract(epoch FROM ended_at - began_at))::bigint FROM delivery_attempts";
    assert!((10..=11).contains(&database.number(waited).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn resolved_never_overtakes_fired() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|n, _| Reply::Status(if n < 2 { 503 } else { 200 })).await;
    receiver(&server, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    queue(&database, &[notification("fired", "ops", "g", Fired), notification("resolved", "ops", "g", Resolved)]).await;
    eventually("both arrive", async || {
        hurry(&database).await;
        deliveries(&server, "ops").await.iter().all(|delivery| delivery["state"] == "sent")
    })
    .await;
    let ids: Vec<String> = hook.seen().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!(ids, ["fired", "fired", "fired", "resolved"]);
    assert_eq!(hook.seen()[3].json()["data"]["status"], "resolved");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_it_is_dead_and_after_ninety_it_is_gone() {
    let database = Database::create().await;
    drop(options(&database).start());
    let hook = Hook::start(|_, _| Reply::Status(500)).await;
    queue(&database, &[notification("late", "webhook", "g-1", Fired), notification("old", "webhook", "g-2", Fired)])
        .await;
    database
        .execute("UPDATE deliveries SET queued_at = now() - interval '25 hours' WHERE notification_id = 'late'")
        .await;
    database
        .execute("UPDATE deliveries SET state = 'dead', created_at = now() - interval '91 days' WHERE notification_id = 'old'")
        .await;
    let server = options(&database).with("ALERT_WEBHOOK_URL", &hook.url).start();
    eventually("the late one is dead and the old one gone", async || {
        let left = deliveries(&server, "webhook").await;
        left.len() == 1 && left[0]["state"] == "dead"
    })
    .await;
    assert_eq!(deliveries(&server, "webhook").await[0]["log"][0]["outcome"], "retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_what_is_under_way() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Late(200, Duration::from_secs(1))).await;
    receiver(&server, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    let many: Vec<_> = (0..8).map(|i| notification(&format!("n-{i}"), "ops", &format!("g-{i}"), Fired)).collect();
    queue(&database, &many).await;
    eventually("four are under way", async || hook.count() == 4).await;
    let code = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(database.number("SELECT count(*) FROM deliveries WHERE state = 'sent'").await, 4);
    assert_eq!(hook.count(), 4, "nothing new was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_of_its_own_makes_the_body() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    let template = r#"{"summary": {{ title | tojson }}, "who": [{% for a in alerts %}{{ a.labels["service.name"] | tojson }}{% endfor %}]}"#;
    receiver(&server, "ops", "webhook", json!({ "template": template }), json!({ "url": hook.url })).await;
    queue(&database, &[notification("n-1", "ops", "g-1", Fired)]).await;
    eventually("it arrives", async || hook.count() == 1).await;
    let body: Value = hook.seen()[0].json();
    assert_eq!(body["who"], json!(["checkout"]));
    assert_eq!(body["summary"], "[FIRING 1] critical: High <response> & \"time\" (service.name=checkout)");
    let bad = json!({ "id": "bad", "kind": "webhook", "settings": { "template": "{{ x | nope }}" }, "secrets": { "url": hook.url } });
    let answer = client().post(format!("{}/api/receivers", server.http)).json(&bad).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let told = answer.text().await.unwrap();
    assert!(told.contains("settings.template") && told.contains("nope"), "{told}");
}
