//! Service level objectives: a share of good events over a window.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An objective as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slo {
    /// Names it for ever.
    pub id: String,
    /// For people.
    pub name: String,
    /// Share of good events that is promised, in percent: above 0 and below 100.
    pub objective: f64,
    /// Days over which it is promised.
    #[serde(default = "four_weeks")]
    pub window_days: u32,
    /// PromQL of good events; `$window` stands for a range such as `5m`.
    pub good: String,
    /// PromQL of all events, likewise.
    pub total: String,
    /// Receivers of its burn-rate alerts; empty: the routing tree decides.
    #[serde(default)]
    pub notification_channels: Vec<String>,
}

const fn four_weeks() -> u32 {
    28
}
