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
    assert_eq!(monitor.query("UPDATE slow SET a = 's3cret' WHERE id IN (1, 2, 471147114711)", slow).await, Err("no"));
    drop(monitor.start("DELETE FROM left_alone"));

    let spans = out.spans.get_finished_spans().unwrap();
    assert_eq!(spans.iter().map(|span| span.name.as_ref()).collect::<Vec<_>>(), ["UPDATE slow"]);
    let attribute = |key: &str| {
        spans[0].attributes.iter().find(|kv| kv.key.as_str() == key).map(|kv| kv.value.to_string()).unwrap_or_default()
    };
    assert_eq!(attribute("db.query.text"), "UPDATE slow SET a = ? WHERE id IN (?)");
    assert!(spans[0].end_time.duration_since(spans[0].start_time).unwrap() >= Duration::from_millis(5));
    let told = out.told();
    for secret in ["s3cret", "471147114711"] {
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
mod with_diesel {
    use std::os::unix::fs::{MetadataExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use diesel::sql_types::Text;
    use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

    use super::*;

    struct Postgres(Child, #[expect(dead_code, reason = "lasts as long as the server")] tempfile::TempDir);

    impl Drop for Postgres {
        fn drop(&mut self) {
            let _gone = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    /// As nobody when we are root, whom Postgres refuses.
    fn command(program: &str, directory: &Path) -> Command {
        let installed = std::fs::read_dir("/usr/lib/postgresql").unwrap().last().unwrap().unwrap().path();
        let mut command = Command::new(installed.join("bin").join(program));
        command.current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(65_534).gid(65_534);
        }
        command
    }

    async fn start() -> (Postgres, AsyncPgConnection) {
        let directory = tempfile::Builder::new().prefix("fastbreak-client-").tempdir().unwrap();
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
        }
        let data = directory.path().join("data");
        let mut initdb = command("initdb", directory.path());
        assert!(
            initdb.arg("-D").arg(&data).args(["-U", "shop", "-A", "trust", "--no-sync"]).status().unwrap().success()
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = command("postgres", directory.path());
        server.arg("-D").arg(&data).arg("-k").arg(directory.path()).args(["-p", &port.to_string(), "-F"]);
        let postgres = Postgres(server.spawn().unwrap(), directory);
        let url = format!("postgres://shop@127.0.0.1:{port}/postgres");
        let began = Instant::now();
        loop {
            match AsyncPgConnection::establish(&url).await {
                Ok(connection) => return (postgres, connection),
                Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn diesel_says_what_it_does_and_no_value_leaves() {
        let (_postgres, mut connection) = start().await;
        let (monitor, out) = monitor();
        connection.set_instrumentation(monitor.slow_after(Duration::from_millis(20)).diesel());
        diesel::sql_query("CREATE TABLE users (name text)").execute(&mut connection).await.unwrap();
        let insert = diesel::sql_query("INSERT INTO users SELECT $1 FROM pg_sleep(0.03)");
        insert.bind::<Text, _>("s3cret").execute(&mut connection).await.unwrap();
        let broken = diesel::sql_query("DELETE FROM nothing_here WHERE name = 's3cret'");
        assert!(broken.execute(&mut connection).await.is_err());

        let told = out.told();
        assert!(!told.contains("s3cret"), "{told}");
        for word in ["CREATE users", "INSERT users", "DELETE nothing_here", "database"] {
            assert!(told.contains(word), "{word} in {told}");
        }
        let spans = out.spans.get_finished_spans().unwrap();
        let slow: Vec<_> = spans.iter().filter(|span| span.name == "INSERT users").collect();
        assert_eq!(slow.len(), 1);
        let shown = slow[0].attributes.iter().find(|kv| kv.key.as_str() == "db.query.text").unwrap().value.to_string();
        assert_eq!(shown, "INSERT INTO users SELECT ? FROM pg_sleep(?)");
    }
}
