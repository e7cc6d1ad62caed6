//! Changes of policies that rules hold while one of their alerts fires.
//!
//! An override is put when a rule fires, renewed by its evaluations, and ended when the last alert is resolved. Whoever
//! fails in between leaves it to its lease.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::evaluate::Verdict;
use crate::model::{AlertState, HeldOverride, Period, Rule};
use crate::policy::{Policies, PolicyError, WantedOverride};
use crate::storage::Change;

/// What rules hold.
pub(super) struct Holds {
    policies: std::sync::Arc<Policies>,
    /// By id of the override.
    held: Mutex<HashMap<String, Held>>,
}

/// What was put last.
struct Held {
    over: HeldOverride,
    /// When it is to be renewed.
    due: Instant,
}

impl Holds {
    pub(super) fn new(policies: std::sync::Arc<Policies>) -> Self {
        Self { policies, held: Mutex::new(HashMap::new()) }
    }

    /// Does to policies what an evaluation that was written says; evaluations are `interval` apart.
    pub(super) async fn follow(&self, rule: &Rule, verdict: &Verdict, interval: Period) {
        if rule.overrides.is_empty() {
            return;
        }
        let fires = verdict.outcomes.iter().any(|outcome| outcome.instance.alert.state == AlertState::Firing);
        let was_firing = verdict
            .outcomes
            .iter()
            .filter_map(|outcome| outcome.transition.as_ref())
            .any(|(t, _)| t.from == AlertState::Firing);
        for n in 0..rule.overrides.len() {
            let followed = if fires {
                self.hold(rule, n, interval).await
            } else if was_firing {
                self.let_go(rule, n).await
            } else {
                Ok(())
            };
            if let Err(error) = followed {
                self.policies.metrics.rule_overrides_failed.inc();
                let error = &error as &dyn std::error::Error;
                tracing::warn!(rule = rule.id, error, "a policy is not changed as the rule says");
            }
        }
    }

    async fn hold(&self, rule: &Rule, n: usize, interval: Period) -> Result<(), PolicyError> {
        let (id, Some(over)) = (id_of(rule, n), rule.overrides.get(n)) else { return Ok(()) };
        let now = Instant::now();
        if self.held.lock().get(&id).is_some_and(|held| held.over == *over && held.due > now) {
            return Ok(());
        }
        // It must outlast some evaluations, each of which may renew it.
        let least = Period::from_millis(interval.millis().saturating_mul(3)).unwrap_or_default();
        let lease = over.lease.max(least);
        let wanted = WantedOverride {
            id: id.clone(),
            policy_id: over.policy_id.clone(),
            adjustment: over.adjustment.clone(),
            lease,
            rule_id: Some(rule.id.clone()),
            change: Change { author: "alerting".to_owned(), reason: format!("{} fires", rule.name) },
        };
        let put = match self.policies.put_override(wanted.clone()).await {
            // The rule held it on another policy before.
            Err(PolicyError::Exists(_)) => {
                let change =
                    Change { reason: format!("{} is about another policy now", rule.name), ..wanted.change.clone() };
                self.end(&id, &change).await?;
                self.policies.put_override(wanted).await?
            }
            put => put?,
        };
        // Its lease is as long as the policy allows.
        let third = Duration::from_millis(put.row.lease_ms.unsigned_abs() / 3);
        self.held.lock().insert(id, Held { over: over.clone(), due: now + third });
        Ok(())
    }

    async fn let_go(&self, rule: &Rule, n: usize) -> Result<(), PolicyError> {
        let id = id_of(rule, n);
        self.held.lock().remove(&id);
        let change = Change { author: "alerting".to_owned(), reason: format!("{} is resolved", rule.name) };
        self.end(&id, &change).await
    }

    async fn end(&self, id: &str, change: &Change) -> Result<(), PolicyError> {
        match self.policies.end_override(id, change).await {
            // Its lease was over, or it was never put.
            Ok(()) | Err(PolicyError::Absent(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn id_of(rule: &Rule, n: usize) -> String {
    format!("rule:{n}:{}", rule.id)
}
