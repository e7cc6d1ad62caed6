//! Which policies are here, for whom, and until when. No runtime and no wire: time is an argument.
//!
//! A policy that is wrong, or that one of its targets refuses, is not taken, and what ran before goes on. An override ends
//! at its own time, by the clock of this machine, whether the server is heard or not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::convert;
use super::target::{Assigned, Kind, Policy, Target, exactness, matches};
use crate::proto::{AssignedPolicy, PolicyDelta, PolicySnapshot};

/// Most policies that are held.
pub(super) const POLICIES_MAX: usize = 1_000;
/// Most targets that are known.
pub(super) const TARGETS_MAX: usize = 10_000;
/// Longest lease of an override.
const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A policy that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) policy_id: String,
    pub(super) why: String,
}

#[derive(Clone)]
struct Override {
    id: String,
    policy: Policy,
    until: Instant,
}

#[derive(Clone)]
struct Held {
    /// As it came, without its override: what is kept on disk.
    source: AssignedPolicy,
    policy: Policy,
    over: Option<Override>,
}

impl Held {
    fn read(mut source: AssignedPolicy, now: Instant) -> Result<Self, String> {
        let policy = convert::policy(source.kind.as_ref())?;
        let over = source.r#override.take();
        let over = over.map(|over| {
            let told = |why| format!("override {}: {why}", over.id);
            let changed = convert::policy(convert::kind_of_override(&over).as_ref()).map_err(told)?;
            if changed.kind() != policy.kind() {
                return Err(told("it is of another kind than the policy".to_owned()));
            }
            let lease = convert::duration("lease", over.lease.as_ref()).map_err(told)?;
            let lease = lease.ok_or_else(|| told("it has no lease".to_owned()))?;
            Ok(Override { id: over.id.clone(), policy: changed, until: now + lease.min(LEASE_MAX) })
        });
        Ok(Self { over: over.transpose()?, source, policy })
    }

    fn is_for(&self, target: &dyn Target) -> bool {
        self.policy.kind() == target.kind() && matches(&self.source.target, target.name())
    }

    /// Whom a change of it may touch.
    fn touched(&self) -> (Kind, String) {
        (self.policy.kind(), self.source.target.clone())
    }

    fn assigned(&self) -> Assigned {
        let over = self.over.as_ref();
        Assigned {
            policy_id: self.source.policy_id.clone(),
            revision: self.source.revision,
            override_id: over.map(|over| over.id.clone()),
            canary: self.source.canary,
            policy: over.map_or(&self.policy, |over| &over.policy).clone(),
        }
    }
}

/// A target, and what it was given last.
struct Slot {
    target: Arc<dyn Target>,
    runs: Option<Assigned>,
}

impl Slot {
    fn apply(&mut self, assigned: Option<Assigned>) -> Result<(), String> {
        if self.runs == assigned {
            return Ok(());
        }
        // What a host wrote may panic; the others' policies do not end with it.
        let applied = catch_unwind(AssertUnwindSafe(|| self.target.apply(assigned.as_ref())));
        applied.unwrap_or_else(|_| Err("the target panicked".to_owned())).map_err(|why| {
            let name = self.target.name();
            format!("{name}: {why}")
        })?;
        self.runs = assigned;
        Ok(())
    }

    /// False when it did not: it panicked.
    fn forget(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.target.forget())).is_ok()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct State {
    held: BTreeMap<String, Held>,
    slots: Vec<Slot>,
    /// The last invalidation that was applied; 0: memory is empty, or made so by the next snapshot.
    pub(super) invalidation: i64,
}

impl State {
    /// Gives a target what is for it, now and later. False when there is no room. Its memory begins empty: it heard of no
    /// invalidation until now, and those that were acknowledged do not come again.
    pub(super) fn add(&mut self, target: Arc<dyn Target>) -> Result<bool, String> {
        self.slots.retain(|slot| !slot.target.is_gone());
        if self.slots.len() >= TARGETS_MAX {
            return Ok(false);
        }
        let mut slot = Slot { target, runs: None };
        if !slot.forget() {
            return Err("the target panicked when it was to forget".to_owned());
        }
        let applied = slot.apply(Self::effective(&self.held, &*slot.target));
        self.slots.push(slot);
        applied.map(|()| true)
    }

    /// All that should run. What is here and not named goes.
    pub(super) fn snapshot(&mut self, snapshot: PolicySnapshot, now: Instant) -> Vec<Refusal> {
        let mut refused = Vec::new();
        let names = snapshot.policies.iter().map(|policy| &policy.policy_id).chain(&snapshot.unchanged);
        let named: HashSet<String> = names.cloned().collect();
        for id in snapshot.unchanged {
            let Some(held) = self.held.get_mut(&id) else {
                refused.push(Refusal { policy_id: id, why: "said to be unchanged, but it is not here".to_owned() });
                continue;
            };
            if held.over.take().is_some() {
                let touched = [held.touched()];
                self.settle_or_warn(&touched);
            }
        }
        // Those that go, go last: what comes in their place is there by then.
        let room = POLICIES_MAX + self.held.keys().filter(|id| !named.contains(*id)).count();
        refused.extend(self.take(snapshot.policies, room, now));
        let gone: Vec<String> = self.held.keys().filter(|id| !named.contains(*id)).cloned().collect();
        self.remove(&gone);
        refused
    }

    /// Some that changed.
    pub(super) fn delta(&mut self, delta: PolicyDelta, now: Instant) -> Vec<Refusal> {
        let refused = self.take(delta.changed, POLICIES_MAX, now);
        self.remove(&delta.removed);
        refused
    }

    fn take(&mut self, policies: Vec<AssignedPolicy>, room: usize, now: Instant) -> Vec<Refusal> {
        let mut refused = Vec::new();
        for source in policies {
            let policy_id = source.policy_id.clone();
            let is_new = !self.held.contains_key(&policy_id);
            let taken = if is_new && self.held.len() >= room {
                Err(format!("{POLICIES_MAX} policies are here, which is the limit"))
            } else {
                Held::read(source, now).and_then(|held| self.put(&policy_id, held))
            };
            if let Err(why) = taken {
                refused.push(Refusal { policy_id, why });
            }
        }
        refused
    }

    fn put(&mut self, id: &str, held: Held) -> Result<(), String> {
        let mut touched = vec![held.touched()];
        let before = self.held.insert(id.to_owned(), held);
        touched.extend(before.as_ref().map(Held::touched));
        let settled = self.settle(&touched);
        if settled.is_err() {
            match before {
                Some(before) => self.held.insert(id.to_owned(), before),
                None => self.held.remove(id),
            };
            self.settle_or_warn(&touched);
        }
        settled
    }

    fn remove(&mut self, ids: &[String]) {
        let gone: Vec<Held> = ids.iter().filter_map(|id| self.held.remove(id)).collect();
        let touched: Vec<_> = gone.iter().map(Held::touched).collect();
        self.settle_or_warn(&touched);
    }

    /// Ends the overrides whose lease is over. How many.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let mut ended = Vec::new();
        for held in self.held.values_mut() {
            if held.over.take_if(|over| over.until <= now).is_some() {
                ended.push(held.touched());
            }
        }
        self.settle_or_warn(&ended);
        ended.len()
    }

    /// When the next override ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.held.values().filter_map(|held| held.over.as_ref()).map(|over| over.until).min()
    }

    fn settle_or_warn(&mut self, touched: &[(Kind, String)]) {
        if let Err(why) = self.settle(touched) {
            tracing::warn!(%why, "a policy is not applied");
        }
    }

    /// Gives each target that one of `touched` may mean what is now for it. The first that refuses is told; the others get
    /// theirs.
    fn settle(&mut self, touched: &[(Kind, String)]) -> Result<(), String> {
        if touched.is_empty() {
            return Ok(());
        }
        let held = &self.held;
        let mut settled = Ok(());
        for slot in &mut self.slots {
            let target = &*slot.target;
            let is_touched =
                |(kind, pattern): &(Kind, String)| *kind == target.kind() && matches(pattern, target.name());
            if touched.iter().any(is_touched) {
                let assigned = Self::effective(held, target);
                settled = settled.and(slot.apply(assigned));
            }
        }
        settled
    }

    /// Of the policies that are for it, the one that names it most exactly; of equals, the first by id.
    fn effective(held: &BTreeMap<String, Held>, target: &dyn Target) -> Option<Assigned> {
        let meant = held.iter().filter(|(_, held)| held.is_for(target));
        meant.max_by_key(|(id, held)| (exactness(&held.source.target), Reverse(*id))).map(|(_, held)| held.assigned())
    }

    /// The revision of each policy, by id.
    pub(super) fn revisions(&self) -> impl Iterator<Item = (String, i64)> {
        self.held.iter().map(|(id, held)| (id.clone(), held.source.revision))
    }

    /// What is to be kept on disk: no overrides, whose time would be another's.
    pub(super) fn kept(&self) -> PolicySnapshot {
        let policies = self.held.values().map(|held| held.source.clone()).collect();
        PolicySnapshot { policies, ..PolicySnapshot::default() }
    }

    /// Every target, by what it was given last.
    pub(super) fn running(&self) -> impl Iterator<Item = (&Arc<dyn Target>, Option<&Assigned>)> {
        self.slots.iter().map(|slot| (&slot.target, slot.runs.as_ref()))
    }

    /// The caches among the targets.
    pub(super) fn caches(&self) -> impl Iterator<Item = &Arc<dyn Target>> {
        self.slots.iter().map(|slot| &slot.target).filter(|target| target.kind() == Kind::Cache && !target.is_gone())
    }

    /// For how long after the server was heard an entry in memory may be read at most.
    pub(super) fn memory_life(&self) -> Duration {
        self.caches().map(|cache| cache.memory_life()).max().unwrap_or_default()
    }

    /// The caches whose name `pattern` means.
    pub(super) fn caches_of(&self, pattern: &str) -> Vec<Arc<dyn Target>> {
        self.caches().filter(|target| matches(pattern, target.name())).cloned().collect()
    }

    /// Something was missed, or may have been: memory is empty from here on. A target that panics is given no leave, and
    /// nothing else, from here on.
    pub(super) fn forget(&mut self) {
        self.invalidation = 0;
        self.slots.retain(|slot| {
            let is_sound = slot.target.kind() != Kind::Cache || slot.forget();
            if !is_sound {
                tracing::error!(
                    name = slot.target.name(),
                    "a cache panicked when it was to forget; it is managed no more"
                );
            }
            is_sound
        });
    }
}

#[cfg(test)]
mod tests;
