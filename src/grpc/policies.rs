//! `PolicyService`: policies as people write them; the stream that instances watch is in `policy_watch`.

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{bad_field, refusal, timestamp};
use super::policy_watch;
use super::policy_words::{read, stored, written};
use crate::model::{PolicyChange, StoredPolicy};
use crate::policy::{Policies, PolicyError, PolicyRevision};
use crate::proto;
use crate::proto::policy_service_server::PolicyService;
use crate::storage::{Change, Expected};

/// The service.
pub(super) struct PolicyDesk {
    policies: Arc<Policies>,
    watchers: policy_watch::Watchers,
}

impl PolicyDesk {
    pub(super) fn new(policies: Arc<Policies>) -> Self {
        Self { watchers: policy_watch::Watchers::new(Arc::clone(&policies)), policies }
    }
}

/// An error as a status.
pub(super) fn status(error: &PolicyError) -> Status {
    let violations: Vec<(&str, &str)> = match error {
        PolicyError::Invalid(violations) => violations.iter().map(|v| (v.field.as_ref(), v.what.as_ref())).collect(),
        _ => Vec::new(),
    };
    refusal(error, error.code(), &violations)
}

const fn change(author: String, reason: String) -> Change {
    Change { author, reason }
}

/// What must be there: that revision, or anything that is.
pub(super) const fn expected(revision: i64) -> Expected {
    if revision == 0 { Expected::Present } else { Expected::Revision(revision) }
}

fn told(changes: Vec<PolicyChange>) -> Vec<proto::PolicyChange> {
    let change = |PolicyChange { field, before, after }| proto::PolicyChange { field, before, after };
    changes.into_iter().map(change).collect()
}

fn revision(revision: PolicyRevision) -> proto::PolicyRevision {
    proto::PolicyRevision {
        revision: revision.revision,
        policy: Some(written(&revision.policy)),
        author: revision.author,
        reason: revision.reason,
        deleted: revision.deleted,
        created_at: Some(timestamp(revision.created_at)),
        changes: told(revision.changes),
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn answer(kept: Result<StoredPolicy, PolicyError>) -> Answer<proto::Policy> {
    kept.map(|kept| Response::new(stored(&kept))).map_err(|error| status(&error))
}

#[tonic::async_trait]
impl PolicyService for PolicyDesk {
    async fn list_policies(
        &self,
        _request: Request<proto::ListPoliciesRequest>,
    ) -> Answer<proto::ListPoliciesResponse> {
        let policies = self.policies.list().await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListPoliciesResponse { policies: policies.iter().map(stored).collect() }))
    }

    async fn get_policy(&self, request: Request<proto::GetPolicyRequest>) -> Answer<proto::Policy> {
        let request = request.into_inner();
        if request.revision == 0 {
            return answer(self.policies.one(&request.id).await);
        }
        let was = self.policies.as_of(&request.id, request.revision).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::Policy { revision: request.revision, ..written(&was) }))
    }

    async fn create_policy(&self, request: Request<proto::CreatePolicyRequest>) -> Answer<proto::Policy> {
        let request = request.into_inner();
        let policy = read(request.policy)?;
        if request.dry_run {
            policy.check().map_err(|violations| status(&violations.into()))?;
            return Ok(Response::new(written(&policy)));
        }
        answer(self.policies.put(&policy, &change(request.author, request.reason), Expected::Absent).await)
    }

    async fn update_policy(&self, request: Request<proto::UpdatePolicyRequest>) -> Answer<proto::Policy> {
        let request = request.into_inner();
        let policy = read(request.policy)?;
        if request.dry_run {
            policy.check().map_err(|violations| status(&violations.into()))?;
            return Ok(Response::new(written(&policy)));
        }
        let change = change(request.author, request.reason);
        answer(self.policies.put(&policy, &change, expected(request.revision)).await)
    }

    async fn delete_policy(&self, request: Request<proto::DeletePolicyRequest>) -> Answer<proto::DeletePolicyResponse> {
        let request = request.into_inner();
        let deleted = if request.dry_run {
            self.policies.one(&request.id).await.map(drop)
        } else {
            let change = change(request.author, request.reason);
            self.policies.delete(&request.id, &change, expected(request.revision)).await
        };
        deleted.map_err(|error| status(&error))?;
        Ok(Response::new(proto::DeletePolicyResponse {}))
    }

    async fn list_policy_revisions(
        &self,
        request: Request<proto::ListPolicyRevisionsRequest>,
    ) -> Answer<proto::ListPolicyRevisionsResponse> {
        let revisions = self.policies.revisions(&request.into_inner().id).await.map_err(|error| status(&error))?;
        let revisions = revisions.into_iter().map(revision).collect();
        Ok(Response::new(proto::ListPolicyRevisionsResponse { revisions }))
    }

    async fn diff_policy(&self, request: Request<proto::DiffPolicyRequest>) -> Answer<proto::DiffPolicyResponse> {
        let request = request.into_inner();
        let edit = request.edit.map(|edit| read(Some(edit))).transpose()?;
        let changes = self.policies.diff(&request.id, request.from_revision, edit.as_ref()).await;
        let changes = told(changes.map_err(|error| status(&error))?);
        Ok(Response::new(proto::DiffPolicyResponse { changes }))
    }

    async fn revert_policy(&self, request: Request<proto::RevertPolicyRequest>) -> Answer<proto::Policy> {
        let request = request.into_inner();
        if request.to_revision <= 0 {
            return Err(bad_field("to_revision", "must be a revision, which are counted from 1"));
        }
        let policy = self.policies.as_of(&request.id, request.to_revision).await.map_err(|error| status(&error))?;
        if request.dry_run {
            return Ok(Response::new(written(&policy)));
        }
        // One that was deleted may come back this way.
        let expected = if request.revision == 0 { Expected::Anything } else { Expected::Revision(request.revision) };
        answer(self.policies.put(&policy, &change(request.author, request.reason), expected).await)
    }

    type WatchStream = ReceiverStream<Result<proto::WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<proto::WatchRequest>>) -> Answer<Self::WatchStream> {
        Ok(Response::new(self.watchers.open(request.into_inner()).await?))
    }
}
