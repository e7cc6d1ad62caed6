//! When what failed is tried again, and what is wrong with a policy; the batcher and the cache share both.

use std::time::Duration;

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

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Longest rest that the other side may ask for.
pub(crate) const REST_MAX: Duration = Duration::from_secs(300);

impl Retry {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        first_unsound([
            ((1..=100).contains(&self.attempts), "retry.attempts", "from 1 to 100"),
            (self.base <= HOUR, "retry.base", "at most 1h"),
            (self.max <= HOUR && self.max >= self.base, "retry.max", "from retry.base to 1h"),
            ((0.0..=10.0).contains(&self.budget_ratio), "retry.budget_ratio", "from 0 to 10"),
        ])
    }

    /// The greatest wait before try number `attempt`, counted from 2.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doubled = self.base.saturating_mul(1 << attempt.saturating_sub(2).min(20));
        doubled.min(self.max)
    }
}

/// The first of `(whether it is sound, field, range)` that is not.
pub(crate) fn first_unsound<const N: usize>(
    fields: [(bool, &'static str, &'static str); N],
) -> Result<(), PolicyError> {
    fields
        .into_iter()
        .find(|(sound, _, _)| !sound)
        .map_or(Ok(()), |(_, field, range)| Err(PolicyError { field, range }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_ceiling() {
        let retry = Retry { base: Duration::from_secs(1), max: Duration::from_secs(5), ..Retry::default() };
        assert_eq!([2, 3, 4, 5, 99].map(|n| retry.ceiling(n).as_secs()), [1, 2, 4, 5, 5]);
    }
}
