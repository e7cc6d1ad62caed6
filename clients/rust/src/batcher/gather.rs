//! How long an item waits for company when batching may add only so much. Pure: time is an argument.
//!
//! Waiting `w` brings `rate · w` items more, and each makes the call longer by what one more item costs; both are time that
//! batching adds. So `w + rate · w · cost ≤ budget`. A wait in which nobody comes wins nothing and is left out.

use std::time::Duration;

use tokio::time::Instant;

use super::policy::BatchPolicy;

/// Over how many seconds the rate of arrival is taken.
const SECONDS: f64 = 1.0;
/// What a call weighs when the next is made.
const FADE: f64 = 0.95;

/// What is known of arrivals and of calls.
#[derive(Default)]
pub(super) struct Gather {
    /// Arrivals, each weighed by its age.
    arrivals: f64,
    last: Option<Instant>,
    calls: Calls,
}

/// Calls by how many items they had, faded; a straight line through them is what an item more costs.
#[derive(Default)]
struct Calls {
    weight: f64,
    items: f64,
    seconds: f64,
    items_squared: f64,
    items_seconds: f64,
}

impl Gather {
    /// An item came.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.arrivals = self.faded(now) + 1.0;
        self.last = Some(now);
    }

    /// A call with so many items took so long.
    pub(super) fn called(&mut self, items: usize, took: Duration) {
        let (items, seconds) = (items as f64, took.as_secs_f64());
        let calls = &mut self.calls;
        for (sum, more) in [
            (&mut calls.weight, 1.0),
            (&mut calls.items, items),
            (&mut calls.seconds, seconds),
            (&mut calls.items_squared, items * items),
            (&mut calls.items_seconds, items * seconds),
        ] {
            *sum = *sum * FADE + more;
        }
    }

    fn faded(&self, now: Instant) -> f64 {
        let since = self.last.map_or(0.0, |last| now.saturating_duration_since(last).as_secs_f64());
        self.arrivals * (-since / SECONDS).exp()
    }

    /// How long the oldest item waits.
    pub(super) fn wait(&self, policy: &BatchPolicy, now: Instant) -> Duration {
        let Some(budget) = policy.latency_budget else { return policy.max_wait };
        let rate = self.faded(now) / SECONDS;
        if rate <= 0.0 {
            return Duration::ZERO;
        }
        let allowed = budget.as_secs_f64() / (1.0 + rate * self.calls.cost());
        let filled = (policy.max_items - 1) as f64 / rate;
        let wait = allowed.min(filled).min(policy.max_wait.as_secs_f64());
        // Less than one is expected.
        if rate * wait < 1.0 { Duration::ZERO } else { Duration::from_secs_f64(wait) }
    }
}

impl Calls {
    /// What an item more costs, in seconds.
    fn cost(&self) -> f64 {
        let spread = self.weight * self.items_squared - self.items * self.items;
        // Calls that were all as large say nothing of size.
        if spread < 1e-6 {
            return 0.0;
        }
        ((self.weight * self.items_seconds - self.items * self.seconds) / spread).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(rate: u32, cost: Duration) -> (Gather, Instant) {
        let mut gather = Gather::default();
        let mut now = Instant::now();
        for n in 0..rate * 5 {
            now += Duration::from_secs(1) / rate;
            gather.arrived(now);
            gather.called(n as usize % 7 + 1, Duration::from_millis(5) + cost * (n % 7));
        }
        (gather, now)
    }

    #[test]
    fn a_wait_is_as_long_as_it_wins_something_and_the_budget_allows() {
        let policy = BatchPolicy {
            latency_budget: Some(Duration::from_millis(8)),
            max_items: 50,
            max_wait: Duration::from_millis(20),
            ..BatchPolicy::default()
        };
        let wait = |rate, cost| {
            let (gather, now) = gather(rate, cost);
            gather.wait(&policy, now).as_secs_f64() * 1e3
        };
        let near =
            |got: f64, expect: f64| assert!((got - expect).abs() < 0.25 * expect + 1e-9, "{got} and not {expect}");
        near(wait(20, Duration::ZERO), 0.0);
        near(wait(1_000, Duration::ZERO), 8.0);
        near(wait(1_000, Duration::from_millis(1)), 4.0);
        near(wait(20_000, Duration::ZERO), 2.45);
        let fixed = BatchPolicy { latency_budget: None, ..policy.clone() };
        assert_eq!(Gather::default().wait(&fixed, Instant::now()), fixed.max_wait);
        assert_eq!(Gather::default().wait(&policy, Instant::now()), Duration::ZERO);
        let (gather, now) = gather(1_000, Duration::ZERO);
        assert_eq!(gather.wait(&policy, now + Duration::from_secs(20)), Duration::ZERO, "it has become quiet");
    }
}
