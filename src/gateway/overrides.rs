//! `/api/overrides`: temporary changes of policies, each under a lease.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::policies::ChangeQuery;
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::model::{Adjustment, HeldOverride, Period, Policy};
use crate::policy::{EndedOverride, Override, Policies, WantedOverride};

/// A temporary change as somebody wants it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PutOverride {
    /// Names it; the same again renews it. Made when left out.
    #[serde(default)]
    id: String,
    policy_id: String,
    /// Within the policy's bounds.
    adjustment: Adjustment,
    /// From now on, or from the renewal; 1 min by default.
    lease: Option<Period>,
}

/// A temporary change of a policy.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OverrideView {
    id: String,
    policy_id: String,
    adjustment: Adjustment,
    lease: Option<Period>,
    author: String,
    reason: String,
    /// The rule that holds it, when one does.
    rule_id: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    /// What the policy is under it alone.
    effective: Policy,
}

impl From<Override> for OverrideView {
    fn from(of: Override) -> Self {
        let Override { row, adjustment, effective } = of;
        Self {
            id: row.id,
            policy_id: row.policy_id,
            adjustment,
            lease: Period::from_millis(row.lease_ms),
            author: row.author,
            reason: row.reason,
            rule_id: row.rule_id,
            created_at: row.created_at,
            expires_at: row.expires_at,
            effective,
        }
    }
}

/// A temporary change that was.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EndedOverrideView {
    id: String,
    policy_id: String,
    adjustment: Adjustment,
    author: String,
    reason: String,
    /// The rule that held it, when one did.
    rule_id: Option<String>,
    created_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    /// Who ended it; nobody, when its lease was over.
    end_author: String,
    end_reason: String,
}

impl From<EndedOverride> for EndedOverrideView {
    fn from(of: EndedOverride) -> Self {
        let EndedOverride { row, adjustment } = of;
        Self {
            id: row.override_id,
            policy_id: row.policy_id,
            adjustment,
            author: row.author,
            reason: row.reason,
            rule_id: row.rule_id,
            created_at: row.created_at,
            ended_at: row.ended_at,
            end_author: row.end_author,
            end_reason: row.end_reason,
        }
    }
}

/// Of which policy.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OfPolicy {
    /// Of all when left out.
    #[serde(default)]
    pub(super) policy: String,
}

/// The overrides whose lease runs, the oldest first.
#[utoipa::path(get, path = "/api/overrides", operation_id = "listOverrides", tag = "policies", params(OfPolicy), responses((status = 200, body = Vec<OverrideView>)))]
pub(super) async fn list(
    State(policies): State<Arc<Policies>>,
    Query(of): Query<OfPolicy>,
) -> Result<Response, Problem> {
    let running = policies.overrides(&of.policy).await?;
    Ok(typed(&running.into_iter().map(OverrideView::from).collect::<Vec<_>>()))
}

/// The last hundred overrides of a policy that have ended, the newest first.
#[utoipa::path(
    get,
    path = "/api/policies/{policy}/ended-overrides",
    operation_id = "listEndedOverrides",
    tag = "policies",
    params(("policy" = String, Path, description = "the policy's id")),
    responses((status = 200, body = Vec<EndedOverrideView>))
)]
pub(super) async fn ended(State(policies): State<Arc<Policies>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let were = policies.ended_overrides(&id).await?;
    Ok(typed(&were.into_iter().map(EndedOverrideView::from).collect::<Vec<_>>()))
}

/// Puts an override, or renews the one of that id; with `dryRun` it is only checked, and the policy under it shown.
#[utoipa::path(
    post,
    path = "/api/overrides",
    operation_id = "putOverride",
    tag = "policies",
    params(ChangeQuery),
    request_body = PutOverride,
    responses((status = 201, body = OverrideView), (status = 200, description = "checked", body = Policy), Refused)
)]
pub(super) async fn put(
    State(policies): State<Arc<Policies>>,
    Query(query): Query<ChangeQuery>,
    Body(body): Body<PutOverride>,
) -> Result<Response, Problem> {
    let PutOverride { id, policy_id, adjustment, lease } = body;
    let lease = lease.unwrap_or(HeldOverride::LEASE);
    let wanted = WantedOverride { id, policy_id, adjustment, lease, rule_id: None, change: query.change() };
    if query.dry_run {
        return Ok(typed(&policies.try_override(&wanted).await?));
    }
    Ok((StatusCode::CREATED, typed(&OverrideView::from(policies.put_override(wanted).await?))).into_response())
}

/// Ends an override now.
#[utoipa::path(
    delete,
    path = "/api/overrides/{override}",
    operation_id = "endOverride",
    tag = "policies",
    params(("override" = String, Path, description = "its id"), ChangeQuery),
    responses((status = 204), (status = 404, body = ProblemDocument))
)]
pub(super) async fn end(
    State(policies): State<Arc<Policies>>,
    Path(id): Path<String>,
    Query(query): Query<ChangeQuery>,
) -> Result<StatusCode, Problem> {
    policies.end_override(&id, &query.change()).await?;
    Ok(StatusCode::NO_CONTENT)
}
