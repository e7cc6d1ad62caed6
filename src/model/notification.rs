//! Notifications: what a receiver gets about a group of alerts. `alerting` decides and writes them into the outbox,
//! `notify` renders and delivers them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look today.
    Warning,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// As labels and JSON have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Why people are told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationReason {
    /// Alerts of the group began to fire.
    Fired,
    /// The severity rose.
    Escalated,
    /// Still firing after the cooldown.
    Repeated,
    /// Nobody acknowledged it in time: the next step of the escalation chain.
    Unacknowledged,
    /// Every alert of the group is resolved.
    Resolved,
    /// A person wanted to see whether it arrives.
    Test,
}

impl NotificationReason {
    /// As JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Escalated => "escalated",
            Self::Repeated => "repeated",
            Self::Unacknowledged => "unacknowledged",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// One alert as a receiver is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifiedAlert {
    /// Hash of rule and labels, in hexadecimal.
    pub fingerprint: String,
    /// Which rule.
    pub rule_id: String,
    /// The rule's name.
    pub rule_name: String,
    /// The rule's condition as written.
    pub condition: String,
    /// True while it fires, false once resolved.
    pub firing: bool,
    /// How bad.
    pub severity: Severity,
    /// What tells it apart.
    pub labels: BTreeMap<String, String>,
    /// Text for people; templates are filled in.
    pub annotations: BTreeMap<String, String>,
    /// Value at the last evaluation.
    pub value: Option<f64>,
    /// The threshold that was crossed.
    pub threshold: Option<f64>,
    /// Unit of value and threshold in UCUM, empty when unknown.
    pub unit: String,
    /// When it began to fire.
    pub starts_at: DateTime<Utc>,
    /// When it was resolved.
    pub ends_at: Option<DateTime<Utc>>,
    /// The worst value while it fired.
    pub peak: Option<f64>,
    /// Why it was resolved: `recovered`, `no_data`, `missing_series`, `rule_changed`, …
    pub resolved_reason: Option<String>,
    /// Who acknowledged it.
    pub acknowledged_by: Option<String>,
    /// `(Unix milliseconds, value)` up to now, for a small chart; a few hundred points at most.
    pub chart: Vec<(i64, f64)>,
}

/// A notification to one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Idempotency key: a function of group, alerts' transitions, reason and receiver.
    pub id: String,
    /// Which receiver.
    pub receiver: String,
    /// Why now.
    pub reason: NotificationReason,
    /// Names the group over its life, also across firing and resolved.
    pub group_key: String,
    /// Labels that all its alerts share by `groupBy`.
    pub group_labels: BTreeMap<String, String>,
    /// Most first: firing by severity, then resolved.
    pub alerts: Vec<NotifiedAlert>,
    /// Alerts beyond those listed.
    pub alerts_left_out: u32,
    /// When it was decided, by the database's clock.
    pub decided_at: DateTime<Utc>,
    /// Where the dashboard is, without a slash at the end.
    pub dashboard_url: String,
}

impl Notification {
    /// True while any alert fires.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(|alert| alert.firing)
    }

    /// The worst severity of what fires, or of all once resolved.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let worst = |firing: bool| self.alerts.iter().filter(|a| a.firing || !firing).map(|a| a.severity).max();
        worst(true).or_else(|| worst(false)).unwrap_or(Severity::Info)
    }
}
