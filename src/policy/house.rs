//! All that instances may have to be told, as it was at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{read, stored};
use crate::model::{Adjustment, Policy, RolloutStage, StoredPolicy, share};
use crate::storage::{InvalidationRow, OverrideRow, RolloutRow, Storage, StorageError, WarmingRow};

/// Newest invalidations that are held; an instance that has missed more drops its memory.
const INVALIDATIONS_HELD: usize = 1_000;

/// A temporary change of a policy.
#[derive(Clone, Debug)]
struct Bend {
    id: String,
    adjustment: Adjustment,
    until: Instant,
    expires_at: DateTime<Utc>,
    reason: String,
}

/// A revision on its way, and how far.
#[derive(Clone, Debug)]
struct Candidate {
    policy: Arc<StoredPolicy>,
    /// Each with the share that it means in `percent`.
    reached: Vec<RolloutStage>,
}

/// A policy, with all that may make it another for some.
#[derive(Clone, Debug)]
struct Assignable {
    standing: Arc<StoredPolicy>,
    candidate: Option<Candidate>,
    bends: Vec<Bend>,
}

/// A policy under its overrides.
#[derive(Clone, Debug, PartialEq)]
pub struct Bent {
    /// Which overrides.
    pub id: String,
    /// What it comes to.
    pub policy: Policy,
    /// When the first of them ends.
    pub until: Instant,
    /// The same by the database's clock.
    pub expires_at: DateTime<Utc>,
    /// Why they are there.
    pub reason: String,
}

/// What one instance is to run of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// The revision for it.
    pub policy: Arc<StoredPolicy>,
    /// It is one of those that have a revision before the others.
    pub canary: bool,
    /// What counts instead for a while.
    pub bent: Option<Bent>,
}

impl Assignable {
    /// For an instance; nothing when it is not for it.
    fn to(&self, service: &str, instance: &str, labels: &BTreeMap<String, String>) -> Option<Assigned> {
        let id = &self.standing.policy.id;
        let has_new = |candidate: &&Candidate| RolloutStage::has_new(&candidate.reached, share(id, instance), labels);
        let candidate = self.candidate.as_ref().filter(has_new);
        let policy = candidate.map_or(&self.standing, |candidate| &candidate.policy);
        let is_for = policy.policy.enabled && policy.policy.selector.is_for(service, labels);
        is_for.then(|| Assigned { policy: Arc::clone(policy), canary: candidate.is_some(), bent: self.bent(policy) })
    }

    fn bent(&self, policy: &StoredPolicy) -> Option<Bent> {
        let (until, expires_at) = self.bends.iter().map(|bend| (bend.until, bend.expires_at)).min()?;
        let all = |of: fn(&Bend) -> &str| self.bends.iter().map(of).collect::<Vec<_>>();
        let bent = self.bends.iter().fold(policy.policy.clone(), |policy, bend| bend.adjustment.apply(&policy));
        Some(Bent {
            id: all(|bend| &bend.id).join("+"),
            policy: bent,
            until,
            expires_at,
            reason: all(|bend| &bend.reason).join("; "),
        })
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct House {
    policies: BTreeMap<String, Assignable>,
    /// In order and without gaps, up to the newest.
    invalidations: Vec<Arc<InvalidationRow>>,
    /// The newest.
    newest: i64,
    warmings: Vec<Arc<WarmingRow>>,
}

impl House {
    /// Reads it, as it is at `newest`; what `before` has of invalidations is not read again.
    pub(super) async fn read(storage: &Storage, newest: i64, before: Option<&Self>) -> Result<Self, StorageError> {
        let (now, at) = (storage.now().await?, Instant::now());
        let mut policies = BTreeMap::new();
        for standing in storage.policy_list().await?.iter().filter_map(stored) {
            let id = standing.policy.id.clone();
            policies.insert(id, Assignable { standing: Arc::new(standing), candidate: None, bends: Vec::new() });
        }
        for (rollout, definition) in storage.rollouts_open().await? {
            let Some(policy) = policies.get_mut(&rollout.policy_id) else { continue };
            policy.candidate = candidate(&policy.standing, &rollout, &definition);
        }
        for over in storage.override_list().await? {
            let Some(policy) = policies.get_mut(&over.policy_id) else { continue };
            policy.bends.extend(bend(over, |end| at + (end - now).max(TimeDelta::zero()).to_std().unwrap_or_default()));
        }
        let warmings = storage.warmings_open().await?.into_iter().map(Arc::new).collect();
        let mut invalidations = before.map(|before| before.invalidations.clone()).unwrap_or_default();
        let known = before.map_or(newest - INVALIDATIONS_HELD as i64, |before| before.newest);
        if known < newest {
            let new = storage.invalidations_after(known, INVALIDATIONS_HELD as i64).await?;
            if new.first().is_some_and(|first| first.sequence != known + 1) {
                invalidations.clear();
            }
            invalidations.extend(new.into_iter().map(Arc::new));
            let over = invalidations.len().saturating_sub(INVALIDATIONS_HELD);
            invalidations.drain(..over);
        }
        let newest = invalidations.last().map_or(newest, |newest| newest.sequence);
        Ok(Self { policies, invalidations, newest, warmings })
    }

    /// When the next override ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.policies.values().flat_map(|policy| &policy.bends).map(|bend| bend.until).min()
    }

    /// What an instance is to run, by policy.
    #[must_use]
    pub fn assigned(
        &self,
        (service, instance): (&str, &str),
        labels: &BTreeMap<String, String>,
    ) -> BTreeMap<&str, Assigned> {
        let to = |(id, policy): (_, &Assignable)| Some((id, policy.to(service, instance, labels)?));
        self.policies.iter().map(|(id, policy)| (id.as_str(), policy)).filter_map(to).collect()
    }

    /// The number of the newest invalidation.
    #[must_use]
    pub const fn newest(&self) -> i64 {
        self.newest
    }

    /// Invalidations after `sequence`; nothing when some of those are known no more.
    pub(super) fn invalidations_after(&self, sequence: i64) -> Option<&[Arc<InvalidationRow>]> {
        if sequence >= self.newest {
            return Some(&[]);
        }
        let first = self.invalidations.first()?.sequence;
        let skip = usize::try_from(sequence + 1 - first).ok()?;
        self.invalidations.get(skip..)
    }

    /// Invalidations that are in no Redis yet, the oldest first.
    pub(super) fn unapplied(&self) -> impl Iterator<Item = &Arc<InvalidationRow>> {
        self.invalidations.iter().filter(|row| !row.applied)
    }

    /// What instances are to load.
    pub(super) fn warmings(&self) -> &[Arc<WarmingRow>] {
        &self.warmings
    }
}

/// JSON that we wrote ourselves; what does not read back is told in the log and left out.
pub(super) fn own<T: for<'de> Deserialize<'de>>(what: &str, json: &Value) -> Option<T> {
    match T::deserialize(json) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::error!(what, %error, "what was stored does not read back");
            None
        }
    }
}

/// The stages that a rollout has reached, each with the share that it means in `percent`.
pub(super) fn reached(rollout: &RolloutRow) -> Option<Vec<RolloutStage>> {
    let stages: Vec<RolloutStage> = own("stages of a rollout", &rollout.stages)?;
    let reach: Vec<f64> = own("reach of a rollout", &rollout.reach)?;
    Some(stages.into_iter().zip(reach).map(|(stage, percent)| RolloutStage { percent, ..stage }).collect())
}

fn candidate(standing: &StoredPolicy, rollout: &RolloutRow, definition: &Value) -> Option<Candidate> {
    let reached = reached(rollout)?;
    let policy = StoredPolicy { policy: read(definition)?, revision: rollout.to_revision, ..standing.clone() };
    Some(Candidate { policy: Arc::new(policy), reached })
}

fn bend(over: OverrideRow, when: impl Fn(DateTime<Utc>) -> Instant) -> Option<Bend> {
    let adjustment = own("an override", &over.adjustment)?;
    let reason = if over.reason.is_empty() { over.author } else { over.reason };
    Some(Bend { id: over.id, adjustment, until: when(over.expires_at), expires_at: over.expires_at, reason })
}

#[cfg(test)]
impl House {
    /// Of these policies, and invalidations by number and service.
    pub(super) fn of(policies: impl Iterator<Item = StoredPolicy>, invalidations: &[(i64, &str)]) -> Self {
        let assignable = |standing: StoredPolicy| {
            let id = standing.policy.id.clone();
            (id, Assignable { standing: Arc::new(standing), candidate: None, bends: Vec::new() })
        };
        let row = |(sequence, service): &(i64, &str)| InvalidationRow {
            sequence: *sequence,
            service: (*service).to_owned(),
            key_space: String::new(),
            targets: Value::Null,
            author: String::new(),
            reason: String::new(),
            created_at: DateTime::UNIX_EPOCH,
            applied: false,
            converged_at: None,
        };
        Self {
            policies: policies.map(assignable).collect(),
            invalidations: invalidations.iter().map(row).map(Arc::new).collect(),
            newest: invalidations.last().map_or(0, |(sequence, _)| *sequence),
            warmings: Vec::new(),
        }
    }

    /// A policy is under an override that ends at `expires_at`, as a look at `now` has it.
    pub(super) fn bend(&mut self, policy: &str, expires_at: DateTime<Utc>, now: Instant) {
        let adjustment = Adjustment { ttl_factor: Some(2.0), ..Adjustment::default() };
        let (id, until, reason) = ("wider".to_owned(), now + std::time::Duration::from_secs(60), String::new());
        if let Some(policy) = self.policies.get_mut(policy) {
            policy.bends.push(Bend { id, adjustment, until, expires_at, reason });
        }
    }

    /// Every invalidation has reached a Redis.
    pub(super) fn apply_all(&mut self) {
        for row in &mut self.invalidations {
            Arc::make_mut(row).applied = true;
        }
    }
}
