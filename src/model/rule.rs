//! Rules: a condition over series, when it counts as broken, and who is told.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Adjustment, Period, Severity};

/// A rule as it is written; JSON, the `rules` table and files have the same fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Names it for ever.
    pub id: String,
    /// For people.
    pub name: String,
    /// Query and comparison, such as `avgResponseTime > threshold`; without `threshold` a filter as in Prometheus.
    pub condition: String,
    /// What `threshold` stands for in the condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// How bad it is to pass `threshold`.
    #[serde(default = "warning")]
    pub severity: Severity,
    /// False: it is not evaluated.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Least time between two notifications about one alert to one receiver.
    #[serde(default = "an_hour")]
    pub cooldown_minutes: f64,
    /// Receivers of its alerts; empty: the routing tree decides. `*` is every enabled one.
    #[serde(default)]
    pub notification_channels: Vec<String>,
    /// How long a breach must last before it fires.
    #[serde(default, rename = "for")]
    pub hold_for: Period,
    /// How long it keeps firing after the last breach.
    #[serde(default)]
    pub keep_firing_for: Period,
    /// Once firing, a breach lasts until this is passed the other way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_threshold: Option<f64>,
    /// Further severities, each with its own threshold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<SeverityThreshold>,
    /// What to do when the query gives nothing.
    #[serde(default)]
    pub no_data: NoData,
    /// What to do when one series is gone while others are there.
    #[serde(default)]
    pub missing_series: MissingSeries,
    /// Time between evaluations; the window's width by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_interval: Option<Period>,
    /// How far back it looks, so that late data is there.
    #[serde(default)]
    pub evaluation_delay: Period,
    /// Added to the labels of its alerts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Text for people; templates over labels and value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels by which its alerts are told together; all together by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// Who is told next when nobody takes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<EscalationStep>,
    /// Most alerts at once.
    #[serde(default = "hundred")]
    pub limit: u32,
    /// What it does to policies while one of its alerts fires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<HeldOverride>,
}

const fn warning() -> Severity {
    Severity::Warning
}

const fn yes() -> bool {
    true
}

const fn an_hour() -> f64 {
    60.0
}

const fn hundred() -> u32 {
    100
}

impl Rule {
    /// Least time between two notifications.
    #[must_use]
    pub fn cooldown(&self) -> Period {
        Period::seconds((self.cooldown_minutes * 60.0) as i64)
    }

    /// Every severity with its threshold and recovery threshold, the least first.
    #[must_use]
    pub fn levels(&self) -> Vec<SeverityThreshold> {
        let own = self.threshold.map(|threshold| SeverityThreshold {
            severity: self.severity,
            threshold,
            recovery_threshold: self.recovery_threshold,
            notification_channels: Vec::new(),
        });
        let mut levels: Vec<SeverityThreshold> = own.into_iter().chain(self.thresholds.iter().cloned()).collect();
        levels.sort_by_key(|level| level.severity);
        levels
    }

    /// Receivers by its own word for an alert of `severity`; empty: the routing tree decides.
    #[must_use]
    pub fn channels(&self, severity: Severity) -> &[String] {
        let of_level = self.thresholds.iter().find(|level| level.severity == severity);
        of_level
            .map(|level| level.notification_channels.as_slice())
            .filter(|channels| !channels.is_empty())
            .unwrap_or(&self.notification_channels)
    }
}

/// A temporary change of a policy, held by a rule while one of its alerts fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldOverride {
    /// Which policy.
    pub policy_id: String,
    /// How it is changed, within its bounds.
    pub adjustment: Adjustment,
    /// How long it lasts when nobody renews it: no server is there, or the rule is no more. 1 min by default, and no longer
    /// than the policy allows.
    #[serde(default = "a_minute")]
    pub lease: Period,
}

const fn a_minute() -> Period {
    HeldOverride::LEASE
}

impl HeldOverride {
    /// How long it lasts unless it is renewed, by default.
    pub const LEASE: Period = Period::minutes(1);
}

/// A severity with its own threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeverityThreshold {
    /// How bad it is to pass it.
    pub severity: Severity,
    /// What is compared with.
    pub threshold: f64,
    /// Once at this severity, it lasts until this is passed the other way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_threshold: Option<f64>,
    /// Receivers at this severity, when others than the rule's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notification_channels: Vec<String>,
}

/// A step of the escalation chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EscalationStep {
    /// So long after it fired, when nobody has acknowledged it.
    pub after: Period,
    /// Receivers.
    pub notification_channels: Vec<String>,
}

/// What to do when the query gives nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoData {
    /// As if nothing were wrong.
    Ok,
    /// Every alert stays as it is: silence is not health.
    #[default]
    Keep,
    /// It fires.
    Fire,
    /// Alerts stay, and the rule's health is an error.
    Error,
}

/// What to do when one series is gone while others are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingSeries {
    /// Its alert stays as it is.
    Keep,
    /// Its alert is resolved and says why.
    #[default]
    Resolve,
    /// It fires.
    Fire,
}

/// Where a rule comes from; a person's edit wins over a later default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleOrigin {
    /// Shipped.
    Default,
    /// Made or edited through an API.
    Api,
    /// Applied from a file.
    File,
}

impl RuleOrigin {
    /// As JSON and the table have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Api => "api",
            Self::File => "file",
        }
    }

    /// The other way.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Default, Self::Api, Self::File].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// How the evaluation of a rule fares; says nothing about its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleHealth {
    /// The query gives data.
    Ok,
    /// It gives none.
    NoData,
    /// It fails.
    Error,
    /// Not evaluated yet.
    #[default]
    Unknown,
}

impl RuleHealth {
    /// As JSON and the table have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoData => "no_data",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

/// A rule as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRule {
    /// What was written.
    pub rule: Rule,
    /// Grows by one at each accepted change.
    pub revision: i64,
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// First saved.
    pub created_at: DateTime<Utc>,
    /// Last changed.
    pub updated_at: DateTime<Utc>,
    /// Gone, but for its history.
    pub deleted: bool,
}
