//! Routing and inhibition: who gets what, and what explains what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LabelMatcher, Period, Severity};

/// A node of the routing tree. What is left out is taken from the node above.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Who is told; `*` is every enabled receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receivers: Option<Vec<String>>,
    /// Labels by which alerts are told together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    /// How long the first notification of a group waits for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Period>,
    /// Least time between notifications about news in a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<Period>,
    /// Least time between repeats, when longer than the rule's cooldown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<Period>,
    /// All must be met; the root takes everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matchers: Vec<LabelMatcher>,
    /// After a match, look at the next sibling too.
    #[serde(default, rename = "continue", skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    /// The first that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub routes: Vec<Route>,
}

/// How a group of alerts is told.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPolicy {
    /// Who is told.
    pub receivers: Vec<String>,
    /// Who is told of alerts of a severity, when others.
    #[serde(default)]
    pub by_severity: BTreeMap<Severity, Vec<String>>,
    /// See [`Route::group_wait`].
    pub group_wait: Period,
    /// See [`Route::group_interval`].
    pub group_interval: Period,
    /// See [`Route::repeat_interval`].
    #[serde(default)]
    pub repeat_interval: Period,
    /// What its alerts have in common.
    pub labels: BTreeMap<String, String>,
}

impl GroupPolicy {
    /// Who is told of an alert of `severity`.
    #[must_use]
    pub fn receivers_for(&self, severity: Severity) -> &[String] {
        self.by_severity.get(&severity).unwrap_or(&self.receivers)
    }
}

/// While a source fires, targets with the same `equal` labels are not told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inhibition {
    /// What explains.
    pub source: Vec<LabelMatcher>,
    /// What is explained.
    pub target: Vec<LabelMatcher>,
    /// Labels that both must have alike.
    #[serde(default)]
    pub equal: Vec<String>,
}
