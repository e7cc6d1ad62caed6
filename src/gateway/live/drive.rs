//! Keeps topics up to date: each is evaluated once for all who read it, when something new has arrived.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::topic::Topic;
use crate::gateway::State;

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Least time between two evaluations of a topic.
const EVALUATE_EVERY: Duration = Duration::from_secs(1);
/// The ledger is only counters.
const LEDGER_EVERY: Duration = Duration::from_millis(500);
/// An evaluation rests so many times as long as it took: live readers cost a tenth of a core for each place.
const REST_FACTOR: u32 = 10;
/// Evaluations at once.
const PLACES: usize = 4;
/// How long an evaluation may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// A topic that nobody reads is kept so long, for those who come back.
const KEPT: Duration = Duration::from_secs(60);

/// A topic as the driver knows it.
pub(super) struct Entry {
    pub(super) feed: Arc<Feed>,
    running: bool,
    /// When, for how long, and at which sum of applied rows.
    evaluated: Option<(Instant, Duration, i64)>,
    last_read: Instant,
}

impl Entry {
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, running: false, evaluated: None, last_read: Instant::now() }
    }

    fn is_due(&self, topic: &Topic, now: Instant, applied: i64, window: Duration) -> bool {
        let Some((at, took, seen)) = self.evaluated else { return !self.running };
        let rested = now.duration_since(at);
        if self.running {
            return false;
        }
        if *topic == Topic::Ledger {
            return rested >= LEDGER_EVERY;
        }
        rested >= EVALUATE_EVERY.max(took * REST_FACTOR) && (applied != seen || rested >= window)
    }
}

/// Evaluates what is due until cancelled.
pub(in crate::gateway) async fn drive(state: Arc<State>, cancel: CancellationToken) {
    let places = Arc::new(Semaphore::new(PLACES));
    let mut running = JoinSet::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = state.live.wake.notified() => {}
            Some(_) = running.join_next(), if !running.is_empty() => continue,
            () = cancel.cancelled() => return,
        }
        for topic in due(&state) {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
            if start(&state, &topic) {
                let state = Arc::clone(&state);
                running.spawn(async move {
                    evaluate(&state, &topic).await;
                    drop(place);
                });
            }
        }
    }
}

fn applied(state: &State) -> i64 {
    state.streams.list().iter().map(|stream| stream.head.applied_seq()).sum()
}

/// Forgets topics that nobody reads; returns those to evaluate, longest rested first.
fn due(state: &State) -> Vec<Topic> {
    let (now, applied) = (Instant::now(), applied(state));
    let window = Duration::from_secs(u64::from(state.facts.window.seconds()));
    let mut topics = state.live.topics.lock();
    topics.retain(|_, entry| {
        if Arc::strong_count(&entry.feed) > 1 {
            entry.last_read = now;
        }
        now.duration_since(entry.last_read) < KEPT
    });
    state.live.metrics.topics.set(topics.len() as i64);
    let is_due = |topic: &Topic, entry: &Entry| entry.last_read == now && entry.is_due(topic, now, applied, window);
    let mut due: Vec<(Option<Instant>, Topic)> = topics
        .iter()
        .filter(|(topic, entry)| is_due(topic, entry))
        .map(|(topic, entry)| (entry.evaluated.map(|(at, ..)| at), topic.clone()))
        .collect();
    due.sort_by_key(|(at, _)| *at);
    due.into_iter().map(|(_, topic)| topic).collect()
}

/// Marks `topic` as being evaluated; false when it is gone.
fn start(state: &State, topic: &Topic) -> bool {
    let mut topics = state.live.topics.lock();
    topics.get_mut(topic).map(|entry| entry.running = true).is_some()
}

async fn evaluate(state: &State, topic: &Topic) {
    let (began, seen) = (Instant::now(), applied(state));
    let items = tokio::time::timeout(DEADLINE, topic.evaluate(state)).await;
    let items = items.unwrap_or_else(|_| Err(format!("not evaluated within {} s", DEADLINE.as_secs())));
    state.live.metrics.evaluations.inc();
    let feed = {
        let mut topics = state.live.topics.lock();
        let Some(entry) = topics.get_mut(topic) else { return };
        entry.running = false;
        entry.evaluated = Some((Instant::now(), began.elapsed(), seen));
        Arc::clone(&entry.feed)
    };
    match items {
        Ok(items) => feed.channel.publish(items),
        Err(reason) => feed.channel.fail(reason),
    }
}
