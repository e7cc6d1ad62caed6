//! The stream that instances watch: a snapshot, then what changes, each sent when the one before was answered.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::convert::{bad_field, period, timestamp};
use super::policy_words::{batch, cache};
use crate::error::ErrorCode;
use crate::model::{InvalidationTargets, LABELS_MAX, Period};
use crate::policy::{Assigned, House, Invalid, Missed, Policies, Told, Who};
use crate::proto;
use crate::proto::watch_request::Message as Said;
use crate::proto::watch_response::Message as Say;
use crate::storage::InvalidationRow;

/// Most instances that watch one server.
const WATCHERS_MAX: usize = 50_000;
/// How long an instance may take to say who it is, and to answer what it was sent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest name, label and the like, in bytes.
const WORD_BYTES_MAX: usize = 200;
/// What is kept of an error that an instance tells, in bytes.
const ERROR_BYTES_MAX: usize = 1 << 10;
/// Most policies that an instance may say it runs.
const RUNNING_MAX: usize = 10_000;
/// Messages to an instance that lie ready: a Pong beside what it was sent before.
const READY: usize = 2;
/// How long memory may be read after a Pong, when an instance does not say.
const LEASE: Period = Period::seconds(10);
/// Longest that it may say: the longest TTL.
const LEASE_MAX: Period = Period::minutes(30 * 24 * 60);

/// Opens streams.
pub(super) struct Watchers {
    policies: Arc<Policies>,
    room: Arc<Semaphore>,
    opened: AtomicU64,
}

impl Watchers {
    pub(super) fn new(policies: Arc<Policies>) -> Self {
        Self { policies, room: Arc::new(Semaphore::new(WATCHERS_MAX)), opened: AtomicU64::new(0) }
    }

    pub(super) async fn open(
        &self,
        mut said: Streaming<proto::WatchRequest>,
    ) -> Result<ReceiverStream<Result<proto::WatchResponse, Status>>, Status> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            self.policies.metrics.refused_streams.inc();
            let text = format!("{WATCHERS_MAX} instances watch this server, which is the limit watchers_max");
            return Err(Status::resource_exhausted(text));
        };
        let first = timeout(PATIENCE, said.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello within 30 s"))??;
        let Some(Said::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(bad_field("hello", "must be the first message"));
        };
        let told = Told::new(who(hello)?);
        let (say, saying) = mpsc::channel(READY);
        let session = format!("{}#{}", self.policies.replica(), self.opened.fetch_add(1, Ordering::Relaxed));
        let mut house = self.policies.watch();
        let stream = Stream {
            told,
            session,
            policies: Arc::clone(&self.policies),
            say,
            sent: 0,
            answered: 0,
            told_change: false,
            asked: None,
            waits_until: None,
            ping: None,
            later: None,
            house: {
                house.mark_changed();
                house
            },
        };
        // On its own from here on: who gives up while it is entered is still said to be gone.
        tokio::spawn(stream.run(said, permit));
        Ok(ReceiverStream::new(saying))
    }
}

/// What an instance says is wrong, fit to be kept.
fn plain(error: &str) -> String {
    let end = error.floor_char_boundary(ERROR_BYTES_MAX);
    error[..end].replace(char::is_control, " ")
}

/// Fit to be kept.
fn is_word(word: &str) -> bool {
    word.len() <= WORD_BYTES_MAX && !word.contains('\0')
}

/// Checks who it says it is.
fn who(hello: proto::Hello) -> Result<Who, Status> {
    let words = [("hello.service", &hello.service), ("hello.instance", &hello.instance)];
    for (field, word) in [("hello.version", &hello.version), ("hello.sdk", &hello.sdk)] {
        if !is_word(word) {
            let text = format!("must have at most {WORD_BYTES_MAX} bytes, not {}, and no NUL", word.len());
            return Err(bad_field(field, text));
        }
    }
    for (field, word) in words {
        if word.is_empty() || !is_word(word) {
            let text = format!("must have 1 to {WORD_BYTES_MAX} bytes, not {}, and no NUL", word.len());
            return Err(bad_field(field, text));
        }
    }
    if hello.labels.len() > LABELS_MAX || !hello.labels.iter().all(|(name, value)| is_word(name) && is_word(value)) {
        let text = format!("must be at most {LABELS_MAX} labels of at most {WORD_BYTES_MAX} bytes each, without NUL");
        return Err(bad_field("hello.labels", text));
    }
    if hello.running.len() > RUNNING_MAX || !hello.running.keys().all(|id| is_word(id)) {
        let text =
            format!("must be at most {RUNNING_MAX} policies, by ids of at most {WORD_BYTES_MAX} bytes without NUL");
        return Err(bad_field("hello.running", text));
    }
    let lease = lease_of("hello.lease", hello.lease)?;
    let labels: BTreeMap<String, String> = hello.labels.into_iter().collect();
    Ok(Who {
        service: hello.service,
        instance: hello.instance,
        version: hello.version,
        labels,
        sdk: hello.sdk,
        running: hello.running.into_iter().collect(),
        invalidation: hello.invalidation.max(0),
        lease,
    })
}

fn lease_of(field: &str, given: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let lease = period(field, given)?.unwrap_or(LEASE);
    if lease > LEASE_MAX {
        return Err(bad_field(field, format!("must be at most {LEASE_MAX}, not {lease}")));
    }
    Ok(lease.delta().to_std().unwrap_or_default())
}

/// What was sent last, and waits for its answer.
#[derive(Clone, Copy)]
enum Asked {
    /// Policies, and from which invalidation on it is told of them.
    Policies(Option<i64>),
    /// That invalidation.
    Invalidation(i64),
}

/// A look at the house that was begun after somebody asked.
type Look = Pin<Box<dyn Future<Output = Option<Arc<House>>> + Send + Sync>>;

/// A Ping that waits for its answer.
struct Waiting {
    number: u64,
    look: Option<Look>,
    /// Everything up to here must have been sent before the Pong.
    newest: Option<i64>,
}

/// One instance's stream.
struct Stream {
    told: Told,
    session: String,
    policies: Arc<Policies>,
    house: watch::Receiver<Option<Arc<House>>>,
    say: Sender<Result<proto::WatchResponse, Status>>,
    /// Messages sent that are to be answered; the nonce is their number.
    sent: u64,
    /// The last of them that told of policies and was answered: it may be refused once for each policy.
    answered: u64,
    /// The last of them was a change of policies: an invalidation that waits goes before another.
    told_change: bool,
    asked: Option<Asked>,
    /// Until when what was sent must be answered.
    waits_until: Option<Instant>,
    ping: Option<Waiting>,
    /// A Ping that came while another waited.
    later: Option<u64>,
}

async fn looked(ping: &mut Option<Waiting>) -> Option<Arc<House>> {
    let Some(look) = ping.as_mut().and_then(|ping| ping.look.as_mut()) else { return std::future::pending().await };
    let house = look.await;
    if let Some(ping) = ping {
        ping.look = None;
    }
    house
}

impl Stream {
    async fn run(mut self, said: Streaming<proto::WatchRequest>, _room: OwnedSemaphorePermit) {
        self.policies.metrics.watching.inc();
        if self.enter().await {
            self.converse(said).await;
        }
        self.policies.metrics.watching.dec();
        self.policies.instance_will_be(self.row(false, false), None);
    }

    /// It is in the fleet before it is told anything that its memory may be read by, and the house is known.
    async fn enter(&mut self) -> bool {
        let known = async {
            self.policies.instance_is(self.row(true, true)).await;
            let house = Arc::clone(&self.policies).fresh().await?;
            self.policies.applied_of(&house).await.ok()
        };
        tokio::select! {
            known = timeout(PATIENCE, known) => {
                let Ok(Some(applied)) = known else {
                    let _gone = self.say.try_send(Err(Status::unavailable("the database did not answer")));
                    return false;
                };
                self.told.are_applied(applied);
                true
            }
            () = self.say.closed() => false,
        }
    }

    async fn converse(&mut self, mut said: Streaming<proto::WatchRequest>) {
        loop {
            let waits_until = self.waits_until;
            let silence = async move {
                match waits_until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // In this order: who asks and says no more is still told.
                biased;
                // What it is told next is made out when the last was answered, of the newest state.
                changed = self.house.changed(), if self.asked.is_none() => {
                    if changed.is_err() || !self.tell().await {
                        break;
                    }
                }
                next = said.next() => match next {
                    Some(Ok(message)) => {
                        if !self.hear(message).await {
                            break;
                        }
                    }
                    Some(Err(_)) | None => break,
                },
                house = looked(&mut self.ping) => {
                    if let Some(ping) = &mut self.ping {
                        ping.newest = house.map(|house| house.newest());
                    }
                    if self.asked.is_none() && !self.tell().await || !self.pong().await {
                        break;
                    }
                }
                () = silence => {
                    self.policies.metrics.silent_streams.inc();
                    let silent = Status::new(ErrorCode::Unavailable.grpc(), "what was sent was not answered within 30 s");
                    let _gone = self.say.try_send(Err(silent));
                    break;
                }
                () = self.policies.closing() => {
                    let _gone = self.say.try_send(Err(Status::unavailable("the server is shutting down")));
                    break;
                }
                () = self.say.closed() => break,
            }
        }
    }

    fn row(&self, connected: bool, opens: bool) -> crate::storage::InstanceWrite {
        let row = self.told.row((&self.session, self.policies.replica()), connected);
        crate::storage::InstanceWrite { opens, ..row }
    }

    /// Tells what it has missed, one after the other as it answers. False when it is gone.
    async fn tell(&mut self) -> bool {
        let Some(house) = self.house.borrow_and_update().clone() else { return true };
        let message = if self.sent == 0 {
            let (start, drop_memory) = self.told.begin(&house);
            Some((self.snapshot(&house, start, drop_memory), Asked::Policies(Some(start))))
        } else {
            // Each in turn, so that neither waits for ever where there is always more of the other.
            let next = if self.told_change { self.next_invalidation(&house) } else { None };
            next.or_else(|| self.change(&house)).or_else(|| self.next_invalidation(&house))
        };
        self.told_change = matches!(message, Some((Say::Delta(_), _)));
        if let Some((message, asked)) = message {
            self.sent += 1;
            self.asked = Some(asked);
            self.waits_until = Some(Instant::now() + PATIENCE);
            return self.send(self.sent.to_string(), message).await;
        }
        while let Some(row) = self.told.next_warming(&house) {
            let keys = serde_json::from_value(row.keys.clone()).unwrap_or_default();
            let order = proto::WarmOrder { id: row.id.to_string(), key_space: row.key_space.clone(), keys };
            if !self.send(String::new(), Say::Warm(order)).await {
                return false;
            }
        }
        true
    }

    /// What has changed of policies.
    fn change(&mut self, house: &House) -> Option<(Say, Asked)> {
        let Missed { changed, removed, .. } = self.told.catch_up(house);
        if changed.is_empty() && removed.is_empty() {
            return None;
        }
        self.policies.metrics.sent.inc();
        let changed = changed.iter().map(assigned).collect();
        Some((Say::Delta(proto::PolicyDelta { changed, removed }), Asked::Policies(None)))
    }

    /// The next invalidation, or everything anew where some are lost.
    fn next_invalidation(&mut self, house: &House) -> Option<(Say, Asked)> {
        match self.told.next_invalidation(house) {
            Invalid::Nothing => None,
            Invalid::Lost => {
                let start = self.told.restart(house);
                Some((self.snapshot(house, start, true), Asked::Policies(Some(start))))
            }
            Invalid::Next(row, previous) => {
                self.policies.metrics.invalidations_sent.inc();
                Some((Say::Invalidation(invalidation(&row, previous)), Asked::Invalidation(row.sequence)))
            }
        }
    }

    fn snapshot(&mut self, house: &House, invalidation: i64, drop_memory: bool) -> Say {
        let Missed { changed, unchanged, .. } = self.told.catch_up(house);
        self.policies.metrics.sent.inc();
        let policies = changed.iter().map(assigned).collect();
        Say::Snapshot(proto::PolicySnapshot { policies, unchanged, invalidation, drop_memory })
    }

    async fn hear(&mut self, message: proto::WatchRequest) -> bool {
        match message.message {
            Some(Said::Ack(ack)) if self.asked.is_some() && ack.nonce == self.sent.to_string() => {
                self.hear_answer(ack).await
            }
            Some(Said::Ack(ack)) if ack.nonce == self.answered.to_string() && !ack.error.is_empty() => {
                self.refused(&ack);
                self.policies.instance_will_be(self.row(true, false), None);
                true
            }
            Some(Said::Ping(ping)) => {
                let Ok(lease) = lease_of("ping.lease", ping.lease) else { return false };
                if self.told.asks_lease(lease, Instant::now()) {
                    // Before it is answered by a look, so that whoever counts leases knows of it.
                    self.policies.instance_is(self.row(true, false)).await;
                }
                if self.ping.is_some() {
                    self.later = Some(ping.number);
                } else {
                    self.look(ping.number);
                }
                true
            }
            Some(Said::Warmed(report)) => {
                if let Ok(id) = report.id.parse() {
                    let done = self.policies.has_warmed(id, report.loaded, report.failed).await;
                    if let Err(error) = done {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a report of warming is lost");
                    }
                }
                true
            }
            // An answer to what was sent before is late.
            Some(Said::Ack(_) | Said::Hello(_)) | None => true,
        }
    }

    /// It has answered what it was sent last.
    async fn hear_answer(&mut self, ack: proto::Ack) -> bool {
        let was = self.asked.take();
        self.waits_until = None;
        if ack.error.is_empty() {
            self.policies.metrics.applied.inc();
        }
        let mut applied = None;
        match was {
            Some(Asked::Policies(start)) => {
                self.told.runs();
                self.answered = self.sent;
                if let Some(start) = start {
                    self.told.applied(start);
                }
                if !ack.error.is_empty() {
                    self.refused(&ack);
                }
            }
            Some(Asked::Invalidation(sequence)) if ack.error.is_empty() => {
                self.told.applied(sequence);
                applied = Some(sequence).filter(|_| ack.caches > 0);
            }
            Some(Asked::Invalidation(sequence)) => {
                self.policies.metrics.not_applied.inc();
                tracing::warn!(sequence, error = ack.error, "an instance has not applied an invalidation");
            }
            None => {}
        }
        self.policies.instance_will_be(self.row(true, false), applied);
        self.tell().await && self.pong().await
    }

    /// It has refused one policy of what it was told, or all; of several it may refuse more than one.
    fn refused(&mut self, ack: &proto::Ack) {
        self.policies.metrics.not_applied.inc();
        let error = plain(&ack.error);
        tracing::warn!(policy = ack.policy_id, error, "an instance goes on with what it had");
        self.told.refuses(&ack.policy_id, &error);
    }

    fn look(&mut self, number: u64) {
        let look = Box::pin(Arc::clone(&self.policies).fresh());
        self.ping = Some(Waiting { number, look: Some(look), newest: None });
    }

    /// Answers the Ping that waits, once it was sent all that there was when it asked.
    async fn pong(&mut self) -> bool {
        let due = self.ping.take_if(|ping| ping.newest.is_some_and(|newest| self.told.knows(newest)));
        let Some(Waiting { number, .. }) = due else { return true };
        if let Some(later) = self.later.take() {
            self.look(later);
        }
        self.send(String::new(), Say::Pong(proto::Pong { number, invalidation: self.told.sent() })).await
    }

    /// False when it does not take it in time.
    async fn send(&self, nonce: String, message: Say) -> bool {
        let response = proto::WatchResponse { nonce, message: Some(message) };
        let sent = timeout_at(Instant::now() + PATIENCE, self.say.send(Ok(response))).await;
        if sent.is_err() {
            self.policies.metrics.silent_streams.inc();
        }
        matches!(sent, Ok(Ok(())))
    }
}

fn invalidation(row: &InvalidationRow, previous: i64) -> proto::Invalidation {
    // What does not read back ends everything: to tell of nothing would be taken for applied.
    let unread = || InvalidationTargets { all: true, ..InvalidationTargets::default() };
    let targets: InvalidationTargets = serde_json::from_value(row.targets.clone()).unwrap_or_else(|_| unread());
    let InvalidationTargets { keys, tags, prefixes, all } = targets;
    proto::Invalidation {
        sequence: row.sequence,
        service: row.service.clone(),
        key_space: row.key_space.clone(),
        keys,
        tags,
        prefixes,
        all,
        created_at: Some(timestamp(row.created_at)),
        previous,
    }
}

fn assigned(to: &Assigned) -> proto::AssignedPolicy {
    use proto::assigned_override::Kind as Bent;
    use proto::assigned_policy::Kind;
    let policy = &to.policy.policy;
    let of_cache = policy.cache.as_ref().map(|policy| Kind::Cache(cache(policy)));
    let of_batch = policy.batch.as_ref().map(|policy| Kind::Batch(batch(policy)));
    let over = to.bent.as_ref().map(|bent| {
        let of_cache = bent.policy.cache.as_ref().map(|policy| Bent::Cache(cache(policy)));
        let of_batch = bent.policy.batch.as_ref().map(|policy| Bent::Batch(batch(policy)));
        proto::AssignedOverride {
            id: bent.id.clone(),
            kind: of_cache.or(of_batch),
            lease: prost_types::Duration::try_from(bent.until.saturating_duration_since(Instant::now())).ok(),
            reason: bent.reason.clone(),
        }
    });
    proto::AssignedPolicy {
        policy_id: policy.id.clone(),
        revision: to.policy.revision,
        target: policy.selector.target.clone(),
        kind: of_cache.or(of_batch),
        canary: to.canary,
        r#override: over,
    }
}
