//! The database monitor, read back from the SDK's own memory.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::time::Duration;

use fastbreak_client::database::{DatabaseMonitor, PoolState};
use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

struct Out {
    metrics: InMemoryMetricExporter,
    meters: SdkMeterProvider,
    spans: InMemorySpanExporter,
}

fn monitor() -> (DatabaseMonitor, Out) {
    let metrics = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(metrics.clone()).build()).build();
    let spans = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let tracer = BoxedTracer::new(Box::new(tracers.tracer("test")));
    let monitor = DatabaseMonitor::with(("postgresql", "shop"), meters.meter("test"), tracer);
    (monitor, Out { metrics, meters, spans })
}

impl Out {
    /// All that leaves the process.
    fn told(&self) -> String {
        self.meters.force_flush().unwrap();
        let metrics = self.metrics.get_finished_metrics().unwrap();
        format!("{:?} {:?}", metrics.last(), self.spans.get_finished_spans().unwrap())
    }
}

#[tokio::test]
async fn a_slow_call_is_shown_without_its_literals_and_a_fast_one_is_only_counted() {
    let (monitor, out) = monitor();
    let monitor = monitor.slow_after(Duration::from_millis(5));
    let fast = async { Ok::<_, ()>(1) };
    assert_eq!(monitor.query("SELECT * FROM fast WHERE name = 's3cret'", fast).await, Ok(1));
    let slow = async {
        tokio::time::sleep(Duration::from_millis(6)).await;
        Err::<(), _>("no")
    };
    assert_eq!(monitor.query("UPDATE slow SET a = 's3cret' WHERE id IN (1, 2, 4711)", slow).await, Err("no"));
    drop(monitor.start("DELETE FROM left_alone"));

    let spans = out.spans.get_finished_spans().unwrap();
    assert_eq!(spans.iter().map(|span| span.name.as_ref()).collect::<Vec<_>>(), ["UPDATE slow"]);
    let attribute = |key: &str| {
        spans[0].attributes.iter().find(|kv| kv.key.as_str() == key).map(|kv| kv.value.to_string()).unwrap_or_default()
    };
    assert_eq!(attribute("db.query.text"), "UPDATE slow SET a = ? WHERE id IN (?)");
    assert!(spans[0].end_time.duration_since(spans[0].start_time).unwrap() >= Duration::from_millis(5));
    let told = out.told();
    for secret in ["s3cret", "4711"] {
        assert!(!told.contains(secret), "{told}");
    }
    for word in ["SELECT fast", "UPDATE slow", "DELETE left_alone", "cancelled", "fastbreak.db.slow_queries"] {
        assert!(told.contains(word), "{word} in {told}");
    }
}

#[tokio::test]
async fn summaries_are_bounded() {
    let (monitor, out) = monitor();
    for n in 0..1_500 {
        monitor.start(&format!("SELECT * FROM table_{n}")).end(None);
    }
    let told = out.told();
    assert_eq!(told.matches("SELECT table_").count(), 500);
    assert!(told.contains("\"other\""));
}

#[tokio::test]
async fn a_pool_is_measured() {
    let (monitor, out) = monitor();
    let pool = monitor.pool("main", || PoolState { used: 3, idle: 2, max: 10, pending: Some(1) });
    assert_eq!(pool.get(async { Ok::<_, ()>("connection") }).await, Ok("connection"));
    assert_eq!(pool.get(async { Err::<(), _>("timeout") }).await, Err("timeout"));
    let told = out.told();
    for metric in ["count", "max", "pending_requests", "wait_time", "timeouts"] {
        assert!(told.contains(&format!("db.client.connection.{metric}")), "{metric} in {told}");
    }
}

#[cfg(feature = "diesel")]
mod diesel {
    use ::diesel::connection::{Instrumentation as _, InstrumentationEvent};

    /// Diesel hands nobody an event to make; what it runs is shown against a real Postgres by the server's own tests.
    #[test]
    fn the_monitor_is_what_diesel_takes() {
        let (monitor, _out) = super::monitor();
        let mut instrumentation = monitor.diesel();
        let _takes: fn(&mut fastbreak_client::database::DieselMonitor, InstrumentationEvent<'_>) =
            |monitor, event| monitor.on_connection_event(event);
        let _boxed: Box<dyn ::diesel::connection::Instrumentation> = Box::new(monitor.diesel());
        let _ = &mut instrumentation;
    }
}
