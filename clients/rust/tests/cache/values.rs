//! Values kept in memory as they are, and entries in Redis that a secret seals.

use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::cache::{Cache, CachePolicy, Clock, Filled};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{Redis, eventually, policy};

/// Text that knows whether it was copied.
#[derive(Clone, Debug)]
struct Shared(Arc<str>);

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

type Source = Filled<String, Shared>;

fn shared(text: &str) -> Shared {
    Shared(text.into())
}

async fn memory(policy: CachePolicy, clock: Clock) -> Cache<Source> {
    let builder = Cache::builder("values", Source::default()).policy(policy).clock(clock);
    builder.values_in_memory(|value| value.0.len()).build().await.unwrap()
}

#[tokio::test]
async fn a_read_gives_what_was_put_and_not_a_copy() {
    let clock = Clock::moved();
    let cache = memory(CachePolicy { ttl_jitter: 0.0, ..policy() }, clock.clone()).await;
    let (key, value) = ("a".to_owned(), shared("1"));
    cache.set(&key, value.clone()).await.unwrap();
    assert!(Arc::ptr_eq(&cache.peek(&key).unwrap().0, &value.0));
    assert!(Arc::ptr_eq(&cache.get_or_load(&key).await.unwrap().unwrap().0, &value.0));
    cache.invalidate_prefix("b").await.unwrap();
    assert!(cache.peek(&key).is_some() && cache.peek(&key).is_some(), "of another prefix");
    cache.invalidate_prefix("a").await.unwrap();
    assert!(cache.get_or_load(&key).await.unwrap().is_none());
    cache.set(&key, value.clone()).await.unwrap();
    clock.advance(Duration::from_secs(61));
    assert!(cache.get_or_load(&key).await.unwrap().is_none());
    cache.set(&key, value).await.unwrap();
    cache.remove(&key).await.unwrap();
    assert!(cache.get_or_load(&key).await.unwrap().is_none());
    let stats = cache.stats();
    assert_eq!((stats.l1_hits, stats.misses_invalidated, stats.misses_expired, stats.entries), (4, 2, 1, 0));
}

#[tokio::test]
async fn it_holds_no_more_bytes_than_it_may_and_says_what_made_room() {
    let cache = memory(policy(), Clock::default()).await;
    let bytes = cache.policy().l1_max_bytes as u64;
    let text = "x".repeat(10_000);
    for n in 0..1_000 {
        cache.set(&format!("key {n}"), shared(&text)).await.unwrap();
    }
    let stats = cache.stats();
    assert!(stats.bytes <= bytes && stats.bytes > bytes / 2, "{} of {bytes}", stats.bytes);
    assert_eq!(stats.entries + stats.evicted, 1_000);
    for n in 0..1_000 {
        let _there_or_not = cache.get_or_load(&format!("key {n}")).await;
    }
    let stats = cache.stats();
    assert_eq!(stats.l1_hits, stats.entries);
    assert!(stats.misses_evicted > 0, "{stats:?}");
    cache.set(&"large".to_owned(), shared(&"x".repeat(3 << 20))).await.unwrap();
    assert_eq!((cache.stats().too_large, cache.peek(&"large".to_owned()).is_some()), (1, false));
    cache.set_policy(CachePolicy { l1_max_bytes: 1 << 20, ..policy() }).unwrap();
    assert!(cache.stats().bytes <= 1 << 20);
    cache.set_policy(CachePolicy { l1_ttl: Duration::ZERO, ..policy() }).unwrap();
    assert_eq!(cache.stats().entries, 0);
}

#[tokio::test]
async fn what_is_offered_is_in_memory_at_once_and_in_redis_if_that_answers() {
    let redis = Redis::start();
    let policy = CachePolicy { coherence_lease: Duration::ZERO, ..policy() };
    let build = async || {
        let builder = Cache::builder("values", Source::default()).policy(policy.clone()).redis(redis.client());
        builder.build().await.unwrap()
    };
    let (one, two, key) = (build().await, build().await, "a".to_owned());
    one.offer(&key, shared("1")).await.unwrap();
    assert!(one.get_or_load(&key).await.unwrap().is_some());
    assert_eq!(two.get_or_load(&key).await.unwrap().map(|v| v.0.to_string()).as_deref(), Some("1"));
    two.invalidate_keys(std::slice::from_ref(&key)).await.unwrap();
    eventually("heard", async || one.get_or_load(&key).await.unwrap().is_none()).await;
    redis.kill();
    eventually("without Redis it stays in memory", async || {
        one.offer(&key, shared("2")).await.unwrap();
        one.peek(&key).is_some()
    })
    .await;
    assert!(one.stats().l2_errors + one.stats().l2_skipped > 0);
}

#[tokio::test]
async fn with_a_secret_nobody_elses_entries_are_believed() {
    let redis = Redis::start();
    let build = async |secret: Option<[u8; 16]>| {
        let policy = CachePolicy { coherence_lease: Duration::ZERO, ..policy() };
        let builder = Cache::builder("values", Source::default()).policy(policy).redis(redis.client());
        let builder = builder.values_in_memory(|value| value.0.len());
        let builder = match secret {
            Some(secret) => builder.secret(secret),
            None => builder,
        };
        builder.build().await.unwrap()
    };
    let ours = build(Some([1; 16])).await;
    let (a, b) = ("a".to_owned(), "b".to_owned());
    ours.set(&a, shared("1")).await.unwrap();
    let read =
        async |cache: &Cache<Source>, key: &String| cache.get_or_load(key).await.unwrap().map(|v| v.0.to_string());
    let twin = build(Some([1; 16])).await;
    assert_eq!(read(&twin, &a).await.as_deref(), Some("1"));
    // Memory is dropped once, when the twin begins to hear of others.
    eventually("what Redis had is in memory", async || read(&twin, &a).await.is_some() && twin.peek(&a).is_some())
        .await;
    assert_eq!(read(&build(Some([2; 16])).await, &a).await, None);
    assert_eq!(read(&build(None).await, &a).await, None);
    // A true entry under another key is as good as a forged one.
    redis.command(&["COPY", "fb:{values}:k:a", "fb:{values}:k:b"]).await;
    assert_eq!(read(&twin, &b).await, None);
}
