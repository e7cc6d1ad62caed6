//! `SystemService`.

use std::sync::Arc;
use std::time::SystemTime;

use tonic::{Request, Response, Status};

use super::Rooms;
use crate::proto::system_service_server::SystemService;
use crate::proto::{GetSystemInfoRequest, SystemInfo};

/// The service.
pub(super) struct System(pub(super) Arc<Rooms>);

#[tonic::async_trait]
impl SystemService for System {
    async fn get_system_info(&self, _request: Request<GetSystemInfoRequest>) -> Result<Response<SystemInfo>, Status> {
        let registry = self.0.streams.registry();
        Ok(Response::new(SystemInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(SystemTime::from(self.0.started).into()),
            http_addr: self.0.http.to_string(),
            grpc_addr: self.0.grpc.to_string(),
            otlp_http_addr: self.0.otlp_http.to_string(),
            series: registry.series_count() as u64,
            metrics: registry.metrics().len() as u64,
        }))
    }
}
