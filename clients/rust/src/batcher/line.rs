//! What waits, by priority and then in order.

use std::collections::VecDeque;

use super::queue::Key;

/// Which items go first. Every batch begins with the item that has waited longest, so that none waits for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// After the others, and the first to be given up when there is no room.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl Priority {
    const fn place(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Line([VecDeque<Key>; 3]);

impl Line {
    pub(super) fn push_back(&mut self, priority: Priority, key: Key) {
        self.of(priority).push_back(key);
    }

    pub(super) fn push_front(&mut self, priority: Priority, key: Key) {
        self.of(priority).push_front(key);
    }

    fn of(&mut self, priority: Priority) -> &mut VecDeque<Key> {
        let [high, normal, low] = &mut self.0;
        match priority.place() {
            0 => high,
            1 => normal,
            _ => low,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }

    /// The first of each priority, the highest first.
    pub(super) fn fronts(&self) -> impl Iterator<Item = Key> {
        self.0.iter().filter_map(|keys| keys.front().copied())
    }

    /// Takes one that is the first of its priority.
    pub(super) fn take(&mut self, key: Key) {
        if let Some(keys) = self.0.iter_mut().find(|keys| keys.front() == Some(&key)) {
            keys.pop_front();
        }
    }

    /// Gives up the newest of the lowest priority, if that is lower than `priority`.
    pub(super) fn shed_below(&mut self, priority: Priority) -> Option<Key> {
        let lower = self.0.iter_mut().skip(priority.place() + 1);
        lower.rev().find_map(VecDeque::pop_back)
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(VecDeque::clear);
    }
}
