//! The stream that instances watch: a snapshot, then changes, each sent when the one before was answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::convert::bad_field;
use super::policy_words::{batch, cache};
use crate::error::ErrorCode;
use crate::model::{LABELS_MAX, StoredPolicy};
use crate::policy::{Effective, Missed, Policies, Told};
use crate::proto;
use crate::proto::watch_request::Message as Said;
use crate::proto::watch_response::Message as Say;

/// Most instances that watch one server.
const WATCHERS_MAX: usize = 50_000;
/// How long an instance may take to say who it is, and to answer what it was sent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest name, label and the like, in bytes.
const WORD_BYTES_MAX: usize = 200;
/// Most policies that an instance may say it runs.
const RUNNING_MAX: usize = 10_000;
/// Messages to an instance that lie ready: a Pong beside what it was sent before.
const READY: usize = 2;

/// Opens streams.
pub(super) struct Watchers {
    policies: Arc<Policies>,
    room: Arc<Semaphore>,
}

impl Watchers {
    pub(super) fn new(policies: Arc<Policies>) -> Self {
        Self { policies, room: Arc::new(Semaphore::new(WATCHERS_MAX)) }
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
        let (say, saying) = mpsc::channel(READY);
        let mut effective = self.policies.watch();
        effective.mark_changed();
        let stream = Stream {
            told: who(hello)?,
            policies: Arc::clone(&self.policies),
            effective,
            say,
            sent: 0,
            waits_until: None,
        };
        tokio::spawn(stream.run(said, permit));
        Ok(ReceiverStream::new(saying))
    }
}

/// Checks who it says it is.
fn who(hello: proto::Hello) -> Result<Told, Status> {
    let words = [("hello.service", &hello.service), ("hello.instance", &hello.instance)];
    for (field, word) in words {
        if word.is_empty() || word.len() > WORD_BYTES_MAX {
            return Err(bad_field(field, format!("must have 1 to {WORD_BYTES_MAX} bytes, not {}", word.len())));
        }
    }
    let is_long = |word: &String| word.len() > WORD_BYTES_MAX;
    if hello.labels.len() > LABELS_MAX || hello.labels.iter().any(|(name, value)| is_long(name) || is_long(value)) {
        let text = format!("must be at most {LABELS_MAX} labels of at most {WORD_BYTES_MAX} bytes each");
        return Err(bad_field("hello.labels", text));
    }
    if hello.running.len() > RUNNING_MAX {
        return Err(bad_field("hello.running", format!("{} policies > limit of {RUNNING_MAX}", hello.running.len())));
    }
    let labels: BTreeMap<String, String> = hello.labels.into_iter().collect();
    Ok(Told::new(hello.service, labels, hello.running.into_iter().collect()))
}

/// One instance's stream.
struct Stream {
    told: Told,
    policies: Arc<Policies>,
    effective: watch::Receiver<Option<Effective>>,
    say: Sender<Result<proto::WatchResponse, Status>>,
    /// Snapshots and changes sent; the nonce is their number.
    sent: u64,
    /// Until when what was sent must be answered.
    waits_until: Option<Instant>,
}

impl Stream {
    async fn run(mut self, mut said: Streaming<proto::WatchRequest>, _room: OwnedSemaphorePermit) {
        self.policies.metrics.watching.inc();
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
                changed = self.effective.changed(), if waits_until.is_none() => {
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
        self.policies.metrics.watching.dec();
    }

    /// Tells what it has missed. False when it is gone.
    async fn tell(&mut self) -> bool {
        let Some(effective) = self.effective.borrow_and_update().clone() else { return true };
        let missed = self.told.catch_up(&effective);
        let is_first = self.sent == 0;
        if !is_first && missed.changed.is_empty() && missed.removed.is_empty() {
            return true;
        }
        self.sent += 1;
        self.policies.metrics.sent.inc();
        self.waits_until = Some(Instant::now() + PATIENCE);
        let Missed { changed, unchanged, removed } = missed;
        let changed = changed.iter().map(|kept| assigned(kept)).collect();
        let message = if is_first {
            Say::Snapshot(proto::PolicySnapshot { policies: changed, unchanged, ..Default::default() })
        } else {
            Say::Delta(proto::PolicyDelta { changed, removed })
        };
        self.send(self.sent.to_string(), message).await
    }

    async fn hear(&mut self, message: proto::WatchRequest) -> bool {
        match message.message {
            Some(Said::Ack(ack)) if ack.nonce == self.sent.to_string() => {
                self.waits_until = None;
                if ack.error.is_empty() {
                    self.policies.metrics.applied.inc();
                } else {
                    self.policies.metrics.not_applied.inc();
                    tracing::warn!(
                        policy = ack.policy_id,
                        error = ack.error,
                        "an instance goes on with its old policy"
                    );
                }
                true
            }
            Some(Said::Ping(proto::Ping { number })) => {
                self.send(String::new(), Say::Pong(proto::Pong { number, invalidation: 0 })).await
            }
            // An answer to what was sent before is late; nothing was ordered that could be reported on.
            Some(Said::Ack(_) | Said::Warmed(_) | Said::Hello(_)) | None => true,
        }
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

fn assigned(kept: &StoredPolicy) -> proto::AssignedPolicy {
    use proto::assigned_policy::Kind;
    let policy = &kept.policy;
    let of_cache = policy.cache.as_ref().map(|policy| Kind::Cache(cache(policy)));
    let of_batch = policy.batch.as_ref().map(|policy| Kind::Batch(batch(policy)));
    proto::AssignedPolicy {
        policy_id: policy.id.clone(),
        revision: kept.revision,
        target: policy.selector.target.clone(),
        kind: of_cache.or(of_batch),
        ..Default::default()
    }
}
