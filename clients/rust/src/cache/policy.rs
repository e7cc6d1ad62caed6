//! What a cache may do, in the words of `CachePolicy`.

use std::time::Duration;

use crate::retry::{HOUR, first_unsound};
pub use crate::retry::{PolicyError, Retry};

/// Longest life of anything.
pub(super) const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How reads and writes go through a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// A miss loads and fills; a write goes to the source, and the entry is removed.
    #[default]
    Aside,
    /// A write goes to the source and then, in the same call, into the cache.
    Through,
    /// A write goes into the cache and a durable queue, and to the source in batches.
    Behind,
}

/// How values are made smaller in level 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Zstandard, level 1.
    Zstd,
    /// Gzip, level 1.
    Gzip,
}

/// How the cache of one key space behaves. Every bound has a field; [`CachePolicy::check`] says what is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct CachePolicy {
    /// Who writes when.
    pub strategy: Strategy,
    /// How long an entry is fresh in memory; 0 keeps nothing there.
    pub l1_ttl: Duration,
    /// How long an entry is fresh in Redis; 0 keeps nothing there.
    pub l2_ttl: Duration,
    /// Each TTL is shortened by up to this share, so that what was filled together does not end together.
    pub ttl_jitter: f64,
    /// Most bytes in memory, what keeping it costs included.
    pub l1_max_bytes: usize,
    /// Smaller in Redis; never larger than plain.
    pub compression: Compression,
    /// Values from this size on are compressed.
    pub compression_threshold_bytes: usize,
    /// The loader, and calls to Redis.
    pub retry: Retry,
    /// How long past its TTL an entry is served when it cannot be loaded.
    pub grace: Duration,
    /// How long past its TTL an entry is served while one call loads it anew.
    pub stale_while_revalidate: Duration,
    /// How long before its end an entry may be loaded anew, the likelier the nearer and the dearer (`XFetch`); 0: never.
    pub early_refresh: Duration,
    /// Of all instances, one loads a missing key, for at most so long; 0: each for itself.
    pub lease: Duration,
    /// How long "there is none" is remembered; 0: not at all.
    pub negative_ttl: Duration,
    /// How long a loader may take.
    pub load_timeout: Duration,
    /// How long Redis may take before the call goes on without it.
    pub l2_timeout: Duration,
    /// Write-behind: most writes that wait; one more goes straight to the source.
    pub write_queue: usize,
    /// Write-behind: most writes in a batch.
    pub write_batch: usize,
    /// Write-behind: how long a write waits for company.
    pub write_wait: Duration,
    /// An instance that has not heard of the others for so long reads no entry from memory, so that an invalidation can be
    /// proven; 0: it goes on reading, and an invalidation waits for [`CachePolicy::l1_ttl`] instead.
    pub coherence_lease: Duration,
    /// Keys that are kept warm: the most asked for, weighed by what they cost to load.
    pub warm_keys: usize,
    /// Keys watched for the miss-ratio curve, of all by hash.
    pub sample_ratio: f64,
    /// Straight to the source, as if there were no cache.
    pub bypass: bool,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            strategy: Strategy::Aside,
            l1_ttl: Duration::from_secs(60),
            l2_ttl: HOUR,
            ttl_jitter: 0.1,
            l1_max_bytes: 64 << 20,
            compression: Compression::None,
            compression_threshold_bytes: 1 << 10,
            retry: Retry::default(),
            grace: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            early_refresh: Duration::ZERO,
            lease: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            load_timeout: Duration::from_secs(10),
            l2_timeout: Duration::from_millis(100),
            write_queue: 10_000,
            write_batch: 100,
            write_wait: Duration::from_millis(100),
            coherence_lease: Duration::from_secs(10),
            warm_keys: 0,
            sample_ratio: 0.01,
            bypass: false,
        }
    }
}

impl CachePolicy {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        let timed = |duration: Duration| !duration.is_zero() && duration <= HOUR;
        first_unsound([
            (self.l1_ttl <= LIFE_MAX, "l1_ttl", "at most 30 d"),
            (self.l2_ttl <= LIFE_MAX, "l2_ttl", "at most 30 d"),
            ((0.0..=0.9).contains(&self.ttl_jitter), "ttl_jitter", "from 0 to 0.9"),
            ((1 << 20..=1 << 40).contains(&self.l1_max_bytes), "l1_max_bytes", "from 1 MiB to 1 TiB"),
            (self.compression_threshold_bytes <= 1 << 30, "compression_threshold_bytes", "at most 1 GiB"),
            (self.grace <= LIFE_MAX, "grace", "at most 30 d"),
            (self.stale_while_revalidate <= LIFE_MAX, "stale_while_revalidate", "at most 30 d"),
            (self.early_refresh <= LIFE_MAX, "early_refresh", "at most 30 d"),
            (self.lease <= HOUR, "lease", "at most 1h"),
            (self.negative_ttl <= LIFE_MAX, "negative_ttl", "at most 30 d"),
            (timed(self.load_timeout), "load_timeout", "greater than 0 and at most 1h"),
            (timed(self.l2_timeout), "l2_timeout", "greater than 0 and at most 1h"),
            ((1..=10_000_000).contains(&self.write_queue), "write_queue", "from 1 to 10000000"),
            ((1..=100_000).contains(&self.write_batch), "write_batch", "from 1 to 100000"),
            (self.write_wait <= HOUR, "write_wait", "at most 1h"),
            (self.coherence_lease <= HOUR, "coherence_lease", "at most 1h"),
            (self.warm_keys <= 100_000, "warm_keys", "at most 100000"),
            ((0.0..=1.0).contains(&self.sample_ratio), "sample_ratio", "from 0 to 1"),
        ])?;
        self.retry.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_is_named_with_its_range() {
        assert_eq!(CachePolicy::default().check(), Ok(()));
        let told = |change: fn(&mut CachePolicy)| {
            let mut policy = CachePolicy::default();
            change(&mut policy);
            policy.check().expect_err("out of range").to_string()
        };
        assert_eq!(told(|p| p.l1_max_bytes = 0), "l1_max_bytes must be from 1 MiB to 1 TiB");
        assert_eq!(told(|p| p.load_timeout = Duration::ZERO), "load_timeout must be greater than 0 and at most 1h");
        assert_eq!(told(|p| p.ttl_jitter = f64::NAN), "ttl_jitter must be from 0 to 0.9");
        assert!(told(|p| p.retry.attempts = 0).starts_with("retry.attempts"));
    }
}
