//! Policies as people write them: checked, kept with every revision, who made it and why, given back, and told to instances.
//!
//! Layer 4. What is sound is decided by `model`; what is kept, and in which order, by the database.
//!
//! | module | what it does |
//! | --- | --- |
//! | `house` | all that instances may have to be told, as it was at one moment |
//! | `watch` | keeps it up to date |
//! | `told` | one instance: what it was told, what it has answered, what it has missed; pure |
//! | `fleet` | which instance runs what |
//! | `invalidations` | entries made invalid, and whether that has reached everybody; warming |
//! | `overrides` | temporary changes under a lease |
//! | `rollouts` | a revision for one part of the fleet after the other, and back |

mod counters;
mod error;
mod fleet;
mod house;
mod invalidations;
mod overrides;
mod rollouts;
mod told;
mod watch;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::{Notify, watch as watching};
use tokio_util::sync::CancellationToken;

pub use counters::PolicyMetrics;
pub use error::PolicyError;
pub use fleet::{FleetInstance, InstancePolicy};
pub use house::{Assigned, Bent, House};
pub use invalidations::{Invalidation, WarmedInstance, Warming};
pub use overrides::{EndedOverride, Override, WantedOverride};
pub use rollouts::{Measure, Measured, Rollout, WantedMove, WantedRollout};
pub use told::{Invalid, Missed, Running, Told, Who};

use crate::model::{Mistakes, NAME_BYTES_MAX, Policy, PolicyChange, StoredPolicy, changes};
use crate::storage::{Change, Expected, PolicyRevisionRow, PolicyRow, Storage};

/// One revision of a policy.
#[derive(Clone, Debug)]
pub struct PolicyRevision {
    /// Its number.
    pub revision: i64,
    /// What was written.
    pub policy: Policy,
    /// Who made it.
    pub author: String,
    /// And why.
    pub reason: String,
    /// It was the end of the policy.
    pub deleted: bool,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// Against the revision before.
    pub changes: Vec<PolicyChange>,
}

/// The policies of the house.
pub struct Policies {
    storage: Storage,
    /// Names this server among the replicas.
    replica: String,
    measure: Arc<dyn Measure>,
    /// Nothing until it was read once, and while nobody watches.
    house: watching::Sender<Option<Arc<House>>>,
    looks: watch::Looks,
    desk: fleet::Desk,
    /// The house is to be looked at now.
    written: Notify,
    /// So is how far invalidations have come.
    settling: Arc<Notify>,
    /// So are rollouts.
    driving: Notify,
    /// Whoever watches is to go elsewhere.
    closing: CancellationToken,
    /// What is counted.
    pub metrics: PolicyMetrics,
}

fn named(id: &str) -> String {
    format!("policy {id:?}")
}

/// Who and why are kept for good, so both have limits.
fn check_change(change: &Change) -> Result<(), PolicyError> {
    let mut mistakes = Mistakes::default();
    mistakes.line("author", &change.author, NAME_BYTES_MAX);
    mistakes.text("reason", &change.reason);
    Ok(mistakes.done()?)
}

fn read(definition: &Value) -> Option<Policy> {
    house::own("a policy", definition)
}

fn stored(row: &PolicyRow) -> Option<StoredPolicy> {
    Some(StoredPolicy {
        policy: read(&row.definition)?,
        revision: row.revision,
        author: row.author.clone(),
        reason: row.reason.clone(),
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

fn revision((row, before): (&PolicyRevisionRow, Option<&PolicyRevisionRow>)) -> Option<PolicyRevision> {
    let policy = read(&row.definition)?;
    let alive = |row: &PolicyRevisionRow| read(&row.definition).filter(|_| !row.deleted);
    let changes = changes(before.and_then(alive).as_ref(), Some(&policy).filter(|_| !row.deleted));
    Some(PolicyRevision {
        revision: row.revision,
        policy,
        author: row.author.clone(),
        reason: row.reason.clone(),
        deleted: row.deleted,
        created_at: row.created_at,
        changes,
    })
}

impl Policies {
    /// Over `storage`; `replica` names this server, as in its lease. To be called within the runtime.
    ///
    /// # Errors
    /// When the batcher of the fleet's rows cannot be made.
    pub fn new(
        storage: Storage,
        replica: String,
        measure: Arc<dyn Measure>,
    ) -> Result<Self, fastbreak_client::batcher::PolicyError> {
        let (settling, metrics) = (Arc::<Notify>::default(), PolicyMetrics::default());
        Ok(Self {
            desk: fleet::Desk::new(storage.clone(), Arc::clone(&settling), metrics.clone())?,
            storage,
            replica,
            measure,
            house: watching::Sender::new(None),
            looks: watch::Looks::default(),
            written: Notify::new(),
            settling,
            driving: Notify::new(),
            closing: CancellationToken::new(),
            metrics,
        })
    }

    /// Names this server among the replicas.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Every policy, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn list(&self) -> Result<Vec<StoredPolicy>, PolicyError> {
        Ok(self.storage.policy_list().await?.iter().filter_map(stored).collect())
    }

    /// One policy.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn one(&self, id: &str) -> Result<StoredPolicy, PolicyError> {
        let row = self.storage.policy_find(id).await?;
        row.as_ref().and_then(stored).ok_or_else(|| PolicyError::Absent(named(id)))
    }

    /// Keeps a policy. One that creates what is there already, word for word, is answered with that.
    ///
    /// # Errors
    /// When it is not sound, or what is there is not what was expected.
    pub async fn put(&self, policy: &Policy, change: &Change, expected: Expected) -> Result<StoredPolicy, PolicyError> {
        policy.check()?;
        check_change(change)?;
        let definition = serde_json::to_value(policy).unwrap_or_default();
        match self.storage.policy_put((&policy.id, &definition), change, expected).await {
            Ok(row) => {
                self.written.notify_one();
                stored(&row).ok_or_else(|| PolicyError::Absent(named(&policy.id)))
            }
            Err(error) => {
                let error = PolicyError::of_write(error, named(&policy.id));
                if matches!(error, PolicyError::Exists(_)) {
                    let there = self.one(&policy.id).await?;
                    if there.policy == *policy {
                        return Ok(there);
                    }
                }
                Err(error)
            }
        }
    }

    /// Deletes a policy; its revisions stay.
    ///
    /// # Errors
    /// When what is there is not what was expected, or who or why is too long.
    pub async fn delete(&self, id: &str, change: &Change, expected: Expected) -> Result<(), PolicyError> {
        check_change(change)?;
        let deleted = self.storage.policy_delete(id, change, expected).await;
        self.written.notify_one();
        deleted.map_err(|error| PolicyError::of_write(error, named(id)))
    }

    /// Every revision of a policy, the newest first.
    ///
    /// # Errors
    /// When there is no such policy, or the database is away.
    pub async fn revisions(&self, id: &str) -> Result<Vec<PolicyRevision>, PolicyError> {
        let rows = self.storage.policy_revisions(id).await?;
        let before = rows.iter().skip(1).map(Some).chain([None]);
        let revisions: Vec<PolicyRevision> = rows.iter().zip(before).filter_map(revision).collect();
        if revisions.is_empty() { Err(PolicyError::Absent(named(id))) } else { Ok(revisions) }
    }

    /// A policy as it was in an old revision, checked by today's limits.
    ///
    /// # Errors
    /// When there is no such revision, it deleted the policy, or it would not be accepted now.
    pub async fn as_of(&self, id: &str, revision: i64) -> Result<Policy, PolicyError> {
        let revisions = self.revisions(id).await?;
        let found = revisions.into_iter().find(|known| known.revision == revision && !known.deleted);
        let absent = || PolicyError::Absent(format!("revision {revision} of {}", named(id)));
        let policy = found.ok_or_else(absent)?.policy;
        policy.check()?;
        Ok(policy)
    }

    /// What differs between an old revision and the newest, or an edit that is not kept.
    ///
    /// # Errors
    /// When there is no such revision, or the edit is not sound.
    pub async fn diff(&self, id: &str, from: i64, edit: Option<&Policy>) -> Result<Vec<PolicyChange>, PolicyError> {
        let newest = self.one(id).await?;
        let before = if from == 0 { newest.policy.clone() } else { self.as_of(id, from).await? };
        let after = edit.unwrap_or(&newest.policy);
        after.check()?;
        Ok(changes(Some(&before), Some(after)))
    }
}
