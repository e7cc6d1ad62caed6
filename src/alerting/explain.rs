//! Explain: why a rule fired, did not fire, or was not told, from what was stored when it was decided.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::AlertingError;
use super::evaluate::LabelSet;
use super::outcome::run_in_words;
use super::{Alerting, stored};
use crate::model::{Alert, AlertState, StoredRule};
use crate::storage::{AlertRow, DecisionRow, TransitionRow};

/// Alerts that one answer speaks of.
const ALERTS_MAX: usize = 5;
/// Decisions on one alert.
const DECISIONS_MAX: i64 = 500;

/// One step of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExplainStep {
    /// In a word: `evaluated`, `firing`, `suppressed`, `delivery`, …
    pub what: String,
    /// In a sentence.
    pub detail: String,
    /// When it was decided.
    pub at: DateTime<Utc>,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Explanation {
    /// `not_evaluated`, `not_fired`, `pending`, `fired`, `not_notified` or `notified`.
    pub verdict: &'static str,
    /// What led there, in order.
    pub steps: Vec<ExplainStep>,
}

impl Explanation {
    fn step(&mut self, at: DateTime<Utc>, what: &str, detail: impl Into<String>) {
        self.steps.push(ExplainStep { what: what.to_owned(), detail: detail.into(), at });
    }
}

impl Alerting {
    /// Explains what a rule did at `at` (now when left out) for alerts with `labels`.
    ///
    /// # Errors
    /// When there is no such rule, or the database is away.
    pub async fn explain(
        &self,
        rule_id: &str,
        at: Option<DateTime<Utc>>,
        labels: &LabelSet,
    ) -> Result<Explanation, AlertingError> {
        let rule = self.stored_rule(rule_id).await?;
        let now = self.now().await?;
        let at = at.unwrap_or(now);
        if at > now + TimeDelta::seconds(1) {
            return Err(AlertingError::invalid("at", "at must not be in the future"));
        }
        let mut told = Explanation { verdict: "not_evaluated", steps: Vec::new() };
        self.explain_rule(&rule, at, &mut told).await?;
        let mut verdicts = Vec::new();
        for row in self.storage.alerts_at(rule_id, at).await? {
            let Some(alert) = stored::alert(&row) else { continue };
            let shown = alert.matched_labels();
            let meant = labels.iter().all(|(name, value)| shown.get(name) == Some(value));
            if meant && verdicts.len() < ALERTS_MAX {
                verdicts.push(self.explain_alert(&row, &alert, at, &mut told).await?);
            }
        }
        // What went furthest is what was asked about.
        let order = ["pending", "not_fired", "fired", "not_notified", "notified"];
        let furthest = verdicts.into_iter().max_by_key(|verdict| order.iter().position(|known| known == verdict));
        told.verdict = furthest.unwrap_or(told.verdict);
        told.steps.sort_by_key(|step| step.at);
        Ok(told)
    }

    /// What the evaluations around `at` found, for the rule as a whole.
    async fn explain_rule(
        &self,
        rule: &StoredRule,
        at: DateTime<Utc>,
        told: &mut Explanation,
    ) -> Result<(), AlertingError> {
        let id = &rule.rule.id;
        if !rule.rule.enabled {
            told.step(rule.updated_at, "disabled", format!("the rule is disabled since revision {}", rule.revision));
        }
        let states = self.storage.rule_states(std::slice::from_ref(id)).await?;
        if let Some(run) = states.first().filter(|run| run.run_since.is_some_and(|since| since <= at)) {
            let since = run.run_since.unwrap_or(at);
            told.verdict = "not_fired";
            told.step(since, "evaluated", format!("{}: {}", run.run_kind, run_in_words(run, rule.rule.threshold)));
            if let Some(error) = &run.error {
                told.step(run.evaluated_at.unwrap_or(since), "error", error.clone());
            }
            return Ok(());
        }
        // A run lasts from its first evaluation to that before the next run.
        let grace = self.interval_of(&rule.rule).delta();
        let runs = self.storage.decisions((id, &[String::new()]), (at - grace, at), 100).await?;
        if let Some(run) = runs.last() {
            told.verdict = "not_fired";
            told.step(run.since, "evaluated", format!("{}: {}", run.kind, run.detail));
        } else {
            told.step(at, "not_evaluated", "nothing is stored of evaluations at that time");
        }
        Ok(())
    }

    async fn explain_alert(
        &self,
        row: &AlertRow,
        alert: &Alert,
        at: DateTime<Utc>,
        told: &mut Explanation,
    ) -> Result<&'static str, AlertingError> {
        let name = name_of(alert);
        let transitions: Vec<TransitionRow> =
            self.storage.alert_transitions(row.id).await?.into_iter().filter(|t| t.at <= at).collect();
        for transition in &transitions {
            let value = transition.value.map_or(String::new(), |value| format!(" at {value}"));
            let detail =
                format!("{name}: {} to {}, {}{value}", transition.from_state, transition.to_state, transition.reason);
            told.step(transition.at, &transition.to_state, detail);
        }
        let state = transitions.last().map_or(AlertState::Inactive.as_str(), |last| last.to_state.as_str());
        if state == "pending" {
            let held = (at - alert.pending_since).num_seconds();
            told.step(at, "pending", format!("{name}: the breach has lasted {held} s and must last longer"));
            return Ok("pending");
        }
        let range = (alert.pending_since, at);
        let prints = [row.fingerprint.clone()];
        let decisions = self.storage.decisions((&row.rule_id, &prints), range, DECISIONS_MAX).await?;
        for decision in &decisions {
            told.step(decision.since, &decision.kind, format!("{name}: {}", decision.detail));
        }
        self.explain_deliveries(row, alert, at, told).await?;
        Ok(verdict(state, &decisions))
    }

    async fn explain_deliveries(
        &self,
        row: &AlertRow,
        alert: &Alert,
        at: DateTime<Utc>,
        told: &mut Explanation,
    ) -> Result<(), AlertingError> {
        let since = alert.pending_since;
        for delivery in self.storage.deliveries_about(&row.group_keys, &row.fingerprint, since).await? {
            let text = |field: &str| delivery.get(field).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            let queued = text("createdAt").parse::<DateTime<Utc>>().unwrap_or(at);
            if queued > at {
                continue;
            }
            let attempts = delivery.get("attempts").and_then(serde_json::Value::as_i64).unwrap_or_default();
            let detail =
                format!("{} to {}: {} after {attempts} attempts", text("reason"), text("receiver"), text("state"));
            told.step(queued, "delivery", detail);
        }
        Ok(())
    }
}

fn name_of(alert: &Alert) -> String {
    let labels: Vec<String> = alert.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", labels.join(", "))
}

/// How far it got, by the last decision on telling it.
fn verdict(state: &str, decisions: &[DecisionRow]) -> &'static str {
    let told = decisions.iter().any(|decision| decision.kind == "notified");
    match (state, decisions.last().map(|last| last.kind.as_str())) {
        (_, Some("notified" | "cooldown" | "acknowledged")) if told => "notified",
        (_, Some(_)) => "not_notified",
        ("firing" | "resolved", None) => "fired",
        _ => "not_fired",
    }
}
