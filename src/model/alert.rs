//! Alerts: one rule and one label set, in one life from pending to resolved.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::Xxh3;

use super::{NotifiedAlert, Rule, Severity};

/// Where an alert stands. What is inactive has no alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// No breach.
    Inactive,
    /// A breach that has not lasted long enough yet.
    Pending,
    /// People are told.
    Firing,
    /// It was firing and is over.
    Resolved,
}

impl AlertState {
    /// As JSON and the tables have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Who took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledgement {
    /// A person.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
    /// What they say.
    #[serde(default)]
    pub note: String,
}

/// What keeps an alert from being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SuppressedBy {
    /// A silence.
    Silence,
    /// Another alert that explains it.
    Inhibition,
    /// A maintenance window.
    Maintenance,
}

/// One reason not to tell; a flag beside the state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Suppression {
    /// What kind.
    pub kind: SuppressedBy,
    /// Which one.
    pub id: String,
    /// For people.
    pub reason: String,
}

/// An alert as APIs show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Names this life of it; empty until it is stored.
    pub id: String,
    /// Rule and labels, over all its lives.
    pub fingerprint: String,
    /// Which rule.
    pub rule_id: String,
    /// Its name.
    pub rule_name: String,
    /// Its condition when this alert began.
    pub condition: String,
    /// Where it stands.
    pub state: AlertState,
    /// How bad.
    pub severity: Severity,
    /// What tells it apart.
    pub labels: BTreeMap<String, String>,
    /// Text for people, templates filled in.
    pub annotations: BTreeMap<String, String>,
    /// At the last evaluation.
    pub value: Option<f64>,
    /// The threshold that was crossed.
    pub threshold: Option<f64>,
    /// Of value and threshold, empty when unknown.
    pub unit: String,
    /// The worst value so far.
    pub peak: Option<f64>,
    /// When the breach began.
    pub pending_since: DateTime<Utc>,
    /// When it fired.
    pub starts_at: Option<DateTime<Utc>>,
    /// When it was resolved.
    pub ends_at: Option<DateTime<Utc>>,
    /// Why it was resolved.
    pub resolved_reason: Option<String>,
    /// When it was last looked at.
    pub last_evaluation_at: DateTime<Utc>,
    /// Who took it.
    pub acknowledged: Option<Acknowledgement>,
    /// What keeps it from being told.
    #[serde(default)]
    pub suppressed: Vec<Suppression>,
}

impl Alert {
    /// The labels that matchers see: its own, and `alertname`, `rule_id`, `severity` unless it has such.
    #[must_use]
    pub fn matched_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        for (name, value) in
            [("alertname", self.rule_name.as_str()), ("rule_id", &self.rule_id), ("severity", self.severity.as_str())]
        {
            labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        labels
    }

    /// As a receiver is told of it.
    #[must_use]
    pub fn notified(&self, chart: &[(i64, f64)]) -> NotifiedAlert {
        NotifiedAlert {
            fingerprint: self.fingerprint.clone(),
            rule_id: self.rule_id.clone(),
            rule_name: self.rule_name.clone(),
            condition: self.condition.clone(),
            firing: self.state == AlertState::Firing,
            severity: self.severity,
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            value: self.value,
            threshold: self.threshold,
            unit: self.unit.clone(),
            starts_at: self.starts_at.unwrap_or(self.pending_since),
            ends_at: self.ends_at,
            peak: self.peak,
            resolved_reason: self.resolved_reason.clone(),
            acknowledged_by: self.acknowledged.as_ref().map(|a| a.by.clone()),
            chart: chart.to_vec(),
        }
    }
}

/// The fingerprint of `labels` under `rule`: the same on every replica and for ever.
#[must_use]
pub fn fingerprint(rule: &Rule, labels: &BTreeMap<String, String>) -> String {
    let mut hash = Xxh3::new();
    // Lengths first, so that no two sets run together alike.
    for text in [rule.id.as_str()].into_iter().chain(labels.iter().flat_map(|(name, value)| [&**name, &**value])) {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    format!("{:016x}", hash.digest())
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// Evaluation time.
    pub at: DateTime<Utc>,
    /// Before.
    pub from: AlertState,
    /// After; the same when only the severity changed.
    pub to: AlertState,
    /// How bad, after it.
    pub severity: Severity,
    /// The value that caused it.
    pub value: Option<f64>,
    /// Why, in a word: `breach`, `held`, `escalated`, `recovered`, …
    pub reason: String,
}
