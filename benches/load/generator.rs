//! The load: exports in flight on several HTTP/2 connections, as fast as they are answered or at a set pace.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::payload::{Kind, Payload};

const CONNECTIONS: usize = 8;
const IN_FLIGHT_PER_CONNECTION: usize = 4;

type Http = Client<HttpConnector, Full<Bytes>>;

/// How the exports go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    /// OTLP/HTTP at this path.
    Http(&'static str),
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) exports: u64,
    pub(crate) items: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: String,
    /// Seconds from send to answer, sorted.
    pub(crate) latencies: Vec<f64>,
    pub(crate) seconds: f64,
}

impl Outcome {
    fn note(&mut self, answer: Result<(), String>, items: u64, took: Duration) {
        self.exports += 1;
        match answer {
            Ok(()) => {
                self.items += items;
                self.latencies.push(took.as_secs_f64());
            }
            Err(error) => {
                self.errors += 1;
                self.first_error = error;
            }
        }
    }

    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let at = ((self.latencies.len() as f64 * q) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Exports in the order of their instances, again and again; each is unlike any before.
pub(crate) struct Generator<'a> {
    pub(crate) payload: &'a Payload,
    pub(crate) instances: u32,
    pub(crate) transport: Transport,
    /// Time of turn 0 and between turns in nanoseconds; the clock's time without.
    pub(crate) timeline: Option<(u64, u64)>,
    next: Cell<u64>,
    clients: Vec<Http>,
    url: String,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(payload: &'a Payload, instances: u32, transport: Transport, address: &str) -> Self {
        let client = || {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).http2_only(transport == Transport::Grpc);
            builder.http2_initial_stream_window_size(1 << 20).http2_initial_connection_window_size(8 << 20);
            builder.build_http()
        };
        let path = match (transport, payload.kind) {
            (Transport::Http(path), _) => path,
            (_, Kind::Spans) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (..) => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        };
        let clients = (0..CONNECTIONS).map(|_| client()).collect();
        let url = format!("http://{address}{path}");
        Self { payload, instances, transport, timeline: None, next: Cell::new(0), clients, url }
    }

    /// Sends `exports` exports.
    pub(crate) async fn count(&self, exports: u64) -> Outcome {
        let until = self.next.get() + exports;
        self.run(|generator| generator.next.get() < until, None).await
    }

    /// Sends for `duration`, at `per_second` exports a second or as fast as they are answered.
    pub(crate) async fn during(&self, duration: Duration, per_second: Option<f64>) -> Outcome {
        let began = Instant::now();
        self.run(|_| began.elapsed() < duration, per_second).await
    }

    async fn run(&self, more: impl Fn(&Self) -> bool, per_second: Option<f64>) -> Outcome {
        let (began, first) = (Instant::now(), self.next.get());
        let outcome = Rc::new(RefCell::new(Outcome::default()));
        let workers = (0..CONNECTIONS * IN_FLIGHT_PER_CONNECTION).map(|worker| {
            let (outcome, more) = (Rc::clone(&outcome), &more);
            async move {
                while more(self) {
                    let number = self.next.replace(self.next.get() + 1);
                    pace(per_second, number - first, began).await;
                    let request = self.request(number);
                    let sent = Instant::now();
                    let answer = send(&self.clients[worker % CONNECTIONS], request).await;
                    outcome.borrow_mut().note(answer, self.payload.items, sent.elapsed());
                }
            }
        });
        futures::future::join_all(workers).await;
        let mut outcome = Rc::unwrap_or_clone(outcome).into_inner();
        outcome.seconds = began.elapsed().as_secs_f64();
        outcome.latencies.sort_by(f64::total_cmp);
        outcome
    }

    fn request(&self, number: u64) -> http::Request<Full<Bytes>> {
        let (instance, turn) = ((number % u64::from(self.instances)) as u32, number / u64::from(self.instances));
        let time = self.timeline.map_or_else(now, |(start, step)| start + turn * step);
        let request = http::Request::post(&self.url);
        let request = match self.transport {
            Transport::Grpc => request.header("content-type", "application/grpc").header("te", "trailers"),
            Transport::Http(_) => request.header("content-type", "application/x-protobuf"),
        };
        let body = match self.transport {
            Transport::Grpc => self.payload.grpc(instance, turn, time),
            Transport::Http(_) => self.payload.make(0, instance, turn, time).into(),
        };
        request.body(Full::new(body)).expect("the parts are sound")
    }
}

/// Waits until the export number `number` is due.
async fn pace(per_second: Option<f64>, number: u64, began: Instant) {
    let Some(rate) = per_second else { return };
    let due = Duration::from_secs_f64(number as f64 / rate);
    tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
}

async fn send(client: &Http, request: http::Request<Full<Bytes>>) -> Result<(), String> {
    let response = client.request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let in_headers = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    let grpc = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()).or(in_headers);
    match grpc {
        Some(code) if code != "0" => Err(format!("grpc-status {code:?}")),
        _ if !status.is_success() => Err(format!("HTTP {status}")),
        _ => Ok(()),
    }
}

/// Unix nanoseconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}
