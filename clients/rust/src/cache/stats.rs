//! What a cache has done, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Goes up.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A call to the loader that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// How long the last try took; of one that failed, all tries and the waits between them.
    pub took: Duration,
    /// It failed: `failed` as the loader says, `timeout` when its time was over.
    pub error: Option<&'static str>,
}

/// Upper bounds of the load-time histogram's buckets are 2^n µs, the last of them about a minute.
const BUCKETS: usize = 27;

/// Load times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadTimes {
    /// Loads that took at most 2^n µs and more than 2^(n-1).
    pub buckets: [u64; BUCKETS],
    /// All of them together.
    pub sum: Duration,
}

impl LoadTimes {
    /// At most so long took the part `q` of them, within a factor of two.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let wanted = (self.buckets.iter().sum::<u64>() as f64 * q.clamp(0.0, 1.0)).ceil() as u64;
        let mut below = 0;
        for (n, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= wanted.max(1) {
                return Duration::from_micros(1 << n);
            }
        }
        Duration::ZERO
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Count,)*
            load_buckets: [Count; BUCKETS],
            load_micros: Count,
        }

        /// Counts since the start, and what is kept now.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Reads answered from memory, within the TTL.
            pub l1_hits: u64,
            /// Entries in memory.
            pub entries: u64,
            /// Bytes that they take, what keeping them costs included.
            pub bytes: u64,
            /// Entries that made room in memory.
            pub evicted: u64,
            /// Writes that wait.
            pub writes_waiting: u64,
            /// Redis is left alone now, since it did not answer.
            pub l2_is_left_alone: bool,
            /// How long loads took.
            pub load_times: LoadTimes,
        }

        impl Counters {
            pub(super) fn read(&self) -> Stats {
                let mut buckets = [0; BUCKETS];
                for (bucket, count) in buckets.iter_mut().zip(&self.load_buckets) {
                    *bucket = count.get();
                }
                let load_times = LoadTimes { buckets, sum: Duration::from_micros(self.load_micros.get()) };
                Stats { $($name: self.$name.get(),)* load_times, ..Stats::default() }
            }
        }
    };
}

counters! {
    /// Reads answered from Redis, within the TTL.
    l2_hits,
    /// Reads answered by a write that had not reached the source yet.
    waiting_hits,
    /// Reads answered with "there is none", from either level.
    negative_hits,
    /// Reads answered past the TTL, while one call loads anew.
    stale_served,
    /// Reads answered past the TTL, because the load failed.
    grace_served,
    /// Reads that were not answered from the cache: loaded, failed, or not there for a read that never loads.
    misses,
    /// Misses of memory: of keys that were never here, or are long forgotten.
    misses_never_seen,
    /// Misses of memory because the TTL was over.
    misses_expired,
    /// Misses of memory because the entry was made invalid.
    misses_invalidated,
    /// Misses of memory because the entry had made room.
    misses_evicted,
    /// Misses of memory because it was not read: what others do was not heard of.
    misses_untrusted,
    /// Reads that went straight to the source, as the policy says.
    bypassed,
    /// Looks into Redis that found nothing, or nothing that can be read.
    l2_misses_absent,
    /// Looks into Redis that found an entry whose time was over.
    l2_misses_expired,
    /// Looks into Redis that found an entry that was made invalid.
    l2_misses_invalidated,
    /// Calls to the loader, retries not counted.
    loads,
    /// Of them, those that found none.
    loads_empty,
    /// Of them, those that failed.
    load_errors,
    /// Tries again.
    retries,
    /// Reads that waited for a load under way.
    coalesced,
    /// Loads ahead of the end of an entry's life, or past it while it was served.
    refreshed,
    /// Loads left to another instance that had the lease.
    left_to_others,
    /// Loads not stored, because something they depend on was made invalid meanwhile.
    not_stored,
    /// Entries too large for memory.
    too_large,
    /// Calls to Redis that failed or were late.
    l2_errors,
    /// Calls not made, because Redis was left alone.
    l2_skipped,
    /// Writes.
    writes,
    /// Of them, those that failed.
    write_errors,
    /// Write-behind: writes that reached the source.
    written_behind,
    /// Write-behind: writes replaced by a later one of their key before they were made.
    writes_replaced,
    /// Write-behind: writes that went straight to the source, because the queue was full.
    writes_overflowed,
    /// Write-behind: writes that the source refused for good.
    writes_refused,
    /// Write-behind: writes found in the journal at the start.
    writes_recovered,
    /// Invalidations, by name.
    invalidated,
    /// Times that memory was dropped, because something may have been missed.
    dropped,
    /// Keys loaded ahead.
    warmed,
}

impl Counters {
    pub(super) fn loaded(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (64 - micros.saturating_sub(1).leading_zeros()) as usize;
        if let Some(count) = self.load_buckets.get(bucket.min(BUCKETS - 1)) {
            count.add(1);
        }
        self.load_micros.add(micros);
    }
}

impl Stats {
    /// Reads answered without the loader.
    #[must_use]
    pub const fn hits(&self) -> u64 {
        self.l1_hits + self.l2_hits + self.waiting_hits + self.stale_served
    }

    /// All reads that have been answered. A [`peek`](super::Cache::peek) counts when it finds something.
    #[must_use]
    pub const fn reads(&self) -> u64 {
        self.hits() + self.grace_served + self.misses
    }

    /// Reads that memory did not answer, by whatever cause.
    #[must_use]
    pub const fn l1_misses(&self) -> u64 {
        self.misses_never_seen
            + self.misses_expired
            + self.misses_invalidated
            + self.misses_evicted
            + self.misses_untrusted
            + self.bypassed
    }

    /// Hits of all reads, 0 to 1; 1 without any.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let (hits, reads) = (self.hits(), self.reads());
        if reads == 0 { 1.0 } else { hits as f64 / reads as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_times_fall_into_their_buckets() {
        let counters = Counters::default();
        for micros in [1, 2, 3, 4, 1000, 1 << 40] {
            counters.loaded(Duration::from_micros(micros));
        }
        let times = counters.read().load_times;
        assert_eq!((times.buckets[0], times.buckets[1], times.buckets[2], times.buckets[10]), (1, 1, 2, 1));
        assert_eq!(times.buckets[BUCKETS - 1], 1);
        assert_eq!(times.quantile(0.5), Duration::from_micros(4));
    }
}
