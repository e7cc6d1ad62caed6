//! Rules as people write them: checked, kept with every revision, given back.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::error::AlertingError;
use super::evaluate::ReadyRule;
use super::routes::{EVERY, groups_of};
use super::{Alerting, stored, validate};
use crate::model::{Alert, AlertState, Notification, NotificationReason, Rule, RuleOrigin, StoredRule, fingerprint};
use crate::storage::{Expected, NewDelivery, RuleStateRow};

/// A rule with how it fares.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// The rule.
    pub stored: StoredRule,
    /// `ok`, `no_data`, `error` or `unknown`.
    pub health: String,
    /// What is wrong.
    pub error: Option<String>,
    /// Time of the last evaluation.
    pub evaluated_at: Option<DateTime<Utc>>,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// Alerts that are pending.
    pub pending: i64,
    /// Alerts that fire.
    pub firing: i64,
}

/// One revision of a rule.
#[derive(Clone, Debug)]
pub struct RuleRevision {
    /// Its number.
    pub revision: i64,
    /// What was written.
    pub rule: Rule,
    /// Where it came from.
    pub origin: String,
    /// It was the end of the rule.
    pub deleted: bool,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

fn named(id: &str) -> String {
    format!("rule {id:?}")
}

impl RuleStatus {
    fn new(stored: StoredRule, state: Option<&RuleStateRow>, (pending, firing): (i64, i64)) -> Self {
        Self {
            stored,
            health: state.map_or("unknown".to_owned(), |state| state.health.clone()),
            error: state.and_then(|state| state.error.clone()),
            evaluated_at: state.and_then(|state| state.evaluated_at),
            duration_seconds: state.map_or(0.0, |state| state.duration_seconds),
            pending,
            firing,
        }
    }
}

/// A rule that is not stored, as if it were.
pub(super) fn unsaved(rule: Rule) -> StoredRule {
    let now = DateTime::default();
    StoredRule { rule, revision: 0, origin: RuleOrigin::Api, created_at: now, updated_at: now, deleted: false }
}

impl Alerting {
    /// Every rule, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rules(&self) -> Result<Vec<RuleStatus>, AlertingError> {
        let states: HashMap<String, RuleStateRow> =
            self.storage.rule_states_all().await?.into_iter().map(|state| (state.rule_id.clone(), state)).collect();
        let counts: HashMap<String, (i64, i64)> = self
            .storage
            .alert_counts()
            .await?
            .into_iter()
            .map(|(id, pending, firing)| (id, (pending, firing)))
            .collect();
        let rows = self.storage.rule_list().await?;
        let alive = rows.iter().filter(|row| !row.deleted).filter_map(stored::rule);
        let status = |stored: StoredRule| {
            let (state, counts) = (states.get(&stored.rule.id), counts.get(&stored.rule.id));
            RuleStatus::new(stored, state, counts.copied().unwrap_or_default())
        };
        Ok(alive.map(status).collect())
    }

    /// One rule.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn rule(&self, id: &str) -> Result<RuleStatus, AlertingError> {
        let stored = self.stored_rule(id).await?;
        let states = self.storage.rule_states(&[id.to_owned()]).await?;
        let open = self.storage.alerts_open(&[id.to_owned()]).await?;
        let firing = open.iter().filter_map(stored::alert).filter(|alert| alert.state == AlertState::Firing).count();
        let counts = ((open.len() - firing) as i64, firing as i64);
        Ok(RuleStatus::new(stored, states.first(), counts))
    }

    pub(super) async fn stored_rule(&self, id: &str) -> Result<StoredRule, AlertingError> {
        let row = self.storage.rule_find(id).await?;
        row.as_ref().and_then(stored::rule).ok_or_else(|| AlertingError::Absent(named(id)))
    }

    pub(super) async fn ready_rule(&self, id: &str) -> Result<ReadyRule, AlertingError> {
        validate::rule(self.stored_rule(id).await?)
    }

    /// Checks a rule without keeping it.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check_rule(&self, rule: &Rule) -> Result<(), AlertingError> {
        validate::rule(unsaved(rule.clone())).map(drop)
    }

    /// Keeps a rule. One that creates what is there already, word for word, is answered with that.
    ///
    /// # Errors
    /// When it is not sound, or what is there is not what was expected.
    pub async fn put_rule(
        &self,
        rule: &Rule,
        origin: RuleOrigin,
        expected: Expected,
    ) -> Result<RuleStatus, AlertingError> {
        self.check_rule(rule)?;
        let definition = stored::write(rule);
        match self.storage.rule_put((&rule.id, &definition), origin.as_str(), expected).await {
            Ok(_) => self.rule(&rule.id).await,
            Err(error) => {
                let error = AlertingError::of_write(error, named(&rule.id));
                if matches!(error, AlertingError::Exists(_)) {
                    let there = self.rule(&rule.id).await?;
                    if there.stored.rule == *rule {
                        return Ok(there);
                    }
                }
                Err(error)
            }
        }
    }

    /// Deletes a rule; its alerts are resolved by the next evaluation.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn delete_rule(&self, id: &str, expected: Expected) -> Result<(), AlertingError> {
        self.storage.rule_delete(id, expected).await.map_err(|error| AlertingError::of_write(error, named(id)))
    }

    /// Every revision of a rule, the newest first.
    ///
    /// # Errors
    /// When there is no such rule, or the database is away.
    pub async fn rule_revisions(&self, id: &str) -> Result<Vec<RuleRevision>, AlertingError> {
        let rows = self.storage.rule_revisions(id).await?;
        let revision = |row: &crate::storage::RuleRevisionRow| {
            Some(RuleRevision {
                revision: row.revision,
                rule: stored::read("rule", &row.definition)?,
                origin: row.origin.clone(),
                deleted: row.deleted,
                created_at: row.created_at,
            })
        };
        let revisions: Vec<RuleRevision> = rows.iter().filter_map(revision).collect();
        if revisions.is_empty() { Err(AlertingError::Absent(named(id))) } else { Ok(revisions) }
    }

    /// A rule as it was in an old revision, checked by today's limits.
    ///
    /// # Errors
    /// When there is no such revision, it deleted the rule, or it would not be accepted now.
    pub async fn rule_as_of(&self, id: &str, revision: i64) -> Result<Rule, AlertingError> {
        let revisions = self.rule_revisions(id).await?;
        let found = revisions.into_iter().find(|known| known.revision == revision && !known.deleted);
        let rule = found.ok_or_else(|| AlertingError::Absent(format!("revision {revision} of {}", named(id))))?.rule;
        self.check_rule(&rule)?;
        Ok(rule)
    }

    /// Makes an old revision the newest.
    ///
    /// # Errors
    /// When there is no such revision, or what is there is not what was expected.
    pub async fn revert_rule(&self, id: &str, to: i64, expected: Expected) -> Result<RuleStatus, AlertingError> {
        let rule = self.rule_as_of(id, to).await?;
        self.put_rule(&rule, RuleOrigin::Api, expected).await
    }

    /// Sends a notification the way that the rule's alerts go, so that a person sees whether it arrives. Returns who gets
    /// it.
    ///
    /// # Errors
    /// When there is no such rule, it reaches nobody, or the database is away.
    pub async fn test_fire(&self, id: &str, by: &str) -> Result<Vec<String>, AlertingError> {
        let ready = self.ready_rule(id).await?;
        let rule = &ready.stored.rule;
        let tick = self.storage.alerting_tick(&self.replica).await?;
        let alert = sample_alert(&ready, tick.now, by);
        let (tree, _) = self.route_tree().await?;
        let enabled = self.storage.receivers_enabled().await?;
        let mut receivers: Vec<String> = Vec::new();
        for group in groups_of(rule, &alert, &tree) {
            for name in group.policy.receivers_for(alert.severity) {
                let every = enabled.iter().filter(|_| name == EVERY).cloned();
                receivers.extend(every.chain((name != EVERY).then(|| name.clone())));
            }
        }
        receivers.sort();
        receivers.dedup();
        if receivers.is_empty() {
            return Err(AlertingError::Impossible(
                "the rule's route reaches no receiver that is configured".to_owned(),
            ));
        }
        let notification = |receiver: &String| Notification {
            id: format!("{:032x}", rand::random::<u128>()),
            receiver: receiver.clone(),
            reason: NotificationReason::Test,
            group_key: format!("test/{id}"),
            group_labels: alert.labels.clone(),
            alerts: vec![alert.notified(&[])],
            alerts_left_out: 0,
            decided_at: tick.now,
            dashboard_url: self.config.dashboard_url.clone(),
        };
        let new: Vec<NewDelivery> = receivers.iter().map(|to| NewDelivery::from(&notification(to))).collect();
        self.storage.deliveries_enqueue(&new).await?;
        Ok(receivers)
    }
}

/// What an alert of the rule would look like.
fn sample_alert(ready: &ReadyRule, now: DateTime<Utc>, by: &str) -> Alert {
    let rule = &ready.stored.rule;
    let facts = super::templates::Facts {
        labels: &rule.labels,
        value: rule.threshold,
        threshold: rule.threshold,
        severity: rule.severity,
    };
    let mut annotations = super::templates::annotations(rule, &facts);
    annotations.insert("test".to_owned(), format!("{by} wanted to see whether this arrives"));
    Alert {
        id: String::new(),
        fingerprint: fingerprint(rule, &rule.labels),
        rule_id: rule.id.clone(),
        rule_name: rule.name.clone(),
        condition: rule.condition.clone(),
        state: AlertState::Firing,
        severity: rule.severity,
        labels: rule.labels.clone(),
        annotations,
        value: rule.threshold,
        threshold: rule.threshold,
        unit: ready.condition.unit.to_owned(),
        peak: None,
        pending_since: now,
        starts_at: Some(now),
        ends_at: None,
        resolved_reason: None,
        last_evaluation_at: now,
        acknowledged: None,
        suppressed: Vec::new(),
    }
}
