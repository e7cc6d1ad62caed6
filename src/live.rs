//! What is shown live: named sets of items whose changes are numbered, so that a reader can take up where it stopped.
//!
//! Layer 2. A [`Channel`] keeps the latest items only, and which keys changed at which number. A reader that lags gets the
//! latest value of every key that changed since its number, once; so a slow one costs nothing, and nothing is queued.
//! Whoever knows something publishes it; who reads it is not known here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

/// Changes of a channel that are remembered; a reader further behind gets everything.
const REMEMBERED: usize = 128;

/// Items by key.
pub type Items = BTreeMap<String, Value>;

/// What a reader has missed.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Everything, in place of what the reader has.
    Snapshot(Items),
    /// The keys that changed; null where one is gone.
    Delta(Items),
    /// There are no items for this reason.
    Failure(String),
}

/// Gives out numbers and says that something has changed.
#[derive(Clone, Debug)]
pub struct Board {
    next: Arc<AtomicU64>,
    changed: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { next: Arc::new(AtomicU64::new(1)), changed: watch::Sender::new(0) }
    }
}

impl Board {
    /// A channel without items.
    #[must_use]
    pub fn channel(&self) -> Channel {
        let created = self.next.fetch_add(1, Ordering::Relaxed);
        Channel { board: self.clone(), state: Mutex::new(State { seq: created, floor: created, ..State::default() }) }
    }

    /// Is marked changed with each publication on any channel.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// A named set of items.
#[derive(Debug)]
pub struct Channel {
    board: Board,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the latest change.
    seq: u64,
    /// Readers at this number or later can have a delta.
    floor: u64,
    /// True once something was published.
    published: bool,
    items: Items,
    failure: Option<String>,
    changes: VecDeque<(u64, Vec<String>)>,
}

impl Channel {
    /// Replaces the items; only what differs is a change.
    pub fn publish(&self, items: Items) {
        let mut state = self.state.lock();
        let keys = differing(&state.items, &items);
        if keys.is_empty() && state.failure.is_none() && state.published {
            return;
        }
        state.items = items;
        let was_down = state.failure.take().is_some();
        self.number(&mut state, keys, was_down);
    }

    /// Says why there are no items.
    pub fn fail(&self, reason: String) {
        let mut state = self.state.lock();
        if state.failure.as_ref() != Some(&reason) {
            state.items.clear();
            state.failure = Some(reason);
            self.number(&mut state, Vec::new(), true);
        }
    }

    fn number(&self, state: &mut State, keys: Vec<String>, restart: bool) {
        let seq = self.board.next.fetch_add(1, Ordering::Relaxed);
        (state.seq, state.published) = (seq, true);
        state.changes.push_back((seq, keys));
        if restart {
            state.changes.clear();
            state.floor = seq;
        } else if state.changes.len() > REMEMBERED {
            state.floor = state.changes.pop_front().map_or(seq, |(dropped, _)| dropped);
        }
        self.board.changed.send_replace(seq);
    }

    /// What a reader that has everything up to `after` has missed, and the number it is at then.
    #[must_use]
    pub fn since(&self, after: Option<u64>) -> Option<(u64, News)> {
        let state = self.state.lock();
        if !state.published || after == Some(state.seq) {
            return None;
        }
        let news = match (&state.failure, after) {
            (Some(reason), _) => News::Failure(reason.clone()),
            (None, Some(after)) if state.floor <= after && after < state.seq => News::Delta(state.changed_after(after)),
            _ => News::Snapshot(state.items.clone()),
        };
        Some((state.seq, news))
    }
}

impl State {
    fn changed_after(&self, after: u64) -> Items {
        let recent = self.changes.iter().filter(|(seq, _)| *seq > after);
        let keys: BTreeSet<&String> = recent.flat_map(|(_, keys)| keys).collect();
        keys.into_iter().map(|key| (key.clone(), self.items.get(key).cloned().unwrap_or(Value::Null))).collect()
    }
}

fn differing(old: &Items, new: &Items) -> Vec<String> {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key);
    gone.chain(changed).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items(pairs: &[(&str, i64)]) -> Items {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
    }

    #[test]
    fn a_new_reader_gets_everything_and_then_only_what_changed() {
        let channel = Board::default().channel();
        assert_eq!(channel.since(None), None, "nothing was published");
        channel.publish(items(&[("a", 1), ("b", 1)]));
        let (first, news) = channel.since(None).expect("published");
        assert_eq!(news, News::Snapshot(items(&[("a", 1), ("b", 1)])));
        assert_eq!(channel.since(Some(first)), None);
        channel.publish(items(&[("a", 2), ("b", 1)]));
        let (second, news) = channel.since(Some(first)).expect("changed");
        assert_eq!(news, News::Delta(items(&[("a", 2)])));
        channel.publish(items(&[("a", 2)]));
        let gone: Items = [("b".to_owned(), Value::Null)].into();
        assert_eq!(channel.since(Some(second)).expect("changed").1, News::Delta(gone));
    }

    #[test]
    fn a_reader_that_lags_gets_the_latest_of_each_key_once() {
        let channel = Board::default().channel();
        channel.publish(items(&[("a", 0), ("b", 0)]));
        let (first, _) = channel.since(None).expect("published");
        for n in 1..=REMEMBERED as i64 {
            channel.publish(items(&[("a", n), ("b", 0)]));
        }
        assert_eq!(channel.since(Some(first)).expect("changed").1, News::Delta(items(&[("a", REMEMBERED as i64)])));
        for n in 1..=2 {
            channel.publish(items(&[("a", -n), ("b", 0)]));
        }
        assert!(matches!(channel.since(Some(first)), Some((_, News::Snapshot(_)))), "too far behind for a delta");
    }

    #[test]
    fn the_same_items_again_are_no_change() {
        let board = Board::default();
        let (channel, watch) = (board.channel(), board.watch());
        channel.publish(items(&[("a", 1)]));
        let seq = channel.since(None).map(|(seq, _)| seq);
        channel.publish(items(&[("a", 1)]));
        assert_eq!(channel.since(None).map(|(seq, _)| seq), seq);
        assert_eq!(Some(*watch.borrow()), seq);
    }

    #[test]
    fn a_failure_replaces_the_items_and_ends_with_a_snapshot() {
        let channel = Board::default().channel();
        channel.publish(items(&[("a", 1)]));
        let (before, _) = channel.since(None).expect("published");
        channel.fail("the database is away".to_owned());
        let (during, news) = channel.since(Some(before)).expect("failed");
        assert_eq!(news, News::Failure("the database is away".to_owned()));
        channel.publish(items(&[("a", 1)]));
        assert_eq!(channel.since(Some(during)).expect("back").1, News::Snapshot(items(&[("a", 1)])));
    }

    #[test]
    fn a_channel_made_anew_never_takes_old_numbers_for_its_own() {
        let board = Board::default();
        let old = board.channel();
        old.publish(items(&[("a", 1)]));
        let (seq, _) = old.since(None).expect("published");
        let new = board.channel();
        new.publish(items(&[("a", 1)]));
        assert!(matches!(new.since(Some(seq)), Some((_, News::Snapshot(_)))));
    }
}
