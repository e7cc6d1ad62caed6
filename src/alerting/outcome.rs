//! What an evaluation writes: the rule's next state, its alerts, the groups that they join.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::evaluate::{Outcome, ReadyRule, Summary, Verdict};
use super::live::OpenAlert;
use super::routes::groups_of;
use super::state::{Effect, Phase};
use super::stored::{self, Machine};
use crate::model::{AlertState, Route, RuleHealth};
use crate::storage::{AlertChange, AlertWrite, EvaluationWrite, RuleStateRow, StateChange, TransitionRow};

/// Charts by fingerprint: Unix milliseconds and value.
pub(super) type Charts = HashMap<String, Vec<(i64, f64)>>;

/// Moves the state of a rule on by an evaluation at `(at, seconds)`; returns the run that ended with it, in words.
pub(super) fn advance(
    row: &mut RuleStateRow,
    ready: &ReadyRule,
    summary: &Summary,
    (at, seconds): (DateTime<Utc>, f64),
) -> Option<String> {
    let same = row.run_kind == summary.kind;
    let greater = ready.condition.compare.is_none_or(|compare| compare.greater_is_worse().unwrap_or(true));
    let worst = match (row.run_worst.filter(|_| same), summary.worst) {
        (Some(a), Some(b)) => Some(if (b > a) == greater { b } else { a }),
        (a, b) => b.or(a),
    };
    let ended = next_run(row, summary.kind, at, ready.stored.rule.threshold);
    set(&mut row.health, summary.health.as_str());
    row.error.clone_from(&summary.error);
    row.run_worst = worst;
    row.duration_seconds = seconds;
    row.left_out = i32::try_from(summary.left_out).unwrap_or(i32::MAX);
    ended
}

/// The same for a rule that cannot be evaluated.
pub(super) fn advance_broken(row: &mut RuleStateRow, at: DateTime<Utc>, error: &str) -> Option<String> {
    let ended = next_run(row, "error", at, None);
    set(&mut row.health, RuleHealth::Error.as_str());
    row.error = Some(error.to_owned());
    (row.run_worst, row.duration_seconds, row.left_out) = (None, 0.0, 0);
    ended
}

/// Counts an evaluation that decided `kind`.
fn next_run(row: &mut RuleStateRow, kind: &str, at: DateTime<Utc>, threshold: Option<f64>) -> Option<String> {
    let mut ended = None;
    if row.run_kind == kind && row.run_since.is_some() {
        row.run_evaluations += 1;
    } else {
        if row.run_since.is_some() && row.evaluated_at.is_some() {
            ended = Some(run_in_words(row, threshold));
        }
        set(&mut row.run_kind, kind);
        (row.run_since, row.run_evaluations) = (Some(at), 1);
    }
    row.evaluated_at = Some(at);
    ended
}

fn set(text: &mut String, to: &str) {
    if text != to {
        to.clone_into(text);
    }
}

/// What is written of a state that was moved on; nothing of one that never was.
pub(super) fn change_of(row: &RuleStateRow, ended_detail: Option<String>) -> Option<StateChange> {
    Some(StateChange {
        rule_id: row.rule_id.clone(),
        epoch: row.epoch,
        evaluated_at: row.evaluated_at?,
        health: row.health.clone(),
        error: row.error.clone(),
        duration_seconds: row.duration_seconds,
        left_out: row.left_out,
        known: None,
        run_kind: row.run_kind.clone(),
        run_since: row.run_since?,
        run_evaluations: row.run_evaluations,
        run_worst: row.run_worst,
        ended_detail,
    })
}

/// The next state of a rule after `verdict`, which took `(at, seconds)`.
pub(super) fn state_change(
    ready: &ReadyRule,
    before: &RuleStateRow,
    verdict: &Verdict,
    took: (DateTime<Utc>, f64),
) -> Option<StateChange> {
    let mut row = before.clone();
    let ended = advance(&mut row, ready, &verdict.summary, took);
    let mut change = change_of(&row, ended)?;
    change.known = verdict.known.as_ref().map(stored::write);
    Some(change)
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
