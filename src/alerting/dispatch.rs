//! Who is told now: `dispatch(group, its alerts, what suppresses, now) -> (notifications, reasons)`.
//!
//! Pure, like the state machine; the live dispatcher and the backtest call this one function. A notification's id is a
//! function of what is told, so two replicas that decide the same thing write the same row.
//!
//! The rules, in order: what is suppressed is not told. A greater severity is told at once. News of a group that nobody
//! knows of waits for `groupWait`, further news for `groupInterval`. One alert is told to one receiver at most once a
//! cooldown, also over its lives. What somebody took is not repeated, nor does it go up the escalation chain. Whoever was
//! told that something fires is told when all of it is resolved.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::evaluate::Telling;
use super::routes::EVERY;
use super::suppress::Suppressors;
use crate::model::{
    Alert, AlertState, GroupPolicy, Notification, NotificationReason, NotifiedAlert, Period, Severity, Suppression,
};

/// Most alerts that one notification lists.
const LISTED_MAX: usize = 50;
/// How often what is suppressed is looked at again: windows and inhibitions end without a word.
const SUPPRESSED_POLL: TimeDelta = TimeDelta::seconds(15);

/// An alert of the group, firing, or resolved and not told yet.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) alert: Alert,
    pub(super) telling: Telling,
    pub(super) chart: Vec<(i64, f64)>,
}

/// What a receiver was told of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    /// When it was last told that it fires.
    at: DateTime<Utc>,
    /// Which life.
    starts_at: DateTime<Utc>,
    severity: Severity,
    /// It was told that it fires, and not yet that it does not.
    firing: bool,
    cooldown: Period,
}

/// How far up the chain an alert went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Chain {
    starts_at: DateTime<Utc>,
    steps: usize,
}

/// What is remembered of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GroupState {
    /// Since when news waits for `groupWait`.
    #[serde(default)]
    waits_since: Option<DateTime<Utc>>,
    /// When news was last told.
    #[serde(default)]
    news_at: Option<DateTime<Utc>>,
    /// By receiver and fingerprint.
    #[serde(default)]
    told: BTreeMap<String, BTreeMap<String, Told>>,
    /// By fingerprint.
    #[serde(default)]
    chain: BTreeMap<String, Chain>,
    /// The last decision on each alert, so that only changes are written down.
    #[serde(default)]
    standing: BTreeMap<String, String>,
}

/// Everything around the group.
pub(super) struct Surroundings<'a> {
    pub(super) now: DateTime<Utc>,
    pub(super) suppressors: &'a Suppressors,
    /// Enabled receivers.
    pub(super) receivers: &'a [String],
    pub(super) dashboard_url: &'a str,
}

/// Why an alert was told or not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reason {
    pub(super) fingerprint: String,
    pub(super) kind: &'static str,
    pub(super) detail: String,
}

/// What is decided.
#[derive(Clone, Debug, Default)]
pub(super) struct Dispatch {
    pub(super) notifications: Vec<Notification>,
    pub(super) state: GroupState,
    /// When to look again, if nothing happens before.
    pub(super) next_at: Option<DateTime<Utc>>,
    /// By alert id, for those that fire.
    pub(super) suppressed: Vec<(String, Vec<Suppression>)>,
    /// Ids of resolved alerts of which there is nothing more to tell.
    pub(super) settled: Vec<String>,
    /// New decisions only.
    pub(super) reasons: Vec<Reason>,
}

/// Decides for one group.
pub(super) fn dispatch(
    key: &str,
    (policy, state): (&GroupPolicy, &GroupState),
    members: &[Member],
    around: &Surroundings<'_>,
) -> Dispatch {
    let mut deciding = Deciding {
        key,
        policy,
        around,
        out: Dispatch { state: state.clone(), ..Dispatch::default() },
        standing: BTreeMap::new(),
    };
    let mut audible: Vec<&Member> = Vec::new();
    for member in members.iter().filter(|member| member.alert.state == AlertState::Firing) {
        let suppressed = around.suppressors.of(&member.alert, around.now);
        if let Some(first) = suppressed.first() {
            deciding.stands(member, "suppressed", first.reason.clone());
            deciding.look_again(around.now + SUPPRESSED_POLL);
        } else {
            audible.push(member);
        }
        deciding.out.suppressed.push((member.alert.id.clone(), suppressed));
    }
    audible.sort_by_key(|member| (std::cmp::Reverse(member.alert.severity), member.alert.starts_at));
    let wanted = deciding.wanted(&audible);
    for (receiver, triggers) in &wanted {
        deciding.tell(receiver, triggers, &audible, members);
    }
    deciding.tell_resolved(members);
    deciding.finish(members)
}

/// An alert that is to be told, why, and which repeat it is.
struct Trigger<'a> {
    member: &'a Member,
    reason: NotificationReason,
    number: i64,
}

struct Deciding<'a> {
    key: &'a str,
    policy: &'a GroupPolicy,
    around: &'a Surroundings<'a>,
    out: Dispatch,
    standing: BTreeMap<String, (&'static str, String)>,
}

impl<'a> Deciding<'a> {
    fn stands(&mut self, member: &Member, kind: &'static str, detail: String) {
        self.standing.entry(member.alert.fingerprint.clone()).or_insert((kind, detail));
    }

    fn look_again(&mut self, at: DateTime<Utc>) {
        self.out.next_at = Some(self.out.next_at.map_or(at, |known| known.min(at)));
    }

    /// `names` with `*` resolved.
    fn resolved<'n>(&self, names: &'n [String]) -> BTreeSet<&'n str>
    where
        'a: 'n,
    {
        let every = names.iter().any(|name| name == EVERY);
        let enabled = self.around.receivers.iter().filter(|_| every).map(String::as_str);
        names.iter().map(String::as_str).filter(|name| *name != EVERY).chain(enabled).collect()
    }

    /// Who is to be told of what now, by receiver.
    fn wanted(&mut self, audible: &[&'a Member]) -> BTreeMap<String, Vec<Trigger<'a>>> {
        let mut wanted: BTreeMap<String, Vec<Trigger<'a>>> = BTreeMap::new();
        let knows = self.out.state.told.values().flat_map(BTreeMap::values).any(|told| told.firing);
        let mut news_waits = false;
        for &member in audible {
            let climbed = self.climb(member);
            for (receiver, step) in &climbed {
                let trigger = Trigger { member, reason: NotificationReason::Unacknowledged, number: *step };
                wanted.entry(receiver.clone()).or_default().push(trigger);
            }
            let receivers = self.receivers_of(member);
            if receivers.is_empty() {
                self.stands(member, "no_receiver", "its route has no receiver".to_owned());
            }
            for receiver in receivers.iter().filter(|receiver| !climbed.iter().any(|(to, _)| to == *receiver)) {
                let Some((reason, number)) = self.due(receiver, member) else { continue };
                if reason == NotificationReason::Fired && !self.news_may_go(knows, member) {
                    news_waits = true;
                    continue;
                }
                wanted.entry(receiver.clone()).or_default().push(Trigger { member, reason, number });
            }
        }
        if !news_waits {
            self.out.state.waits_since = None;
        }
        wanted
    }

    /// The receivers of an alert: of its severity, and of the steps of the chain that were gone.
    fn receivers_of(&self, member: &Member) -> BTreeSet<String> {
        let gone = self.chain_of(member).map_or(0, |chain| chain.steps);
        let steps = member.telling.escalation.iter().take(gone);
        let climbed = steps.flat_map(|step| self.resolved(&step.notification_channels));
        let own = self.resolved(self.policy.receivers_for(member.alert.severity));
        own.into_iter().chain(climbed).map(ToOwned::to_owned).collect()
    }

    fn chain_of(&self, member: &Member) -> Option<&Chain> {
        let chain = self.out.state.chain.get(&member.alert.fingerprint)?;
        (Some(chain.starts_at) == member.alert.starts_at).then_some(chain)
    }

    /// Goes up the escalation chain; returns whom that tells, with the step's number.
    fn climb(&mut self, member: &Member) -> Vec<(String, i64)> {
        let Some(starts_at) = member.alert.starts_at.filter(|_| member.alert.acknowledged.is_none()) else {
            return Vec::new();
        };
        let mut gone = self.chain_of(member).map_or(0, |chain| chain.steps);
        let mut told = Vec::new();
        while let Some(step) = member.telling.escalation.get(gone) {
            let due = starts_at + step.after.delta();
            if due > self.around.now {
                self.look_again(due);
                break;
            }
            told.extend(self.resolved(&step.notification_channels).into_iter().map(|to| (to.to_owned(), gone as i64)));
            gone += 1;
        }
        if gone > 0 {
            self.out.state.chain.insert(member.alert.fingerprint.clone(), Chain { starts_at, steps: gone });
        }
        told
    }

    /// Whether and why `receiver` is to be told of `member`, as far as cooldown and acknowledgement go.
    fn due(&mut self, receiver: &str, member: &Member) -> Option<(NotificationReason, i64)> {
        let (alert, now, cooldown) = (&member.alert, self.around.now, member.telling.cooldown);
        let starts_at = alert.starts_at?;
        let Some(told) =
            self.out.state.told.get_mut(receiver).and_then(|by_alert| by_alert.get_mut(&alert.fingerprint))
        else {
            return Some((NotificationReason::Fired, 0));
        };
        if told.severity > alert.severity && now - told.at >= cooldown.delta() {
            // It rose, was told, and fell: the next rise is news again.
            told.severity = alert.severity;
        }
        let told = told.clone();
        if alert.severity > told.severity {
            let again =
                if told.starts_at == starts_at { NotificationReason::Escalated } else { NotificationReason::Fired };
            return Some((again, 0));
        }
        if told.starts_at != starts_at {
            let may = told.at + cooldown.delta();
            if may <= now {
                return Some((NotificationReason::Fired, 0));
            }
            self.stands(member, "cooldown", format!("{receiver} was told at {}; not again before {may}", told.at));
            self.look_again(may);
            return None;
        }
        let between = cooldown.max(self.policy.repeat_interval);
        if let Some(taken) = &alert.acknowledged {
            self.stands(member, "acknowledged", format!("{} took it", taken.by));
            return None;
        }
        if between == Period::ZERO {
            return None;
        }
        let may = told.at + between.delta();
        if may > now {
            self.stands(member, "cooldown", format!("{receiver} was told at {}; not again before {may}", told.at));
            self.look_again(may);
            return None;
        }
        Some((NotificationReason::Repeated, (now - starts_at).num_milliseconds() / between.millis()))
    }

    /// Whether news is told now, or waits for more of it.
    fn news_may_go(&mut self, knows: bool, member: &Member) -> bool {
        let now = self.around.now;
        let (since, span, what) = if knows {
            (self.out.state.news_at.unwrap_or(now), self.policy.group_interval, "group_interval")
        } else {
            let since = *self.out.state.waits_since.get_or_insert(now);
            (since, self.policy.group_wait, "group_wait")
        };
        let due = since + span.delta();
        if due <= now || (knows && self.out.state.news_at.is_none()) {
            return true;
        }
        self.stands(member, what, format!("told with more of its group at {due}"));
        self.look_again(due);
        false
    }

    fn tell(&mut self, receiver: &str, triggers: &[Trigger<'a>], audible: &[&'a Member], members: &'a [Member]) {
        use NotificationReason as Why;
        let rank = |reason: Why| [Why::Escalated, Why::Fired, Why::Unacknowledged].iter().position(|r| *r == reason);
        let Some(reason) = triggers.iter().map(|t| t.reason).min_by_key(|r| rank(*r).unwrap_or(usize::MAX)) else {
            return;
        };
        let is_trigger = |member: &Member| triggers.iter().any(|t| t.member.alert.id == member.alert.id);
        let told_of = |member: &Member| {
            let told = self.out.state.told.get(receiver)?.get(&member.alert.fingerprint)?;
            (told.firing && Some(told.starts_at) == member.alert.starts_at).then_some(())
        };
        let firing = audible.iter().copied().filter(|m| is_trigger(m) || told_of(m).is_some());
        let firing: Vec<&Member> = firing.collect();
        // What fires again is not over.
        let is_again = |m: &Member| firing.iter().any(|other| other.alert.fingerprint == m.alert.fingerprint);
        let over = members.iter().filter(|m| m.alert.state == AlertState::Resolved && told_of(m).is_some());
        let over: Vec<&Member> = over.filter(|m| !is_again(m)).collect();
        let listed = [firing, over].concat();
        let parts = triggers.iter().map(|t| (t.member, t.number));
        self.notify(receiver, reason, parts, &listed);
        if reason == Why::Fired {
            self.out.state.news_at = Some(self.around.now);
        }
        for member in listed {
            self.remember(receiver, member);
        }
    }

    fn remember(&mut self, receiver: &str, member: &Member) {
        let by_alert = self.out.state.told.entry(receiver.to_owned()).or_default();
        if member.alert.state == AlertState::Resolved {
            // The end of a life is not that of the next.
            let told = by_alert.get_mut(&member.alert.fingerprint);
            if let Some(told) = told.filter(|told| Some(told.starts_at) == member.alert.starts_at) {
                told.firing = false;
            }
            return;
        }
        let told = Told {
            at: self.around.now,
            starts_at: member.alert.starts_at.unwrap_or(self.around.now),
            severity: member.alert.severity,
            firing: true,
            cooldown: member.telling.cooldown,
        };
        by_alert.insert(member.alert.fingerprint.clone(), told);
    }

    /// Tells whoever was told that something fires, once nothing of that does any more.
    fn tell_resolved(&mut self, members: &[Member]) {
        let receivers: Vec<String> = self.out.state.told.keys().cloned().collect();
        for receiver in receivers {
            let Some(by_alert) = self.out.state.told.get(&receiver) else { continue };
            let open: Vec<&Member> =
                members.iter().filter(|m| by_alert.get(&m.alert.fingerprint).is_some_and(|t| t.firing)).collect();
            let is_told_life =
                |m: &Member| by_alert.get(&m.alert.fingerprint).is_some_and(|t| Some(t.starts_at) == m.alert.starts_at);
            if open.iter().any(|m| m.alert.state == AlertState::Firing && is_told_life(m)) {
                continue;
            }
            let over: Vec<&Member> =
                open.into_iter().filter(|m| m.alert.state == AlertState::Resolved && is_told_life(m)).collect();
            if over.is_empty() {
                continue;
            }
            self.notify(&receiver, NotificationReason::Resolved, over.iter().map(|m| (*m, 0)), &over);
            for member in over {
                self.remember(&receiver, member);
            }
        }
    }

    fn notify<'m>(
        &mut self,
        receiver: &str,
        reason: NotificationReason,
        about: impl Iterator<Item = (&'m Member, i64)>,
        listed: &[&Member],
    ) {
        let mut about: Vec<String> = about
            .map(|(member, number)| {
                let alert = &member.alert;
                let life = alert.starts_at.unwrap_or(alert.pending_since).timestamp_millis();
                self.standing.insert(
                    alert.fingerprint.clone(),
                    ("notified", format!("{receiver} is told: {}", reason.as_str())),
                );
                // What was told before makes this another telling of the same: whoever decides has read it under the lock.
                let told = self.out.state.told.get(receiver).and_then(|told| told.get(&alert.fingerprint));
                let before = told.filter(|told| Some(told.starts_at) == alert.starts_at);
                let before = before.map_or(0, |told| told.at.timestamp_micros());
                format!("{}/{life}/{}/{number}/{before}", alert.fingerprint, alert.severity.as_str())
            })
            .collect();
        about.sort();
        let mut hash = Xxh3::new();
        for part in [self.key, receiver, reason.as_str()].into_iter().chain(about.iter().map(String::as_str)) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let alerts: Vec<NotifiedAlert> = listed.iter().take(LISTED_MAX).map(|m| m.alert.notified(&m.chart)).collect();
        self.out.notifications.push(Notification {
            id: format!("{:032x}", hash.digest128()),
            receiver: receiver.to_owned(),
            reason,
            group_key: self.key.to_owned(),
            group_labels: self.policy.labels.clone(),
            alerts_left_out: u32::try_from(listed.len() - alerts.len()).unwrap_or(u32::MAX),
            alerts,
            decided_at: self.around.now,
            dashboard_url: self.around.dashboard_url.to_owned(),
        });
    }

    /// Settles what is over, forgets what no cooldown needs, and keeps the decisions that are new.
    fn finish(mut self, members: &[Member]) -> Dispatch {
        let state = &mut self.out.state;
        let is_open = |member: &Member| {
            let told = |by_alert: &BTreeMap<String, Told>| {
                let told = by_alert.get(&member.alert.fingerprint);
                told.is_some_and(|t| t.firing && Some(t.starts_at) == member.alert.starts_at)
            };
            state.told.values().any(told)
        };
        let over = members.iter().filter(|m| m.alert.state == AlertState::Resolved && !is_open(m));
        self.out.settled = over.map(|member| member.alert.id.clone()).collect();
        let present: BTreeSet<&str> = members.iter().map(|member| member.alert.fingerprint.as_str()).collect();
        let now = self.around.now;
        for by_alert in state.told.values_mut() {
            by_alert.retain(|print, told| present.contains(&**print) || now - told.at < told.cooldown.delta());
        }
        state.told.retain(|_, by_alert| !by_alert.is_empty());
        state.chain.retain(|print, _| present.contains(&**print));
        state.standing.retain(|print, _| present.contains(&**print));
        for (fingerprint, (kind, detail)) in std::mem::take(&mut self.standing) {
            let text = format!("{kind}: {detail}");
            if kind == "notified" || state.standing.get(&fingerprint) != Some(&text) {
                state.standing.insert(fingerprint.clone(), text);
                self.out.reasons.push(Reason { fingerprint, kind, detail });
            }
        }
        self.out
    }
}

#[cfg(test)]
mod tests;
