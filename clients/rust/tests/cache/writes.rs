//! Writes aside and through, by one and by two at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use fastbreak_client::cache::{Cache, CacheError, CachePolicy, Clock, Entry, Strategy};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::support::{Far, Redis, Texts, Wire, cache, eventually, in_touch, policy, read, settled};

fn with(strategy: Strategy) -> CachePolicy {
    CachePolicy { strategy, ..policy() }
}

#[tokio::test]
async fn aside_a_write_goes_to_the_source_and_the_entry_is_gone() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, with(Strategy::Aside)).await;
    let two = cache(redis.client(), &far, with(Strategy::Aside)).await;
    let key = "a".to_owned();
    far.put("a", "old");
    for cache in [&one, &two] {
        assert_eq!(read(cache, "a").await.as_deref(), Some("old"));
    }
    one.set(&key, "new".to_owned()).await.unwrap();
    assert_eq!((far.value("a").as_deref(), one.peek(&key)), (Some("new"), None));
    assert_eq!(read(&one, "a").await.as_deref(), Some("new"));
    eventually("two has heard", async || read(&two, "a").await.as_deref() == Some("new")).await;
    one.remove(&key).await.unwrap();
    assert_eq!((read(&one, "a").await, far.value("a")), (None, None));
    far.fails.store(true, Ordering::SeqCst);
    assert!(matches!(one.set(&key, "x".to_owned()).await, Err(CacheError::Write(_))));
    assert_eq!(one.stats().write_errors, 1);
}

#[tokio::test]
async fn through_a_write_is_in_both_levels_at_once() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, with(Strategy::Through)).await;
    let two = cache(redis.client(), &far, with(Strategy::Through)).await;
    let key = "a".to_owned();
    far.put("a", "old");
    assert_eq!(read(&two, "a").await.as_deref(), Some("old"));
    one.set(&key, "new".to_owned()).await.unwrap();
    let loads = far.loads();
    assert_eq!((one.peek(&key).as_deref(), far.value("a").as_deref()), (Some("new"), Some("new")));
    eventually("two has heard", async || read(&two, "a").await.as_deref() == Some("new")).await;
    assert_eq!(far.loads(), loads, "no load was needed");
    let many: Vec<_> = (0..100).map(|n| (format!("k{n}"), format!("v{n}"))).collect();
    assert!(one.set_many(many.clone()).await.iter().all(Result::is_ok));
    let keys: Vec<String> = many.iter().map(|(key, _)| key.clone()).collect();
    let values = two.get_many(&keys).await;
    assert!(values.into_iter().zip(many).all(|(value, (_, put))| value == Ok(Some(put))));
}

#[tokio::test]
async fn two_writers_through_at_once_leave_nothing_that_the_source_has_not() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, with(Strategy::Through)).await;
    let two = cache(redis.client(), &far, with(Strategy::Through)).await;
    let key = "a".to_owned();
    for round in 0..200 {
        let (a, b) = tokio::join!(one.set(&key, format!("one {round}")), two.set(&key, format!("two {round}")));
        assert!(a.is_ok() && b.is_ok());
        settled(&redis, &[&one, &two]).await;
        let held = far.value("a");
        assert_eq!((read(&one, "a").await, read(&two, "a").await), (held.clone(), held), "round {round}");
    }
}

#[tokio::test]
async fn what_others_cannot_be_told_is_said_and_told_later() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let mut short = with(Strategy::Through);
    short.l2_timeout = Duration::from_millis(100);
    let one = cache(redis.client(), &far, short).await;
    let key = "a".to_owned();
    one.set(&key, "old".to_owned()).await.unwrap();
    redis.kill();
    assert!(matches!(one.set(&key, "new".to_owned()).await, Err(CacheError::Untold(_))));
    assert_eq!((far.value("a").as_deref(), read(&one, "a").await.as_deref()), (Some("new"), Some("new")));
    redis.restart();
    // As if Redis had come back with what it had.
    in_touch(&one).await;
    eventually("told", async || one.set(&key, "newer".to_owned()).await.is_ok()).await;
    let two = cache(redis.client(), &far, with(Strategy::Through)).await;
    assert_eq!(read(&two, "a").await.as_deref(), Some("newer"));
}

/// Long enough to begin a call, and too short for one that waits.
const SHORT: Duration = Duration::from_millis(10);

#[tokio::test]
async fn aside_a_write_whose_caller_left_is_told_all_the_same() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, with(Strategy::Aside)).await;
    far.put("a", "old");
    assert_eq!(read(&one, "a").await.as_deref(), Some("old"));
    let held = far.held.write().await;
    assert!(timeout(SHORT, one.set(&"a".to_owned(), "new".to_owned())).await.is_err());
    drop(held);
    eventually("the write ends", async || read(&one, "a").await.as_deref() == Some("new")).await;
    assert_eq!(one.stats().write_errors, 0);
}

#[tokio::test]
async fn what_is_told_to_others_holds_here_though_the_caller_left() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, with(Strategy::Through)).await;
    let key = "a".to_owned();
    one.set(&key, "old".to_owned()).await.unwrap();
    let held = far.held.write().await;
    let mut set = Box::pin(one.set(&key, "new".to_owned()));
    eventually("at the source", async || {
        assert!(timeout(SHORT, set.as_mut()).await.is_err());
        far.value("a").as_deref() == Some("new")
    })
    .await;
    redis.signal("STOP");
    drop(held);
    assert!(timeout(SHORT, set).await.is_err(), "it waits for Redis");
    redis.signal("CONT");
    eventually("the write ends", async || read(&one, "a").await.as_deref() == Some("new")).await;
    far.put("a", "newest");
    redis.signal("STOP");
    assert!(timeout(SHORT, one.invalidate_keys(std::slice::from_ref(&key))).await.is_err());
    redis.signal("CONT");
    eventually("it is made invalid", async || read(&one, "a").await.as_deref() == Some("newest")).await;
}

#[tokio::test]
async fn thousands_that_were_not_told_are_told_and_cost_the_others_nothing_else() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let (wire, clock) = (Wire::to(&redis, "wire"), Clock::moved());
    let one = Cache::builder("texts", Texts(Arc::clone(&far))).policy(with(Strategy::Aside)).clock(clock.clone());
    let one = one.redis(wire.client()).build().await.unwrap();
    in_touch(&one).await;
    let two = cache(redis.client(), &far, with(Strategy::Aside)).await;
    for key in ["key 0", "key 4999", "other"] {
        far.put(key, "old");
        assert_eq!(read(&two, key).await.as_deref(), Some("old"));
    }
    let dropped = two.stats().dropped;
    wire.cut(true);
    for n in 0..5_000 {
        let written = one.set(&format!("key {n}"), "new".to_owned()).await;
        assert!(matches!(written, Err(CacheError::Untold(_))), "{n}: {written:?}");
    }
    wire.cut(false);
    eventually("told", async || {
        // However long Redis is left alone.
        clock.advance(Duration::from_secs(10));
        one.set(&"a".to_owned(), "1".to_owned()).await.is_ok()
    })
    .await;
    settled(&redis, &[&two]).await;
    for (key, value) in [("key 0", "new"), ("key 4999", "new"), ("other", "old")] {
        assert_eq!(read(&two, key).await.as_deref(), Some(value));
    }
    assert!(two.is_in_touch() && two.peek(&"other".to_owned()).is_some());
    assert_eq!(two.stats().dropped, dropped);
}

#[tokio::test]
async fn what_is_owed_again_while_it_is_told_is_told_again() {
    let (redis, far, clock) = (Redis::start(), Arc::<Far>::default(), Clock::moved());
    let wire = Wire::to(&redis, "wire");
    let policy = CachePolicy { l2_timeout: Duration::from_secs(1), ..with(Strategy::Aside) };
    let one = Cache::builder("texts", Texts(Arc::clone(&far))).policy(policy).clock(clock.clone());
    let one = one.redis(wire.client()).build().await.unwrap();
    in_touch(&one).await;
    one.invalidate_tags(&["t"]).await.unwrap();
    wire.hold(true);
    // Enough fails for Redis to be left alone; the clock stands, so until the test says so.
    let (told, ..) =
        tokio::join!(one.invalidate_tags(&["t"]), read(&one, "1"), read(&one, "2"), read(&one, "3"), read(&one, "4"),);
    assert!(matches!(told, Err(CacheError::Untold(_))) && one.stats().l2_is_left_alone);
    clock.advance(Duration::from_secs(1));
    let stamp = async || redis.command(&["GET", "fb:{texts}:t:t"]).await;
    let before = stamp().await;
    let payer = tokio::spawn({
        let one = one.clone();
        async move { one.invalidate_tags(&["other"]).await }
    });
    eventually("Redis is told, and its answer held back", async || stamp().await != before).await;
    let before = stamp().await;
    assert!(matches!(one.invalidate_tags(&["t"]).await, Err(CacheError::Untold(_))));
    wire.hold(false);
    assert_eq!(payer.await.unwrap(), Ok(()));
    eventually("told again", async || stamp().await != before).await;
}

#[tokio::test]
async fn an_entry_that_is_to_live_for_ever_lives_as_long_as_any_may() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, with(Strategy::Through)).await;
    let two = cache(redis.client(), &far, with(Strategy::Through)).await;
    let (key, entry) = ("a".to_owned(), Entry { ttl: Some(Duration::MAX), ..Entry::default() });
    one.set_with(&key, "1".to_owned(), entry).await.unwrap();
    assert_eq!((one.stats().l2_errors, one.peek(&key).as_deref()), (0, Some("1")));
    assert_eq!(two.get(&key).await.as_deref(), Some("1"));
}

/// Begins what is asked, and leaves.
async fn begin<T>(asked: impl Future<Output = T>) {
    let mut asked = Box::pin(asked);
    assert!(poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await.is_pending());
}

async fn alone(far: &Arc<Far>) -> Cache<Texts> {
    Cache::builder("texts", Texts(Arc::clone(far))).policy(with(Strategy::Aside)).build().await.unwrap()
}

#[test]
fn a_runtime_that_stands_still_holds_up_no_other() {
    let (far, written, read_too) = (Arc::<Far>::default(), "a".to_owned(), "b".to_owned());
    far.put("b", "1");
    *far.takes.lock() = Duration::from_millis(100);
    let runtime = Runtime::new().unwrap();
    let cache = runtime.block_on(alone(&far));
    let held = runtime.block_on(far.held.write());
    let (says, hears) = std::sync::mpsc::channel();
    let (ends, ended) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn({
        let (cache, far, written, read_too) = (cache.clone(), Arc::clone(&far), written.clone(), read_too.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                begin(cache.set(&written, "1".to_owned())).await;
                eventually("at the source", async || far.written.lock().len() == 1).await;
                begin(cache.get_or_load(&read_too)).await;
            });
            says.send(()).unwrap();
            // It is there, and nobody runs it.
            let _ended = ended.recv();
        }
    });
    hears.recv().unwrap();
    drop(held);
    runtime.block_on(async {
        let set = timeout(Duration::from_secs(5), cache.set(&written, "2".to_owned())).await;
        assert_eq!((set, far.value("a").as_deref()), (Ok(Ok(())), Some("2")));
        let loaded = timeout(Duration::from_secs(5), cache.get_or_load(&read_too)).await;
        assert_eq!(loaded, Ok(Ok(Some("1".to_owned()))));
    });
    drop(ends);
    other.join().unwrap();
    drop(runtime);
    Runtime::new().unwrap().block_on(async {
        let set = timeout(Duration::from_secs(5), cache.set(&written, "3".to_owned())).await;
        assert!(matches!(set, Ok(Err(CacheError::Write(_)))), "its runtime has ended: {set:?}");
        let loaded = timeout(Duration::from_secs(5), cache.get_or_load(&"c".to_owned())).await;
        assert!(matches!(loaded, Ok(Err(CacheError::Load(_)))), "its runtime has ended: {loaded:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_write_that_its_caller_left_overtakes_none_that_was_begun_later() {
    let far = Arc::<Far>::default();
    let cache = alone(&far).await;
    // In a task, where the scheduler prefers what was spawned last.
    let writes = tokio::spawn(async move {
        let key = "a".to_owned();
        begin(cache.set(&key, "1".to_owned())).await;
        cache.set(&key, "2".to_owned()).await
    });
    assert_eq!(writes.await.unwrap(), Ok(()));
    eventually("both are made", async || far.written.lock().len() == 2).await;
    assert_eq!(far.value("a").as_deref(), Some("2"));
}

#[tokio::test]
async fn who_closes_waits_for_a_write_that_its_caller_left() {
    let far = Arc::<Far>::default();
    let (cache, late, key) = (alone(&far).await, alone(&far).await, "a".to_owned());
    let held = far.held.write().await;
    begin(cache.set(&key, "1".to_owned())).await;
    begin(late.set(&key, "1".to_owned())).await;
    eventually("at the source", async || far.written.lock().len() == 2).await;
    let mut close = Box::pin(cache.close(Duration::from_secs(20)));
    assert!(poll_fn(|cx| Poll::Ready(close.as_mut().poll(cx))).await.is_pending());
    assert_eq!(cache.set(&key, "2".to_owned()).await, Err(CacheError::Closed));
    assert!(!late.close(Duration::from_millis(1)).await, "it is not at its end by then");
    drop(held);
    assert!(close.await);
}

#[tokio::test]
async fn without_a_lease_no_entry_outlives_the_policy_in_memory() {
    let (hour, minute, key) = (Duration::from_secs(3600), Duration::from_secs(60), "a".to_owned());
    for (coherence_lease, is_there) in [(Duration::ZERO, false), (minute, true)] {
        let (far, clock) = (Arc::<Far>::default(), Clock::moved());
        let policy = CachePolicy { l1_ttl: minute, coherence_lease, ..with(Strategy::Through) };
        let cache = Cache::builder("texts", Texts(far)).policy(policy).clock(clock.clone()).build().await.unwrap();
        let entry = Entry { ttl: Some(hour), ..Entry::default() };
        cache.set_with(&key, "1".to_owned(), entry).await.unwrap();
        assert_eq!(cache.peek(&key).as_deref(), Some("1"));
        clock.advance(minute * 2);
        assert_eq!(cache.peek(&key).is_some(), is_there, "{coherence_lease:?}");
    }
}

#[tokio::test]
async fn a_script_that_fails_has_moved_no_stamp() {
    let (redis, far) = (Redis::start(), Arc::<Far>::default());
    let one = cache(redis.client(), &far, with(Strategy::Aside)).await;
    one.invalidate_all().await.unwrap();
    redis.command(&["SET", "fb:{texts}:log", "no stream"]).await;
    let before = redis.command(&["GET", "fb:{texts}:seq"]).await;
    let told = one.invalidate_tags(&["a"]).await;
    assert!(matches!(told, Err(CacheError::Untold(_))), "{told:?}");
    assert_eq!(redis.command(&["GET", "fb:{texts}:seq"]).await, before);
}
