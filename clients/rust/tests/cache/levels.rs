//! Where entries are found, how long they live, and what makes them invalid.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastbreak_client::cache::{Cache, CachePolicy, Caches, Clock, Codec, Compression, Entry, Targets};
use tokio::time::Instant;

use crate::support::{Far, Redis, Texts, Wire, cache, eventually, policy, read, settled};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn a_value_is_loaded_once_and_found_in_memory_and_then_in_redis() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    far.put("a", "1");
    let one = cache(redis.client(), &far, policy()).await;
    let two = cache(redis.client(), &far, policy()).await;
    assert_eq!(read(&one, "a").await.as_deref(), Some("1"));
    assert_eq!(read(&one, "a").await.as_deref(), Some("1"));
    eventually("in Redis", async || two.get(&"a".to_owned()).await.is_some()).await;
    assert_eq!(read(&two, "a").await.as_deref(), Some("1"));
    assert_eq!(far.loads(), 1);
    let (one, two) = (one.stats(), two.stats());
    assert_eq!((one.l1_hits, one.misses_never_seen, one.loads, one.entries), (1, 1, 1, 1));
    assert!(two.l2_hits >= 2 && two.loads == 0 && one.bytes > 0 && two.hit_ratio() > 0.5);
}

#[tokio::test]
async fn lives_end_by_the_clock_and_a_new_policy_counts_at_once() {
    let (far, clock) = (Arc::<Far>::default(), Clock::moved());
    far.put("a", "1");
    let policy = CachePolicy { ttl_jitter: 0.0, negative_ttl: secs(5), ..policy() };
    let cache = Cache::builder("texts", Texts(Arc::clone(&far))).policy(policy.clone()).clock(clock.clone());
    let cache = cache.build().await.unwrap();
    for (after, loads) in [(0, 1), (59, 1), (2, 2)] {
        clock.advance(secs(after));
        assert_eq!((read(&cache, "a").await.as_deref(), far.loads()), (Some("1"), loads), "after {after} s");
    }
    clock.advance(secs(50));
    cache.set_policy(CachePolicy { l1_ttl: secs(40), ..policy.clone() }).unwrap();
    assert_eq!((read(&cache, "a").await.as_deref(), far.loads()), (Some("1"), 3));
    clock.advance(secs(50));
    cache.set_policy(CachePolicy { l1_ttl: secs(400), ..policy.clone() }).unwrap();
    assert_eq!((read(&cache, "a").await.as_deref(), far.loads()), (Some("1"), 3), "widened: it lives again");
    assert_eq!((read(&cache, "none").await, read(&cache, "none").await, far.loads()), (None, None, 4));
    clock.advance(secs(6));
    assert_eq!((read(&cache, "none").await, far.loads()), (None, 5));
    let stats = cache.stats();
    assert_eq!((stats.misses_expired, stats.negative_hits, stats.loads_empty), (3, 1, 2));
    cache.set_policy(CachePolicy { bypass: true, ..policy }).unwrap();
    assert_eq!((read(&cache, "a").await.as_deref(), far.loads()), (Some("1"), 6));
    assert!(cache.set_policy(CachePolicy { l1_max_bytes: 1, ..CachePolicy::default() }).is_err());
}

#[tokio::test]
async fn past_its_life_an_entry_is_served_while_it_is_loaded_anew_or_cannot_be() {
    let (far, clock) = (Arc::<Far>::default(), Clock::moved());
    far.put("a", "old");
    let policy = CachePolicy { ttl_jitter: 0.0, stale_while_revalidate: secs(30), grace: secs(300), ..policy() };
    let cache = Cache::builder("texts", Texts(Arc::clone(&far))).policy(policy).clock(clock.clone());
    let cache = cache.build().await.unwrap();
    read(&cache, "a").await;
    far.put("a", "new");
    clock.advance(secs(70));
    assert_eq!(read(&cache, "a").await.as_deref(), Some("old"), "stale, and loading");
    eventually("loaded anew", async || read(&cache, "a").await.as_deref() == Some("new")).await;
    far.fails.store(true, Ordering::SeqCst);
    clock.advance(secs(200));
    assert_eq!(read(&cache, "a").await.as_deref(), Some("new"), "within grace");
    clock.advance(secs(200));
    assert!(cache.get_or_load(&"a".to_owned()).await.is_err(), "past it");
    let stats = cache.stats();
    assert!(stats.stale_served >= 1 && stats.grace_served == 1 && stats.refreshed >= 1 && stats.load_errors == 2);
}

#[tokio::test]
async fn what_the_source_has_no_more_is_not_served_once_that_is_known() {
    let (redis, far, clock) = (Redis::start(), Arc::<Far>::default(), Clock::moved());
    let policy = CachePolicy { ttl_jitter: 0.0, l2_ttl: secs(60), stale_while_revalidate: secs(30), ..policy() };
    let policy = CachePolicy { coherence_lease: Duration::ZERO, ..policy };
    let builder = || Cache::builder("texts", Texts(Arc::clone(&far))).clock(clock.clone()).policy(policy.clone());
    let alone = builder().build().await.unwrap();
    let one = builder().redis(redis.client()).build().await.unwrap();
    let two = builder().redis(redis.client()).build().await.unwrap();
    far.put("a", "old");
    read(&alone, "a").await;
    read(&one, "a").await;
    let key = ["EXISTS", "fb:{texts}:k:a"];
    eventually("in Redis", async || matches!(redis.command(&key).await, redis::Value::Int(1))).await;
    far.values.lock().clear();
    clock.advance(secs(70));
    for cache in [&alone, &one] {
        assert_eq!(read(cache, "a").await.as_deref(), Some("old"), "stale, and loading");
    }
    for cache in [&alone, &one, &two] {
        eventually("known to be gone", async || read(cache, "a").await.is_none()).await;
    }
}

#[tokio::test]
async fn every_read_is_counted_once_and_every_miss_has_a_cause() {
    let (redis, far, clock) = (Redis::start(), Arc::<Far>::default(), Clock::moved());
    let policy = CachePolicy { ttl_jitter: 0.0, l2_ttl: secs(100), grace: secs(300), ..policy() };
    let policy = CachePolicy { coherence_lease: Duration::ZERO, ..policy };
    let build = async || {
        let builder = Cache::builder("texts", Texts(Arc::clone(&far))).redis(redis.client()).clock(clock.clone());
        builder.policy(policy.clone()).build().await.unwrap()
    };
    let (one, two) = (build().await, build().await);
    far.put("a", "1");
    far.put("b", "1");
    read(&one, "a").await;
    read(&one, "b").await;
    let keys = ["EXISTS", "fb:{texts}:k:a", "fb:{texts}:k:b"];
    eventually("in Redis", async || matches!(redis.command(&keys).await, redis::Value::Int(2))).await;
    // From Redis, from memory, and not there at all.
    for key in ["a", "a", "c"] {
        read(&two, key).await;
    }
    clock.advance(secs(61));
    // Over in memory, not in Redis; then over in both, and served for want of anything else.
    read(&two, "a").await;
    clock.advance(secs(61));
    far.fails.store(true, Ordering::SeqCst);
    read(&two, "a").await;
    far.fails.store(false, Ordering::SeqCst);
    two.invalidate_keys(&["b".to_owned()]).await.unwrap();
    read(&two, "b").await;
    two.set_policy(CachePolicy { bypass: true, ..policy.clone() }).unwrap();
    read(&two, "a").await;
    let stats = two.stats();
    assert_eq!((stats.l1_hits, stats.l2_hits, stats.grace_served, stats.misses), (1, 2, 1, 3), "{stats:?}");
    assert_eq!((stats.misses_never_seen, stats.misses_expired, stats.bypassed), (3, 2, 1), "{stats:?}");
    assert_eq!((stats.l2_misses_absent, stats.l2_misses_expired, stats.l2_misses_invalidated), (1, 1, 1), "{stats:?}");
    assert_eq!((stats.reads(), stats.l1_hits + stats.l1_misses()), (7, 7), "{stats:?}");
}

#[tokio::test]
async fn near_its_end_a_dear_entry_is_loaded_early() {
    let (far, clock) = (Arc::<Far>::default(), Clock::moved());
    far.put("a", "1");
    *far.takes.lock() = Duration::from_millis(50);
    let policy = CachePolicy { ttl_jitter: 0.0, early_refresh: secs(2), ..policy() };
    let cache = Cache::builder("texts", Texts(Arc::clone(&far))).policy(policy).clock(clock.clone());
    let cache = cache.build().await.unwrap();
    read(&cache, "a").await;
    clock.advance(Duration::from_millis(59_950));
    eventually("loaded early", async || {
        assert!(read(&cache, "a").await.is_some());
        far.loads() == 2
    })
    .await;
    assert_eq!(cache.stats().misses, 1);
}

#[tokio::test]
async fn tags_prefixes_and_all_make_invalid_here_and_elsewhere() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    for (key, value) in [("user:1", "x #red"), ("user:2", "y #blue #red"), ("item:1", "z #blue"), ("item:2", "w")] {
        far.put(key, value);
    }
    let one = cache(redis.client(), &far, policy()).await;
    let two = cache(redis.client(), &far, policy()).await;
    let keys = ["user:1", "user:2", "item:1", "item:2"];
    // Which of the keys two loads anew.
    let fresh = async || {
        let mut anew = Vec::new();
        for key in keys {
            let before = far.loads();
            read(&two, key).await;
            anew.extend((far.loads() > before).then_some(key));
        }
        anew
    };
    for key in keys {
        read(&one, key).await;
        eventually("in Redis", async || two.get(&key.to_owned()).await.is_some()).await;
    }
    assert!(fresh().await.is_empty());
    let settle = async || {
        for key in keys {
            read(&one, key).await;
        }
        eventually("in Redis", async || {
            let mut there = 0;
            for key in keys {
                there += usize::from(one.peek(&key.to_owned()).is_some());
                there += usize::from(two.get(&key.to_owned()).await.is_some());
            }
            there == 8
        })
        .await;
    };
    for (what, gone) in [
        (Targets { tags: vec!["red".to_owned()], ..Targets::default() }, vec!["user:1", "user:2"]),
        (Targets { prefixes: vec!["item:".to_owned()], ..Targets::default() }, vec!["item:1", "item:2"]),
        (Targets { keys: vec!["user:2".to_owned()], ..Targets::default() }, vec!["user:2"]),
        (Targets { all: true, ..Targets::default() }, keys.to_vec()),
    ] {
        one.apply_invalidation(7, &what).await.unwrap();
        for key in &gone {
            assert!(one.peek(&(*key).to_owned()).is_none(), "{key} after {what:?}");
        }
        eventually("two has heard", async || gone.iter().all(|key| two.peek(&(*key).to_owned()).is_none())).await;
        assert_eq!(fresh().await, gone, "{what:?}");
        settle().await;
    }
    settled(&redis, &[&one, &two]).await;
    // One that knows nothing yet asks before it believes what is in Redis.
    one.invalidate_tags(&["blue"]).await.unwrap();
    let three = cache(redis.client(), &far, policy()).await;
    let before = far.loads();
    read(&three, "item:1").await;
    read(&three, "user:1").await;
    assert_eq!(far.loads(), before + 1);
    assert_eq!(one.applied_sequence(), 7);
}

#[tokio::test]
async fn a_load_that_an_invalidation_overtakes_is_not_kept() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, policy()).await;
    let two = cache(redis.client(), &far, policy()).await;
    for (name, tagged) in [("key", false), ("tag", true)] {
        far.put("a", "old #t");
        *far.takes.lock() = Duration::from_millis(200);
        let before = far.loads();
        let slow = tokio::spawn({
            let one = one.clone();
            async move { read(&one, "a").await }
        });
        eventually("loading", async || far.loads() > before).await;
        far.put("a", "new #t");
        *far.takes.lock() = Duration::ZERO;
        if tagged {
            two.invalidate_tags(&["t"]).await.unwrap();
        } else {
            two.invalidate_keys(&["a".to_owned()]).await.unwrap();
        }
        settled(&redis, &[&one, &two]).await;
        assert_eq!(read(&one, "a").await.as_deref(), Some("new #t"), "by {name}: not of the load under way");
        assert_eq!(slow.await.unwrap().as_deref(), Some("old #t"));
        for cache in [&one, &two] {
            assert_eq!(read(cache, "a").await.as_deref(), Some("new #t"), "by {name}");
        }
        one.invalidate_all().await.unwrap();
        settled(&redis, &[&one, &two]).await;
    }
}

#[tokio::test]
async fn whoever_is_cut_off_reads_no_memory_once_the_lease_is_over() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let wire = Wire::to(&redis, "wire");
    far.put("a", "old");
    let policy = CachePolicy { coherence_lease: Duration::from_millis(400), ..policy() };
    let one = cache(redis.client(), &far, policy.clone()).await;
    let two = cache(wire.client(), &far, policy).await;
    read(&two, "a").await;
    wire.cut(true);
    far.put("a", "new");
    one.invalidate_keys(&["a".to_owned()]).await.unwrap();
    eventually("the lease is over", async || !two.is_in_touch()).await;
    assert_eq!(read(&two, "a").await.as_deref(), Some("new"));
    assert!(two.peek(&"a".to_owned()).is_none());
    wire.cut(false);
    crate::support::in_touch(&two).await;
    eventually("memory again", async || {
        assert_eq!(read(&two, "a").await.as_deref(), Some("new"));
        two.peek(&"a".to_owned()).is_some()
    })
    .await;
    two.set_trusted_until(Instant::now());
    assert!(two.peek(&"a".to_owned()).is_none(), "a control plane's lease counts likewise");
    two.set_trusted_until(Instant::now() + Duration::from_secs(60));
    assert!(two.peek(&"a".to_owned()).is_some());
}

#[tokio::test]
async fn without_redis_it_goes_on_and_leaves_it_alone() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    far.put("a", "1");
    let policy = CachePolicy { coherence_lease: Duration::ZERO, ..policy() };
    let cache = cache(redis.client(), &far, policy).await;
    redis.kill();
    for n in 0..50 {
        assert_eq!(read(&cache, &format!("none {n}")).await, None);
    }
    let stats = cache.stats();
    assert!(stats.l2_errors >= 5 && stats.l2_skipped > 0, "{stats:?}");
    redis.restart();
    eventually("Redis is used again", async || {
        cache.set(&"b".to_owned(), "2".to_owned()).await.is_ok()
            && !matches!(redis.command(&["EXISTS", "fb:{texts}:k:b"]).await, redis::Value::Int(0))
    })
    .await;
}

#[tokio::test]
async fn while_redis_hangs_every_call_is_answered_in_its_time() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let keys: Vec<String> = (0..2_000).map(|n| format!("key {n}")).collect();
    keys.iter().for_each(|key| far.put(key, key));
    let hasty = CachePolicy { l2_timeout: Duration::from_millis(200), ..policy() };
    let cache = cache(redis.client(), &far, hasty).await;
    redis.signal("STOP");
    // More than one pipeline: most wait until their time is over, and none for those before them.
    let began = Instant::now();
    let values = cache.get_many(&keys).await;
    assert!(values.iter().zip(&keys).all(|(value, key)| value.as_ref().unwrap().as_ref() == Some(key)));
    assert!(began.elapsed() < secs(10), "{:?}", began.elapsed());
    let stats = cache.stats();
    assert_eq!((stats.l2_hits, far.loads()), (0, 2_000));
    assert!(stats.l2_errors > 0);
    redis.signal("CONT");
    eventually("Redis is asked again", async || {
        let _there_or_not = read(&cache, "another").await;
        let stats = cache.stats();
        stats.l2_misses_absent > 0 && !stats.l2_is_left_alone
    })
    .await;
}

#[tokio::test]
async fn one_call_after_another_is_answered_in_its_time_too() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let wire = Wire::to(&redis, "wire");
    let hasty = CachePolicy { l2_timeout: Duration::from_millis(100), ..policy() };
    let cache = cache(wire.client(), &far, hasty).await;
    eventually("connected", async || read(&cache, "none").await.is_none() && cache.stats().l2_misses_absent > 0).await;
    wire.hold(true);
    // Late pipelines count as under way for 5 s: soon what is asked waits, and nothing waited before it.
    for n in 0..8 {
        let began = Instant::now();
        assert_eq!(read(&cache, &format!("key {n}")).await, None);
        assert!(began.elapsed() < secs(2), "{n}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn entries_say_how_they_were_written_and_broken_ones_are_misses() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let long = "long ".repeat(2000);
    far.put("a", &long);
    let zstd = CachePolicy { compression: Compression::Zstd, ..policy() };
    let one = cache(redis.client(), &far, zstd).await;
    read(&one, "a").await;
    eventually("small in Redis", async || {
        matches!(redis.command(&["STRLEN", "fb:{texts}:k:a"]).await, redis::Value::Int(1..500))
    })
    .await;
    let builder = Cache::builder("texts", Texts(Arc::clone(&far))).redis(redis.client()).codec(Codec::Json);
    let json = builder.policy(CachePolicy { compression: Compression::Gzip, ..policy() }).build().await.unwrap();
    assert_eq!((read(&json, "a").await, far.loads()), (Some(long), 1));
    redis.command(&["SETRANGE", "fb:{texts}:k:a", "60", "broken"]).await;
    assert!(json.get(&"a".to_owned()).await.is_none());
    assert!(read(&json, "a").await.is_some() && far.loads() == 2);
}

#[tokio::test]
async fn many_keys_are_read_in_a_few_round_trips() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let keys: Vec<String> = (0..1000).map(|n| format!("key {n}")).collect();
    keys.iter().for_each(|key| far.put(key, key));
    let one = cache(redis.client(), &far, policy()).await;
    let values = one.get_many(&keys).await;
    assert!(values.iter().zip(&keys).all(|(value, key)| value.as_ref().unwrap().as_ref() == Some(key)));
    let count = async || {
        let redis::Value::BulkString(info) = redis.command(&["INFO", "commandstats"]).await else { return 0 };
        let info = String::from_utf8(info).unwrap();
        let calls = info.split("cmdstat_mget:calls=").nth(1).map_or("0", |rest| rest.split(',').next().unwrap());
        calls.parse::<u64>().unwrap()
    };
    eventually("in Redis", async || matches!(redis.command(&["DBSIZE"]).await, redis::Value::Int(1000..))).await;
    let two = cache(redis.client(), &far, policy()).await;
    let before = count().await;
    let values = two.get_many(&keys).await;
    assert!(values.iter().all(Result::is_ok));
    assert_eq!((two.stats().l2_hits, two.stats().loads), (1000, 0));
    assert!(count().await - before < 50, "{} round trips", count().await - before);
}

#[tokio::test]
async fn an_entry_may_have_a_life_and_tags_of_its_own_and_a_key_space_is_managed_by_name() {
    let (far, clock, caches) = (Arc::<Far>::default(), Clock::moved(), Caches::default());
    let policy = CachePolicy { strategy: fastbreak_client::cache::Strategy::Through, ttl_jitter: 0.0, ..policy() };
    let cache = Cache::builder("texts", Texts(Arc::clone(&far))).policy(policy).clock(clock.clone());
    let cache = cache.build().await.unwrap();
    caches.add(&cache);
    let entry = Entry { ttl: Some(secs(5)), tags: vec!["mine".to_owned()] };
    cache.set_with(&"a".to_owned(), "1".to_owned(), entry.clone()).await.unwrap();
    assert!(cache.peek(&"a".to_owned()).is_some());
    clock.advance(secs(6));
    assert!(cache.peek(&"a".to_owned()).is_none());
    cache.set_with(&"a".to_owned(), "1".to_owned(), entry).await.unwrap();
    let managed = caches.get("texts").unwrap();
    let tags = Targets { tags: vec!["mine".to_owned()], ..Targets::default() };
    managed.apply_invalidation(3, &tags).await.unwrap();
    assert!(cache.peek(&"a".to_owned()).is_none() && managed.applied_sequence() == 3);
    assert_eq!(managed.warm_texts(vec!["a".to_owned(), "b".to_owned()]).await, (2, 0));
    assert!(cache.peek(&"a".to_owned()).is_some() && caches.close(secs(1)).await);
    assert!(cache.set(&"a".to_owned(), "2".to_owned()).await.is_err());
    let long = "k".repeat(2000);
    assert!(cache.get_or_load(&long).await.is_err());
}
