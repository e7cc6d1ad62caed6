//! What other lives and sizes would do: the miss ratio by TTL and by entries kept, from a sample of the keys.
//!
//! SHARDS (Waldspurger et al., FAST 2015): keys are watched when their hash is below a bound, so a watched key is watched at
//! each of its reads, and what is seen of them, scaled, holds for all. Distances are those of an LRU. When too many keys are
//! watched the bound is halved. What holds fewer than a hundred watched keys, and a life of a few hundred reads, is off by more
//! than the three points within which the rest is. A TTL is simulated as it is: from the load on, not from the last read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Most keys watched.
const KEYS_MAX: usize = 8192;
/// Places in time, before they are numbered anew.
const PLACES: usize = KEYS_MAX * 4;
/// A size is told about when it holds so many watched keys; with fewer it would be chance.
const WATCHED_MIN: f64 = 100.0;
/// Lives that are tried, in seconds.
const TTLS: [u32; 12] = [1, 5, 15, 30, 60, 120, 300, 900, 1800, 3600, 21_600, 86_400];
/// Sizes that are tried are powers of 2^(1/2), from 1 entry to 2^32.
const SIZES: usize = 64;

/// How misses would depend on lives and sizes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Reads that this rests on.
    pub sampled_reads: u64,
    /// `(TTL, miss ratio)`, with room for all.
    pub by_ttl: Vec<(Duration, f64)>,
    /// `(entries, miss ratio)`, with no end to their lives.
    pub by_entries: Vec<(u64, f64)>,
}

struct Watched {
    /// The place of its last read.
    place: usize,
    /// When each TTL would have loaded it last, in ms.
    loaded: [u64; TTLS.len()],
}

struct State {
    keys: HashMap<u64, Watched>,
    /// Which places are the last read of some key, summed as a Fenwick tree.
    tree: Vec<u32>,
    next: usize,
    reads: f64,
    ttl_misses: [f64; TTLS.len()],
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
    pub(super) fn note(&self, hash: u64, now_ms: impl Fn() -> u64) {
        // Other bits decide where it lies.
        let hash = hash.rotate_left(29);
        if hash < self.bound.load(Ordering::Relaxed) {
            self.watch(hash, now_ms());
        }
    }

    #[cold]
    fn watch(&self, hash: u64, now_ms: u64) {
        let mut state = self.state.lock();
        state.note(hash, now_ms);
        if state.keys.len() > KEYS_MAX {
            let bound = self.bound.load(Ordering::Relaxed) / 2;
            self.bound.store(bound, Ordering::Relaxed);
            state.halve(bound);
        }
    }

    /// After so many `reads` of all keys.
    pub(super) fn curve(&self, reads: u64) -> Curve {
        self.state.lock().curve(reads)
    }
}

impl State {
    fn new(ratio: f64) -> Self {
        Self {
            keys: HashMap::new(),
            tree: Vec::new(),
            next: 0,
            reads: 0.0,
            ttl_misses: [0.0; TTLS.len()],
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

    fn note(&mut self, hash: u64, now_ms: u64) {
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
        let fresh = Watched { place, loaded: [0; TTLS.len()] };
        let is_new = !self.keys.contains_key(&hash);
        let watched = self.keys.entry(hash).or_insert(fresh);
        watched.place = place;
        for ((loaded, ttl), misses) in watched.loaded.iter_mut().zip(TTLS).zip(&mut self.ttl_misses) {
            if is_new || now_ms - *loaded >= u64::from(ttl) * 1000 {
                *loaded = now_ms;
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
        self.reads /= 2.0;
        self.cold /= 2.0;
        self.ttl_misses.iter_mut().chain(&mut self.distances).for_each(|count| *count /= 2.0);
    }

    fn curve(&self, reads: u64) -> Curve {
        // Of the few keys that are read most, some are watched or not by chance. Their reads are near ones, which hit; so
        // what is missing or too much of reads was hits (SHARDS-adj).
        let expected = reads.saturating_sub(self.reads_before) as f64 * self.ratio;
        let all = expected.max(self.ttl_misses.iter().copied().fold(self.cold, f64::max));
        if self.reads == 0.0 || all == 0.0 {
            return Curve::default();
        }
        let of_reads = |misses: f64| (misses / all).clamp(0.0, 1.0);
        let by_ttl = TTLS.iter().zip(self.ttl_misses);
        let by_ttl = by_ttl.map(|(ttl, misses)| (Duration::from_secs(u64::from(*ttl)), of_reads(misses))).collect();
        let mut far = self.reads;
        let mut by_entries = Vec::with_capacity(SIZES);
        for (size, reads) in self.distances.iter().enumerate() {
            far -= reads;
            let entries = (size as f64 / 2.0).exp2();
            if entries * self.ratio >= WATCHED_MIN {
                by_entries.push((entries as u64, of_reads(far)));
            }
            if far <= self.cold {
                break;
            }
        }
        Curve { sampled_reads: self.reads as u64, by_ttl, by_entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads of keys by Zipf's law, one each millisecond.
    fn trace() -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(3);
        let keys = 20_000.0f64;
        // The inverse of the integral of 1/x.
        (0..150_000).map(|_| (keys.powf(random.f64())) as u64).collect()
    }

    fn exact_ttl(trace: &[u64], ttl_ms: u64) -> f64 {
        let (mut loaded, mut misses) = (HashMap::new(), 0);
        for (n, key) in trace.iter().enumerate() {
            let now = n as u64;
            if loaded.get(key).is_none_or(|at| now - at >= ttl_ms) {
                loaded.insert(*key, now);
                misses += 1;
            }
        }
        f64::from(misses) / trace.len() as f64
    }

    fn exact_lru(trace: &[u64], size: usize) -> f64 {
        let (mut last, mut order, mut misses) = (HashMap::new(), std::collections::BTreeMap::new(), 0);
        for (n, key) in trace.iter().enumerate() {
            match last.insert(*key, n) {
                Some(before) => drop(order.remove(&before)),
                None => misses += 1,
            }
            order.insert(n, *key);
            if order.len() > size
                && let Some((_, oldest)) = order.pop_first()
            {
                last.remove(&oldest);
            }
        }
        f64::from(misses) / trace.len() as f64
    }

    #[test]
    fn a_sample_tells_what_an_exact_simulation_does_within_three_points() {
        let trace = trace();
        // The same at each run.
        let hash = |key: u64| {
            (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        };
        let sampler = Sampler::new(0.3);
        for (n, key) in trace.iter().enumerate() {
            sampler.note(hash(*key), || n as u64);
        }
        let curve = sampler.curve(trace.len() as u64);
        assert!(sampler.state.lock().keys.len() <= KEYS_MAX);
        let exact: Vec<(f64, f64)> = curve
            .by_ttl
            .iter()
            .map(|(ttl, ratio)| (*ratio, exact_ttl(&trace, ttl.as_millis() as u64)))
            .chain(curve.by_entries.iter().map(|(size, ratio)| (*ratio, exact_lru(&trace, *size as usize))))
            .collect();
        assert!(exact.len() > 15, "{curve:?}");
        let far: Vec<_> = exact.iter().filter(|(told, exact)| (told - exact).abs() >= 0.03).collect();
        assert!(far.is_empty(), "{far:?} of {exact:?}");
    }
}
