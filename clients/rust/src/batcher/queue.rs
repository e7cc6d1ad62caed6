//! What waits, what is under way, and what may go next. No clock and no runtime: time is an argument.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::gather::Gather;
use super::line::{Line, Priority};
use super::policy::{BatchPolicy, Rate};
use super::stats::Stats;
use super::{Outcome, SubmitError};
use crate::retry::HOUR;

/// Number of an item while it is here.
pub(super) type Key = usize;
/// What an item's sender waits for.
pub(super) type Answer<O> = Result<O, SubmitError>;

struct Entry<I, O> {
    item: I,
    hash: u64,
    bytes: usize,
    priority: Priority,
    /// When it came; of its batch the oldest decides how long the others are waited for.
    since: Instant,
    /// The latest of its senders'.
    deadline: Instant,
    attempt: u32,
    senders: Vec<oneshot::Sender<Answer<O>>>,
}

impl<I, O> Entry<I, O> {
    fn is_wanted(&self) -> bool {
        self.senders.iter().any(|sender| !sender.is_closed())
    }
}

/// What to do now.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Send these.
    Batch(Vec<Key>),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing before something comes or is answered.
    Idle,
    /// Ask for leave to call.
    Ask(Rate),
}

/// How long the rate is kept to alone after the shared one could not be asked.
const ALONE: Duration = Duration::from_secs(1);

/// What the shared rate said last.
#[derive(Default)]
struct Leave {
    /// Whether there is a shared rate.
    is_shared: bool,
    granted: bool,
    /// It is not asked before.
    ask_at: Option<Instant>,
    /// It could not be asked, and is not until then.
    alone_until: Option<Instant>,
}

/// See the module.
pub(super) struct Queue<I, O> {
    policy: BatchPolicy,
    entries: Slab<Entry<I, O>>,
    /// Entries by item, when equal ones share an answer.
    by_item: HashTable<Key>,
    hasher: DefaultHashBuilder,
    waiting: Line,
    waiting_bytes: usize,
    /// Entries that wait for their next try.
    later: BTreeSet<(Instant, Key)>,
    batches: usize,
    calls: Bucket,
    leave: Leave,
    gather: Gather,
    retries: f64,
    /// The other side asked for a rest until then.
    rest_until: Option<Instant>,
    closed: bool,
}

impl<I: Clone + Eq + Hash, O: Clone> Queue<I, O> {
    pub(super) fn new(policy: BatchPolicy, is_shared: bool, now: Instant) -> Self {
        Self {
            entries: Slab::new(),
            by_item: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            waiting: Line::default(),
            waiting_bytes: 0,
            later: BTreeSet::new(),
            batches: 0,
            calls: Bucket::full(policy.rate, now),
            leave: Leave { is_shared, ..Leave::default() },
            gather: Gather::default(),
            retries: f64::from(policy.retry.budget_reserve),
            rest_until: None,
            closed: false,
            policy,
        }
    }

    pub(super) const fn policy(&self) -> &BatchPolicy {
        &self.policy
    }

    /// From now on `policy`; what waits already is sent under it.
    pub(super) fn set_policy(&mut self, policy: BatchPolicy, now: Instant) {
        if policy.rate != self.policy.rate {
            self.calls = Bucket::full(policy.rate, now);
        }
        self.retries = self.retries.min(f64::from(policy.retry.budget_reserve));
        self.policy = policy;
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Closed, and nobody waits for anything.
    pub(super) fn is_done(&self) -> bool {
        self.closed && self.entries.is_empty()
    }

    /// `(items here, batches under way)`.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.entries.len(), self.batches)
    }

    /// Takes an item. True when whoever decides what is next must look again.
    pub(super) fn submit(
        &mut self,
        (item, bytes, priority): (I, usize, Priority),
        sender: oneshot::Sender<Answer<O>>,
        now: Instant,
        stats: &Stats,
    ) -> Result<bool, SubmitError> {
        if self.closed {
            return Err(SubmitError::Closed);
        }
        stats.submitted.add(1);
        if self.policy.latency_budget.is_some() {
            self.gather.arrived(now);
        }
        let deadline = now + self.policy.deadline;
        let hash = if self.policy.deduplicate { self.hasher.hash_one(&item) } else { 0 };
        if let Some(entry) = self.twin(&item, hash) {
            entry.deadline = entry.deadline.max(deadline);
            entry.senders.push(sender);
            stats.coalesced.add(1);
            return Ok(false);
        }
        if self.entries.len() >= self.policy.max_queued {
            stats.refused.add(1);
            let full = SubmitError::Full(self.policy.max_queued);
            let Some(given_up) = self.waiting.shed_below(priority) else { return Err(full) };
            self.waiting_bytes -= self.entries.get(given_up).map_or(0, |entry| entry.bytes);
            self.answer(given_up, &Err(full));
        }
        let entry = Entry { item, hash, bytes, priority, since: now, deadline, attempt: 1, senders: vec![sender] };
        let key = self.entries.insert(entry);
        if self.policy.deduplicate {
            let entries = &self.entries;
            self.by_item.insert_unique(hash, key, |key| entries.get(*key).map_or(0, |entry| entry.hash));
        }
        self.waiting.push_back(priority, key);
        self.waiting_bytes += bytes;
        // In between, whoever decides sleeps until the oldest has waited long enough.
        Ok(self.waiting.len() == 1 || self.is_full())
    }

    fn twin(&mut self, item: &I, hash: u64) -> Option<&mut Entry<I, O>> {
        if !self.policy.deduplicate {
            return None;
        }
        let entries = &self.entries;
        let key = *self.by_item.find(hash, |key| entries.get(*key).is_some_and(|entry| entry.item == *item))?;
        self.entries.get_mut(key)
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= self.policy.max_items || self.waiting_bytes >= self.policy.max_bytes
    }

    /// What may be done at `now`.
    pub(super) fn next(&mut self, now: Instant, stats: &Stats) -> Next {
        self.take_up_retries(now);
        let Some(oldest) = self.oldest().map(|(since, _)| since) else {
            return self.later.first().map_or(Next::Idle, |(at, _)| Next::Wait(*at));
        };
        if self.batches >= self.policy.max_concurrent_batches {
            return Next::Idle;
        }
        let gathered = oldest + self.gather.wait(&self.policy, now);
        if self.batches > 0 && !self.closed && !self.is_full() && now < gathered {
            let retry = self.later.first().map_or(gathered, |(at, _)| *at);
            return Next::Wait(gathered.min(retry));
        }
        if let Some(rest_until) = self.rest_until.filter(|until| now < *until) {
            return Next::Wait(rest_until);
        }
        if let Some(not_yet) = self.leave_to_call(now) {
            return not_yet;
        }
        let batch = self.take_batch(now, stats);
        if batch.is_empty() {
            // All that waited was given up; what is left may be retries.
            return self.next(now, stats);
        }
        self.leave.granted = false;
        self.calls.take();
        self.batches += 1;
        stats.batches.add(1);
        stats.items.add(batch.len() as u64);
        Next::Batch(batch)
    }

    fn take_up_retries(&mut self, now: Instant) {
        while let Some((at, key)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, key));
            if let Some(entry) = self.entries.get(key) {
                self.waiting.push_front(entry.priority, key);
                self.waiting_bytes += entry.bytes;
            }
        }
    }

    /// What has waited longest, of the first of each priority.
    fn oldest(&self) -> Option<(Instant, Key)> {
        let since = |key: Key| self.entries.get(key).map(|entry| (entry.since, key));
        self.waiting.fronts().filter_map(since).min()
    }

    /// What is to be done before a call is made, if anything.
    fn leave_to_call(&mut self, now: Instant) -> Option<Next> {
        let shared = self.policy.rate.filter(|rate| rate.shared && self.leave.is_shared);
        let is_alone = self.leave.alone_until.is_some_and(|until| now < until);
        match shared.filter(|_| !is_alone) {
            Some(_) if self.leave.granted => None,
            Some(rate) => Some(self.leave.ask_at.filter(|at| now < *at).map_or(Next::Ask(rate), Next::Wait)),
            None => self.calls.look(now).err().map(Next::Wait),
        }
    }

    /// What the shared rate said: leave, or when to ask again, or nothing.
    pub(super) fn asked(&mut self, said: Result<Option<Duration>, String>, now: Instant) {
        match said {
            Ok(None) => self.leave.granted = true,
            Ok(Some(wait)) => self.leave.ask_at = Some(now + wait.min(HOUR)),
            Err(_unheard) => self.leave.alone_until = Some(now + ALONE),
        }
    }

    fn take_batch(&mut self, now: Instant, stats: &Stats) -> Vec<Key> {
        let (mut batch, mut bytes) = (Vec::with_capacity(self.waiting.len().min(self.policy.max_items)), 0);
        let mut first = self.oldest().map(|(_, key)| key);
        while let Some(key) =
            first.take().or_else(|| self.waiting.fronts().next()).filter(|_| batch.len() < self.policy.max_items)
        {
            let Some(entry) = self.entries.get(key) else { break };
            if !batch.is_empty() && bytes + entry.bytes > self.policy.max_bytes {
                break;
            }
            self.waiting.take(key);
            self.waiting_bytes -= entry.bytes;
            if !entry.is_wanted() {
                stats.given_up.add(1);
                self.forget(key);
            } else if entry.deadline <= now {
                stats.expired.add(1);
                self.answer(key, &Err(SubmitError::Deadline));
            } else {
                bytes += entry.bytes;
                stats.waited(now - entry.since);
                batch.push(key);
            }
        }
        batch
    }

    /// The items of a batch.
    pub(super) fn items(&self, batch: &VecDeque<Key>) -> Vec<I> {
        batch.iter().filter_map(|key| self.entries.get(*key)).map(|entry| entry.item.clone()).collect()
    }

    /// When the first came of those in a batch that are tried for the first time.
    pub(super) fn since(&self, batch: &VecDeque<Key>) -> Option<Instant> {
        let entries = batch.iter().filter_map(|key| self.entries.get(*key));
        entries.filter(|entry| entry.attempt == 1).map(|entry| entry.since).min()
    }

    /// Takes the outcomes of a batch, in its order. What was settled is no more in `batch`, should the host's code panic.
    pub(super) fn settle(&mut self, batch: &mut VecDeque<Key>, outcomes: Vec<Outcome<O>>, now: Instant, stats: &Stats) {
        for outcome in outcomes {
            let Some(key) = batch.pop_front() else { break };
            match outcome {
                Outcome::Done(output) => {
                    self.earn_retries();
                    stats.done.add(1);
                    self.answer(key, &Ok(output));
                }
                Outcome::Refused(why) => {
                    self.earn_retries();
                    stats.failed.add(1);
                    self.answer(key, &Err(SubmitError::Failed(why)));
                }
                Outcome::Again(why, after) => self.again(key, (why, after), now, stats),
            }
        }
        self.batches -= 1;
    }

    /// A call with so many items took so long.
    pub(super) fn called(&mut self, items: usize, took: Duration) {
        self.gather.called(items, took);
    }

    /// No call is made before `until`; the other side asked for it.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rest_until = Some(self.rest_until.map_or(until, |known| known.max(until)));
    }

    fn earn_retries(&mut self) {
        let retry = &self.policy.retry;
        self.retries = (self.retries + retry.budget_ratio).min(f64::from(retry.budget_reserve.max(1)));
    }

    fn again(&mut self, key: Key, (why, after): (String, Option<Duration>), now: Instant, stats: &Stats) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let retry = &self.policy.retry;
        let jittered = retry.ceiling(entry.attempt + 1).mul_f64(fastrand::f64());
        // No deadline is further away.
        let at = now + after.map_or(jittered, |after| after.max(jittered)).min(HOUR);
        let why_not = if entry.attempt >= retry.attempts {
            Some("attempts")
        } else if at >= entry.deadline {
            Some("deadline")
        } else if self.retries < 1.0 {
            Some("retry budget")
        } else {
            None
        };
        if let Some(bound) = why_not {
            stats.failed.add(1);
            self.answer(key, &Err(SubmitError::Exhausted { bound, why }));
            return;
        }
        self.retries -= 1.0;
        entry.attempt += 1;
        stats.retried.add(1);
        self.later.insert((at, key));
    }

    fn answer(&mut self, key: Key, answer: &Answer<O>) {
        for sender in self.forget(key) {
            // Who has left wants no answer.
            let _gone = sender.send(answer.clone());
        }
    }

    fn forget(&mut self, key: Key) -> Vec<oneshot::Sender<Answer<O>>> {
        let Some(entry) = self.entries.try_remove(key) else { return Vec::new() };
        if let Ok(found) = self.by_item.find_entry(entry.hash, |other| *other == key) {
            found.remove();
        }
        entry.senders
    }

    /// Answers everything that is still here.
    pub(super) fn abandon(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.later.clear();
        let keys: Vec<Key> = self.entries.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.answer(key, &Err(SubmitError::Closed));
        }
    }
}
