//! A token bucket over calls.

use std::time::Duration;

use tokio::time::Instant;

use super::policy::Rate;
use crate::retry::HOUR;

/// Starts full.
pub(super) struct Bucket {
    rate: Option<Rate>,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Option<Rate>, now: Instant) -> Self {
        Self { rate, tokens: rate.map_or(0.0, |rate| f64::from(rate.burst)), at: now }
    }

    /// Whether a call may be made now, or when.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(rate) = self.rate else { return Ok(()) };
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        self.tokens = (self.tokens + earned).min(f64::from(rate.burst));
        self.at = now;
        // A thousandth short is rounding, not haste.
        if self.tokens > 0.999 {
            return Ok(());
        }
        // A rate that gives less than one an hour is looked at again by then.
        let wait = Duration::try_from_secs_f64((1.0 - self.tokens) / rate.per_second).unwrap_or(HOUR);
        Err(now + wait.min(HOUR))
    }

    /// Notes a call.
    pub(super) fn take(&mut self) {
        if self.rate.is_some() {
            self.tokens -= 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_after_another() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Some(Rate { per_second: 10.0, burst: 2, shared: false }), start);
        for _ in 0..2 {
            assert_eq!(bucket.look(start), Ok(()));
            bucket.take();
        }
        let next = bucket.look(start).expect_err("empty");
        assert_eq!((next - start).as_millis(), 100);
        assert_eq!(bucket.look(next), Ok(()));
        bucket.take();
        assert!(bucket.look(next).is_err());
        // A long rest earns no more than the burst.
        let later = next + Duration::from_secs(60);
        for _ in 0..2 {
            assert_eq!(bucket.look(later), Ok(()));
            bucket.take();
        }
        assert!(bucket.look(later).is_err());
    }
}
