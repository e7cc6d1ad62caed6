//! The SMTP relay: where it is, how it is spoken to, and the pool of connections to it.
//!
//! The address is judged and chosen here, and lettre connects to that address; the certificate is checked for the name.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::super::outbound::Guard;
use super::super::outcome::Outcome;

/// How long one step of the conversation may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an address may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection waits for the next mail.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Most connections to one relay: as many as deliveries to one receiver at once.
const CONNECTIONS_MAX: u32 = 4;
/// Ports on which mail is taken.
const PORTS: &[u16] = &[25, 465, 587, 2525];

pub(super) type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// After STARTTLS; but plain to a relay on this machine.
    Auto,
    /// After STARTTLS, or not at all.
    StartTls,
    /// With the connection.
    Implicit,
    /// Never: asked for by name.
    Plain,
}

impl TlsMode {
    /// As settings have them.
    pub(super) const NAMES: &[&'static str] = &["auto", "starttls", "tls", "none"];

    pub(super) fn read(name: &str, port: u16) -> Self {
        match name {
            "starttls" => Self::StartTls,
            "tls" => Self::Implicit,
            "none" => Self::Plain,
            _ if port == 465 => Self::Implicit,
            _ => Self::Auto,
        }
    }
}

/// A relay, and connections to it.
pub(super) struct Relay {
    host: String,
    port: u16,
    tls: TlsMode,
    credentials: Option<(String, SecretString)>,
    /// The operator named it: it may be anywhere, on any port.
    trusted: bool,
    open: Mutex<Option<(IpAddr, Transport)>>,
}

impl Relay {
    pub(super) fn new(
        (host, port): (String, u16),
        tls: TlsMode,
        credentials: Option<(String, SecretString)>,
        trusted: bool,
    ) -> Self {
        Self { host, port, tls, credentials, trusted, open: Mutex::default() }
    }

    /// The pool, made anew when the relay has moved.
    pub(super) async fn transport(&self, guard: &Guard, hello: &str) -> Result<Transport, Outcome> {
        let addresses = self.addresses(guard).await?;
        let mut open = self.open.lock().await;
        if let Some((ip, transport)) = &*open
            && addresses.iter().any(|address| address.ip() == *ip)
        {
            return Ok(transport.clone());
        }
        let ip = self.reachable(&addresses).await?;
        let transport = self.build(ip, hello).map_err(|error| self.failed(&error))?;
        *open = Some((ip, transport.clone()));
        Ok(transport)
    }

    async fn addresses(&self, guard: &Guard) -> Result<Vec<SocketAddr>, Outcome> {
        if self.trusted {
            let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
            return match found {
                Ok(found) => Ok(found.collect()),
                Err(_) => Err(Outcome::retry(None, None, &format!("{} cannot be resolved", self.host))),
            };
        }
        if !PORTS.contains(&self.port) && !guard.allow_ports.iter().any(|ports| ports.contains(&self.port)) {
            return Err(Outcome::refused(None, &format!("port {} is not one for mail", self.port)));
        }
        guard.resolve(&self.host).await.map_err(|what| Outcome::retry(None, None, &what))
    }

    /// The first address that takes a connection.
    async fn reachable(&self, addresses: &[SocketAddr]) -> Result<IpAddr, Outcome> {
        let mut told = "it has no address".to_owned();
        for address in addresses {
            let connect = TcpStream::connect((address.ip(), self.port));
            match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
                Ok(Ok(_)) => return Ok(address.ip()),
                Ok(Err(error)) => told = error.to_string(),
                Err(_) => told = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
            }
        }
        Err(Outcome::retry(None, None, &format!("smtp {}:{}: {told}", self.host, self.port)))
    }

    fn build(&self, ip: IpAddr, hello: &str) -> Result<Transport, Error> {
        let tls = match self.tls {
            TlsMode::Plain => Tls::None,
            TlsMode::Auto if ip.is_loopback() => Tls::None,
            TlsMode::Auto | TlsMode::StartTls => Tls::Required(TlsParameters::new(self.host.clone())?),
            TlsMode::Implicit => Tls::Wrapper(TlsParameters::new(self.host.clone())?),
        };
        let pool = PoolConfig::new().max_size(CONNECTIONS_MAX).idle_timeout(IDLE_TIMEOUT);
        let mut builder = Transport::builder_dangerous(ip.to_string())
            .port(self.port)
            .tls(tls)
            .timeout(Some(STEP_TIMEOUT))
            .hello_name(ClientId::Domain(hello.to_owned()))
            .pool_config(pool);
        if let Some((user, password)) = &self.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
        }
        Ok(builder.build())
    }

    /// 5xx is for good; 4xx and a broken conversation may pass.
    pub(super) fn failed(&self, error: &Error) -> Outcome {
        let mut detail = format!("smtp {}:{}: {error}", self.host, self.port);
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            detail = format!("{detail}: {inner}");
            cause = inner.source();
        }
        let status = error.status().map(u16::from);
        if error.is_permanent() { Outcome::refused(status, &detail) } else { Outcome::retry(status, None, &detail) }
    }
}
