//! Leaves Redis alone while it does not answer.

use parking_lot::Mutex;

/// Failures in a row after which it is left alone.
const FAILURES_MAX: u32 = 5;
/// For so long at first, twice as long each time, up to the other.
const REST_MS: u64 = 250;
const REST_MS_MAX: u64 = 10_000;

#[derive(Default)]
struct State {
    failures: u32,
    rest_ms: u64,
    /// Nobody asks before then; then one does.
    until_ms: u64,
}

/// See the module. Time is an argument.
#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

impl Breaker {
    /// Whether Redis may be asked.
    pub(super) fn allows(&self, now_ms: u64) -> bool {
        let mut state = self.0.lock();
        if state.failures < FAILURES_MAX {
            return true;
        }
        if now_ms < state.until_ms {
            return false;
        }
        // This one tries; the others wait for what becomes of it.
        state.until_ms = now_ms + state.rest_ms.max(REST_MS);
        true
    }

    /// Whether Redis may not be asked, without being the one that tries.
    pub(super) fn is_resting(&self, now_ms: u64) -> bool {
        let state = self.0.lock();
        state.failures >= FAILURES_MAX && now_ms < state.until_ms
    }

    /// Whether it rests, or one is about to try.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().failures >= FAILURES_MAX
    }

    pub(super) fn note(&self, went_well: bool, now_ms: u64) {
        let mut state = self.0.lock();
        if went_well {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_MAX {
            state.rest_ms = (state.rest_ms * 2).clamp(REST_MS, REST_MS_MAX);
            state.until_ms = now_ms + state.rest_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_it_rests_and_then_one_tries() {
        let breaker = Breaker::default();
        for now in 0..u64::from(FAILURES_MAX) {
            assert!(breaker.allows(now));
            breaker.note(false, now);
        }
        assert!(breaker.is_open() && !breaker.allows(10) && breaker.is_resting(10));
        assert!(!breaker.is_resting(4 + REST_MS));
        assert!(breaker.allows(4 + REST_MS) && !breaker.allows(5 + REST_MS));
        breaker.note(false, 5 + REST_MS);
        assert!(!breaker.allows(5 + REST_MS * 2), "twice as long");
        assert!(breaker.allows(5 + REST_MS * 3));
        breaker.note(true, 6 + REST_MS * 3);
        assert!(!breaker.is_open());
        assert!(breaker.allows(7 + REST_MS * 3) && breaker.allows(7 + REST_MS * 3));
    }
}
