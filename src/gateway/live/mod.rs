//! `/ws`: what changes, as it changes.
//!
//! One socket a page. A client subscribes to topics and gets a snapshot of each, then deltas with sequence numbers, and
//! resumes by the number it had. A topic is evaluated once for all who read it, only while somebody does, and at most once
//! a second; a client that cannot keep up is not queued for: it gets the latest of what it missed.
//!
//! ```text
//! ◄ {"kind":"hello","instance":"4f…","windowSeconds":10}
//! ► {"op":"subscribe","topics":[{"topic":"ledger"},{"topic":"query:sum(rate(x[1m]))","resume":{"instance":"4f…","seq":7}}]}
//! ◄ {"kind":"snapshot","topic":"ledger","seq":9,"at":1795575479000,"items":{"service:shop":{…},"signal:metrics":{…}}}
//! ◄ {"kind":"delta","topic":"query:…","seq":12,"at":…,"items":{"{\"route\":\"/a\"}":[1795575470000,3.5],"{…}":null}}
//! ◄ {"kind":"failure","topic":"query:…","seq":13,"detail":"…"}
//! ► {"op":"unsubscribe","topics":["ledger"]}
//! ```
//!
//! A snapshot replaces what the client has, a delta is put over it, and null takes away. Topics: `indicators`,
//! `indicators:<service>`, `ledger`, `alerts`, `query:<PromQL>`. Codes that end a socket: 1007 not text, 1008 not
//! understood or more than 20 messages a second, 1009 more than 16 KiB, 1012 the server leaves, 1013 over 50 topics.

mod drive;
mod feed;
mod protocol;
mod socket;
mod topic;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{self, WebSocketUpgrade};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri, header};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::State;
use super::problem::Problem;
use crate::live::Board;
pub(super) use drive::drive;
use feed::Feed;
use topic::Topic;

/// Most sockets of this process.
const CLIENTS_MAX: usize = 1_000;
/// Most topics that are kept up to date at once.
const TOPICS_MAX: usize = 2_000;
/// Largest frame from a client; the reader stops a little later, so that its length can be told.
const FRAME_BYTES_MAX: usize = 16 << 10;
const READ_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;
/// What is set aside to read from a client.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Most bytes that wait for a client.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// What `/ws` counts.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveMetrics {
    clients: Gauge,
    topics: Gauge,
    frames: Counter,
    evaluations: Counter,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
    closed: Family<[(&'static str, u16); 1], Counter>,
}

/// Topics and those who read them.
pub(super) struct Live {
    board: Board,
    topics: Mutex<HashMap<Topic, drive::Entry>>,
    /// Wakes the driver for a new topic.
    wake: Notify,
    clients: AtomicUsize,
    drain: CancellationToken,
    metrics: LiveMetrics,
    /// Names this run of this process: numbers of another are not ours.
    instance: String,
}

impl Live {
    pub(super) fn new() -> Self {
        Self {
            board: Board::default(),
            topics: Mutex::default(),
            wake: Notify::new(),
            clients: AtomicUsize::new(0),
            drain: CancellationToken::new(),
            metrics: LiveMetrics::default(),
            instance: format!("{:016x}", rand::random::<u64>()),
        }
    }

    /// Closes every socket with 1012; clients come back to the next server.
    pub(super) fn close(&self) {
        self.drain.cancel();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let (registry, metrics) = (registry.sub_registry_with_prefix("live"), &self.metrics);
        registry.register("clients", "Open sockets", metrics.clients.clone());
        registry.register("topics", "Topics kept up to date", metrics.topics.clone());
        registry.register("frames", "Frames sent", metrics.frames.clone());
        registry.register("evaluations", "Evaluations of topics", metrics.evaluations.clone());
        registry.register("refused", "Sockets refused before the upgrade, by reason", metrics.refused.clone());
        registry.register("closed", "Sockets closed by us, by code", metrics.closed.clone());
    }

    /// The feed of `topic`; none when there are too many.
    fn feed(&self, topic: &Topic) -> Option<Arc<Feed>> {
        let mut topics = self.topics.lock();
        if let Some(entry) = topics.get(topic) {
            return Some(Arc::clone(&entry.feed));
        }
        if topics.len() >= TOPICS_MAX {
            return None;
        }
        let feed = Arc::new(Feed::new(topic.to_string(), self.board.channel()));
        topics.insert(topic.clone(), drive::Entry::new(Arc::clone(&feed)));
        self.metrics.topics.set(topics.len() as i64);
        self.wake.notify_one();
        Some(feed)
    }

    fn refuse(&self, reason: &'static str, problem: Problem) -> Problem {
        self.metrics.refused.get_or_create(&[("reason", reason)]).inc();
        problem
    }
}

/// A client's place; given back when dropped.
struct Place(Arc<State>);

impl Place {
    fn take(state: &Arc<State>) -> Option<Self> {
        let taken = state.live.clients.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(state));
        state.live.metrics.clients.inc();
        (taken < CLIENTS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.live.clients.fetch_sub(1, Ordering::Relaxed);
        self.0.live.metrics.clients.dec();
    }
}

/// `GET /ws`.
pub(super) async fn upgrade(
    extract::State(state): extract::State<Arc<State>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let live = &state.live;
    if !is_own_origin(&headers, state.facts.public_url.as_deref()) {
        let detail = "the Origin header must name this server or FASTBREAK_PUBLIC_URL";
        return Err(live.refuse("origin", Problem::of(StatusCode::FORBIDDEN, "permission-denied", detail)));
    }
    let upgrade = upgrade.map_err(|rejection| {
        let problem = Problem::of(StatusCode::UPGRADE_REQUIRED, "upgrade-required", rejection.body_text());
        live.refuse("upgrade", problem)
    })?;
    let place = Place::take(&state).ok_or_else(|| {
        let detail = format!("{CLIENTS_MAX} sockets are open, which is the limit");
        live.refuse("clients", Problem::of(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail))
    })?;
    let upgrade = upgrade.max_message_size(READ_BYTES_MAX).max_frame_size(READ_BYTES_MAX);
    // The default is 128 KiB, for each of a thousand clients that say little.
    let upgrade =
        upgrade.read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0).max_write_buffer_size(2 * WRITE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| socket::serve(socket, place)))
}

/// True when the page that asks was served from here.
fn is_own_origin(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let authority = |url: &str| url.parse::<Uri>().ok().and_then(|uri| Some(uri.authority()?.as_str().to_owned()));
    let Some(origin) = text(header::ORIGIN) else { return false };
    let Some(asking) = authority(origin) else { return false };
    let is_host = text(header::HOST).is_some_and(|host| host.eq_ignore_ascii_case(&asking));
    let is_public = || public_url.is_some_and(|url| origin.eq_ignore_ascii_case(url.trim_end_matches('/')));
    is_host || is_public()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_this_server_may_ask() {
        let check = |origin: Option<&'static str>, public_url: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("Localhost:3001"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_own_origin(&headers, public_url)
        };
        assert!(check(Some("http://localhost:3001"), None));
        assert!(check(Some("https://fastbreak.example"), Some("https://fastbreak.example/")));
        for foreign in [None, Some("null"), Some("http://localhost:3002"), Some("http://localhost"), Some("://")] {
            assert!(!check(foreign, Some("https://fastbreak.example")), "{foreign:?}");
        }
        assert!(!check(Some("http://fastbreak.example"), Some("https://fastbreak.example")), "another scheme");
    }
}
