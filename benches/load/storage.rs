//! What stored windows cost, and how fast fresh ones are answered.

use std::time::{Duration, Instant};

use crate::Effort;
use crate::contenders::{Contender, Field};
use crate::generator::{Generator, Transport, now};
use crate::payload::{Kind, Payload};
use crate::tables::SERIES_PER_INSTANCE;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// Instances of the stored hour.
const INSTANCES: u32 = 10;
/// How long a checkpoint and a compaction may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// G8: bytes of a series-hour in Postgres, index included.
pub(crate) async fn blocks(_effort: Effort) {
    println!("\n### A series-hour in Postgres, after compaction, all-in (`pg_total_relation_size`)\n");
    println!("| series | kind | windows an hour | B a series-hour | B a window |");
    println!("| ---: | --- | ---: | ---: | ---: |");
    for (kind, name) in [(Kind::Numbers, "numbers"), (Kind::Mixed, "two fifths histograms")] {
        for width in [60, 10] {
            let bytes = stored_hour(kind, width).await;
            let windows = 3_600 / width;
            println!(
                "| {} | {name} | {windows} | {bytes:.0} | {:.2} |",
                INSTANCES * SERIES_PER_INSTANCE,
                bytes / windows as f64
            );
        }
    }
}

/// Sends an hour that is long over, one point a series and `width` seconds, and weighs it.
async fn stored_hour(kind: Kind, width: u64) -> f64 {
    let payload = Payload::new(kind);
    let mut field = Field::default();
    field.fastbreak(&[("FASTBREAK_CHECKPOINT", "5s")]);
    let Some(server) = field.get(Contender::FastBreak) else { return f64::NAN };
    let mut generator = Generator::new(&payload, INSTANCES, Transport::Grpc, &server.address);
    let hour = now() / HOUR * HOUR - 3 * HOUR;
    generator.timeline = Some((hour + SECOND, width * SECOND));
    let sent = generator.count(u64::from(INSTANCES) * 3_600 / width).await;
    assert_eq!(sent.errors, 0, "{}", sent.first_error);

    let (client, connection) = tokio_postgres::connect(&field.database_url, tokio_postgres::NoTls).await.expect("ours");
    tokio::spawn(connection);
    let date = format!("to_timestamp({})", hour / SECOND);
    let rows = format!(
        "FROM blocks b JOIN metrics m ON m.id = b.metric_id WHERE m.name LIKE 'bench.%' AND tier = 0 AND starts_at = {date}"
    );
    let settled = format!("SELECT coalesce(sum(series_count) FILTER (WHERE compacted), 0)::bigint {rows}");
    let began = Instant::now();
    while client.query_one(&settled, &[]).await.expect("answers").get::<_, i64>(0)
        < i64::from(INSTANCES * SERIES_PER_INSTANCE)
    {
        assert!(began.elapsed() < PATIENCE, "the hour was not compacted");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Into a table of its own, as the rows of that hour would lie after a vacuum.
    let weigh = format!(
        "CREATE TABLE weighed (LIKE blocks INCLUDING INDEXES INCLUDING STORAGE); INSERT INTO weighed SELECT b.* {rows}"
    );
    client.batch_execute(&weigh).await.expect("may create");
    let bytes = client.query_one("SELECT pg_total_relation_size('weighed')", &[]).await.expect("answers");
    bytes.get::<_, i64>(0) as f64 / f64::from(INSTANCES * SERIES_PER_INSTANCE)
}

/// G10: from an acknowledged export to its number in the JSON API, and the API beside 100 k series.
pub(crate) async fn answers(effort: Effort) {
    let payload = Payload::new(Kind::Numbers);
    let field = Field::start(&[Contender::FastBreak]).await;
    let Some(server) = field.get(Contender::FastBreak) else { return };
    let generator = Generator::new(&payload, 100_000 / SERIES_PER_INSTANCE, Transport::Grpc, &server.address);
    generator.count(u64::from(generator.instances) * 2).await;
    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let url = format!("http://{}/api/metrics/current", server.http);
    let (mut answers, mut fresh) = (Vec::new(), Vec::new());
    for _ in 0..effort.repetitions * 20 {
        let sent = Instant::now();
        generator.count(1).await;
        let asked = Instant::now();
        let answer = client.get(&url).send().await.expect("answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await.expect("whole");
        answers.push(asked.elapsed());
        fresh.push(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("\n### `/api/metrics/current` beside 100 k series\n");
    println!("| | p50 ms | p95 ms | p99 ms |\n| --- | ---: | ---: | ---: |");
    for (name, mut times) in [("answer", answers), ("from sending an export to the answer that holds it", fresh)] {
        times.sort();
        let at = |q: f64| times[(times.len() as f64 * q) as usize].as_secs_f64() * 1e3;
        println!("| {name} | {:.1} | {:.1} | {:.1} |", at(0.5), at(0.95), at(0.99));
    }
}
