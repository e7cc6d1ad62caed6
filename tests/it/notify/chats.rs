//! Slack, PagerDuty, Teams, Telegram: what they are sent is what their documentation describes.

use fastbreak::model::NotificationReason::{Escalated, Fired, Resolved};
use serde_json::{Value, json};

use super::{deliveries, notification, options, post, queue, receiver};
use crate::support::hook::{Hook, Reply};
use crate::support::{Database, Server, eventually};

/// Fails with every place where `value` is not as `schema` of tests/schemas says.
fn conforms(schema: &str, value: &Value) {
    let path = format!("{}/tests/schemas/{schema}.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{value:#}", errors.join("\n"));
}

async fn start() -> (Database, Server) {
    let database = Database::create().await;
    let server = options(&database).start();
    (database, server)
}

async fn sent(server: &Server, receiver: &str, n: usize) {
    eventually("all are sent", async || {
        let list = deliveries(server, receiver).await;
        list.len() == n && list.iter().all(|delivery| delivery["state"] == "sent")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_webhooks_get_blocks_with_everything_escaped() {
    let (database, server) = start().await;
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    receiver(&server, "chat", "slack", json!({}), json!({ "webhookUrl": hook.url })).await;
    queue(&database, &[notification("n-1", "chat", "g", Fired), notification("n-2", "chat", "g", Resolved)]).await;
    sent(&server, "chat", 2).await;
    for seen in hook.seen() {
        conforms("slack_message", &seen.json());
    }
    let text = hook.seen()[0].json()["attachments"][0]["blocks"][1]["text"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("High &lt;response&gt; &amp; \"time\""), "{text}");
    assert!(text.contains("<https://runbooks.example.com/slow?a=b&amp;c=d|runbook url>"), "{text}");
    assert!(!text.contains("<javascript") && !text.contains("<b>"), "{text}");
    assert_eq!(hook.seen()[1].json()["attachments"][0]["color"], "#2e7d32");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slack_bot_edits_its_message_and_says_what_must_be_heard_in_the_thread() {
    let (database, server) = start().await;
    let hook = Hook::start(|n, _| match n {
        // A mistake in 200 clothes that passes.
        0 => Reply::Json(200, json!({ "ok": false, "error": "internal_error" })),
        n => Reply::Json(200, json!({ "ok": true, "channel": "C123", "ts": format!("1700000000.00000{n}") })),
    })
    .await;
    let settings = json!({ "channel": "#alerts", "apiUrl": hook.url });
    receiver(&server, "chat", "slack", settings, json!({ "botToken": "xoxb-1234567890" })).await;
    let (fired, worse) = (notification("n-1", "chat", "g", Fired), notification("n-2", "chat", "g", Escalated));
    queue(
        &database,
        &[fired, worse, notification("n-3", "chat", "g", Resolved), notification("n-4", "chat", "g", Fired)],
    )
    .await;
    sent(&server, "chat", 4).await;
    let seen = hook.seen();
    let calls: Vec<(String, Value, Value)> = seen
        .iter()
        .map(|seen| (seen.path.clone(), seen.json()["ts"].clone(), seen.json()["thread_ts"].clone()))
        .collect();
    let first = json!("1700000000.000001");
    let expected = [
        ("/chat.postMessage", Value::Null, Value::Null),
        ("/chat.postMessage", Value::Null, Value::Null),
        ("/chat.update", first.clone(), Value::Null),
        ("/chat.postMessage", Value::Null, first.clone()),
        ("/chat.update", first, Value::Null),
        // The group's end was told: what fires now is a new message.
        ("/chat.postMessage", Value::Null, Value::Null),
    ];
    assert_eq!(calls, expected.map(|(path, ts, thread)| (path.to_owned(), ts, thread)));
    for seen in &seen {
        assert_eq!(seen.header("authorization"), "Bearer xoxb-1234567890");
        conforms("slack_message", &seen.json());
    }
    assert_eq!((&seen[2].json()["channel"], &seen[1].json()["channel"]), (&json!("C123"), &json!("#alerts")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pagerduty_opens_and_closes_one_incident_a_group() {
    let (database, server) = start().await;
    let hook = Hook::start(|_, _| Reply::Json(202, json!({ "status": "success" }))).await;
    let settings = json!({ "apiUrl": format!("{}v2/enqueue", hook.url) });
    let secrets = json!({ "routingKey": "0123456789abcdef0123456789abcdef" });
    receiver(&server, "pager", "pagerduty", settings, secrets).await;
    queue(&database, &[notification("n-1", "pager", "g", Fired), notification("n-2", "pager", "g", Resolved)]).await;
    sent(&server, "pager", 2).await;
    let seen: Vec<Value> = hook.seen().iter().map(|seen| seen.json()).collect();
    for event in &seen {
        conforms("pagerduty_event", event);
    }
    assert_eq!((&seen[0]["event_action"], &seen[1]["event_action"]), (&json!("trigger"), &json!("resolve")));
    assert_eq!((&seen[0]["dedup_key"], &seen[1]["dedup_key"]), (&json!("g"), &json!("g")));
    assert!(!seen[0].to_string().contains("\"href\":\"javascript"), "{}", seen[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_gets_an_adaptive_card() {
    let (database, server) = start().await;
    let hook = Hook::start(|_, _| Reply::Status(202)).await;
    receiver(&server, "team", "teams", json!({}), json!({ "url": hook.url })).await;
    queue(&database, &[notification("n-1", "team", "g", Fired), notification("n-2", "team", "g", Resolved)]).await;
    sent(&server, "team", 2).await;
    for seen in hook.seen() {
        conforms("teams_message", &seen.json());
    }
    let card = hook.seen()[0].json().to_string();
    assert!(card.contains("\\\\[x\\\\](javascript:y)") && card.contains("\"Attention\""), "{card}");
}

#[tokio::test(flavor = "multi_thread")]
async fn telegram_gets_its_small_html_and_its_waits_are_kept_to() {
    let (database, server) = start().await;
    let hook = Hook::start(|n, _| match n {
        0 => {
            let parameters = json!({ "retry_after": 2_000 });
            let body =
                json!({ "ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": parameters });
            Reply::Json(429, body)
        }
        _ => Reply::Json(200, json!({ "ok": true, "result": { "message_id": 7 } })),
    })
    .await;
    let settings = json!({ "chatId": "-100123", "threadId": "5", "apiUrl": hook.url });
    receiver(&server, "gram", "telegram", settings, json!({ "botToken": "123456:ABC-def_ghi" })).await;
    queue(&database, &[notification("n-1", "gram", "g", Fired)]).await;
    let wait = "SELECT coalesce(max(extract(epoch FROM next_attempt_at - now())), 0)::bigint FROM deliveries";
    eventually("it waits as told", async || (1_950..=2_000).contains(&database.number(wait).await)).await;
    super::hurry(&database).await;
    sent(&server, "gram", 1).await;
    let seen = hook.seen();
    assert_eq!(seen[1].path, "/bot123456:ABC-def_ghi/sendMessage");
    conforms("telegram_send_message", &seen[1].json());
    let text = seen[1].json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("High &lt;response&gt; &amp; &quot;time&quot;"), "{text}");
    assert!(text.contains("<a href=\"https://runbooks.example.com/slow?a=b&amp;c=d\">runbook url</a>"), "{text}");
    assert!(!text.contains("href=\"javascript"), "{text}");
    assert_eq!(database.text("SELECT remote_ref FROM deliveries").await, "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_tell_host_and_reason_but_no_secret() {
    let (_database, server) = start().await;
    let settings = json!({ "chatId": "1", "apiUrl": "http://127.0.0.1:1/" });
    receiver(&server, "gram", "telegram", settings, json!({ "botToken": "123456:ABCdefghi" })).await;
    let told = post(&server, "/api/receivers/gram/test").await;
    assert_eq!(told["outcome"], "retry");
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("http://127.0.0.1") && detail.contains("refused") && !detail.contains("123456"),
        "{detail}"
    );
}
