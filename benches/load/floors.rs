//! Floors: what the transport and the decoder cost by themselves, served with the same HTTP/2 settings as ours.
//!
//! `raw`: tonic moves the bytes and drops them. `prost`: tonic decodes them and drops the structs. `memory`: our walk and
//! our windows, acknowledged without a commit.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::post;
use bytes::{Buf, BufMut, Bytes};
use fastbreak::ingest::{Config, Ingest, SeriesCaps, Signal, walk_spans};
use fastbreak::model::Width;
use fastbreak::rollup::{Head, RowStep, Streams};
use fastbreak::storage::{self, Storage};
use fastbreak::traces::{self, Traces};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Windows in memory before a generation is ended and forgotten.
const ENTRIES_MAX: usize = 4_000_000;
const MESSAGE_MAX: usize = 64 << 20;

/// Serves the floor called `name` on `address` until killed.
pub(crate) async fn serve(name: &str, address: &str) {
    let router = match name {
        "raw" => {
            let handler = || {
                post(async |request: Request| grpc(BytesCodec).unary(Drop::<Bytes, Bytes>::default(), request).await)
            };
            Router::new().route(METRICS, handler()).route(TRACES, handler())
        }
        "prost" => Router::new()
            .route(METRICS, post(prost::<ExportMetricsServiceRequest, ExportMetricsServiceResponse>))
            .route(TRACES, post(prost::<ExportTraceServiceRequest, ExportTraceServiceResponse>)),
        _ => memory().await,
    };
    let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _refused = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().initial_stream_window_size(1 << 20).initial_connection_window_size(8 << 20);
            builder.http2().max_frame_size(256 << 10);
            let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn prost<Q, A>(request: Request) -> http::Response<tonic::body::Body>
where
    Q: ::prost::Message + Default + Send + 'static,
    A: ::prost::Message + Default + Send + 'static,
{
    grpc(tonic_prost::ProstCodec::<A, Q>::default()).unary(Drop::<Q, A>::default(), request).await
}

fn grpc<C: Codec>(codec: C) -> Grpc<C> {
    Grpc::new(codec).apply_max_message_size_config(Some(MESSAGE_MAX), None)
}

/// Takes a message and does nothing with it.
struct Drop<Q, A>(std::marker::PhantomData<fn(Q) -> A>);

impl<Q, A> Default for Drop<Q, A> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<Q, A: Default + Send> UnaryService<Q> for Drop<Q, A> {
    type Response = A;
    type Future = std::future::Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        std::hint::black_box(request.into_inner());
        std::future::ready(Ok(Response::new(A::default())))
    }
}

struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

/// Our own path without the commit. The database only has to be there.
async fn memory() -> Router {
    let url = std::env::var("DATABASE_URL").expect("the benchmark gives a database");
    let storage = Storage::connect(storage::Config::new(url)).await.expect("the database answers");
    storage.migrate().await.expect("the database is ours");
    let traces = Traces::new(storage.clone(), Width::TEN_SECONDS, traces::Config::default(), walk_spans);
    let streams = Streams::open(storage, Width::TEN_SECONDS, "bench".to_owned()).await.expect("the database answers");
    let caps = SeriesCaps { per_service: u32::MAX, per_metric: u32::MAX };
    let config = Config { caps, ..Config::default() };
    let opened = Ingest::open(Arc::new(streams), traces, config, CancellationToken::new()).await;
    let (ingest, _committer) = opened.expect("the database answers");
    let head = Arc::new(Head::new(Width::TEN_SECONDS, 0));
    let handler = |signal: Signal| {
        let (ingest, head) = (Arc::clone(&ingest), Arc::clone(&head));
        post(async move |request: Request| {
            let body = axum::body::to_bytes(request.into_body(), MESSAGE_MAX).await.expect("whole");
            let export = ingest.walk(signal, body.get(5..).unwrap_or_default()).expect("sound");
            let steps = export.sections.iter().map(|s| RowStep::Points(Arc::clone(&s.template), &s.points));
            head.apply_row(1, &steps.collect::<Vec<_>>()).expect("sound");
            if head.entries() > ENTRIES_MAX {
                crate::in_process::forget(&head);
            }
            Status::ok("").into_http::<Body>()
        })
    };
    Router::new().route(METRICS, handler(Signal::Metrics)).route(TRACES, handler(Signal::Traces))
}
