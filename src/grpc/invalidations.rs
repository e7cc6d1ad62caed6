//! `InvalidationService`: entries made invalid, and how far that has come.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::timestamp;
use super::policies::status;
use crate::model::InvalidationTargets;
use crate::policy::{Invalidation, Policies};
use crate::proto;
use crate::proto::invalidation_service_server::InvalidationService;
use crate::storage::Change;

/// The service.
pub(super) struct Invalidations(pub(super) Arc<Policies>);

fn told(of: Invalidation) -> proto::InvalidationStatus {
    let converged_after = of.converged_after().and_then(|after| prost_types::Duration::try_from(after).ok());
    let InvalidationTargets { keys, tags, prefixes, all } = of.targets;
    proto::InvalidationStatus {
        sequence: of.row.sequence,
        service: of.row.service,
        key_space: of.row.key_space,
        keys,
        tags,
        prefixes,
        all,
        author: of.row.author,
        reason: of.row.reason,
        created_at: Some(timestamp(of.row.created_at)),
        converged: of.row.converged_at.is_some(),
        converged_after,
        acknowledged: of.acknowledged,
        waiting: of.waiting,
    }
}

#[tonic::async_trait]
impl InvalidationService for Invalidations {
    async fn invalidate(
        &self,
        request: Request<proto::InvalidateRequest>,
    ) -> Result<Response<proto::InvalidationStatus>, Status> {
        let proto::InvalidateRequest { service, key_space, keys, tags, prefixes, all, author, reason } =
            request.into_inner();
        let targets = InvalidationTargets { keys, tags, prefixes, all };
        let made = self.0.invalidate((service, key_space), &targets, Change { author, reason }).await;
        Ok(Response::new(told(made.map_err(|error| status(&error))?)))
    }

    async fn get_invalidation(
        &self,
        request: Request<proto::GetInvalidationRequest>,
    ) -> Result<Response<proto::InvalidationStatus>, Status> {
        let found = self.0.invalidation(request.into_inner().sequence).await;
        Ok(Response::new(told(found.map_err(|error| status(&error))?)))
    }

    async fn list_invalidations(
        &self,
        request: Request<proto::ListInvalidationsRequest>,
    ) -> Result<Response<proto::ListInvalidationsResponse>, Status> {
        let newest = self.0.invalidations(request.into_inner().limit).await.map_err(|error| status(&error))?;
        let invalidations = newest.into_iter().map(told).collect();
        Ok(Response::new(proto::ListInvalidationsResponse { invalidations }))
    }
}
