//! The watcher against a scripted server, which is the outside world and fails as told. The clock is the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process};
use fastbreak_client::cache;
use fastbreak_client::policy::{Assigned, Kind, Pending, Policies, Target, Warmed};
use fastbreak_client::proto;
use fastbreak_client::proto::assigned_policy::Kind as Wire;
use fastbreak_client::proto::watch_request::Message as Said;
use fastbreak_client::proto::watch_response::Message as Say;
use fastbreak_client::proto::{AssignedPolicy, Invalidation, PolicyDelta, PolicySnapshot, Pong, WarmOrder};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Link, Mock};

struct Echo;

impl Process for Echo {
    type Item = u32;
    type Output = u32;

    async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<u32>>, Failure> {
        Ok(items.into_iter().map(Outcome::Done).collect())
    }
}

/// Notes what is asked of it.
#[derive(Default)]
struct Cache {
    seen: Mutex<Vec<String>>,
    trusted: Mutex<Option<Instant>>,
    breaks: bool,
}

impl Target for Cache {
    fn kind(&self) -> Kind {
        Kind::Cache
    }

    fn name(&self) -> &str {
        "users"
    }

    fn apply(&self, assigned: Option<&Assigned>) -> Result<(), String> {
        self.seen.lock().push(assigned.map_or("code".to_owned(), |assigned| format!("revision {}", assigned.revision)));
        Ok(())
    }

    fn coherence_lease(&self) -> Option<Duration> {
        Some(Duration::from_secs(9))
    }

    fn trusted_until(&self, until: Instant) {
        *self.trusted.lock() = Some(until);
    }

    fn forget(&self) {
        self.seen.lock().push("forget".to_owned());
    }

    fn invalidate<'a>(&'a self, invalidation: &'a Invalidation) -> Pending<'a, Result<(), String>> {
        self.seen.lock().push(format!("invalidate {}", invalidation.sequence));
        let done = if self.breaks { Err("Redis is away".to_owned()) } else { Ok(()) };
        Box::pin(std::future::ready(done))
    }

    fn warm(&self, keys: Vec<String>) -> Pending<'_, Warmed> {
        Box::pin(async move { Warmed { loaded: keys.len() as u64 - 1, failed: 1 } })
    }
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

fn batch(items: u32) -> proto::BatchPolicy {
    proto::BatchPolicy { max_items: Some(items), ..Default::default() }
}

pub(crate) fn policy(revision: i64, items: u32) -> AssignedPolicy {
    AssignedPolicy {
        policy_id: "p".to_owned(),
        revision,
        target: "price*".to_owned(),
        kind: Some(Wire::Batch(batch(items))),
        ..Default::default()
    }
}

pub(crate) fn snapshot(policies: Vec<AssignedPolicy>) -> Say {
    Say::Snapshot(PolicySnapshot { policies, ..Default::default() })
}

fn change(policy: AssignedPolicy) -> Say {
    Say::Delta(PolicyDelta { changed: vec![policy], removed: Vec::new() })
}

fn batcher(policies: &Policies) -> Batcher<Echo> {
    let batcher = Batcher::new(BatchPolicy { max_items: 7, ..BatchPolicy::default() }, Echo).unwrap();
    policies.batcher("prices", &batcher);
    batcher
}

pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(60), reached).await.unwrap_or_else(|_| panic!("not reached: {what}"));
}

pub(crate) async fn accepted(link: &mut Link, nonce: &str, message: Say) {
    link.say(nonce, message).await;
    let ack = link.ack().await;
    assert_eq!((ack.nonce.as_str(), ack.error.as_str()), (nonce, ""));
}

#[test]
fn a_policy_reaches_the_batcher_and_one_that_is_wrong_changes_nothing() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let batcher = batcher(&policies);
        let mut link = mock.link().await;
        assert_eq!((link.hello.service.as_str(), link.hello.instance.as_str()), ("checkout", "i-1"));
        assert!(link.hello.sdk.starts_with("rust/"));
        accepted(&mut link, "1", snapshot(vec![policy(1, 20)])).await;
        assert_eq!(batcher.policy().max_items, 20);
        link.say("2", change(policy(2, 0))).await;
        let nack = link.ack().await;
        assert_eq!((nack.nonce.as_str(), nack.policy_id.as_str()), ("2", "p"));
        assert_eq!(nack.error, "max_items must be from 1 to 100000");
        assert_eq!(batcher.policy().max_items, 20, "what ran before goes on");
        let removed = PolicyDelta { changed: Vec::new(), removed: vec!["p".to_owned()] };
        accepted(&mut link, "3", Say::Delta(removed)).await;
        assert_eq!(batcher.policy().max_items, 7, "as in the code");
        assert!(policies.status().connected && policies.stop(Duration::from_secs(5)).await);
    });
}

#[test]
fn after_a_break_it_says_what_runs() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let batcher = batcher(&policies);
        let mut link = mock.link().await;
        assert!(link.hello.running.is_empty());
        accepted(&mut link, "1", snapshot(vec![policy(4, 20)])).await;
        mock.is_away(true);
        drop(link);
        until("it is heard no more", || policies.status().error.is_some()).await;
        sleep(Duration::from_secs(100)).await;
        assert_eq!(batcher.policy().max_items, 20, "the last one goes on");
        let tried = policies.stats().connections.get();
        assert!((7..=60).contains(&tried), "with growing waits, not {tried} times");
        mock.is_away(false);
        let mut link = mock.link().await;
        assert_eq!(link.hello.running.get("p"), Some(&4));
        let same = PolicySnapshot { unchanged: vec!["p".to_owned()], ..Default::default() };
        accepted(&mut link, "1", Say::Snapshot(same)).await;
        assert_eq!(batcher.policy().max_items, 20);
        assert!(policies.status().connected);
    });
}

#[test]
fn an_override_ends_by_itself_with_the_server_dead() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let batcher = batcher(&policies);
        let mut link = mock.link().await;
        let over = |seconds| proto::AssignedOverride {
            id: "o".to_owned(),
            kind: Some(proto::assigned_override::Kind::Batch(batch(3))),
            lease: Some(prost_types::Duration { seconds, nanos: 0 }),
            reason: "slow Postgres".to_owned(),
        };
        let with = |seconds| AssignedPolicy { r#override: Some(over(seconds)), ..policy(1, 20) };
        accepted(&mut link, "1", snapshot(vec![with(30)])).await;
        assert_eq!(batcher.policy().max_items, 3);
        sleep(Duration::from_secs(20)).await;
        let renewed = Instant::now();
        accepted(&mut link, "2", change(with(30))).await;
        mock.is_away(true);
        drop(link);
        sleep(Duration::from_secs(29)).await;
        assert_eq!(batcher.policy().max_items, 3, "its lease was renewed");
        until("the lease is over", || batcher.policy().max_items == 20).await;
        let lasted = renewed.elapsed().as_millis();
        assert!((30_000..30_100).contains(&lasted), "{lasted} ms");
        assert_eq!(policies.stats().leases_ended.get(), 1);
    });
}

pub(crate) fn invalidation(previous: i64, sequence: i64) -> Say {
    Say::Invalidation(Invalidation {
        sequence,
        previous,
        key_space: "users".to_owned(),
        keys: vec!["7".to_owned()],
        ..Default::default()
    })
}

#[test]
fn an_invalidation_that_is_missed_costs_the_memory_and_nothing_else() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let cache = Arc::new(Cache::default());
        policies.add(Arc::clone(&cache) as Arc<dyn Target>);
        let mut link = mock.link().await;
        let from = |invalidation| Say::Snapshot(PolicySnapshot { invalidation, ..Default::default() });
        accepted(&mut link, "1", from(10)).await;
        accepted(&mut link, "2", invalidation(10, 11)).await;
        accepted(&mut link, "3", invalidation(11, 14)).await;
        accepted(&mut link, "4", invalidation(11, 14)).await;
        assert_eq!(*cache.seen.lock(), ["forget", "forget", "invalidate 11", "invalidate 14"], "each once");
        link.say("5", invalidation(15, 16)).await;
        let mut link = mock.link().await;
        assert_eq!(link.hello.invalidation, 0, "it has nothing in memory");
        assert_eq!(cache.seen.lock().last().unwrap(), "forget");
        accepted(&mut link, "1", from(16)).await;
        accepted(&mut link, "2", invalidation(16, 17)).await;
        drop(link);
        let link = mock.link().await;
        assert_eq!((link.hello.invalidation, policies.stats().gaps.get()), (17, 1));
        let dropped = PolicySnapshot { invalidation: 20, drop_memory: true, ..Default::default() };
        link.say("1", Say::Snapshot(dropped)).await;
        until("it was told to forget", || cache.seen.lock().last().unwrap() == "forget").await;
    });
}

#[test]
fn what_cannot_be_made_invalid_is_said_and_memory_is_dropped() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let cache = Arc::new(Cache { breaks: true, ..Cache::default() });
        policies.add(Arc::clone(&cache) as Arc<dyn Target>);
        let mut link = mock.link().await;
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        link.say("2", invalidation(0, 1)).await;
        assert_eq!(link.ack().await.error, "users: Redis is away");
        assert_eq!(mock.link().await.hello.invalidation, 0);
        assert_eq!(*cache.seen.lock(), ["forget", "forget", "invalidate 1", "forget"]);
    });
}

/// Has one number for all.
struct Users(Arc<AtomicU32>);

impl cache::Source for Users {
    type Key = u32;
    type Value = u32;

    async fn load(&self, _: &u32) -> Result<Option<u32>, Failure> {
        Ok(Some(self.0.load(Ordering::Relaxed)))
    }
}

/// Answers pings until the cache reads its memory.
async fn trusted(link: &mut Link, users: &cache::Cache<Users>, invalidation: i64) {
    while !users.is_in_touch() {
        let number = link.ping().await;
        link.say("", Say::Pong(Pong { number, invalidation })).await;
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_cache_that_is_handed_over_late_keeps_nothing_from_before() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let source = Arc::new(AtomicU32::new(1));
        let users = cache::Cache::builder("users", Users(Arc::clone(&source))).build().await.unwrap();
        let mut link = mock.link().await;
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        assert_eq!(users.get_or_load(&7).await, Ok(Some(1)));
        source.store(2, Ordering::Relaxed);
        accepted(&mut link, "2", invalidation(0, 1)).await;
        policies.cache("users", &users);
        trusted(&mut link, &users, 1).await;
        assert_eq!(users.get_or_load(&7).await, Ok(Some(2)));
    });
}

#[test]
fn what_memory_has_from_before_the_first_invalidation_is_not_read_after_it() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let source = Arc::new(AtomicU32::new(1));
        let users = cache::Cache::builder("users", Users(Arc::clone(&source))).build().await.unwrap();
        policies.cache("users", &users);
        let mut link = mock.link().await;
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        trusted(&mut link, &users, 0).await;
        assert_eq!(users.get_or_load(&7).await, Ok(Some(1)));
        drop(link);
        source.store(2, Ordering::Relaxed);
        let mut link = mock.link().await;
        assert_eq!(link.hello.invalidation, 0);
        let first = PolicySnapshot { invalidation: 1, ..Default::default() };
        accepted(&mut link, "1", Say::Snapshot(first)).await;
        trusted(&mut link, &users, 1).await;
        assert_eq!(users.get_or_load(&7).await, Ok(Some(2)));
    });
}

#[test]
fn memory_is_trusted_from_when_the_ping_was_sent() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let cache = Arc::new(Cache::default());
        policies.add(Arc::clone(&cache) as Arc<dyn Target>);
        let mut link = mock.link().await;
        let asked = Instant::now();
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        let number = link.ping().await;
        assert_eq!(*cache.trusted.lock(), None);
        sleep(Duration::from_secs(2)).await;
        link.say("", Say::Pong(Pong { number, invalidation: 0 })).await;
        until("it is trusted", || cache.trusted.lock().is_some()).await;
        let sent = cache.trusted.lock().unwrap() - Duration::from_secs(9);
        assert!(sent >= asked && sent - asked < Duration::from_millis(100), "a slow answer does not prolong it");
        let next = link.ping().await;
        assert!(asked.elapsed() < Duration::from_millis(3_100), "a third of the lease");
        // The server has sent one that did not come.
        link.say("", Say::Pong(Pong { number: next, invalidation: 5 })).await;
        assert_eq!(mock.link().await.hello.invalidation, 0);
        assert_eq!(cache.seen.lock().last().unwrap(), "forget");
        assert_eq!(policies.stats().gaps.get(), 1);
    });
}

#[test]
fn a_server_that_answers_no_ping_is_left() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let mut link = mock.link().await;
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        let began = Instant::now();
        let _again = mock.link().await;
        assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
        assert_eq!(policies.status().error.as_deref(), Some("the server does not answer"));
    });
}

#[test]
fn keys_are_warmed_and_told() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        policies.add(Arc::new(Cache::default()));
        let mut link = mock.link().await;
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        for (key_space, loaded, failed) in [("users", 2, 1), ("others", 0, 3)] {
            let keys = ["1", "2", "3"].map(str::to_owned).to_vec();
            link.say("", Say::Warm(WarmOrder { id: "w".to_owned(), key_space: key_space.to_owned(), keys })).await;
            let Said::Warmed(report) = link.hear().await else { panic!("no report") };
            assert_eq!((report.loaded, report.failed), (loaded, failed));
        }
    });
}

#[test]
fn policies_on_disk_run_without_a_server_and_a_damaged_file_is_none() {
    // Files are the world's: their time is not the test's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("checkout.policies");
        let mut mock = Mock::start();
        let policies = mock.watch_with(Some(file.clone()));
        let mut link = mock.link().await;
        let over = proto::AssignedOverride {
            id: "o".to_owned(),
            kind: Some(proto::assigned_override::Kind::Batch(batch(3))),
            lease: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
            reason: String::new(),
        };
        let with = AssignedPolicy { r#override: Some(over), ..policy(9, 20) };
        accepted(&mut link, "1", snapshot(vec![with])).await;
        assert!(policies.stop(Duration::from_secs(10)).await);
        mock.is_away(true);
        drop(link);

        let policies = mock.watch_with(Some(file.clone()));
        let batcher = batcher(&policies);
        until("it runs what was kept, without the override", || batcher.policy().max_items == 20).await;
        assert!(!policies.status().connected);
        mock.is_away(false);
        let link = mock.link().await;
        assert_eq!(link.hello.running.get("p"), Some(&9));
        drop((link, policies));

        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let _policies = mock.watch_with(Some(file));
        assert!(mock.link().await.hello.running.is_empty());
    });
}

#[test]
fn ten_thousand_changes_leave_memory_flat() {
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let batcher = batcher(&policies);
        let mut link = mock.link().await;
        accepted(&mut link, "0", snapshot(Vec::new())).await;
        let mut before = 0;
        for n in 1..=12_000u32 {
            let mut changed = policy(i64::from(n), n);
            changed.policy_id = format!("p{}", n % 50);
            changed.target = "prices".to_owned();
            let removed = vec![format!("p{}", (n + 25) % 50)];
            accepted(&mut link, "n", Say::Delta(PolicyDelta { changed: vec![changed], removed })).await;
            if n == 2_000 {
                before = resident();
            }
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes more after 10 000 changes");
        assert_eq!(policies.status().targets.len(), 1);
        assert_ne!(batcher.policy().max_items, 7);
    });
}
