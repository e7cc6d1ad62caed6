//! Keeps topics up to date: each is evaluated once for all who read it, when something new has arrived.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::topic::Topic;
use crate::gateway::State;

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Least time between two evaluations of a topic within a window, when late points have come.
const EVALUATE_EVERY: Duration = Duration::from_secs(1);
/// The ledger is only counters.
const LEDGER_EVERY: Duration = Duration::from_millis(500);
/// Alerts are of all replicas: the database is asked, as long as somebody reads.
const ALERTS_EVERY: Duration = Duration::from_secs(1);
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
    evaluated: Option<Evaluated>,
    last_read: Instant,
}

/// The last evaluation.
struct Evaluated {
    ended: Instant,
    took: Duration,
    /// What was known when it began.
    known: Known,
}

/// What an evaluation would see.
#[derive(Clone, Copy, PartialEq)]
struct Known {
    /// Number of the open window.
    window: i64,
    /// Sum of the rows applied.
    applied: i64,
}

impl Entry {
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, running: false, evaluated: None, last_read: Instant::now() }
    }

    fn is_due(&self, topic: &Topic, now: Instant, known: Known) -> bool {
        let Some(last) = &self.evaluated else { return !self.running };
        if self.running {
            return false;
        }
        let rested = now.duration_since(last.ended);
        if *topic == Topic::Ledger {
            return rested >= LEDGER_EVERY;
        }
        if *topic == Topic::Alerts {
            return rested >= ALERTS_EVERY.max(last.took * REST_FACTOR);
        }
        let is_late = known.applied != last.known.applied && rested >= EVALUATE_EVERY;
        rested >= last.took * REST_FACTOR && (known.window != last.known.window || is_late)
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

fn known(state: &State) -> Known {
    let window = Utc::now().timestamp_millis().div_euclid(state.facts.window.millis());
    Known { window, applied: state.streams.list().iter().map(|stream| stream.head.applied_seq()).sum() }
}

/// Forgets topics that nobody reads; returns those to evaluate, longest rested first.
fn due(state: &State) -> Vec<Topic> {
    let (now, known) = (Instant::now(), known(state));
    let mut topics = state.live.topics.lock();
    topics.retain(|_, entry| {
        if Arc::strong_count(&entry.feed) > 1 {
            entry.last_read = now;
        }
        now.duration_since(entry.last_read) < KEPT
    });
    state.live.metrics.topics.set(topics.len() as i64);
    let is_due = |topic: &Topic, entry: &Entry| entry.last_read == now && entry.is_due(topic, now, known);
    let mut due: Vec<(Option<Instant>, Topic)> = topics
        .iter()
        .filter(|(topic, entry)| is_due(topic, entry))
        .map(|(topic, entry)| (entry.evaluated.as_ref().map(|last| last.ended), topic.clone()))
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
    let (began, known) = (Instant::now(), known(state));
    let items = tokio::time::timeout(DEADLINE, topic.evaluate(state)).await;
    let items = items.unwrap_or_else(|_| Err(format!("not evaluated within {} s", DEADLINE.as_secs())));
    state.live.metrics.evaluations.inc();
    let feed = {
        let mut topics = state.live.topics.lock();
        let Some(entry) = topics.get_mut(topic) else { return };
        entry.running = false;
        entry.evaluated = Some(Evaluated { ended: Instant::now(), took: began.elapsed(), known });
        Arc::clone(&entry.feed)
    };
    match items {
        Ok(items) => feed.channel.publish(items),
        Err(reason) => feed.channel.fail(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Board;

    #[test]
    fn a_topic_is_due_for_a_new_window_and_for_late_points_and_then_rests() {
        let now = Instant::now();
        let known = Known { window: 7, applied: 3 };
        let check = |topic: &Topic, rested_ms: u64, took_ms: u64, next: Known| {
            let took = Duration::from_millis(took_ms);
            let evaluated = Some(Evaluated { ended: now, took, known });
            let feed = Arc::new(Feed::new(topic.to_string(), Board::default().channel()));
            let entry = Entry { evaluated, ..Entry::new(feed) };
            entry.is_due(topic, now + Duration::from_millis(rested_ms), next)
        };
        let query = Topic::Query("up".to_owned());
        let (late, next) = (Known { applied: 4, ..known }, Known { window: 8, ..known });
        assert!(!check(&query, 60_000, 1, known), "nothing is new");
        assert!(check(&query, 10, 1, next) && !check(&query, 9, 1, next), "ten times as long as it took");
        assert!(check(&query, 1_000, 1, late) && !check(&query, 999, 1, late), "late points wait for more");
        assert!(check(&Topic::Alerts, 1_000, 1, known) && !check(&Topic::Alerts, 1_999, 200, known));
        assert!(check(&Topic::Ledger, 500, 1, known) && !check(&Topic::Ledger, 499, 1, known));
    }
}
