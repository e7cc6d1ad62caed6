//! The listeners: one loop for all, with a bound on connections, on headers and on the time they may take.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::paced::Paced;
use crate::alerting::Alerting;
use crate::config::ConnectionLimits;
use crate::gateway::{Facts, Gateway};
use crate::grpc::{Rooms, SERVICES, add_services};
use crate::notify::Notifier;
use crate::rollup::Streams;
use crate::traces::Traces;

/// HTTP/2 windows; the defaults of 64 KiB cost a third more CPU at full load.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Largest HTTP/2 frame: most exports arrive in one piece, and need not be put together.
const FRAME_BYTES: u32 = 256 << 10;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest header list.
const HEADER_LIST_BYTES: u32 = 16 << 10;
/// How long the head of an HTTP/1 request may take.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Streams that were reset before they were looked at, beyond which the connection is closed.
const PENDING_RESETS_MAX: usize = 20;
/// Pause after the system refused us a socket: most likely descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listeners.
pub(super) const LISTENERS: [&str; 3] = ["grpc", "otlp_http", "http"];

/// What the listeners count.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerMetrics {
    connections: Family<[(&'static str, &'static str); 1], Gauge>,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
}

impl ListenerMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        // A scrape may come before the last listener has begun.
        for name in LISTENERS {
            let _made = (
                self.connections.get_or_create(&[("listener", name)]),
                self.refused.get_or_create(&[("listener", name)]),
            );
        }
        let registry = registry.sub_registry_with_prefix("listener");
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("connections_refused", "Connections closed at once, over a limit", self.refused.clone());
    }
}

/// One address, what is served there, and how.
pub(super) struct Listener {
    /// As metrics name it.
    pub(super) name: &'static str,
    pub(super) socket: TcpListener,
    pub(super) router: Router,
    pub(super) limits: ConnectionLimits,
    pub(super) metrics: ListenerMetrics,
}

/// Connections by address; each gives its place back when it ends.
#[derive(Default)]
struct Places(Mutex<HashMap<IpAddr, usize>>);

struct Place {
    places: Arc<Places>,
    address: IpAddr,
    open: Gauge,
}

impl Places {
    fn take(self: &Arc<Self>, address: IpAddr, limits: ConnectionLimits, open: &Gauge) -> Option<Place> {
        let mut by_address = self.0.lock();
        let of_address = by_address.get(&address).copied().unwrap_or_default();
        if of_address >= limits.per_address || by_address.values().sum::<usize>() >= limits.connections {
            return None;
        }
        by_address.insert(address, of_address + 1);
        open.inc();
        Some(Place { places: Arc::clone(self), address, open: open.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
        let mut by_address = self.places.0.lock();
        if let Some(n) = by_address.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

impl Listener {
    /// Serves until cancelled and every request is answered.
    pub(super) async fn serve(self, cancel: CancellationToken) {
        let Self { name, socket, router, limits, metrics } = self;
        let (open, refused) = {
            let of = [("listener", name)];
            (metrics.connections.get_or_create(&of).clone(), metrics.refused.get_or_create(&of).clone())
        };
        let (places, graceful, builder) = (Arc::<Places>::default(), GracefulShutdown::new(), connection(limits));
        loop {
            let (stream, address) = tokio::select! {
                accepted = accept(&socket) => accepted,
                () = cancel.cancelled() => break,
            };
            let Some(place) = places.take(address.ip().to_canonical(), limits, &open) else {
                refused.inc();
                tracing::debug!(listener = name, %address, "connection refused: over the limit");
                continue;
            };
            let service = TowerToHyperService::new(router.clone());
            let served = builder.serve_connection_with_upgrades(TokioIo::new(Paced::new(stream)), service).into_owned();
            let served = graceful.watch(served);
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    tracing::debug!(listener = name, %address, error, "connection ended");
                }
                drop(place);
            });
        }
        drop(socket);
        graceful.shutdown().await;
    }
}

async fn accept(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => {
                // Without it an answer may wait for the next one.
                let _refused = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(error) => {
                tracing::debug!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    builder.http1().max_buf_size(HEADER_LIST_BYTES as usize * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

/// OTLP's services, as reflection names them; its descriptors hold others that are not served here.
const OTLP_SERVICES: [&str; 2] =
    ["opentelemetry.proto.collector.metrics.v1.MetricsService", "opentelemetry.proto.collector.trace.v1.TraceService"];

/// What the admin services may use.
pub(super) fn rooms(
    gateway: &Gateway,
    kept: (&Arc<Streams>, &Arc<Traces>),
    tellers: (&Arc<Notifier>, &Arc<Alerting>),
) -> Rooms {
    let Facts { http, grpc, otlp_http, started, .. } = *gateway.facts();
    let (notifier, alerting) = (Arc::clone(tellers.0), Arc::clone(tellers.1));
    let (streams, traces, engine) = (Arc::clone(kept.0), Arc::clone(kept.1), gateway.engine());
    let policies = gateway.policies();
    Rooms { http, grpc, otlp_http, started, streams, engine, notifier, alerting, policies, traces }
}

/// The OTLP services with the admin services, health and reflection beside them.
pub(super) fn with_admin_services(otlp: Router, rooms: Arc<Rooms>) -> anyhow::Result<Router> {
    let reflection = || {
        OTLP_SERVICES.iter().chain(SERVICES).fold(
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(opentelemetry_proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(crate::proto::DESCRIPTORS)
                .with_service_name("grpc.health.v1.Health"),
            |builder, name| builder.with_service_name(*name),
        )
    };
    let (_reporter, health) = tonic_health::server::health_reporter();
    let routes = add_services(Routes::from(otlp), rooms)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.prepare().into_axum_router())
}
