//! What the HTTP layer costs a request: a service that does nothing, without and with it. Prints a table; fails over the
//! limit.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a table is what this is for")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use fastbreak_client::http::HttpLayer;
use http::{Request, Response};
use http_body_util::Empty;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tower::{Layer as _, Service};

/// What a request may cost more, in nanoseconds.
const LIMIT: f64 = 200.0;
const REQUESTS: u32 = 400_000;
const ROUNDS: usize = 9;

type Answer = Result<Response<Empty<&'static [u8]>>, Infallible>;

fn request() -> Request<()> {
    Request::get("/users/7").body(()).unwrap()
}

/// Nanoseconds a request, of the best round: what is not noise.
fn measure<S>(mut service: S) -> f64
where
    S: Service<Request<()>>,
{
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..REQUESTS {
            let call = pin!(service.call(request()));
            let Poll::Ready(answer) = call.poll(&mut Context::from_waker(Waker::noop())) else { unreachable!() };
            drop(std::hint::black_box(answer));
        }
        best = best.min(began.elapsed().as_nanos() as f64 / f64::from(REQUESTS));
    }
    best
}

fn main() {
    let inner = || tower::service_fn(|_: Request<()>| -> Ready<Answer> { ready(Ok(Response::new(Empty::new()))) });
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let layer = |sampler| {
        let tracers = SdkTracerProvider::builder().with_sampler(sampler).build();
        let tracer = opentelemetry::global::BoxedTracer::new(Box::new(tracers.tracer("bench")));
        let route: Arc<str> = Arc::from("/users/{id}");
        HttpLayer::with(&meters.meter("bench"), tracer).route(move |_| Some(Arc::clone(&route)))
    };
    let bare = measure(inner());
    println!("| service | ns/request | added |\n| --- | ---: | ---: |\n| bare | {bare:.0} | |");
    let mut added = Vec::new();
    for (name, layer) in [
        ("metrics", layer(Sampler::AlwaysOff).without_traces()),
        ("metrics, span not sampled", layer(Sampler::AlwaysOff)),
        ("metrics, span kept", layer(Sampler::AlwaysOn)),
        ("excluded path", layer(Sampler::AlwaysOn).exclude(["/users/7"])),
    ] {
        let took = measure(layer.layer(inner()));
        println!("| {name} | {took:.0} | {:.0} |", took - bare);
        added.push(took - bare);
    }
    let metrics = added.first().copied().unwrap_or_default();
    println!("\nlimit for metrics: {LIMIT:.0} ns; {}", if metrics <= LIMIT { "kept" } else { "passed" });
    if metrics > LIMIT {
        std::process::exit(1);
    }
}
