//! A rule over a stretch of time, in memory: the same evaluation and the same dispatch as live, fed by whoever has samples.
//!
//! Pure: samples in, what would have happened out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::dispatch::{GroupState, Member, Surroundings, dispatch};
use super::evaluate::{Instance, LabelSet, ReadyRule, Samples, evaluate};
use super::routes::groups_of;
use super::state::{Effect, Phase};
use super::suppress::Suppressors;
use crate::model::{Alert, AlertState, GroupPolicy, Notification, Route, Transition};

/// Most of anything that is listed; what is beyond is counted only.
const LISTED_MAX: usize = 5_000;
/// Times that one group is looked at between two evaluations.
const LOOKS_MAX: usize = 100;

/// A transition and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedTransition {
    /// Of which alert.
    pub fingerprint: String,
    /// Its labels.
    pub labels: LabelSet,
    /// What changed.
    pub transition: Transition,
}

/// What is fixed over the whole stretch.
pub(super) struct World {
    pub(super) routes: Route,
    pub(super) suppressors: Suppressors,
    pub(super) receivers: Vec<String>,
}

struct Group {
    policy: GroupPolicy,
    state: GroupState,
    next_at: Option<DateTime<Utc>>,
}

/// An alert with the groups that it is told with.
struct Joined {
    instance: Instance,
    groups: Vec<String>,
}

/// A replay under way.
pub(super) struct Replay<'a> {
    rule: &'a ReadyRule,
    world: &'a World,
    known: Vec<LabelSet>,
    open: Vec<Joined>,
    /// Over, and not told yet.
    unsettled: Vec<Joined>,
    groups: BTreeMap<String, Group>,
    lives: u64,
    pub(super) evaluations: u64,
    pub(super) transitions: Vec<ReplayedTransition>,
    /// Those that fired and are over.
    pub(super) over: Vec<Alert>,
    pub(super) fired: u64,
    pub(super) firing_ms: i64,
    pub(super) notifications: Vec<Notification>,
    pub(super) told: BTreeMap<String, u64>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(rule: &'a ReadyRule, world: &'a World) -> Self {
        Self {
            rule,
            world,
            known: Vec::new(),
            open: Vec::new(),
            unsettled: Vec::new(),
            groups: BTreeMap::new(),
            lives: 0,
            evaluations: 0,
            transitions: Vec::new(),
            over: Vec::new(),
            fired: 0,
            firing_ms: 0,
            notifications: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// One evaluation.
    pub(super) fn step(&mut self, at: DateTime<Utc>, seen: Result<&Samples, &str>) {
        self.dispatch_until(at);
        self.evaluations += 1;
        let open: Vec<Instance> = self.open.iter().map(|joined| joined.instance.clone()).collect();
        let verdict = evaluate(self.rule, &open, &self.known, seen, at);
        if let Some(known) = verdict.known {
            self.known = known;
        }
        let mut touched = BTreeSet::new();
        let mut before = std::mem::take(&mut self.open);
        for outcome in verdict.outcomes {
            let mut instance = outcome.instance;
            let place = before.iter().position(|joined| joined.instance.alert.id == instance.alert.id);
            let mut groups = place.map(|place| before.swap_remove(place).groups).unwrap_or_default();
            if instance.alert.id.is_empty() {
                self.lives += 1;
                instance.alert.id = self.lives.to_string();
            }
            let effect = outcome.transition.as_ref().map(|(_, effect)| *effect);
            if let Some((transition, _)) = outcome.transition {
                self.note(&instance.alert, transition);
            }
            if effect == Some(Effect::Fired) {
                self.fired += 1;
                groups = self.join(&instance.alert);
            }
            if effect.is_some() {
                touched.extend(groups.iter().cloned());
            }
            self.keep(Joined { instance, groups });
        }
        for key in touched {
            self.dispatch(&key, at);
        }
    }

    fn note(&mut self, alert: &Alert, transition: Transition) {
        if self.transitions.len() < LISTED_MAX {
            let (fingerprint, labels) = (alert.fingerprint.clone(), alert.labels.clone());
            self.transitions.push(ReplayedTransition { fingerprint, labels, transition });
        }
    }

    fn join(&mut self, alert: &Alert) -> Vec<String> {
        let joined = groups_of(&self.rule.stored.rule, alert, &self.world.routes);
        let keys = joined.iter().map(|group| group.key.clone()).collect();
        for joined in joined {
            let fresh = Group { policy: GroupPolicy::default(), state: GroupState::default(), next_at: None };
            self.groups.entry(joined.key).or_insert(fresh).policy = joined.policy;
        }
        keys
    }

    fn keep(&mut self, joined: Joined) {
        if joined.instance.state.phase != Phase::Inactive {
            return self.open.push(joined);
        }
        let alert = &joined.instance.alert;
        if alert.state != AlertState::Resolved {
            return;
        }
        self.firing_ms += firing_ms(alert, alert.last_evaluation_at);
        if self.over.len() < LISTED_MAX {
            self.over.push(alert.clone());
        }
        self.unsettled.push(joined);
    }

    /// Lets groups whose clock runs out before `at` be looked at, each at its time.
    fn dispatch_until(&mut self, at: DateTime<Utc>) {
        let keys: Vec<String> = self.groups.keys().cloned().collect();
        for key in keys {
            for _ in 0..LOOKS_MAX {
                let due = self.groups.get(&key).and_then(|group| group.next_at).filter(|due| *due < at);
                let Some(due) = due else { break };
                self.dispatch(&key, due);
            }
        }
    }

    fn dispatch(&mut self, key: &str, now: DateTime<Utc>) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let of_group = self.open.iter().chain(&self.unsettled).filter(|joined| joined.groups.iter().any(|k| k == key));
        let members: Vec<Member> = of_group
            .map(|joined| Member {
                alert: joined.instance.alert.clone(),
                telling: joined.instance.telling.clone(),
                chart: Vec::new(),
            })
            .collect();
        let around = Surroundings {
            now,
            suppressors: &self.world.suppressors,
            receivers: &self.world.receivers,
            dashboard_url: "",
        };
        let decided = dispatch(key, (&group.policy, &group.state), &members, &around);
        group.state = decided.state;
        group.next_at = decided.next_at;
        self.unsettled.retain(|joined| !decided.settled.contains(&joined.instance.alert.id));
        for notification in decided.notifications {
            *self.told.entry(notification.receiver.clone()).or_default() += 1;
            if self.notifications.len() < LISTED_MAX {
                self.notifications.push(notification);
            }
        }
    }

    /// Alerts that fired: those that are over, and those that still fire at `end`.
    pub(super) fn alerts(&self) -> Vec<Alert> {
        let open = self.open.iter().map(|joined| &joined.instance.alert).filter(|a| a.state == AlertState::Firing);
        self.over.iter().chain(open).cloned().collect()
    }

    /// Milliseconds for which alerts fired, up to `end`.
    pub(super) fn firing_until(&self, end: DateTime<Utc>) -> i64 {
        self.firing_ms + self.open.iter().map(|joined| firing_ms(&joined.instance.alert, end)).sum::<i64>()
    }
}

fn firing_ms(alert: &Alert, end: DateTime<Utc>) -> i64 {
    alert.starts_at.map_or(0, |start| (end - start).num_milliseconds().max(0))
}

#[cfg(test)]
mod tests;
