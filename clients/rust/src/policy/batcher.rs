//! A batcher as a target.

use std::sync::Arc;

use super::target::{Assigned, Kind, Policy, Target};
use crate::batcher::{BatchPolicy, Batcher, Process, WeakBatcher};

/// Holds no batcher up: when the last clone goes, it goes.
struct BatcherTarget<P: Process> {
    name: String,
    batcher: WeakBatcher<P>,
    /// As in the code.
    home: BatchPolicy,
}

/// The target of `batcher`; the policy that it has now is the one that it goes back to.
pub(super) fn target<P: Process>(name: &str, batcher: &Batcher<P>) -> Arc<dyn Target> {
    Arc::new(BatcherTarget { name: name.to_owned(), batcher: batcher.downgrade(), home: batcher.policy() })
}

impl<P: Process> Target for BatcherTarget<P> {
    fn kind(&self) -> Kind {
        Kind::Batch
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&self, assigned: Option<&Assigned>) -> Result<(), String> {
        let policy = match assigned.map(|assigned| &assigned.policy) {
            Some(Policy::Batch(policy)) => policy,
            Some(Policy::Cache(_)) => return Err("a batcher takes no policy of a cache".to_owned()),
            None => &self.home,
        };
        let Some(batcher) = self.batcher.upgrade() else { return Ok(()) };
        batcher.set_policy(policy.clone()).map_err(|error| error.to_string())
    }

    fn is_gone(&self) -> bool {
        self.batcher.is_gone()
    }
}
