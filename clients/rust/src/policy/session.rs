//! One connection to the server: says what runs, takes what comes, answers each nonce.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::Shared;
use super::state::Refusal;
use super::target::Target;
use crate::proto::policy_service_client::PolicyServiceClient;
use crate::proto::watch_request::Message as Say;
use crate::proto::watch_response::Message as Hear;
use crate::proto::{Ack, Hello, Invalidation, Ping, Pong, WarmOrder, WarmReport, WatchRequest, WatchResponse};

/// Messages that wait to be sent.
const OUTGOING_MAX: usize = 64;
/// How long one more may wait for its place; the connection is given up then.
const SAY_MAX: Duration = Duration::from_secs(5);
/// Largest message that is taken.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How long the server may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// How often the server is asked when no cache needs it.
const PING: Duration = Duration::from_secs(10);
const PING_MIN: Duration = Duration::from_millis(50);
/// The server is gone when it has not answered for so many pings.
const SILENT_PINGS: u32 = 4;
/// How long caches may take to make entries invalid.
const INVALIDATE_MAX: Duration = Duration::from_secs(2);
/// How long a warming may take.
const WARM_MAX: Duration = Duration::from_secs(300);
/// How long the last words have before a connection is left.
const FAREWELL: Duration = Duration::from_millis(100);
/// Warmings at once.
const WARMINGS_MAX: usize = 4;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the server cannot be reached: {0}")]
    Refused(#[from] Status),
    #[error("the server ended the stream")]
    Closed,
    #[error("the server does not answer")]
    Silent,
    #[error("messages to the server are not taken")]
    Stuck,
    #[error("an invalidation was missed")]
    Gap,
    #[error("a target panicked")]
    Panicked,
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    outgoing: mpsc::Sender<WatchRequest>,
    /// Pings that wait for their answer: number, when they were sent, and the lease that was asked for.
    pings: VecDeque<(u64, Instant, Duration)>,
    number: u64,
    next_ping: Instant,
    /// A cache came since the last ping.
    wants_leave: bool,
    /// They end with the connection that asked for them.
    warmings: JoinSet<WarmReport>,
}

/// Until the connection ends: whether the server gave a snapshot, and why it ended.
pub(super) async fn run(shared: &Arc<Shared>, channel: Channel) -> (bool, End) {
    let mut greeted = false;
    let (outgoing, waiting) = mpsc::channel(OUTGOING_MAX);
    let now = Instant::now();
    let mut session = Session {
        shared,
        outgoing,
        pings: VecDeque::new(),
        number: 0,
        next_ping: now + BEGIN_MAX,
        wants_leave: false,
        warmings: JoinSet::new(),
    };
    let ended = async {
        session.say(Say::Hello(hello(shared))).await?;
        let mut incoming = begin(shared, channel, waiting).await?;
        session.next_ping = Instant::now() + BEGIN_MAX;
        let ended = session.listen(&mut incoming, &mut greeted).await;
        if matches!(ended, Err(End::Gap)) {
            // Why may still be under way to the server.
            let rest = async { while let Ok(Some(_)) = incoming.message().await {} };
            let _heard = timeout(FAREWELL, rest).await;
        }
        ended
    };
    match ended.await {
        Ok(never) => match never {},
        Err(end) => (greeted, end),
    }
}

fn hello(shared: &Shared) -> Hello {
    let state = shared.state.lock();
    let who = &shared.who;
    Hello {
        service: who.service.clone(),
        instance: who.instance.clone(),
        version: who.version.clone(),
        labels: who.labels.clone().into_iter().collect(),
        sdk: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
        running: state.revisions().collect(),
        invalidation: state.invalidation,
        lease: prost_types::Duration::try_from(state.memory_life()).ok(),
    }
}

async fn begin(
    shared: &Shared,
    channel: Channel,
    waiting: mpsc::Receiver<WatchRequest>,
) -> Result<Streaming<WatchResponse>, End> {
    let mut request = Request::new(ReceiverStream::new(waiting));
    if let Some(token) = &shared.who.token {
        request.metadata_mut().insert("authorization", token.clone());
    }
    let mut client = PolicyServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let response = timeout(BEGIN_MAX, client.watch(request)).await.map_err(|_elapsed| End::Silent)??;
    Ok(response.into_inner())
}

impl Session<'_> {
    async fn listen(
        &mut self,
        incoming: &mut Streaming<WatchResponse>,
        greeted: &mut bool,
    ) -> Result<std::convert::Infallible, End> {
        loop {
            tokio::select! {
                message = incoming.message() => {
                    let message = message?.ok_or(End::Closed)?;
                    *greeted |= matches!(message.message, Some(Hear::Snapshot(_)));
                    self.hear(message).await?;
                }
                () = sleep_until(self.next_ping) => self.ping().await?,
                () = self.shared.added.notified() => self.ask_for_leave().await?,
                Some(warmed) = self.warmings.join_next() => {
                    if let Ok(report) = warmed {
                        self.say(Say::Warmed(report)).await?;
                    }
                }
            }
        }
    }

    async fn say(&self, message: Say) -> Result<(), End> {
        let said = timeout(SAY_MAX, self.outgoing.send(WatchRequest { message: Some(message) })).await;
        said.map_err(|_elapsed| End::Stuck)?.map_err(|_gone| End::Closed)
    }

    async fn ack(&self, nonce: &str, refused: Vec<Refusal>) -> Result<(), End> {
        let stats = &self.shared.stats;
        if nonce.is_empty() {
            return Ok(());
        }
        if refused.is_empty() {
            return self.yes(nonce, 0).await;
        }
        for Refusal { policy_id, why } in refused {
            stats.refused.add(1);
            tracing::warn!(policy.id = policy_id, %why, "a policy is refused; what ran before goes on");
            self.say(Say::Ack(Ack { nonce: nonce.to_owned(), error: why, policy_id, caches: 0 })).await?;
        }
        Ok(())
    }

    async fn yes(&self, nonce: &str, caches: usize) -> Result<(), End> {
        self.shared.stats.acknowledged.add(1);
        let caches = u32::try_from(caches).unwrap_or(u32::MAX);
        self.say(Say::Ack(Ack { nonce: nonce.to_owned(), caches, ..Ack::default() })).await
    }

    async fn hear(&mut self, WatchResponse { nonce, message }: WatchResponse) -> Result<(), End> {
        let now = Instant::now();
        self.shared.stats.messages.add(1);
        match message {
            Some(Hear::Snapshot(snapshot)) => {
                let refused = {
                    let mut state = self.shared.state.lock();
                    // The server takes 0 for an empty memory, though caches fill it without leave to read it.
                    if snapshot.drop_memory || state.invalidation == 0 {
                        state.forget();
                    }
                    let sequence = snapshot.invalidation;
                    let refused = state.snapshot(snapshot, now);
                    state.invalidation = sequence;
                    refused
                };
                self.shared.greeted();
                self.ack(&nonce, refused).await?;
                self.ping().await
            }
            Some(Hear::Delta(delta)) => {
                let refused = self.shared.state.lock().delta(delta, now);
                self.shared.changed();
                if self.number > 0 {
                    self.next_ping = self.next_ping.min(now + self.period());
                }
                self.ack(&nonce, refused).await
            }
            Some(Hear::Invalidation(invalidation)) => self.invalidate(&nonce, invalidation).await,
            Some(Hear::Warm(order)) => self.warm(order).await,
            Some(Hear::Pong(pong)) => self.pong(pong),
            None => {
                let why = "this SDK does not know such a message".to_owned();
                self.ack(&nonce, vec![Refusal { policy_id: String::new(), why }]).await
            }
        }
    }

    async fn invalidate(&mut self, nonce: &str, invalidation: Invalidation) -> Result<(), End> {
        let known = self.shared.state.lock().invalidation;
        if invalidation.sequence <= known {
            return self.ack(nonce, Vec::new()).await;
        }
        if invalidation.previous != known {
            return Err(self.missed());
        }
        let caches = self.shared.state.lock().caches_of(&invalidation.key_space);
        for cache in &caches {
            if let Err(why) = invalidate(cache, &invalidation).await {
                let why = format!("{}: {why}", cache.name());
                self.ack(nonce, vec![Refusal { policy_id: String::new(), why }]).await?;
                return Err(self.missed());
            }
        }
        self.shared.state.lock().invalidation = invalidation.sequence;
        self.shared.stats.invalidations.add(1);
        self.yes(nonce, caches.len()).await
    }

    /// Memory is dropped, and the server is asked for everything anew.
    fn missed(&self) -> End {
        self.shared.state.lock().forget();
        self.shared.stats.gaps.add(1);
        End::Gap
    }

    async fn warm(&mut self, order: WarmOrder) -> Result<(), End> {
        let caches = self.shared.state.lock().caches_of(&order.key_space);
        let asked = order.keys.len() as u64;
        if caches.is_empty() || self.warmings.len() >= WARMINGS_MAX {
            return self.say(Say::Warmed(WarmReport { id: order.id, loaded: 0, failed: asked })).await;
        }
        self.warmings.spawn(async move {
            let (mut loaded, mut failed) = (0, 0);
            for cache in caches {
                let warmed = warm(&cache, order.keys.clone()).await;
                loaded += warmed.0;
                failed += warmed.1;
            }
            WarmReport { id: order.id, loaded, failed }
        });
        Ok(())
    }

    /// A third of the shortest lease, so that two pings may be lost.
    fn period(&self) -> Duration {
        let state = self.shared.state.lock();
        let shortest =
            state.caches().filter_map(|cache| cache.coherence_lease()).filter(|lease| !lease.is_zero()).min();
        shortest.map_or(PING, |lease| (lease / 3).clamp(PING_MIN, PING))
    }

    /// At once, for a cache that came now; with the answer to those under way when there are some.
    async fn ask_for_leave(&mut self) -> Result<(), End> {
        self.wants_leave = self.number > 0;
        if self.wants_leave && self.pings.is_empty() { self.ping().await } else { Ok(()) }
    }

    async fn ping(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let period = self.period();
        if self.pings.len() >= SILENT_PINGS as usize || self.number == 0 && now >= self.next_ping {
            return Err(End::Silent);
        }
        self.number += 1;
        self.wants_leave = false;
        let life = self.shared.state.lock().memory_life();
        self.pings.push_back((self.number, now, life));
        self.next_ping = now + period;
        let lease = prost_types::Duration::try_from(life).ok();
        self.say(Say::Ping(Ping { number: self.number, lease })).await
    }

    fn pong(&mut self, pong: Pong) -> Result<(), End> {
        let known = self.pings.iter().find(|(number, ..)| *number == pong.number).copied();
        let Some((number, sent, asked)) = known else { return Ok(()) };
        self.pings.retain(|(other, ..)| *other > number);
        let state = self.shared.state.lock();
        if pong.invalidation > state.invalidation {
            drop(state);
            return Err(self.missed());
        }
        for cache in state.caches() {
            if let Some(lease) = cache.coherence_lease().filter(|lease| !lease.is_zero()) {
                // The server counts with what it was told, should the lease have grown since.
                cache.trusted_until(sent + lease.min(asked));
            }
        }
        if self.wants_leave && self.pings.is_empty() {
            self.next_ping = Instant::now();
        }
        Ok(())
    }
}

async fn invalidate(cache: &Arc<dyn Target>, invalidation: &Invalidation) -> Result<(), String> {
    let (target, invalidation) = (Arc::clone(cache), invalidation.clone());
    apart(INVALIDATE_MAX, async move { target.invalidate(&invalidation).await }).await?
}

/// `(loaded, failed)`.
async fn warm(cache: &Arc<dyn Target>, keys: Vec<String>) -> (u64, u64) {
    let (target, asked) = (Arc::clone(cache), keys.len() as u64);
    let warmed = apart(WARM_MAX, async move { target.warm(keys).await }).await;
    warmed.map_or((0, asked), |warmed| (warmed.loaded, warmed.failed))
}

/// In a task of its own, so that what a host wrote may panic; it ends with whoever waits for it.
async fn apart<T: Send + 'static>(most: Duration, work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let mut task = JoinSet::new();
    task.spawn(work);
    let ended = timeout(most, task.join_next()).await.map_err(|_elapsed| format!("not done within {most:?}"))?;
    ended.and_then(Result::ok).ok_or_else(|| "the target panicked".to_owned())
}
