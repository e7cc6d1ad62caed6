//! A service of the demo: its SDK, its instruments and its database pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _, UpDownCounter};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::Semaphore;

use super::weather::{Weather, waiting};
use crate::telemetry::{self, Origin, Pipeline, Signals};

/// Connections of a service to its database.
const POOL: usize = 10;
/// Buckets that the HTTP semantic conventions advise, in seconds.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

pub(super) struct Service {
    pub(super) pipeline: Pipeline,
    tracer: SdkTracer,
    weather: Arc<Weather>,
    pool: Arc<Semaphore>,
    requests: Histogram<f64>,
    active: UpDownCounter<i64>,
    queries: Histogram<f64>,
    ai_calls: Histogram<f64>,
    ai_confidence: Histogram<f64>,
}

impl Service {
    pub(super) fn start(
        name: &str,
        endpoint: &str,
        period: Duration,
        weather: Arc<Weather>,
    ) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let attributes = [
            ("service.version", "1.4.2".to_owned()),
            ("service.instance.id", format!("{name}-1")),
            ("deployment.environment.name", "demo".to_owned()),
        ];
        let pipeline = telemetry::pipeline(&Origin {
            service: name,
            attributes: &attributes,
            endpoint: Some(endpoint),
            period: Some(period),
            signals: Signals::ALL,
        })?;
        let meter = pipeline.meters().meter("fastbreak.demo");
        let pool = Arc::new(Semaphore::new(POOL));
        watch_pool(&meter, &pool);
        let seconds = |name: &'static str, unit: &'static str| {
            meter.f64_histogram(name).with_unit(unit).with_boundaries(SECONDS.to_vec()).build()
        };
        Ok(Self {
            tracer: pipeline.tracers().tracer("fastbreak.demo"),
            weather,
            pool,
            requests: seconds("http.server.request.duration", "s"),
            active: meter.i64_up_down_counter("http.server.active_requests").with_unit("{request}").build(),
            queries: seconds("db.client.operation.duration", "s"),
            ai_calls: seconds("gen_ai.client.operation.duration", "s"),
            ai_confidence: meter
                .f64_histogram("fastbreak.ai.confidence")
                .with_unit("1")
                .with_boundaries((1..=10).map(|tenth| f64::from(tenth) / 10.0).collect())
                .build(),
            pipeline,
        })
    }

    /// Handles a request: `work` is given the span's context and returns the status code.
    pub(super) async fn serve(
        &self,
        parent: &Context,
        (method, route): (&'static str, &'static str),
        work: impl AsyncFnOnce(&Context) -> u16,
    ) -> u16 {
        let of = [KeyValue::new("http.request.method", method), KeyValue::new("url.scheme", "https")];
        self.active.add(1, &of);
        let started = Instant::now();
        let cx = self.span(parent, format!("{method} {route}"), SpanKind::Server);
        let code = work(&cx).await;
        let mut attributes = of.to_vec();
        attributes.push(KeyValue::new("http.route", route));
        attributes.push(KeyValue::new("http.response.status_code", i64::from(code)));
        cx.span().set_attributes(attributes.clone());
        if code >= 500 {
            cx.span().set_status(Status::error("the request failed"));
        }
        // Within the span's context, so that the SDK can attach it as an exemplar.
        let _attached = cx.clone().attach();
        self.requests.record(started.elapsed().as_secs_f64(), &attributes);
        self.active.add(-1, &of);
        cx.span().end();
        code
    }

    /// Runs a query on a pooled connection; `mean` is what it takes on a good day.
    pub(super) async fn query(
        &self,
        parent: &Context,
        chance: &mut SmallRng,
        (operation, table): (&'static str, &'static str),
        mean: Duration,
    ) {
        let cx = self.span(parent, format!("{operation} {table}"), SpanKind::Client);
        let attributes = [
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("db.collection.name", table),
        ];
        cx.span().set_attributes(attributes.clone());
        let connection = self.pool.acquire().await;
        let started = Instant::now();
        tokio::time::sleep(waiting(chance, mean.mul_f64(self.weather.database()))).await;
        drop(connection);
        self.queries.record(started.elapsed().as_secs_f64(), &attributes);
        cx.span().end();
    }

    /// Asks the model for a ranking.
    pub(super) async fn infer(&self, parent: &Context, chance: &mut SmallRng) {
        let cx = self.span(parent, "chat ranker-small".to_owned(), SpanKind::Client);
        let attributes = [
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", "demo"),
            KeyValue::new("gen_ai.request.model", "ranker-small"),
        ];
        let started = Instant::now();
        tokio::time::sleep(Duration::from_millis(80) + waiting(chance, Duration::from_millis(120))).await;
        self.ai_calls.record(started.elapsed().as_secs_f64(), &attributes);
        self.ai_confidence.record(chance.random_range(0.55..0.99), &attributes);
        cx.span().end();
    }

    /// Calls another service: `work` is its side.
    pub(super) async fn call(
        &self,
        parent: &Context,
        what: &'static str,
        work: impl AsyncFnOnce(&Context) -> u16,
    ) -> u16 {
        let cx = self.span(parent, what.to_owned(), SpanKind::Client);
        let remote = Context::new().with_remote_span_context(cx.span().span_context().clone());
        let code = work(&remote).await;
        cx.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(code)));
        if code >= 500 {
            cx.span().set_status(Status::error("the call failed"));
        }
        cx.span().end();
        code
    }

    fn span(&self, parent: &Context, name: String, kind: SpanKind) -> Context {
        let span = self.tracer.span_builder(name).with_kind(kind).start_with_context(&self.tracer, parent);
        Context::current_with_span(span)
    }
}

fn watch_pool(meter: &Meter, pool: &Arc<Semaphore>) {
    let name = KeyValue::new("db.client.connection.pool.name", "main");
    let (watched, pool_name) = (Arc::clone(pool), name.clone());
    meter
        .i64_observable_up_down_counter("db.client.connection.count")
        .with_unit("{connection}")
        .with_callback(move |observer| {
            let idle = watched.available_permits();
            for (state, n) in [("idle", idle), ("used", POOL - idle)] {
                observer.observe(n as i64, &[pool_name.clone(), KeyValue::new("db.client.connection.state", state)]);
            }
        })
        .build();
    meter
        .i64_observable_up_down_counter("db.client.connection.max")
        .with_unit("{connection}")
        .with_callback(move |observer| observer.observe(POOL as i64, std::slice::from_ref(&name)))
        .build();
}
