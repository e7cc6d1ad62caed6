//! Gathers calls to an external API into batches.
//!
//! An item goes at once when no batch is under way; while some are, it waits for company, at most
//! [`BatchPolicy::max_wait`]. So an idle service pays no delay and a busy one makes few calls. Equal items share one answer,
//! failed ones are tried again alone, and every item handed in gets exactly one answer.
//!
//! ```
//! use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process};
//!
//! struct Prices;
//!
//! impl Process for Prices {
//!     type Item = String;
//!     type Output = u64;
//!
//!     async fn process(&self, symbols: Vec<String>) -> Result<Vec<Outcome<u64>>, Failure> {
//!         Ok(symbols.iter().map(|symbol| Outcome::Done(symbol.len() as u64)).collect())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let prices = Batcher::new(BatchPolicy::default(), Prices)?;
//! assert_eq!(prices.submit("MSFT".to_owned()).await?, 4);
//! # Ok(()) }
//! ```

mod bucket;
mod gather;
mod line;
mod policy;
mod queue;
mod shared;
mod stats;

pub use line::Priority;
pub use policy::{BatchPolicy, PolicyError, Rate, Retry};
#[cfg(feature = "redis")]
pub use shared::RedisRate;
pub use shared::{Leave, SharedRate};
pub use stats::{Count, Stats};

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::retry::REST_MAX;
use crate::told::Told;
use queue::{Key, Next, Queue};

/// How long the shared rate may take to answer.
const ASK_MAX: Duration = Duration::from_millis(250);

/// The call that takes a batch.
pub trait Process: Send + Sync + 'static {
    /// What is asked.
    type Item: Clone + Eq + Hash + Send + Sync + 'static;
    /// What is answered.
    type Output: Clone + Send + 'static;

    /// Makes the call: one outcome for each item, in their order.
    fn process(
        &self,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Result<Vec<Outcome<Self::Output>>, Failure>> + Send;

    /// The item's size in bytes, for [`BatchPolicy::max_bytes`].
    fn bytes(&self, _item: &Self::Item) -> usize {
        0
    }
}

/// What came of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// The answer.
    Done(O),
    /// It will never succeed, and why.
    Refused(String),
    /// It may succeed later: why it did not, and the least wait if one was asked for.
    Again(String, Option<Duration>),
}

/// Why a call failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub why: String,
    /// Whether it is worth another try.
    pub retryable: bool,
    /// `Retry-After`: no call is made before.
    pub retry_after: Option<Duration>,
}

/// Why an item has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// There is no room.
    #[error("{0} items wait, which is the limit max_queued")]
    Full(usize),
    /// Its time is over.
    #[error("not answered within the deadline")]
    Deadline,
    /// The other side refused it.
    #[error("refused: {0}")]
    Failed(String),
    /// It failed and is not tried again.
    #[error("{why}; not tried again, limit: {bound}")]
    Exhausted {
        /// Which bound ended it.
        bound: &'static str,
        /// What the last try said.
        why: String,
    },
    /// The batcher was closed.
    #[error("the batcher is closed")]
    Closed,
}

/// A call that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// Items in it.
    pub items: usize,
    /// How long the first that came waited for it; none when all of them are retries.
    pub waited: Option<Duration>,
    /// How long the call took.
    pub took: Duration,
    /// It failed as a whole.
    pub failed: bool,
}

struct Shared<P: Process> {
    process: P,
    rate: Option<Arc<dyn SharedRate>>,
    queue: Mutex<Queue<P::Item, P::Output>>,
    stats: Stats,
    told: Told<Called>,
    /// Something came, was answered, or changed.
    wake: Notify,
    done: Notify,
}

/// The hand that closes the queue when the last batcher goes.
struct Hand<P: Process>(Arc<Shared<P>>);

impl<P: Process> Drop for Hand<P> {
    fn drop(&mut self) {
        self.0.queue.lock().close();
        self.0.wake.notify_one();
    }
}

/// Takes items; cheap to clone.
pub struct Batcher<P: Process>(Arc<Hand<P>>);

impl<P: Process> Clone for Batcher<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Does not hold a batcher up.
pub struct WeakBatcher<P: Process>(Weak<Hand<P>>);

impl<P: Process> WeakBatcher<P> {
    /// The batcher, as long as a clone of it is there.
    #[must_use]
    pub fn upgrade(&self) -> Option<Batcher<P>> {
        self.0.upgrade().map(Batcher)
    }

    /// Whether no clone is there any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// What a policy must meet, besides its own check.
fn check(policy: &BatchPolicy, can_share: bool) -> Result<(), PolicyError> {
    policy.check()?;
    if !can_share && policy.rate.is_some_and(|rate| rate.shared) {
        return Err(PolicyError { field: "rate.shared", range: "false, for the batcher was given no shared rate" });
    }
    Ok(())
}

impl<P: Process> Batcher<P> {
    /// Starts a task on the runtime at hand, which ends when the last clone is dropped and everything was answered.
    ///
    /// # Errors
    /// See [`BatchPolicy::check`].
    pub fn new(policy: BatchPolicy, process: P) -> Result<Self, PolicyError> {
        Self::build(policy, process, None)
    }

    /// The same, with a bucket for policies whose rate is shared.
    ///
    /// # Errors
    /// See [`BatchPolicy::check`].
    pub fn with_shared_rate(policy: BatchPolicy, process: P, rate: Arc<dyn SharedRate>) -> Result<Self, PolicyError> {
        Self::build(policy, process, Some(rate))
    }

    fn build(policy: BatchPolicy, process: P, rate: Option<Arc<dyn SharedRate>>) -> Result<Self, PolicyError> {
        check(&policy, rate.is_some())?;
        let shared = Arc::new(Shared {
            process,
            queue: Mutex::new(Queue::new(policy, rate.is_some(), Instant::now())),
            rate,
            stats: Stats::default(),
            told: Told::default(),
            wake: Notify::new(),
            done: Notify::new(),
        });
        tokio::spawn(drive(Arc::clone(&shared)));
        Ok(Self(Arc::new(Hand(shared))))
    }

    fn shared(&self) -> &Shared<P> {
        &self.0.0
    }

    /// The answer to `item`. Dropped before, the item is given up, unless another waits for it.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit(&self, item: P::Item) -> Result<P::Output, SubmitError> {
        self.submit_as(Priority::default(), item).await
    }

    /// The same, before or after others. An item equal to one that is here shares its place.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_as(&self, priority: Priority, item: P::Item) -> Result<P::Output, SubmitError> {
        let shared = self.shared();
        let (sender, answer) = oneshot::channel();
        let bytes = shared.process.bytes(&item);
        let now = Instant::now();
        let deadline = {
            let mut queue = shared.queue.lock();
            let deadline = now + queue.policy().deadline;
            let look_again = queue.submit((item, bytes, priority), sender, now, &shared.stats)?;
            drop(queue);
            if look_again {
                shared.wake.notify_one();
            }
            deadline
        };
        match timeout_at(deadline, answer).await {
            Ok(answer) => answer.unwrap_or(Err(SubmitError::Closed)),
            Err(_elapsed) => Err(SubmitError::Deadline),
        }
    }

    /// Works by `policy` from now on.
    ///
    /// # Errors
    /// See [`BatchPolicy::check`]; the policy in force stays.
    pub fn set_policy(&self, policy: BatchPolicy) -> Result<(), PolicyError> {
        check(&policy, self.shared().rate.is_some())?;
        self.shared().queue.lock().set_policy(policy, Instant::now());
        self.shared().wake.notify_one();
        Ok(())
    }

    /// What it works by.
    #[must_use]
    pub fn policy(&self) -> BatchPolicy {
        self.shared().queue.lock().policy().clone()
    }

    /// A handle that does not keep it.
    #[must_use]
    pub fn downgrade(&self) -> WeakBatcher<P> {
        WeakBatcher(Arc::downgrade(&self.0))
    }

    /// What was done until now.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared().stats
    }

    /// Tells `tell` of each call that ends, in the place of whoever was told before. It must be quick.
    pub fn on_call(&self, tell: impl Fn(&Called) + Send + Sync + 'static) {
        self.shared().told.set(tell);
    }

    /// `(items here, batches under way)`.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        self.shared().queue.lock().load()
    }

    /// Takes nothing more, and waits until everything was answered. What was not `within` that time is answered
    /// [`SubmitError::Closed`]. True when nothing had to be.
    pub async fn drain(&self, within: Duration) -> bool {
        let shared = self.shared();
        shared.queue.lock().close();
        shared.wake.notify_one();
        let done = async {
            loop {
                let changed = shared.done.notified();
                if shared.queue.lock().is_done() {
                    return;
                }
                changed.await;
            }
        };
        let in_time = timeout(within, done).await.is_ok();
        if !in_time {
            shared.queue.lock().abandon();
            shared.wake.notify_one();
        }
        in_time
    }
}

async fn drive<P: Process>(shared: Arc<Shared<P>>) {
    loop {
        // Whoever is ready to hand something in may do so before the batch is taken.
        tokio::task::yield_now().await;
        let next = {
            let mut queue = shared.queue.lock();
            let next = queue.next(Instant::now(), &shared.stats);
            if queue.is_done() {
                break;
            }
            next
        };
        match next {
            Next::Batch(batch) => {
                tokio::spawn(call(Arc::clone(&shared), batch));
            }
            Next::Wait(until) => {
                tokio::select! {
                    () = shared.wake.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            Next::Idle => shared.wake.notified().await,
            Next::Ask(rate) => {
                let said = match &shared.rate {
                    Some(bucket) => {
                        timeout(ASK_MAX, bucket.take(rate)).await.unwrap_or_else(|slow| Err(slow.to_string()))
                    }
                    None => Ok(None),
                };
                shared.queue.lock().asked(said, Instant::now());
            }
        }
    }
    shared.done.notify_waiters();
}

const PANICKED: &str = "the call panicked";

/// A batch under way. Whatever the host's code does, each of its items is answered and it counts no more as under way.
struct UnderWay<P: Process> {
    shared: Arc<Shared<P>>,
    batch: VecDeque<Key>,
    is_settled: bool,
}

impl<P: Process> UnderWay<P> {
    fn settle(&mut self, outcomes: Vec<Outcome<P::Output>>, now: Instant) {
        self.shared.queue.lock().settle(&mut self.batch, outcomes, now, &self.shared.stats);
        self.is_settled = true;
        self.shared.wake.notify_one();
    }
}

impl<P: Process> Drop for UnderWay<P> {
    fn drop(&mut self) {
        if !self.is_settled {
            let outcomes = vec![Outcome::Refused(PANICKED.to_owned()); self.batch.len()];
            self.settle(outcomes, Instant::now());
        }
    }
}

async fn call<P: Process>(shared: Arc<Shared<P>>, batch: Vec<Key>) {
    let mut under_way = UnderWay { shared: Arc::clone(&shared), batch: batch.into(), is_settled: false };
    let batch = &under_way.batch;
    let (items, since, most) = {
        let queue = shared.queue.lock();
        (queue.items(batch), queue.since(batch), queue.policy().call_timeout)
    };
    let (caller, count, began) = (Arc::clone(&shared), batch.len(), Instant::now());
    // A task of its own, so that a panic in it is an answer like any other.
    let mut task = tokio::spawn(async move { caller.process.process(items).await });
    let answered = match timeout(most, &mut task).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_panicked)) => Err(Failure { why: PANICKED.to_owned(), retryable: false, retry_after: None }),
        Err(_elapsed) => {
            task.abort();
            let why = format!("no answer within call_timeout of {most:?}");
            Err(Failure { why, retryable: true, retry_after: None })
        }
    };
    let now = Instant::now();
    let waited = since.map(|since| began.saturating_duration_since(since));
    shared.told.tell(&Called { items: count, waited, took: now - began, failed: answered.is_err() });
    let (outcomes, rest) = outcomes(answered, count);
    let mut queue = shared.queue.lock();
    queue.called(count, now - began);
    if let Some(rest) = rest {
        queue.rest(now + rest.min(REST_MAX));
    }
    drop(queue);
    under_way.settle(outcomes, now);
}

/// One outcome an item, whatever the call said, and the rest that it asked for.
fn outcomes<O: Clone>(answered: Result<Vec<Outcome<O>>, Failure>, items: usize) -> (Vec<Outcome<O>>, Option<Duration>) {
    match answered {
        Ok(outcomes) if outcomes.len() == items => (outcomes, None),
        Ok(outcomes) => {
            let why = format!("the call gave {} outcomes for {items} items", outcomes.len());
            (vec![Outcome::Refused(why); items], None)
        }
        Err(Failure { why, retryable: false, retry_after }) => (vec![Outcome::Refused(why); items], retry_after),
        Err(Failure { why, retryable: true, retry_after }) => {
            (vec![Outcome::Again(why, retry_after); items], retry_after)
        }
    }
}
