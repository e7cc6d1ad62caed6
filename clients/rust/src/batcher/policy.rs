//! What a batcher may do, in the words of `BatchPolicy`.

use std::time::Duration;

use crate::retry::{HOUR, first_unsound};
pub use crate::retry::{PolicyError, Retry};

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

impl BatchPolicy {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        const RATE_MAX: f64 = 1e9;
        let timed = |duration: Duration| !duration.is_zero() && duration <= HOUR;
        let rate_is_sound = |rate: &Rate| rate.per_second > 0.0 && rate.per_second <= RATE_MAX && rate.burst >= 1;
        first_unsound([
            ((1..=100_000).contains(&self.max_items), "max_items", "from 1 to 100000"),
            ((1..=1 << 30).contains(&self.max_bytes), "max_bytes", "from 1 B to 1 GiB"),
            (self.max_wait <= HOUR, "max_wait", "at most 1h"),
            ((1..=10_000).contains(&self.max_concurrent_batches), "max_concurrent_batches", "from 1 to 10000"),
            ((1..=10_000_000).contains(&self.max_queued), "max_queued", "from 1 to 10000000"),
            (self.latency_budget.is_none_or(|budget| budget <= HOUR), "latency_budget", "at most 1h"),
            (timed(self.call_timeout), "call_timeout", "greater than 0 and at most 1h"),
            (timed(self.deadline), "deadline", "greater than 0 and at most 1h"),
            (
                self.rate.as_ref().is_none_or(rate_is_sound),
                "rate",
                "up to 1000000000 a second with a burst of at least 1",
            ),
        ])?;
        self.retry.check()
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
}
