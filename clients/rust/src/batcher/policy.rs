//! What a batcher may do, in the words of `BatchPolicy`.

use std::time::Duration;

/// How requests are gathered, sent and tried again. Every bound has a field; [`BatchPolicy::check`] says what is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPolicy {
    /// Most items in one batch.
    pub max_items: usize,
    /// Most bytes in one batch, by [`super::Process::bytes`]; an item that is larger goes alone.
    pub max_bytes: usize,
    /// How long an item waits for company while other batches are under way. With none under way it goes at once.
    pub max_wait: Duration,
    /// Batches under way at once.
    pub max_concurrent_batches: usize,
    /// Items that wait or are under way; one more is refused.
    pub max_queued: usize,
    /// How long one call may take.
    pub call_timeout: Duration,
    /// How long an item may take in all, its retries included.
    pub deadline: Duration,
    /// An item equal to one that waits or is under way shares its answer.
    pub deduplicate: bool,
    /// How often calls are made; unlimited without.
    pub rate: Option<Rate>,
    /// When what failed is tried again.
    pub retry: Retry,
    /// What batching may add to the time that an item takes; the wait is then chosen by how fast items come and how long
    /// calls take, and is at most [`BatchPolicy::max_wait`].
    pub latency_budget: Option<Duration>,
}

/// A token bucket over calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second in the long run.
    pub per_second: f64,
    /// Calls that may be made at once after a rest.
    pub burst: u32,
    /// One bucket for all instances, which the batcher was given as its [`super::SharedRate`].
    pub shared: bool,
}

/// Exponential backoff with full jitter, under a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Tries of an item, the first among them.
    pub attempts: u32,
    /// The greatest wait before the second try; it doubles with each.
    pub base: Duration,
    /// The greatest wait before any.
    pub max: Duration,
    /// Retries allowed for each item that was answered, so that an outage is not made worse: 0.1 is a tenth more load.
    pub budget_ratio: f64,
    /// Retries allowed beyond that.
    pub budget_reserve: u32,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self {
            max_items: 50,
            max_bytes: 1 << 20,
            max_wait: Duration::from_millis(20),
            max_concurrent_batches: 3,
            max_queued: 10_000,
            call_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            deduplicate: true,
            rate: None,
            retry: Retry::default(),
            latency_budget: None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(100),
            max: Duration::from_secs(10),
            budget_ratio: 0.1,
            budget_reserve: 10,
        }
    }
}

/// A field that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {range}")]
pub struct PolicyError {
    /// Which field.
    pub field: &'static str,
    /// What it may be.
    pub range: &'static str,
}

const HOUR: Duration = Duration::from_secs(3600);

impl BatchPolicy {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        let retry = &self.retry;
        let timed = |duration: Duration| !duration.is_zero() && duration <= HOUR;
        let rate_is_sound = |rate: &Rate| rate.per_second > 0.0 && rate.per_second <= 1e6 && rate.burst >= 1;
        let ratio_is_sound = (0.0..=10.0).contains(&retry.budget_ratio);
        for (sound, field, range) in [
            ((1..=100_000).contains(&self.max_items), "max_items", "from 1 to 100000"),
            ((1..=1 << 30).contains(&self.max_bytes), "max_bytes", "from 1 B to 1 GiB"),
            (self.max_wait <= HOUR, "max_wait", "at most 1h"),
            ((1..=10_000).contains(&self.max_concurrent_batches), "max_concurrent_batches", "from 1 to 10000"),
            ((1..=10_000_000).contains(&self.max_queued), "max_queued", "from 1 to 10000000"),
            (self.latency_budget.is_none_or(|budget| budget <= HOUR), "latency_budget", "at most 1h"),
            (timed(self.call_timeout), "call_timeout", "greater than 0 and at most 1h"),
            (timed(self.deadline), "deadline", "greater than 0 and at most 1h"),
            (self.rate.as_ref().is_none_or(rate_is_sound), "rate", "up to 1000000 a second with a burst of at least 1"),
            ((1..=100).contains(&retry.attempts), "retry.attempts", "from 1 to 100"),
            (retry.base <= HOUR, "retry.base", "at most 1h"),
            (retry.max <= HOUR && retry.max >= retry.base, "retry.max", "from retry.base to 1h"),
            (ratio_is_sound, "retry.budget_ratio", "from 0 to 10"),
        ] {
            if !sound {
                return Err(PolicyError { field, range });
            }
        }
        Ok(())
    }
}

impl Retry {
    /// The greatest wait before try number `attempt`, counted from 2.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doubled = self.base.saturating_mul(1 << attempt.saturating_sub(2).min(20));
        doubled.min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_is_named_with_its_range() {
        assert_eq!(BatchPolicy::default().check(), Ok(()));
        let told = |change: fn(&mut BatchPolicy)| {
            let mut policy = BatchPolicy::default();
            change(&mut policy);
            policy.check().expect_err("out of range").to_string()
        };
        assert_eq!(told(|p| p.max_items = 0), "max_items must be from 1 to 100000");
        assert_eq!(told(|p| p.deadline = Duration::ZERO), "deadline must be greater than 0 and at most 1h");
        assert!(told(|p| p.rate = Some(Rate { per_second: f64::NAN, burst: 1, shared: false })).starts_with("rate "));
        assert!(told(|p| p.retry.budget_ratio = f64::NAN).starts_with("retry.budget_ratio"));
        assert!(told(|p| p.retry.max = Duration::ZERO).starts_with("retry.max"));
    }

    #[test]
    fn backoff_doubles_up_to_its_ceiling() {
        let retry = Retry { base: Duration::from_secs(1), max: Duration::from_secs(5), ..Retry::default() };
        assert_eq!([2, 3, 4, 5, 99].map(|n| retry.ceiling(n).as_secs()), [1, 2, 4, 5, 5]);
    }
}
