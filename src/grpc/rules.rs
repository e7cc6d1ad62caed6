//! `RuleService`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::{bad_field, duration, period, read_severity, severity, status, time, timestamp};
use super::overrides::{adjustment, read_adjustment};
use crate::alerting::{Alerting, Backtest, BacktestSummary, RuleRevision, RuleStatus};
use crate::model;
use crate::proto;
use crate::proto::rule_service_server::RuleService;
use crate::storage::Expected;

/// The service.
pub(super) struct Rules(pub(super) Arc<Alerting>);

const fn expected(revision: i64) -> Expected {
    if revision == 0 { Expected::Present } else { Expected::Revision(revision) }
}

fn given(rule: Option<proto::Rule>) -> Result<model::Rule, Status> {
    read_rule(rule.ok_or_else(|| bad_field("rule", "must be given"))?)
}

#[tonic::async_trait]
impl RuleService for Rules {
    async fn list_rules(
        &self,
        _request: Request<proto::ListRulesRequest>,
    ) -> Result<Response<proto::ListRulesResponse>, Status> {
        let rules = self.0.rules().await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListRulesResponse { rules: rules.iter().map(view).collect() }))
    }

    async fn get_rule(&self, request: Request<proto::GetRuleRequest>) -> Result<Response<proto::Rule>, Status> {
        let rule = self.0.rule(&request.into_inner().id).await.map_err(|error| status(&error))?;
        Ok(Response::new(view(&rule)))
    }

    async fn create_rule(&self, request: Request<proto::CreateRuleRequest>) -> Result<Response<proto::Rule>, Status> {
        let request = request.into_inner();
        let rule = given(request.rule)?;
        if request.dry_run {
            self.0.check_rule(&rule).map_err(|error| status(&error))?;
            return Ok(Response::new(write_rule(&rule)));
        }
        let saved = self.0.put_rule(&rule, model::RuleOrigin::Api, Expected::Absent).await;
        Ok(Response::new(view(&saved.map_err(|error| status(&error))?)))
    }

    async fn update_rule(&self, request: Request<proto::UpdateRuleRequest>) -> Result<Response<proto::Rule>, Status> {
        let request = request.into_inner();
        let rule = given(request.rule)?;
        if request.dry_run {
            self.0.check_rule(&rule).map_err(|error| status(&error))?;
            return Ok(Response::new(write_rule(&rule)));
        }
        let saved = self.0.put_rule(&rule, model::RuleOrigin::Api, expected(request.revision)).await;
        Ok(Response::new(view(&saved.map_err(|error| status(&error))?)))
    }

    async fn delete_rule(
        &self,
        request: Request<proto::DeleteRuleRequest>,
    ) -> Result<Response<proto::DeleteRuleResponse>, Status> {
        let request = request.into_inner();
        if request.dry_run {
            self.0.rule(&request.id).await.map_err(|error| status(&error))?;
        } else {
            let deleted = self.0.delete_rule(&request.id, expected(request.revision)).await;
            deleted.map_err(|error| status(&error))?;
        }
        Ok(Response::new(proto::DeleteRuleResponse {}))
    }

    async fn list_rule_revisions(
        &self,
        request: Request<proto::ListRuleRevisionsRequest>,
    ) -> Result<Response<proto::ListRuleRevisionsResponse>, Status> {
        let revisions = self.0.rule_revisions(&request.into_inner().id).await.map_err(|error| status(&error))?;
        let view = |revision: &RuleRevision| proto::RuleRevision {
            revision: revision.revision,
            rule: Some(write_rule(&revision.rule)),
            origin: revision.origin.clone(),
            deleted: revision.deleted,
            created_at: Some(timestamp(revision.created_at)),
        };
        Ok(Response::new(proto::ListRuleRevisionsResponse { revisions: revisions.iter().map(view).collect() }))
    }

    async fn revert_rule(&self, request: Request<proto::RevertRuleRequest>) -> Result<Response<proto::Rule>, Status> {
        let request = request.into_inner();
        if request.dry_run {
            let rule = self.0.rule_as_of(&request.id, request.to_revision).await.map_err(|error| status(&error))?;
            return Ok(Response::new(write_rule(&rule)));
        }
        let expected = if request.revision == 0 { Expected::Anything } else { Expected::Revision(request.revision) };
        let reverted = self.0.revert_rule(&request.id, request.to_revision, expected).await;
        Ok(Response::new(view(&reverted.map_err(|error| status(&error))?)))
    }

    async fn test_rule(
        &self,
        request: Request<proto::TestRuleRequest>,
    ) -> Result<Response<proto::TestRuleResponse>, Status> {
        let request = request.into_inner();
        let by = if request.by.is_empty() { "somebody" } else { &request.by };
        let receivers = self.0.test_fire(&request.id, by).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::TestRuleResponse { receivers }))
    }

    async fn backtest_rule(
        &self,
        request: Request<proto::BacktestRuleRequest>,
    ) -> Result<Response<proto::BacktestRuleResponse>, Status> {
        let request = request.into_inner();
        let from = time("from", request.from)?.ok_or_else(|| bad_field("from", "must be given"))?;
        let to = time("to", request.to)?.ok_or_else(|| bad_field("to", "must be given"))?;
        let edit = request.rule.map(read_rule).transpose()?;
        let result = self.0.backtest(&request.id, (from, to), edit).await.map_err(|error| status(&error))?;
        Ok(Response::new(backtest(&result)))
    }
}

fn view(rule: &RuleStatus) -> proto::Rule {
    let stored = &rule.stored;
    let took = std::time::Duration::try_from_secs_f64(rule.duration_seconds).unwrap_or_default();
    proto::Rule {
        revision: stored.revision,
        origin: stored.origin.as_str().to_owned(),
        created_at: Some(timestamp(stored.created_at)),
        updated_at: Some(timestamp(stored.updated_at)),
        health: Some(proto::RuleHealth {
            state: rule.health.clone(),
            last_evaluation_at: rule.evaluated_at.map(timestamp),
            duration: took.try_into().ok(),
            error: rule.error.clone().unwrap_or_default(),
            pending: rule.pending,
            firing: rule.firing,
        }),
        ..write_rule(&stored.rule)
    }
}

fn write_rule(rule: &model::Rule) -> proto::Rule {
    let threshold = |level: &model::SeverityThreshold| proto::SeverityThreshold {
        severity: severity(level.severity).into(),
        threshold: level.threshold,
        recovery_threshold: level.recovery_threshold,
        notification_channels: level.notification_channels.clone(),
    };
    let step = |step: &model::EscalationStep| proto::EscalationStep {
        after: Some(duration(step.after)),
        notification_channels: step.notification_channels.clone(),
    };
    let no_data = match rule.no_data {
        model::NoData::Ok => proto::NoData::Ok,
        model::NoData::Keep => proto::NoData::Keep,
        model::NoData::Fire => proto::NoData::Fire,
        model::NoData::Error => proto::NoData::Error,
    };
    let missing_series = match rule.missing_series {
        model::MissingSeries::Keep => proto::MissingSeries::Keep,
        model::MissingSeries::Resolve => proto::MissingSeries::Resolve,
        model::MissingSeries::Fire => proto::MissingSeries::Fire,
    };
    proto::Rule {
        id: rule.id.clone(),
        name: rule.name.clone(),
        condition: rule.condition.clone(),
        threshold: rule.threshold,
        severity: severity(rule.severity).into(),
        enabled: Some(rule.enabled),
        cooldown_minutes: Some(rule.cooldown_minutes),
        notification_channels: rule.notification_channels.clone(),
        hold_for: Some(duration(rule.hold_for)),
        keep_firing_for: Some(duration(rule.keep_firing_for)),
        recovery_threshold: rule.recovery_threshold,
        thresholds: rule.thresholds.iter().map(threshold).collect(),
        no_data: no_data.into(),
        missing_series: missing_series.into(),
        evaluation_interval: rule.evaluation_interval.map(duration),
        evaluation_delay: Some(duration(rule.evaluation_delay)),
        labels: rule.labels.clone().into_iter().collect(),
        annotations: rule.annotations.clone().into_iter().collect(),
        group_by: rule.group_by.clone(),
        escalation: rule.escalation.iter().map(step).collect(),
        limit: Some(rule.limit),
        overrides: rule.overrides.iter().map(held).collect(),
        ..proto::Rule::default()
    }
}

fn read_threshold(level: proto::SeverityThreshold) -> Result<model::SeverityThreshold, Status> {
    let field = "rule.thresholds.severity";
    Ok(model::SeverityThreshold {
        severity: read_severity(field, level.severity)?.ok_or_else(|| bad_field(field, "must be given"))?,
        threshold: level.threshold,
        recovery_threshold: level.recovery_threshold,
        notification_channels: level.notification_channels,
    })
}

fn read_step(step: proto::EscalationStep) -> Result<model::EscalationStep, Status> {
    let after = period("rule.escalation.after", step.after)?.unwrap_or_default();
    Ok(model::EscalationStep { after, notification_channels: step.notification_channels })
}

fn held(over: &model::HeldOverride) -> proto::HeldOverride {
    let (policy_id, adjustment) = (over.policy_id.clone(), Some(adjustment(&over.adjustment)));
    proto::HeldOverride { policy_id, adjustment, lease: Some(duration(over.lease)) }
}

fn read_held(over: proto::HeldOverride) -> Result<model::HeldOverride, Status> {
    let lease = period("rule.overrides.lease", over.lease)?.unwrap_or(model::HeldOverride::LEASE);
    let adjustment = read_adjustment("rule.overrides.adjustment", over.adjustment)?;
    Ok(model::HeldOverride { policy_id: over.policy_id, adjustment, lease })
}

fn read_rule(rule: proto::Rule) -> Result<model::Rule, Status> {
    let no_data = match rule.no_data() {
        proto::NoData::Ok => model::NoData::Ok,
        proto::NoData::Unspecified | proto::NoData::Keep => model::NoData::Keep,
        proto::NoData::Fire => model::NoData::Fire,
        proto::NoData::Error => model::NoData::Error,
    };
    let missing_series = match rule.missing_series() {
        proto::MissingSeries::Keep => model::MissingSeries::Keep,
        proto::MissingSeries::Unspecified | proto::MissingSeries::Resolve => model::MissingSeries::Resolve,
        proto::MissingSeries::Fire => model::MissingSeries::Fire,
    };
    Ok(model::Rule {
        id: rule.id,
        name: rule.name,
        condition: rule.condition,
        threshold: rule.threshold,
        severity: read_severity("rule.severity", rule.severity)?.unwrap_or(model::Severity::Warning),
        enabled: rule.enabled.unwrap_or(true),
        cooldown_minutes: rule.cooldown_minutes.unwrap_or(60.0),
        notification_channels: rule.notification_channels,
        hold_for: period("rule.hold_for", rule.hold_for)?.unwrap_or_default(),
        keep_firing_for: period("rule.keep_firing_for", rule.keep_firing_for)?.unwrap_or_default(),
        recovery_threshold: rule.recovery_threshold,
        thresholds: rule.thresholds.into_iter().map(read_threshold).collect::<Result<_, _>>()?,
        no_data,
        missing_series,
        evaluation_interval: period("rule.evaluation_interval", rule.evaluation_interval)?,
        evaluation_delay: period("rule.evaluation_delay", rule.evaluation_delay)?.unwrap_or_default(),
        labels: rule.labels.into_iter().collect::<BTreeMap<_, _>>(),
        annotations: rule.annotations.into_iter().collect::<BTreeMap<_, _>>(),
        group_by: rule.group_by,
        escalation: rule.escalation.into_iter().map(read_step).collect::<Result<_, _>>()?,
        limit: rule.limit.unwrap_or(100),
        overrides: rule.overrides.into_iter().map(read_held).collect::<Result<_, _>>()?,
    })
}

fn summary(summary: &BacktestSummary) -> proto::BacktestSummary {
    let firing = std::time::Duration::try_from_secs_f64(summary.firing_seconds).unwrap_or_default();
    proto::BacktestSummary {
        alerts: summary.alerts,
        notifications: summary.notifications,
        firing: firing.try_into().ok(),
        by_receiver: summary.by_receiver.clone().into_iter().collect(),
    }
}

fn backtest(result: &Backtest) -> proto::BacktestRuleResponse {
    let transition = |one: &crate::alerting::ReplayedTransition| proto::BacktestTransition {
        at: Some(timestamp(one.transition.at)),
        fingerprint: one.fingerprint.clone(),
        labels: one.labels.clone().into_iter().collect(),
        from: one.transition.from.as_str().to_owned(),
        to: one.transition.to.as_str().to_owned(),
        severity: severity(one.transition.severity).into(),
        reason: one.transition.reason.clone(),
    };
    let notification = |one: &model::Notification| proto::BacktestNotification {
        at: Some(timestamp(one.decided_at)),
        receiver: one.receiver.clone(),
        reason: one.reason.as_str().to_owned(),
        severity: severity(one.severity()).into(),
        alerts: one.alerts.iter().map(|alert| alert.fingerprint.clone()).collect(),
    };
    proto::BacktestRuleResponse {
        evaluations: result.evaluations,
        summary: Some(summary(&result.summary)),
        live: result.live.as_ref().map(summary),
        transitions: result.transitions.iter().map(transition).collect(),
        notifications: result.notifications.iter().map(notification).collect(),
        warnings: result.warnings.clone(),
    }
}
