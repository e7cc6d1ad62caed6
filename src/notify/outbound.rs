//! The one HTTP client by which notifications leave: guarded, bounded, and silent about what it was told.
//!
//! http and https only, no redirects, no proxy from the environment, listed ports only. Names are resolved here, and every
//! address is judged when it is connected to, not when the receiver is saved: a name that points elsewhere tomorrow is
//! judged tomorrow. Errors name scheme and host, never path or query: those are secrets in many webhooks.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use tokio::time::Instant;

use super::addresses;

/// How long a call may take in all.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection waits for the next call; kept short, since one that the other side has closed costs an attempt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Where notifications may go.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Ranges that are open although they are not public.
    pub allow_cidrs: Vec<IpNet>,
    /// Ports that may be called.
    pub allow_ports: Vec<RangeInclusive<u16>>,
}

/// Why a call had no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum CallError {
    /// Not to be called, as it stands in the settings.
    #[error("{0}")]
    Forbidden(String),
    /// It may be different next time.
    #[error("{0}")]
    Failed(String),
}

/// An answer, as much of it as is read.
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// The wait that the receiver asks for.
    pub(super) retry_after: Option<Duration>,
    /// At most 64 KiB.
    pub(super) body: Vec<u8>,
}

/// A call to be made.
pub(super) struct Call {
    /// Whom to call.
    pub(super) url: Url,
    /// `Content-Type`.
    pub(super) content_type: &'static str,
    /// More headers.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Call {
    /// A POST of JSON.
    pub(super) fn json(url: Url, body: &serde_json::Value) -> Self {
        Self { url, content_type: "application/json", headers: Vec::new(), body: body.to_string().into_bytes() }
    }
}

/// Scheme and host: what may be told of a URL.
pub(super) fn redacted(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

impl Guard {
    /// Refuses what can be refused without asking a resolver.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the scheme {:?} is neither http nor https", url.scheme()));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.allow_ports.iter().any(|ports| ports.contains(&port)) {
            return Err(format!("port {port} is not in notify_allow_ports"));
        }
        let literal = match url.host_str() {
            None | Some("") => return Err("a host is missing".to_owned()),
            Some(host) => host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok(),
        };
        match literal {
            Some(ip) if !self.allows(ip) => {
                Err(format!("the address {ip} is not public and not in notify_allow_cidrs"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn allows(&self, ip: IpAddr) -> bool {
        addresses::is_allowed(ip, &self.allow_cidrs)
    }

    /// The allowed addresses of `host`.
    pub(super) async fn resolve(&self, host: &str) -> Result<Vec<SocketAddr>, String> {
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|_| format!("{host} cannot be resolved"))?;
        let allowed: Vec<SocketAddr> = found.filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() {
            return Err(format!("{host} has no address that is public or in notify_allow_cidrs"));
        }
        Ok(allowed)
    }
}

struct GuardedResolver(Arc<Guard>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let allowed = guard.resolve(name.as_str()).await?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Runs `work` until `deadline` by the clock: a process that was stopped and goes on finds the deadline passed before it
/// does anything else, so it does not send under a lease that it has lost.
pub(super) async fn before<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut alarm = pin!(tokio::time::sleep_until(deadline));
    poll_fn(|context| {
        if Instant::now() >= deadline || alarm.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// The client.
pub(super) struct Outbound {
    client: Client,
    guard: Arc<Guard>,
}

impl Outbound {
    /// A client behind `guard`.
    pub(super) fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        let guard = Arc::new(guard);
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(GuardedResolver(Arc::clone(&guard))))
            .connect_timeout(CALL_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("FastBreak/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, guard })
    }

    /// The guard, for what does not speak HTTP.
    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// POSTs, within [`CALL_TIMEOUT`].
    pub(super) async fn post(&self, call: Call) -> Result<Answer, CallError> {
        self.guard.check(&call.url).map_err(CallError::Forbidden)?;
        let told = redacted(&call.url);
        let late = || CallError::Failed(format!("{told} did not answer within {} s", CALL_TIMEOUT.as_secs()));
        before(Instant::now() + CALL_TIMEOUT, self.exchange(call, &told)).await.ok_or_else(late)?
    }

    async fn exchange(&self, call: Call, told: &str) -> Result<Answer, CallError> {
        let mut headers = HeaderMap::from_iter(call.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
        let sent = self.client.post(call.url).headers(headers).body(call.body).send().await;
        let answer = sent.map_err(|error| CallError::Failed(format!("{told}: {}", reasons(error))))?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        Ok(Answer { status, retry_after, body: read(answer).await })
    }
}

/// The chain of causes without the URL.
fn reasons(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !out.contains(&text) {
            out = format!("{out}: {text}");
        }
        cause = inner.source();
    }
    out
}

/// What comes of the body before it breaks off or is too much; the status has told already what counts.
async fn read(mut answer: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    body
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
            SystemTime::from(at).duration_since(SystemTime::now()).ok()?
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard { allow_cidrs: Vec::new(), allow_ports: vec![80..=80, 443..=443, 8000..=8999] }
    }

    #[test]
    fn urls_are_judged_before_a_resolver_is_asked() {
        let check = |url: &str| guard().check(&url.parse().expect("a URL"));
        for open in ["https://example.com/x", "http://example.com:8080/", "https://1.1.1.1/", "http://[2606:4700::1]/"]
        {
            check(open).expect(open);
        }
        for (shut, expect) in [
            ("ftp://example.com/", "neither http nor https"),
            ("file:///etc/passwd", "neither http nor https"),
            ("https://example.com:22/", "port 22"),
            ("http://127.0.0.1/", "127.0.0.1"),
            // The URL parser reads these as addresses, as a resolver would.
            ("http://2130706433/", "127.0.0.1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://017700000001/", "127.0.0.1"),
            ("http://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1"),
            ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ] {
            let told = check(shut).expect_err(shut);
            assert!(told.contains(expect), "{shut}: {told}");
        }
    }

    #[tokio::test]
    async fn names_that_point_inside_have_no_address() {
        let told = guard().resolve("localhost").await.expect_err("loopback");
        assert!(told.contains("notify_allow_cidrs"), "{told}");
        let open = Guard { allow_cidrs: vec!["127.0.0.0/8".parse().expect("a prefix")], ..guard() };
        assert!(open.resolve("localhost").await.expect("allowed").iter().all(|a| a.ip().is_ipv4()));
    }

    #[test]
    fn waits_are_seconds_or_dates_and_bounded() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert!(retry_after("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|wait| wait == RETRY_AFTER_MAX));
        assert_eq!(retry_after("soon"), None);
    }

    #[tokio::test]
    async fn nothing_is_done_after_the_deadline() {
        let deadline = Instant::now();
        let mut touched = false;
        assert_eq!(before(deadline, async { touched = true }).await, None);
        assert!(!touched);
        assert_eq!(before(Instant::now() + CALL_TIMEOUT, async { 1 }).await, Some(1));
    }
}
