//! One core, no transport: our walk and windows beside a copy of the same bytes and a decode into structs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastbreak::app::PrivatePostgres;
use fastbreak::ingest::{Config, Ingest, SeriesCaps, Signal, walk_spans};
use fastbreak::model::Width;
use fastbreak::rollup::{Head, RowStep, Streams};
use fastbreak::storage::{self, Storage};
use fastbreak::traces::{self, Traces};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::Effort;
use crate::contenders::data_dir;
use crate::generator::now;
use crate::payload::{Kind, Payload};
use crate::tables::{SERIES_PER_INSTANCE, median};

/// Bodies that are decoded into structs; more would only take longer.
const DECODED: usize = 100;

/// G4, G5: nanoseconds a point.
pub(crate) async fn walk(effort: Effort) {
    let directory = data_dir("in-process");
    let postgres = PrivatePostgres::start(&directory).await.expect("Postgres is installed");
    println!("\n### In process, one core, numbers\n");
    println!("| series | memcpy ns | prost decode ns | walk + windows ns | ÷ memcpy | ÷ that at 1 k | new series ns |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut first = None;
    for series in [SERIES_PER_INSTANCE, 100_000, effort.many] {
        let ingest = ingest(&postgres.url).await;
        let payload = Payload::new(Kind::Numbers);
        let instances = series / SERIES_PER_INSTANCE;
        let bodies = |turn: u64| (0..instances).map(|i| payload.make(0, i, turn, now())).collect::<Vec<_>>();
        let head = Head::new(Width::TEN_SECONDS, 0);
        let pass = |bodies: &[Vec<u8>]| {
            let began = Instant::now();
            for (seq, body) in (1..).zip(bodies) {
                let export = ingest.walk(Signal::Metrics, body).expect("sound");
                let steps = export.sections.iter().map(|s| RowStep::Points(Arc::clone(&s.template), &s.points));
                head.apply_row(seq, &steps.collect::<Vec<_>>()).expect("sound");
            }
            per_point(began, bodies.len())
        };
        let mut all = bodies(0);
        let new = pass(&all);
        let (mut walked, mut copied, mut decoded) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 1..=effort.repetitions as u64 {
            all = bodies(turn);
            walked.push((0..repeats(instances)).map(|_| pass(&all)).fold(f64::MAX, f64::min));
            copied.push(copy(&all));
            decoded.push(decode(&all));
            forget(&head);
        }
        let (walked, copied, decoded) = (median(&mut walked), median(&mut copied), median(&mut decoded));
        let base = *first.get_or_insert(walked);
        println!(
            "| {series} | {copied:.0} | {decoded:.0} | {walked:.0} | {:.1} | {:.2} | {new:.0} |",
            walked / copied,
            walked / base
        );
    }
    drop(postgres);
    let _left = std::fs::remove_dir_all(directory);
}

/// Passes over a few bodies are too short to be timed one by one.
const fn repeats(instances: u32) -> usize {
    if instances < 100 { 200 } else { 1 }
}

fn per_point(began: Instant, bodies: usize) -> f64 {
    began.elapsed().as_nanos() as f64 / (bodies as f64 * f64::from(SERIES_PER_INSTANCE))
}

fn copy(bodies: &[Vec<u8>]) -> f64 {
    let mut to = Vec::new();
    let began = Instant::now();
    for body in bodies {
        to.clear();
        to.extend_from_slice(black_box(body));
        black_box(&to);
    }
    per_point(began, bodies.len())
}

fn decode(bodies: &[Vec<u8>]) -> f64 {
    let bodies = bodies.get(..DECODED.min(bodies.len())).unwrap_or_default();
    let began = Instant::now();
    for body in bodies {
        black_box(ExportMetricsServiceRequest::decode(&body[..]).expect("protobuf"));
    }
    per_point(began, bodies.len())
}

async fn ingest(url: &str) -> Arc<Ingest> {
    let storage = Storage::connect(storage::Config::new(url.to_owned())).await.expect("the database answers");
    tokio::task::spawn_blocking({
        let storage = storage.clone();
        move || tokio::runtime::Handle::current().block_on(storage.migrate())
    })
    .await
    .expect("no panic")
    .expect("the database is ours");
    let traces = Traces::new(storage.clone(), Width::TEN_SECONDS, traces::Config::default(), walk_spans);
    let streams = Streams::open(storage, Width::TEN_SECONDS, "bench".to_owned()).await.expect("the database answers");
    let caps = SeriesCaps { per_service: u32::MAX, per_metric: u32::MAX };
    let config = Config { caps, ..Config::default() };
    let opened = Ingest::open(Arc::new(streams), traces, config, CancellationToken::new()).await;
    opened.expect("the database answers").0
}

/// Ends the generation and forgets it at once, as if it had been in blocks for long.
pub(crate) fn forget(head: &Head) {
    head.cut();
    let now = Instant::now();
    head.forget_flushed(i64::MAX, now);
    head.forget_flushed(i64::MAX, now + Duration::from_secs(3_600));
}
