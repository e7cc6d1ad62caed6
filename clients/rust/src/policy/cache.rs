//! A cache as a target.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::convert::{duration, retry};
use super::target::{Assigned, Kind, Pending, Policy, Target, Warmed};
use crate::cache::{Cache, CachePolicy, Compression, Managed, Source, Strategy, Targets};
use crate::proto;

/// Holds the cache, as whoever reads it does.
struct CacheTarget<S: Source> {
    name: String,
    cache: Cache<S>,
    /// As in the code.
    home: CachePolicy,
    /// In force: of the lease of coherence.
    lease: Mutex<Duration>,
}

/// The target of `cache`; the policy that it has now is the one that it goes back to.
pub(super) fn target<S: Source>(name: &str, cache: &Cache<S>) -> Arc<dyn Target> {
    let home = CachePolicy::clone(&cache.policy());
    let lease = Mutex::new(Duration::ZERO);
    let target = CacheTarget { name: name.to_owned(), cache: cache.clone(), home, lease };
    target.leased(target.home.coherence_lease);
    Arc::new(target)
}

/// As good as for ever: a year.
const ALWAYS: Duration = Duration::from_secs(365 * 24 * 3600);

impl<S: Source> CacheTarget<S> {
    /// Memory that needs leave has none until the server gives it; memory that needs none may always be read.
    fn leased(&self, lease: Duration) {
        let before = std::mem::replace(&mut *self.lease.lock(), lease);
        if before.is_zero() != lease.is_zero() {
            let now = Instant::now();
            self.cache.set_trusted_until(if lease.is_zero() { now + ALWAYS } else { now });
        }
    }
}

impl<S: Source> Target for CacheTarget<S> {
    fn kind(&self) -> Kind {
        Kind::Cache
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&self, assigned: Option<&Assigned>) -> Result<(), String> {
        let policy = match assigned.map(|assigned| &assigned.policy) {
            Some(Policy::Cache(policy)) => policy.clone(),
            Some(Policy::Batch(_)) => return Err("a cache takes no policy of a batcher".to_owned()),
            None => self.home.clone(),
        };
        let lease = policy.coherence_lease;
        self.cache.set_policy(policy).map_err(|error| error.to_string())?;
        self.leased(lease);
        Ok(())
    }

    fn coherence_lease(&self) -> Option<Duration> {
        Some(*self.lease.lock())
    }

    fn memory_life(&self) -> Duration {
        let policy = self.cache.policy();
        if policy.coherence_lease.is_zero() {
            policy.l1_ttl + policy.grace.max(policy.stale_while_revalidate)
        } else {
            policy.coherence_lease
        }
    }

    fn trusted_until(&self, until: Instant) {
        self.cache.set_trusted_until(until);
    }

    fn forget(&self) {
        self.cache.drop_memory();
    }

    fn invalidate<'a>(&'a self, invalidation: &'a proto::Invalidation) -> Pending<'a, Result<(), String>> {
        Box::pin(async move {
            let sequence = u64::try_from(invalidation.sequence).unwrap_or_default();
            let targets = Targets {
                keys: invalidation.keys.clone(),
                tags: invalidation.tags.clone(),
                prefixes: invalidation.prefixes.clone(),
                all: invalidation.all,
            };
            self.cache.apply_invalidation(sequence, &targets).await.map_err(|error| error.to_string())
        })
    }

    fn warm(&self, keys: Vec<String>) -> Pending<'_, Warmed> {
        Box::pin(async move {
            let asked = keys.len() as u64;
            let (loaded, _) = self.cache.warm_texts(keys).await;
            // What is no key of this cache was not loaded either.
            Warmed { loaded, failed: asked.saturating_sub(loaded) }
        })
    }
}

/// From the wire; checked.
pub(super) fn policy(given: &proto::CachePolicy) -> Result<CachePolicy, String> {
    let default = CachePolicy::default();
    let time = |field: &str, given: Option<&prost_types::Duration>, default: Duration| {
        duration(field, given).map(|given| given.unwrap_or(default))
    };
    let size = |given: Option<u32>, default: usize| given.map_or(default, |given| given as usize);
    let bytes = given.l1_max_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let policy = CachePolicy {
        strategy: match given.strategy() {
            proto::CacheStrategy::Unspecified | proto::CacheStrategy::Aside => Strategy::Aside,
            proto::CacheStrategy::Through => Strategy::Through,
            proto::CacheStrategy::Behind => Strategy::Behind,
        },
        l1_ttl: time("l1_ttl", given.l1_ttl.as_ref(), default.l1_ttl)?,
        l2_ttl: time("l2_ttl", given.l2_ttl.as_ref(), default.l2_ttl)?,
        ttl_jitter: given.ttl_jitter.unwrap_or(default.ttl_jitter),
        l1_max_bytes: bytes.unwrap_or(default.l1_max_bytes),
        compression: match given.compression() {
            proto::Compression::Unspecified | proto::Compression::None => Compression::None,
            proto::Compression::Zstd => Compression::Zstd,
            proto::Compression::Gzip => Compression::Gzip,
        },
        compression_threshold_bytes: size(given.compression_threshold_bytes, default.compression_threshold_bytes),
        retry: retry(given.retry.as_ref())?,
        grace: time("grace", given.grace.as_ref(), default.grace)?,
        stale_while_revalidate: time(
            "stale_while_revalidate",
            given.stale_while_revalidate.as_ref(),
            default.stale_while_revalidate,
        )?,
        early_refresh: time("early_refresh", given.early_refresh.as_ref(), default.early_refresh)?,
        lease: time("lease", given.lease.as_ref(), default.lease)?,
        negative_ttl: time("negative_ttl", given.negative_ttl.as_ref(), default.negative_ttl)?,
        load_timeout: time("load_timeout", given.load_timeout.as_ref(), default.load_timeout)?,
        l2_timeout: time("l2_timeout", given.l2_timeout.as_ref(), default.l2_timeout)?,
        write_queue: size(given.write_queue, default.write_queue),
        write_batch: size(given.write_batch, default.write_batch),
        write_wait: time("write_wait", given.write_wait.as_ref(), default.write_wait)?,
        coherence_lease: time("coherence_lease", given.coherence_lease.as_ref(), default.coherence_lease)?,
        warm_keys: size(given.warm_keys, default.warm_keys),
        sample_ratio: given.sample_ratio.unwrap_or(default.sample_ratio),
        bypass: given.bypass,
    };
    policy.check().map_err(|error| error.to_string())?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_by_default_and_what_is_wrong_is_named() {
        assert_eq!(policy(&proto::CachePolicy::default()), Ok(CachePolicy::default()));
        let given = proto::CachePolicy { ttl_jitter: Some(2.0), ..Default::default() };
        assert_eq!(policy(&given), Err("ttl_jitter must be from 0 to 0.9".to_owned()));
    }
}
