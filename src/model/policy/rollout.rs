//! Rollouts: a revision given to a part of the fleet after the other, and the measurements that must hold meanwhile.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::has_all;
use crate::model::Period;

/// How long the guards of a stage must hold, by default.
const BAKE: Period = Period::minutes(10);

/// A part of the fleet, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutStage {
    /// Share of the instances that the selector meets, by a stable hash of instance and policy.
    pub percent: f64,
    /// Of those, only instances with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How long its guards must hold before the next; 10 min by default.
    #[serde(default = "bake")]
    pub bake: Period,
}

const fn bake() -> Period {
    BAKE
}

impl RolloutStage {
    /// What a rollout goes through when nobody says.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        [1.0, 10.0, 50.0, 100.0].map(|percent| Self { percent, labels: BTreeMap::new(), bake: BAKE }).into()
    }

    /// Whether an instance, at its `share`, has the new revision while this is the last of `stages` that was reached.
    /// What an early stage has given it, no later one takes away.
    #[must_use]
    pub fn has_new(stages: &[Self], share: f64, labels: &BTreeMap<String, String>) -> bool {
        stages.iter().any(|stage| share < stage.percent && has_all(&stage.labels, labels))
    }
}

/// Where an instance stands in the fleet for a policy: 0 to 100, always the same.
#[must_use]
pub fn share(policy: &str, instance: &str) -> f64 {
    let hash = xxh3_64_with_seed(instance.as_bytes(), xxh3_64_with_seed(policy.as_bytes(), 0));
    // The upper 53 bits are exact in a float.
    (hash >> 11) as f64 / (1u64 << 53) as f64 * 100.0
}

/// What a guard does when it is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum GuardAction {
    /// Roll back.
    #[default]
    RollBack,
    /// Pause.
    Pause,
}

/// A measurement that must hold on instances with the new revision, against the others at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutGuard {
    /// For people.
    pub name: String,
    /// `PromQL`; `$group` stands for a label matcher that chooses the instances.
    pub query: String,
    /// Broken when new ÷ control is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ratio: Option<f64>,
    /// Broken when new ÷ control is under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ratio: Option<f64>,
    /// Broken when new is over, whatever control is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_value: Option<f64>,
    /// Broken when new is under, whatever control is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_value: Option<f64>,
    /// How long it must be broken.
    #[serde(default)]
    pub hold_for: Period,
    /// What it does then.
    #[serde(default)]
    pub action: GuardAction,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It goes on by itself.
    Running,
    /// It stays where it is.
    Paused,
    /// Everybody has the new revision.
    Done,
    /// Everybody has the revision from before.
    RolledBack,
}

impl RolloutState {
    /// As JSON and the table have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
        }
    }

    /// The other way.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Paused, Self::Done, Self::RolledBack].into_iter().find(|state| state.as_str() == text)
    }
}

/// What a guard measured at its last look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardReading {
    /// Which.
    pub guard: String,
    /// When.
    pub at: DateTime<Utc>,
    /// On instances with the new revision; nothing when there was nothing to measure.
    pub canary: Option<f64>,
    /// On the others.
    pub control: Option<f64>,
    /// It is broken.
    pub broken: bool,
    /// Since when it has been.
    pub broken_since: Option<DateTime<Utc>>,
    /// Why it could not be judged; empty when it could.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_has_it_at_ten_percent_has_it_at_fifty(instance in "[a-z0-9-]{1,20}", policy in "[a-z]{1,10}") {
            let stage = |percent| RolloutStage { percent, labels: BTreeMap::new(), bake: BAKE };
            let (stages, at) = ([stage(10.0), stage(50.0), stage(100.0)], share(&policy, &instance));
            prop_assert!((0.0..100.0).contains(&at));
            prop_assert_eq!(at, share(&policy, &instance), "stable");
            let has: Vec<bool> = (1..=3).map(|n| RolloutStage::has_new(&stages[..n], at, &BTreeMap::new())).collect();
            prop_assert!(has.windows(2).all(|pair| pair[0] <= pair[1]), "{has:?}");
            prop_assert!(has[2], "everybody at a hundred");
        }

        #[test]
        fn a_later_stage_by_labels_takes_nothing_away(percents in prop::collection::vec(0.0f64..=100.0, 1..6), at in 0.0f64..100.0) {
            let labels = |n: usize| BTreeMap::from([("region".to_owned(), ["eu", "us"][n % 2].to_owned())]);
            let stages: Vec<RolloutStage> = percents.iter().enumerate()
                .map(|(n, percent)| RolloutStage { percent: *percent, labels: labels(n), bake: BAKE }).collect();
            let has: Vec<bool> = (1..=stages.len()).map(|n| RolloutStage::has_new(&stages[..n], at, &labels(0))).collect();
            prop_assert!(has.windows(2).all(|pair| pair[0] <= pair[1]), "{has:?}");
        }
    }

    #[test]
    fn a_tenth_is_about_a_tenth() {
        let has = (0..10_000).filter(|n| share("products", &format!("shop-{n}")) < 10.0).count();
        assert!((900..1_100).contains(&has), "{has}");
    }
}
