//! The state machine of one alert: `step(state, what was seen, when, policy) -> (state, effects)`.
//!
//! Live evaluation, restart and backtest call this one function; no clock, no I/O. Inactive → pending → firing → resolved;
//! what is resolved is inactive again and begins a new life. Each severity has its own breach clock, so a value that has
//! been over the critical threshold for long enough fires as critical at once, and one that gets there later escalates.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{AlertState, MissingSeries, NoData, Rule, Severity};
use crate::query::{Compare, Condition};

/// A severity and where it begins and ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) severity: Severity,
    pub(super) threshold: f64,
    pub(super) recovery: Option<f64>,
}

/// What `step` needs of a rule.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// `None`: the condition is a filter, and whatever it lets through is a breach of `severity`.
    pub(super) compare: Option<Compare>,
    /// The least first; empty for a filter.
    pub(super) levels: Vec<Level>,
    /// The rule's own.
    pub(super) severity: Severity,
    pub(super) hold_for: TimeDelta,
    pub(super) keep_firing_for: TimeDelta,
    pub(super) no_data: NoData,
    pub(super) missing_series: MissingSeries,
}

impl Policy {
    pub(super) fn of(rule: &Rule, condition: &Condition) -> Self {
        let levels = rule.levels().into_iter().map(|level| Level {
            severity: level.severity,
            threshold: level.threshold,
            recovery: level.recovery_threshold,
        });
        Self {
            compare: condition.compare,
            levels: if condition.compare.is_some() { levels.collect() } else { Vec::new() },
            severity: rule.severity,
            hold_for: rule.hold_for.delta(),
            keep_firing_for: rule.keep_firing_for.delta(),
            no_data: rule.no_data,
            missing_series: rule.missing_series,
        }
    }

    /// The threshold of `severity`.
    pub(super) fn threshold(&self, severity: Severity) -> Option<f64> {
        self.levels.iter().find(|level| level.severity == severity).map(|level| level.threshold)
    }

    /// Whether `value` is a breach where nothing fires yet.
    pub(super) fn is_breached_by(&self, value: f64) -> bool {
        !value.is_nan()
            && self
                .compare
                .is_none_or(|compare| self.levels.iter().any(|level| compare.is_breach(value, level.threshold)))
    }

    /// The severities that `value` breaches, given what fires already: recovery thresholds hold on to those.
    fn breached(&self, state: &State, value: f64) -> Vec<Severity> {
        let Some(compare) = self.compare else { return vec![self.severity] };
        let holds = |level: &&Level| {
            let firing = state.phase == Phase::Firing && state.severity >= level.severity;
            compare.is_breach(value, level.threshold)
                || (firing && level.recovery.is_some_and(|recovery| compare.is_breach(value, recovery)))
        };
        self.levels.iter().filter(holds).map(|level| level.severity).collect()
    }
}

/// What an evaluation saw of one label set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen {
    /// A value.
    Value(f64),
    /// The query gave nothing at all.
    Nothing,
    /// Others are there, this one is not.
    Missing,
    /// The query failed: nothing is known.
    Unknown,
    /// The rule does not want it any more, and why.
    Unwanted(&'static str),
}

/// Where an alert stands between evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    #[default]
    Inactive,
    Pending,
    Firing,
}

impl Phase {
    pub(super) const fn as_state(self) -> AlertState {
        match self {
            Self::Inactive => AlertState::Inactive,
            Self::Pending => AlertState::Pending,
            Self::Firing => AlertState::Firing,
        }
    }
}

/// What is remembered between evaluations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) severity: Severity,
    /// Since when each severity has been breached without a break.
    pub(super) breach_since: BTreeMap<Severity, DateTime<Utc>>,
    pub(super) last_breach_at: Option<DateTime<Utc>>,
}

impl State {
    pub(super) const INACTIVE: Self =
        Self { phase: Phase::Inactive, severity: Severity::Info, breach_since: BTreeMap::new(), last_breach_at: None };
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A breach began that has to last.
    Began,
    /// It lasted.
    Fired,
    /// A greater severity has lasted.
    Escalated,
    /// A greater severity is over, a lesser one is not.
    Lowered,
    /// A breach ended before it had lasted.
    Cleared,
    /// It fired and is over.
    Resolved(&'static str),
}

impl Effect {
    /// The word in transitions.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Began => "breach",
            Self::Fired => "held",
            Self::Escalated => "escalated",
            Self::Lowered => "lowered",
            Self::Cleared => "cleared",
            Self::Resolved(reason) => reason,
        }
    }
}

/// One evaluation of one alert.
pub(super) fn step(state: &State, seen: Seen, at: DateTime<Utc>, policy: &Policy) -> (State, Option<Effect>) {
    let is_filter = policy.compare.is_none();
    match seen {
        Seen::Value(value) if !value.is_nan() => {
            advance(state, &policy.breached(state, value), at, (policy, "recovered"))
        }
        // Not a number is no data, but it never fires.
        Seen::Value(_) => match policy.no_data {
            NoData::Ok => advance(state, &[], at, (policy, "no_data")),
            NoData::Keep | NoData::Fire | NoData::Error => (state.clone(), None),
        },
        // A filter that lets nothing through says that all is well.
        Seen::Nothing | Seen::Missing if is_filter => advance(state, &[], at, (policy, "recovered")),
        Seen::Nothing => match policy.no_data {
            NoData::Ok => advance(state, &[], at, (policy, "no_data")),
            NoData::Keep | NoData::Error => (state.clone(), None),
            NoData::Fire => advance(state, &[policy.severity], at, (policy, "no_data")),
        },
        Seen::Missing => match policy.missing_series {
            MissingSeries::Resolve => end(state, "missing_series"),
            MissingSeries::Keep => (state.clone(), None),
            MissingSeries::Fire => advance(state, &[policy.severity], at, (policy, "missing_series")),
        },
        Seen::Unknown => (state.clone(), None),
        Seen::Unwanted(reason) => end(state, reason),
    }
}

fn end(state: &State, reason: &'static str) -> (State, Option<Effect>) {
    let effect = match state.phase {
        Phase::Inactive => None,
        Phase::Pending => Some(Effect::Cleared),
        Phase::Firing => Some(Effect::Resolved(reason)),
    };
    (State::INACTIVE, effect)
}

/// Moves on, knowing which severities are breached; `reason` is why it ends when none is.
fn advance(
    state: &State,
    breached: &[Severity],
    at: DateTime<Utc>,
    (policy, reason): (&Policy, &'static str),
) -> (State, Option<Effect>) {
    let mut next = state.clone();
    next.breach_since.retain(|severity, _| breached.contains(severity));
    for severity in breached {
        next.breach_since.entry(*severity).or_insert(at);
    }
    let worst = breached.iter().max().copied();
    if worst.is_some() {
        next.last_breach_at = Some(at);
    }
    let has_held = |(_, since): &(&Severity, &DateTime<Utc>)| at - **since >= policy.hold_for;
    let held = next.breach_since.iter().filter(has_held).map(|(severity, _)| *severity).max();
    match (state.phase, worst, held) {
        (Phase::Inactive | Phase::Pending, Some(_), Some(held)) => {
            (next.phase, next.severity) = (Phase::Firing, held);
            (next, Some(Effect::Fired))
        }
        (Phase::Inactive, Some(worst), None) => {
            (next.phase, next.severity) = (Phase::Pending, worst);
            (next, Some(Effect::Began))
        }
        (Phase::Pending, Some(worst), None) => {
            next.severity = worst;
            (next, None)
        }
        (Phase::Pending, None, _) => (State::INACTIVE, Some(Effect::Cleared)),
        (Phase::Inactive, None, _) => (State::INACTIVE, None),
        (Phase::Firing, Some(worst), held) => {
            let effect = if let Some(held) = held.filter(|held| *held > state.severity) {
                next.severity = held;
                Some(Effect::Escalated)
            } else if worst < state.severity {
                next.severity = worst;
                Some(Effect::Lowered)
            } else {
                None
            };
            (next, effect)
        }
        (Phase::Firing, None, _) => {
            let keeps = state.last_breach_at.is_some_and(|last| at - last < policy.keep_firing_for);
            if keeps { (next, None) } else { (State::INACTIVE, Some(Effect::Resolved(reason))) }
        }
    }
}

#[cfg(test)]
mod tests;
