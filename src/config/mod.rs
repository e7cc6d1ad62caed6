//! The server's configuration: flag > environment > file > default.
//!
//! One table of settings (`settings`) names each key, its variables and its default; this module turns the resolved text
//! into the `Config` structs of the modules below and reports every mistake of all of it at once.

mod load;
mod notify;
mod settings;
mod traces;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;

pub use load::{Origin, Resolved, load};
pub use settings::{SETTINGS, Setting};

use crate::ingest::{Limits, SeriesCaps};
use crate::model::Width;
use crate::storage::Retention;
use crate::telemetry::check_filter;
use load::Problem;

/// Connections to Postgres: one would let a query hold up a commit.
const CONNECTIONS: RangeInclusive<u32> = 2..=1_000;
/// Open sockets of a listener.
const SOCKETS: RangeInclusive<usize> = 1..=1_000_000;
/// Streams of one connection.
const STREAMS: RangeInclusive<u32> = 1..=10_000;
/// Series under a cap.
const SERIES: RangeInclusive<u32> = 1..=100_000_000;
/// Ports to connect to.
const PORTS: RangeInclusive<u16> = 1..=u16::MAX;
/// Bytes of a body, and of all bodies in flight.
const BODY_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 30;
const IN_FLIGHT_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 40;
/// The journal of an hour must fit into memory, and a checkpoint costs a transaction.
const CHECKPOINT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
/// Waits for a sender, or for the drain.
const BODY_WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
const GRACE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// From a block's span to a century.
const RETENTION: RangeInclusive<Duration> = Duration::from_secs(3_600)..=Duration::from_secs(100 * 31_557_600);

/// Which Postgres or Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The one at this URL.
    Url(String),
    /// A private one that starts and stops with us.
    Private,
    /// None.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Everything the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Postgres.
    pub database: Backend,
    /// Most connections to it.
    pub database_connections: u32,
    /// Redis.
    pub redis: Backend,
    /// Where the private servers keep their files.
    pub data_dir: PathBuf,
    /// Dashboard, JSON API, `/metrics`.
    pub http_addr: SocketAddr,
    /// Where people reach the dashboard, when that is not the address it listens on.
    pub public_url: Option<String>,
    /// OTLP/gRPC and admin services.
    pub grpc_addr: SocketAddr,
    /// OTLP/HTTP.
    pub otlp_http_addr: SocketAddr,
    /// Width of the windows.
    pub window: Width,
    /// How often windows are flushed to Postgres.
    pub checkpoint: Duration,
    /// Limits of ingest.
    pub ingest: crate::ingest::Config,
    /// How long each tier lives.
    pub retention: Retention,
    /// How long alerts, transitions and decisions live.
    pub retention_alerts: TimeDelta,
    /// Limits of reading.
    pub query: crate::query::Limits,
    /// Limits of each listener.
    pub connections: ConnectionLimits,
    /// Which traces are kept, and how long.
    pub traces: crate::traces::Config,
    /// Notifications out.
    pub notify: crate::notify::Config,
    /// How long a drain may take.
    pub grace_period: Duration,
    /// Log lines.
    pub log_format: LogFormat,
    /// `RUST_LOG`, or what `DEBUG=fastbreak:*` asks for.
    pub log_filter: String,
}

/// Bounds on a listener's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open at once.
    pub connections: usize,
    /// Of those, from one address.
    pub per_address: usize,
    /// Streams at once of one HTTP/2 connection.
    pub streams: u32,
}

/// All mistakes of a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<Problem>);

impl Config {
    /// Reads what was resolved.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn read(resolved: &Resolved) -> Result<Self, ConfigErrors> {
        let mut read = Reader { resolved, problems: resolved.problems.clone() };
        let config = Self {
            database: database(&mut read),
            database_connections: read.number("database_connections", CONNECTIONS),
            redis: redis(&mut read),
            data_dir: PathBuf::from(read.text("data_dir")),
            http_addr: http_addr(&mut read),
            public_url: public_url(&mut read),
            grpc_addr: read.parse_addr("grpc_addr"),
            otlp_http_addr: read.parse_addr("otlp_http_addr"),
            window: window(&mut read),
            checkpoint: read.duration_in("checkpoint", CHECKPOINT),
            ingest: ingest(&mut read),
            retention: retention(&mut read),
            retention_alerts: read.retention("retention_alerts"),
            query: query(&mut read),
            connections: ConnectionLimits {
                connections: read.number("max_connections", SOCKETS),
                per_address: read.number("max_connections_per_address", SOCKETS),
                streams: read.number("max_streams", STREAMS),
            },
            traces: traces::read(&mut read),
            notify: notify::read(&mut read),
            grace_period: read.duration_in("grace_period", GRACE),
            log_format: log_format(&mut read),
            log_filter: log_filter(&mut read),
        };
        check_addresses(&mut read, &config);
        if read.problems.is_empty() { Ok(config) } else { Err(ConfigErrors(read.problems)) }
    }
}

struct Reader<'a> {
    resolved: &'a Resolved,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn optional(&self, key: &str) -> Option<String> {
        self.resolved.values.get(key).map(|(value, _)| value.clone()).filter(|value| !value.is_empty())
    }

    fn text(&self, key: &str) -> String {
        self.optional(key).unwrap_or_default()
    }

    fn problem(&mut self, key: &str, what: String) {
        let origin = self.resolved.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
        self.problems.push(Problem { origin, what });
    }

    /// A number within `range`; its start when it is bad, which is never used since the problem is reported.
    fn number<T: FromStr + PartialOrd + Copy + std::fmt::Display>(&mut self, key: &str, range: RangeInclusive<T>) -> T {
        let text = self.text(key);
        text.parse().ok().filter(|number| range.contains(number)).unwrap_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.problem(key, format!("{key} = {text:?} is not a number from {least} to {most}"));
            *least
        })
    }

    fn parse_addr(&mut self, key: &str) -> SocketAddr {
        let text = self.text(key);
        text.parse().unwrap_or_else(|_| {
            self.problem(key, format!("{key} = {text:?} is not an address and port such as 127.0.0.1:4317"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn duration(&mut self, key: &str) -> Duration {
        let text = self.text(key);
        humantime::parse_duration(&text).ok().filter(|d| !d.is_zero()).unwrap_or_else(|| {
            self.problem(key, format!("{key} = {text:?} is not a duration such as 10s, 5m or 48h"));
            Duration::from_secs(1)
        })
    }

    fn duration_in(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        let before = self.problems.len();
        let duration = self.duration(key);
        if self.problems.len() == before && !range.contains(&duration) {
            let (least, most) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
            let what = format!("{key} = {:?} must be from {least} to {most}", self.text(key));
            self.problem(key, what);
        }
        duration
    }

    fn retention(&mut self, key: &str) -> TimeDelta {
        let duration = self.duration_in(key, RETENTION);
        TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
    }

    fn bytes(&mut self, key: &str, range: RangeInclusive<u64>) -> usize {
        let text = self.text(key);
        let bytes = text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64());
        bytes.filter(|bytes| range.contains(bytes)).unwrap_or_else(|| {
            let (least, most) = (bytesize::ByteSize(*range.start()), bytesize::ByteSize(*range.end()));
            self.problem(key, format!("{key} = {text:?} is not a size from {least} to {most}, such as 64MiB"));
            *range.start()
        }) as usize
    }
}

/// `DATABASE_URL` wins over `DB_*`; with neither, a private Postgres.
fn database(read: &mut Reader<'_>) -> Backend {
    if let Some(url) = read.optional("database_url") {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            read.problem("database_url", "database_url must begin with postgres://".to_owned());
        }
        return Backend::Url(url);
    }
    let Some(host) = read.optional("db_host") else { return Backend::Private };
    let port = read.number("db_port", PORTS);
    let (name, user) = (read.text("db_name"), read.text("db_user"));
    let password = read.optional("db_password").map(|p| format!(":{}", percent(&p))).unwrap_or_default();
    Backend::Url(format!("postgres://{}{password}@{}:{port}/{}", percent(&user), percent(&host), percent(&name)))
}

fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// `REDIS_URL` (or `off`) wins over `REDIS_*`; with neither, a private Redis beside a private Postgres.
fn redis(read: &mut Reader<'_>) -> Backend {
    match read.optional("redis_url") {
        Some(off) if off == "off" => Backend::Off,
        Some(url) => {
            if !url.starts_with("redis") {
                read.problem("redis_url", "redis_url must begin with redis:// or be off".to_owned());
            }
            Backend::Url(url)
        }
        None => match read.optional("redis_host") {
            Some(host) => {
                let port = read.number("redis_port", PORTS);
                Backend::Url(format!("redis://{host}:{port}"))
            }
            None => Backend::Private,
        },
    }
}

/// `PORT` changes the port of the default address only.
fn http_addr(read: &mut Reader<'_>) -> SocketAddr {
    let mut addr = read.parse_addr("http_addr");
    let by_default = matches!(read.resolved.values.get("http_addr"), Some((_, Origin::Default)));
    if by_default && read.optional("port").is_some() {
        addr.set_port(read.number("port", 0..=u16::MAX));
    }
    addr
}

/// Scheme and host only: it is compared with what browsers send as `Origin`.
fn public_url(read: &mut Reader<'_>) -> Option<String> {
    let text = read.optional("public_url")?;
    let origin = text.trim_end_matches('/');
    let is_origin = ["http://", "https://"].iter().any(|scheme| {
        origin.strip_prefix(scheme).is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
    });
    if !is_origin {
        read.problem("public_url", format!("public_url = {text:?} is not http(s)://host[:port] without a path"));
    }
    Some(origin.to_owned())
}

fn window(read: &mut Reader<'_>) -> Width {
    let duration = read.duration("window");
    let width = u32::try_from(duration.as_secs()).ok().and_then(Width::new).filter(|_| duration.subsec_nanos() == 0);
    width.unwrap_or_else(|| {
        read.problem("window", "window must be whole seconds that divide an hour".to_owned());
        Width::TEN_SECONDS
    })
}

fn ingest(read: &mut Reader<'_>) -> crate::ingest::Config {
    let limits = Limits {
        receive_bytes: read.bytes("receive_bytes", BODY_BYTES),
        in_flight_bytes: read.bytes("in_flight_bytes", IN_FLIGHT_BYTES),
        body_deadline: read.duration_in("body_deadline", BODY_WAIT),
    };
    if limits.in_flight_bytes < limits.receive_bytes {
        read.problem("in_flight_bytes", "in_flight_bytes must be at least receive_bytes".to_owned());
    }
    let caps = SeriesCaps {
        per_service: read.number("series_per_service", SERIES),
        per_metric: read.number("series_per_metric", SERIES),
    };
    let checkpoints_waiting = read.number("checkpoints_waiting", 2..=100_000);
    crate::ingest::Config { limits, caps, retention: read.retention("retention_fine"), checkpoints_waiting }
}

fn retention(read: &mut Reader<'_>) -> Retention {
    let retention = Retention {
        fine: read.retention("retention_fine"),
        minute: read.retention("retention_minute"),
        hour: read.retention("retention_hour"),
    };
    if !(retention.fine <= retention.minute && retention.minute <= retention.hour) {
        read.problem("retention_minute", "retention must grow from fine over minute to hour".to_owned());
    }
    retention
}

fn query(read: &mut Reader<'_>) -> crate::query::Limits {
    crate::query::Limits {
        concurrent: read.number("query_concurrent", 1..=1_000),
        waiting: read.number("query_waiting", 0..=100_000),
        deadline: read.duration("query_deadline"),
        series: read.number("query_series", 1..=100_000_000),
        bytes: read.bytes("query_bytes", 1..=1 << 40),
    }
}

fn log_format(read: &mut Reader<'_>) -> LogFormat {
    match read.text("log_format").as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => {
            let what = format!("log_format = {other:?} is neither text nor json");
            read.problem("log_format", what);
            LogFormat::Text
        }
    }
}

/// `RUST_LOG` for tracing's filter.
fn log_filter(read: &mut Reader<'_>) -> String {
    let filter = read.text("log_filter");
    if let Err(why) = check_filter(&filter) {
        read.problem("log_filter", format!("log_filter = {filter:?} is not understood: {why}"));
    }
    filter
}

fn check_addresses(read: &mut Reader<'_>, config: &Config) {
    let named =
        [("http_addr", config.http_addr), ("grpc_addr", config.grpc_addr), ("otlp_http_addr", config.otlp_http_addr)];
    let open = read.text("insecure_no_auth") == "true";
    for (i, (key, addr)) in named.iter().enumerate() {
        if !addr.ip().is_loopback() && !open {
            let what =
                format!("{key} = {addr} is not loopback and no tokens are configured; --insecure-no-auth overrides");
            read.problem(key, what);
        }
        if let Some((other, _)) = named.iter().take(i).find(|(_, taken)| taken == addr && addr.port() != 0) {
            let what = format!("{key} and {other} are both {addr}");
            read.problem(key, what);
        }
    }
}

#[cfg(test)]
mod tests;
