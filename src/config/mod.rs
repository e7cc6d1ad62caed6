//! The server's configuration: flag > environment > file > default.
//!
//! One table of settings (`settings`) names each key, its variables and its default; this module turns the resolved text
//! into the `Config` structs of the modules below and reports every mistake of all of it at once.

mod load;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;

pub use load::{Origin, Resolved, load};
pub use settings::{SETTINGS, Setting};

use crate::ingest::{Limits, SeriesCaps};
use crate::model::Width;
use crate::storage::Retention;
use load::Problem;

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
    /// Where browsers find the dashboard when a proxy stands before it.
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
    /// Limits of each listener.
    pub connections: ConnectionLimits,
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
            database_connections: read.parse("database_connections", "a number"),
            redis: redis(&mut read),
            data_dir: PathBuf::from(read.text("data_dir")),
            http_addr: http_addr(&mut read),
            public_url: public_url(&mut read),
            grpc_addr: read.parse_addr("grpc_addr"),
            otlp_http_addr: read.parse_addr("otlp_http_addr"),
            window: window(&mut read),
            checkpoint: read.duration("checkpoint"),
            ingest: ingest(&mut read),
            retention: retention(&mut read),
            connections: ConnectionLimits {
                connections: read.parse("max_connections", "a number"),
                per_address: read.parse("max_connections_per_address", "a number"),
                streams: read.parse("max_streams", "a number"),
            },
            grace_period: read.duration("grace_period"),
            log_format: log_format(&mut read),
            log_filter: read.text("log_filter"),
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

    /// A parsed value; a placeholder when it is bad, which is never used since the problem is reported.
    fn parse<T: FromStr + Default>(&mut self, key: &str, expected: &str) -> T {
        let text = self.text(key);
        text.parse().unwrap_or_else(|_| {
            self.problem(key, format!("{key} = {text:?} is not {expected}"));
            T::default()
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

    fn time_delta(&mut self, key: &str) -> TimeDelta {
        let duration = self.duration(key);
        TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
    }

    fn bytes(&mut self, key: &str) -> usize {
        let text = self.text(key);
        text.parse::<bytesize::ByteSize>().map(|size| size.as_u64() as usize).unwrap_or_else(|_| {
            self.problem(key, format!("{key} = {text:?} is not a size such as 64MiB"));
            1
        })
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
    let port: u16 = read.parse("db_port", "a port");
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
                let port: u16 = read.parse("redis_port", "a port");
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
        addr.set_port(read.parse("port", "a port"));
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
        receive_bytes: read.bytes("receive_bytes"),
        in_flight_bytes: read.bytes("in_flight_bytes"),
        body_deadline: read.duration("body_deadline"),
    };
    if limits.in_flight_bytes < limits.receive_bytes {
        read.problem("in_flight_bytes", "in_flight_bytes must be at least receive_bytes".to_owned());
    }
    let caps = SeriesCaps {
        per_service: read.parse("series_per_service", "a number"),
        per_metric: read.parse("series_per_metric", "a number"),
    };
    crate::ingest::Config { limits, caps, retention: read.time_delta("retention_fine") }
}

fn retention(read: &mut Reader<'_>) -> Retention {
    let retention = Retention {
        fine: read.time_delta("retention_fine"),
        minute: read.time_delta("retention_minute"),
        hour: read.time_delta("retention_hour"),
    };
    if !(retention.fine <= retention.minute && retention.minute <= retention.hour) {
        read.problem("retention_minute", "retention must grow from fine over minute to hour".to_owned());
    }
    retention
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
