//! Every operation of every service, found by the number of its series.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::decide::{Operation, Rates, Seen, Settled};
use crate::model::{Histogram, TimeMs};

/// Operations, shared by all series that differ in other labels only. There are no more than series of spans, which are
/// capped.
#[derive(Debug, Default)]
pub struct Operations {
    by_series: RwLock<HashMap<u32, Arc<Mutex<Operation>>>>,
    by_name: RwLock<HashMap<u64, Arc<Mutex<Operation>>>>,
}

/// One of them.
pub type OperationRef = Arc<Mutex<Operation>>;

impl Operations {
    /// The operation of the series in `slot`; `name` hashes what it is called when it is not known.
    pub fn of(&self, slot: u32, now: TimeMs, name: impl FnOnce() -> u64) -> OperationRef {
        if let Some(known) = self.by_series.read().get(&slot) {
            return Arc::clone(known);
        }
        let fresh = || Arc::new(Mutex::new(Operation::new(now)));
        let operation = Arc::clone(self.by_name.write().entry(name()).or_insert_with(fresh));
        self.by_series.write().insert(slot, Arc::clone(&operation));
        operation
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_name.read().len()
    }
}

/// Begins to look at an operation's spans of an export.
pub fn begin(operation: &OperationRef, now: TimeMs, rates: Rates) -> Seen {
    operation.lock().begin(now, rates)
}

/// Decides on them.
pub fn settle(operation: &OperationRef, now: TimeMs, seen: Seen, durations: &Histogram) -> Settled {
    operation.lock().settle(now, seen, durations)
}

/// A weight as a whole number of spans.
#[must_use]
pub fn whole(operation: &OperationRef, weight: f64) -> u64 {
    operation.lock().whole(weight)
}
