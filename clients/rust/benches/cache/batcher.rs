//! The batcher: submits a CPU second with equal items among them, and what an idle one adds to a call; `dataloader` beside it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dataloader::BatchFn;
use dataloader::non_cached::Loader;
use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process};
use tokio::task::LocalSet;

use crate::trace::zipf;
use crate::{cpu_seconds, median};

const TASKS: usize = 1_000;
const EACH: usize = 1_000;
const BATCH: usize = 200;
const TURNS: usize = 5;
const IDLE: usize = 20_000;

struct Echo;

impl Process for Echo {
    type Item = u64;
    type Output = u64;

    async fn process(&self, items: Vec<u64>) -> Result<Vec<Outcome<u64>>, Failure> {
        Ok(items.into_iter().map(Outcome::Done).collect())
    }
}

impl BatchFn<u64, u64> for Echo {
    async fn load(&mut self, keys: &[u64]) -> HashMap<u64, u64> {
        keys.iter().map(|key| (*key, *key)).collect()
    }
}

/// Submits a CPU second, by many tasks on one thread.
async fn rate<F: Future<Output = u64> + 'static>(
    keys: &'static [u64],
    submit: impl Fn(u64) -> F + Clone + 'static,
) -> f64 {
    let began = cpu_seconds();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let submit = submit.clone();
        tasks.spawn_local(async move {
            for key in &keys[task * EACH..(task + 1) * EACH] {
                assert_eq!(submit(*key).await, *key);
            }
        });
    }
    tasks.join_all().await;
    (TASKS * EACH) as f64 / (cpu_seconds() - began)
}

/// The 99th percentile of calls one after the other.
async fn idle<F: Future<Output = u64>>(submit: impl Fn(u64) -> F) -> Duration {
    let mut times = Vec::with_capacity(IDLE);
    for key in 0..IDLE as u64 {
        let began = Instant::now();
        submit(key).await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[IDLE * 99 / 100]
}

async fn turns() {
    let keys: &'static [u64] = zipf(10_000, 0.99, TASKS * EACH, 5).leak();
    let policy = BatchPolicy { max_items: BATCH, ..BatchPolicy::default() };
    let ours = Batcher::new(policy, Echo).unwrap();
    let theirs = Loader::new(Echo).with_max_batch_size(BATCH);
    let (mut rates, mut their_rates, mut waits, mut their_waits) = (vec![], vec![], vec![], vec![]);
    let submit = |key: u64| {
        let ours = ours.clone();
        async move { ours.submit(key).await.unwrap() }
    };
    let load = |key: u64| {
        let theirs = theirs.clone();
        async move { theirs.load(key).await }
    };
    for _ in 0..TURNS {
        rates.push(
            rate(keys, {
                let ours = ours.clone();
                move |key| {
                    let ours = ours.clone();
                    async move { ours.submit(key).await.unwrap() }
                }
            })
            .await,
        );
        their_rates.push(
            rate(keys, {
                let theirs = theirs.clone();
                move |key| {
                    let theirs = theirs.clone();
                    async move { theirs.load(key).await }
                }
            })
            .await,
        );
        waits.push(idle(submit).await.as_secs_f64() * 1e6);
        their_waits.push(idle(load).await.as_secs_f64() * 1e6);
    }
    let stats = ours.stats();
    let items = stats.items.get() as f64 / stats.batches.get() as f64;
    let coalesced = stats.coalesced.get() as f64 / stats.submitted.get() as f64;
    let [rate, their_rate, wait, their_wait] = [rates, their_rates, waits, their_waits].map(median);
    println!("\nbatcher: {TASKS} tasks on one thread, Zipf over 10 000 items, batches of at most {BATCH}");
    println!("  ours       {:>5.2} M submits a CPU second (goal 2), idle p99 {wait:.1} µs (goal 50)", rate / 1e6);
    println!("  dataloader {:>5.2} M submits a CPU second,          idle p99 {their_wait:.1} µs", their_rate / 1e6);
    println!("  ours: {items:.1} items a batch, {:.0} % of submits shared an answer", coalesced * 100.0);
}

pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, turns());
}
