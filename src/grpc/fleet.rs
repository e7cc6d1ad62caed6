//! `FleetService`: which instance runs what, and keys that are loaded before they are asked for.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::timestamp;
use super::policies::status;
use crate::policy::{FleetInstance, InstancePolicy, Policies, WarmedInstance, Warming};
use crate::proto;
use crate::proto::fleet_service_server::FleetService;

/// The service.
pub(super) struct Fleet(pub(super) Arc<Policies>);

fn instance(of: FleetInstance) -> proto::Instance {
    let policy = |of: InstancePolicy| proto::InstancePolicy {
        policy_id: of.policy_id,
        assigned: of.assigned,
        running: of.running.revision,
        error: of.running.error,
        canary: of.running.canary,
        override_id: of.running.override_id,
    };
    proto::Instance {
        service: of.row.service,
        instance: of.row.instance,
        version: of.row.version,
        labels: of.labels.into_iter().collect(),
        sdk: of.row.sdk,
        connected: of.row.connected,
        first_seen_at: Some(timestamp(of.row.first_seen_at)),
        last_seen_at: Some(timestamp(of.row.last_seen_at)),
        policies: of.policies.into_iter().map(policy).collect(),
        invalidation: of.row.invalidation,
    }
}

fn warming(Warming { id, key_space, keys, created_at, instances }: Warming) -> proto::Warming {
    let warmed = |of: WarmedInstance| proto::WarmedInstance {
        service: of.service,
        instance: of.instance,
        done: of.loaded.is_some(),
        loaded: of.loaded.unwrap_or_default().unsigned_abs(),
        failed: of.failed.unsigned_abs(),
    };
    let instances = instances.into_iter().map(warmed).collect();
    proto::Warming { id, instances, key_space, keys, created_at: Some(timestamp(created_at)) }
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn list_instances(
        &self,
        request: Request<proto::ListInstancesRequest>,
    ) -> Result<Response<proto::ListInstancesResponse>, Status> {
        let request = request.into_inner();
        let fleet = self.0.fleet(&request.service, request.behind).await.map_err(|error| status(&error))?;
        let instances = fleet.into_iter().map(instance).collect();
        Ok(Response::new(proto::ListInstancesResponse { instances }))
    }

    async fn warm(&self, request: Request<proto::WarmRequest>) -> Result<Response<proto::WarmResponse>, Status> {
        let request = request.into_inner();
        let asked = self.0.warm(&request.service, &request.key_space, &request.keys).await;
        let (id, instances) = asked.map_err(|error| status(&error))?;
        Ok(Response::new(proto::WarmResponse { id, instances: instances as u64 }))
    }

    async fn get_warming(
        &self,
        request: Request<proto::GetWarmingRequest>,
    ) -> Result<Response<proto::Warming>, Status> {
        let found = self.0.warming(&request.into_inner().id).await.map_err(|error| status(&error))?;
        Ok(Response::new(warming(found)))
    }

    async fn list_warmings(
        &self,
        request: Request<proto::ListWarmingsRequest>,
    ) -> Result<Response<proto::ListWarmingsResponse>, Status> {
        let newest = self.0.warmings(request.into_inner().limit).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::ListWarmingsResponse { warmings: newest.into_iter().map(warming).collect() }))
    }
}
