//! `RolloutService`: revisions on their way through the fleet.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::{duration, period, timestamp};
use super::policies::{expected, status};
use super::policy_words::read;
use crate::model::{GuardAction, GuardReading, RolloutGuard, RolloutStage, RolloutState};
use crate::policy::{Policies, PolicyError, Rollout, WantedMove, WantedRollout};
use crate::proto;
use crate::proto::rollout_service_server::RolloutService;
use crate::storage::Change;

/// The service.
pub(super) struct Rollouts(pub(super) Arc<Policies>);

fn stage(of: &RolloutStage) -> proto::RolloutStage {
    let labels = of.labels.clone().into_iter().collect();
    proto::RolloutStage { percent: of.percent, labels, bake: Some(duration(of.bake)) }
}

fn read_stage((n, given): (usize, proto::RolloutStage)) -> Result<RolloutStage, Status> {
    let bake = period(&format!("stages[{n}].bake"), given.bake)?.unwrap_or(RolloutStage::BAKE);
    Ok(RolloutStage { percent: given.percent, labels: given.labels.into_iter().collect(), bake })
}

fn guard(of: &RolloutGuard) -> proto::RolloutGuard {
    let action = match of.action {
        GuardAction::RollBack => proto::GuardAction::RollBack,
        GuardAction::Pause => proto::GuardAction::Pause,
    };
    proto::RolloutGuard {
        name: of.name.clone(),
        query: of.query.clone(),
        max_ratio: of.max_ratio,
        min_ratio: of.min_ratio,
        max_value: of.max_value,
        min_value: of.min_value,
        hold_for: Some(duration(of.hold_for)),
        action: action.into(),
    }
}

fn read_guard((n, given): (usize, proto::RolloutGuard)) -> Result<RolloutGuard, Status> {
    let hold_for = period(&format!("guards[{n}].hold_for"), given.hold_for)?.unwrap_or_default();
    let action = match given.action() {
        proto::GuardAction::Unspecified | proto::GuardAction::RollBack => GuardAction::RollBack,
        proto::GuardAction::Pause => GuardAction::Pause,
    };
    let proto::RolloutGuard { name, query, max_ratio, min_ratio, max_value, min_value, .. } = given;
    Ok(RolloutGuard { name, query, max_ratio, min_ratio, max_value, min_value, hold_for, action })
}

fn reading(of: GuardReading) -> proto::GuardReading {
    let GuardReading { guard, at, canary, control, broken, error, .. } = of;
    proto::GuardReading { guard, at: Some(timestamp(at)), canary, control, broken, error }
}

fn told(of: Rollout) -> proto::Rollout {
    let state = match of.state {
        RolloutState::Running => proto::RolloutState::Running,
        RolloutState::Paused => proto::RolloutState::Paused,
        RolloutState::Done => proto::RolloutState::Done,
        RolloutState::RolledBack => proto::RolloutState::RolledBack,
    };
    proto::Rollout {
        id: of.row.id,
        policy_id: of.row.policy_id,
        from_revision: of.row.from_revision,
        to_revision: of.row.to_revision,
        stages: of.stages.iter().map(stage).collect(),
        guards: of.guards.iter().map(guard).collect(),
        state: state.into(),
        stage: of.row.stage.unsigned_abs(),
        started_at: Some(timestamp(of.row.started_at)),
        stage_started_at: Some(timestamp(of.row.stage_started_at)),
        ended_at: of.row.ended_at.map(timestamp),
        reason: of.row.reason,
        author: of.row.author,
        canary_instances: of.canary_instances,
        instances: of.instances,
        readings: of.readings.into_iter().map(reading).collect(),
    }
}

type Answer = Result<Response<proto::Rollout>, Status>;

fn answer(rollout: Result<Rollout, PolicyError>) -> Answer {
    rollout.map(|rollout| Response::new(told(rollout))).map_err(|error| status(&error))
}

impl Rollouts {
    async fn go(&self, request: Request<proto::MoveRolloutRequest>, to: WantedMove) -> Answer {
        let proto::MoveRolloutRequest { id, author, reason } = request.into_inner();
        answer(self.0.move_rollout(&id, to, &Change { author, reason }).await)
    }
}

#[tonic::async_trait]
impl RolloutService for Rollouts {
    async fn start_rollout(&self, request: Request<proto::StartRolloutRequest>) -> Answer {
        let request = request.into_inner();
        let mut wanted = WantedRollout {
            policy: read(request.policy)?,
            stages: request.stages.into_iter().enumerate().map(read_stage).collect::<Result<_, _>>()?,
            guards: request.guards.into_iter().enumerate().map(read_guard).collect::<Result<_, _>>()?,
            change: Change { author: request.author, reason: request.reason },
        };
        if request.dry_run {
            let standing = self.0.try_rollout(&mut wanted).await.map_err(|error| status(&error))?;
            return Ok(Response::new(proto::Rollout {
                policy_id: wanted.policy.id.clone(),
                from_revision: standing.revision,
                stages: wanted.stages.iter().map(stage).collect(),
                guards: wanted.guards.iter().map(guard).collect(),
                ..proto::Rollout::default()
            }));
        }
        answer(self.0.start_rollout(wanted, expected(request.revision)).await)
    }

    async fn get_rollout(&self, request: Request<proto::GetRolloutRequest>) -> Answer {
        answer(self.0.rollout(&request.into_inner().id).await)
    }

    async fn list_rollouts(
        &self,
        request: Request<proto::ListRolloutsRequest>,
    ) -> Result<Response<proto::ListRolloutsResponse>, Status> {
        let rollouts = self.0.rollouts(&request.into_inner().policy_id).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListRolloutsResponse { rollouts: rollouts.into_iter().map(told).collect() }))
    }

    async fn pause_rollout(&self, request: Request<proto::MoveRolloutRequest>) -> Answer {
        self.go(request, WantedMove::Pause).await
    }

    async fn resume_rollout(&self, request: Request<proto::MoveRolloutRequest>) -> Answer {
        self.go(request, WantedMove::Resume).await
    }

    async fn promote_rollout(&self, request: Request<proto::MoveRolloutRequest>) -> Answer {
        self.go(request, WantedMove::Promote).await
    }

    async fn roll_back_rollout(&self, request: Request<proto::MoveRolloutRequest>) -> Answer {
        self.go(request, WantedMove::RollBack).await
    }
}
