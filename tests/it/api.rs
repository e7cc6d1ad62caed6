//! The JSON API: shapes, errors, headers.

use crate::support::Server;
use crate::support::export::{self, gauge, now, point, request};
use crate::support::server::client;

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
        "/api/metrics/catalog",
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
        "/prometheus/api/v1/query?query=1%2B1",
        "/prometheus/api/v1/query_range?query=up&start=0&end=60&step=15",
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
    check("/api/alerts/12345", 404, "there is no alert").await;
    check("/api/metrics/history?indicator=nope", 400, "avgResponseTime").await;
    check("/api/metrics/history?hours=24&step=1", 400, "step must be at least").await;
    check("/prometheus/api/v1/query?query=rate(", 400, "bad_data").await;
    check("/prometheus/api/v1/query?query=holt_winters(x[5m],1,1)", 400, "error").await;
    check("/prometheus/api/v1/query?query=max_over_time(x[5m:1m])", 422, "subquery").await;
    check("/prometheus/api/v1/query_range?query=up&start=0&end=100000000&step=1", 422, "11000").await;
    let deep = "(".repeat(500);
    check(&format!("/prometheus/api/v1/query?query={deep}"), 422, "nested").await;
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
    let detail = server.get("/api/metrics/catalog/shop.queue").await;
    assert_eq!((&detail["kind"], &detail["series"]), (&"gauge".into(), &2.into()));
    assert_eq!((&detail["labels"][0]["name"], &detail["labels"][0]["valueCount"]), (&"http_route".into(), &2.into()));
    let missing = client().get(format!("{}/api/metrics/catalog/nope", server.http)).send().await.unwrap();
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
