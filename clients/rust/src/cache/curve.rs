//! What other lives and sizes would do: the hit ratio by TTL and by entries kept, from a sample of the keys.
//!
//! SHARDS (Waldspurger et al., FAST 2015): keys are watched when their hash is below a bound, so a watched key is watched at
//! each of its reads, and what is seen of them, scaled, holds for all. Distances are those of an LRU. When too many keys are
//! watched the bound is halved. A TTL is simulated as it is: from the load on, not from the last read; what is alive by it
//! is what it would keep. Of a life and a size together, the lesser hit ratio is told: what hits must be both young and near,
//! and those reads are mostly the same. What holds fewer than a hundred watched keys would be chance, and is not told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::clock::ticks;

/// Most keys watched.
const KEYS_MAX: usize = 8192;
/// Places in time, before they are numbered anew.
const PLACES: usize = KEYS_MAX * 4;
/// A size is told about when it holds so many watched keys; with fewer it would be chance.
const WATCHED_MIN: f64 = 100.0;
/// Lives that are tried are powers of 2, from 1 s to 12 d.
const TTLS: usize = 21;
/// With fewer reads nothing is told.
const READS_MIN: f64 = 200.0;
/// With more, what was counted before weighs half.
const READS_MAX: f64 = (1 << 18) as f64;
/// Sizes that are tried are powers of 2^(1/2), from 1 entry to 2^32.
const SIZES: usize = 64;

/// A life, and what it would do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByTtl {
    /// The TTL.
    pub ttl: Duration,
    /// Reads that would miss, of all, with room for every entry.
    pub miss_ratio: f64,
    /// Entries that would be alive now.
    pub entries: f64,
}

/// How misses would depend on lives and sizes. It looks back over some hundred thousand watched reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Reads that this rests on.
    pub sampled_reads: u64,
    /// The shortest first.
    pub by_ttl: Vec<ByTtl>,
    /// `(entries, miss ratio)`, with no end to their lives; the fewest first.
    pub by_entries: Vec<(u64, f64)>,
    /// Keys, and the part of reads that were the first of theirs.
    all: (f64, f64),
    /// Entries of which so few would be chance.
    entries_min: f64,
}

/// What a cache would do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Reads that it would answer, of all.
    pub hit_ratio: f64,
    /// Entries that it would hold, those past their life not counted.
    pub entries: f64,
}

impl Curve {
    /// What a memory would do whose entries live for `ttl`, and which has room for so many. None: it cannot be told.
    #[must_use]
    pub fn estimate(&self, ttl: Duration, room: f64) -> Option<Estimate> {
        let by_ttl = self.by_ttl.iter().map(|at| (at.ttl.as_secs_f64(), (at.miss_ratio, at.entries)));
        let (of_ttl, alive) = between(by_ttl, ttl.as_secs_f64())?;
        let (keys, first) = self.all;
        let of_room = if room >= keys {
            first
        } else {
            between(self.by_entries.iter().map(|(entries, misses)| (*entries as f64, (*misses, 0.0))), room)?.0
        };
        let entries = alive.min(room);
        (entries >= self.entries_min).then(|| Estimate { hit_ratio: 1.0 - of_ttl.max(of_room), entries })
    }
}

/// What stands at `x`: straight between two points by the logarithm of `x`, as at the last beyond it, and unknown before the
/// first.
fn between(points: impl Iterator<Item = (f64, (f64, f64))>, x: f64) -> Option<(f64, f64)> {
    let mut before: Option<(f64, (f64, f64))> = None;
    for (at, here) in points {
        if at >= x {
            let Some((from, there)) = before else { return (at <= x).then_some(here) };
            let part = (x / from).ln() / (at / from).ln();
            return Some((there.0 + (here.0 - there.0) * part, there.1 + (here.1 - there.1) * part));
        }
        before = Some((at, here));
    }
    before.map(|(_, last)| last)
}

struct Watched {
    /// The place of its last read.
    place: usize,
    /// When each TTL would have loaded it last, in ticks.
    loaded: [u32; TTLS],
}

struct State {
    keys: HashMap<u64, Watched>,
    /// Which places are the last read of some key, summed as a Fenwick tree.
    tree: Vec<u32>,
    next: usize,
    reads: f64,
    ttl_misses: [f64; TTLS],
    /// Reads by distance.
    distances: [f64; SIZES],
    cold: f64,
    /// Of all keys, so many are watched.
    ratio: f64,
    /// Before it was halved.
    asked_ratio: f64,
    /// Reads of all keys before this began.
    reads_before: u64,
}

/// See the module.
pub(super) struct Sampler {
    /// Keys with a hash below are watched.
    bound: AtomicU64,
    state: Mutex<State>,
}

/// A life, in ticks.
fn life(number: usize) -> u32 {
    ticks(Duration::from_secs(1 << number))
}

fn bound_of(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

impl Sampler {
    pub(super) fn new(ratio: f64) -> Self {
        Self { bound: AtomicU64::new(bound_of(ratio)), state: Mutex::new(State::new(ratio)) }
    }

    /// Begins anew with another part of the keys, after so many `reads` of all.
    pub(super) fn set_ratio(&self, ratio: f64, reads: u64) {
        let mut state = self.state.lock();
        if ratio != state.asked_ratio {
            self.bound.store(bound_of(ratio), Ordering::Relaxed);
            *state = State { reads_before: reads, ..State::new(ratio) };
        }
    }

    /// A key is read.
    #[inline]
    pub(super) fn note(&self, hash: u64, now: impl Fn() -> u32) {
        // Other bits decide where it lies.
        let hash = hash.rotate_left(29);
        if hash < self.bound.load(Ordering::Relaxed) {
            self.watch(hash, now());
        }
    }

    #[cold]
    fn watch(&self, hash: u64, now: u32) {
        let mut state = self.state.lock();
        state.note(hash, now);
        if state.keys.len() > KEYS_MAX {
            let bound = self.bound.load(Ordering::Relaxed) / 2;
            self.bound.store(bound, Ordering::Relaxed);
            state.halve(bound);
        }
    }

    /// After so many `reads` of all keys.
    pub(super) fn curve(&self, reads: u64, now: u32) -> Curve {
        let mut state = self.state.lock();
        if state.reads > READS_MAX {
            state.fade(reads);
        }
        state.curve(reads, now)
    }
}

impl State {
    fn new(ratio: f64) -> Self {
        Self {
            keys: HashMap::new(),
            tree: Vec::new(),
            next: 0,
            reads: 0.0,
            ttl_misses: [0.0; TTLS],
            distances: [0.0; SIZES],
            cold: 0.0,
            ratio,
            asked_ratio: ratio,
            reads_before: 0,
        }
    }

    fn add(&mut self, place: usize, n: i32) {
        let mut at = place + 1;
        while let Some(node) = self.tree.get_mut(at) {
            *node = node.wrapping_add_signed(n);
            at += at & at.wrapping_neg();
        }
    }

    /// Keys whose last read was at `place` or before.
    fn until(&self, place: usize) -> u32 {
        let (mut at, mut sum) = (place + 1, 0);
        while at > 0 {
            sum += self.tree.get(at).copied().unwrap_or_default();
            at &= at - 1;
        }
        sum
    }

    fn note(&mut self, hash: u64, now: u32) {
        if self.tree.is_empty() {
            self.tree = vec![0; PLACES + 1];
        }
        if self.next >= PLACES {
            self.renumber();
        }
        self.reads += 1.0;
        let place = self.next;
        self.next += 1;
        if let Some(before) = self.keys.get(&hash).map(|watched| watched.place) {
            let closer = self.keys.len() as u32 - self.until(before);
            let distance = f64::from(closer + 1) / self.ratio;
            let size = (distance.log2() * 2.0).ceil().clamp(0.0, SIZES as f64 - 1.0) as usize;
            if let Some(reads) = self.distances.get_mut(size) {
                *reads += 1.0;
            }
            self.add(before, -1);
        } else {
            self.cold += 1.0;
        }
        self.add(place, 1);
        let fresh = Watched { place, loaded: [0; TTLS] };
        let is_new = !self.keys.contains_key(&hash);
        let watched = self.keys.entry(hash).or_insert(fresh);
        watched.place = place;
        for (number, (loaded, misses)) in watched.loaded.iter_mut().zip(&mut self.ttl_misses).enumerate() {
            if is_new || now.saturating_sub(*loaded) >= life(number) {
                *loaded = now;
                *misses += 1.0;
            }
        }
    }

    fn renumber(&mut self) {
        let mut order: Vec<(usize, u64)> = self.keys.iter().map(|(hash, watched)| (watched.place, *hash)).collect();
        order.sort_unstable();
        self.tree.iter_mut().for_each(|node| *node = 0);
        self.next = order.len();
        for (place, (_, hash)) in order.into_iter().enumerate() {
            if let Some(watched) = self.keys.get_mut(&hash) {
                watched.place = place;
            }
            self.add(place, 1);
        }
    }

    fn halve(&mut self, bound: u64) {
        self.keys.retain(|hash, _| *hash < bound);
        self.renumber();
        self.ratio /= 2.0;
        self.weigh_half();
    }

    fn weigh_half(&mut self) {
        self.reads /= 2.0;
        self.cold /= 2.0;
        self.ttl_misses.iter_mut().chain(&mut self.distances).for_each(|count| *count /= 2.0);
    }

    /// What was counted until now weighs half of what comes.
    fn fade(&mut self, reads: u64) {
        self.weigh_half();
        self.reads_before = reads - reads.saturating_sub(self.reads_before) / 2;
    }

    fn curve(&self, reads: u64, now: u32) -> Curve {
        // Of the few keys that are read most, some are watched or not by chance. Their reads are near ones, which hit; so
        // what is missing or too much of reads was hits (SHARDS-adj).
        let expected = reads.saturating_sub(self.reads_before) as f64 * self.ratio;
        let all = expected.max(self.ttl_misses.iter().copied().fold(self.cold, f64::max));
        if self.reads < READS_MIN {
            return Curve::default();
        }
        let of_reads = |misses: f64| (misses / all).clamp(0.0, 1.0);
        let by_ttl = self.ttl_misses.iter().zip(self.alive(now)).enumerate().map(|(number, (misses, alive))| ByTtl {
            ttl: Duration::from_secs(1 << number),
            miss_ratio: of_reads(*misses),
            entries: f64::from(alive) / self.ratio,
        });
        // All of them are no chance.
        let entries_min = if self.ratio < 1.0 { WATCHED_MIN / self.ratio } else { 0.0 };
        let mut far = self.reads;
        let mut by_entries = Vec::with_capacity(SIZES);
        for (size, reads) in self.distances.iter().enumerate() {
            far -= reads;
            let entries = (size as f64 / 2.0).exp2();
            if entries >= entries_min {
                by_entries.push((entries as u64, of_reads(far)));
            }
            if far <= self.cold {
                break;
            }
        }
        Curve {
            sampled_reads: self.reads as u64,
            by_ttl: by_ttl.collect(),
            by_entries,
            all: (self.keys.len() as f64 / self.ratio, of_reads(self.cold)),
            entries_min,
        }
    }

    /// Watched keys that each TTL would keep now.
    fn alive(&self, now: u32) -> [u32; TTLS] {
        let mut alive = [0; TTLS];
        for watched in self.keys.values() {
            for (number, (alive, loaded)) in alive.iter_mut().zip(watched.loaded).enumerate() {
                *alive += u32::from(now.saturating_sub(loaded) < life(number));
            }
        }
        alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_MS: u64 = 16;

    /// Reads of keys by Zipf's law, one each millisecond.
    fn trace() -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(3);
        let keys = 20_000.0f64;
        // The inverse of the integral of 1/x.
        (0..150_000).map(|_| (keys.powf(random.f64())) as u64).collect()
    }

    /// What an LRU of that size does whose entries live so long: its hit ratio, and what is alive in it at the end.
    fn exact(trace: &[u64], ttl: Duration, size: usize) -> Estimate {
        let (ttl, end) = (ttl.as_millis() as usize, trace.len());
        let (mut kept, mut order, mut hits) = (HashMap::new(), std::collections::BTreeMap::new(), 0);
        for (n, key) in trace.iter().enumerate() {
            let mut loaded = n;
            if let Some((read, before)) = kept.get(key).copied() {
                order.remove(&read);
                if n - before < ttl {
                    loaded = before;
                    hits += 1;
                }
            }
            kept.insert(*key, (n, loaded));
            order.insert(n, *key);
            if order.len() > size
                && let Some((_, oldest)) = order.pop_first()
            {
                kept.remove(&oldest);
            }
        }
        let alive = kept.values().filter(|(_, loaded)| end - loaded < ttl).count();
        Estimate { hit_ratio: f64::from(hits) / end as f64, entries: alive as f64 }
    }

    /// The same at each run.
    fn hash(key: u64) -> u64 {
        (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9)
    }

    fn sampled(trace: &[u64], ratio: f64) -> (Sampler, Curve) {
        let sampler = Sampler::new(ratio);
        for (n, key) in trace.iter().enumerate() {
            sampler.note(hash(*key), || (n as u64 / TICK_MS) as u32);
        }
        let curve = sampler.curve(trace.len() as u64, (trace.len() as u64 / TICK_MS) as u32);
        (sampler, curve)
    }

    /// How far it is off, in hit ratio and as a part of the entries; none when it cannot be told.
    fn off(curve: &Curve, trace: &[u64], ttl: Duration, size: usize) -> Option<(f64, f64)> {
        let told = curve.estimate(ttl, size as f64)?;
        let exact = exact(trace, ttl, size);
        Some(((told.hit_ratio - exact.hit_ratio).abs(), (told.entries / exact.entries - 1.0).abs()))
    }

    #[test]
    fn a_sample_tells_what_an_exact_simulation_does_within_three_points() {
        let trace = trace();
        let (ever, all) = (Duration::from_secs(1 << 20), trace.len());
        let lives = [2, 3, 6, 10, 24, 60, 120].map(|seconds| (Duration::from_secs(seconds), all));
        let sizes = [500, 1_000, 3_000, 5_000, 9_000, 15_000].map(|size| (ever, size));
        // Six thousand watched keys, and one thousand.
        for (part, (ratio_max, entries_max)) in [(0.3, (0.01, 0.1)), (0.05, (0.03, 0.2))] {
            let (sampler, curve) = sampled(&trace, part);
            assert!(sampler.state.lock().keys.len() <= KEYS_MAX);
            let mut told = 0;
            for (ttl, size) in lives.into_iter().chain(sizes) {
                let Some((ratio, entries)) = off(&curve, &trace, ttl, size) else { continue };
                assert!(ratio < ratio_max && entries < entries_max, "{part}: {ttl:?}, {size}: {ratio} {entries}");
                told += 1;
            }
            assert!(told >= 9, "{told} of 13 are told from {part}");
        }
    }

    #[test]
    fn a_life_and_a_size_together_are_told_within_three_points() {
        let trace = trace();
        let (_, curve) = sampled(&trace, 0.3);
        for ttl in [3, 10, 30, 60].map(Duration::from_secs) {
            for size in [500, 1_500, 5_000, 10_000] {
                let (ratio, entries) = off(&curve, &trace, ttl, size).expect("it can be told");
                assert!(ratio < 0.03 && entries < 0.1, "{ttl:?}, {size}: {ratio} {entries}");
            }
        }
    }

    #[test]
    fn what_would_be_chance_is_not_told_and_what_was_long_ago_weighs_less() {
        let trace = trace();
        let (_, curve) = sampled(&trace, 0.05);
        let minute = Duration::from_secs(60);
        assert_eq!(curve.estimate(minute, 1_000.0), None, "fifty watched keys");
        assert_eq!(curve.estimate(Duration::from_millis(500), 20_000.0), None, "shorter than any that is tried");
        assert!(curve.estimate(minute, 20_000.0).is_some());
        assert_eq!(sampled(&trace[..1_000], 0.05).1, Curve::default());

        // Sixty keys, all of them watched: exact, however few.
        let few: Vec<u64> = trace.iter().map(|key| key % 60).collect();
        let (sampler, curve) = sampled(&few, 1.0);
        assert_eq!(curve.estimate(Duration::from_secs(1 << 20), 1e6).map(|told| told.entries), Some(60.0));
        sampler.state.lock().fade(few.len() as u64);
        let faded = sampler.curve(few.len() as u64, few.len() as u32 / 16);
        assert_eq!(faded.sampled_reads, curve.sampled_reads / 2);
        assert!((faded.by_ttl[3].miss_ratio - curve.by_ttl[3].miss_ratio).abs() < 1e-4);
    }
}
