//! `/api/rollouts`: revisions on their way through the fleet.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::overrides::OfPolicy;
use super::policies::ChangeQuery;
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::model::{GuardReading, Policy, RolloutGuard, RolloutStage, RolloutState};
use crate::policy::{Policies, Rollout, WantedMove, WantedRollout};
use crate::storage::Expected;

/// A rollout as somebody wants it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StartRollout {
    /// The policy as it is to be.
    policy: Policy,
    /// 1 %, 10 %, 50 %, 100 % of 10 min each when left out.
    #[serde(default)]
    stages: Vec<RolloutStage>,
    #[serde(default)]
    guards: Vec<RolloutGuard>,
}

/// A rollout that would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckedRollout {
    policy: Policy,
    from_revision: i64,
    stages: Vec<RolloutStage>,
    guards: Vec<RolloutGuard>,
}

/// A rollout.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RolloutView {
    id: String,
    policy_id: String,
    from_revision: i64,
    to_revision: i64,
    stages: Vec<RolloutStage>,
    guards: Vec<RolloutGuard>,
    state: RolloutState,
    /// Counted from 0.
    stage: i32,
    /// Who started it, or moved it last; `guards` when it moved by itself.
    author: String,
    /// Why it is where it is.
    reason: String,
    started_at: DateTime<Utc>,
    stage_started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    /// Connected instances that run the new revision; 0 in lists and when it has ended.
    canary_instances: u64,
    /// Connected instances that the policy is for.
    instances: u64,
    /// The last look at each guard.
    readings: Vec<GuardReading>,
}

impl From<Rollout> for RolloutView {
    fn from(of: Rollout) -> Self {
        let Rollout { row, state, stages, guards, readings, canary_instances, instances } = of;
        Self {
            id: row.id,
            policy_id: row.policy_id,
            from_revision: row.from_revision,
            to_revision: row.to_revision,
            stages,
            guards,
            state,
            stage: row.stage,
            author: row.author,
            reason: row.reason,
            started_at: row.started_at,
            stage_started_at: row.stage_started_at,
            ended_at: row.ended_at,
            canary_instances,
            instances,
            readings,
        }
    }
}

/// Starts a rollout: the next revision goes to the first stage only; with `dryRun` it is only checked.
#[utoipa::path(
    post,
    path = "/api/rollouts",
    operation_id = "startRollout",
    tag = "policies",
    params(ChangeQuery),
    request_body = StartRollout,
    responses((status = 201, body = RolloutView), (status = 200, description = "checked", body = CheckedRollout), Refused)
)]
pub(super) async fn start(
    State(policies): State<Arc<Policies>>,
    Query(query): Query<ChangeQuery>,
    Body(body): Body<StartRollout>,
) -> Result<Response, Problem> {
    let StartRollout { policy, stages, guards } = body;
    let mut wanted = WantedRollout { policy, stages, guards, change: query.change() };
    if query.dry_run {
        let from_revision = policies.try_rollout(&mut wanted).await?.revision;
        let WantedRollout { policy, stages, guards, .. } = wanted;
        return Ok(typed(&CheckedRollout { policy, from_revision, stages, guards }));
    }
    let expected = query.revision().map_or(Expected::Present, Expected::Revision);
    let started = policies.start_rollout(wanted, expected).await?;
    Ok((StatusCode::CREATED, typed(&RolloutView::from(started))).into_response())
}

/// The last hundred rollouts of a policy, or of all, the newest first.
#[utoipa::path(get, path = "/api/rollouts", operation_id = "listRollouts", tag = "policies", params(OfPolicy), responses((status = 200, body = Vec<RolloutView>)))]
pub(super) async fn list(
    State(policies): State<Arc<Policies>>,
    Query(of): Query<OfPolicy>,
) -> Result<Response, Problem> {
    let rollouts = policies.rollouts(&of.policy).await?;
    Ok(typed(&rollouts.into_iter().map(RolloutView::from).collect::<Vec<_>>()))
}

/// One rollout.
#[utoipa::path(
    get,
    path = "/api/rollouts/{rollout}",
    operation_id = "getRollout",
    tag = "policies",
    params(("rollout" = String, Path, description = "its id")),
    responses((status = 200, body = RolloutView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn one(State(policies): State<Arc<Policies>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(typed(&RolloutView::from(policies.rollout(&id).await?)))
}

/// Where a rollout is to go.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Move {
    /// It stays at its stage until resumed.
    Pause,
    /// It goes on; the stage's bake time begins again.
    Resume,
    /// To the next stage now; from the last it is done.
    Promote,
    /// Everybody has the revision from before.
    Rollback,
}

/// Pauses, resumes, promotes or rolls back.
#[utoipa::path(
    post,
    path = "/api/rollouts/{rollout}/{move}",
    operation_id = "moveRollout",
    tag = "policies",
    params(("rollout" = String, Path, description = "its id"), ("move" = inline(Move), Path, description = "where to"), ChangeQuery),
    responses((status = 200, body = RolloutView), Refused)
)]
pub(super) async fn go(
    State(policies): State<Arc<Policies>>,
    Path((id, to)): Path<(String, Move)>,
    Query(query): Query<ChangeQuery>,
) -> Result<Response, Problem> {
    let to = match to {
        Move::Pause => WantedMove::Pause,
        Move::Resume => WantedMove::Resume,
        Move::Promote => WantedMove::Promote,
        Move::Rollback => WantedMove::RollBack,
    };
    Ok(typed(&RolloutView::from(policies.move_rollout(&id, to, &query.change()).await?)))
}
