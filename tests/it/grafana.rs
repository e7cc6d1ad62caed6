//! What Grafana's Prometheus data source asks, and the dashboards of `contrib/grafana`.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::export::{CUMULATIVE, bytes, counter, gauge, http, now, point, request};
use crate::support::server::{Options, Server, client, fastbreak};
use crate::support::{Database, eventually};

/// Sends what Grafana sends: a form, or a query where it has to be one.
async fn ask(server: &Server, method: &str, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("{}/prometheus/api/v1/{path}", server.http);
    let request = match method {
        "POST" => {
            let form = reqwest::Url::parse_with_params("http://form/", parameters).unwrap();
            let form = form.query().unwrap_or_default().to_owned();
            client().post(url).header("content-type", "application/x-www-form-urlencoded").body(form)
        }
        _ => client().get(url).query(parameters),
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn data(server: &Server, method: &str, path: &str, parameters: &[(&str, &str)]) -> Value {
    let (status, body) = ask(server, method, path, parameters).await;
    assert_eq!((status, &body["status"]), (200, &json!("success")), "{path} {parameters:?}: {body}");
    body["data"].clone()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

async fn with_rooms() -> Server {
    let server = Server::start().await;
    let rooms = ["a", "b"].map(|room| point(1.5, now(), &[("room", room), ("http.route", "/x")]));
    let mut orders = counter("orders", CUMULATIVE, vec![point(7.0, now(), &[("room", "a")])]);
    orders.description = "Orders taken".to_owned();
    orders.unit = "{order}".to_owned();
    let body = bytes(&request("shop", vec![gauge("temp", rooms.into()), orders]));
    assert!(http(&client(), &server.otlp_http, &body).await);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_source_is_healthy_and_finds_its_way() {
    let server = with_rooms().await;
    let seconds = now() / 1_000_000_000;
    // The window that was written to may be over by the time of asking, and counts from its end on: a step is behind it.
    let (start, end) = ((seconds - 3_600).to_string(), (seconds + 30).to_string());
    let span = [("start", start.as_str()), ("end", end.as_str())];
    let with = |more: &[(&'static str, &'static str)]| [&span, more].concat();

    let time = end.clone();
    let two = data(&server, "POST", "query", &[("query", "1+1"), ("time", &time)]).await;
    assert_eq!((&two["resultType"], &two["result"][1]), (&json!("scalar"), &json!("2")));
    let build = data(&server, "GET", "status/buildinfo", &[]).await;
    assert!(build["version"].as_str().unwrap().starts_with("2."), "{build}");
    for path in ["status/flags", "status/config", "rules", "alerts"] {
        assert!(data(&server, "GET", path, &[]).await.is_object(), "{path}");
    }
    let rules = data(&server, "GET", "rules", &[("type", "alert")]).await;
    let rule = &rules["groups"][0]["rules"][0];
    assert_eq!(rule["type"], "alerting", "{rules}");
    assert!(!rule["query"].as_str().unwrap().contains("threshold"), "{rule}");
    assert_eq!(data(&server, "GET", "rules", &[("type", "record")]).await["groups"][0]["rules"], json!([]));

    let method = ["GET", "POST"];
    for method in method {
        let names = data(&server, method, "labels", &with(&[("match[]", "temp")])).await;
        assert_eq!(texts(&names), ["__name__", "http_route", "room", "service_name"], "{method}");
        let series =
            data(&server, method, "series", &with(&[("match[]", "temp{room=\"a\"}"), ("match[]", "orders_total")]))
                .await;
        let named: Vec<&Value> = series.as_array().unwrap().iter().map(|one| &one["__name__"]).collect();
        assert_eq!(named, ["orders_total", "temp"], "{method}: {series}");
        assert_eq!(series[1]["http_route"], "/x");
    }
    assert!(texts(&data(&server, "GET", "labels", &span).await).contains(&"room"));
    for (label, more, expected) in [
        ("room", vec![], vec!["a", "b"]),
        ("room", vec![("match[]", "orders_total")], vec!["a"]),
        ("room", vec![("match[]", "{__name__=~\"orders.*\"}"), ("match[]", "temp{room=\"b\"}")], vec!["a", "b"]),
        ("room", vec![("match[]", "temp{room=\"c\"}")], vec![]),
        ("U__http_2e_route", vec![("match[]", "temp")], vec!["/x"]),
        ("__name__", vec![("match[]", "{__name__=~\".*ord.*\"}")], vec!["orders_total"]),
        ("__name__", vec![("match[]", "{room=\"b\"}")], vec!["temp"]),
    ] {
        let values = data(&server, "GET", &format!("label/{label}/values"), &with(&more)).await;
        assert_eq!(texts(&values), expected, "{label} {more:?}");
    }
    let all = data(&server, "GET", "label/__name__/values", &span).await;
    assert!(texts(&all).contains(&"orders_total"), "{all}");
    let metadata = data(&server, "GET", "metadata", &[("metric", "orders_total"), ("limit_per_metric", "1")]).await;
    assert_eq!(metadata, json!({ "orders_total": [{ "type": "counter", "help": "Orders taken", "unit": "{order}" }] }));
    let all = data(&server, "GET", "metadata", &[("limit", "1")]).await;
    assert_eq!(all.as_object().unwrap().len(), 1);

    let range = with(&[("query", "temp"), ("step", "15")]);
    for method in method {
        let matrix = data(&server, method, "query_range", &range).await;
        assert_eq!((&matrix["resultType"], matrix["result"].as_array().unwrap().len()), (&json!("matrix"), 2));
    }
    assert_eq!(data(&server, "POST", "query_exemplars", &with(&[("query", "temp")])).await, json!([]));
    let tidy = data(&server, "POST", "format_query", &[("query", "sum by(a)(rate(x[5m]))")]).await;
    assert_eq!(tidy, "sum by (a) (rate(x[5m]))");
    assert_eq!(data(&server, "GET", "parse_query", &[("query", "x + 1")]).await["type"], "binaryExpr");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_as_prometheus_tells_them() {
    let server = with_rooms().await;
    for (method, path, parameters, status, kind, text) in [
        ("GET", "series", vec![], 400, "bad_data", "no match[] parameter provided"),
        ("GET", "series", vec![("match[]", "rate(x[5m])")], 400, "bad_data", "is not a selector"),
        ("POST", "series", vec![("match[]", "{}")], 400, "bad_data", "at least one non-empty matcher"),
        ("GET", "labels", vec![("start", "yesterday")], 400, "bad_data", "\"start\""),
        ("GET", "labels", vec![("start", "5"), ("end", "1")], 400, "bad_data", "end must not be before start"),
        ("GET", "labels", vec![("limit", "-1")], 400, "bad_data", "\"limit\""),
        ("GET", "format_query", vec![], 400, "bad_data", "\"query\""),
        ("GET", "parse_query", vec![("query", "x +")], 400, "bad_data", ""),
        ("GET", "query", vec![("query", "x"), ("increase", "maybe")], 400, "bad_data", "exact or prometheus"),
        ("POST", "query", vec![("query", "info(x)")], 422, "execution", "info"),
    ] {
        let (told, body) = ask(&server, method, path, &parameters).await;
        assert_eq!(
            (told, &body["status"], &body["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{path}: {body}"
        );
        assert!(body["error"].as_str().unwrap().contains(text), "{path}: {body}");
    }
    let (_, body) = ask(&server, "GET", "labels", &[("match[]", "temp"), ("limit", "1")]).await;
    assert_eq!((&body["data"], &body["warnings"]), (&json!(["__name__"]), &json!(["results truncated due to limit"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn increases_are_exact_or_as_prometheus_has_them() {
    let server = Server::start().await;
    // Windows that are over: their times do not change.
    let first = now() / 60_000_000_000 * 60_000_000_000 - 120_000_000_000 + 5_000_000_000;
    let totals: Vec<_> = (0..6)
        .map(|i| {
            let mut total = point(100.0 + 10.0 * f64::from(i), first + u64::try_from(i).unwrap() * 10_000_000_000, &[]);
            total.start_time_unix_nano = first - 3_600_000_000_000;
            total
        })
        .collect();
    assert!(
        http(&client(), &server.otlp_http, &bytes(&request("shop", vec![counter("jobs", CUMULATIVE, totals)]))).await
    );
    // The last window ends five seconds after its point.
    let at = ((first + 55_000_000_000) / 1_000_000_000).to_string();
    let ask = async |increase: &[(&str, &str)]| {
        let parameters = [&[("query", "increase(jobs_total[2m])"), ("time", at.as_str())], increase].concat();
        data(&server, "GET", "query", &parameters).await["result"][0]["value"][1].clone()
    };
    assert_eq!(ask(&[]).await, "50");
    assert_eq!(ask(&[("increase", "exact")]).await, "50");
    // 50 in 50 s, and half of ten seconds before the first.
    let extrapolated: f64 = ask(&[("increase", "prometheus")]).await.as_str().unwrap().parse().unwrap();
    assert!((extrapolated - 55.0).abs() < 1e-9, "{extrapolated}");
}

/// A child that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// What the demo may spare us: a request and a span that failed.
async fn fail_once(server: &Server) {
    let at = now();
    let attributes = json!([
        { "key": "http.route", "value": { "stringValue": "/pay" } },
        { "key": "http.response.status_code", "value": { "intValue": "500" } },
    ]);
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "checkout" } }] });
    let points = json!([{
        "startTimeUnixNano": (at - 5_000_000_000).to_string(), "timeUnixNano": at.to_string(), "count": "4", "sum": 1.0,
        "explicitBounds": [0.1, 1.0], "bucketCounts": ["1", "3", "0"], "attributes": attributes,
    }]);
    let metric = json!({ "name": "http.server.request.duration", "unit": "s",
        "histogram": { "aggregationTemporality": 1, "dataPoints": points } });
    let metrics = json!({ "resourceMetrics": [{ "resource": resource, "scopeMetrics": [{ "metrics": [metric] }] }] });
    let span = json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "POST /pay", "kind": 2,
        "startTimeUnixNano": (at - 1_000_000).to_string(), "endTimeUnixNano": at.to_string(), "status": { "code": 2 },
    });
    let traces = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }] });
    for (path, body) in [("metrics", metrics), ("traces", traces)] {
        let sent = client().post(format!("{}/v1/{path}", server.otlp_http)).json(&body).send().await.unwrap();
        assert_eq!(sent.status(), 200, "{}", sent.text().await.unwrap());
    }
}

/// `(panel, query)` of every panel of a dashboard, and the queries of its variables.
fn queries(file: &Path) -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut out = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "1m").replace("$service", ".*").replace("$instance", ".*");
            assert!(!query.contains('$'), "{query} has a variable that the test does not know");
            out.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboards_has_data() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Options::on(&Database::create().await)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{free}"))
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .with("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .with("FASTBREAK_GRPC_ADDR", &free)
        .with("FASTBREAK_CHECKPOINT", "1s")
        .start();
    let demo = ["demo", "--endpoint", &server.grpc, "--rate", "50", "--period", "500ms"];
    let _demo = Ends(fastbreak(&demo).spawn().unwrap());
    fail_once(&server).await;
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/grafana/dashboards");
    let mut asked = 0;
    for board in std::fs::read_dir(boards).unwrap() {
        for (panel, query) in queries(&board.unwrap().path()) {
            asked += 1;
            eventually(&format!("{panel}: {query}"), async || {
                let seconds = now() / 1_000_000_000;
                let (start, end) = ((seconds - 300).to_string(), seconds.to_string());
                let range = [("query", query.as_str()), ("start", &start), ("end", &end), ("step", "10")];
                let matrix = data(&server, "POST", "query_range", &range).await;
                matrix["result"].as_array().is_some_and(|rows| !rows.is_empty())
            })
            .await;
        }
    }
    assert!(asked > 15, "only {asked} queries");
    tokio::time::timeout(Duration::from_secs(30), async {
        for (metric, label) in [
            ("http_server_request_duration_seconds_count", "service_name"),
            ("fastbreak_rollup_series", "service_instance_id"),
        ] {
            let values = data(&server, "GET", &format!("label/{label}/values"), &[("match[]", metric)]).await;
            assert!(!values.as_array().unwrap().is_empty(), "{metric}");
        }
    })
    .await
    .unwrap();
}
