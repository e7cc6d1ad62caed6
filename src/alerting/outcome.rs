//! What an evaluation writes: the rule's next state, its alerts, the groups that they join.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::evaluate::{Outcome, ReadyRule, Verdict};
use super::live::OpenAlert;
use super::routes::groups_of;
use super::state::{Effect, Phase};
use super::stored::{self, Machine};
use crate::model::{AlertState, Route, RuleHealth};
use crate::storage::{AlertChange, AlertWrite, EvaluationWrite, RuleStateRow, StateChange, TransitionRow};

/// Charts by fingerprint: Unix milliseconds and value.
pub(super) type Charts = HashMap<String, Vec<(i64, f64)>>;

/// The next state of a rule that cannot be evaluated.
pub(super) fn broken(before: &RuleStateRow, at: DateTime<Utc>, error: &str) -> StateChange {
    let decided = Decided { kind: "error", health: RuleHealth::Error, error: Some(error.to_owned()), worst: None };
    next_state(before, decided, (at, 0.0), None)
}

/// The next state of a rule after `verdict`, which took `(at, seconds)`.
pub(super) fn state_change(
    ready: &ReadyRule,
    before: &RuleStateRow,
    verdict: &Verdict,
    (at, seconds): (DateTime<Utc>, f64),
) -> StateChange {
    let summary = &verdict.summary;
    let same = before.run_kind == summary.kind;
    let run_worst = if same { before.run_worst } else { None };
    let greater = ready.condition.compare.is_none_or(|compare| compare.greater_is_worse().unwrap_or(true));
    let worst = match (run_worst, summary.worst) {
        (Some(a), Some(b)) => Some(if (b > a) == greater { b } else { a }),
        (a, b) => b.or(a),
    };
    let decided = Decided { kind: summary.kind, health: summary.health, error: summary.error.clone(), worst };
    let mut change = next_state(before, decided, (at, seconds), ready.stored.rule.threshold);
    change.known = verdict.known.as_ref().map(stored::write);
    change.left_out = summary.left_out;
    change
}

struct Decided {
    kind: &'static str,
    health: RuleHealth,
    error: Option<String>,
    worst: Option<f64>,
}

fn next_state(
    before: &RuleStateRow,
    decided: Decided,
    (at, seconds): (DateTime<Utc>, f64),
    threshold: Option<f64>,
) -> StateChange {
    let same = before.run_kind == decided.kind;
    let ended = !same && before.run_since.is_some() && before.evaluated_at.is_some();
    StateChange {
        rule_id: before.rule_id.clone(),
        epoch: before.epoch,
        evaluated_at: at,
        health: decided.health.as_str(),
        duration_seconds: seconds,
        left_out: 0,
        known: None,
        run_kind: decided.kind.to_owned(),
        run_since: before.run_since.filter(|_| same).unwrap_or(at),
        run_evaluations: if same { before.run_evaluations + 1 } else { 1 },
        run_worst: decided.worst,
        ended_detail: ended.then(|| run_in_words(before, threshold)),
        error: decided.error,
    }
}

/// A run of evaluations that decided alike, as `explain` tells it.
pub(super) fn run_in_words(run: &RuleStateRow, threshold: Option<f64>) -> String {
    let count = run.run_evaluations;
    let limit = threshold.map_or(String::new(), |threshold| format!(", threshold {threshold}"));
    let worst = run.run_worst.map_or(String::new(), |worst| format!("; worst value {worst}{limit}"));
    let what = match run.run_kind.as_str() {
        "no_breach" => "did not find a breach".to_owned(),
        "breach" => "found a breach, or an alert still open".to_owned(),
        "no_data" => "got no data".to_owned(),
        _ => format!("failed: {}", run.error.as_deref().unwrap_or("for a reason that was not kept")),
    };
    format!("{count} evaluations {what}{worst}")
}

/// Everything that the evaluation of `ready` writes.
pub(super) fn write(
    ready: &ReadyRule,
    open: &[OpenAlert],
    verdict: &Verdict,
    (state, charts): (StateChange, &Charts),
    routes: &Route,
) -> EvaluationWrite {
    // In order of their keys: everybody locks them so.
    let mut groups: BTreeMap<String, Option<serde_json::Value>> = BTreeMap::new();
    let alerts = verdict.outcomes.iter().map(|outcome| {
        let id = outcome.instance.alert.id.as_str();
        let before = open.iter().find(|open| !id.is_empty() && open.instance.alert.id == id);
        let effect = outcome.transition.as_ref().map(|(_, effect)| *effect);
        let mut group_keys = None;
        if effect == Some(Effect::Fired) {
            let joined = groups_of(&ready.stored.rule, &outcome.instance.alert, routes);
            group_keys = Some(joined.iter().map(|group| group.key.clone()).collect());
            groups.extend(joined.into_iter().map(|group| (group.key, Some(stored::write(&group.policy)))));
        } else if effect.is_some() {
            for key in before.iter().flat_map(|before| &before.group_keys) {
                groups.entry(key.clone()).or_default();
            }
        }
        alert_write(outcome, charts.get(&outcome.instance.alert.fingerprint), group_keys)
    });
    let alerts = alerts.collect();
    EvaluationWrite { state, alerts, groups: groups.into_iter().collect() }
}

fn alert_write(outcome: &Outcome, chart: Option<&Vec<(i64, f64)>>, group_keys: Option<Vec<String>>) -> AlertWrite {
    let (alert, state) = (&outcome.instance.alert, &outcome.instance.state);
    let ended_at = (state.phase == Phase::Inactive).then_some(alert.last_evaluation_at);
    let machine = Machine { state: state.clone(), telling: outcome.instance.telling.clone() };
    let transition = outcome.transition.as_ref().map(|(transition, _)| TransitionRow {
        at: transition.at,
        from_state: transition.from.as_str().to_owned(),
        to_state: transition.to.as_str().to_owned(),
        severity: transition.severity.as_str().to_owned(),
        value: transition.value,
        reason: transition.reason.clone(),
    });
    AlertWrite {
        id: alert.id.parse().ok(),
        change: AlertChange {
            rule_id: alert.rule_id.clone(),
            fingerprint: alert.fingerprint.clone(),
            state: alert.state.as_str(),
            severity: alert.severity.as_str(),
            alert: stored::write(alert),
            machine: stored::write(&machine),
            chart: chart.map(stored::write),
            group_keys,
            // What never fired is never told.
            settled: alert.state == AlertState::Inactive,
            pending_since: alert.pending_since,
            starts_at: alert.starts_at,
            ended_at,
        },
        drop_acknowledgement: outcome.transition.as_ref().is_some_and(|(_, effect)| *effect == Effect::Escalated),
        transition,
    }
}
