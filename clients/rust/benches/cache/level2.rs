//! Redis: many reads and writes at once, `redis-benchmark` beside them; and many misses of one key.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastbreak_client::cache::{Cache, CachePolicy, Failure, Source};
use tokio::task::JoinSet;

use crate::median;

const KEYS: u64 = 100_000;
const TASKS: u64 = 512;
const EACH: u64 = 400;
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
    type Value = ([u8; 32], [u8; 32]);

    async fn load(&self, key: &u64) -> Result<Option<Self::Value>, Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if !self.1.is_zero() {
            tokio::time::sleep(self.1).await;
        }
        Ok(Some(([*key as u8; 32], [7; 32])))
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

pub(crate) async fn run() {
    let server = Server::start().await;
    let policy = CachePolicy { l1_ttl: Duration::ZERO, l2_timeout: Duration::from_secs(5), ..CachePolicy::default() };
    let ours = cache(&server, policy).await;
    let (mut sets, mut gets, mut set_of, mut get_of) = (vec![], vec![], vec![], vec![]);
    for _ in 0..TURNS {
        let cache = ours.clone();
        sets.push(
            rate(move |key| {
                let cache = cache.clone();
                async move { cache.set(&key, ([key as u8; 32], [7; 32])).await.unwrap() }
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
        let (set, get) = tokio::task::block_in_place(|| server.benchmark());
        set_of.push(set);
        get_of.push(get);
    }
    let [sets, gets, set_of, get_of] = [sets, gets, set_of, get_of].map(median);
    println!("\nlevel 2: {TASKS} tasks, 64 B, one Redis on this machine; a second");
    println!("  get {gets:>9.0}, redis-benchmark -P 64 {get_of:>9.0}: x {:.2} (goal 0.8)", gets / get_of);
    println!("  set {sets:>9.0}, redis-benchmark -P 64 {set_of:>9.0}: x {:.2} (goal 0.8)", sets / set_of);
    println!("  the floor of 50 000 reads and 10 000 writes: x {:.1} and x {:.1}", gets / 5e4, sets / 1e4);
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
