//! Write-behind: writes wait in a queue that survives the process, and go to the source in batches.
//!
//! A write is acknowledged when it is in the journal (see [`Sync`] for what is then safe) and in the cache. One batch is under
//! way at a time and holds each key once, so the source sees the writes of a key in their order; a later write takes the
//! place of one that waits. What fails is tried again until it succeeds or is refused for good; what was in the journal when
//! the process ended is written after the next start, perhaps a second time ([`Write::again`](super::Write::again) says so).

mod journal;

pub use journal::Sync;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::codec::Codec;
use super::inner::Inner;
use super::key::CacheKey;
use super::policy::CachePolicy;
use super::source::{CacheError, Failure, Source, Write};
use super::write::Change;
use crate::retry::REST_MAX;
use journal::{Journal, Record};

struct Item<S: Source> {
    number: u64,
    key: S::Key,
    value: Option<S::Value>,
    since: Instant,
    again: bool,
}

/// The writes of one key.
struct Waiting<S: Source> {
    next: Option<Item<S>>,
    /// What is being written now; read until it has been.
    under_way: Option<Option<S::Value>>,
}

struct Queue<S: Source> {
    keys: HashMap<Box<str>, Waiting<S>>,
    /// Keys that have a next write, the oldest first; some have none any more.
    order: VecDeque<Box<str>>,
    number: u64,
    closed: bool,
    /// No more attempts: what is left waits in the journal for the next start.
    given_up: bool,
}

/// See the module.
pub(super) struct Behind<S: Source> {
    journal: Journal,
    queue: Mutex<Queue<S>>,
    wake: Notify,
    done: Notify,
    gave_up: Notify,
}

/// A record that is done again unless its write gets into the queue: one that was refused, or whose caller left, must not come
/// back over a later one.
struct Unqueued<'a>(&'a Journal, u64);

impl Drop for Unqueued<'_> {
    fn drop(&mut self) {
        self.0.done(std::iter::once(self.1));
    }
}

struct Batch<S: Source> {
    texts: Vec<Box<str>>,
    numbers: Vec<u64>,
    writes: Vec<Write<S::Key, S::Value>>,
}

impl<S: Source> Behind<S> {
    /// Opens the journal; what it holds waits again. With how many there are. Blocks.
    pub(super) fn open(path: &Path, sync: Sync, codec: Codec) -> io::Result<(Self, u64)> {
        let (journal, records) = Journal::open(path, sync)?;
        let mut queue =
            Queue { keys: HashMap::new(), order: VecDeque::new(), number: 0, closed: false, given_up: false };
        let (mut recovered, mut replaced) = (0, Vec::new());
        for record in records {
            queue.number = queue.number.max(record.number + 1);
            let value = record.value.as_deref().map(|bytes| codec.decode(bytes).ok_or(()));
            let (Some(key), Ok(value)) = (S::Key::from_text(&record.key), value.transpose()) else {
                return Err(io::Error::other(format!("the write of {} is not understood", record.key)));
            };
            let item = Item { number: record.number, key, value, since: Instant::now(), again: true };
            recovered += 1;
            replaced.extend(queue.put(&record.key, item));
        }
        journal.done(replaced.into_iter());
        let (queue, wake, done, gave_up) = (Mutex::new(queue), Notify::new(), Notify::new(), Notify::new());
        Ok((Self { journal, queue, wake, done, gave_up }, recovered))
    }

    /// The value that a key will have when what waits is written.
    pub(super) fn waiting(&self, text: &str) -> Option<Option<S::Value>> {
        let queue = self.queue.lock();
        let waiting = queue.keys.get(text)?;
        waiting.next.as_ref().map(|item| item.value.clone()).or_else(|| waiting.under_way.clone())
    }

    /// Whether a write of this key waits, or is under way.
    pub(super) fn holds(&self, text: &str) -> bool {
        self.queue.lock().keys.contains_key(text)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.lock().keys.len()
    }

    /// Takes a write, or makes it at once when too many wait. The caller has the key's turn.
    pub(super) async fn write(
        &self,
        inner: &Inner<S>,
        change: &Change<S>,
        policy: &CachePolicy,
    ) -> Result<(), CacheError> {
        let value = match &change.value {
            None => None,
            Some(value) => Some(inner.codec.encode(value).map_err(CacheError::Codec)?),
        };
        let number = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Err(CacheError::Closed);
            }
            let is_full = queue.keys.len() >= policy.write_queue && !queue.keys.contains_key(&*change.text);
            queue.number += 1;
            (!is_full).then_some(queue.number - 1)
        };
        let Some(number) = number else {
            inner.counters.writes_overflowed.add(1);
            return inner.write_aside(change, policy).await;
        };
        let unqueued = Unqueued(&self.journal, number);
        let acked = self.journal.append(&Record { number, key: change.text.clone(), value });
        acked.map_err(CacheError::Journal)?.await.map_err(|_gone| CacheError::Closed)?.map_err(CacheError::Journal)?;
        let (key, value) = (change.key.clone(), change.value.clone());
        let item = Item { number, key, value, since: Instant::now(), again: false };
        let replaced = self.queue.lock().put(&change.text, item);
        std::mem::forget(unqueued);
        if replaced.is_some() {
            inner.counters.writes_replaced.add(1);
            self.journal.done(replaced.into_iter());
        }
        self.wake.notify_one();
        inner.fill(change, None, policy).await
    }

    /// Takes no more, and waits until everything was written; false when it was not within that time. It stays in the
    /// journal then, and is not tried again before the next start.
    pub(super) async fn flush(&self, within: Duration) -> bool {
        self.queue.lock().closed = true;
        self.wake.notify_one();
        let empty = async {
            loop {
                let done = self.done.notified();
                if self.queue.lock().keys.is_empty() {
                    return;
                }
                done.await;
            }
        };
        let is_empty = timeout(within, empty).await.is_ok();
        if !is_empty {
            self.queue.lock().given_up = true;
            self.gave_up.notify_one();
        }
        is_empty
    }

    fn has_given_up(&self) -> bool {
        self.queue.lock().given_up
    }

    /// The next batch, or until when to wait for company, or nothing.
    fn take(&self, policy: &CachePolicy) -> Result<Batch<S>, Option<Instant>> {
        let mut queue = self.queue.lock();
        while let Some(text) = queue.order.front() {
            if queue.keys.get(text).is_some_and(|waiting| waiting.next.is_some()) {
                break;
            }
            queue.order.pop_front();
        }
        let since = queue.order.front().and_then(|text| queue.keys.get(text)?.next.as_ref()).map(|item| item.since);
        let Some(since) = since else { return Err(None) };
        let ready = since + policy.write_wait;
        if !queue.closed && queue.order.len() < policy.write_batch && Instant::now() < ready {
            return Err(Some(ready));
        }
        let mut batch = Batch { texts: Vec::new(), numbers: Vec::new(), writes: Vec::new() };
        while batch.writes.len() < policy.write_batch {
            let Some(text) = queue.order.pop_front() else { break };
            let Some(waiting) = queue.keys.get_mut(&text) else { continue };
            let Some(Item { number, key, value, again, .. }) = waiting.next.take() else { continue };
            waiting.under_way = Some(value.clone());
            batch.writes.push(Write { key, value, again });
            batch.numbers.push(number);
            batch.texts.push(text);
        }
        Ok(batch)
    }

    /// These are written, or never will be.
    fn finish(&self, texts: &[Box<str>], numbers: &[u64]) {
        // The note may be lost, the write then comes again; never the other way round.
        self.journal.done(numbers.iter().copied());
        let mut queue = self.queue.lock();
        for text in texts {
            if let Some(waiting) = queue.keys.get_mut(text) {
                waiting.under_way = None;
                if waiting.next.is_none() {
                    queue.keys.remove(text);
                }
            }
        }
        drop(queue);
        self.done.notify_waiters();
    }
}

impl<S: Source> Queue<S> {
    /// The number of the write that it replaces.
    fn put(&mut self, text: &str, item: Item<S>) -> Option<u64> {
        let fresh = || Waiting { next: None, under_way: None };
        let waiting = self.keys.entry(text.into()).or_insert_with(fresh);
        match waiting.next.as_mut() {
            Some(next) => {
                let since = next.since;
                let replaced = std::mem::replace(next, Item { since, ..item });
                Some(replaced.number)
            }
            None => {
                waiting.next = Some(item);
                self.order.push_back(text.into());
                None
            }
        }
    }
}

/// Writes what waits, until the cache is gone or was closed.
pub(super) async fn drive<S: Source>(inner: Weak<Inner<S>>) {
    loop {
        let Some(alive) = inner.upgrade() else { return };
        let Some(behind) = &alive.behind else { return };
        if behind.has_given_up() {
            return;
        }
        let policy = alive.policy();
        match behind.take(&policy) {
            Ok(batch) => write(&alive, behind, batch, &policy).await,
            Err(until) => {
                // Not for ever: the last clone of the cache may go meanwhile.
                let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
                tokio::select! {
                    () = behind.wake.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
        }
    }
}

async fn write<S: Source>(inner: &Arc<Inner<S>>, behind: &Behind<S>, mut batch: Batch<S>, policy: &CachePolicy) {
    let mut attempt = 1;
    loop {
        let failure = match call(inner, &batch.writes, policy).await {
            Ok(()) => {
                inner.counters.written_behind.add(batch.writes.len() as u64);
                return behind.finish(&batch.texts, &batch.numbers);
            }
            Err(failure) => failure,
        };
        batch.writes.iter_mut().for_each(|write| write.again = true);
        if failure.retryable {
            attempt += 1;
            inner.counters.retries.add(1);
            let jittered = policy.retry.ceiling(attempt).mul_f64(fastrand::f64());
            let pause = failure.retry_after.map_or(jittered, |after| after.min(REST_MAX).max(jittered));
            tokio::select! {
                () = behind.gave_up.notified() => {}
                () = sleep(pause.max(Duration::from_millis(1))) => {}
            }
            if behind.has_given_up() {
                return;
            }
        } else if batch.writes.len() == 1 {
            inner.counters.writes_refused.add(1);
            behind.finish(&batch.texts, &batch.numbers);
            // The cache holds what the source will never have. That others are not told yet is remembered.
            for text in &batch.texts {
                drop(inner.invalidate_key(text).await);
            }
            return;
        } else {
            return Box::pin(one_by_one(inner, behind, batch, policy)).await;
        }
    }
}

/// One of a batch is refused: which?
async fn one_by_one<S: Source>(inner: &Arc<Inner<S>>, behind: &Behind<S>, batch: Batch<S>, policy: &CachePolicy) {
    for ((text, number), one) in batch.texts.into_iter().zip(batch.numbers).zip(batch.writes) {
        if behind.has_given_up() {
            return;
        }
        let alone = Batch { texts: vec![text], numbers: vec![number], writes: vec![one] };
        write(inner, behind, alone, policy).await;
    }
}

/// In a task of its own, so that a panic in it is a failure like any other.
async fn call<S: Source>(
    inner: &Arc<Inner<S>>,
    writes: &[Write<S::Key, S::Value>],
    policy: &CachePolicy,
) -> Result<(), Failure> {
    let (source, writes) = (Arc::clone(inner), writes.to_vec());
    let mut task = tokio::spawn(async move { source.source.write(&writes).await });
    let failed = |why: String| Failure { why, retryable: true, retry_after: None };
    match timeout(policy.load_timeout, &mut task).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panicked)) => Err(Failure { retryable: false, ..failed("the write panicked".to_owned()) }),
        Err(_elapsed) => {
            task.abort();
            Err(failed(format!("no answer within load_timeout of {:?}", policy.load_timeout)))
        }
    }
}
