//! Rollouts: a revision goes to one part of the fleet after the other, and back when a guard is broken.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::house::{own, reached};
use super::{Policies, PolicyError, Running, check_change, named};
use crate::model::{GuardReading, Policy, RolloutGuard, RolloutStage, RolloutState, RolloutStep, StoredPolicy, share};
use crate::storage::{Change, Expected, NewRollout, RolloutMove, RolloutRow, WriteError};

/// How often guards are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often, while no rollout and no override is under way, whether one is by now.
const REST: Duration = Duration::from_secs(5);
/// How often what is old is forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(300);
/// Most instances of a group that a guard's query names; of more, those first in the order of their share.
const GROUP_MAX: usize = 500;
/// Longest query of a group: what the engine takes.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// Who moves a rollout when no person does.
const BY_ITSELF: &str = "guards";

/// How a guard's query is answered; by the room of queries, which is above this one.
pub trait Measure: Send + Sync {
    /// What is wrong with a query.
    ///
    /// # Errors
    /// In words.
    fn check(&self, query: &str) -> Result<(), String>;

    /// The one value of a query at a moment; nothing when it gives none.
    fn value<'a>(&'a self, query: &'a str, at: DateTime<Utc>) -> Measured<'a>;
}

/// A measurement under way.
pub type Measured<'a> = Pin<Box<dyn Future<Output = Result<Option<f64>, String>> + Send + 'a>>;

/// A rollout as somebody wants it.
#[derive(Clone, Debug)]
pub struct WantedRollout {
    /// The policy as it is to be.
    pub policy: Policy,
    /// 1 %, 10 %, 50 %, 100 % of ten minutes each when empty.
    pub stages: Vec<RolloutStage>,
    /// What must hold meanwhile.
    pub guards: Vec<RolloutGuard>,
    /// Who, and why.
    pub change: Change,
}

/// A rollout.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// As it is kept.
    pub row: RolloutRow,
    /// Where it stands.
    pub state: RolloutState,
    /// One after the other.
    pub stages: Vec<RolloutStage>,
    /// What must hold.
    pub guards: Vec<RolloutGuard>,
    /// The last look at each guard.
    pub readings: Vec<GuardReading>,
    /// Connected instances that run the new revision.
    pub canary_instances: u64,
    /// Connected instances that the policy is for.
    pub instances: u64,
}

/// Where a person wants a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedMove {
    /// It stays at its stage.
    Pause,
    /// It goes on; the stage begins again.
    Resume,
    /// To the next stage now; from the last it is done.
    Promote,
    /// Everybody has the revision from before.
    RollBack,
}

/// Connected instances, by what they run of the policy.
#[derive(Debug, Default)]
struct Groups {
    canary: Vec<String>,
    control: Vec<String>,
    /// The first that was to have the new revision and did not take it, and why.
    refused: Option<String>,
}

impl Rollout {
    fn of(row: RolloutRow) -> Option<Self> {
        let state = RolloutState::parse(&row.state)?;
        let stages = own("stages of a rollout", &row.stages)?;
        let guards = own("guards of a rollout", &row.guards)?;
        let readings = own("readings of a rollout", &row.readings)?;
        Some(Self { row, state, stages, guards, readings, canary_instances: 0, instances: 0 })
    }

    fn stage(&self) -> usize {
        usize::try_from(self.row.stage).unwrap_or_default()
    }

    fn reach(&self) -> f64 {
        self.row.reach.as_array().and_then(|reach| reach.last()).and_then(serde_json::Value::as_f64).unwrap_or_default()
    }
}

fn rollout_named(id: &str) -> String {
    format!("rollout {id:?}")
}

/// An instance that a policy is for: where it stands, and its labels.
type Standing = (f64, BTreeMap<String, String>);

/// The share that a stage means: what it says, but never less than the stage before, nor so little that nobody is meant.
fn reach(stage: &RolloutStage, before: f64, fleet: &[Standing]) -> f64 {
    let wanted = stage.percent.max(before);
    let meant =
        |labels: &BTreeMap<String, String>| stage.labels.iter().all(|(name, value)| labels.get(name) == Some(value));
    let first = fleet.iter().filter(|(_, labels)| meant(labels)).map(|(share, _)| *share).min_by(f64::total_cmp);
    match first {
        // A share is met from below.
        Some(first) if wanted > 0.0 && first >= wanted => first.next_up(),
        _ => wanted,
    }
}

impl Policies {
    /// What a rollout would be, checked.
    ///
    /// # Errors
    /// When it is not sound, or there is no such policy.
    pub async fn try_rollout(&self, wanted: &mut WantedRollout) -> Result<StoredPolicy, PolicyError> {
        if wanted.stages.is_empty() {
            wanted.stages = RolloutStage::defaults();
        }
        wanted.policy.check()?;
        check_change(&wanted.change)?;
        RolloutStage::check_all(&wanted.stages)?;
        RolloutGuard::check_all(&wanted.guards, |query| self.measure.check(query))?;
        let standing = self.one(&wanted.policy.id).await?;
        if standing.policy == wanted.policy {
            return Err(PolicyError::Impossible(format!("{} is so already", named(&wanted.policy.id))));
        }
        Ok(standing)
    }

    /// Starts a rollout: the next revision goes to the first stage only.
    ///
    /// # Errors
    /// When it is not sound, what is there is not what was expected, or one is under way.
    pub async fn start_rollout(&self, mut wanted: WantedRollout, expected: Expected) -> Result<Rollout, PolicyError> {
        let standing = self.try_rollout(&mut wanted).await?;
        let fleet = self.standing_of(&wanted.policy, &standing.policy).await?;
        let first = wanted.stages.first().map_or(0.0, |stage| reach(stage, 0.0, &fleet));
        let new = NewRollout {
            id: format!("{:016x}", rand::random::<u64>()),
            policy_id: wanted.policy.id.clone(),
            definition: json!(wanted.policy),
            stages: json!(wanted.stages),
            guards: json!(wanted.guards),
            reach: first,
            change: wanted.change,
        };
        let started = self.storage.rollout_start(&new, expected).await;
        let row = started.map_err(|error| PolicyError::of_write(error, named(&new.policy_id)))?;
        self.metrics.rollouts_started.inc();
        self.written.notify_one();
        self.driving.notify_one();
        self.counted(Rollout::of(row).ok_or_else(|| PolicyError::Absent(rollout_named(&new.id)))?).await
    }

    /// One rollout.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn rollout(&self, id: &str) -> Result<Rollout, PolicyError> {
        let row = self.storage.rollout_find(id).await?;
        self.counted(row.and_then(Rollout::of).ok_or_else(|| PolicyError::Absent(rollout_named(id)))?).await
    }

    /// The last hundred rollouts of a policy, or of all when it is empty, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rollouts(&self, policy: &str) -> Result<Vec<Rollout>, PolicyError> {
        Ok(self.storage.rollout_list(policy).await?.into_iter().filter_map(Rollout::of).collect())
    }

    /// Moves a rollout as a person wants.
    ///
    /// # Errors
    /// When there is none, it has ended, it was moved meanwhile, or who or why is too long.
    pub async fn move_rollout(&self, id: &str, to: WantedMove, change: &Change) -> Result<Rollout, PolicyError> {
        check_change(change)?;
        let rollout = self.rollout(id).await?;
        let to = match to {
            WantedMove::Pause => RolloutMove::Pause,
            WantedMove::Resume => RolloutMove::Resume,
            WantedMove::Promote => self.next_of(&rollout).await?,
            WantedMove::RollBack => RolloutMove::RollBack,
        };
        let row = self.make_move((&rollout, None), to, change).await?;
        self.counted(Rollout::of(row).ok_or_else(|| PolicyError::Absent(rollout_named(id)))?).await
    }

    async fn make_move(
        &self,
        (rollout, since): (&Rollout, Option<DateTime<Utc>>),
        to: RolloutMove,
        change: &Change,
    ) -> Result<RolloutRow, PolicyError> {
        let id = &rollout.row.id;
        let moved = self.storage.rollout_move((id, rollout.row.stage, since), &to, change).await;
        let row = moved.map_err(|error| match error {
            WriteError::Stale(_) => PolicyError::Impossible(format!("{} has ended", rollout_named(id))),
            WriteError::Busy(at) => PolicyError::Impossible(format!("{} is at {at} by now", rollout_named(id))),
            other => PolicyError::of_write(other, rollout_named(id)),
        })?;
        if to == RolloutMove::RollBack {
            self.metrics.rollouts_rolled_back.inc();
        }
        tracing::info!(
            rollout.id = id,
            policy.id = row.policy_id,
            state = row.state,
            stage = row.stage,
            reason = row.reason,
            "a rollout has moved"
        );
        self.written.notify_one();
        self.driving.notify_one();
        Ok(row)
    }

    /// Where it goes from its stage.
    async fn next_of(&self, rollout: &Rollout) -> Result<RolloutMove, PolicyError> {
        let Some(next) = rollout.stages.get(rollout.stage() + 1) else { return Ok(RolloutMove::Done) };
        let (new, old) = self.both_of(rollout).await?;
        let fleet = self.standing_of(&new, &old).await?;
        Ok(RolloutMove::Next(reach(next, rollout.reach(), &fleet)))
    }

    /// The policy as it is rolled out, and as it was.
    async fn both_of(&self, rollout: &Rollout) -> Result<(Policy, Policy), PolicyError> {
        let id = &rollout.row.policy_id;
        let (new, old) = (rollout.row.to_revision, rollout.row.from_revision);
        let revisions = self.revisions(id).await?;
        let find =
            |number: i64| revisions.iter().find(|known| known.revision == number).map(|known| known.policy.clone());
        let absent = || PolicyError::Absent(format!("revision {new} or {old} of {}", named(id)));
        find(new).zip(find(old)).ok_or_else(absent)
    }

    /// The connected instances that either form of a policy is for.
    async fn standing_of(&self, new: &Policy, old: &Policy) -> Result<Vec<Standing>, PolicyError> {
        let mut fleet = Vec::new();
        for row in self.storage.instance_list("").await?.into_iter().filter(|row| row.connected) {
            let Some(labels) = own::<BTreeMap<String, String>>("labels of an instance", &row.labels) else { continue };
            if [new, old].iter().any(|policy| policy.selector.is_for(&row.service, &labels)) {
                fleet.push((share(&new.id, &row.instance), labels));
            }
        }
        Ok(fleet)
    }

    /// Who runs what of the policy, as they have answered.
    async fn groups(&self, rollout: &RolloutRow) -> Result<Groups, PolicyError> {
        let (mut by_share, mut groups) = (Vec::new(), Groups::default());
        let stages = reached(rollout).unwrap_or_default();
        for row in self.storage.instance_list("").await?.into_iter().filter(|row| row.connected) {
            let Some(runs) = row.running.get(&rollout.policy_id) else { continue };
            let Some(Running { revision, error, .. }) = own("what an instance runs", runs) else { continue };
            let share = share(&rollout.policy_id, &row.instance);
            if !error.is_empty() && groups.refused.is_none() {
                let labels = own("labels of an instance", &row.labels).unwrap_or_default();
                let meant = RolloutStage::has_new(&stages, share, &labels);
                groups.refused = meant.then(|| format!("{}/{} refused it: {error}", row.service, row.instance));
            }
            if revision > 0 {
                by_share.push((share, revision == rollout.to_revision, row.instance));
            }
        }
        by_share.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, is_canary, instance) in by_share {
            if is_canary { groups.canary.push(instance) } else { groups.control.push(instance) }
        }
        Ok(groups)
    }

    async fn counted(&self, mut rollout: Rollout) -> Result<Rollout, PolicyError> {
        if rollout.row.ended_at.is_none() {
            let groups = self.groups(&rollout.row).await?;
            rollout.canary_instances = groups.canary.len() as u64;
            rollout.instances = (groups.canary.len() + groups.control.len()) as u64;
        }
        Ok(rollout)
    }

    /// Looks at guards and moves what is to move, writes down leases that are over, forgets what is old, until cancelled.
    pub(super) async fn drive(self: Arc<Self>, cancel: &CancellationToken) {
        let (mut busy, mut tidied) = (true, None::<Instant>);
        loop {
            if tidied.is_none_or(|at| at.elapsed() > TIDY_EVERY) {
                tidied = Some(Instant::now());
                if let Err(error) = self.storage.fleet_forget().await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "old instances are not forgotten now");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(if busy { LOOK_EVERY } else { REST }) => {}
                () = self.driving.notified() => {}
                () = cancel.cancelled() => return,
            }
            match self.drive_once().await {
                Ok(open) => busy = open,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "rollouts stay where they are now")
                }
            }
        }
    }

    async fn drive_once(&self) -> Result<bool, PolicyError> {
        let ended = self.storage.overrides_expire().await?;
        self.metrics.overrides_ended.inc_by(ended as u64);
        let running = self.storage.rollouts_drive(&self.replica).await?;
        let busy = !running.is_empty() || ended > 0;
        for rollout in running.into_iter().filter_map(Rollout::of) {
            self.drive_rollout(rollout).await?;
        }
        Ok(busy)
    }

    async fn drive_rollout(&self, rollout: Rollout) -> Result<(), PolicyError> {
        let now = self.storage.now().await?;
        let groups = self.groups(&rollout.row).await?;
        let readings = self.look_at_guards(&rollout, &groups, now).await;
        self.storage.rollout_read(&rollout.row.id, &json!(readings)).await?;
        let Some(stage) = rollout.stages.get(rollout.stage()) else { return Ok(()) };
        let step = RolloutStep::of(&rollout.guards, &readings, stage, rollout.row.stage_started_at, now);
        let step = match (step, groups.refused) {
            (RolloutStep::Wait(_) | RolloutStep::Next, Some(refused)) => RolloutStep::Pause(refused),
            (step, _) => step,
        };
        let (to, reason) = match step {
            RolloutStep::Wait(_) => return Ok(()),
            RolloutStep::Next => (self.next_of(&rollout).await?, "the stage has held".to_owned()),
            RolloutStep::Pause(why) => (RolloutMove::Pause, why),
            RolloutStep::RollBack(why) => (RolloutMove::RollBack, why),
        };
        let change = Change { author: BY_ITSELF.to_owned(), reason };
        match self.make_move((&rollout, Some(rollout.row.stage_started_at)), to, &change).await {
            // A person was faster.
            Ok(_) | Err(PolicyError::Impossible(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn look_at_guards(&self, rollout: &Rollout, groups: &Groups, at: DateTime<Utc>) -> Vec<GuardReading> {
        let mut readings = Vec::with_capacity(rollout.guards.len());
        for guard in &rollout.guards {
            let before = rollout.readings.iter().find(|reading| reading.guard == guard.name);
            let measured = self.measured(guard, groups, at).await;
            readings.push(match measured {
                Ok(values) => GuardReading::judge(guard, values, groups.control.is_empty(), before, at),
                Err(error) => GuardReading::failed(guard, error, before, at),
            });
        }
        readings
    }

    async fn measured(
        &self,
        guard: &RolloutGuard,
        groups: &Groups,
        at: DateTime<Utc>,
    ) -> Result<(Option<f64>, Option<f64>), String> {
        let value = async |instances: &[String]| {
            if instances.is_empty() {
                return Ok(None);
            }
            self.measure.value(&query_for(guard, instances), at).await
        };
        Ok((value(&groups.canary).await?, value(&groups.control).await?))
    }
}

/// A guard's query of a group: of its first instances as many as a query has room for.
fn query_for(guard: &RolloutGuard, instances: &[String]) -> String {
    let mut named: Vec<&str> = instances.iter().take(GROUP_MAX).map(String::as_str).collect();
    loop {
        let query = guard.for_group(&named);
        if query.len() <= QUERY_BYTES_MAX || named.len() <= 1 {
            return query;
        }
        named.truncate((named.len() * QUERY_BYTES_MAX / query.len()).clamp(1, named.len() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_of_a_great_many_instances_has_room_in_a_query() {
        let query = "sum(rate(errors_total{$group}[1m])) / sum(rate(calls_total{$group}[1m]))";
        let guard: RolloutGuard = serde_json::from_value(json!({ "name": "errors", "query": query })).expect("a guard");
        let fleet: Vec<String> =
            (0..2_000).map(|n: u64| format!("0f8fad5b-d9cb-469f-a165-{:012x}", n * 7_919)).collect();
        let (few, many) = (query_for(&guard, &fleet[..3]), query_for(&guard, &fleet));
        assert_eq!(few.matches("0f8fad5b").count(), 6, "all of few");
        let named = many.matches("0f8fad5b").count() / 2;
        assert!(many.len() <= QUERY_BYTES_MAX && named > 100, "{named} of {} bytes", many.len());
    }

    #[test]
    fn a_stage_means_at_least_one_instance_and_never_fewer_than_the_one_before() {
        let stage = |percent, region: &str| {
            let labels = if region.is_empty() {
                BTreeMap::new()
            } else {
                BTreeMap::from([("region".to_owned(), region.to_owned())])
            };
            RolloutStage { percent, labels, bake: crate::model::Period::ZERO }
        };
        let at = |share, region: &str| (share, BTreeMap::from([("region".to_owned(), region.to_owned())]));
        let fleet = [at(40.0, "eu"), at(70.0, "us")];
        assert_eq!(reach(&stage(50.0, ""), 0.0, &fleet), 50.0, "as it says");
        let first = reach(&stage(1.0, ""), 0.0, &fleet);
        assert!(40.0 < first && first < 40.001, "{first}");
        assert!(reach(&stage(1.0, "us"), 0.0, &fleet) > 70.0);
        assert_eq!(reach(&stage(10.0, ""), first, &fleet), first, "nobody loses it");
        assert_eq!(reach(&stage(0.0, ""), 0.0, &fleet), 0.0, "nobody is meant");
        assert_eq!(reach(&stage(10.0, ""), 0.0, &[]), 10.0);
    }
}
