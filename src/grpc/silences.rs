//! `SilenceService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::alerts;
use super::convert::{bad_field, status, time, timestamp};
use crate::alerting::{Alerting, SilenceStatus};
use crate::model::{self, MatchOp};
use crate::proto;
use crate::proto::silence_service_server::SilenceService;
use crate::storage::Expected;

/// The service.
pub(super) struct Silences(pub(super) Arc<Alerting>);

fn view(status: &SilenceStatus) -> proto::Silence {
    let matcher = |matcher: &model::LabelMatcher| {
        let (name, op, value) = matcher.parts();
        let op = match op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Matches => "=~",
            MatchOp::MatchesNot => "!~",
        };
        proto::LabelMatcher { name: name.to_owned(), op: op.to_owned(), value: value.to_owned() }
    };
    let silence = &status.silence;
    proto::Silence {
        id: silence.id.clone(),
        matchers: silence.matchers.iter().map(matcher).collect(),
        starts_at: Some(timestamp(silence.starts_at)),
        ends_at: Some(timestamp(silence.ends_at)),
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        state: status.state.to_owned(),
        affected: status.affected as u64,
    }
}

fn read_matchers(matchers: Vec<proto::LabelMatcher>) -> Result<Vec<model::LabelMatcher>, Status> {
    let read = |matcher: proto::LabelMatcher| {
        let op = match matcher.op.as_str() {
            "" | "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Matches,
            "!~" => MatchOp::MatchesNot,
            other => return Err(bad_field("matchers.op", format!("{other:?} is not one of = != =~ !~"))),
        };
        model::LabelMatcher::new(&matcher.name, op, &matcher.value).map_err(|error| bad_field("matchers", error))
    };
    matchers.into_iter().map(read).collect()
}

fn given(silence: Option<proto::Silence>) -> Result<model::Silence, Status> {
    let silence = silence.ok_or_else(|| bad_field("silence", "must be given"))?;
    Ok(model::Silence {
        id: silence.id,
        matchers: read_matchers(silence.matchers)?,
        starts_at: time("silence.starts_at", silence.starts_at)?.unwrap_or_default(),
        ends_at: time("silence.ends_at", silence.ends_at)?
            .ok_or_else(|| bad_field("silence.ends_at", "must be given"))?,
        created_by: silence.created_by,
        comment: silence.comment,
    })
}

#[tonic::async_trait]
impl SilenceService for Silences {
    async fn list_silences(
        &self,
        _request: Request<proto::ListSilencesRequest>,
    ) -> Result<Response<proto::ListSilencesResponse>, Status> {
        let silences = self.0.silences().await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListSilencesResponse { silences: silences.iter().map(view).collect() }))
    }

    async fn get_silence(
        &self,
        request: Request<proto::GetSilenceRequest>,
    ) -> Result<Response<proto::Silence>, Status> {
        let silence = self.0.silence(&request.into_inner().id).await.map_err(|error| status(&error))?;
        Ok(Response::new(view(&silence)))
    }

    async fn create_silence(
        &self,
        request: Request<proto::CreateSilenceRequest>,
    ) -> Result<Response<proto::Silence>, Status> {
        let request = request.into_inner();
        let saved = self.0.put_silence(given(request.silence)?, Expected::Absent, request.dry_run).await;
        Ok(Response::new(view(&saved.map_err(|error| status(&error))?)))
    }

    async fn update_silence(
        &self,
        request: Request<proto::UpdateSilenceRequest>,
    ) -> Result<Response<proto::Silence>, Status> {
        let request = request.into_inner();
        let saved = self.0.put_silence(given(request.silence)?, Expected::Present, request.dry_run).await;
        Ok(Response::new(view(&saved.map_err(|error| status(&error))?)))
    }

    async fn expire_silence(
        &self,
        request: Request<proto::ExpireSilenceRequest>,
    ) -> Result<Response<proto::Silence>, Status> {
        let expired = self.0.expire_silence(&request.into_inner().id).await.map_err(|error| status(&error))?;
        Ok(Response::new(view(&expired)))
    }

    async fn preview_silence(
        &self,
        request: Request<proto::PreviewSilenceRequest>,
    ) -> Result<Response<proto::PreviewSilenceResponse>, Status> {
        let matchers = read_matchers(request.into_inner().matchers)?;
        let alerts = self.0.preview(&matchers).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::PreviewSilenceResponse { alerts: alerts.iter().map(alerts::view).collect() }))
    }
}
