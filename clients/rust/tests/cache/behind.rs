//! Write-behind: batches, order, faults, a kill.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use fastbreak_client::cache::{Cache, CachePolicy, Strategy, Sync};

use crate::support::{Far, Redis, Texts, cache, eventually, policy, read};

fn behind() -> CachePolicy {
    let mut policy = CachePolicy { strategy: Strategy::Behind, write_wait: Duration::from_millis(20), ..policy() };
    policy.retry.base = Duration::from_millis(1);
    policy.retry.max = Duration::from_millis(5);
    policy
}

async fn open(far: &Arc<Far>, journal: &Path, policy: CachePolicy) -> Cache<Texts> {
    let mut cache = None;
    // The journal of the one before is let go of when its thread has ended.
    eventually("the journal is free", async || {
        let builder = Cache::builder("texts", Texts(Arc::clone(far))).policy(policy.clone());
        cache = builder.journal(journal, Sync::Always).build().await.ok();
        cache.is_some()
    })
    .await;
    cache.unwrap()
}

#[tokio::test]
async fn writes_are_read_at_once_and_reach_the_source_in_batches() {
    let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
    let slow = CachePolicy { write_batch: 1000, write_wait: Duration::from_secs(60), ..behind() };
    let cache = open(&far, &directory.path().join("writes"), slow).await;
    let many: Vec<_> = (0..500).map(|n| (format!("k{n}"), format!("v{n}"))).collect();
    assert!(cache.set_many(many).await.iter().all(Result::is_ok));
    assert_eq!(read(&cache, "k77").await.as_deref(), Some("v77"));
    cache.invalidate_all().await.unwrap();
    assert_eq!((read(&cache, "k78").await.as_deref(), far.loads()), (Some("v78"), 0), "of what waits");
    cache.set_policy(CachePolicy { write_batch: 50, ..behind() }).unwrap();
    assert!(cache.close(Duration::from_secs(10)).await);
    assert_eq!(far.values.lock().len(), 500);
    assert_eq!(far.written.lock().len(), 10);
    let stats = cache.stats();
    assert_eq!((stats.written_behind, stats.writes_waiting), (500, 0));
}

#[tokio::test]
async fn a_later_write_takes_the_place_of_one_that_waits_and_the_last_one_stays() {
    let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
    *far.takes.lock() = Duration::from_millis(30);
    let cache = open(&far, &directory.path().join("writes"), behind()).await;
    let key = "a".to_owned();
    for n in 0..200 {
        cache.set(&key, format!("{n}")).await.unwrap();
        assert_eq!(read(&cache, "a").await, Some(format!("{n}")));
    }
    cache.remove(&key).await.unwrap();
    assert_eq!(read(&cache, "a").await, None);
    cache.set(&key, "last".to_owned()).await.unwrap();
    assert!(cache.close(Duration::from_secs(10)).await);
    assert_eq!(far.value("a").as_deref(), Some("last"));
    let written: Vec<_> = far.written.lock().iter().flatten().map(|write| write.value.clone()).collect();
    let numbers: Vec<i32> = written.iter().flatten().filter_map(|value| value.parse().ok()).collect();
    assert!(written.len() < 100 && numbers.is_sorted(), "{written:?}");
    assert_eq!(cache.stats().writes_replaced + written.len() as u64, 202);
}

#[tokio::test]
async fn what_fails_is_tried_until_it_succeeds_and_what_is_refused_goes_alone() {
    let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
    let cache = open(&far, &directory.path().join("writes"), behind()).await;
    far.fails.store(true, Ordering::SeqCst);
    for n in 0..10 {
        cache.set(&format!("k{n}"), "v".to_owned()).await.unwrap();
    }
    eventually("tried again", async || cache.stats().retries >= 3).await;
    *far.refuses.lock() = Some("k3".to_owned());
    far.fails.store(false, Ordering::SeqCst);
    eventually("written", async || cache.stats().writes_waiting == 0).await;
    let stats = cache.stats();
    assert_eq!((far.values.lock().len(), stats.writes_refused, stats.written_behind), (9, 1, 9));
    assert_eq!(read(&cache, "k3").await, None, "the cache does not keep what the source refused");
    // What was in the batch that failed says so; what came after it was not tried before.
    assert!(far.written.lock().iter().flatten().any(|write| write.again));
}

#[tokio::test]
async fn what_waited_when_the_process_was_killed_is_written_after_the_next_start() {
    let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
    let journal = directory.path().join("writes");
    far.fails.store(true, Ordering::SeqCst);
    let copy = directory.path().join("copy");
    {
        let cache = open(&far, &journal, behind()).await;
        for n in 0..300 {
            cache.set(&format!("k{}", n % 100), format!("{n}")).await.unwrap();
        }
        // The file at this moment is what a kill would leave.
        std::fs::copy(&journal, &copy).unwrap();
        assert!(!cache.close(Duration::from_millis(50)).await, "nothing can be written");
    }
    // Of its own, for an attempt that was begun before the end may still come to the other.
    let far = Arc::<Far>::default();
    let cache = open(&far, &copy, behind()).await;
    assert!(cache.stats().writes_recovered >= 100);
    assert_eq!(read(&cache, "k7").await.as_deref(), Some("207"), "read before it is written");
    assert!(cache.close(Duration::from_secs(10)).await);
    let values = far.values.lock().clone();
    assert_eq!(values.len(), 100);
    assert!((0..100).all(|n| values[&format!("k{n}")] == format!("{}", n + 200)));
}

#[tokio::test]
async fn who_closes_before_all_is_written_lets_go_of_the_journal_and_the_next_writes_it() {
    let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
    let journal = directory.path().join("writes");
    far.fails.store(true, Ordering::SeqCst);
    let mut rests = behind();
    (rests.retry.base, rests.retry.max) = (Duration::from_secs(600), Duration::from_secs(600));
    {
        let cache = open(&far, &journal, rests).await;
        cache.set(&"a".to_owned(), "1".to_owned()).await.unwrap();
        eventually("it rests", async || cache.stats().retries >= 1).await;
        assert!(!cache.close(Duration::from_millis(1)).await, "nothing can be written");
    }
    // Opens while the source is still away, for nobody tries any more.
    let cache = open(&far, &journal, behind()).await;
    assert_eq!(cache.stats().writes_recovered, 1);
    far.fails.store(false, Ordering::SeqCst);
    assert!(cache.close(Duration::from_secs(10)).await);
    assert_eq!(far.value("a").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_write_whose_caller_left_does_not_come_back_over_a_later_one() {
    let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
    let journal = directory.path().join("writes");
    {
        let cache = open(&far, &journal, behind()).await;
        let key = "a".to_owned();
        let mut left = Box::pin(cache.set(&key, "left".to_owned()));
        // Begun, and dropped while it waits for the disk.
        assert!(std::future::poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx))).await.is_pending());
        drop(left);
        cache.set(&key, "last".to_owned()).await.unwrap();
        assert!(cache.close(Duration::from_secs(10)).await);
    }
    let cache = open(&far, &journal, behind()).await;
    assert_eq!(cache.stats().writes_recovered, 0);
    assert!(cache.close(Duration::from_secs(10)).await);
    assert_eq!(far.value("a").as_deref(), Some("last"));
}

#[tokio::test]
async fn a_write_that_waits_is_not_overtaken_when_the_policy_changes() {
    let slow = CachePolicy { write_wait: Duration::from_secs(60), ..behind() };
    let aside = CachePolicy { strategy: Strategy::Aside, ..slow.clone() };
    let through = CachePolicy { strategy: Strategy::Through, ..slow.clone() };
    let bypass = CachePolicy { bypass: true, ..slow.clone() };
    for (name, next) in [("aside", aside), ("through", through), ("bypass", bypass)] {
        let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
        let cache = open(&far, &directory.path().join("writes"), slow.clone()).await;
        let key = "a".to_owned();
        cache.set(&key, "1".to_owned()).await.unwrap();
        cache.set_policy(next.clone()).unwrap();
        cache.set(&key, "2".to_owned()).await.unwrap();
        if !next.bypass {
            assert_eq!(read(&cache, "a").await.as_deref(), Some("2"), "{name}");
        }
        assert!(cache.close(Duration::from_secs(10)).await);
        assert_eq!(far.value("a").as_deref(), Some("2"), "{name}");
        // Together, in one batch.
        assert_eq!(far.written.lock().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn what_the_queue_cannot_hold_goes_straight_to_the_source() {
    let (far, directory) = (Arc::<Far>::default(), tempfile::tempdir().unwrap());
    let slow = CachePolicy { write_queue: 10, write_wait: Duration::from_secs(60), ..behind() };
    let cache = open(&far, &directory.path().join("writes"), slow).await;
    for n in 0..15 {
        cache.set(&format!("k{n}"), "v".to_owned()).await.unwrap();
    }
    assert_eq!((far.values.lock().len(), cache.stats().writes_overflowed), (5, 5));
    assert!(cache.close(Duration::from_secs(10)).await);
    assert_eq!(far.values.lock().len(), 15);
    let none = Cache::builder("texts", Texts::default()).policy(behind()).build().await;
    assert!(none.is_err(), "there is no journal");
}

#[tokio::test]
async fn others_read_what_is_written_behind_through_redis() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let directory = tempfile::tempdir().unwrap();
    let slow = CachePolicy { write_wait: Duration::from_secs(60), ..behind() };
    let builder = Cache::builder("texts", Texts(Arc::clone(&far))).policy(slow).redis(redis.client());
    let one = builder.journal(directory.path().join("writes"), Sync::Every(Duration::from_millis(50)));
    let one = one.build().await.unwrap();
    let two = cache(redis.client(), &far, policy()).await;
    far.put("a", "old");
    assert_eq!(read(&two, "a").await.as_deref(), Some("old"));
    one.set(&"a".to_owned(), "new".to_owned()).await.unwrap();
    eventually("two has heard", async || read(&two, "a").await.as_deref() == Some("new")).await;
    assert_eq!(far.value("a").as_deref(), Some("old"));
    assert!(one.close(Duration::from_secs(10)).await);
    assert_eq!(far.value("a").as_deref(), Some("new"));
}
