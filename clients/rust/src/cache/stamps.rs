//! What was made invalid, and when, as far as this process knows.
//!
//! Each invalidation by tag, by prefix or of all gets the next *generation* here, and has a *stamp* in Redis when there is
//! one. An entry in memory carries the generation in which its load began, an entry in Redis the stamp: it is read as long
//! as nothing that it depends on has a later one. So an invalidation costs the same for one entry and for millions, and a
//! load that began before it can be stored, but not read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use std::hash::BuildHasher;

/// Tags whose last invalidation is known; with more, all entries from before count as invalid.
const TAGS_MAX: usize = 65_536;
/// Prefixes likewise.
pub(super) const PREFIXES_MAX: usize = 256;

/// Of one invalidation: the generation here, and the stamp in Redis, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct When {
    generation: u32,
    stamp: u64,
}

impl When {
    fn later(self, other: Self) -> Self {
        Self { generation: self.generation.max(other.generation), stamp: self.stamp.max(other.stamp) }
    }
}

#[derive(Default)]
struct Known {
    tags: HashMap<u32, When>,
    prefixes: VecDeque<(String, When)>,
    all: When,
    /// Invalidations with stamps above this are all known.
    since: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Stamps {
    generation: AtomicU32,
    known: Mutex<Known>,
    hasher: DefaultHashBuilder,
}

/// What is known of an entry that was read from Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing that it depends on was made invalid.
    Good,
    Invalid,
    /// It must be asked for.
    Unknown,
}

impl Stamps {
    #[inline]
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// A tag as entries in memory carry it. Two tags with one hash are made invalid together, which loses a load, no more.
    pub(super) fn tag(&self, tag: &str) -> u32 {
        self.hasher.hash_one(tag) as u32
    }

    /// Whether an entry in memory of generation `stamp` may be read.
    pub(super) fn is_good(&self, stamp: u32, key: &str, mut tags: impl Iterator<Item = u32>) -> bool {
        match self.generation() {
            // After four thousand million invalidations nothing in memory is read any more.
            u32::MAX => return false,
            generation if generation == stamp => return true,
            _ => {}
        }
        let known = self.known.lock();
        let later = |when: &When| when.generation > stamp;
        !later(&known.all)
            && !tags.any(|tag| known.tags.get(&tag).is_some_and(later))
            && !known.prefixes.iter().any(|(prefix, when)| later(when) && key.starts_with(prefix.as_str()))
    }

    /// Whether an entry in Redis with `stamp` may be read.
    pub(super) fn standing(&self, stamp: u64, key: &str, tags: &[String]) -> Standing {
        let known = self.known.lock();
        let later = |when: &When| when.stamp > stamp;
        let invalid = later(&known.all)
            || tags.iter().any(|tag| known.tags.get(&self.tag(tag)).is_some_and(later))
            || known.prefixes.iter().any(|(prefix, when)| later(when) && key.starts_with(prefix.as_str()));
        match invalid {
            true => Standing::Invalid,
            false if stamp >= known.since => Standing::Good,
            false => Standing::Unknown,
        }
    }

    /// From now on everything above `since` is told.
    pub(super) fn know_since(&self, since: u64) {
        self.known.lock().since = since;
    }

    fn with_next(&self, stamp: u64, note: impl FnOnce(&mut Known, When)) {
        let mut known = self.known.lock();
        let generation = self.generation.load(Ordering::Relaxed).saturating_add(1);
        note(&mut known, When { generation, stamp });
        // Whoever reads the new generation finds what belongs to it.
        self.generation.store(generation, Ordering::Release);
    }

    pub(super) fn note_tag(&self, tag: &str, stamp: u64) {
        let tag = self.tag(tag);
        self.with_next(stamp, |known, when| {
            if known.tags.len() >= TAGS_MAX && !known.tags.contains_key(&tag) {
                let latest = known.tags.values().fold(When::default(), |latest, when| latest.later(*when));
                known.tags.clear();
                known.all = known.all.later(latest);
            }
            let before = known.tags.get(&tag).copied().unwrap_or_default();
            known.tags.insert(tag, before.later(when));
        });
    }

    pub(super) fn note_prefix(&self, prefix: &str, stamp: u64) {
        self.with_next(stamp, |known, when| {
            known.prefixes.retain(|(other, _)| other != prefix);
            known.prefixes.push_back((prefix.to_owned(), when));
            if known.prefixes.len() > PREFIXES_MAX
                && let Some((_, oldest)) = known.prefixes.pop_front()
            {
                known.all = known.all.later(oldest);
            }
        });
    }

    pub(super) fn note_all(&self, stamp: u64) {
        self.with_next(stamp, |known, when| known.all = known.all.later(when));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_before_is_not_read_after() {
        let stamps = Stamps::default();
        let (a, b) = (stamps.tag("a"), stamps.tag("b"));
        let before = stamps.generation();
        stamps.note_tag("a", 10);
        assert!(!stamps.is_good(before, "k", [a].into_iter()) && stamps.is_good(before, "k", [b].into_iter()));
        let between = stamps.generation();
        assert!(stamps.is_good(between, "k", [a].into_iter()));
        stamps.note_prefix("user:", 20);
        assert!(
            !stamps.is_good(between, "user:1", [].into_iter()) && stamps.is_good(between, "item:1", [].into_iter())
        );
        assert_eq!(stamps.standing(5, "item", &["a".to_owned()]), Standing::Invalid);
        assert_eq!(stamps.standing(15, "item", &["a".to_owned()]), Standing::Good);
        stamps.know_since(17);
        assert_eq!(stamps.standing(15, "item", &["a".to_owned()]), Standing::Unknown);
        stamps.note_all(30);
        assert_eq!(stamps.standing(29, "item", &[]), Standing::Invalid);
        assert!(!stamps.is_good(between, "item:1", [].into_iter()));
    }

    #[test]
    fn more_than_can_be_known_makes_too_much_invalid_and_never_too_little() {
        let stamps = Stamps::default();
        let (first, before) = (stamps.tag("tag 0"), stamps.generation());
        for n in 0..TAGS_MAX + 10 {
            stamps.note_tag(&format!("tag {n}"), 0);
        }
        for n in 0..PREFIXES_MAX + 10 {
            stamps.note_prefix(&format!("prefix {n}"), 0);
        }
        assert!(!stamps.is_good(before, "prefix 0", [first].into_iter()));
        assert!(stamps.known.lock().tags.len() <= TAGS_MAX);
    }
}
