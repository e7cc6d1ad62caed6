//! `ReceiverService`.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use secrecy::SecretString;
use serde_json::{Map, Number};
use tonic::{Request, Response, Status};

use super::Rooms;
use super::convert::{refusal, timestamp};
use crate::notify::{self, NotifyError, ReceiverView};
use crate::proto::receiver_service_server::ReceiverService;
use crate::proto::{
    CreateReceiverRequest, DeleteReceiverRequest, DeleteReceiverResponse, Delivery, DeliveryAttempt,
    GetDeliveryRequest, GetReceiverRequest, ListDeliveriesRequest, ListDeliveriesResponse, ListReceiversRequest,
    ListReceiversResponse, Receiver, ReceiverChange, ResendDeliveryRequest, ShownSecret, TestReceiverRequest,
    TestReceiverResponse, UpdateReceiverRequest,
};
use crate::storage::{AttemptRow, DeliveryFilter, DeliveryRow};

/// Deliveries of a page when nothing is said.
const LIMIT: i64 = 100;
/// Most deliveries of a page.
const LIMIT_MAX: i64 = 1_000;

/// The service.
pub(super) struct Receivers(pub(super) Arc<Rooms>);

#[expect(clippy::needless_pass_by_value, reason = "it is named in map_err")]
fn status(error: NotifyError) -> Status {
    let violations: Vec<(&str, &str)> = match &error {
        NotifyError::Fields(fields) => fields.iter().map(|one| (one.field.as_ref(), one.what.as_ref())).collect(),
        _ => Vec::new(),
    };
    refusal(&error, error.code(), &violations)
}

fn to_json(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::StringValue(text)) => text.into(),
        // All numbers of a Struct are floating; whole ones are meant whole.
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9e15 => (n as i64).into(),
        Some(Kind::NumberValue(n)) => Number::from_f64(n).map_or(serde_json::Value::Null, Into::into),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(to_json).collect(),
        Some(Kind::StructValue(fields)) => object(fields).into(),
    }
}

fn object(fields: Struct) -> Map<String, serde_json::Value> {
    fields.fields.into_iter().map(|(name, value)| (name, to_json(value))).collect()
}

fn from_json(value: &serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(list) => Kind::ListValue(ListValue { values: list.iter().map(from_json).collect() }),
        serde_json::Value::Object(_) => Kind::StructValue(fields(value)),
    };
    Value { kind: Some(kind) }
}

fn fields(value: &serde_json::Value) -> Struct {
    let fields = value.as_object().into_iter().flatten();
    Struct { fields: fields.map(|(name, value)| (name.clone(), from_json(value))).collect() }
}

impl From<ReceiverView> for Receiver {
    fn from(view: ReceiverView) -> Self {
        let secret = |(name, secret): (&str, notify::ShownSecret)| {
            (name.to_owned(), ShownSecret { set: secret.set, last4: secret.last4.unwrap_or_default() })
        };
        Self {
            settings: Some(fields(&view.row.settings)),
            secrets: view.secrets.into_iter().map(secret).collect(),
            id: view.row.id,
            kind: view.row.kind,
            enabled: view.row.enabled,
            origin: view.row.origin,
            revision: view.row.revision,
            problem: view.problem.unwrap_or_default(),
        }
    }
}

impl From<ReceiverChange> for notify::ReceiverChange {
    fn from(change: ReceiverChange) -> Self {
        let mut secrets: BTreeMap<String, Option<SecretString>> =
            change.removed_secrets.into_iter().map(|name| (name, None)).collect();
        secrets.extend(change.secrets.into_iter().map(|(name, secret)| (name, Some(SecretString::from(secret)))));
        let settings = change.settings.map(object).unwrap_or_default();
        Self { kind: change.kind, settings, secrets, enabled: change.enabled }
    }
}

impl From<AttemptRow> for DeliveryAttempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            number: row.number,
            began_at: Some(timestamp(row.began_at)),
            ended_at: Some(timestamp(row.ended_at)),
            outcome: row.outcome,
            status: row.status,
            detail: row.detail,
        }
    }
}

impl From<(DeliveryRow, Vec<AttemptRow>)> for Delivery {
    fn from((row, log): (DeliveryRow, Vec<AttemptRow>)) -> Self {
        let queued = row.state == "queued";
        Self {
            id: row.id,
            notification_id: row.notification_id,
            receiver: row.receiver_id,
            group_key: row.group_key,
            state: row.state,
            attempts: row.attempts,
            created_at: Some(timestamp(row.created_at)),
            ended_at: row.ended_at.map(timestamp),
            next_attempt_at: queued.then(|| timestamp(row.next_attempt_at)),
            notification: Some(fields(&row.notification)),
            log: log.into_iter().map(Into::into).collect(),
        }
    }
}

/// Nothing said is nothing asked for.
fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn filter(request: ListDeliveriesRequest) -> Result<DeliveryFilter, Status> {
    let limit = match i64::from(request.limit) {
        0 => LIMIT,
        limit if (1..=LIMIT_MAX).contains(&limit) => limit,
        _ => return Err(Status::invalid_argument(format!("limit must be from 1 to {LIMIT_MAX}"))),
    };
    let state = said(request.state);
    if state.as_deref().is_some_and(|state| !["queued", "sent", "dead"].contains(&state)) {
        return Err(Status::invalid_argument("state must be queued, sent or dead"));
    }
    Ok(DeliveryFilter {
        receiver: said(request.receiver),
        state,
        fingerprint: said(request.fingerprint),
        hours: None,
        before: Some(request.before_id).filter(|before| *before > 0),
        limit,
    })
}

#[tonic::async_trait]
impl ReceiverService for Receivers {
    async fn list_receivers(
        &self,
        _request: Request<ListReceiversRequest>,
    ) -> Result<Response<ListReceiversResponse>, Status> {
        let receivers = self.0.notifier.receivers().await.map_err(status)?;
        Ok(Response::new(ListReceiversResponse { receivers: receivers.into_iter().map(Into::into).collect() }))
    }

    async fn get_receiver(&self, request: Request<GetReceiverRequest>) -> Result<Response<Receiver>, Status> {
        let view = self.0.notifier.receiver(&request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(view.into()))
    }

    async fn create_receiver(&self, request: Request<CreateReceiverRequest>) -> Result<Response<Receiver>, Status> {
        let CreateReceiverRequest { id, receiver, dry_run } = request.into_inner();
        let change = receiver.unwrap_or_default().into();
        let view = self.0.notifier.create_receiver(&id, change, dry_run).await.map_err(status)?;
        Ok(Response::new(view.into()))
    }

    async fn update_receiver(&self, request: Request<UpdateReceiverRequest>) -> Result<Response<Receiver>, Status> {
        let UpdateReceiverRequest { id, revision, receiver, dry_run } = request.into_inner();
        let change = receiver.unwrap_or_default().into();
        let view = self.0.notifier.update_receiver((&id, revision), change, dry_run).await.map_err(status)?;
        Ok(Response::new(view.into()))
    }

    async fn delete_receiver(
        &self,
        request: Request<DeleteReceiverRequest>,
    ) -> Result<Response<DeleteReceiverResponse>, Status> {
        let DeleteReceiverRequest { id, revision, dry_run } = request.into_inner();
        self.0.notifier.delete_receiver(&id, revision, dry_run).await.map_err(status)?;
        Ok(Response::new(DeleteReceiverResponse {}))
    }

    async fn test_receiver(
        &self,
        request: Request<TestReceiverRequest>,
    ) -> Result<Response<TestReceiverResponse>, Status> {
        let test = self.0.notifier.test_receiver(&request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(TestReceiverResponse {
            outcome: test.outcome.verdict.as_str().to_owned(),
            status: test.outcome.status.map(i32::from),
            detail: test.outcome.detail,
            duration: test.took.try_into().ok(),
        }))
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<ListDeliveriesResponse>, Status> {
        let page = self.0.notifier.deliveries(&filter(request.into_inner())?).await.map_err(status)?;
        Ok(Response::new(ListDeliveriesResponse { deliveries: page.into_iter().map(Into::into).collect() }))
    }

    async fn get_delivery(&self, request: Request<GetDeliveryRequest>) -> Result<Response<Delivery>, Status> {
        let delivery = self.0.notifier.delivery(request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(delivery.into()))
    }

    async fn resend_delivery(&self, request: Request<ResendDeliveryRequest>) -> Result<Response<Delivery>, Status> {
        let delivery = self.0.notifier.resend(request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(delivery.into()))
    }
}
