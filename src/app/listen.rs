//! The listeners: HTTP/2 with large windows for gRPC, HTTP/1.1 and 2 for the rest.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

/// The defaults of 64 KiB cost a third more CPU at full load.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const HEADER_LIST_BYTES: u32 = 16 << 10;

/// Serves gRPC until cancelled and every request is answered.
pub(super) async fn grpc(
    listener: TcpListener,
    otlp: Router,
    max_streams: u32,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let reflection = || {
        let services = ["metrics.v1.MetricsService", "trace.v1.TraceService"];
        // The descriptors hold services that are not served here.
        services.iter().fold(
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(opentelemetry_proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health"),
            |builder, name| builder.with_service_name(format!("opentelemetry.proto.collector.{name}")),
        )
    };
    let (_reporter, health) = tonic_health::server::health_reporter();
    let routes = Routes::from(otlp)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(max_streams)
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), cancel.cancelled_owned())
        .await?;
    Ok(())
}

/// Serves HTTP until cancelled and every request is answered.
pub(super) async fn http(listener: TcpListener, router: Router, cancel: CancellationToken) -> anyhow::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await?;
    Ok(())
}
