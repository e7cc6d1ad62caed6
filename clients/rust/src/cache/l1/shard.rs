//! One shard: two queues of segments, S3-FIFO among them, and a table that finds records in them.
//!
//! A record is appended to the youngest segment of its queue and never moves until the segment is the oldest: then what was
//! read since is appended again, and the rest is gone with the segment. So there is no free list, no list of neighbours and
//! nothing left over between records, and whatever is allocated is counted.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::ghost::{Ghosts, Gone};
use super::record::{self, Held, New, UNIT};

/// A place: the segment's number, and the record's offset in units.
const OFFSET_BITS: u32 = 13;
/// Most bytes of a segment, those apart that hold one large record.
const SEGMENT_MAX: usize = UNIT << OFFSET_BITS;
const SEGMENT_MIN: usize = 2 << 10;
/// Segments in which a full shard lies, about.
const SEGMENTS: usize = 128;
/// Of a full shard, this part is for entries that were not read again yet. Measured with one read to stay, ghosts for half of
/// the entries and counts up to 3, on Zipf 0.99 over ten times the room: of keys that keep their rank a twenty-fifth wins
/// 0.1 points, of keys that change it a tenth 1.0.
const YOUNG_PART: usize = 12;
/// Reads that bring a record into the main queue; two lose 0.5 points and more in all of these.
const READS_TO_STAY: u8 = 1;
/// Of the budget, what lies beside the segments may take one part in so many when the budget is made smaller.
const BESIDE_PART: usize = 4;
/// Segments whose records may all be kept when room is made; after them what is oldest goes, read or not.
const KEPT_SEGMENTS_MAX: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Young,
    Main,
}

struct Segment {
    data: Vec<u8>,
    live: u32,
    queue: Queue,
}

/// What became of an entry that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Under its key.
    Kept,
    /// It is larger than an eighth of its shard.
    TooLarge,
}

/// What came of a look at an entry.
pub(crate) struct Looked<R> {
    pub(crate) made: R,
    /// Its value is asked for.
    pub(crate) is_wanted: bool,
    /// It counts as a hit.
    pub(crate) is_hit: bool,
    /// It is as good as one of this generation.
    pub(crate) restamp: Option<u32>,
}

/// Makes the hash of a key, for records that change their place in the table.
pub(super) trait HashOf: Fn(&[u8]) -> u64 {}
impl<F: Fn(&[u8]) -> u64> HashOf for F {}

/// See the module.
pub(super) struct Shard {
    table: HashTable<u32>,
    segments: Vec<Option<Segment>>,
    free: Vec<u32>,
    young: VecDeque<u32>,
    main: VecDeque<u32>,
    /// Of the segments of either queue.
    young_bytes: usize,
    main_bytes: usize,
    ghosts: Ghosts,
    budget: usize,
    pub(super) evicted: u64,
    pub(super) hits: u64,
}

impl Shard {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            table: HashTable::new(),
            segments: Vec::new(),
            free: Vec::new(),
            young: VecDeque::new(),
            main: VecDeque::new(),
            young_bytes: 0,
            main_bytes: 0,
            ghosts: Ghosts::default(),
            budget,
            evicted: 0,
            hits: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// All that it has allocated.
    pub(super) fn bytes(&self) -> usize {
        let numbers = self.young.capacity() + self.main.capacity() + self.free.capacity();
        self.young_bytes
            + self.main_bytes
            + self.table.allocation_size()
            + self.ghosts.bytes()
            + self.segments.capacity() * size_of::<Option<Segment>>()
            + numbers * size_of::<u32>()
    }

    #[inline]
    fn at(segments: &[Option<Segment>], place: u32) -> &[u8] {
        let segment = segments.get((place >> OFFSET_BITS) as usize).and_then(Option::as_ref);
        let offset = (place & ((1 << OFFSET_BITS) - 1)) as usize * UNIT;
        segment.and_then(|segment| segment.data.get(offset..)).unwrap_or_default()
    }

    #[inline]
    fn at_mut(&mut self, place: u32) -> &mut [u8] {
        let segment = self.segments.get_mut((place >> OFFSET_BITS) as usize).and_then(Option::as_mut);
        let offset = (place & ((1 << OFFSET_BITS) - 1)) as usize * UNIT;
        segment.and_then(|segment| segment.data.get_mut(offset..)).unwrap_or_default()
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let segments = &self.segments;
        self.table.find(hash, |place| record::is_of(Self::at(segments, *place), key)).copied()
    }

    /// What `look` makes of the entry, which counts as read.
    #[inline]
    pub(super) fn read<R>(&mut self, hash: u64, key: &[u8], look: impl FnOnce(&Held<'_>) -> Looked<R>) -> Option<R> {
        let place = self.find(hash, key)?;
        let data = self.at_mut(place);
        record::note_read(data);
        let (held, _) = record::parse(data)?;
        let Looked { made, is_hit, restamp, .. } = look(&held);
        if let Some(stamp) = restamp {
            record::restamp(data, stamp);
        }
        self.hits += u64::from(is_hit);
        Some(made)
    }

    /// Why there is no entry, if that is still known.
    pub(super) fn why_gone(&self, hash: u64) -> Option<Gone> {
        self.ghosts.why(hash)
    }

    /// Stores `new` in the place of whatever is under its key.
    pub(super) fn insert(&mut self, hash: u64, new: &New<'_>, hash_of: impl HashOf) -> Stored {
        if new.len() > self.budget / 8 {
            self.remove(hash, new.key, Gone::Evicted, hash_of);
            return Stored::TooLarge;
        }
        let (mut queue, mut reads) = (Queue::Young, 0);
        if let Some(old) = self.find(hash, new.key) {
            reads = record::reads(Self::at(&self.segments, old));
            if let Some(segment) = self.segment_of(old) {
                queue = segment.queue;
            }
            self.forget(hash, old);
        } else if self.ghosts.why(hash) == Some(Gone::Evicted) {
            queue = Queue::Main;
        }
        let place = self.append(queue, new, reads);
        let segments = &self.segments;
        self.table.insert_unique(hash, place, |place| {
            record::parse(Self::at(segments, *place)).map_or(0, |(held, _)| hash_of(held.key))
        });
        self.make_room(hash_of);
        Stored::Kept
    }

    fn segment_of(&mut self, place: u32) -> Option<&mut Segment> {
        self.segments.get_mut((place >> OFFSET_BITS) as usize).and_then(Option::as_mut)
    }

    pub(super) fn remove(&mut self, hash: u64, key: &[u8], gone: Gone, hash_of: impl HashOf) -> bool {
        let Some(place) = self.find(hash, key) else { return false };
        self.forget(hash, place);
        self.ghosts.fit(self.table.len());
        self.ghosts.note(hash, gone);
        self.make_room(hash_of);
        true
    }

    pub(super) fn clear(&mut self) {
        let (budget, evicted, hits) = (self.budget, self.evicted, self.hits);
        *self = Self { evicted, hits, ..Self::new(budget) };
    }

    pub(super) fn set_budget(&mut self, budget: usize, hash_of: impl HashOf) {
        self.budget = budget;
        if self.bytes() - self.young_bytes - self.main_bytes > budget / BESIDE_PART {
            self.rebuild(&hash_of);
        }
        self.make_room(hash_of);
    }

    /// Makes everything anew, for it does not get smaller with what it is for: the youngest records that have room are kept,
    /// in segments as a shard of this size has them.
    fn rebuild(&mut self, hash_of: &impl HashOf) {
        let (budget, evicted, hits) = (self.budget, self.evicted + self.table.len() as u64, self.hits);
        let old = std::mem::replace(self, Self { evicted, hits, ..Self::new(budget) });
        let young = old.young_bytes.min(budget / YOUNG_PART);
        let mut segments = old.segments;
        for (numbers, room) in [(old.main, budget - young), (old.young, young)] {
            let (mut kept, mut taken) = (Vec::new(), 0);
            for number in numbers.into_iter().rev() {
                let Some(segment) = segments.get_mut(number as usize).and_then(Option::take) else { continue };
                taken += segment.data.len();
                kept.push(segment);
                // Of the last one, room is made for what is younger.
                if taken >= room {
                    break;
                }
            }
            kept.into_iter().rev().for_each(|segment| self.take_over(&segment, hash_of));
        }
        self.evicted -= self.table.len() as u64;
    }

    /// Appends all that lives in a segment to its queue.
    fn take_over(&mut self, segment: &Segment, hash_of: &impl HashOf) {
        let mut offset = 0;
        while let Some(data) = segment.data.get(offset..) {
            let Some((held, len)) = record::parse(data) else { break };
            offset += len;
            if record::is_dead(data) || len > self.budget / 8 {
                continue;
            }
            let place = self.copy(segment.queue, (data, len), record::reads(data));
            let segments = &self.segments;
            self.table.insert_unique(hash_of(held.key), place, |place| {
                record::parse(Self::at(segments, *place)).map_or(0, |(held, _)| hash_of(held.key))
            });
        }
    }

    /// Makes the table smaller if it has four times the places that it needs; at most half of them are taken then.
    fn fit_table(&mut self, hash_of: &impl HashOf) -> bool {
        let before = self.table.capacity();
        if self.table.len() >= before / 4 {
            return false;
        }
        let segments = &self.segments;
        self.table.shrink_to(self.table.len() * 2, |place| {
            record::parse(Self::at(segments, *place)).map_or(0, |(held, _)| hash_of(held.key))
        });
        self.table.capacity() < before
    }

    /// Takes the record out of the table, and the segment with it when it was the last in there.
    fn forget(&mut self, hash: u64, place: u32) {
        if let Ok(found) = self.table.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        record::kill(self.at_mut(place));
        let number = place >> OFFSET_BITS;
        let Some(segment) = self.segment_of(place) else { return };
        segment.live -= 1;
        let queue = segment.queue;
        let numbers = if queue == Queue::Young { &mut self.young } else { &mut self.main };
        let is_open = numbers.back() == Some(&number);
        if segment_is_empty(&self.segments, number) && !is_open {
            numbers.retain(|other| *other != number);
            self.release(number);
            self.free.push(number);
        }
    }

    /// Takes a segment out; its number is not free yet.
    fn release(&mut self, number: u32) -> Option<Segment> {
        let segment = self.segments.get_mut(number as usize)?.take()?;
        *self.bytes_of(segment.queue) -= segment.data.capacity();
        Some(segment)
    }

    const fn bytes_of(&mut self, queue: Queue) -> &mut usize {
        match queue {
            Queue::Young => &mut self.young_bytes,
            Queue::Main => &mut self.main_bytes,
        }
    }

    /// Where it was put.
    fn append(&mut self, queue: Queue, new: &New<'_>, reads: u8) -> u32 {
        let number = self.open(queue, new.len());
        let Some(segment) = self.segments.get_mut(number as usize).and_then(Option::as_mut) else { return u32::MAX };
        let offset = (segment.data.len() / UNIT) as u32;
        new.append(&mut segment.data, reads);
        segment.live += 1;
        number << OFFSET_BITS | offset
    }

    /// The number of a segment of `queue` with room for `bytes`.
    fn open(&mut self, queue: Queue, bytes: usize) -> u32 {
        let numbers = if queue == Queue::Young { &self.young } else { &self.main };
        if let Some(number) = numbers.back().copied() {
            let segment = self.segments.get(number as usize).and_then(Option::as_ref);
            let fits = |s: &Segment| s.data.len() + bytes <= s.data.capacity() && s.data.len() < SEGMENT_MAX;
            if segment.is_some_and(fits) {
                return number;
            }
        }
        let usual = (self.budget / SEGMENTS).next_power_of_two().clamp(SEGMENT_MIN, SEGMENT_MAX);
        let capacity = if bytes > usual / 4 { bytes } else { usual };
        let segment = Segment { data: Vec::with_capacity(capacity), live: 0, queue };
        *self.bytes_of(queue) += segment.data.capacity();
        let number = self.free.pop().unwrap_or_else(|| {
            self.segments.push(None);
            self.segments.len() as u32 - 1
        });
        if let Some(free) = self.segments.get_mut(number as usize) {
            *free = Some(segment);
        }
        if queue == Queue::Young { &mut self.young } else { &mut self.main }.push_back(number);
        number
    }

    fn make_room(&mut self, hash_of: impl HashOf) {
        let mut kept = 0;
        while self.bytes() > self.budget {
            if self.fit_table(&hash_of) {
                continue;
            }
            // Its last segment is where the new go; in a small shard it is more than its part.
            let is_over = self.young_bytes * YOUNG_PART > self.budget && self.young.len() > 1;
            let young = is_over || self.main.is_empty();
            let Some(number) = (if young { self.young.pop_front() } else { self.main.pop_front() }) else { return };
            let Some(segment) = self.release(number) else { continue };
            self.ghosts.fit(self.table.len());
            let any_gone = self.drain(number, &segment, kept < KEPT_SEGMENTS_MAX, &hash_of);
            // Until now its places were still in the table.
            self.free.push(number);
            kept = if any_gone { 0 } else { kept + 1 };
        }
    }

    /// Goes through a segment that is given up: what was read since goes on in the main queue, the rest is gone.
    /// True when anything went.
    fn drain(&mut self, number: u32, segment: &Segment, may_keep: bool, hash_of: &impl HashOf) -> bool {
        let (mut offset, mut any_gone) = (0, false);
        while let Some(data) = segment.data.get(offset..) {
            let Some((held, len)) = record::parse(data) else { break };
            let place = number << OFFSET_BITS | (offset / UNIT) as u32;
            offset += len;
            if record::is_dead(data) {
                any_gone = true;
                continue;
            }
            let hash = hash_of(held.key);
            let reads = record::reads(data);
            let wanted = if segment.queue == Queue::Main { 1 } else { READS_TO_STAY };
            if reads >= wanted && may_keep {
                let left = if segment.queue == Queue::Main { reads - 1 } else { 0 };
                self.carry(hash, place, (data, len), left);
            } else {
                if let Ok(found) = self.table.find_entry(hash, |other| *other == place) {
                    found.remove();
                }
                self.ghosts.note(hash, Gone::Evicted);
                self.evicted += 1;
                any_gone = true;
            }
        }
        any_gone
    }

    /// Appends the record to the main queue as it is.
    fn carry(&mut self, hash: u64, from: u32, record: (&[u8], usize), reads: u8) {
        let to = self.copy(Queue::Main, record, reads);
        if let Some(place) = self.table.find_mut(hash, |other| *other == from) {
            *place = to;
        }
    }

    /// Where the copy of a record is.
    fn copy(&mut self, queue: Queue, (data, len): (&[u8], usize), reads: u8) -> u32 {
        let number = self.open(queue, len);
        let Some(segment) = self.segments.get_mut(number as usize).and_then(Option::as_mut) else { return u32::MAX };
        let offset = segment.data.len();
        segment.data.extend_from_slice(data.get(..len).unwrap_or(data));
        segment.live += 1;
        if let Some(copy) = segment.data.get_mut(offset..) {
            record::set_reads(copy, reads);
        }
        number << OFFSET_BITS | (offset / UNIT) as u32
    }
}

fn segment_is_empty(segments: &[Option<Segment>], number: u32) -> bool {
    segments.get(number as usize).and_then(Option::as_ref).is_some_and(|segment| segment.live == 0)
}
