//! What a batcher has done, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Goes up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// So many until now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts since the start. `submitted` = `coalesced` + `refused` + what was or will be answered or given up.
#[derive(Debug, Default)]
pub struct Stats {
    /// Items handed in.
    pub submitted: Count,
    /// Of them, those that share the answer of an equal one.
    pub coalesced: Count,
    /// Of them, those for which there was no room, or that gave theirs to what is more urgent.
    pub refused: Count,
    /// Calls made.
    pub batches: Count,
    /// Items in these calls, retries among them.
    pub items: Count,
    /// Items tried again.
    pub retried: Count,
    /// Items answered.
    pub done: Count,
    /// Items refused by the other side, or out of tries.
    pub failed: Count,
    /// Items whose time was over before they were sent.
    pub expired: Count,
    /// Items that nobody waited for any more when their turn came.
    pub given_up: Count,
    waited_nanos: Count,
}

impl Stats {
    pub(super) fn waited(&self, time: Duration) {
        self.waited_nanos.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Calls that were saved: items handed in and accepted, less calls.
    #[must_use]
    pub fn calls_saved(&self) -> u64 {
        (self.submitted.get() - self.refused.get()).saturating_sub(self.batches.get())
    }

    /// Time that items waited before they were sent, all together.
    #[must_use]
    pub fn waited_in_all(&self) -> Duration {
        Duration::from_nanos(self.waited_nanos.get())
    }
}
