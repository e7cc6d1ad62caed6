//! One call sets everything up, over real sockets: with the server there, and with it away.

use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::FastBreak;
use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process};
use fastbreak_client::proto::PolicySnapshot;
use fastbreak_client::proto::watch_response::Message as Say;
use opentelemetry::global;
use opentelemetry::trace::{Span as _, Tracer as _};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::support::Mock;

struct Echo;

impl Process for Echo {
    type Item = u32;
    type Output = u32;

    async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<u32>>, Failure> {
        Ok(items.into_iter().map(Outcome::Done).collect())
    }
}

/// Keeps what is exported.
#[derive(Clone, Default)]
struct Collector {
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What the global providers are set to is the process's: one test, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_with_one_call_and_ends_in_time_with_the_server_there_or_away() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("checkout.policies");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (collector, mut mock) = (Collector::default(), Mock::start());
    let server = tokio::spawn(
        Server::builder()
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(mock.service())
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );

    let start = || {
        let builder = FastBreak::builder("checkout").endpoint(&endpoint).version("2.1").label("region", "eu");
        builder.policy_file(&file).start().unwrap()
    };
    let fastbreak = start();
    let batcher = Batcher::new(BatchPolicy::default(), Echo).unwrap();
    fastbreak.batcher("prices", &batcher);
    let mut link = mock.link().await;
    let hello = link.hello.clone();
    assert_eq!((hello.service.as_str(), hello.version.as_str()), ("checkout", "2.1"));
    assert_eq!(
        (hello.instance.as_str(), hello.labels.get("region").map(String::as_str)),
        (fastbreak.instance(), Some("eu"))
    );
    link.say("1", Say::Snapshot(PolicySnapshot::default())).await;
    link.ack().await;
    assert_eq!(batcher.submit(7).await, Ok(7));
    global::tracer("test").start("work").end();
    assert!(fastbreak.shutdown(Duration::from_secs(10)).await);

    let metrics = format!("{:?}", collector.metrics.lock());
    for word in
        ["fastbreak.batch.calls", "fastbreak.policy.connected", "prices", &hello.instance, "service.version", "region"]
    {
        assert!(metrics.contains(word), "{word} in {metrics}");
    }
    let traces = format!("{:?}", collector.traces.lock());
    assert!(traces.contains("work") && traces.contains(&hello.instance), "{traces}");

    server.abort();
    assert!(server.await.is_err());
    let began = Instant::now();
    let fastbreak = start();
    assert!(began.elapsed() < Duration::from_secs(1), "nothing waits for the server");
    fastbreak.batcher("prices", &batcher);
    assert_eq!(batcher.submit(8).await, Ok(8));
    global::tracer("test").start("lost").end();
    let began = Instant::now();
    assert!(!fastbreak.shutdown(Duration::from_secs(2)).await, "not all could be sent");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
