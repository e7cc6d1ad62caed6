//! Receivers and deliveries over JSON, gRPC and the command line.

use std::process::Command;

use fastbreak::model::NotificationReason::Fired;
use fastbreak::proto::receiver_service_client::ReceiverServiceClient;
use fastbreak::proto::{
    CreateReceiverRequest, DeleteReceiverRequest, ListDeliveriesRequest, ListReceiversRequest, ReceiverChange,
    ResendDeliveryRequest, TestReceiverRequest, UpdateReceiverRequest,
};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use super::{deliveries, notification, options, post, queue, receiver};
use crate::support::hook::{Hook, Reply};
use crate::support::server::{Server, client};
use crate::support::{Database, eventually};

async fn send(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let method = method.parse().unwrap();
    let request = client().request(method, format!("{}{path}", server.http)).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_have_revisions_dry_runs_and_secrets_that_stay() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    let url = format!("{}path/with/secret", hook.url);
    let body = json!({ "id": "ops", "kind": "webhook", "secrets": { "url": url } });
    let (status, dry) = send(&server, "POST", "/api/receivers?dryRun=true", &body).await;
    assert_eq!((status, &dry["revision"]), (200, &json!(1)));
    assert_eq!(server.get("/api/receivers").await, json!([]));
    let (status, made) = send(&server, "POST", "/api/receivers", &body).await;
    assert_eq!((status, &made["secrets"]["url"]), (201, &json!({ "set": true, "last4": "cret" })));
    assert_eq!(send(&server, "POST", "/api/receivers", &body).await.0, 201, "the same again is the same");
    let other = json!({ "id": "ops", "kind": "teams", "secrets": { "url": url } });
    assert_eq!(send(&server, "POST", "/api/receivers", &other).await.0, 409);
    // What was read, with one change: the secret stays.
    let mut change = server.get("/api/receivers/ops").await;
    change["settings"]["template"] = json!("{{ title }}");
    let (status, changed) = send(&server, "PUT", "/api/receivers/ops", &change).await;
    assert_eq!((status, &changed["revision"]), (200, &json!(2)), "{changed}");
    let (status, told) = send(&server, "PUT", "/api/receivers/ops", &change).await;
    assert_eq!((status, told["code"].as_str()), (409, Some("conflict")));
    assert_eq!(post(&server, "/api/receivers/ops/test").await["outcome"], "sent");
    assert_eq!(hook.seen()[0].path, "/path/with/secret");
    assert!(hook.seen()[0].body.starts_with(b"[TEST]"));
    let delete =
        |revision: &str| client().delete(format!("{}/api/receivers/ops", server.http)).header("if-match", revision);
    assert_eq!(delete("\"1\"").send().await.unwrap().status(), 409);
    assert_eq!(delete("\"2\"").send().await.unwrap().status(), 204);
    assert_eq!(server.get("/api/receivers/ops").await["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_name_the_field_and_nothing_inside_can_be_reached() {
    let database = Database::create().await;
    // As it is by default: nothing private, the usual ports.
    let server = crate::support::server::Options::on(&database).with("RUST_LOG", "error").start();
    let check = async |body: Value, expect: &str| {
        let (status, told) = send(&server, "POST", "/api/receivers", &body).await;
        let detail = told["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && detail.contains(expect), "{body}: {status} {told}");
        assert!(!detail.contains("hidden"), "{detail}");
    };
    let hook = |url: &str| json!({ "id": "x", "kind": "webhook", "secrets": { "url": url } });
    check(json!({ "id": "X Y", "kind": "webhook", "secrets": { "url": "https://example.com/" } }), "id must be").await;
    check(json!({ "id": "x", "kind": "pigeon" }), "kind must be one of email").await;
    check(json!({ "id": "x", "kind": "webhook" }), "secrets.url is missing").await;
    check(
        json!({ "id": "x", "kind": "webhook", "settings": { "url": "https://e.com/hidden" } }),
        "belongs under secrets",
    )
    .await;
    check(json!({ "id": "x", "kind": "slack", "secrets": { "botToken": "xoxb-hidden" } }), "settings.channel").await;
    check(
        json!({ "id": "x", "kind": "email", "settings": { "host": "h", "from": "nobody", "recipients": [] } }),
        "settings.from",
    )
    .await;
    for (url, expect) in [
        ("http://127.0.0.1/hidden", "127.0.0.1 is not public"),
        ("http://169.254.169.254/hidden", "169.254.169.254"),
        ("http://[::ffff:10.0.0.1]/hidden", "10.0.0.1"),
        ("http://0x7f000001/hidden", "127.0.0.1"),
        ("https://example.com:22/hidden", "port 22"),
        ("gopher://example.com/hidden", "neither http nor https"),
    ] {
        check(hook(url), expect).await;
    }
    // A name is judged when it is called, by every address that it has.
    let name = json!({ "id": "inside", "kind": "webhook", "secrets": { "url": "http://localhost:8099/hidden" } });
    assert_eq!(send(&server, "POST", "/api/receivers", &name).await.0, 201);
    let told = post(&server, "/api/receivers/inside/test").await;
    assert!(told["detail"].as_str().unwrap().contains("no address that is public"), "{told}");
    let foreign =
        client().post(format!("{}/api/receivers/inside/test", server.http)).header("origin", "http://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    for path in ["?state=lost", "?limit=0", "?hours=x", "?cursor=x"] {
        assert_eq!(server.get(&format!("/api/deliveries{path}")).await["status"], 400, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_receivers_are_made_anew_and_read_only() {
    let database = Database::create().await;
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    let (one, two) = (format!("{}one", hook.url), format!("{}two", hook.url));
    let start = |url: &str| options(&database).with("ALERT_WEBHOOK_URL", url).with("SLACK_WEBHOOK_URL", url);
    let server = start(&one).start();
    let made = server.get("/api/receivers").await;
    let ids: Vec<&str> = made.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["slack", "webhook"]);
    let (status, told) = send(&server, "PUT", "/api/receivers/slack", &made[0]).await;
    assert!(status == 422 && told["detail"].as_str().unwrap().contains("environment"), "{status} {told}");
    drop(server);
    let server = start(&one).start();
    assert_eq!(server.get("/api/receivers/slack").await["revision"], 1, "nothing changed");
    drop(server);
    let server = options(&database).with("ALERT_WEBHOOK_URL", &two).start();
    let now = server.get("/api/receivers").await;
    assert_eq!((now.as_array().unwrap().len(), &now[0]["revision"]), (1, &json!(2)), "{now}");
    let binary = env!("CARGO_BIN_EXE_fastbreak");
    let test = |args: &[&str]| Command::new(binary).args(args).env("FASTBREAK_URL", &server.http).output().unwrap();
    let tested = tokio::task::block_in_place(|| test(&["notify", "test"]));
    let told = String::from_utf8(tested.stdout).unwrap();
    assert!(tested.status.success() && told.starts_with("webhook ") && told.contains("sent"), "{told}");
    assert_eq!(hook.seen().last().unwrap().path, "/two");
    let tested = tokio::task::block_in_place(|| test(&["notify", "test", "nobody"]));
    assert!(String::from_utf8(tested.stderr).unwrap().contains("there is no receiver \"nobody\""));
    hook.answers(|_, _| Reply::Status(500));
    assert_eq!(tokio::task::block_in_place(|| test(&["notify", "test", "webhook"])).status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_found_by_receiver_state_and_alert_a_page_at_a_time() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    receiver(&server, "ops", "webhook", json!({}), json!({ "url": hook.url })).await;
    let many: Vec<_> = (0..7).map(|i| notification(&format!("n-{i}"), "ops", &format!("g-{i}"), Fired)).collect();
    queue(&database, &many).await;
    eventually("all are sent", async || hook.count() == 7).await;
    let mut path = "/api/deliveries?limit=3&receiver=ops&hours=1".to_owned();
    let (mut pages, mut ids) = (0, Vec::new());
    loop {
        let answer = client().get(format!("{}{path}", server.http)).send().await.unwrap();
        let next = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Vec<Value> = answer.json().await.unwrap();
        ids.extend(page.iter().map(|delivery| delivery["notificationId"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = next else { break };
        path = next.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!((pages, ids.len(), ids[0].as_str(), ids[6].as_str()), (3, 7, "n-6", "n-0"));
    let of_alert = server.get("/api/deliveries?fingerprint=f-g-3").await;
    assert_eq!((of_alert.as_array().unwrap().len(), &of_alert[0]["alerts"]), (1, &json!(["f-g-3"])));
    assert_eq!(of_alert[0]["severity"], "critical");
    assert_eq!(server.get("/api/deliveries?state=dead").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_can_be_done_over_grpc() {
    let database = Database::create().await;
    let server = options(&database).start();
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    let channel = Endpoint::from_shared(server.grpc.clone()).unwrap().connect().await.unwrap();
    let mut service = ReceiverServiceClient::new(channel);
    let change = |kind: &str| ReceiverChange {
        kind: kind.to_owned(),
        secrets: [("url".to_owned(), hook.url.clone())].into(),
        ..ReceiverChange::default()
    };
    let create =
        |kind: &str, dry_run| CreateReceiverRequest { id: "ops".to_owned(), receiver: Some(change(kind)), dry_run };
    assert_eq!(service.create_receiver(create("pigeon", true)).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    service.create_receiver(create("webhook", true)).await.unwrap();
    assert!(service.list_receivers(ListReceiversRequest {}).await.unwrap().into_inner().receivers.is_empty());
    let made = service.create_receiver(create("webhook", false)).await.unwrap().into_inner();
    assert!(made.secrets["url"].set && made.enabled);
    let update =
        UpdateReceiverRequest { id: "ops".to_owned(), revision: 7, receiver: Some(change("webhook")), dry_run: false };
    assert_eq!(service.update_receiver(update.clone()).await.unwrap_err().code(), tonic::Code::Aborted);
    let changed = service.update_receiver(UpdateReceiverRequest { revision: 1, ..update }).await.unwrap();
    assert_eq!(changed.into_inner().revision, 2);
    let tested = service.test_receiver(TestReceiverRequest { id: "ops".to_owned() }).await.unwrap().into_inner();
    assert_eq!((tested.outcome.as_str(), tested.status), ("sent", Some(200)));
    queue(&database, &[notification("n-1", "ops", "g", Fired)]).await;
    eventually("it is sent", async || deliveries(&server, "ops").await[0]["state"] == "sent").await;
    let list = service.list_deliveries(ListDeliveriesRequest::default()).await.unwrap().into_inner().deliveries;
    assert_eq!((list.len(), list[0].log.len(), list[0].state.as_str()), (1, 1, "sent"));
    service.resend_delivery(ResendDeliveryRequest { id: list[0].id }).await.unwrap();
    eventually("it is sent again", async || hook.count() == 3).await;
    let delete = |dry_run| DeleteReceiverRequest { id: "ops".to_owned(), revision: 2, dry_run };
    for dry_run in [true, false] {
        service.delete_receiver(delete(dry_run)).await.unwrap();
    }
    assert_eq!(service.delete_receiver(delete(false)).await.unwrap_err().code(), tonic::Code::NotFound);
}
