//! The tables, each one interleaved run.

use std::pin::Pin;
use std::time::Duration;

use crate::Effort;
use crate::contenders::{Contender, Field};
use crate::generator::{Generator, Outcome, Transport};
use crate::payload::{Kind, Payload};
use crate::process::{Cpu, Server};
use crate::{alerting, in_process, queries, storage, traces, watchers};

type Table = fn(Effort) -> Pin<Box<dyn Future<Output = ()>>>;

/// Every table by name.
pub(crate) const TABLES: &[(&str, Table)] = &[
    ("numbers", |effort| Box::pin(ingest(effort, Kind::Numbers, "OTLP/gRPC number points, 100 k series"))),
    ("mixed", |effort| Box::pin(ingest(effort, Kind::Mixed, "OTLP/gRPC points, two fifths explicit histograms"))),
    ("spans", |effort| Box::pin(ingest(effort, Kind::Spans, "OTLP/gRPC spans to RED windows"))),
    ("in-process", |effort| Box::pin(in_process::walk(effort))),
    ("cardinality", |effort| Box::pin(cardinality(effort))),
    ("new-series", |effort| Box::pin(new_series(effort))),
    ("durable", |effort| Box::pin(durable(effort))),
    ("storage", |effort| Box::pin(storage::blocks(effort))),
    ("traces", |effort| Box::pin(traces::kept(effort))),
    ("answers", |effort| Box::pin(storage::answers(effort))),
    ("queries", |effort| Box::pin(queries::ranges(effort))),
    ("index", |effort| Box::pin(queries::index(effort))),
    ("alerting", |effort| Box::pin(alerting::all(effort))),
    ("watchers", |effort| Box::pin(watchers::fan_out(effort))),
];

/// Points of one instance.
pub(crate) const SERIES_PER_INSTANCE: u32 = 1_000;

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One run against one server: what came of it, and the CPU that it took.
async fn measure(server: &Server, generator: &Generator<'_>, run: Run) -> (Outcome, Cpu) {
    let before = server.cpu();
    let outcome = match run {
        Run::Exports(n) => generator.count(n).await,
        Run::For(duration) => generator.during(duration, None).await,
        Run::Paced(duration, rate) => generator.during(duration, Some(rate)).await,
    };
    (outcome, server.cpu().since(before))
}

#[derive(Clone, Copy)]
enum Run {
    Exports(u64),
    For(Duration),
    Paced(Duration, f64),
}

struct Row {
    name: String,
    /// Millions of items per CPU second of the process itself.
    rate: Vec<f64>,
    /// The same with its Postgres and Redis.
    rate_all: Vec<f64>,
    wall: Vec<f64>,
    p99_ms: Vec<f64>,
    errors: u64,
}

impl Row {
    fn new(name: &str) -> Self {
        let (rate, rate_all, wall, p99_ms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { name: name.to_owned(), rate, rate_all, wall, p99_ms, errors: 0 }
    }

    fn add(&mut self, outcome: &Outcome, cpu: Cpu) {
        let items = outcome.items as f64 / 1e6;
        self.rate.push(items / cpu.own);
        self.rate_all.push(items / (cpu.own + cpu.children));
        self.wall.push(items / outcome.seconds);
        self.p99_ms.push(outcome.quantile(0.99) * 1e3);
        self.errors += outcome.errors;
        if outcome.errors > 0 {
            println!("{}: {} errors, the last {}", self.name, outcome.errors, outcome.first_error);
        }
    }
}

fn print(title: &str, rows: &mut [Row]) {
    println!("\n### {title}\n");
    println!("| server | M/core-s | with its Postgres | ours ÷ it | M/s wall | ack p99 ms | errors |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let ours = rows.iter_mut().find(|row| row.name == Contender::FastBreak.name()).map(|row| median(&mut row.rate));
    for row in rows {
        let rate = median(&mut row.rate);
        println!(
            "| {} | {rate:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {} |",
            row.name,
            median(&mut row.rate_all),
            ours.unwrap_or(f64::NAN) / rate,
            median(&mut row.wall),
            median(&mut row.p99_ms),
            row.errors
        );
    }
}

async fn contest(title: &str, effort: Effort, payload: &Payload, instances: u32, contenders: &[Contender]) {
    let field = Field::start(contenders).await;
    let generators: Vec<_> = field
        .servers
        .iter()
        .map(|(contender, server)| {
            let transport = match contender {
                Contender::VictoriaMetrics => Transport::Http("/opentelemetry/v1/metrics"),
                _ => Transport::Grpc,
            };
            Generator::new(payload, instances, transport, &server.address)
        })
        .collect();
    let mut rows: Vec<Row> = field.servers.iter().map(|(contender, _)| Row::new(contender.name())).collect();
    for ((_, server), generator) in field.servers.iter().zip(&generators) {
        measure(server, generator, Run::Exports(u64::from(instances) * 2)).await;
    }
    for _ in 0..effort.repetitions {
        for (((_, server), generator), row) in field.servers.iter().zip(&generators).zip(&mut rows) {
            let (outcome, cpu) = measure(server, generator, Run::For(Duration::from_secs(effort.seconds))).await;
            row.add(&outcome, cpu);
        }
    }
    print(title, &mut rows);
}

/// G1, G2, G4: points or spans per core-second beside floors and peers.
async fn ingest(effort: Effort, kind: Kind, title: &str) {
    use Contender::{FastBreak, Floor, Rotel};
    let payload = Payload::new(kind);
    let title = format!("{title} ({} B an export of {})", payload.bytes(), payload.items);
    let contenders = [FastBreak, Floor("memory"), Floor("raw"), Floor("prost"), Rotel];
    contest(&title, effort, &payload, 100, &contenders).await;
}

/// G5: what a point costs as series grow.
async fn cardinality(effort: Effort) {
    let payload = Payload::new(Kind::Numbers);
    println!("\n### Cost of a point as series grow (gRPC, numbers)\n");
    println!("| series | fastbreak ns | no commit ns | no commit ÷ that at 1 k |");
    println!("| ---: | ---: | ---: | ---: |");
    let mut first = None;
    for series in [SERIES_PER_INSTANCE, 100_000, effort.many] {
        let field = Field::start(&[Contender::FastBreak, Contender::Floor("memory")]).await;
        let mut nanoseconds = Vec::new();
        for (_, server) in &field.servers {
            let generator = Generator::new(&payload, series / SERIES_PER_INSTANCE, Transport::Grpc, &server.address);
            measure(server, &generator, Run::Exports(u64::from(generator.instances) * 2)).await;
            let mut costs = Vec::new();
            for _ in 0..effort.repetitions {
                let exports = u64::from(generator.instances).max(3_000);
                let (outcome, cpu) = measure(server, &generator, Run::Exports(exports)).await;
                assert_eq!(outcome.errors, 0, "{}", outcome.first_error);
                costs.push(cpu.own * 1e9 / outcome.items as f64);
            }
            nanoseconds.push(median(&mut costs));
        }
        let base = *first.get_or_insert(nanoseconds[1]);
        println!("| {series} | {:.0} | {:.0} | {:.2} |", nanoseconds[0], nanoseconds[1], nanoseconds[1] / base);
    }
}

/// G6, G7: the first export of many series, and the memory that they hold.
async fn new_series(effort: Effort) {
    let payload = Payload::new(Kind::Numbers);
    println!("\n### Series never seen before\n");
    println!("| server | series | k new series/core-s | with its Postgres | B of memory a series |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for contender in [Contender::FastBreak, Contender::VictoriaMetrics] {
        let field = Field::start(&[contender]).await;
        let Some(server) = field.get(contender) else { continue };
        let transport = match contender {
            Contender::VictoriaMetrics => Transport::Http("/opentelemetry/v1/metrics"),
            _ => Transport::Grpc,
        };
        let instances = effort.many / SERIES_PER_INSTANCE;
        let generator = Generator::new(&payload, instances, transport, &server.address);
        let idle = server.memory();
        let (outcome, cpu) = measure(server, &generator, Run::Exports(u64::from(instances))).await;
        assert_eq!(outcome.errors, 0, "{}", outcome.first_error);
        // Five minutes of windows would be in memory at once only without checkpoints; take what is there after a few.
        for _ in 0..3 {
            measure(server, &generator, Run::Exports(u64::from(instances))).await;
        }
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.0} |",
            contender.name(),
            effort.many,
            outcome.items as f64 / cpu.own / 1e3,
            outcome.items as f64 / (cpu.own + cpu.children) / 1e3,
            (server.memory() - idle) as f64 / f64::from(effort.many)
        );
    }
}

/// G9: what the commit costs, and how long an acknowledgement takes at half of the greatest load.
async fn durable(effort: Effort) {
    let payload = Payload::new(Kind::Numbers);
    let contenders = [Contender::FastBreak, Contender::Floor("memory")];
    let field = Field::start(&contenders).await;
    println!("\n### Durable against not (gRPC, numbers, 100 k series, 32 in flight)\n");
    println!("| server | M points/s wall | ack p50 ms at half load | p99 ms at half load |");
    println!("| --- | ---: | ---: | ---: |");
    let mut walls = Vec::new();
    for (contender, server) in &field.servers {
        let generator = Generator::new(&payload, 100, Transport::Grpc, &server.address);
        measure(server, &generator, Run::Exports(200)).await;
        let (mut wall, mut half) = (Vec::new(), Vec::new());
        for _ in 0..effort.repetitions {
            let (full, _) = measure(server, &generator, Run::For(Duration::from_secs(effort.seconds))).await;
            let rate = full.exports as f64 / full.seconds / 2.0;
            wall.push(full.items as f64 / full.seconds / 1e6);
            half.push(measure(server, &generator, Run::Paced(Duration::from_secs(effort.seconds), rate)).await.0);
        }
        let quantile = |q: f64| median(&mut half.iter().map(|run| run.quantile(q) * 1e3).collect::<Vec<_>>());
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        walls.push(median(&mut wall));
        println!("| {} | {:.2} | {p50:.1} | {p99:.1} |", contender.name(), median(&mut wall));
    }
    println!("\ndurable ÷ not durable: {:.2}", walls[0] / walls[1]);
}
