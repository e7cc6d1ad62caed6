//! Policies: how caches and batchers of services behave, whom they are for, and how far they may be bent for a while.
//!
//! What is left out of a policy is as by default, which the SDK knows.

mod adjust;
mod batch;
mod cache;
mod diff;
mod invalidation;
mod rollout;
mod validate;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use adjust::{Adjustment, check_lease, longest_lease};
pub use batch::{BatchPolicy, RatePolicy};
pub use cache::{CachePolicy, CacheStrategy, Compression, RetryPolicy};
pub use diff::{PolicyChange, changes};
pub use invalidation::{InvalidationTargets, check_warming};
pub use rollout::{GuardAction, GuardReading, RolloutGuard, RolloutStage, RolloutState, RolloutStep, share};
pub use validate::LABELS_MAX;

use super::Period;

/// A policy as it is written; JSON and the `policies` table have the same fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Names it for ever.
    pub id: String,
    /// For people.
    pub name: String,
    /// Whom it is for; everybody when left out.
    #[serde(default)]
    pub selector: PolicySelector,
    /// Of a cache; this or `batch` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CachePolicy>,
    /// Of a batcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchPolicy>,
    /// How far an override may go.
    #[serde(default)]
    pub bounds: OverrideBounds,
    /// False: instances go back to what is in their code.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

/// Whom a policy is for. All that is given must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySelector {
    /// The service's name; a `*` stands for any characters. Every service when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The key space of a cache or the name of a batcher; a `*` stands for any characters. The longest match counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Labels that the instance gave, such as region or version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl PolicySelector {
    /// Whether it means an instance of `service` with `labels`.
    #[must_use]
    pub fn is_for(&self, service: &str, labels: &BTreeMap<String, String>) -> bool {
        glob(&self.service, service) && has_all(&self.labels, labels)
    }
}

/// Whether `labels` has everything that is `wanted`.
#[must_use]
fn has_all(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// How far an override may go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideBounds {
    /// TTLs are never widened beyond; 24 h by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Period>,
    /// Rates are never shrunk below; 1 a second by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rate: Option<f64>,
    /// Longest lease; 1 h by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lease: Option<Period>,
}

/// Whether `text` is as `pattern`, in which a `*` stands for any characters; an empty pattern meets everything.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    if pattern.is_empty() {
        return true;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = pattern.contains('*').then(|| parts.next_back()).flatten() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// A policy as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPolicy {
    /// What was written.
    pub policy: Policy,
    /// Grows by one at each accepted change.
    pub revision: i64,
    /// Who made this revision.
    pub author: String,
    /// And why.
    pub reason: String,
    /// First saved.
    pub created_at: DateTime<Utc>,
    /// Last changed.
    pub updated_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expect) in [
            ("", "shop", true),
            ("*", "", true),
            ("shop", "shop", true),
            ("shop", "shopping", false),
            ("shop*", "shopping", true),
            ("*-api", "shop-api", true),
            ("*-api", "shop-api-2", false),
            ("a*b*c", "a__b__c", true),
            ("a*b*c", "a__c__b", false),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(glob(pattern, text), expect, "{pattern} {text}");
        }
    }
}
