//! What instances are told: the policies of the house as they are now, and what one instance has missed of them.
//!
//! All that a stream needs to remember is which revision it sent of each policy, so nothing queues for a slow one: when it
//! asks again it is told the difference to the newest state, however much has changed meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Policies, PolicyError};
use crate::model::StoredPolicy;

/// How often the database is asked whether another replica has changed a policy.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The policies that count, by id.
pub type Effective = Arc<BTreeMap<String, Arc<StoredPolicy>>>;

/// What an instance has missed.
#[derive(Debug, Default, PartialEq)]
pub struct Missed {
    /// Policies that it is to run now.
    pub changed: Vec<Arc<StoredPolicy>>,
    /// Policies that it runs as they are, by id.
    pub unchanged: Vec<String>,
    /// Policies that it is to run no more, by id.
    pub removed: Vec<String>,
}

/// An instance, and what it was told.
#[derive(Debug)]
pub struct Told {
    service: String,
    labels: BTreeMap<String, String>,
    running: BTreeMap<String, i64>,
}

impl Told {
    /// An instance of `service` that runs the revisions of `running` already.
    #[must_use]
    pub const fn new(service: String, labels: BTreeMap<String, String>, running: BTreeMap<String, i64>) -> Self {
        Self { service, labels, running }
    }

    /// What it has missed of `policies`, which it is then taken to know.
    pub fn catch_up(&mut self, policies: &Effective) -> Missed {
        let mut missed = Missed::default();
        let is_for = |kept: &StoredPolicy| kept.policy.selector.is_for(&self.service, &self.labels);
        let mut running = BTreeMap::new();
        for (id, kept) in policies.iter().filter(|(_, kept)| is_for(kept)) {
            if self.running.get(id) == Some(&kept.revision) {
                missed.unchanged.push(id.clone());
            } else {
                missed.changed.push(Arc::clone(kept));
            }
            running.insert(id.clone(), kept.revision);
        }
        let before = std::mem::replace(&mut self.running, running);
        missed.removed = before.into_keys().filter(|id| !self.running.contains_key(id)).collect();
        missed
    }
}

impl Policies {
    /// The policies that count, marked changed with each change here and, a moment later, on any replica.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Effective>> {
        self.effective.subscribe()
    }

    /// Ready once this server goes, so that whoever watches looks for another.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Keeps what is watched up to date, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.written.notified() => {}
                () = cancel.cancelled() => {
                    self.closing.cancel();
                    return;
                }
            }
            if self.effective.receiver_count() == 0 {
                // Nobody is to be told of what was read before, when somebody comes.
                if known.take().is_some() {
                    self.effective.send_replace(None);
                }
                continue;
            }
            match self.look(known).await {
                Ok(version) => known = Some(version),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "policies are not brought up to date; instances go on with what they have");
                }
            }
        }
    }

    /// Reads the policies anew when their version is not `known`; returns the version.
    async fn look(&self, known: Option<i64>) -> Result<i64, PolicyError> {
        let version = self.storage.policies_version().await?;
        if known == Some(version) {
            return Ok(version);
        }
        let enabled = self.list().await?.into_iter().filter(|kept| kept.policy.enabled);
        let policies = enabled.map(|kept| (kept.policy.id.clone(), Arc::new(kept))).collect();
        self.effective.send_replace(Some(Arc::new(policies)));
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Policy;

    fn kept(id: &str, service: &str, revision: i64) -> (String, Arc<StoredPolicy>) {
        let json = serde_json::json!({ "id": id, "name": id, "selector": { "service": service }, "cache": {} });
        let policy: Policy = serde_json::from_value(json).expect("a policy");
        let at = chrono::DateTime::UNIX_EPOCH;
        let (author, reason) = (String::new(), String::new());
        let kept = StoredPolicy { policy, revision, author, reason, created_at: at, updated_at: at };
        (id.to_owned(), Arc::new(kept))
    }

    proptest! {
        /// However many states it sleeps through, an instance that applies what it is told runs the newest.
        #[test]
        fn what_it_is_told_makes_it_run_the_newest(
            states in prop::collection::vec(prop::collection::btree_map("[abc]", (prop::bool::ANY, 1i64..4), 0..4), 1..8),
            asleep in prop::collection::vec(prop::bool::ANY, 8),
        ) {
            let mut told = Told::new("shop".to_owned(), BTreeMap::new(), BTreeMap::new());
            let mut runs: BTreeMap<String, i64> = BTreeMap::new();
            let last = states.len() - 1;
            for (n, (state, asleep)) in states.iter().zip(asleep).enumerate() {
                if asleep && n != last {
                    continue;
                }
                let of = |(id, (ours, revision)): (&String, &(bool, i64))| kept(id, if *ours { "shop" } else { "else" }, *revision);
                let effective: Effective = Arc::new(state.iter().map(of).collect());
                let missed = told.catch_up(&effective);
                for id in &missed.unchanged {
                    prop_assert!(runs.contains_key(id));
                }
                runs.retain(|id, _| !missed.removed.contains(id));
                runs.extend(missed.changed.iter().map(|kept| (kept.policy.id.clone(), kept.revision)));
                let expect: BTreeMap<String, i64> = state.iter().filter(|(_, (ours, _))| *ours)
                    .map(|(id, (_, revision))| (id.clone(), *revision)).collect();
                prop_assert_eq!(&runs, &expect);
            }
        }
    }
}
