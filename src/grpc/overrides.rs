//! `OverrideService`: temporary changes of policies.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::{bad_field, duration, period, timestamp};
use super::policies::status;
use super::policy_words::written;
use crate::model::{Adjustment, Period};
use crate::policy::{EndedOverride, Override, Policies, WantedOverride};
use crate::proto;
use crate::proto::override_service_server::OverrideService;
use crate::storage::Change;

/// The service.
pub(super) struct Overrides(pub(super) Arc<Policies>);

/// An adjustment for people or their tools.
pub(super) fn adjustment(of: &Adjustment) -> proto::Adjustment {
    proto::Adjustment {
        ttl_factor: of.ttl_factor,
        serve_stale: of.serve_stale.map(duration),
        rate_factor: of.rate_factor,
        concurrency_factor: of.concurrency_factor,
    }
}

/// As somebody wants it; `field` is where it stands.
pub(super) fn read_adjustment(field: &str, given: Option<proto::Adjustment>) -> Result<Adjustment, Status> {
    let given = given.ok_or_else(|| bad_field(field, "must be given"))?;
    Ok(Adjustment {
        ttl_factor: given.ttl_factor,
        serve_stale: period(&format!("{field}.serve_stale"), given.serve_stale)?,
        rate_factor: given.rate_factor,
        concurrency_factor: given.concurrency_factor,
    })
}

fn told(of: Override) -> proto::Override {
    proto::Override {
        id: of.row.id,
        policy_id: of.row.policy_id,
        adjustment: Some(adjustment(&of.adjustment)),
        lease: Period::from_millis(of.row.lease_ms).map(duration),
        author: of.row.author,
        reason: of.row.reason,
        rule_id: of.row.rule_id.unwrap_or_default(),
        created_at: Some(timestamp(of.row.created_at)),
        expires_at: Some(timestamp(of.row.expires_at)),
        effective: Some(written(&of.effective)),
    }
}

fn ended(of: EndedOverride) -> proto::EndedOverride {
    proto::EndedOverride {
        id: of.row.override_id,
        policy_id: of.row.policy_id,
        adjustment: Some(adjustment(&of.adjustment)),
        rule_id: of.row.rule_id.unwrap_or_default(),
        author: of.row.author,
        reason: of.row.reason,
        created_at: Some(timestamp(of.row.created_at)),
        ended_at: Some(timestamp(of.row.ended_at)),
        end_author: of.row.end_author,
        end_reason: of.row.end_reason,
    }
}

#[tonic::async_trait]
impl OverrideService for Overrides {
    async fn put_override(
        &self,
        request: Request<proto::PutOverrideRequest>,
    ) -> Result<Response<proto::Override>, Status> {
        let proto::PutOverrideRequest { r#override: given, dry_run } = request.into_inner();
        let given = given.ok_or_else(|| bad_field("override", "must be given"))?;
        let lease =
            period("override.lease", given.lease)?.ok_or_else(|| bad_field("override.lease", "must be given"))?;
        let wanted = WantedOverride {
            id: given.id,
            policy_id: given.policy_id,
            adjustment: read_adjustment("override.adjustment", given.adjustment)?,
            lease,
            rule_id: None,
            change: Change { author: given.author, reason: given.reason },
        };
        if dry_run {
            let effective = self.0.try_override(&wanted).await.map_err(|error| status(&error))?;
            let WantedOverride { id, policy_id, adjustment: bend, lease, .. } = wanted;
            let adjustment = Some(adjustment(&bend));
            let (lease, effective) = (Some(duration(lease)), Some(written(&effective)));
            return Ok(Response::new(proto::Override {
                id,
                policy_id,
                adjustment,
                lease,
                effective,
                ..Default::default()
            }));
        }
        Ok(Response::new(told(self.0.put_override(wanted).await.map_err(|error| status(&error))?)))
    }

    async fn list_overrides(
        &self,
        request: Request<proto::ListOverridesRequest>,
    ) -> Result<Response<proto::ListOverridesResponse>, Status> {
        let running = self.0.overrides(&request.into_inner().policy_id).await.map_err(|error| status(&error))?;
        let overrides = running.into_iter().map(told).collect();
        Ok(Response::new(proto::ListOverridesResponse { overrides }))
    }

    async fn list_ended_overrides(
        &self,
        request: Request<proto::ListEndedOverridesRequest>,
    ) -> Result<Response<proto::ListEndedOverridesResponse>, Status> {
        let were = self.0.ended_overrides(&request.into_inner().policy_id).await.map_err(|error| status(&error))?;
        let overrides = were.into_iter().map(ended).collect();
        Ok(Response::new(proto::ListEndedOverridesResponse { overrides }))
    }

    async fn delete_override(
        &self,
        request: Request<proto::DeleteOverrideRequest>,
    ) -> Result<Response<proto::DeleteOverrideResponse>, Status> {
        let proto::DeleteOverrideRequest { id, author, reason } = request.into_inner();
        self.0.end_override(&id, &Change { author, reason }).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::DeleteOverrideResponse {}))
    }
}
