//! The batcher against a model: any order of items, cancellations, faults and policies, on a clock that the test moves.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process, Rate, Retry, SubmitError};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};

/// What the other side does with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    Done,
    Refused,
    /// Fails alone so many times.
    Flaky(usize),
    /// Takes its batch with it so many times.
    Sinks(usize),
    /// Panics in its batch.
    Panics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Item {
    id: u32,
    fate: Fate,
}

#[derive(Default)]
struct Seen {
    tries: HashMap<u32, usize>,
    under_way: HashMap<u32, usize>,
    largest: usize,
    calls: Vec<Instant>,
    faults: Vec<String>,
}

/// The other side; keeps what it saw.
struct Far {
    takes: Duration,
    seen: Arc<Mutex<Seen>>,
    batches: AtomicUsize,
    most_batches: usize,
    deduplicated: bool,
}

/// Takes a batch out of what is under way, also when the call panics or is cut off.
struct UnderWay<'a>(&'a Far, Vec<Item>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.batches.fetch_sub(1, Ordering::SeqCst);
        let mut seen = self.0.seen.lock();
        for item in &self.1 {
            *seen.under_way.entry(item.id).or_default() -= 1;
        }
    }
}

impl Far {
    fn enter(&self, items: &[Item]) -> UnderWay<'_> {
        let batches = self.batches.fetch_add(1, Ordering::SeqCst) + 1;
        let mut seen = self.seen.lock();
        if batches > self.most_batches {
            seen.faults.push(format!("{batches} batches at once"));
        }
        seen.largest = seen.largest.max(items.len());
        seen.calls.push(Instant::now());
        for item in items {
            *seen.tries.entry(item.id).or_default() += 1;
            let n = seen.under_way.entry(item.id).or_default();
            *n += 1;
            if *n > 1 && self.deduplicated {
                seen.faults.push(format!("item {} is under way twice", item.id));
            }
        }
        UnderWay(self, items.to_vec())
    }
}

impl Process for Far {
    type Item = Item;
    type Output = u32;

    async fn process(&self, items: Vec<Item>) -> Result<Vec<Outcome<u32>>, Failure> {
        let _under_way = self.enter(&items);
        sleep(self.takes).await;
        assert!(!items.iter().any(|item| item.fate == Fate::Panics), "told to");
        let tries = |item: &Item| self.seen.lock().tries.get(&item.id).copied().unwrap_or_default();
        if items.iter().any(|item| matches!(item.fate, Fate::Sinks(n) if tries(item) <= n)) {
            return Err(Failure { why: "sunk".to_owned(), retryable: true, retry_after: None });
        }
        let outcome = |item: &Item| match item.fate {
            Fate::Refused => Outcome::Refused("no".to_owned()),
            Fate::Flaky(n) if tries(item) <= n => Outcome::Again("not now".to_owned(), None),
            _ => Outcome::Done(item.id),
        };
        Ok(items.iter().map(outcome).collect())
    }

    fn bytes(&self, _: &Item) -> usize {
        10
    }
}

fn far(policy: &BatchPolicy, takes: Duration) -> (Far, Arc<Mutex<Seen>>) {
    let seen = Arc::<Mutex<Seen>>::default();
    let batches = AtomicUsize::new(0);
    let (most_batches, deduplicated) = (policy.max_concurrent_batches, policy.deduplicate);
    (Far { takes, seen: Arc::clone(&seen), batches, most_batches, deduplicated }, seen)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

#[derive(Clone, Debug)]
struct Step {
    item: Item,
    /// Left alone after so many milliseconds.
    patience: Option<u64>,
    pause: u64,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Done),
        1 => Just(Fate::Refused),
        2 => (1usize..4).prop_map(Fate::Flaky),
        1 => (1usize..3).prop_map(Fate::Sinks),
        1 => Just(Fate::Panics),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fates = prop::collection::vec(fate(), 12);
    let picks = prop::collection::vec((0usize..12, prop::option::weighted(0.2, 0u64..40), 0u64..12), 1..80);
    (fates, picks).prop_map(|(fates, picks)| {
        let step = |(id, patience, pause): (usize, Option<u64>, u64)| Step {
            item: Item { id: id as u32, fate: fates[id] },
            patience,
            pause: pause.saturating_sub(8) * 5,
        };
        picks.into_iter().map(step).collect()
    })
}

fn policy() -> impl Strategy<Value = BatchPolicy> {
    (1usize..8, 1usize..9, 0u64..30, 1usize..4, any::<bool>(), 3usize..40).prop_map(
        |(max_items, tens, wait, max_concurrent_batches, deduplicate, max_queued)| BatchPolicy {
            max_items,
            max_bytes: tens * 10,
            max_wait: ms(wait),
            max_concurrent_batches,
            max_queued,
            call_timeout: ms(200),
            deadline: ms(5_000),
            deduplicate,
            rate: None,
            latency_budget: None,
            retry: Retry { attempts: 3, base: ms(10), max: ms(100), budget_ratio: 1.0, budget_reserve: 50 },
        },
    )
}

/// The answer is one that the item's fate allows.
fn fits(item: Item, answer: &Result<u32, SubmitError>) -> bool {
    match answer {
        Ok(id) => *id == item.id && !matches!(item.fate, Fate::Refused | Fate::Panics),
        Err(SubmitError::Full(_)) => true,
        Err(SubmitError::Failed(why)) => match item.fate {
            Fate::Refused => why == "no" || why == "the call panicked",
            // In the batch of one that panicked.
            _ => why == "the call panicked",
        },
        Err(SubmitError::Exhausted { bound, .. }) => ["attempts", "retry budget"].contains(bound),
        Err(SubmitError::Deadline | SubmitError::Closed) => false,
    }
}

proptest! {
    #[test]
    fn every_item_gets_exactly_one_answer_and_no_bound_is_passed(policy in policy(), steps in steps(), takes in 0u64..40) {
        run(async move {
            let (far, seen) = far(&policy, ms(takes));
            let batcher = Batcher::new(policy.clone(), far).unwrap();
            let mut senders = Vec::new();
            for Step { item, patience, pause } in steps.clone() {
                let batcher = batcher.clone();
                senders.push(tokio::spawn(async move {
                    let answer = batcher.submit(item);
                    match patience {
                        Some(patience) => timeout(ms(patience), answer).await.ok(),
                        None => Some(answer.await),
                    }
                }));
                sleep(ms(pause)).await;
            }
            for (sender, step) in senders.into_iter().zip(&steps) {
                let answer = sender.await.unwrap();
                prop_assert!(answer.is_some() || step.patience.is_some());
                if let Some(answer) = answer {
                    prop_assert!(fits(step.item, &answer), "{:?}: {answer:?}", step.item);
                }
            }
            prop_assert!(batcher.drain(ms(60_000)).await);
            prop_assert_eq!(batcher.load().0, 0);
            let stats = batcher.stats();
            let answered = [&stats.coalesced, &stats.refused, &stats.done, &stats.failed, &stats.expired, &stats.given_up];
            prop_assert_eq!(stats.submitted.get(), answered.iter().map(|count| count.get()).sum::<u64>());
            let seen = seen.lock();
            prop_assert_eq!(&seen.faults, &Vec::<String>::new());
            prop_assert!(seen.largest <= policy.max_items && (seen.largest == 1 || seen.largest * 10 <= policy.max_bytes));
            Ok(())
        })?;
    }
}

fn plain(id: u32) -> Item {
    Item { id, fate: Fate::Done }
}

#[test]
fn one_alone_goes_at_once_and_many_share_calls() {
    run(async {
        let policy = BatchPolicy { max_items: 10, max_wait: ms(50), ..BatchPolicy::default() };
        let (far, seen) = far(&policy, ms(100));
        let batcher = Batcher::new(policy, far).unwrap();
        let began = Instant::now();
        batcher.submit(plain(1)).await.unwrap();
        assert_eq!(began.elapsed(), ms(100), "no wait was added");
        let all: Vec<_> = (0..30)
            .map(|id| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.submit(plain(id % 15)).await })
            })
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }
        assert_eq!((seen.lock().calls.len(), batcher.stats().coalesced.get()), (3, 15));
        assert_eq!(batcher.stats().calls_saved(), 28);
    });
}

#[test]
fn a_rest_asked_for_is_kept_and_a_rate_too() {
    struct Asks(Mutex<Vec<Instant>>);
    impl Process for Asks {
        type Item = u32;
        type Output = ();
        async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<()>>, Failure> {
            self.0.lock().push(Instant::now());
            if self.0.lock().len() == 1 {
                return Err(Failure { why: "429".into(), retryable: true, retry_after: Some(ms(7_000)) });
            }
            Ok(vec![Outcome::Done(()); items.len()])
        }
    }
    run(async {
        let rate = Some(Rate { per_second: 2.0, burst: 1, shared: false });
        let policy = BatchPolicy { max_items: 1, rate, ..BatchPolicy::default() };
        let batcher = Batcher::new(policy, Asks(Mutex::default())).unwrap();
        let began = Instant::now();
        let (first, second, third) = tokio::join!(batcher.submit(1), batcher.submit(2), batcher.submit(3));
        assert_eq!((first, second, third), (Ok(()), Ok(()), Ok(())));
        assert!((8_000..8_010).contains(&began.elapsed().as_millis()), "7 s of rest, then two a second");
    });
}

#[test]
fn retries_have_a_budget_so_that_an_outage_is_not_made_worse() {
    struct Down(AtomicUsize);
    impl Process for Down {
        type Item = u32;
        type Output = ();
        async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<()>>, Failure> {
            self.0.fetch_add(items.len(), Ordering::Relaxed);
            Err(Failure { why: "down".into(), retryable: true, retry_after: None })
        }
    }
    run(async {
        let retry = Retry { attempts: 10, base: ms(1), max: ms(5), budget_ratio: 0.1, budget_reserve: 5 };
        let policy = BatchPolicy { max_items: 1, retry, ..BatchPolicy::default() };
        let batcher = Batcher::new(policy, Down(AtomicUsize::new(0))).unwrap();
        for id in 0..100 {
            assert!(matches!(batcher.submit(id).await, Err(SubmitError::Exhausted { .. })));
        }
        assert_eq!((batcher.stats().items.get(), batcher.stats().retried.get()), (105, 5));
    });
}

#[test]
fn what_hangs_is_cut_off_and_a_drain_answers_everybody() {
    run(async {
        let policy = BatchPolicy { call_timeout: ms(600_000), deadline: ms(900_000), ..BatchPolicy::default() };
        let (far, _) = far(&policy, ms(500_000));
        let batcher = Batcher::new(policy, far).unwrap();
        let sender = {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.submit(plain(1)).await })
        };
        sleep(ms(1)).await;
        assert!(!batcher.drain(ms(100)).await);
        assert_eq!(sender.await.unwrap(), Err(SubmitError::Closed));
        assert_eq!(batcher.submit(plain(2)).await, Err(SubmitError::Closed));
    });
}

#[test]
fn a_rest_without_end_ends_the_item_and_not_the_batcher() {
    struct Never(AtomicUsize);
    impl Process for Never {
        type Item = u32;
        type Output = ();
        async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<()>>, Failure> {
            let again = |_| Outcome::Again("429".into(), Some(Duration::MAX));
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Failure { why: "429".into(), retryable: true, retry_after: Some(Duration::MAX) }),
                1 => Ok(items.into_iter().map(again).collect()),
                _ => Ok(vec![Outcome::Done(()); items.len()]),
            }
        }
    }
    run(async {
        let deadline = ms(3_600_000);
        let batcher =
            Batcher::new(BatchPolicy { deadline, ..BatchPolicy::default() }, Never(AtomicUsize::new(0))).unwrap();
        for _ in 0..2 {
            let (one, other) = tokio::join!(batcher.submit(1), batcher.submit(2));
            assert_eq!(one, Err(SubmitError::Exhausted { bound: "deadline", why: "429".into() }));
            assert_eq!(one, other);
        }
        assert_eq!(batcher.submit(1).await, Ok(()), "called again, five minutes after the first");
        assert!(batcher.drain(ms(1_000)).await);
    });
}

#[test]
fn the_slowest_rate_waits_and_does_not_panic() {
    run(async {
        let rate = Some(Rate { per_second: f64::MIN_POSITIVE, burst: 1, shared: false });
        let policy = BatchPolicy { max_items: 1, rate, ..BatchPolicy::default() };
        let (far, _) = far(&policy, ms(1));
        let batcher = Batcher::new(policy, far).unwrap();
        batcher.submit(plain(1)).await.unwrap();
        assert_eq!(batcher.submit(plain(2)).await, Err(SubmitError::Deadline));
        batcher.set_policy(BatchPolicy::default()).unwrap();
        assert_eq!(batcher.submit(plain(3)).await, Ok(3));
    });
}

#[test]
fn a_panic_of_the_hosts_code_beside_the_call_is_an_answer_too() {
    #[derive(PartialEq, Eq, Hash)]
    struct Uncloned(u32);
    impl Clone for Uncloned {
        fn clone(&self) -> Self {
            assert!(self.0 != 13, "told to");
            Self(self.0)
        }
    }
    struct Takes;
    impl Process for Takes {
        type Item = Uncloned;
        type Output = u32;
        async fn process(&self, items: Vec<Uncloned>) -> Result<Vec<Outcome<u32>>, Failure> {
            Ok(items.iter().map(|item| Outcome::Done(item.0)).collect())
        }
    }
    run(async {
        let batcher = Batcher::new(BatchPolicy { max_concurrent_batches: 1, ..BatchPolicy::default() }, Takes).unwrap();
        let panicked = Err(SubmitError::Failed("the call panicked".into()));
        let (one, other) = tokio::join!(batcher.submit(Uncloned(13)), batcher.submit(Uncloned(1)));
        assert_eq!((one, other), (panicked.clone(), panicked.clone()));
        let tell = AtomicUsize::new(0);
        batcher.on_call(move |_| assert!(tell.fetch_add(1, Ordering::Relaxed) > 0, "told to"));
        assert_eq!(batcher.submit(Uncloned(1)).await, panicked);
        assert_eq!(batcher.submit(Uncloned(1)).await, Ok(1));
        assert_eq!(batcher.load(), (0, 0));
        assert!(batcher.drain(ms(1_000)).await);
    });
}
