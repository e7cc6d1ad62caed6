//! What batching may cost: the latency budget at three loads, priorities when there is no room, one rate for many instances.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails says so by panicking; a load is shown"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastbreak_client::batcher::{
    BatchPolicy, Batcher, Failure, Leave, Outcome, Priority, Process, Rate, SharedRate, SubmitError,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

/// Takes so long for a call, and so much more for each item.
struct Far {
    call: Duration,
    item: Duration,
    seen: Arc<Mutex<Vec<u32>>>,
}

impl Process for Far {
    type Item = u32;
    type Output = u32;

    async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<u32>>, Failure> {
        self.seen.lock().extend(&items);
        sleep(self.call + self.item * items.len() as u32).await;
        Ok(items.into_iter().map(Outcome::Done).collect())
    }
}

/// `(p95 of the time that an item took, calls)`, with so many items a second for two seconds.
fn load(per_second: u32, policy: &BatchPolicy) -> (Duration, u64) {
    run(async {
        let far = Far { call: ms(10), item: Duration::from_micros(20), seen: Arc::default() };
        let batcher = Batcher::new(policy.clone(), far).unwrap();
        let mut asked = Vec::new();
        // A timer is of a millisecond; more than one item in it comes at once.
        let (burst, pause) = if per_second > 1_000 { (per_second / 1_000, ms(1)) } else { (1, ms(1_000) / per_second) };
        for id in 0..per_second * 2 {
            let batcher = batcher.clone();
            asked.push(tokio::spawn(async move {
                let began = Instant::now();
                batcher.submit(id).await.unwrap();
                began.elapsed()
            }));
            if id % burst == burst - 1 {
                sleep(pause).await;
            }
        }
        let mut took = Vec::new();
        for one in asked {
            took.push(one.await.unwrap());
        }
        // The first second is for learning.
        let mut took = took.split_off(per_second as usize);
        took.sort();
        (took[took.len() * 95 / 100], batcher.stats().batches.get())
    })
}

#[test]
fn a_latency_budget_is_kept_at_any_load_and_calls_are_saved() {
    let budget = ms(8);
    let alone = BatchPolicy { max_items: 1, max_concurrent_batches: 1_000, ..BatchPolicy::default() };
    let within = BatchPolicy {
        latency_budget: Some(budget),
        max_wait: ms(100),
        max_items: 500,
        max_concurrent_batches: 1_000,
        ..BatchPolicy::default()
    };
    let fixed = BatchPolicy { latency_budget: None, ..within.clone() };
    for (per_second, saves) in [(20, 1), (1_000, 4), (5_000, 20)] {
        let (least, calls) = load(per_second, &alone);
        let (took, fewer) = load(per_second, &within);
        let (unbound, fewest) = load(per_second, &fixed);
        let added = took.saturating_sub(least);
        println!(
            "{per_second}/s: {calls} calls alone; {fewer} within {budget:?}, p95 +{added:?}; {fewest} with a fixed wait, p95 +{:?}",
            unbound.saturating_sub(least)
        );
        // And a timer's turn.
        assert!(added <= budget + ms(2), "{per_second}/s: {added:?} more");
        assert!(fewer * saves <= calls, "{per_second}/s: {fewer} of {calls} calls");
    }
}

#[test]
fn the_urgent_goes_first_and_takes_the_place_of_what_is_not_but_nothing_waits_for_ever() {
    run(async {
        let seen = Arc::<Mutex<Vec<u32>>>::default();
        let far = Far { call: ms(10), item: Duration::ZERO, seen: Arc::clone(&seen) };
        let policy = BatchPolicy {
            max_items: 2,
            max_queued: 6,
            max_concurrent_batches: 1,
            max_wait: ms(1),
            ..BatchPolicy::default()
        };
        let batcher = Batcher::new(policy, far).unwrap();
        let ask = |priority, id| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.submit_as(priority, id).await })
        };
        // The first is under way, and five wait.
        let first = ask(Priority::Normal, 0);
        sleep(ms(1)).await;
        let waiting: Vec<_> =
            [(Priority::Low, 1), (Priority::Low, 2), (Priority::Normal, 3), (Priority::High, 4), (Priority::High, 5)]
                .map(|(priority, id)| ask(priority, id))
                .into();
        sleep(ms(1)).await;
        let urgent = ask(Priority::High, 6);
        let refused = ask(Priority::Low, 7);
        assert_eq!(refused.await.unwrap(), Err(SubmitError::Full(6)));
        assert_eq!((first.await.unwrap(), urgent.await.unwrap()), (Ok(0), Ok(6)));
        let mut answers = Vec::new();
        for one in waiting {
            answers.push(one.await.unwrap());
        }
        assert_eq!(
            answers,
            [Ok(1), Err(SubmitError::Full(6)), Ok(3), Ok(4), Ok(5)],
            "the newest of the least gave its place"
        );
        assert_eq!(*seen.lock(), [0, 1, 4, 3, 5, 6], "each batch begins with the oldest");
    });
}

/// A bucket for all; away when told.
struct Bucket {
    next: Mutex<Instant>,
    asked: AtomicU64,
    away: bool,
}

impl SharedRate for Bucket {
    fn take(&self, rate: Rate) -> Leave<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let said = if self.away {
            Err("away".to_owned())
        } else {
            let (now, mut next) = (Instant::now(), self.next.lock());
            let wait = next.saturating_duration_since(now);
            if wait.is_zero() {
                *next = now + Duration::from_secs_f64(1.0 / rate.per_second);
            }
            Ok((!wait.is_zero()).then_some(wait))
        };
        Box::pin(std::future::ready(said))
    }
}

fn two_instances(away: bool) -> (Duration, u64) {
    run(async {
        let bucket = Arc::new(Bucket { next: Mutex::new(Instant::now()), asked: AtomicU64::new(0), away });
        let rate = Some(Rate { per_second: 10.0, burst: 1, shared: true });
        let policy = BatchPolicy { max_items: 1, rate, ..BatchPolicy::default() };
        let began = Instant::now();
        let instances = [0, 1].map(|_| {
            let far = Far { call: ms(1), item: Duration::ZERO, seen: Arc::default() };
            Batcher::with_shared_rate(policy.clone(), far, Arc::clone(&bucket) as Arc<dyn SharedRate>).unwrap()
        });
        let mut asked = Vec::new();
        for id in 0..20 {
            let batcher = instances[id as usize % 2].clone();
            asked.push(tokio::spawn(async move { batcher.submit(id).await }));
        }
        for one in asked {
            one.await.unwrap().unwrap();
        }
        (began.elapsed(), bucket.asked.load(Ordering::Relaxed))
    })
}

#[test]
fn a_shared_rate_is_kept_by_all_together_and_by_each_alone_when_it_cannot_be_asked() {
    let (together, _) = two_instances(false);
    assert!((1_890..2_100).contains(&together.as_millis()), "20 calls at 10 a second: {together:?}");
    let (apart, asked) = two_instances(true);
    assert!((890..1_000).contains(&apart.as_millis()), "each 10 calls at 10 a second: {apart:?}");
    assert!(asked <= 4, "what is away is not asked for each call");
    let far = Far { call: ms(1), item: Duration::ZERO, seen: Arc::default() };
    let rate = Some(Rate { per_second: 10.0, burst: 1, shared: true });
    run(async move {
        let refused = Batcher::new(BatchPolicy { rate, ..BatchPolicy::default() }, far).err().unwrap();
        assert_eq!(refused.field, "rate.shared");
    });
}

#[cfg(feature = "redis")]
mod in_redis {
    use std::process::{Child, Command, Stdio};

    use fastbreak_client::batcher::RedisRate;

    use super::*;

    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            let _gone = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    async fn start() -> (Server, redis::Client) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--bind", "127.0.0.1", "--port", &port.to_string()]).stdout(Stdio::null());
        let server = Server(command.spawn().unwrap());
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let began = Instant::now();
        while client.get_multiplexed_async_connection().await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "redis-server does not start");
            tokio::task::yield_now().await;
        }
        (server, client)
    }

    #[tokio::test]
    async fn one_bucket_in_redis_holds_for_two_instances() {
        let (server, client) = start().await;
        let rate = Some(Rate { per_second: 50.0, burst: 5, shared: true });
        let policy = BatchPolicy { max_items: 1, rate, ..BatchPolicy::default() };
        let mut instances = Vec::new();
        for _ in 0..2 {
            let far = Far { call: ms(1), item: Duration::ZERO, seen: Arc::default() };
            let bucket = Arc::new(RedisRate::new(client.clone(), "prices").await.unwrap());
            instances.push(Batcher::with_shared_rate(policy.clone(), far, bucket).unwrap());
        }
        let began = Instant::now();
        let mut asked = Vec::new();
        for id in 0..30 {
            let batcher = instances[id as usize % 2].clone();
            asked.push(tokio::spawn(async move { batcher.submit(id).await }));
        }
        for one in asked {
            one.await.unwrap().unwrap();
        }
        let took = began.elapsed();
        assert!(took >= ms(500), "30 calls, 5 at once and 50 a second: {took:?}");
        drop(server);
        assert_eq!(instances[0].submit(99).await, Ok(99), "without Redis each keeps the rate alone");
    }
}
