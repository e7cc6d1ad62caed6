//! What an override does to a policy, within the policy's bounds.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::validate::{CONCURRENT_MAX, LEASE_MIN, RATE_MAX, TTL_MAX};
use super::{BatchPolicy, CachePolicy, Policy};
use crate::model::{Mistakes, Period, Violation};

/// TTLs are never widened beyond, by default.
const TTL_BOUND: Period = Period::minutes(24 * 60);
/// Rates are never shrunk below, by default; calls a second.
const RATE_BOUND: f64 = 1.0;
/// Leases are never longer, by default.
const LEASE_BOUND: Period = Period::minutes(60);
/// As in the SDK, where a policy does not say.
const L1_TTL: Period = Period::minutes(1);
const L2_TTL: Period = Period::minutes(60);
const CONCURRENT_BATCHES: u32 = 3;
/// Greatest factor.
const FACTOR_MAX: f64 = 1_000.0;

/// What an override does to a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adjustment {
    /// TTLs, grace and stale-while-revalidate of a cache are multiplied by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_factor: Option<f64>,
    /// Entries past their TTL are served for so long when they cannot be loaded, and while they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_stale: Option<Period>,
    /// Rate of a batcher is multiplied by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_factor: Option<f64>,
    /// Batches under way at once are multiplied by it; one at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_factor: Option<f64>,
}

impl Adjustment {
    /// Checks it.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        let (mut mistakes, field) = (Mistakes::default(), "adjustment");
        for (name, factor) in [
            ("ttlFactor", self.ttl_factor),
            ("rateFactor", self.rate_factor),
            ("concurrencyFactor", self.concurrency_factor),
        ] {
            mistakes.within(&format!("{field}.{name}"), factor, (0.001, FACTOR_MAX));
        }
        mistakes.within(&format!("{field}.serveStale"), self.serve_stale, (Period::ZERO, TTL_MAX));
        let some = *self != Self::default();
        mistakes.unless(some, field, || "must change something".to_owned());
        mistakes.done()
    }

    /// The policy under it: never beyond its bounds, and where it is beyond them already, no further.
    #[must_use]
    pub fn apply(&self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        let most = policy.bounds.max_ttl.unwrap_or(TTL_BOUND);
        if let Some(cache) = &mut policy.cache {
            self.to_cache(cache, most);
        }
        let least = policy.bounds.min_rate.unwrap_or(RATE_BOUND);
        if let Some(batch) = &mut policy.batch {
            self.to_batch(batch, least);
        }
        policy
    }

    fn to_cache(&self, cache: &mut CachePolicy, most: Period) {
        if let Some(factor) = self.ttl_factor {
            let times = |ttl: Period| {
                let wanted = Period::from_millis((ttl.millis() as f64 * factor) as i64).unwrap_or_default();
                wanted.min(most.max(ttl))
            };
            cache.l1_ttl = Some(times(cache.l1_ttl.unwrap_or(L1_TTL)));
            cache.l2_ttl = Some(times(cache.l2_ttl.unwrap_or(L2_TTL)));
            cache.grace = cache.grace.map(times);
            cache.stale_while_revalidate = cache.stale_while_revalidate.map(times);
        }
        if let Some(stale) = self.serve_stale {
            let wider = |span: Option<Period>| Some(span.unwrap_or_default().max(stale.min(most)));
            cache.grace = wider(cache.grace);
            cache.stale_while_revalidate = wider(cache.stale_while_revalidate);
        }
    }

    fn to_batch(&self, batch: &mut BatchPolicy, least: f64) {
        if let (Some(factor), Some(rate)) = (self.rate_factor, &mut batch.rate) {
            let before = rate.per_second;
            rate.per_second = (before * factor).max(least.min(before)).min(RATE_MAX);
        }
        if let Some(factor) = self.concurrency_factor {
            let before = f64::from(batch.max_concurrent_batches.unwrap_or(CONCURRENT_BATCHES));
            batch.max_concurrent_batches = Some((before * factor).clamp(1.0, f64::from(CONCURRENT_MAX)) as u32);
        }
    }
}

/// The longest lease of an override of `policy`.
#[must_use]
pub fn longest_lease(policy: &Policy) -> Period {
    policy.bounds.max_lease.unwrap_or(LEASE_BOUND)
}

/// Checks the lease of an override of `policy`.
///
/// # Errors
/// When it is shorter than is any use, or longer than the policy allows.
pub fn check_lease(policy: &Policy, lease: Period) -> Result<(), Vec<Violation>> {
    let mut mistakes = Mistakes::default();
    mistakes.within("lease", Some(lease), (LEASE_MIN, longest_lease(policy)));
    mistakes.done()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::OverrideBounds;
    use super::super::batch::RatePolicy;
    use super::*;

    fn policy(cache: Option<CachePolicy>, batch: Option<BatchPolicy>, bounds: OverrideBounds) -> Policy {
        let (id, name) = ("a".to_owned(), "A".to_owned());
        Policy { id, name, selector: Default::default(), cache, batch, bounds, enabled: true }
    }

    fn period(millis: i64) -> Period {
        Period::from_millis(millis).expect("not negative")
    }

    proptest! {
        #[test]
        fn a_ttl_is_never_widened_beyond_its_bound(
            ttl in 0i64..100_000_000, most in 1i64..100_000_000, factor in 0.001f64..1_000.0, stale in 0i64..100_000_000,
        ) {
            let cache = CachePolicy { l1_ttl: Some(period(ttl)), grace: Some(period(ttl)), ..CachePolicy::default() };
            let bounds = OverrideBounds { max_ttl: Some(period(most)), ..OverrideBounds::default() };
            let before = policy(Some(cache), None, bounds);
            let bent = Adjustment { ttl_factor: Some(factor), serve_stale: Some(period(stale)), ..Adjustment::default() };
            let after = bent.apply(&before).cache.expect("still of a cache");
            let (l1, grace) = (after.l1_ttl.expect("set").millis(), after.grace.expect("set").millis());
            prop_assert!(l1 <= most.max(ttl), "{l1}");
            prop_assert!(grace <= most.max(ttl), "{grace}");
            prop_assert!(ttl > 0 || l1 == 0, "what keeps nothing goes on keeping nothing");
            prop_assert!(factor < 1.0 || l1 >= ttl.min(most), "a factor over one shortens nothing");
        }

        #[test]
        fn a_rate_is_never_shrunk_below_its_bound(
            rate in 0.1f64..10_000.0, least in 0.1f64..10_000.0, factor in 0.001f64..1_000.0, batches in 1u32..1_000,
        ) {
            let rate_policy = RatePolicy { per_second: rate, burst: None, shared: false };
            let batch = BatchPolicy {
                rate: Some(rate_policy), max_concurrent_batches: Some(batches), ..BatchPolicy::default()
            };
            let bounds = OverrideBounds { min_rate: Some(least), ..OverrideBounds::default() };
            let bent =
                Adjustment { rate_factor: Some(factor), concurrency_factor: Some(factor), ..Adjustment::default() };
            let after = bent.apply(&policy(None, Some(batch), bounds)).batch.expect("still of a batcher");
            let per_second = after.rate.expect("still limited").per_second;
            prop_assert!(per_second >= least.min(rate), "{per_second}");
            prop_assert!((1..=CONCURRENT_MAX).contains(&after.max_concurrent_batches.expect("set")));
        }
    }
}
