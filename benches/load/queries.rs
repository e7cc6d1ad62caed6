//! What range queries cost over stored windows, beside ingest and without; and how fast series are chosen.

use std::time::{Duration, Instant};

use crate::Effort;
use crate::contenders::{Contender, Field};
use crate::generator::{Generator, Transport, now};
use crate::payload::{Kind, Payload};
use crate::process::Server;
use crate::tables::SERIES_PER_INSTANCE;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// Hours of the stored day.
const HOURS: u64 = 24;
/// How long checkpoints and compactions may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// One question, asked again and again.
struct Question<'a> {
    name: &'a str,
    query: &'a str,
    hours: u64,
}

impl Question<'_> {
    /// Seconds of one answer. `unlike` makes it a question never asked before, so that no part of it is remembered.
    async fn ask(&self, client: &reqwest::Client, server: &Server, end: u64, unlike: Option<u64>) -> f64 {
        let end = end / SECOND - 60;
        let (start, end) = ((end - self.hours * 3_600).to_string(), end.to_string());
        let url = format!("http://{}/prometheus/api/v1/query_range", server.http);
        let query = unlike.map_or_else(|| self.query.to_owned(), |n| format!("{} * {}", self.query, n + 1));
        let parameters = [("query", query.as_str()), ("start", &start), ("end", &end), ("step", "60")];
        let asked = Instant::now();
        let answer = client.get(url).query(&parameters).send().await.expect("answers");
        let status = answer.status();
        let body = answer.bytes().await.expect("whole");
        let took = asked.elapsed().as_secs_f64();
        assert!(status.is_success() && body.len() > 1_000, "{}: {}", self.query, String::from_utf8_lossy(&body));
        took
    }
}

fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() as f64 * q) as usize).min(times.len() - 1)] * 1e3
}

/// G12: group-by and one series over six hours, rates over a day, a point a minute.
pub(crate) async fn ranges(effort: Effort) {
    let payload = Payload::new(Kind::Requests);
    let mut field = Field::default();
    field.fastbreak(&[("FASTBREAK_CHECKPOINT", "5s"), ("FASTBREAK_QUERY_BYTES", "4GiB")]);
    let Some(server) = field.get(Contender::FastBreak) else { return };
    let instances = if effort.many < 1_000_000 { 2 } else { 10 };
    let end = now() / HOUR * HOUR - HOUR;
    let mut generator = Generator::new(&payload, instances, Transport::Grpc, &server.address);
    generator.timeline = Some((end - HOURS * HOUR + SECOND, MINUTE));
    let sent = generator.count(u64::from(instances) * HOURS * 60).await;
    assert_eq!(sent.errors, 0, "{}", sent.first_error);
    settle(&field.database_url).await;

    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let six = Question {
        name: "group-by, 800 series × 6 h",
        query: r#"sum by (http_route) (rate(bench_requests_total{service_instance_id="instance-00000000", slice=~"s[0-7]"}[5m]))"#,
        hours: 6,
    };
    let one = Question {
        name: "one series × 6 h",
        query: r#"rate(bench_requests_total{service_instance_id="instance-00000000", http_route="/api/v1/resource-3", k8s_pod_name="pod-7"}[5m])"#,
        hours: 6,
    };
    let numbers = Payload::new(Kind::Numbers);
    let load = Generator::new(&numbers, 100, Transport::Grpc, &server.address);
    load.count(200).await;
    let full = load.during(Duration::from_secs(effort.seconds), None).await;
    let half = full.exports as f64 / full.seconds / 2.0;
    println!("\n### Range queries, a step a minute\n");
    println!("| query | beside ingest at half load | remembered | p50 ms | p95 ms |");
    println!("| --- | --- | --- | ---: | ---: |");
    let mut number = 0;
    for question in [&six, &one] {
        question.ask(&client, server, end, None).await;
        for (loaded, remembered) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut times = Vec::new();
            let asking = async {
                for _ in 0..effort.repetitions * 20 {
                    number += 1;
                    times.push(question.ask(&client, server, end, (!remembered).then_some(number)).await);
                }
            };
            if loaded {
                let long = Duration::from_secs(600);
                tokio::select! { () = asking => {}, _ = load.during(long, Some(half)) => {} }
            } else {
                asking.await;
            }
            let (p50, p95) = (quantile(&mut times, 0.5), quantile(&mut times, 0.95));
            let word = |yes| if yes { "yes" } else { "no" };
            println!("| {} | {} | {} | {p50:.2} | {p95:.2} |", question.name, word(loaded), word(remembered));
        }
    }
    growth(&client, server, (end, instances), effort).await;
}

/// The same rate over more and more series: cold, and asked again. The greatest pushes what the others have decoded out
/// of the cache of blocks.
async fn growth(client: &reqwest::Client, server: &Server, (end, instances): (u64, u32), effort: Effort) {
    println!("\n### `sum by (http_route) (rate(..[5m]))` over 24 h, a step a minute\n");
    println!(
        "| series | cold p50 ms | p95 ms | µs a series-hour | again p95 ms |\n| ---: | ---: | ---: | ---: | ---: |"
    );
    let sizes = [
        (100, r#"service_instance_id="instance-00000000", slice="s1""#),
        (1_000, r#"service_instance_id="instance-00000000""#),
        (instances * SERIES_PER_INSTANCE, ""),
    ];
    let mut times = vec![(Vec::new(), Vec::new()); sizes.len()];
    for i in 0..effort.repetitions as u64 * 2 {
        for ((_, matchers), (cold, again)) in sizes.iter().zip(&mut times) {
            let query = format!("sum by (http_route) (rate(bench_requests_total{{{matchers}}}[5m]))");
            let question = Question { name: "growth", query: &query, hours: HOURS };
            cold.push(question.ask(client, server, end, Some(i)).await);
            again.push(question.ask(client, server, end, Some(i)).await);
        }
    }
    for ((series, _), (mut cold, mut again)) in sizes.into_iter().zip(times) {
        let (usual, cold, again) = (quantile(&mut cold, 0.5), quantile(&mut cold, 0.95), quantile(&mut again, 0.95));
        let each = cold * 1e3 / f64::from(series) / HOURS as f64;
        println!("| {series} | {usual:.1} | {cold:.1} | {each:.1} | {again:.1} |");
    }
}

/// Waits until the hours that are over are compacted.
async fn settle(database_url: &str) {
    let (client, connection) = tokio_postgres::connect(database_url, tokio_postgres::NoTls).await.expect("ours");
    tokio::spawn(connection);
    let left = "SELECT count(*) FILTER (WHERE NOT compacted) + (count(*) = 0)::int FROM blocks b \
                JOIN metrics m ON m.id = b.metric_id WHERE m.name = 'bench.requests' AND tier = 0";
    let (began, mut calm) = (Instant::now(), 0);
    while calm < 12 {
        assert!(began.elapsed() < PATIENCE, "the day was not compacted");
        calm = if client.query_one(left, &[]).await.expect("answers").get::<_, i64>(0) == 0 { calm + 1 } else { 0 };
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// How long it takes to choose a few of very many series of one metric.
pub(crate) async fn index(effort: Effort) {
    let payload = Payload::new(Kind::Requests);
    let field = Field::start(&[Contender::FastBreak]).await;
    let Some(server) = field.get(Contender::FastBreak) else { return };
    let instances = effort.many / SERIES_PER_INSTANCE;
    let generator = Generator::new(&payload, instances, Transport::Grpc, &server.address);
    let sent = generator.count(u64::from(instances)).await;
    assert_eq!(sent.errors, 0, "{}", sent.first_error);
    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let url = format!("http://{}/prometheus/api/v1/query", server.http);
    println!(
        "\n### Choosing series of one metric with {} series (an hour ago, where there is nothing to read)\n",
        effort.many
    );
    println!("| selector | first ms | p50 ms | p95 ms |\n| --- | ---: | ---: | ---: |");
    let hour_ago = (now() / SECOND - 3_600).to_string();
    for matchers in [
        r#"service_instance_id="instance-00000007", slice="s3""#,
        r#"service_instance_id=~"instance-0000000[1-3]", http_route="/api/v1/resource-3""#,
        r#"k8s_pod_name="pod-7", slice!="s1""#,
    ] {
        let query = format!("count(bench_requests_total{{{matchers}}})");
        let mut times = Vec::new();
        for _ in 0..=effort.repetitions * 20 {
            let asked = Instant::now();
            let answer =
                client.get(&url).query(&[("query", &query), ("time", &hour_ago)]).send().await.expect("answers");
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
            answer.bytes().await.expect("whole");
            times.push(asked.elapsed().as_secs_f64());
        }
        let first = times.remove(0) * 1e3;
        println!(
            "| `{matchers}` | {first:.1} | {:.1} | {:.1} |",
            quantile(&mut times, 0.5),
            quantile(&mut times, 0.95)
        );
    }
}
