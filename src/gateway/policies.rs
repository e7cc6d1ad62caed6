//! `/api/policies`: how caches and batchers of services behave, as people write it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{Body, expected, read, revised};
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::model::{Policy, PolicyChange, StoredPolicy};
use crate::policy::{Policies, PolicyRevision};
use crate::storage::{Change, Expected};

/// What a policy's answer has beside what was written; taken off a body that was read and sent back.
const READ_ONLY: &[&str] = &["revision", "author", "reason", "createdAt", "updatedAt"];

/// Parameters of a change.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct ChangeQuery {
    /// Only check.
    #[serde(default)]
    pub(super) dry_run: bool,
    /// The revision that it replaces.
    revision: Option<i64>,
    /// Who.
    #[serde(default)]
    author: String,
    /// Why.
    #[serde(default)]
    reason: String,
}

impl ChangeQuery {
    pub(super) const fn revision(&self) -> Option<i64> {
        self.revision
    }

    pub(super) fn change(&self) -> Change {
        Change { author: self.author.clone(), reason: self.reason.clone() }
    }
}

/// A policy as it was written, and who wrote it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PolicyView {
    #[serde(flatten)]
    policy: Policy,
    /// Grows by one at each accepted change.
    revision: i64,
    /// Who made this revision.
    author: String,
    /// And why.
    reason: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<StoredPolicy> for PolicyView {
    fn from(of: StoredPolicy) -> Self {
        let StoredPolicy { policy, revision, author, reason, created_at, updated_at } = of;
        Self { policy, revision, author, reason, created_at, updated_at }
    }
}

/// One revision of a policy.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PolicyRevisionView {
    revision: i64,
    policy: Policy,
    author: String,
    reason: String,
    /// It was the end of the policy.
    deleted: bool,
    created_at: DateTime<Utc>,
    /// Against the revision before.
    changes: Vec<PolicyChange>,
}

impl From<PolicyRevision> for PolicyRevisionView {
    fn from(of: PolicyRevision) -> Self {
        let PolicyRevision { revision, policy, author, reason, deleted, created_at, changes } = of;
        Self { revision, policy, author, reason, deleted, created_at, changes }
    }
}

fn answer(status: StatusCode, policy: StoredPolicy) -> Response {
    revised(status, policy.revision, &PolicyView::from(policy))
}

/// The policy of a body, and the revision that was seen.
fn written(mut body: Map<String, Value>) -> Result<(Policy, Option<i64>), Problem> {
    let revision = body.get("revision").and_then(Value::as_i64);
    body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    Ok((read(Value::Object(body))?, revision))
}

/// Every policy, by id.
#[utoipa::path(get, path = "/api/policies", operation_id = "listPolicies", tag = "policies", responses((status = 200, body = Vec<PolicyView>)))]
pub(super) async fn list(State(policies): State<Arc<Policies>>) -> Result<Response, Problem> {
    Ok(typed(&policies.list().await?.into_iter().map(PolicyView::from).collect::<Vec<_>>()))
}

/// One policy; its revision is the `ETag`.
#[utoipa::path(
    get,
    path = "/api/policies/{policy}",
    operation_id = "getPolicy",
    tag = "policies",
    params(("policy" = String, Path, description = "the policy's id")),
    responses((status = 200, body = PolicyView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn one(State(policies): State<Arc<Policies>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, policies.one(&id).await?))
}

/// Makes a policy; with `dryRun` it is only checked.
#[utoipa::path(
    post,
    path = "/api/policies",
    operation_id = "createPolicy",
    tag = "policies",
    params(ChangeQuery),
    request_body = Policy,
    responses((status = 201, body = PolicyView), (status = 200, description = "checked", body = Policy), Refused)
)]
pub(super) async fn create(
    State(policies): State<Arc<Policies>>,
    Query(query): Query<ChangeQuery>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (policy, _) = written(body)?;
    if query.dry_run {
        policy.check()?;
        return Ok(typed(&policy));
    }
    Ok(answer(StatusCode::CREATED, policies.put(&policy, &query.change(), Expected::Absent).await?))
}

/// Replaces a policy.
#[utoipa::path(
    put,
    path = "/api/policies/{policy}",
    operation_id = "replacePolicy",
    tag = "policies",
    params(("policy" = String, Path, description = "the policy's id"), ChangeQuery),
    request_body = Policy,
    responses((status = 200, body = PolicyView), Refused)
)]
pub(super) async fn replace(
    State(policies): State<Arc<Policies>>,
    Path(id): Path<String>,
    Query(query): Query<ChangeQuery>,
    headers: HeaderMap,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (policy, revision) = written(body)?;
    if policy.id != id {
        return Err(Problem::parameter("id", format!("id: {:?} is not the {id:?} of the path", policy.id)));
    }
    if query.dry_run {
        policy.check()?;
        return Ok(typed(&policy));
    }
    let expected = expected(&headers, query.revision.or(revision))?;
    Ok(answer(StatusCode::OK, policies.put(&policy, &query.change(), expected).await?))
}

/// Ends a policy; its revisions stay.
#[utoipa::path(
    delete,
    path = "/api/policies/{policy}",
    operation_id = "deletePolicy",
    tag = "policies",
    params(("policy" = String, Path, description = "the policy's id"), ChangeQuery),
    responses((status = 204), Refused)
)]
pub(super) async fn delete(
    State(policies): State<Arc<Policies>>,
    Path(id): Path<String>,
    Query(query): Query<ChangeQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    if query.dry_run {
        policies.one(&id).await?;
    } else {
        policies.delete(&id, &query.change(), expected(&headers, query.revision)?).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Every revision of a policy: who, when, why, and what changed.
#[utoipa::path(
    get,
    path = "/api/policies/{policy}/revisions",
    operation_id = "listPolicyRevisions",
    tag = "policies",
    params(("policy" = String, Path, description = "the policy's id")),
    responses((status = 200, body = Vec<PolicyRevisionView>), (status = 404, body = ProblemDocument))
)]
pub(super) async fn revisions(
    State(policies): State<Arc<Policies>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let revisions = policies.revisions(&id).await?;
    Ok(typed(&revisions.into_iter().map(PolicyRevisionView::from).collect::<Vec<_>>()))
}

/// What is compared.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Compared {
    /// The newest when 0.
    #[serde(default)]
    from_revision: i64,
    /// The newest revision when left out.
    edit: Option<Policy>,
}

/// What differs between a revision and the newest, or an edit.
#[utoipa::path(
    post,
    path = "/api/policies/{policy}/diff",
    operation_id = "diffPolicy",
    tag = "policies",
    params(("policy" = String, Path, description = "the policy's id")),
    request_body = Compared,
    responses((status = 200, body = Vec<PolicyChange>), Refused)
)]
pub(super) async fn diff(
    State(policies): State<Arc<Policies>>,
    Path(id): Path<String>,
    Body(compared): Body<Compared>,
) -> Result<Response, Problem> {
    Ok(typed(&policies.diff(&id, compared.from_revision, compared.edit.as_ref()).await?))
}

/// Which revision is to be the newest again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevertPolicy {
    revision: i64,
}

/// Makes an old revision the newest again.
#[utoipa::path(
    post,
    path = "/api/policies/{policy}/revert",
    operation_id = "revertPolicy",
    tag = "policies",
    params(("policy" = String, Path, description = "the policy's id"), ChangeQuery),
    request_body = RevertPolicy,
    responses((status = 200, body = PolicyView), Refused)
)]
pub(super) async fn revert(
    State(policies): State<Arc<Policies>>,
    Path(id): Path<String>,
    Query(query): Query<ChangeQuery>,
    headers: HeaderMap,
    Body(revert): Body<RevertPolicy>,
) -> Result<Response, Problem> {
    let policy = policies.as_of(&id, revert.revision).await?;
    if query.dry_run {
        return Ok(typed(&policy));
    }
    let expected = match expected(&headers, query.revision)? {
        // One that was deleted may come back this way.
        Expected::Present => Expected::Anything,
        other => other,
    };
    Ok(answer(StatusCode::OK, policies.put(&policy, &query.change(), expected).await?))
}
