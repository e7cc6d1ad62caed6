//! Whether a policy is sound: every mistake at once, each with its field and its limit.

use std::collections::BTreeMap;

use super::{BatchPolicy, CachePolicy, Policy, RetryPolicy};
use crate::model::{Mistakes, Period, Violation};

/// Most labels of a selector or an instance.
pub const LABELS_MAX: usize = 32;
/// Shortest lease of an override.
pub(super) const LEASE_MIN: Period = Period::seconds(5);
/// Longest glob, label or the like, in bytes.
const WORD_BYTES_MAX: usize = 200;
/// Longest TTL.
pub(super) const TTL_MAX: Period = Period::minutes(30 * 24 * 60);
/// Longest lease of an override that a policy may allow.
const LEASE_MAX: Period = Period::minutes(24 * 60);
/// Longest timeout.
const TIMEOUT_MAX: Period = Period::minutes(10);
/// Longest lease of coherence: so long may an invalidation wait for an instance that is gone.
const COHERENCE_MAX: Period = Period::seconds(60);
/// Shortest lease of coherence: an instance asks every third of it.
const COHERENCE_MIN: Period = Period::seconds(1);
/// More batches at once are nobody's.
pub(super) const CONCURRENT_MAX: u32 = 1_000;
/// Faster rates are nobody's; calls a second.
pub(super) const RATE_MAX: f64 = 1e9;

/// The waits between tries, where nobody says.
const RETRY_BASE: Period = Period::milliseconds(100);
const RETRY_MAX: Period = Period::seconds(10);

const MILLISECOND: Period = Period::milliseconds(1);

impl Policy {
    /// Checks it.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        let mut mistakes = Mistakes::default();
        mistakes.id("id", &self.id);
        mistakes.name("name", &self.name);
        mistakes.word("selector.service", &self.selector.service);
        mistakes.word("selector.target", &self.selector.target);
        mistakes.words("selector.labels", &self.selector.labels);
        let one = self.cache.is_some() != self.batch.is_some();
        mistakes.unless(one, "cache", || "cache or batch must be given, and not both".to_owned());
        if let Some(cache) = &self.cache {
            check_cache(&mut mistakes, cache);
        }
        if let Some(batch) = &self.batch {
            check_batch(&mut mistakes, batch);
        }
        let bounds = &self.bounds;
        mistakes.within("bounds.maxTtl", bounds.max_ttl, (MILLISECOND, TTL_MAX));
        mistakes.within("bounds.minRate", bounds.min_rate, (0.0, RATE_MAX));
        mistakes.within("bounds.maxLease", bounds.max_lease, (LEASE_MIN, LEASE_MAX));
        mistakes.done()
    }
}

impl Mistakes {
    /// A glob or a label's value.
    fn word(&mut self, field: &str, word: &str) {
        self.line(field, word, WORD_BYTES_MAX);
    }

    /// Labels.
    pub(crate) fn words(&mut self, field: &str, labels: &BTreeMap<String, String>) {
        self.at_most(field, labels.len(), LABELS_MAX, "labels");
        for (name, value) in labels {
            self.unless(!name.is_empty(), field, || "a label must have a name".to_owned());
            self.word(field, name);
            self.word(field, value);
        }
    }
}

fn check_cache(mistakes: &mut Mistakes, cache: &CachePolicy) {
    let upto = |most| (Period::ZERO, most);
    for (field, span, limits) in [
        ("cache.l1Ttl", cache.l1_ttl, upto(TTL_MAX)),
        ("cache.l2Ttl", cache.l2_ttl, upto(TTL_MAX)),
        ("cache.grace", cache.grace, upto(TTL_MAX)),
        ("cache.staleWhileRevalidate", cache.stale_while_revalidate, upto(TTL_MAX)),
        ("cache.earlyRefresh", cache.early_refresh, upto(TTL_MAX)),
        ("cache.lease", cache.lease, upto(TIMEOUT_MAX)),
        ("cache.negativeTtl", cache.negative_ttl, upto(TTL_MAX)),
        ("cache.loadTimeout", cache.load_timeout, (MILLISECOND, TIMEOUT_MAX)),
        ("cache.l2Timeout", cache.l2_timeout, (MILLISECOND, TIMEOUT_MAX)),
        ("cache.writeWait", cache.write_wait, upto(Period::minutes(1))),
    ] {
        mistakes.within(field, span, limits);
    }
    let lease = cache.coherence_lease.filter(|lease| *lease > Period::ZERO);
    mistakes.within("cache.coherenceLease", lease, (COHERENCE_MIN, COHERENCE_MAX));
    mistakes.within("cache.ttlJitter", cache.ttl_jitter, (0.0, 0.9));
    mistakes.within("cache.sampleRatio", cache.sample_ratio, (0.0, 1.0));
    mistakes.within("cache.l1MaxBytes", cache.l1_max_bytes, (1 << 20, 1 << 40));
    mistakes.within("cache.compressionThresholdBytes", cache.compression_threshold_bytes, (0, 1 << 30));
    mistakes.within("cache.writeQueue", cache.write_queue, (1, 1_000_000));
    mistakes.within("cache.writeBatch", cache.write_batch, (1, 10_000));
    mistakes.within("cache.warmKeys", cache.warm_keys, (0, 100_000));
    check_retry(mistakes, "cache.retry", cache.retry.as_ref());
}

fn check_batch(mistakes: &mut Mistakes, batch: &BatchPolicy) {
    mistakes.within("batch.maxItems", batch.max_items, (1, 100_000));
    mistakes.within("batch.maxBytes", batch.max_bytes, (1, 1 << 30));
    mistakes.within("batch.maxWait", batch.max_wait, (Period::ZERO, Period::minutes(1)));
    mistakes.within("batch.maxConcurrentBatches", batch.max_concurrent_batches, (1, CONCURRENT_MAX));
    mistakes.within("batch.maxQueued", batch.max_queued, (1, 10_000_000));
    mistakes.within("batch.callTimeout", batch.call_timeout, (MILLISECOND, TIMEOUT_MAX));
    mistakes.within("batch.deadline", batch.deadline, (MILLISECOND, Period::minutes(60)));
    mistakes.within("batch.latencyBudget", batch.latency_budget, (MILLISECOND, Period::minutes(1)));
    if let Some(rate) = &batch.rate {
        mistakes.within("batch.rate.perSecond", Some(rate.per_second), (0.000_1, RATE_MAX));
        mistakes.within("batch.rate.burst", rate.burst, (1, 1_000_000_000));
    }
    check_retry(mistakes, "batch.retry", batch.retry.as_ref());
}

fn check_retry(mistakes: &mut Mistakes, field: &str, retry: Option<&RetryPolicy>) {
    let Some(retry) = retry else { return };
    mistakes.within(&format!("{field}.attempts"), retry.attempts, (1, 20));
    mistakes.within(&format!("{field}.base"), retry.base, (Period::ZERO, Period::minutes(60)));
    mistakes.within(&format!("{field}.max"), retry.max, (Period::ZERO, Period::minutes(60)));
    let (base, max) = (retry.base.unwrap_or(RETRY_BASE), retry.max.unwrap_or(RETRY_MAX));
    mistakes.unless(base <= max, &format!("{field}.max"), || format!("must be at least {base}, the base, not {max}"));
    mistakes.within(&format!("{field}.budgetRatio"), retry.budget_ratio, (0.0, 10.0));
    mistakes.within(&format!("{field}.budgetReserve"), retry.budget_reserve, (0, 10_000));
}
