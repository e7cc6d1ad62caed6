//! Sequence memos: for each resource, which series came after which in its last export.
//!
//! A data point is expected to be the series that followed last time; a 128-bit hash of its raw identity bytes proves it.
//! Only a miss looks into the map, and only a series never seen is decoded. A hash-map lookup costs 50 to 400 ns at a
//! million series, a right guess a compare.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::model::TimeMs;
use crate::rollup::{Registry, Slot, Template};

/// Templates remembered of a resource: exporters interleave a few instrument sets.
const TEMPLATES: usize = 4;

/// Where in the memo.
pub(super) type EntryIndex = u32;

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u128,
    slot: Slot,
    next: EntryIndex,
}

/// What a cumulative series folded into the overflow series showed last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folded {
    pub(super) start: TimeMs,
    pub(super) value: f64,
}

/// The memo of one resource.
#[derive(Default)]
pub(super) struct Memo {
    entries: Vec<Entry>,
    map: HashTable<EntryIndex>,
    previous: EntryIndex,
    templates: VecDeque<Arc<Template>>,
    /// Last totals of cumulative series beyond the cardinality cap, by entry.
    pub(super) folded: hashbrown::HashMap<EntryIndex, Folded>,
}

impl Memo {
    /// Starts an export: the first series is expected where the last export began.
    pub(super) fn begin(&mut self) {
        self.previous = EntryIndex::MAX;
    }

    /// The series with this raw identity, if it is known.
    #[inline]
    pub(super) fn find(&mut self, hash: u128) -> Option<(EntryIndex, Slot)> {
        let expected = self.entries.get(self.previous as usize).map_or(0, |entry| entry.next);
        if let Some(entry) = self.entries.get(expected as usize).filter(|entry| entry.hash == hash) {
            self.previous = expected;
            return Some((expected, entry.slot));
        }
        let found = *self.map.find(hash as u64, |at| self.entries.get(*at as usize).is_some_and(|e| e.hash == hash))?;
        self.follow(found);
        self.entries.get(found as usize).map(|entry| (found, entry.slot))
    }

    /// Remembers a raw identity.
    pub(super) fn insert(&mut self, hash: u128, slot: Slot) -> EntryIndex {
        let at = self.entries.len() as EntryIndex;
        self.entries.push(Entry { hash, slot, next: at + 1 });
        let entries = &self.entries;
        self.map.insert_unique(hash as u64, at, |at| entries.get(*at as usize).map_or(0, |e| e.hash as u64));
        self.follow(at);
        at
    }

    fn follow(&mut self, at: EntryIndex) {
        if let Some(previous) = self.entries.get_mut(self.previous as usize) {
            previous.next = at;
        }
        self.previous = at;
    }

    /// The template of `slots`: one of the last few, or a new one.
    pub(super) fn template(&mut self, registry: &Registry, slots: &[Slot]) -> Arc<Template> {
        if let Some(known) = self.templates.iter().find(|template| *template.slots == *slots) {
            return Arc::clone(known);
        }
        let template = Arc::new(Template::new(registry, slots.into()));
        self.templates.truncate(TEMPLATES - 1);
        self.templates.push_front(Arc::clone(&template));
        template
    }

    /// Number of raw identities.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_last_export_is_expected_and_changes_are_learnt() {
        let mut memo = Memo::default();
        memo.begin();
        for (hash, slot) in [(10, 0), (20, 1), (30, 2)] {
            assert_eq!(memo.find(hash), None);
            memo.insert(hash, slot);
        }
        for order in [[10, 20, 30], [10, 30, 20], [30, 10, 20]] {
            memo.begin();
            for hash in order {
                assert_eq!(memo.find(hash).map(|(_, slot)| u128::from(slot)), Some(hash / 10 - 1));
            }
        }
    }
}
