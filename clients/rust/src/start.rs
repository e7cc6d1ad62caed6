//! One call that sets everything up, and one that ends it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::global;
use tonic::transport::{Channel, Endpoint};

use crate::batcher::{Batcher, Process};
use crate::cache::{Cache, Source};
use crate::measure;
use crate::policy::{Identity, Policies};
use crate::telemetry::{Exports, Origin, Telemetry};

/// Where a server is by default.
const ENDPOINT: &str = "http://localhost:4317";
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often the connection itself is asked whether it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Why it does not start. A server that is away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is called outside of tokio.
    #[error("FastBreak must be started within a tokio runtime")]
    NoRuntime,
    /// The service has no name.
    #[error("service must not be empty")]
    NoService,
    /// The endpoint is no URI.
    #[error("endpoint {endpoint:?} is not understood")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The token cannot be sent.
    #[error("token must be of visible ASCII characters")]
    Token,
    /// An exporter cannot be made.
    #[error("telemetry cannot be exported")]
    Telemetry(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What is set before the start.
#[derive(Clone, Debug)]
pub struct Builder {
    service: String,
    endpoint: String,
    version: String,
    labels: BTreeMap<String, String>,
    token: Option<String>,
    policy_file: Option<PathBuf>,
    channel: Option<Channel>,
    period: Option<Duration>,
}

impl Builder {
    /// Where the server is; `http://localhost:4317` by default. `https` is TLS with the system's roots.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// The version of the service.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// A label such as region: a resource attribute of what is exported, and what policies may choose by.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// The token that the server asks for.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(format!("Bearer {token}"));
        self
    }

    /// Where the last good policies are kept; by default `fastbreak/<service>.policies` under `XDG_STATE_HOME`, or
    /// `~/.local/state`.
    #[must_use]
    pub fn policy_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.policy_file = Some(file.into());
        self
    }

    /// A connection of your own for policies, such as one with a client certificate.
    #[must_use]
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channel = Some(channel);
        self
    }

    /// How often metrics are sent; every 10 s by default, as wide as the server's windows. `OTEL_METRIC_EXPORT_INTERVAL`
    /// counts for more.
    #[must_use]
    pub const fn export_every(mut self, period: Duration) -> Self {
        self.period = Some(period);
        self
    }

    /// Starts. The server may be away: what is measured waits its time, policies are those of the last run, and both go on
    /// when it is there.
    ///
    /// # Errors
    /// Something that was given cannot be used.
    pub fn start(self) -> Result<FastBreak, StartError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        let detected = opentelemetry_sdk::Resource::builder().build();
        let variable = |name: &'static str| detected.get(&opentelemetry::Key::from_static_str(name));
        let named = variable("service.name").map(|name| name.to_string());
        let service = named.filter(|name| !name.starts_with("unknown_service")).unwrap_or(self.service);
        if service.trim().is_empty() {
            return Err(StartError::NoService);
        }
        let instance = variable("service.instance.id").map_or_else(new_instance, |instance| instance.to_string());
        let token = self.token.as_deref().map(str::parse).transpose().map_err(|_| StartError::Token)?;
        let channel = match self.channel {
            Some(channel) => channel,
            None => connect(&self.endpoint)?,
        };
        let mut attributes: Vec<_> = self.labels.clone().into_iter().collect();
        if !self.version.is_empty() {
            attributes.push(("service.version".to_owned(), self.version.clone()));
        }
        let telemetry = Telemetry::start(&Origin {
            service: service.clone(),
            instance: instance.clone(),
            attributes,
            endpoint: self.endpoint,
            token: self.token,
            period: self.period,
        })?;
        let file = self.policy_file.or_else(|| default_file(&service));
        let who =
            Identity { service, instance: instance.clone(), version: self.version, labels: self.labels, token, file };
        let policies = Policies::start(who, channel);
        measure::policies(&global::meter("fastbreak.policy"), &policies);
        Ok(FastBreak { telemetry, policies, instance })
    }
}

/// A connection that is made when it is needed.
fn connect(endpoint: &str) -> Result<Channel, StartError> {
    let told = |source| StartError::Endpoint { endpoint: endpoint.to_owned(), source };
    let made = Endpoint::from_shared(endpoint.to_owned()).map_err(told)?;
    #[cfg(feature = "tls")]
    let made = if endpoint.starts_with("https") {
        made.tls_config(tonic::transport::ClientTlsConfig::new().with_native_roots()).map_err(told)?
    } else {
        made
    };
    Ok(made
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_lazy())
}

/// 128 random bits, as a UUID writes them.
fn new_instance() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn default_file(service: &str) -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = given("XDG_STATE_HOME").or_else(|| given("HOME").map(|home| home.join(".local/state")))?;
    let name: String = service.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Some(state.join("fastbreak").join(format!("{name}.policies")))
}

/// Telemetry out and policies in.
pub struct FastBreak {
    telemetry: Telemetry,
    policies: Policies,
    instance: String,
}

impl FastBreak {
    /// For the service of that name; `OTEL_SERVICE_NAME` counts for more.
    #[must_use]
    pub fn builder(service: impl Into<String>) -> Builder {
        Builder {
            service: service.into(),
            endpoint: ENDPOINT.to_owned(),
            version: String::new(),
            labels: BTreeMap::new(),
            token: None,
            policy_file: None,
            channel: None,
            period: None,
        }
    }

    /// Gives `batcher` the policies for that name, and sends what it counts.
    pub fn batcher<P: Process>(&self, name: &str, batcher: &Batcher<P>) {
        self.policies.batcher(name, batcher);
        measure::batcher(&global::meter("fastbreak.batch"), Some(&self.policies), name, batcher);
    }

    /// Gives `cache` the policies for that key space, and sends what it counts.
    pub fn cache<S: Source>(&self, name: &str, cache: &Cache<S>) {
        self.policies.cache(name, cache);
        measure::cache(&global::meter("fastbreak.cache"), Some(&self.policies), name, cache);
    }

    /// A layer that measures an HTTP server.
    #[cfg(feature = "tower")]
    #[must_use]
    pub fn http(&self) -> crate::http::HttpLayer {
        crate::http::HttpLayer::new()
    }

    /// A monitor of a database: its `db.system.name` and its name.
    #[cfg(feature = "database")]
    #[must_use]
    pub fn database(&self, system: &str, namespace: &str) -> crate::database::DatabaseMonitor {
        crate::database::DatabaseMonitor::new(system, namespace)
    }

    /// The policies of this instance, for targets of your own.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// `service.instance.id`, in what is exported and to the server.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// How exports went.
    #[must_use]
    pub fn exports(&self) -> &Exports {
        self.telemetry.exports()
    }

    /// Sends what waits, keeps the policies on disk, and ends. True when all of that was done in time.
    pub async fn shutdown(self, within: Duration) -> bool {
        let (sent, stopped) = tokio::join!(self.telemetry.shutdown(within), self.policies.stop(within));
        sent && stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_as_a_uuid() {
        let name = new_instance();
        assert_eq!(name.len(), 36);
        assert_eq!((name.get(14..15), name.get(8..9)), (Some("4"), Some("-")), "{name}");
        assert!(matches!(name.get(19..20), Some("8" | "9" | "a" | "b")), "{name}");
        assert_ne!(name, new_instance());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert!(matches!(FastBreak::builder("shop").start(), Err(StartError::NoRuntime)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let told = |builder: Builder| builder.start().err().expect("refused").to_string();
            assert_eq!(told(FastBreak::builder(" ")), "service must not be empty");
            assert_eq!(told(FastBreak::builder("a").endpoint("not a uri")), "endpoint \"not a uri\" is not understood");
            assert_eq!(told(FastBreak::builder("a").token("ö\n")), "token must be of visible ASCII characters");
        });
    }
}
