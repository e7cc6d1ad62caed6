//! Coherence against a model: two instances, one Redis, any order of reads, writes, invalidations and faults.
//!
//! One of them keeps values in memory as bytes, the other as they are. Every value carries a number that grows with each write of its key. After each step the two instances are brought to know
//! of each other, or one of them to know that it is cut off; then no read may give an older number than the last write that
//! was completed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::cache::{Cache, CacheError, CachePolicy, Strategy as Way, Sync, Targets};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::{Far, Redis, Texts, Wire, eventually, policy, settled};

#[derive(Clone, Debug)]
enum Step {
    Read(usize, u8),
    Write(usize, u8),
    /// Both instances write a key at once.
    Race(u8),
    /// Somebody else changes the source and makes it known: by key, tag, prefix, all.
    Change(usize, u8, u8),
    Cut(bool),
    Kill,
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..2usize, 0..4u8).prop_map(|(who, key)| Step::Read(who, key)),
        6 => (0..2usize, 0..4u8).prop_map(|(who, key)| Step::Write(who, key)),
        2 => (0..4u8).prop_map(Step::Race),
        4 => (0..2usize, 0..4u8, 0..4u8).prop_map(|(who, key, how)| Step::Change(who, key, how)),
        1 => any::<bool>().prop_map(Step::Cut),
        1 => Just(Step::Kill),
        1 => Just(Step::Flush),
    ]
}

struct World {
    redis: Redis,
    wire: Wire,
    far: Arc<Far>,
    caches: [Cache<Texts>; 2],
    strategy: Way,
    /// The last number given to a key, and the least that may be read.
    given: HashMap<u8, u64>,
    least: HashMap<u8, u64>,
    _journals: TempDir,
}

fn key(n: u8) -> String {
    format!("p{}:{n}", n % 2)
}

fn number(value: Option<&str>) -> u64 {
    value.and_then(|value| value.split(' ').next()?.parse().ok()).unwrap_or(0)
}

impl World {
    async fn new(strategy: Way) -> Self {
        let (redis, far, journals) = (Redis::start(), Arc::<Far>::default(), tempfile::tempdir().unwrap());
        let wire = Wire::to(&redis, "wire");
        let mut policy = CachePolicy {
            strategy,
            coherence_lease: Duration::from_millis(200),
            l2_timeout: Duration::from_millis(500),
            write_wait: Duration::from_millis(3),
            ..policy()
        };
        policy.retry.base = Duration::from_millis(1);
        let builder = |client: redis::Client, name: &'static str| {
            let builder = Cache::builder("texts", Texts(Arc::clone(&far))).policy(policy.clone()).redis(client);
            builder.secret([7; 16]).journal(journals.path().join(name), Sync::Always)
        };
        let direct = builder(redis.client(), "0").build().await.unwrap();
        let wired = builder(wire.client(), "1").values_in_memory(String::len).build().await.unwrap();
        let caches = [direct, wired];
        let (given, least) = (HashMap::new(), HashMap::new());
        let world = Self { redis, wire, far: Arc::clone(&far), caches, strategy, given, least, _journals: journals };
        world.settle().await;
        world
    }

    /// Until each instance has heard all, or reads no memory.
    async fn settle(&self) {
        settled(&self.redis, &[&self.caches[0], &self.caches[1]]).await;
    }

    fn value(&mut self, key: u8) -> (u64, String) {
        let n = self.given.entry(key).or_default();
        *n += 1;
        (*n, format!("{n} #t{}", key % 2))
    }

    fn completed(&mut self, key: u8, n: u64, done: &Result<(), CacheError>) {
        if done.is_ok() {
            let least = self.least.entry(key).or_default();
            *least = n.max(*least);
        }
    }

    async fn write(&mut self, who: usize, n: u8) {
        let (number, value) = self.value(n);
        let done = self.caches[who].set(&key(n), value).await;
        self.completed(n, number, &done);
        if self.strategy == Way::Behind {
            // Two instances may write a key one after the other, as the docs say.
            eventually("written", async || self.caches[who].stats().writes_waiting == 0).await;
        }
    }

    async fn race(&mut self, n: u8) {
        if self.strategy == Way::Behind {
            return;
        }
        let ((_, a), (_, b)) = (self.value(n), self.value(n));
        let text = key(n);
        let (a, b) = tokio::join!(self.caches[0].set(&text, a), self.caches[1].set(&text, b));
        if a.is_ok() && b.is_ok() {
            // Whichever came last: it is what the source has.
            let held = number(self.far.value(&key(n)).as_deref());
            self.least.insert(n, held);
            let (again, value) = self.value(n);
            let done = self.caches[0].set(&key(n), value).await;
            self.completed(n, again, &done);
        }
    }

    async fn change(&mut self, who: usize, n: u8, how: u8) {
        let (number, value) = self.value(n);
        self.far.put(&key(n), &value);
        let targets = match how {
            0 => Targets { keys: vec![key(n)], ..Targets::default() },
            1 => Targets { tags: vec![format!("t{}", n % 2)], ..Targets::default() },
            2 => Targets { prefixes: vec![format!("p{}:", n % 2)], ..Targets::default() },
            _ => Targets { all: true, ..Targets::default() },
        };
        let done = self.caches[who].apply_invalidation(1, &targets).await;
        self.completed(n, number, &done);
    }

    async fn run(&mut self, step: &Step) {
        match step {
            Step::Read(..) => {}
            Step::Write(who, key) => self.write(*who, *key).await,
            Step::Race(key) => self.race(*key).await,
            Step::Change(who, key, how) => self.change(*who, *key, *how).await,
            Step::Cut(cut) => self.wire.cut(*cut),
            Step::Kill => {
                self.redis.kill();
                self.redis.restart();
            }
            Step::Flush => drop(self.redis.command(&["FLUSHALL"]).await),
        }
        self.settle().await;
        let (who, n) = match step {
            Step::Read(who, n) => (*who, *n),
            _ => return,
        };
        let read = self.caches[who].get_or_load(&key(n)).await.unwrap();
        let (read, least) = (number(read.as_deref()), self.least.get(&n).copied().unwrap_or_default());
        assert!(read >= least, "{who} read {read} of {}, and {least} was completed", key(n));
    }
}

fn check(strategy: Way, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(strategy).await;
        for step in steps {
            world.run(step).await;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn aside_no_read_is_older_than_what_was_completed(steps in prop::collection::vec(step(), 20..80)) {
        check(Way::Aside, &steps);
    }

    #[test]
    fn through_no_read_is_older_than_what_was_completed(steps in prop::collection::vec(step(), 20..80)) {
        check(Way::Through, &steps);
    }

    #[test]
    fn behind_no_read_is_older_than_what_was_completed(steps in prop::collection::vec(step(), 20..80)) {
        check(Way::Behind, &steps);
    }
}
