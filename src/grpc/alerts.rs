//! `AlertService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::{bad_field, read_severity, severity, status, time, timestamp};
use crate::alerting::Alerting;
use crate::model;
use crate::proto;
use crate::proto::alert_service_server::AlertService;
use crate::storage::ActiveFilter;

/// Most alerts in one page of history.
const PAGE_MAX: i32 = 1_000;
/// Alerts in one page when nobody says.
const PAGE: i32 = 200;
/// Furthest back that history goes, in hours.
const HOURS_MAX: f64 = 9_600.0;

/// The service.
pub(super) struct Alerts(pub(super) Arc<Alerting>);

/// An alert as protobuf has it.
pub(super) fn view(alert: &model::Alert) -> proto::Alert {
    let state = match alert.state {
        model::AlertState::Pending => proto::AlertState::Pending,
        model::AlertState::Firing => proto::AlertState::Firing,
        model::AlertState::Resolved => proto::AlertState::Resolved,
        model::AlertState::Inactive => proto::AlertState::Unspecified,
    };
    let kind = |kind| match kind {
        model::SuppressedBy::Silence => "silence",
        model::SuppressedBy::Inhibition => "inhibition",
        model::SuppressedBy::Maintenance => "maintenance",
    };
    let suppression = |one: &model::Suppression| proto::Suppression {
        kind: kind(one.kind).to_owned(),
        id: one.id.clone(),
        reason: one.reason.clone(),
    };
    proto::Alert {
        id: alert.id.clone(),
        fingerprint: alert.fingerprint.clone(),
        rule_id: alert.rule_id.clone(),
        rule_name: alert.rule_name.clone(),
        condition: alert.condition.clone(),
        state: state.into(),
        severity: severity(alert.severity).into(),
        labels: alert.labels.clone().into_iter().collect(),
        annotations: alert.annotations.clone().into_iter().collect(),
        value: alert.value,
        threshold: alert.threshold,
        unit: alert.unit.clone(),
        peak: alert.peak,
        pending_since: Some(timestamp(alert.pending_since)),
        starts_at: alert.starts_at.map(timestamp),
        ends_at: alert.ends_at.map(timestamp),
        resolved_reason: alert.resolved_reason.clone().unwrap_or_default(),
        last_evaluation_at: Some(timestamp(alert.last_evaluation_at)),
        acknowledged: alert.acknowledged.as_ref().map(|by| proto::Acknowledgement {
            by: by.by.clone(),
            at: Some(timestamp(by.at)),
            note: by.note.clone(),
        }),
        suppressed: alert.suppressed.iter().map(suppression).collect(),
        transitions: Vec::new(),
    }
}

fn transition(one: &model::Transition) -> proto::Transition {
    proto::Transition {
        at: Some(timestamp(one.at)),
        from: one.from.as_str().to_owned(),
        to: one.to.as_str().to_owned(),
        severity: severity(one.severity).into(),
        value: one.value,
        reason: one.reason.clone(),
    }
}

#[tonic::async_trait]
impl AlertService for Alerts {
    async fn list_alerts(
        &self,
        request: Request<proto::ListAlertsRequest>,
    ) -> Result<Response<proto::ListAlertsResponse>, Status> {
        let request = request.into_inner();
        let state = match request.state() {
            proto::AlertState::Unspecified => None,
            proto::AlertState::Pending => Some("pending".to_owned()),
            proto::AlertState::Firing => Some("firing".to_owned()),
            proto::AlertState::Resolved => return Err(bad_field("state", "what is resolved is in the history")),
        };
        let filter = ActiveFilter {
            rule_id: Some(request.rule_id).filter(|id| !id.is_empty()),
            state,
            severity: read_severity("severity", request.severity)?.map(|severity| severity.as_str().to_owned()),
        };
        let alerts = self.0.active_alerts(&filter).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListAlertsResponse { alerts: alerts.iter().map(view).collect() }))
    }

    async fn list_alert_history(
        &self,
        request: Request<proto::ListAlertHistoryRequest>,
    ) -> Result<Response<proto::ListAlertHistoryResponse>, Status> {
        let request = request.into_inner();
        let hours = if request.hours == 0.0 { 24.0 } else { request.hours };
        if !(hours > 0.0 && hours <= HOURS_MAX) {
            return Err(bad_field("hours", format!("must be more than 0 and at most {HOURS_MAX}, not {hours}")));
        }
        let size = if request.page_size <= 0 { PAGE } else { request.page_size.min(PAGE_MAX) };
        let cursor = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| bad_field("page_token", "was not given by an answer"))?),
        };
        let alerts = self.0.alert_history(hours, cursor, i64::from(size)).await.map_err(|error| status(&error))?;
        let last = alerts.last().filter(|_| alerts.len() == size as usize);
        let next_page_token = last.map(|alert| alert.id.clone()).unwrap_or_default();
        let alerts = alerts.iter().map(view).collect();
        Ok(Response::new(proto::ListAlertHistoryResponse { alerts, next_page_token }))
    }

    async fn get_alert(&self, request: Request<proto::GetAlertRequest>) -> Result<Response<proto::Alert>, Status> {
        let detail = self.0.alert(&request.into_inner().id).await.map_err(|error| status(&error))?;
        let transitions = detail.transitions.iter().map(transition).collect();
        Ok(Response::new(proto::Alert { transitions, ..view(&detail.alert) }))
    }

    async fn acknowledge_alert(
        &self,
        request: Request<proto::AcknowledgeAlertRequest>,
    ) -> Result<Response<proto::Alert>, Status> {
        let request = request.into_inner();
        let taken = self.0.acknowledge(&request.id, &request.by, &request.note).await;
        Ok(Response::new(view(&taken.map_err(|error| status(&error))?)))
    }

    async fn unacknowledge_alert(
        &self,
        request: Request<proto::UnacknowledgeAlertRequest>,
    ) -> Result<Response<proto::Alert>, Status> {
        let given_back = self.0.unacknowledge(&request.into_inner().id).await;
        Ok(Response::new(view(&given_back.map_err(|error| status(&error))?)))
    }

    async fn explain_alert(
        &self,
        request: Request<proto::ExplainAlertRequest>,
    ) -> Result<Response<proto::ExplainAlertResponse>, Status> {
        let request = request.into_inner();
        let at = time("at", request.at)?;
        let labels = request.labels.into_iter().collect();
        let told = self.0.explain(&request.rule_id, at, &labels).await.map_err(|error| status(&error))?;
        let step = |step: crate::alerting::ExplainStep| proto::ExplainStep {
            at: Some(timestamp(step.at)),
            what: step.what,
            detail: step.detail,
        };
        let steps = told.steps.into_iter().map(step).collect();
        Ok(Response::new(proto::ExplainAlertResponse { verdict: told.verdict.to_owned(), steps }))
    }
}
