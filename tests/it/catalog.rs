//! The catalog: metrics as they are known, and where their series come from, by every door.

use std::process::Command;

use fastbreak::proto;
use fastbreak::proto::metrics_service_client::MetricsServiceClient;
use serde_json::json;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::support::export::{DELTA, bytes, counter, gauge, http, now, point, request};
use crate::support::server::{Options, Server, client};
use crate::support::{Database, eventually};

/// Two services; one of them has a series a user.
async fn send(server: &Server) {
    let users: Vec<String> = (0..30).map(|i| format!("u{i}")).collect();
    let by_user = users.iter().map(|user| point(1.0, now(), &[("user", user), ("room", "a")])).collect();
    let mut logins = counter("logins", DELTA, by_user);
    logins.description = "Logins that went well".to_owned();
    logins.unit = "{login}".to_owned();
    let temp = gauge("temp", vec![point(3.0, now(), &[("room", "a")])]);
    assert!(http(&client(), &server.otlp_http, &bytes(&request("door", vec![logins]))).await);
    assert!(http(&client(), &server.otlp_http, &bytes(&request("shop", vec![temp]))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_with_all_that_their_senders_said() {
    let database = Database::create().await;
    let options = Options::on(&database).with("FASTBREAK_CHECKPOINT", "1s");
    let server = options.start();
    send(&server).await;
    let found = server.get("/api/catalog/metrics?search=logins%20well").await;
    let logins = &found["metrics"][0];
    assert_eq!(found["total"], 1, "{found}");
    for (field, expected) in [
        ("name", json!("logins")),
        ("prometheusName", json!("logins_total")),
        ("unit", json!("{login}")),
        ("kind", json!("counter")),
        ("temporality", json!("delta")),
        ("description", json!("Logins that went well")),
        ("series", json!(30)),
    ] {
        assert_eq!(logins[field], expected, "{field}: {logins}");
    }
    assert!(logins["lastSeenAt"].as_str().is_some_and(|at| at.starts_with("20")), "{logins}");
    let one = server.get("/api/catalog/metrics/logins_total?top=2").await;
    let labels = &one["labels"];
    assert_eq!((&labels[0]["name"], &labels[0]["valueCount"]), (&json!("user"), &json!(30)), "{one}");
    assert_eq!((labels.as_array().unwrap().len(), labels[0]["values"].as_array().unwrap().len()), (2, 2), "{one}");
    assert_eq!(one["services"], json!([{ "name": "door", "series": 30 }]));
    let most = server.get("/api/catalog/cardinality?top=1").await;
    // The host's own metrics are there too.
    assert_eq!((most["series"].as_u64() >= Some(31), &most["metrics"][0]["name"]), (true, &json!("logins")), "{most}");
    assert_eq!(most["services"], json!([{ "name": "door", "series": 30 }]));
    for (path, status) in [("cardinality?top=0", 400), ("metrics?limit=x", 400), ("metrics/nothing", 404)] {
        let answer = client().get(format!("{}/api/catalog/{path}", server.http)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    // Another process knows the same from the database.
    eventually("the series are in blocks", async || database.number("SELECT count(*) FROM blocks").await >= 2).await;
    drop(server);
    let later = options.start();
    let again = later.get("/api/catalog/metrics?search=logins").await;
    assert_eq!(
        (&again["metrics"][0]["series"], &again["metrics"][0]["description"]),
        (&json!(30), &json!("Logins that went well"))
    );
    assert!(again["metrics"][0]["lastSeenAt"].is_string(), "{again}");
    assert_eq!(later.get("/api/catalog/cardinality?top=1").await["metrics"][0]["series"], 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_told_over_grpc_and_by_the_command_line() {
    let server = Server::start().await;
    send(&server).await;
    let channel = Endpoint::from_shared(server.grpc.clone()).unwrap().connect().await.unwrap();
    let mut metrics = MetricsServiceClient::new(channel);
    let all = metrics.list_metrics(proto::ListMetricsRequest::default()).await.unwrap().into_inner().metrics;
    // The host's own metrics are there too.
    let all: Vec<&proto::MetricInfo> = all.iter().filter(|one| !one.name.starts_with("system.")).collect();
    let told: Vec<(&str, proto::MetricKind)> =
        all.iter().map(|one| (one.prometheus_name.as_str(), one.kind())).collect();
    assert_eq!(told, [("logins_total", proto::MetricKind::Counter), ("temp", proto::MetricKind::Gauge)]);
    assert!(all[0].last_seen_at.is_some());
    let values = proto::ListLabelValuesRequest {
        label: "room".to_owned(),
        matchers: vec!["temp".to_owned()],
        ..proto::ListLabelValuesRequest::default()
    };
    assert_eq!(metrics.list_label_values(values).await.unwrap().into_inner().values, ["a"]);
    let request = proto::GetCardinalityRequest { metric: "logins".to_owned(), top: 1 };
    let found = metrics.get_cardinality(request).await.unwrap().into_inner();
    assert_eq!((found.series, &*found.metrics[0].labels[0].name, found.metrics[0].labels[0].count), (30, "user", 30));
    let refused = metrics.get_cardinality(proto::GetCardinalityRequest { metric: String::new(), top: 5_000 }).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fastbreak"))
            .args(["query", "--url", &server.http])
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, told) = run(&["--catalog"]);
    assert_eq!((code, told.lines().any(|line| line.starts_with("temp  gauge"))), (Some(0), true), "{told}");
    let (_, told) = run(&["--catalog", "logins"]);
    assert!(told.starts_with("logins_total  counter  delta  {login}  30 series  20"), "{told}");
    assert!(told.ends_with("Logins that went well\n"), "{told}");
}
