//! Alerts as people look at them, and the one thing they do to them: acknowledge.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::error::AlertingError;
use super::{Alerting, evaluate, stored, validate};
use crate::model::{Acknowledgement, Alert, AlertState, Mistakes, Transition, fingerprint};
use crate::storage::{ActiveFilter, AlertRow, TransitionRow};

/// Most open alerts in one answer.
const ACTIVE_MAX: i64 = 10_000;
/// Digits of a fingerprint; ids are counted and never get so long.
const FINGERPRINT_LEN: usize = 16;
/// Points of an alert's chart.
const CHART_POINTS: i64 = 240;
/// What an alert's chart shows before and after it.
const CHART_MARGIN: TimeDelta = TimeDelta::minutes(30);

/// A series of points at even steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Unix milliseconds of the first.
    pub start_ms: i64,
    /// Milliseconds between them.
    pub step_ms: i64,
    /// One a step; `None` where there is nothing.
    pub values: Vec<Option<f64>>,
}

/// An alert with all that is known of it.
#[derive(Clone, Debug)]
pub struct AlertDetail {
    /// The alert.
    pub alert: Alert,
    /// Its changes of state, in order.
    pub transitions: Vec<Transition>,
    /// Deliveries about it, newest first, as JSON.
    pub deliveries: Vec<Value>,
    /// The value around it.
    pub chart: Chart,
}

fn state(text: &str) -> AlertState {
    match text {
        "pending" => AlertState::Pending,
        "firing" => AlertState::Firing,
        "resolved" => AlertState::Resolved,
        _ => AlertState::Inactive,
    }
}

fn transition(row: TransitionRow) -> Transition {
    let severities = [crate::model::Severity::Info, crate::model::Severity::Warning, crate::model::Severity::Critical];
    let severity = severities.into_iter().find(|severity| severity.as_str() == row.severity);
    Transition {
        at: row.at,
        from: state(&row.from_state),
        to: state(&row.to_state),
        severity: severity.unwrap_or(crate::model::Severity::Info),
        value: row.value,
        reason: row.reason,
    }
}

impl Alerting {
    /// Open alerts: the worst severity first, then the oldest.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn active_alerts(&self, filter: &ActiveFilter) -> Result<Vec<Alert>, AlertingError> {
        let rows = self.storage.alerts_active(filter, ACTIVE_MAX).await?;
        let mut alerts: Vec<Alert> = rows.iter().filter_map(stored::alert).collect();
        alerts.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.starts_at.unwrap_or(alert.pending_since)));
        Ok(alerts)
    }

    /// Alerts that fired and were open in the last `hours`, newest first, those before the id `before` when given.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alert_history(
        &self,
        hours: f64,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Alert>, AlertingError> {
        let rows = self.storage.alerts_history(hours, before.unwrap_or(i64::MAX), limit).await?;
        Ok(rows.iter().filter_map(stored::alert).collect())
    }

    async fn alert_row(&self, id: &str) -> Result<AlertRow, AlertingError> {
        let absent = || AlertingError::Absent(format!("alert {id:?}"));
        if id.len() == FINGERPRINT_LEN {
            return self.storage.alert_newest(id).await?.ok_or_else(absent);
        }
        let number = id.parse().map_err(|_| absent())?;
        self.storage.alert_find(number).await?.ok_or_else(absent)
    }

    /// One alert with all that is known of it, by its id, or the newest with a fingerprint: notifications link to that.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn alert(&self, id: &str) -> Result<AlertDetail, AlertingError> {
        let row = self.alert_row(id).await?;
        let alert = stored::alert(&row).ok_or_else(|| AlertingError::Absent(format!("alert {id:?}")))?;
        let transitions = self.storage.alert_transitions(row.id).await?.into_iter().map(transition).collect();
        let since = alert.pending_since;
        let deliveries = self.storage.deliveries_about(&row.group_keys, &row.fingerprint, since).await?;
        let chart = self.chart_around(&alert).await.unwrap_or_default();
        Ok(AlertDetail { alert, transitions, deliveries, chart })
    }

    /// The value around an alert, as the rule's condition of that time gives it; `None` when it cannot be had.
    async fn chart_around(&self, alert: &Alert) -> Option<Chart> {
        let mut ready = self.ready_rule(&alert.rule_id).await.ok()?;
        if ready.stored.rule.condition != alert.condition {
            ready.stored.rule.condition.clone_from(&alert.condition);
            ready = validate::rule(ready.stored).ok()?;
        }
        let now = Utc::now();
        let from = (alert.pending_since - CHART_MARGIN).timestamp_millis();
        let to = alert.ends_at.map_or(now, |end| (end + CHART_MARGIN).min(now)).timestamp_millis();
        let step = ((to - from) / CHART_POINTS).max(1);
        let step = (step + 9_999) / 10_000 * 10_000;
        // Counted from the end, so that the last point is the newest.
        let start = to - (to - from).max(0) / step * step;
        let answer = self.engine.condition_range(&ready.condition, (start, to), step).await.ok()?;
        let rule = &ready.stored.rule;
        let values = (0..answer.times.len()).map(|at| {
            let labelled = |labels: &evaluate::LabelSet| {
                labels.iter().chain(&rule.labels).map(|(name, value)| (name.clone(), value.clone())).collect()
            };
            let of_step = evaluate::samples(&answer, at);
            let own = of_step.iter().find(|(labels, _)| fingerprint(rule, &labelled(labels)) == alert.fingerprint);
            own.map(|(_, value)| *value).filter(|value| value.is_finite())
        });
        Some(Chart { start_ms: start, step_ms: step, values: values.collect() })
    }

    /// A person takes an alert: no more repeats, no escalation.
    ///
    /// # Errors
    /// When it is not open, or there is no name.
    pub async fn acknowledge(&self, id: &str, by: &str, note: &str) -> Result<Alert, AlertingError> {
        let mut mistakes = Mistakes::default();
        mistakes.name("by", by);
        mistakes.text("note", note);
        mistakes.done()?;
        let row = self.alert_row(id).await?;
        let at = self.storage.alerting_tick(&self.replica).await?.now;
        let acknowledgement = Acknowledgement { by: by.to_owned(), at, note: note.to_owned() };
        self.set_acknowledgement(row.id, Some(&acknowledgement)).await
    }

    /// Gives an alert back.
    ///
    /// # Errors
    /// When it is not open.
    pub async fn unacknowledge(&self, id: &str) -> Result<Alert, AlertingError> {
        let row = self.alert_row(id).await?;
        self.set_acknowledgement(row.id, None).await
    }

    async fn set_acknowledgement(&self, id: i64, by: Option<&Acknowledgement>) -> Result<Alert, AlertingError> {
        let by = by.map(stored::write);
        if !self.storage.alert_acknowledge(id, by.as_ref()).await? {
            return Err(AlertingError::Impossible(format!("alert {id} is over")));
        }
        let row = self.alert_row(&id.to_string()).await?;
        stored::alert(&row).ok_or_else(|| AlertingError::Absent(format!("alert {id}")))
    }

    /// The database's clock.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn now(&self) -> Result<DateTime<Utc>, AlertingError> {
        Ok(self.storage.alerting_tick(&self.replica).await?.now)
    }
}
