//! The admin services of `fastbreak.v1`: one file a service.
//!
//! Layer 7, beside the gateway and never naming it. A service reads its request, asks the rooms below, and answers; what
//! goes wrong is a status with `google.rpc` details.

mod alerts;
mod convert;
mod fleet;
mod invalidations;
mod metrics;
mod overrides;
mod policies;
mod policy_watch;
mod policy_words;
mod receivers;
mod rollouts;
mod rules;
mod silences;
mod system;
mod traces;

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tonic::service::Routes;

use crate::alerting::Alerting;
use crate::notify::Notifier;
use crate::policy::Policies;
use crate::proto::alert_service_server::AlertServiceServer;
use crate::proto::fleet_service_server::FleetServiceServer;
use crate::proto::invalidation_service_server::InvalidationServiceServer;
use crate::proto::metrics_service_server::MetricsServiceServer;
use crate::proto::override_service_server::OverrideServiceServer;
use crate::proto::policy_service_server::PolicyServiceServer;
use crate::proto::receiver_service_server::ReceiverServiceServer;
use crate::proto::rollout_service_server::RolloutServiceServer;
use crate::proto::rule_service_server::RuleServiceServer;
use crate::proto::silence_service_server::SilenceServiceServer;
use crate::proto::system_service_server::SystemServiceServer;
use crate::proto::trace_service_server::TraceServiceServer;
use crate::query::Engine;
use crate::rollup::Streams;
use crate::traces::Traces;

/// The services served here, by full name.
pub const SERVICES: &[&str] = &[
    "fastbreak.v1.AlertService",
    "fastbreak.v1.FleetService",
    "fastbreak.v1.InvalidationService",
    "fastbreak.v1.MetricsService",
    "fastbreak.v1.OverrideService",
    "fastbreak.v1.PolicyService",
    "fastbreak.v1.ReceiverService",
    "fastbreak.v1.RolloutService",
    "fastbreak.v1.RuleService",
    "fastbreak.v1.SilenceService",
    "fastbreak.v1.SystemService",
    "fastbreak.v1.TraceService",
];

/// What the services may use.
pub struct Rooms {
    /// Dashboard and API.
    pub http: SocketAddr,
    /// OTLP/gRPC and these services.
    pub grpc: SocketAddr,
    /// OTLP/HTTP.
    pub otlp_http: SocketAddr,
    /// When this process started.
    pub started: DateTime<Utc>,
    /// Series and streams.
    pub streams: Arc<Streams>,
    /// The way to read measurements.
    pub engine: Arc<Engine>,
    /// Receivers and deliveries.
    pub notifier: Arc<Notifier>,
    /// Rules, alerts, silences.
    pub alerting: Arc<Alerting>,
    /// Policies.
    pub policies: Arc<Policies>,
    /// Kept traces.
    pub traces: Arc<Traces>,
}

/// Adds the services to `routes`.
#[must_use]
pub fn add_services(routes: Routes, rooms: Arc<Rooms>) -> Routes {
    let alerting = || Arc::clone(&rooms.alerting);
    let policies = || Arc::clone(&rooms.policies);
    routes
        .add_service(ReceiverServiceServer::new(receivers::Receivers(Arc::clone(&rooms))))
        .add_service(RuleServiceServer::new(rules::Rules(alerting())))
        .add_service(AlertServiceServer::new(alerts::Alerts(alerting())))
        .add_service(MetricsServiceServer::new(metrics::Metrics(Arc::clone(&rooms.engine))))
        .add_service(PolicyServiceServer::new(policies::PolicyDesk::new(policies())))
        .add_service(FleetServiceServer::new(fleet::Fleet(policies())))
        .add_service(InvalidationServiceServer::new(invalidations::Invalidations(policies())))
        .add_service(OverrideServiceServer::new(overrides::Overrides(policies())))
        .add_service(RolloutServiceServer::new(rollouts::Rollouts(policies())))
        .add_service(SilenceServiceServer::new(silences::Silences(alerting())))
        .add_service(TraceServiceServer::new(traces::TraceReader(Arc::clone(&rooms.traces))))
        .add_service(SystemServiceServer::new(system::System(rooms)))
}
