//! config → build (bind, connect, migrate) → run → drain.
//!
//! Layer 8. Listeners are bound first, so that a taken port is told before anything is started; they answer once all is
//! ready. A drain stops taking requests, commits what waits, flushes the windows, closes our stream and stops the private
//! servers, within the grace period.

mod background;
mod child;
mod directories;
mod listen;
mod paced;
mod private;
mod reports;
mod told;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use opentelemetry::metrics::MeterProvider;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use private::{PrivateError, PrivatePostgres, PrivateRedis};

use background::{HOUSEKEEPING_EVERY, every};
use listen::{LISTENERS, Listener, ListenerMetrics};
use told::Told;

use crate::alerting::{self, Alerting};
use crate::config::{Backend, Config};
use crate::gateway::{Facts, Gateway, Shown};
use crate::ingest::{Ingest, walk_spans};
use crate::notify::Notifier;
use crate::policy::Policies;
use crate::query::Engine;
use crate::redis::SharedCaches;
use crate::rollup::{Streams, run_flusher};
use crate::storage::{self, Storage};
use crate::telemetry::{self, Instruments, Pipeline, Telemetry};
use crate::traces::Traces;

/// How long a configured Postgres may take to answer at the start.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long our own telemetry may take to be sent at the end.
const TELEMETRY_WITHIN: Duration = Duration::from_secs(2);

/// The listeners.
pub struct Listeners {
    http: TcpListener,
    grpc: TcpListener,
    otlp_http: TcpListener,
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |addr: std::net::SocketAddr, what: &str, setting: &str| {
            let listener = TcpListener::bind(addr).await;
            listener.with_context(|| format!("{what} cannot listen on {addr}; {setting} chooses another address"))
        };
        Ok(Self {
            http: bind(config.http_addr, "the dashboard", "FASTBREAK_HTTP_ADDR").await?,
            grpc: bind(config.grpc_addr, "OTLP/gRPC", "FASTBREAK_GRPC_ADDR").await?,
            otlp_http: bind(config.otlp_http_addr, "OTLP/HTTP", "FASTBREAK_OTLP_HTTP_ADDR").await?,
        })
    }
}

/// The private servers, stopped last.
#[derive(Default)]
struct PrivateServers {
    redis: Option<PrivateRedis>,
    postgres: Option<PrivatePostgres>,
}

/// A built server.
pub struct App {
    config: Config,
    listeners: Listeners,
    metrics: ListenerMetrics,
    private: PrivateServers,
    streams: Arc<Streams>,
    traces: Arc<Traces>,
    ingest: Arc<Ingest>,
    notifier: Arc<Notifier>,
    gateway: Gateway,
    alerting: Arc<Alerting>,
    telemetry: Arc<Telemetry>,
    /// Our own telemetry's way out.
    own: Option<Pipeline>,
    /// Ends what takes requests.
    intake: CancellationToken,
    /// Ends the committer, once nothing takes requests.
    commits: CancellationToken,
    /// Ends the rest.
    background: CancellationToken,
    committer: tokio::task::JoinHandle<()>,
}

/// Connects to the configured Postgres, or starts the private one.
///
/// # Errors
/// When neither is to be had.
pub async fn open_database(config: &Config) -> anyhow::Result<(Storage, Option<PrivatePostgres>)> {
    let (url, private) = match &config.database {
        Backend::Url(url) => (url.clone(), None),
        Backend::Private | Backend::Off => {
            let postgres = PrivatePostgres::start(&config.data_dir).await?;
            (postgres.url.clone(), Some(postgres))
        }
    };
    Ok((connect(&url, config.database_connections).await?, private))
}

/// Connects to the Postgres at `url`, which must answer in time.
///
/// # Errors
/// In words for the operator.
pub async fn connect(url: &str, connections: u32) -> anyhow::Result<Storage> {
    let config = storage::Config { connections, ..storage::Config::new(url.to_owned()) };
    let connected = tokio::time::timeout(CONNECT_WITHIN, Storage::connect(config)).await;
    let told = || format!("Postgres at {} cannot be reached; DATABASE_URL or DB_HOST chooses another", server_of(url));
    match connected {
        Ok(connected) => connected.with_context(told),
        Err(_late) => Err(anyhow!("no answer within {} s", CONNECT_WITHIN.as_secs())).with_context(told),
    }
}

/// Host and port of a URL, without what is secret in it.
fn server_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Migrates in a task of its own: the harness blocks its thread, and ours must see a signal.
async fn migrate(storage: &Storage) -> anyhow::Result<()> {
    let own = storage.clone();
    let applied = tokio::spawn(async move { own.migrate().await }).await?;
    for migration in applied.context("the database cannot be migrated")? {
        tracing::info!(migration, "migration applied");
    }
    Ok(())
}

/// Shares frames and caches with other replicas through the Redis at `url`, if there is one.
async fn share(streams: &Arc<Streams>, url: Option<&str>) -> anyhow::Result<Option<SharedCaches>> {
    let Some(url) = url else { return Ok(None) };
    streams.share_through(url).await?;
    Ok(Some(SharedCaches::open(url, streams.storage().journal_seed().await?)?))
}

async fn open_redis(config: &Config) -> (Option<String>, Option<PrivateRedis>) {
    match &config.redis {
        Backend::Off => (None, None),
        Backend::Url(url) => (Some(url.clone()), None),
        Backend::Private => match PrivateRedis::start(&config.data_dir).await {
            Ok(redis) => (Some(redis.url.clone()), Some(redis)),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no Redis: answers are the same, replicas see each other later"
                );
                (None, None)
            }
        },
    }
}

impl App {
    /// Binds, connects, migrates.
    ///
    /// # Errors
    /// What stands in the way, in words for the operator.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&config).await?;
        let (storage, postgres) = open_database(&config).await?;
        migrate(&storage).await?;
        let (redis_url, redis) = open_redis(&config).await;
        let holder = instance_id();
        let replica = format!("{holder}/{:08x}", rand::random::<u32>());
        let own_url = format!("http://{}", listeners.http.local_addr()?);
        let dashboard_url = config.public_url.clone().unwrap_or(own_url);
        let notifier = Notifier::open(storage.clone(), config.notify.clone(), holder.clone(), dashboard_url.clone());
        let notifier = Arc::new(notifier.await.context("notifications cannot be delivered")?);
        let traces = Traces::new(storage.clone(), config.window, config.traces.clone(), walk_spans);
        let streams = Arc::new(Streams::open(storage, config.window, holder.clone()).await?);
        let commits = CancellationToken::new();
        let opened = Ingest::open(Arc::clone(&streams), Arc::clone(&traces), config.ingest, commits.clone());
        let (ingest, committer) = opened.await?;
        let committer = tokio::spawn(committer);
        let shared = share(&streams, redis_url.as_deref()).await.context("Redis cannot be used")?;
        let telemetry = Arc::new(Telemetry::default());
        let metrics = ListenerMetrics::default();
        telemetry.register(|registry| metrics.register(registry));
        telemetry.register(|registry| ingest.metrics.register(registry));
        telemetry.register(|registry| streams.metrics.register(registry));
        telemetry.register(|registry| traces.metrics.register(registry));
        telemetry.register(|registry| notifier.metrics.register(registry));
        let engine = Engine::open(Arc::clone(&streams), config.retention, shared.as_ref()).await?;
        let engine = Arc::new(engine.limited(config.query));
        telemetry.register(|registry| engine.metrics.register(registry));
        sample_gauges(&telemetry, &engine, (&streams, &ingest, &traces));
        let private = PrivateServers { redis, postgres };
        let facts = facts_of(&config, &listeners, &private)?;
        let policies = Policies::new(streams.storage().clone(), replica.clone(), Arc::clone(&engine) as _)?;
        let policies = Arc::new(policies);
        telemetry.register(|registry| policies.metrics.register(registry));
        let reads = (Arc::clone(&engine), Arc::clone(&policies));
        let alerting = Arc::new(alerting_of(&config, &streams, reads, (dashboard_url, replica)));
        telemetry.register(|registry| alerting.metrics.register(registry));
        alerting.seed().await.context("the shipped rules cannot be written")?;
        let gateway = Gateway::new(Shown {
            streams: Arc::clone(&streams),
            ingest: Arc::clone(&ingest),
            engine,
            telemetry: Arc::clone(&telemetry),
            alerting: Arc::clone(&alerting),
            notifier: Arc::clone(&notifier),
            policies,
            traces: Arc::clone(&traces),
            facts,
        });
        Ok(Self {
            config,
            listeners,
            metrics,
            private,
            streams,
            traces,
            ingest,
            notifier,
            gateway,
            alerting,
            telemetry,
            own: None,
            intake: CancellationToken::new(),
            commits,
            background: CancellationToken::new(),
            committer,
        })
    }

    /// Has our own telemetry sent through `own`, to its end.
    #[must_use]
    pub fn with_own_telemetry(mut self, own: Option<Pipeline>) -> Self {
        if let Some(own) = &own {
            self.telemetry.register(|registry| telemetry::register(own, registry));
            let meter = own.meters().meter("fastbreak");
            self.gateway.engine().measure(&meter);
            self.gateway.policies().measure(&meter);
        }
        self.own = own;
        self
    }

    /// The addresses, as the operator needs them.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.gateway.facts()
    }

    /// Serves until `stop` is ready, then drains. Returns false when the drain took longer than the grace period.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<bool> {
        let Self {
            config,
            listeners,
            metrics,
            mut private,
            streams,
            traces,
            ingest,
            notifier,
            gateway,
            alerting,
            telemetry,
            own,
            intake,
            commits,
            background,
            committer,
        } = self;
        let mut background_tasks = JoinSet::from_iter([gateway.drive_live(background.clone())]);
        background::spawn(&mut background_tasks, &config, (&streams, &traces), &ingest, &background);
        // It leaves first, so that another replica takes its rules while we drain.
        spawn_alerting(&mut background_tasks, &alerting, (&streams, &ingest), &intake);
        background_tasks.spawn(gateway.policies().run(intake.clone()));
        let measured = own.as_ref().map(|own| Instruments::new(own, telemetry).run(background.clone()));
        measured.map(|measured| background_tasks.spawn(measured));
        let flusher = Told::spawn(|end| run_flusher(Arc::clone(&streams), end));
        let decider = Told::spawn(|end| Arc::clone(&traces).run(end));
        let deliveries = tokio::spawn(Arc::clone(&notifier).run(intake.clone()));
        let mut serving = JoinSet::new();
        let rooms = Arc::new(listen::rooms(&gateway, (&streams, &traces), (&notifier, &alerting)));
        let grpc = listen::with_admin_services(crate::ingest::grpc::router(Arc::clone(&ingest)), rooms)?;
        let sockets = [listeners.grpc, listeners.otlp_http, listeners.http];
        let routers = [grpc, crate::ingest::http::router(Arc::clone(&ingest)), gateway.router()];
        for (name, (socket, router)) in LISTENERS.into_iter().zip(sockets.into_iter().zip(routers)) {
            let listener = Listener { name, socket, router, limits: config.connections, metrics: metrics.clone() };
            serving.spawn(listener.serve(intake.clone()));
        }
        gateway.set_ready(true);
        tokio::select! {
            () = stop => {}
            Some(ended) = serving.join_next() => {
                ended.context("a listener panicked")?;
            }
        }
        tracing::info!(grace_period_s = config.grace_period.as_secs(), "draining");
        gateway.set_ready(false);
        let drain = async {
            intake.cancel();
            gateway.close_live();
            while serving.join_next().await.is_some() {}
            ingest.cut();
            commits.cancel();
            let _ended = committer.await;
            flusher.end().await;
            streams.close_own().await;
            decider.end().await;
            let _ended = deliveries.await;
        };
        let drained = tokio::time::timeout(config.grace_period, drain).await.is_ok();
        background.cancel();
        background_tasks.shutdown().await;
        // Redis first: it holds nothing. Postgres last: it holds everything.
        drop(private.redis.take());
        drop(private.postgres.take());
        tracing::info!(drained, "stopped");
        if let Some(own) = own {
            own.shutdown(TELEMETRY_WITHIN).await;
        }
        Ok(drained)
    }
}

fn facts_of(config: &Config, listeners: &Listeners, private: &PrivateServers) -> anyhow::Result<Facts> {
    let (postgres, redis) = (private.postgres.as_ref(), private.redis.as_ref());
    let pids = [("postgres", postgres.map(PrivatePostgres::pid)), ("redis", redis.map(PrivateRedis::pid))];
    Ok(Facts {
        http: listeners.http.local_addr()?,
        grpc: listeners.grpc.local_addr()?,
        otlp_http: listeners.otlp_http.local_addr()?,
        private_postgres: postgres.is_some(),
        private_servers: pids.into_iter().filter_map(|(name, pid)| Some((name, pid?))).collect(),
        window: config.window,
        started: chrono::Utc::now(),
        public_url: config.public_url.clone(),
    })
}

/// Has what is in memory measured whenever somebody reads the metrics.
fn sample_gauges(
    telemetry: &Telemetry,
    engine: &Arc<Engine>,
    (streams, ingest, traces): (&Arc<Streams>, &Arc<Ingest>, &Arc<Traces>),
) {
    let sampled = (Arc::clone(streams), Arc::clone(ingest), Arc::clone(engine), Arc::clone(traces));
    telemetry.sample_with(move || {
        sampled.0.sample_gauges();
        sampled.1.sample_gauges();
        sampled.2.sample_gauges();
        sampled.3.sample_gauges();
    });
}

fn alerting_of(
    config: &Config,
    streams: &Arc<Streams>,
    reads: (Arc<Engine>, Arc<Policies>),
    (dashboard_url, replica): (String, String),
) -> Alerting {
    let settings = alerting::Config {
        retention_days: i32::try_from(config.retention_alerts.num_days()).unwrap_or(i32::MAX).max(1),
        ..alerting::Config::new(config.window, dashboard_url)
    };
    Alerting::new(streams.storage().clone(), reads, settings, replica)
}

fn spawn_alerting(
    tasks: &mut JoinSet<()>,
    alerting: &Arc<Alerting>,
    (streams, ingest): (&Arc<Streams>, &Arc<Ingest>),
    cancel: &CancellationToken,
) {
    tasks.spawn(Arc::clone(alerting).run(cancel.clone()));
    let fed = (Arc::clone(streams), Arc::clone(ingest));
    tasks.spawn(reports::feed(Arc::clone(alerting), fed, cancel.clone()));
    let alerting = Arc::clone(alerting);
    tasks.spawn(every(HOUSEKEEPING_EVERY, cancel.clone(), move || {
        let alerting = Arc::clone(&alerting);
        async move {
            if let Err(error) = alerting.forget_old().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "old alerts are not forgotten now");
            }
        }
    }));
}

/// Names this process: in lease rows, and as the `service.instance.id` of our own telemetry.
#[must_use]
pub fn instance_id() -> String {
    format!("{}/{}", host_name(), std::process::id())
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::server_of;

    #[test]
    fn a_server_is_named_without_its_secrets() {
        assert_eq!(server_of("postgres://user:p@ss@db.example:5432/name?password=x"), "db.example:5432");
        assert_eq!(server_of("postgres://db"), "db");
    }
}
