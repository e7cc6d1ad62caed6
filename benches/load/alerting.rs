//! G11: rules evaluated a core-second, from a breach to the page, and a month of backtest.
//!
//! The real binary on its private Postgres. Rules are written into its tables at once, evaluate every second and never fire
//! (as those that the peers were measured with); CPU is that of the process and that of Postgres, less what both take with
//! no rules at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::Effort;
use crate::contenders::{Contender, Field};
use crate::generator::{Generator, Transport, now};
use crate::payload::{Kind, METRICS, POINTS_PER_METRIC, Payload};
use crate::process::{Cpu, Server};
use crate::tables::median;

const SECOND: u64 = 1_000_000_000;
/// Instances that send: 20 k series, 800 of each metric.
const INSTANCES: u32 = 20;
/// History behind the rules, in windows of ten seconds.
const WINDOWS: u64 = 30;
/// How long a server may take to evaluate new rules for the first time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Labels to sum by; with the metrics they make the grouped queries that differ.
const GROUPS: [&str; 5] =
    ["http_request_method", "http_response_status_code", "server_address", "http_route", "service_instance_id"];
/// Longest range of a rate.
const MINUTES_MAX: usize = 5;
/// Breaches whose page is waited for.
const BREACHES: usize = 60;
/// Days and points of the backtest.
const DAYS: u64 = 30;
const MINUTES: u64 = DAYS * 24 * 60;

#[derive(Clone, Copy)]
enum Shape {
    Single,
    Grouped,
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Self::Single => "one series",
            Self::Grouped => "`sum by (rate[1..5m])` over 800 series",
        }
    }

    /// How many of `rules` differ in their query, as SQL makes them.
    fn distinct(self, rules: u32) -> u32 {
        let all = match self {
            Self::Single => INSTANCES * (METRICS * POINTS_PER_METRIC) as u32,
            Self::Grouped => (counters().len() * GROUPS.len() * MINUTES_MAX) as u32,
        };
        rules.min(all)
    }

    fn condition(self, number: usize) -> String {
        match self {
            Self::Single => {
                let (metric, rest) = (number % METRICS, number / METRICS);
                let (point, instance) = (rest % POINTS_PER_METRIC, rest / POINTS_PER_METRIC % INSTANCES as usize);
                format!(
                    "{{\"bench.metric.{metric}\", service_instance_id=\"instance-{instance:08}\", \
                     server_address=\"backend-{point:02}.internal.example\"}} > threshold"
                )
            }
            Self::Grouped => {
                let counters = counters();
                let (metric, rest) = (counters[number % counters.len()], number / counters.len());
                let (by, minutes) = (GROUPS[rest % GROUPS.len()], MINUTES_MAX - rest / GROUPS.len() % MINUTES_MAX);
                format!("sum by ({by}) (rate({{\"bench.metric.{metric}\"}}[{minutes}m])) > threshold")
            }
        }
    }
}

/// The metrics of the payload that are counters.
fn counters() -> Vec<usize> {
    (0..METRICS).filter(|metric| !metric.is_multiple_of(3)).collect()
}

async fn database(field: &Field) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&field.database_url, tokio_postgres::NoTls).await.expect("ours");
    tokio::spawn(connection);
    client
}

/// Replaces all rules by `count` of `shape`.
async fn write_rules(client: &tokio_postgres::Client, shape: Shape, count: u32) {
    let rules: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "id": format!("bench_{number}"), "name": "bench", "condition": shape.condition(number as usize),
                "threshold": 1e15 + f64::from(number), "evaluationInterval": "1s",
            })
        })
        .collect();
    let clear = "UPDATE rules SET definition = jsonb_set(definition, '{enabled}', 'false'), revision = revision + 1";
    client.execute(clear, &[]).await.expect("may write");
    for rules in rules.chunks(10_000) {
        let rules = serde_json::to_string(rules).expect("JSON");
        let insert = format!(
            "INSERT INTO rules (id, definition, origin) SELECT r->>'id', r, 'api' FROM jsonb_array_elements($j${rules}$j$) r \
             ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, revision = rules.revision + 1"
        );
        client.batch_execute(&insert).await.expect("may write");
    }
    let known = "INSERT INTO rule_states (rule_id) SELECT id FROM rules ON CONFLICT DO NOTHING; ANALYZE rules; \
                 ANALYZE rule_states; UPDATE alerting_changes SET revision = revision + 1 WHERE kind = 'rules'";
    client.batch_execute(known).await.expect("may write");
}

async fn get(server: &Server, path: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let answer = client.get(format!("http://{}{path}", server.http)).send().await.expect("answers");
    answer.text().await.expect("whole")
}

/// Evaluations that found values.
async fn evaluations(server: &Server) -> f64 {
    let metrics = get(server, "/metrics").await;
    let value =
        |line: &str| line.contains("evaluations_total{result=\"ok\"}").then(|| line.rsplit(' ').next()?.parse().ok());
    metrics.lines().find_map(value).flatten().unwrap_or(0.0)
}

/// Evaluations and CPU over `seconds`.
async fn observe(server: &Server, seconds: u64) -> (f64, Cpu, f64) {
    let (began, before, cpu) = (Instant::now(), evaluations(server).await, server.cpu());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let cpu = server.cpu().since(cpu);
    (evaluations(server).await - before, cpu, began.elapsed().as_secs_f64())
}

/// Everything about rules.
pub(crate) async fn all(effort: Effort) {
    rules(effort).await;
    pages(effort).await;
    backtest(effort).await;
}

async fn rules(effort: Effort) {
    let payload = Payload::new(Kind::Numbers);
    println!("\n### Rules that evaluate every second over 20 k series, none fires\n");
    println!("| rules | queries that differ | shape | evaluations/s | k rules/core-s | with its Postgres |");
    println!("| ---: | ---: | --- | ---: | ---: | ---: |");
    let field = Field::start(&[Contender::FastBreak]).await;
    let Some(server) = field.get(Contender::FastBreak) else { return };
    let mut generator = Generator::new(&payload, INSTANCES, Transport::Grpc, &server.address);
    generator.timeline = Some((now() - WINDOWS * 10 * SECOND, 10 * SECOND));
    let sent = generator.count(u64::from(INSTANCES) * WINDOWS).await;
    assert_eq!(sent.errors, 0, "{}", sent.first_error);
    let client = database(&field).await;
    write_rules(&client, Shape::Single, 0).await;
    observe(server, 5).await;
    let (_, idle, took) = observe(server, effort.seconds * 3).await;
    let idle = Cpu { own: idle.own / took, children: idle.children / took };
    let cases = [
        (Shape::Single, 1_000),
        (Shape::Single, 10_000),
        (Shape::Single, 100_000),
        (Shape::Grouped, 80),
        (Shape::Grouped, 400),
        (Shape::Grouped, 1_000),
        (Shape::Grouped, 10_000),
    ];
    for (shape, count) in cases {
        // Data goes on, a window at a time, as it would.
        generator.timeline = None;
        let sent = generator.count(u64::from(INSTANCES)).await;
        assert_eq!(sent.errors, 0, "{}", sent.first_error);
        write_rules(&client, shape, count).await;
        let (began, before) = (Instant::now(), evaluations(server).await);
        while evaluations(server).await - before < f64::from(count) * 2.0 {
            assert!(began.elapsed() < PATIENCE, "{count} rules are not evaluated");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let (mut rate, mut core, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..effort.repetitions {
            let (evaluated, cpu, took) = observe(server, effort.seconds * 2).await;
            rate.push(evaluated / took);
            core.push(evaluated / (cpu.own - idle.own * took) / 1e3);
            all.push(evaluated / (cpu.own + cpu.children - (idle.own + idle.children) * took) / 1e3);
        }
        println!(
            "| {count} | {} | {} | {:.0} | {:.1} | {:.1} |",
            shape.distinct(count),
            shape.name(),
            median(&mut rate),
            median(&mut core),
            median(&mut all)
        );
    }
}

fn gauge(name: &str, host: &str, points: impl Iterator<Item = (u64, f64)>) -> Vec<u8> {
    let text = |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    let attributes = vec![KeyValue { key: "host".to_owned(), value: text(host), ..KeyValue::default() }];
    let point = |(time_unix_nano, value)| NumberDataPoint {
        attributes: attributes.clone(),
        time_unix_nano,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let data_points = points.map(point).collect();
    let metric =
        Metric { name: name.to_owned(), data: Some(metric::Data::Gauge(Gauge { data_points })), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

async fn export(server: &Server, body: Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let request = client.post(format!("http://{}/v1/metrics", server.otlp_http)).body(body);
    let answer = request.header("content-type", "application/x-protobuf").send().await.expect("answers");
    assert!(answer.status().is_success(), "{}", answer.status());
}

async fn post(server: &Server, path: &str, body: &Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let answer = client.post(format!("http://{}{path}", server.http)).json(body).send().await.expect("answers");
    let status = answer.status();
    let body: Value = answer.json().await.expect("JSON");
    assert!(status.is_success(), "{path}: {body}");
    body
}

/// From the acknowledged export that breaches a rule to the page at the receiver's door.
async fn pages(effort: Effort) {
    let (paged, woken) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (counted, wake) = (Arc::clone(&paged), Arc::clone(&woken));
    let hook = axum::Router::new().fallback(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        wake.notify_one();
        async { "" }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, hook).await });
    let mut field = Field::default();
    field.fastbreak(&[("FASTBREAK_NOTIFY_ALLOW_CIDRS", "127.0.0.0/8"), ("FASTBREAK_NOTIFY_ALLOW_PORTS", "1-65535")]);
    let Some(server) = field.get(Contender::FastBreak) else { return };
    post(server, "/api/receivers", &json!({ "id": "hook", "kind": "webhook", "secrets": { "url": url } })).await;
    let rule = json!({
        "id": "page", "name": "page", "condition": "max by (host) (bench_load) > threshold", "threshold": 10,
        "evaluationInterval": "1s", "groupBy": ["host"], "notificationChannels": ["hook"], "limit": 1000,
    });
    post(server, "/api/alerts/rules", &rule).await;
    let mut times = Vec::new();
    for breach in 0..BREACHES.min(effort.repetitions * 20) {
        // At any moment of the second.
        tokio::time::sleep(Duration::from_millis(breach as u64 * 377 % 1_000)).await;
        let before = paged.load(Ordering::SeqCst);
        export(server, gauge("bench.load", &format!("host-{breach}"), [(now(), 20.0)].into_iter())).await;
        let acknowledged = Instant::now();
        while paged.load(Ordering::SeqCst) == before {
            let arrived = tokio::time::timeout(PATIENCE, woken.notified()).await;
            assert!(arrived.is_ok(), "no page for breach {breach}");
        }
        times.push(acknowledged.elapsed());
    }
    times.sort();
    let at = |q: f64| times[((times.len() as f64 * q) as usize).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("\n### From an acknowledged breach to the page, rule evaluated every second\n");
    println!("| pages | p50 ms | p95 ms | p99 ms |\n| ---: | ---: | ---: | ---: |");
    println!("| {} | {:.0} | {:.0} | {:.0} |", times.len(), at(0.5), at(0.95), at(0.99));
}

/// A rule over a month by the minute, one series.
async fn backtest(effort: Effort) {
    let mut field = Field::default();
    field.fastbreak(&[
        ("FASTBREAK_WINDOW", "1m"),
        ("FASTBREAK_RETENTION_FINE", "31d"),
        ("FASTBREAK_RETENTION_MINUTE", "31d"),
        ("FASTBREAK_CHECKPOINT", "5s"),
    ]);
    let Some(server) = field.get(Contender::FastBreak) else { return };
    let minute = 60 * SECOND;
    let end = now() / minute * minute;
    let start = end - MINUTES * minute;
    // Ten minutes over the threshold, once in six hours.
    let value = |number: u64| if number % 360 < 10 { 20.0 } else { (number % 7) as f64 };
    for day in 0..DAYS {
        let points = (day * 1_440..(day + 1) * 1_440).map(|number| (start + number * minute, value(number)));
        export(server, gauge("bench.month", "a", points)).await;
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    let rule = json!({
        "name": "month", "condition": "bench_month > threshold", "threshold": 10, "for": "5m", "evaluationInterval": "1m",
    });
    let time = |nanos: u64| chrono::DateTime::from_timestamp_nanos(nanos as i64).to_rfc3339();
    let body = json!({ "from": time(start), "to": time(end), "rule": rule });
    println!("\n### A month of one rule and series, by the minute\n");
    println!(
        "| evaluations | alerts | notifications | s | of CPU, with its Postgres |\n| ---: | ---: | ---: | ---: | ---: |"
    );
    let (mut seconds, mut cpu) = (Vec::new(), Vec::new());
    let mut result = Value::Null;
    for _ in 0..effort.repetitions {
        let (began, before) = (Instant::now(), server.cpu());
        result = post(server, "/api/alerts/rules/new/backtest", &body).await;
        seconds.push(began.elapsed().as_secs_f64());
        let took = server.cpu().since(before);
        cpu.push(took.own + took.children);
    }
    println!(
        "| {} | {} | {} | {:.2} | {:.2} |",
        result["evaluations"],
        result["summary"]["alerts"],
        result["summary"]["notifications"],
        median(&mut seconds),
        median(&mut cpu)
    );
}
