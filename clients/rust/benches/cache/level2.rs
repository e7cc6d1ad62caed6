//! Redis: many reads and writes at once, `redis-benchmark` beside them; and many misses of one key.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastbreak_client::cache::{Cache, CachePolicy, Failure, Source};
use tokio::task::JoinSet;

use crate::level1::Value;
use crate::median;

const KEYS: u64 = 100_000;
const TASKS: u64 = 512;
const EACH: u64 = 2_000;
const TURNS: usize = 5;

struct Server(Child, tempfile::TempDir);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(directory.path().join("s"));
        let server = Self(command.stdout(Stdio::null()).spawn().expect("redis-server is installed"), directory);
        while std::os::unix::net::UnixStream::connect(server.socket()).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server
    }

    fn socket(&self) -> std::path::PathBuf {
        self.1.path().join("s")
    }

    async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(format!("redis+unix://{}", self.socket().display())).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// `(SET, GET)` a second by `redis-benchmark`, 64 B, 64 in a pipeline.
    fn benchmark(&self) -> (f64, f64) {
        let mut command = Command::new("redis-benchmark");
        command.arg("-s").arg(self.socket());
        command.args(["-P", "64", "-d", "64", "-r", "100000", "-n", "1000000", "-t", "set,get", "--csv"]);
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let rate = |name: &str| {
            let line = said.lines().find(|line| line.starts_with(name)).unwrap();
            line.split(',').nth(1).unwrap().trim_matches('"').parse().unwrap()
        };
        (rate("\"SET\""), rate("\"GET\""))
    }
}

#[derive(Default)]
struct Counted(AtomicU64, Duration);

impl Source for Counted {
    type Key = u64;
    type Value = Value;

    async fn load(&self, key: &u64) -> Result<Option<Self::Value>, Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if !self.1.is_zero() {
            tokio::time::sleep(self.1).await;
        }
        Ok(Some(Value([*key as u8; 64])))
    }
}

async fn cache(server: &Server, policy: CachePolicy) -> Cache<Counted> {
    let client = redis::Client::open(format!("redis+unix://{}", server.socket().display())).unwrap();
    Cache::builder("bench", Counted::default()).redis(client).policy(policy).build().await.unwrap()
}

/// Calls a second, by many tasks that each make one after the other.
async fn rate<F: Future<Output = ()> + Send + 'static>(call: impl Fn(u64) -> F + Clone + Send + 'static) -> f64 {
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for task in 0..TASKS {
        let call = call.clone();
        tasks.spawn(async move {
            for n in 0..EACH {
                call((task * EACH + n) % KEYS).await;
            }
        });
    }
    tasks.join_all().await;
    (TASKS * EACH) as f64 / began.elapsed().as_secs_f64()
}

/// `(SET, GET)` a second by the same tasks with the redis crate alone, on its one multiplexed connection.
async fn alone(server: &Server) -> (f64, f64) {
    let connection = server.connection().await;
    let to_set = connection.clone();
    let set = rate(move |key| {
        let mut connection = to_set.clone();
        async move { redis::cmd("SET").arg(key).arg(&[7_u8; 64]).query_async::<()>(&mut connection).await.unwrap() }
    });
    let set = set.await;
    let get = rate(move |key| {
        let mut connection = connection.clone();
        async move {
            let value: Vec<u8> = redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap();
            assert_eq!(value.len(), 64);
        }
    });
    (set, get.await)
}

pub(crate) async fn run() {
    let server = Server::start().await;
    let policy = CachePolicy { l1_ttl: Duration::ZERO, l2_timeout: Duration::from_secs(5), ..CachePolicy::default() };
    let ours = cache(&server, policy).await;
    let (mut sets, mut offers, mut gets, mut set_of, mut get_of) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut set_alone, mut get_alone) = (vec![], vec![]);
    for _ in 0..TURNS {
        let cache = ours.clone();
        redis::cmd("FLUSHALL").exec_async(&mut server.connection().await).await.unwrap();
        offers.push(
            rate(move |key| {
                let cache = cache.clone();
                async move { cache.offer(&key, Value([key as u8; 64])).await.unwrap() }
            })
            .await,
        );
        let cache = ours.clone();
        sets.push(
            rate(move |key| {
                let cache = cache.clone();
                async move { cache.set(&key, Value([key as u8; 64])).await.unwrap() }
            })
            .await,
        );
        let cache = ours.clone();
        gets.push(
            rate(move |key| {
                let cache = cache.clone();
                async move { assert!(cache.get(&key).await.is_some()) }
            })
            .await,
        );
        let (set, get) = alone(&server).await;
        set_alone.push(set);
        get_alone.push(get);
        let (set, get) = tokio::task::block_in_place(|| server.benchmark());
        set_of.push(set);
        get_of.push(get);
    }
    let [sets, offers, gets, set_of, get_of] = [sets, offers, gets, set_of, get_of].map(median);
    let [set_alone, get_alone] = [set_alone, get_alone].map(median);
    println!("\nlevel 2: {TASKS} tasks, 64 B, one Redis on this machine; a second");
    for (what, ours, alone, limit, floor) in [
        ("get", gets, get_alone, get_of, 5e4),
        ("set", sets, set_alone, set_of, 1e4),
        ("offer", offers, set_alone, set_of, 1e4),
    ] {
        println!(
            "  {what:<5} {ours:>8.0}; redis crate alone {alone:>8.0}: x {:.2}; redis-benchmark -P 64 {limit:>8.0}: x {:.2} (goal 0.8); floor {floor:.0}: x {:.1}",
            ours / alone,
            ours / limit,
            ours / floor
        );
    }
}

/// Ten thousand who miss one key.
pub(crate) async fn flights() {
    let source = Counted(AtomicU64::new(0), Duration::from_millis(200));
    let cache = Cache::builder("flights", source).build().await.unwrap();
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for _ in 0..10_000 {
        let cache = cache.clone();
        tasks.spawn(async move { cache.get_or_load(&7).await.unwrap() });
    }
    assert!(tasks.join_all().await.iter().all(Option::is_some));
    let (loads, took) = (cache.source().0.load(Ordering::Relaxed), began.elapsed());
    println!(
        "\nflights: 10 000 misses of one key at once: {loads} load, all answered after {took:?} (it takes 200 ms)"
    );
}
