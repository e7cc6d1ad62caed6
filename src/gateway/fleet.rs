//! `/api/fleet`, `/api/invalidations`, `/api/warmings`: who runs what, entries made invalid, keys loaded ahead.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::model::InvalidationTargets;
use crate::policy::{FleetInstance, InstancePolicy, Invalidation, Policies, WarmedInstance, Warming};
use crate::storage::Change;

/// Which instances.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FleetQuery {
    /// Of this service; of all when left out.
    #[serde(default)]
    service: String,
    /// Only those that are connected and run something else than they should.
    #[serde(default)]
    behind: bool,
}

/// An instance of a service; one that was lost stays for a week.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InstanceView {
    service: String,
    /// `service.instance.id`.
    instance: String,
    version: String,
    labels: BTreeMap<String, String>,
    sdk: String,
    connected: bool,
    first_seen_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    policies: Vec<InstancePolicyView>,
    /// The last invalidation that it acknowledged.
    invalidation: i64,
}

/// A policy on an instance.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InstancePolicyView {
    policy_id: String,
    /// What it should run; 0: nothing.
    assigned: i64,
    /// What it runs, as it has answered; 0: nothing.
    running: i64,
    /// It is connected, and runs something else than it should, or has refused it.
    behind: bool,
    /// Why it did not take another.
    error: String,
    /// It is one of those that try a revision before the others.
    canary: bool,
    /// The overrides that it runs, joined by `+`.
    override_id: String,
}

impl From<FleetInstance> for InstanceView {
    fn from(of: FleetInstance) -> Self {
        let connected = of.row.connected;
        let policy = |of: InstancePolicy| InstancePolicyView {
            behind: connected && of.is_behind(),
            policy_id: of.policy_id,
            assigned: of.assigned,
            running: of.running.revision,
            error: of.running.error,
            canary: of.running.canary,
            override_id: of.running.override_id,
        };
        let FleetInstance { row, labels, policies } = of;
        Self {
            service: row.service,
            instance: row.instance,
            version: row.version,
            labels,
            sdk: row.sdk,
            connected: row.connected,
            first_seen_at: row.first_seen_at,
            last_seen_at: row.last_seen_at,
            policies: policies.into_iter().map(policy).collect(),
            invalidation: row.invalidation,
        }
    }
}

/// The instances that watch policies, by service and instance.
#[utoipa::path(get, path = "/api/fleet", operation_id = "listInstances", tag = "policies", params(FleetQuery), responses((status = 200, body = Vec<InstanceView>)))]
pub(super) async fn list(
    State(policies): State<Arc<Policies>>,
    Query(query): Query<FleetQuery>,
) -> Result<Response, Problem> {
    let fleet = policies.fleet(&query.service, query.behind).await?;
    Ok(typed(&fleet.into_iter().map(InstanceView::from).collect::<Vec<_>>()))
}

/// Entries that are to be made invalid.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Invalidate {
    /// A `*` stands for any characters; every service when left out.
    #[serde(default)]
    service: String,
    /// Alike.
    #[serde(default)]
    key_space: String,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    /// The whole key space.
    #[serde(default)]
    all: bool,
    /// Who.
    #[serde(default)]
    author: String,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// An invalidation, and how far it has come.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvalidationView {
    /// Grows by one with each, without gaps.
    sequence: i64,
    service: String,
    key_space: String,
    #[serde(flatten)]
    targets: InvalidationTargets,
    author: String,
    reason: String,
    created_at: DateTime<Utc>,
    /// No entry from before is read any more.
    converged: bool,
    /// Seconds until then.
    converged_after_s: Option<f64>,
    /// Instances that have acknowledged it; 0 in lists.
    acknowledged: u64,
    /// The first hundred instances that it waits for, as `service/instance`; none in lists.
    waiting: Vec<String>,
}

impl From<Invalidation> for InvalidationView {
    fn from(of: Invalidation) -> Self {
        let converged_after_s = of.converged_after().map(|after| after.as_secs_f64());
        let Invalidation { row, targets, acknowledged, waiting } = of;
        Self {
            sequence: row.sequence,
            service: row.service,
            key_space: row.key_space,
            targets,
            author: row.author,
            reason: row.reason,
            created_at: row.created_at,
            converged: row.converged_at.is_some(),
            converged_after_s,
            acknowledged,
            waiting,
        }
    }
}

/// Makes entries of caches invalid, everywhere, in order.
#[utoipa::path(
    post,
    path = "/api/invalidations",
    operation_id = "invalidate",
    tag = "policies",
    request_body = Invalidate,
    responses((status = 201, body = InvalidationView), Refused)
)]
pub(super) async fn invalidate(
    State(policies): State<Arc<Policies>>,
    Body(body): Body<Invalidate>,
) -> Result<Response, Problem> {
    let Invalidate { service, key_space, keys, tags, prefixes, all, author, reason } = body;
    let targets = InvalidationTargets { keys, tags, prefixes, all };
    let made = policies.invalidate((service, key_space), &targets, Change { author, reason }).await?;
    Ok((StatusCode::CREATED, typed(&InvalidationView::from(made))).into_response())
}

/// How many.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LimitQuery {
    /// 100 by default and at most 1 000.
    #[serde(default)]
    limit: u32,
}

/// The last invalidations, the newest first.
#[utoipa::path(get, path = "/api/invalidations", operation_id = "listInvalidations", tag = "policies", params(LimitQuery), responses((status = 200, body = Vec<InvalidationView>)))]
pub(super) async fn invalidations(
    State(policies): State<Arc<Policies>>,
    Query(query): Query<LimitQuery>,
) -> Result<Response, Problem> {
    let newest = policies.invalidations(query.limit).await?;
    Ok(typed(&newest.into_iter().map(InvalidationView::from).collect::<Vec<_>>()))
}

/// One invalidation, and whom it waits for.
#[utoipa::path(
    get,
    path = "/api/invalidations/{sequence}",
    operation_id = "getInvalidation",
    tag = "policies",
    params(("sequence" = i64, Path, description = "its number")),
    responses((status = 200, body = InvalidationView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn invalidation(
    State(policies): State<Arc<Policies>>,
    Path(sequence): Path<i64>,
) -> Result<Response, Problem> {
    Ok(typed(&InvalidationView::from(policies.invalidation(sequence).await?)))
}

/// Keys that are to be loaded before they are asked for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WarmKeys {
    /// A `*` stands for any characters; every service when left out.
    #[serde(default)]
    service: String,
    key_space: String,
    /// At most 10 000.
    keys: Vec<String>,
}

/// What came of a warming.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WarmingView {
    id: String,
    key_space: String,
    /// How many it was asked for.
    keys: u64,
    created_at: DateTime<Utc>,
    instances: Vec<WarmedView>,
}

/// On one instance.
#[derive(Serialize, ToSchema)]
struct WarmedView {
    service: String,
    instance: String,
    /// It has reported.
    done: bool,
    loaded: i64,
    failed: i64,
}

impl From<Warming> for WarmingView {
    fn from(Warming { id, key_space, keys, created_at, instances }: Warming) -> Self {
        let view = |of: WarmedInstance| WarmedView {
            service: of.service,
            instance: of.instance,
            done: of.loaded.is_some(),
            loaded: of.loaded.unwrap_or_default(),
            failed: of.failed,
        };
        Self { id, key_space, keys, created_at, instances: instances.into_iter().map(view).collect() }
    }
}

/// Has one instance of each service load keys.
#[utoipa::path(
    post,
    path = "/api/warmings",
    operation_id = "warm",
    tag = "policies",
    request_body = WarmKeys,
    responses((status = 201, body = WarmingView), Refused)
)]
pub(super) async fn warm(
    State(policies): State<Arc<Policies>>,
    Body(body): Body<WarmKeys>,
) -> Result<Response, Problem> {
    let (id, _) = policies.warm(&body.service, &body.key_space, &body.keys).await?;
    Ok((StatusCode::CREATED, typed(&WarmingView::from(policies.warming(&id).await?))).into_response())
}

/// The newest warmings, the newest first; they are known for a day.
#[utoipa::path(get, path = "/api/warmings", operation_id = "listWarmings", tag = "policies", params(LimitQuery), responses((status = 200, body = Vec<WarmingView>)))]
pub(super) async fn warmings(
    State(policies): State<Arc<Policies>>,
    Query(query): Query<LimitQuery>,
) -> Result<Response, Problem> {
    let newest = policies.warmings(query.limit).await?;
    Ok(typed(&newest.into_iter().map(WarmingView::from).collect::<Vec<_>>()))
}

/// What came of a warming.
#[utoipa::path(
    get,
    path = "/api/warmings/{warming}",
    operation_id = "getWarming",
    tag = "policies",
    params(("warming" = String, Path, description = "its id")),
    responses((status = 200, body = WarmingView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn warming(
    State(policies): State<Arc<Policies>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(typed(&WarmingView::from(policies.warming(&id).await?)))
}
