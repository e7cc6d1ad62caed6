//! The JSON API: shapes, errors, headers.

use fastbreak::proto::GetSilenceRequest;
use fastbreak::proto::silence_service_client::SilenceServiceClient;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{Metric, Summary, SummaryDataPoint, metric::Data};
use serde_json::{Value, json};
use tonic::Code;

use crate::alerting::call;
use crate::alerting_doors::channel;
use crate::support::export::{self, bytes, gauge, http, now, point, request};
use crate::support::server::{Options, client};
use crate::support::{Database, Server};

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_and_the_rest_is_a_problem() {
    let server = Server::start().await;
    for path in [
        "/",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/api/metrics/current",
        "/api/metrics/history?hours=1",
        "/api/metrics/history?hours=24&indicator=cpuUsage",
        "/api/openapi.json",
        "/api/services",
        "/api/ingest/ledger",
        "/api/system/info",
        "/api/receivers",
        "/api/deliveries",
        "/api/alerts/active",
        "/api/alerts/history?hours=24",
        "/api/alerts/rules",
        "/api/alerts/rules/system_cpu_usage",
        "/api/alerts/rules/system_cpu_usage/revisions",
        "/api/alerts/explain?ruleId=system_cpu_usage",
        "/api/silences",
        "/api/maintenance-windows",
        "/api/routes",
        "/api/inhibitions",
        "/api/slos",
        "/api/catalog/metrics",
        "/api/catalog/cardinality",
        "/api/traces",
        "/api/traces?service=shop&attribute=a%3Db&order=slowest",
        "/api/service-graph",
        "/prometheus/api/v1/query?query=1%2B1",
        "/prometheus/api/v1/labels",
        "/prometheus/api/v1/series?match[]=up",
        "/prometheus/api/v1/label/__name__/values",
        "/prometheus/api/v1/metadata",
        "/prometheus/api/v1/rules",
        "/prometheus/api/v1/alerts",
        "/prometheus/api/v1/status/buildinfo",
        "/prometheus/api/v1/query_range?query=up&start=0&end=60&step=15",
        "/prometheus/api/v1/query_exemplars?query=up&start=0&end=60",
    ] {
        let answer = client().get(format!("{}{path}", server.http)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}");
    }
    let answer = client().get(format!("{}/api/nothing", server.http)).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (404, "application/problem+json")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_parameters_name_the_field_and_the_limit() {
    let server = Server::start().await;
    let check = async |path: &str, status: u16, expect: &str| {
        let answer = client().get(format!("{}{path}", server.http)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let body = answer.text().await.unwrap();
        assert!(body.contains(expect), "{path}: {body}");
    };
    for hours in ["0", "-1", "1e9", "NaN", "x"] {
        check(&format!("/api/metrics/history?hours={hours}"), 400, "hours must be more than 0 and at most 9600").await;
    }
    check("/api/alerts/history?hours=-1", 400, "hours must be more than 0").await;
    check("/api/alerts/history?limit=9999", 400, "limit must be 1 to 1000").await;
    check("/api/alerts/active?state=resolved", 400, "state must be pending or firing").await;
    check("/api/traces?limit=1001", 400, "limit must be from 1 to 1000").await;
    check("/api/traces?minDuration=5", 400, "minDuration must be a duration such as 250ms").await;
    check("/api/traces?from=5&to=4", 400, "to must not be before from").await;
    check("/api/traces?cursor=5", 400, "cursor must be one that an answer gave").await;
    check("/api/service-graph?minutes=0", 400, "minutes must be from 1 to 43200").await;
    check("/api/alerts/12345", 404, "there is no alert").await;
    check("/api/metrics/history?indicator=nope", 400, "avgResponseTime").await;
    check("/api/metrics/history?hours=24&step=1", 400, "step must be at least").await;
    check("/prometheus/api/v1/query?query=rate(", 400, "bad_data").await;
    check("/prometheus/api/v1/query?query=holt_winters(x[5m],1,1)", 400, "error").await;
    check("/prometheus/api/v1/query?query=mad_over_time(x[5m])", 422, "mad_over_time").await;
    check("/prometheus/api/v1/query?query=limitk(1,x)", 422, "limitk").await;
    check("/prometheus/api/v1/query_exemplars?query=x&start=9&end=1", 400, "end must not be before start").await;
    check("/prometheus/api/v1/query_range?query=up&start=0&end=100000000&step=1", 422, "11000").await;
    let deep = "(".repeat(500);
    check(&format!("/prometheus/api/v1/query?query={deep}"), 422, "nested").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_is_answered_as_it_was_sent() {
    let server = Server::start().await;
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let data_points = vec![SummaryDataPoint {
        start_time_unix_nano: now() - 1_000_000_000,
        time_unix_nano: now(),
        count: 4,
        sum: 10.0,
        quantile_values: vec![quantile(0.5, 2.0), quantile(0.99, 7.0)],
        ..SummaryDataPoint::default()
    }];
    let data = Some(Data::Summary(Summary { data_points }));
    let lag = Metric { name: "lag".to_owned(), unit: "s".to_owned(), data, ..Metric::default() };
    assert!(http(&client(), &server.otlp_http, &bytes(&request("shop", vec![lag]))).await);
    for (query, expected) in [
        ("lag_seconds{quantile=\"0.5\"}", 2.0),
        ("lag_seconds{quantile=\"0.99\"}", 7.0),
        ("lag_seconds_sum", 10.0),
        ("lag_seconds_count", 4.0),
        ("sum(increase(lag_seconds_count[5m]))", 4.0),
    ] {
        assert_eq!(server.number(query).await, Some(expected), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_a_limit_names_it_and_is_counted() {
    let database = Database::create().await;
    let rooms = ["a", "b", "c"].map(|room| point(1.0, now(), &[("room", room)]));
    let strict = Options::on(&database).with("FASTBREAK_QUERY_SERIES", "2").start();
    let body = bytes(&request("shop", vec![gauge("temp", rooms.into())]));
    assert!(http(&client(), &strict.otlp_http, &body).await);
    let check = async |server: &Server, path: &str, status: u16, expect: &str| {
        let answer = client().get(format!("{}{path}", server.http)).send().await.unwrap();
        let (told, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body = answer.text().await.unwrap();
        assert_eq!((told, retry), (status, status == 503), "{path}: {body}");
        assert!(body.contains(expect), "{path}: {body}");
    };
    let query = "/prometheus/api/v1/query?query=";
    check(&strict, &format!("{query}temp"), 422, "3 series > limit query_series of 2").await;
    check(&strict, &format!("{query}temp%7Broom=%22a%22%7D"), 200, "success").await;
    let counted = "fastbreak_query_queries_total{outcome=\"over_limit\"} 1";
    check(&strict, "/metrics", 200, counted).await;

    let narrow = Options::on(&database).with("FASTBREAK_QUERY_BYTES", "100B").start();
    check(&narrow, &format!("{query}temp"), 422, "limit query_bytes of 100").await;
    let hasty = Options::on(&database).with("FASTBREAK_QUERY_DEADLINE", "1us").start();
    check(&hasty, "/api/metrics/current", 504, "limit query_deadline of 1").await;
    check(&hasty, &format!("{query}temp"), 503, "\"errorType\":\"timeout\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_the_page_are_the_page_and_those_of_the_api_never_are() {
    let server = Server::start().await;
    let get = async |path: &str| client().get(format!("{}{path}", server.http)).send().await.unwrap();
    for path in ["/", "/services/shop", "/services/my.service", "/alerts/rules/new?condition=x", "/nothing"] {
        let answer = get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
    }
    for path in ["/api", "/api/nothing", "/prometheus/nothing", "/ws/nothing", "/metrics/x", "/v1/metrics"] {
        let answer = get(path).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    let gone = get("/assets/index-of-another-version.js").await;
    assert_eq!(
        (gone.status().as_u16(), &gone.headers()["content-type"]),
        (404, &"application/problem+json".parse().unwrap())
    );
    let posted = client().post(format!("{}/services", server.http)).send().await.unwrap();
    assert_eq!(posted.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_tells_labels_and_series() {
    let server = Server::start().await;
    let points = [("/a", 1.0), ("/b", 2.0)].map(|(route, value)| point(value, now(), &[("http.route", route)]));
    export::grpc(&server.grpc, request("shop", vec![gauge("shop.queue", points.to_vec())])).await.unwrap();
    let detail = server.get("/api/catalog/metrics/shop.queue").await;
    assert_eq!((&detail["kind"], &detail["series"]), (&"gauge".into(), &2.into()));
    assert_eq!((&detail["labels"][0]["name"], &detail["labels"][0]["valueCount"]), (&"http_route".into(), &2.into()));
    let missing = client().get(format!("{}/api/catalog/metrics/nope", server.http)).send().await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_changes_nothing() {
    let server = Server::start().await;
    for path in ["/api/alerts/rules", "/api/silences", "/api/receivers", "/api/slos", "/api/maintenance-windows"] {
        let asked = client().post(format!("{}{path}", server.http)).header("origin", "http://evil.example").body("{}");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert!(answer.text().await.unwrap().contains("foreign-origin"), "{path}");
    }
}

/// Paths and parameters are refused by the gateway, whatever route they lead to; text in bodies where the database refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn nul_is_refused_at_every_door() {
    let server = Options::on(&Database::create().await).start();
    let document = server.get("/api/openapi.json").await;
    let mut tried = 0;
    let ours = |(path, methods): &(&String, &Value)| path.starts_with("/api/") && methods["get"].is_object();
    for (path, methods) in document["paths"].as_object().unwrap().iter().filter(ours) {
        let parameters = methods["get"]["parameters"].as_array().cloned().unwrap_or_default();
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            let (path, field) = match parameter["in"].as_str() {
                Some("path") => (path.replace(&format!("{{{name}}}"), "%00"), "path"),
                _ => (format!("{path}?{name}=%00"), name),
            };
            let answer = client().get(format!("{}{path}", server.http)).send().await.unwrap();
            let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
            assert_eq!((status.as_u16(), body["field"].as_str()), (400, Some(field)), "{path}: {body}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried} parameters of the API");
    let route = json!({ "receivers": ["email"], "groupBy": ["a\0"] });
    let (status, body) = call(&server, "PUT", "/api/routes", &route).await;
    assert_eq!((status, body["code"].as_str()), (400, Some("invalid-argument")), "{body}");
    let mut silences = SilenceServiceClient::new(channel(&server).await);
    let refused = silences.get_silence(GetSilenceRequest { id: "a\0".to_owned() }).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("NUL")), (Code::InvalidArgument, true), "{refused}");
}
