//! The time that a cache goes by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a tick is. Ages in memory are kept in ticks: two years of them fit in four bytes.
const TICK_MS: u64 = 16;

/// The machine's clock, or one that a test moves.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Some milliseconds coarse, and a quarter as dear as the exact one.
    Machine(coarsetime::Instant),
    Moved(Arc<AtomicU64>),
}

impl Default for Clock {
    fn default() -> Self {
        Self(Kind::Machine(coarsetime::Instant::now()))
    }
}

impl Clock {
    /// A clock that stands until it is moved; its clones move with it.
    #[must_use]
    pub fn moved() -> Self {
        Self(Kind::Moved(Arc::default()))
    }

    /// Moves it, if it is one that is moved.
    pub fn advance(&self, by: Duration) {
        if let Kind::Moved(now) = &self.0 {
            now.fetch_add(ms(by), Ordering::SeqCst);
        }
    }

    /// Milliseconds since the cache was made.
    #[inline]
    pub(crate) fn now_ms(&self) -> u64 {
        match &self.0 {
            Kind::Machine(start) => coarsetime::Instant::now_without_cache_update().duration_since(*start).as_millis(),
            Kind::Moved(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Ticks since the cache was made.
    #[inline]
    pub(crate) fn now(&self) -> u32 {
        u32::try_from(self.now_ms() / TICK_MS).unwrap_or(u32::MAX)
    }

    /// Milliseconds since 1970, for entries that several machines read: a clock that is wrong makes a life as much longer or
    /// shorter, and Redis's own clock ends it in any case.
    pub(crate) fn wall_ms(&self) -> u64 {
        match &self.0 {
            Kind::Machine(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms),
            Kind::Moved(now) => 1_700_000_000_000 + now.load(Ordering::SeqCst),
        }
    }
}

/// In whole milliseconds.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// In whole ticks, rounded down: nothing lives longer than was said.
pub(crate) fn ticks(duration: Duration) -> u32 {
    ticks_of_ms(ms(duration))
}

/// In whole ticks, rounded down.
pub(crate) fn ticks_of_ms(ms: u64) -> u32 {
    u32::try_from(ms / TICK_MS).unwrap_or(u32::MAX)
}
