//! `/ws`: who may come, what is sent, and how a socket ends.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::alerting;
use crate::support::export::{self, gauge, now, point, request};
use crate::support::server::{Options, client};
use crate::support::{Database, Server, eventually};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const PATIENCE: Duration = Duration::from_secs(15);

async fn connect(server: &Server, origin: Option<&str>) -> Result<Socket, tungstenite::Error> {
    let mut request = server.http.replace("http://", "ws://").add("/ws").into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// As the page of `server`, after its greeting.
async fn page(server: &Server) -> (Socket, Value) {
    let mut socket = connect(server, Some(&server.http)).await.unwrap();
    let hello = next(&mut socket).await;
    assert_eq!(hello["kind"], "hello");
    (socket, hello)
}

trait Add {
    fn add(self, more: &str) -> String;
}

impl Add for String {
    fn add(mut self, more: &str) -> String {
        self.push_str(more);
        self
    }
}

async fn say(socket: &mut Socket, message: &Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

async fn subscribe(socket: &mut Socket, topic: &str) {
    say(socket, &json!({ "op": "subscribe", "topics": [{ "topic": topic }] })).await;
}

/// The next message, pings apart.
async fn next(socket: &mut Socket) -> Value {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("not a message: {other:?}"),
        }
    }
}

/// The code that the server closes with.
async fn close_code(socket: &mut Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Close(frame))) => return frame.expect("a reason").code.into(),
            Some(Ok(_)) => {}
            other => panic!("not closed in order: {other:?}"),
        }
    }
}

async fn send(server: &Server, value: f64) {
    let metric = gauge("shop.queue", vec![point(value, now(), &[])]);
    export::grpc(&server.grpc, request("shop", vec![metric])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_page_of_this_server_may_connect() {
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_PUBLIC_URL", "https://fastbreak.example").start();
    for foreign in [None, Some("null"), Some("http://evil.example"), Some("http://127.0.0.1:1")] {
        let refused = connect(&server, foreign).await;
        let Err(tungstenite::Error::Http(answer)) = refused else { panic!("{foreign:?} was let in: {refused:?}") };
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{foreign:?}");
    }
    for own in [server.http.as_str(), "https://fastbreak.example"] {
        assert!(connect(&server, Some(own)).await.is_ok(), "{own}");
    }
    let plain = client().get(format!("{}/ws", server.http)).header("origin", &server.http).send().await.unwrap();
    assert_eq!(plain.status(), 426);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_told_within_two_seconds() {
    let server = Server::start().await;
    let (mut socket, _) = page(&server).await;
    subscribe(&mut socket, "ledger").await;
    let first = next(&mut socket).await;
    assert_eq!((&first["topic"], &first["kind"]), (&json!("ledger"), &json!("snapshot")));
    let began = Instant::now();
    send(&server, 1.0).await;
    loop {
        let news = next(&mut socket).await;
        assert_eq!(news["kind"], "delta");
        if news["items"]["service:shop"]["accepted"] == 1 {
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(2), "told after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_evaluated_once_for_all_who_read_it() {
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_WINDOW", "1s").start();
    let topic = "query:sum({\"shop.queue\"})";
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let (mut socket, _) = page(&server).await;
        subscribe(&mut socket, topic).await;
        sockets.push(socket);
    }
    let began = Instant::now();
    send(&server, 7.0).await;
    let mut seqs = Vec::new();
    for socket in &mut sockets {
        loop {
            let news = next(socket).await;
            if news["items"]["{}"][1] == 7.0 {
                seqs.push(news["seq"].as_u64().unwrap());
                break;
            }
        }
    }
    seqs.dedup();
    assert_eq!(seqs.len(), 1, "all were told the same change");
    let metrics = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
    let evaluations = metrics.lines().find_map(|line| line.strip_prefix("fastbreak_live_evaluations_total ")).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    assert!(evaluations.parse::<f64>().unwrap() <= 4.0 + seconds * 2.0, "{evaluations} evaluations in {seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_resumes_by_number_and_only_on_the_server_that_gave_it() {
    let server = Server::start().await;
    send(&server, 1.0).await;
    let (mut socket, hello) = page(&server).await;
    subscribe(&mut socket, "ledger").await;
    let seq = next(&mut socket).await["seq"].clone();
    drop(socket);
    send(&server, 2.0).await;
    let resume = |instance: &Value| {
        let resume = json!({ "instance": instance, "seq": seq });
        json!({ "op": "subscribe", "topics": [{ "topic": "ledger", "resume": resume }] })
    };
    let (mut socket, again) = page(&server).await;
    assert_eq!(again["instance"], hello["instance"]);
    say(&mut socket, &resume(&hello["instance"])).await;
    let news = next(&mut socket).await;
    assert_eq!((&news["kind"], &news["items"]["service:shop"]["accepted"]), (&json!("delta"), &json!(2)));
    let (mut socket, _) = page(&server).await;
    say(&mut socket, &resume(&json!("another"))).await;
    assert_eq!(next(&mut socket).await["kind"], "snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_evaluated_is_told_with_its_reason() {
    let server = Server::start().await;
    let (mut socket, _) = page(&server).await;
    subscribe(&mut socket, "query:sum(").await;
    let failure = next(&mut socket).await;
    assert_eq!(failure["kind"], "failure");
    assert!(!failure["detail"].as_str().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_a_rule_is_told_which() {
    let server = Server::start().await;
    let check = async |code: u16, what: &str, messages: Vec<Message>| {
        let (mut socket, _) = page(&server).await;
        for message in messages {
            // The server may close before all is said.
            let _closed = socket.send(message).await;
        }
        assert_eq!(close_code(&mut socket).await, code, "{what}");
    };
    let text = |text: &str| Message::text(text.to_owned());
    let topic = |n: usize| text(&json!({ "op": "unsubscribe", "topics": [format!("query:{n}")] }).to_string());
    let many: Vec<Value> = (0..51).map(|n| json!({ "topic": format!("query:{n}") })).collect();
    check(1008, "no JSON", vec![text("hello")]).await;
    check(1008, "unknown op", vec![text(r#"{"op":"shout"}"#)]).await;
    check(1008, "unknown topic", vec![text(r#"{"op":"subscribe","topics":[{"topic":"secrets"}]}"#)]).await;
    check(1008, "too many messages", (0..21).map(topic).collect()).await;
    check(1009, "long frame", vec![text(&" ".repeat((16 << 10) + 1))]).await;
    check(1007, "binary", vec![Message::binary(vec![1, 2, 3])]).await;
    let too_many = text(&json!({ "op": "subscribe", "topics": many }).to_string());
    check(1013, "more than fifty topics", vec![too_many]).await;
    // What nobody reads of a frame of 1 MiB makes the kernel cut the line, at times before the code is read.
    let (mut socket, _) = page(&server).await;
    let _closed = socket.send(text(&" ".repeat(1 << 20))).await;
    let ended = loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break None,
        }
    };
    assert!(matches!(ended, None | Some(1009)), "very long frame: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_sockets_and_does_not_wait_for_them() {
    let server = Server::start().await;
    let (mut socket, _) = page(&server).await;
    let began = Instant::now();
    let (code, exit) = tokio::join!(close_code(&mut socket), tokio::task::spawn_blocking(move || server.terminate()));
    assert_eq!((code, exit.unwrap()), (1012, Some(0)));
    assert!(began.elapsed() < Duration::from_secs(8), "drained in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_cost_nothing_and_are_let_go() {
    const STALLED: usize = 50;
    const READING: usize = 400;
    let database = Database::create().await;
    let server = Options::on(&database).with("FASTBREAK_MAX_CONNECTIONS_PER_ADDRESS", "1000").start();
    send(&server, 1.0).await;
    let before = server.peak_memory();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut socket = connect(&server, Some(&server.http)).await.unwrap();
        subscribe(&mut socket, "ledger").await;
        stalled.push(socket);
    }
    let mut reading = Vec::new();
    for _ in 0..READING {
        let (mut socket, _) = page(&server).await;
        subscribe(&mut socket, "ledger").await;
        next(&mut socket).await;
        reading.push(socket);
    }
    let began = Instant::now();
    send(&server, 2.0).await;
    for socket in &mut reading {
        while next(socket).await["items"]["service:shop"]["accepted"] != 2 {}
    }
    let (told, grown) = (began.elapsed(), server.peak_memory() - before);
    println!("{READING} readers were told within {told:?}; {grown} bytes more with {STALLED} that do not read");
    assert!(told < Duration::from_secs(2), "the last of {READING} readers was told after {told:?}");
    assert!(grown < 50 << 20, "{grown} bytes for {READING} clients and {STALLED} that do not read");
    reading.truncate(1);
    let mut socket = reading.remove(0);
    let reading = tokio::spawn(async move { while socket.next().await.is_some() {} });
    eventually("stalled clients are closed", async || {
        let metrics = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
        metrics.lines().any(|line| line == "fastbreak_live_clients 1")
    })
    .await;
    reading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_as_it_fires_and_is_found_by_its_fingerprint() {
    let database = Database::create().await;
    let server = alerting::options(&database).start();
    alerting::save_rule(&server, "load", json!({ "notificationChannels": [] })).await;
    let (mut socket, _) = page(&server).await;
    subscribe(&mut socket, "alerts").await;
    alerting::send(&server, "a", 50.0).await;
    let told = loop {
        let news = next(&mut socket).await;
        let firing = |item: &&Value| item["ruleId"] == "load" && item["state"] == "firing";
        if let Some(alert) = news["items"].as_object().unwrap().values().find(firing) {
            break alert.clone();
        }
    };
    assert_eq!(told["labels"]["host"], "a");
    let found = server.get(&format!("/api/alerts/{}", told["fingerprint"].as_str().unwrap())).await;
    assert_eq!(found["id"], told["id"]);
    let (status, _) = alerting::call(&server, "GET", "/api/alerts/0123456789abcdef", &Value::Null).await;
    assert_eq!(status, 404);
}
