//! When to try again: a schedule with full jitter, for a day.

use std::time::Duration;

/// Longest wait before each attempt after a failed one; the last one stays.
const STEPS: &[Duration] = &[
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1_800),
    Duration::from_secs(3_600),
];

/// How long is tried, from the queueing.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// The wait after failed attempt `number` (from one) of a delivery queued `age` ago; `None` when it is given up.
///
/// `chance` in `0..1` is the jitter: the whole wait is random, so that what failed together does not come back together. A
/// wait that the receiver asked for is kept to, and the last attempt falls on the end of the day.
pub(super) fn delay(number: u32, age: Duration, asked: Option<Duration>, chance: f64) -> Option<Duration> {
    let left = GIVE_UP_AFTER.checked_sub(age).filter(|left| !left.is_zero())?;
    let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX).min(STEPS.len() - 1);
    let step = STEPS.get(index).copied().unwrap_or_default();
    let wait = step.mul_f64(chance.clamp(0.0, 1.0)).max(asked.unwrap_or_default());
    Some(wait.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_after_a_day() {
        let wait = |number| delay(number, Duration::ZERO, None, 1.0).map(|wait| wait.as_secs());
        assert_eq!((1..9).map(wait).collect::<Vec<_>>(), [5, 30, 120, 600, 1800, 3600, 3600, 3600].map(Some).to_vec());
        assert_eq!(delay(1, Duration::ZERO, None, 0.0), Some(Duration::ZERO));
        assert_eq!(delay(9, GIVE_UP_AFTER, None, 1.0), None);
        assert_eq!(delay(9, GIVE_UP_AFTER - Duration::from_secs(60), None, 1.0), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_receiver_that_asks_for_a_wait_gets_it() {
        let asked = Some(Duration::from_secs(90));
        assert_eq!(delay(1, Duration::ZERO, asked, 0.5), asked);
        assert_eq!(delay(4, Duration::ZERO, asked, 1.0), Some(Duration::from_secs(600)));
    }
}
