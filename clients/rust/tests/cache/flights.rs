//! One load for many.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastbreak_client::cache::{Cache, CachePolicy, Clock};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Far, Redis, Texts, cache, eventually, policy, read};

async fn alone(far: &Arc<Far>, policy: CachePolicy) -> Cache<Texts> {
    Cache::builder("texts", Texts(Arc::clone(far))).policy(policy).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_who_miss_at_once_make_one_load() {
    let far = Arc::<Far>::default();
    far.put("a", "1");
    *far.takes.lock() = Duration::from_millis(300);
    let cache = alone(&far, policy()).await;
    let mut tasks = JoinSet::new();
    for _ in 0..10_000 {
        let cache = cache.clone();
        tasks.spawn(async move { read(&cache, "a").await });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Some("1")));
    assert_eq!(far.loads(), 1);
}

#[tokio::test]
async fn who_asked_first_may_leave() {
    let far = Arc::<Far>::default();
    far.put("a", "1");
    *far.takes.lock() = Duration::from_millis(100);
    let cache = alone(&far, policy()).await;
    let first = timeout(Duration::from_millis(10), read(&cache, "a"));
    let (first, second) = tokio::join!(first, read(&cache, "a"));
    assert!(first.is_err());
    assert_eq!((second.as_deref(), far.loads()), (Some("1"), 1));
}

#[tokio::test]
async fn a_loader_that_panics_or_hangs_is_an_error_for_all() {
    let far = Arc::<Far>::default();
    far.panics.store(true, Ordering::SeqCst);
    let cache = alone(&far, CachePolicy { load_timeout: Duration::from_millis(50), ..policy() }).await;
    let key = "a".to_owned();
    let (one, two) = tokio::join!(cache.get_or_load(&key), cache.get_or_load(&key));
    assert!(one.is_err() && two.is_err() && far.loads() == 1);
    far.panics.store(false, Ordering::SeqCst);
    *far.takes.lock() = Duration::from_secs(3600);
    let late = cache.get_or_load(&key).await.unwrap_err().to_string();
    assert!(late.contains("load_timeout"), "{late}");
    *far.takes.lock() = Duration::ZERO;
    assert_eq!(cache.get_or_load(&key).await, Ok(None));
}

#[tokio::test]
async fn what_fails_is_tried_again_within_a_budget() {
    let far = Arc::<Far>::default();
    far.fails.store(true, Ordering::SeqCst);
    let mut policy = policy();
    (policy.retry.attempts, policy.retry.budget_reserve, policy.retry.base) = (3, 4, Duration::from_millis(1));
    let cache = alone(&far, policy).await;
    for n in 0..5 {
        assert!(cache.get_or_load(&format!("{n}")).await.is_err());
    }
    assert_eq!((far.loads(), cache.stats().retries), (5 + 4, 4));
}

#[tokio::test]
async fn of_all_instances_one_loads() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    far.put("a", "1");
    *far.takes.lock() = Duration::from_millis(100);
    let leased = CachePolicy { lease: Duration::from_secs(5), ..policy() };
    let mut caches = Vec::new();
    for _ in 0..5 {
        caches.push(cache(redis.client(), &far, leased.clone()).await);
    }
    let mut tasks = JoinSet::new();
    for cache in caches.clone() {
        tasks.spawn(async move { read(&cache, "a").await });
    }
    assert!(tasks.join_all().await.iter().all(|answer| answer.as_deref() == Some("1")));
    assert_eq!(far.loads(), 1);
    assert_eq!(caches.iter().map(|cache| cache.stats().left_to_others).sum::<u64>(), 4);
    // Who has the lease and dies keeps the others waiting no longer than it lasts.
    redis.command(&["SET", "fb:{texts}:l:b", "dead", "PX", "300"]).await;
    far.put("b", "2");
    assert_eq!(read(&caches[0], "b").await.as_deref(), Some("2"));
    eventually("given back", async || {
        matches!(redis.command(&["EXISTS", "fb:{texts}:l:b"]).await, redis::Value::Int(0))
    })
    .await;
}

#[tokio::test]
async fn keys_worth_it_are_kept_warm() {
    let far = Arc::<Far>::default();
    far.put("a", "1");
    let warm = CachePolicy { warm_keys: 10, l1_ttl: Duration::from_millis(200), ..policy() };
    let cache = alone(&far, warm).await;
    read(&cache, "a").await;
    eventually("loaded again, unasked", async || far.loads() >= 3 && cache.stats().warmed >= 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_memory_cannot_keep_is_not_kept_warm() {
    let (far, clock) = (Arc::<Far>::default(), Clock::moved());
    far.put("a", "1");
    let warm = CachePolicy { warm_keys: 10, ..policy() };
    let builder = Cache::builder("texts", Texts(Arc::clone(&far))).policy(warm.clone()).clock(clock.clone());
    let cache = builder.build().await.unwrap();
    let hour = Duration::from_secs(3600);
    // Some looks later, by the paused clock.
    let loads = async || {
        let before = far.loads();
        sleep(Duration::from_secs(5)).await;
        far.loads() - before
    };
    read(&cache, "a").await;
    clock.advance(hour);
    cache.set_policy(CachePolicy { bypass: true, ..warm.clone() }).unwrap();
    assert_eq!(loads().await, 0, "memory is bypassed");
    cache.set_policy(CachePolicy { l1_ttl: Duration::ZERO, ..warm.clone() }).unwrap();
    assert_eq!(loads().await, 0, "memory holds nothing");
    cache.set_policy(warm).unwrap();
    cache.set_trusted_until(Instant::now());
    assert_eq!(loads().await, 0, "memory is not trusted");
    cache.set_trusted_until(Instant::now() + hour * 10);
    assert_eq!(loads().await, 1, "memory is read again");
    clock.advance(hour);
    far.fails.store(true, Ordering::SeqCst);
    assert_eq!(loads().await, 1, "it fails");
    far.fails.store(false, Ordering::SeqCst);
    read(&cache, "a").await;
    clock.advance(hour);
    far.values.lock().clear();
    assert_eq!(loads().await, 1, "there is none any more");
    far.put("a", &"long ".repeat(1 << 20));
    read(&cache, "a").await;
    assert_eq!((loads().await, cache.stats().too_large), (0, 1), "it is too large");
}
