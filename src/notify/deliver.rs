//! The delivery loop: claims what is due, sends it, records what came of it.
//!
//! Any number of replicas run it on one outbox. It looks every half second, and at once when it is woken: a poll of two index
//! scans costs less than the connection that LISTEN would hold, and works behind a connection pooler.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::book::{Receiver, Unusable};
use super::outbound::before;
use super::outcome::{Outcome, Verdict};
use super::receiver::Kind;
use super::self_alert::Outage;
use super::{Notifier, backoff};
use crate::model::Notification;
use crate::storage::{AttemptEnd, BegunAttempt, ClaimedDelivery, Ending, StorageError};

/// How often is looked when nothing wakes us.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long one look may take before the database counts as away.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the receivers are read anew.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// How often the queue is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(15);
/// How often old deliveries are removed.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// How long deliveries are kept.
const RETENTION_DAYS: i32 = 90;
/// Attempts to one receiver at once, of this process.
const PER_RECEIVER: usize = 4;
/// Attempts at once, of this process.
const IN_FLIGHT_MAX: usize = 256;
/// What a lease has over the longest attempt, for the recording.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How long a recording is tried again when the database is away: what was sent must not be sent again for that.
const RECORD_FOR: Duration = Duration::from_secs(60);
/// Pause between tries to record.
const RECORD_EVERY: Duration = Duration::from_millis(500);

/// Attempts under way, by receiver.
#[derive(Clone, Default)]
struct Slots(Arc<Mutex<HashMap<String, usize>>>);

impl Slots {
    fn free(&self, receiver: &str) -> usize {
        let taken = self.0.lock();
        let all: usize = taken.values().sum();
        let own = PER_RECEIVER.saturating_sub(taken.get(receiver).copied().unwrap_or_default());
        own.min(IN_FLIGHT_MAX.saturating_sub(all))
    }

    fn take(&self, receiver: &str) -> Slot {
        *self.0.lock().entry(receiver.to_owned()).or_default() += 1;
        Slot { slots: self.clone(), receiver: receiver.to_owned() }
    }

    fn all(&self) -> usize {
        self.0.lock().values().sum()
    }
}

/// One attempt's place; given back when it ends, however it ends.
struct Slot {
    slots: Slots,
    receiver: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock();
        if let Some(n) = taken.get_mut(&self.receiver) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&self.receiver);
            }
        }
    }
}

/// When something is to be done again.
struct Every {
    period: Duration,
    next: Instant,
}

impl Every {
    fn new(period: Duration) -> Self {
        Self { period, next: Instant::now() }
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + self.period;
        }
        due
    }
}

/// The clocks of the loop.
struct Clocks {
    reload: Every,
    measure: Every,
    expire: Every,
}

impl Notifier {
    /// Delivers until cancelled, then ends what is under way.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let mut attempts = JoinSet::new();
        let slots = Slots::default();
        let mut outage = Outage::new(Instant::now());
        let mut clocks = Clocks {
            reload: Every::new(RELOAD_EVERY),
            measure: Every::new(MEASURE_EVERY),
            expire: Every::new(EXPIRE_EVERY),
        };
        self.metrics.in_flight_limit.set(IN_FLIGHT_MAX as i64);
        while !cancel.is_cancelled() {
            let woken = self.wake.notified();
            let look = tokio::time::timeout(LOOK_TIMEOUT, self.look(&mut attempts, &slots, &mut clocks)).await;
            match look {
                Ok(Ok(at)) => self.database_answered(&mut outage, at).await,
                Ok(Err(error)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "the outbox cannot be read now");
                    self.database_failed(&mut outage, &mut attempts);
                }
                Err(_) => self.database_failed(&mut outage, &mut attempts),
            }
            while attempts.try_join_next().is_some() {}
            self.metrics.in_flight.set(slots.all() as i64);
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = cancel.cancelled() => {}
            }
        }
        while attempts.join_next().await.is_some() {}
    }

    /// One look at the outbox; returns the database's time.
    async fn look(
        self: &Arc<Self>,
        attempts: &mut JoinSet<()>,
        slots: &Slots,
        clocks: &mut Clocks,
    ) -> Result<chrono::DateTime<chrono::Utc>, StorageError> {
        let state = self.storage.outbox_state().await?;
        let unknown = state.receivers.iter().any(|id| self.book.get(id).is_none());
        if clocks.reload.is_due() || unknown || self.stale.swap(false, std::sync::atomic::Ordering::Relaxed) {
            self.book.reload(&self.storage, &self.vault, self.outbound.guard()).await?;
        }
        for id in &state.receivers {
            self.claim_for(id, attempts, slots).await?;
        }
        if clocks.measure.is_due() {
            let (depth, age) = self.storage.outbox_depth().await?;
            self.metrics.queue_usage.set(depth);
            self.metrics.queue_age_seconds.set(age);
        }
        if clocks.expire.is_due() {
            self.metrics.expired.inc_by(self.storage.outbox_expire(RETENTION_DAYS).await? as u64);
        }
        Ok(state.at)
    }

    async fn claim_for(
        self: &Arc<Self>,
        id: &str,
        attempts: &mut JoinSet<()>,
        slots: &Slots,
    ) -> Result<(), StorageError> {
        let free = slots.free(id);
        let receiver = self.book.get(id);
        let sealed = receiver.as_ref().is_some_and(|r| r.row.enabled && matches!(r.target, Err(Unusable::Sealed(_))));
        if free == 0 || sealed {
            return Ok(());
        }
        let lease = lease(receiver.as_deref()).as_secs_f64();
        for claimed in self.storage.outbox_claim(&self.holder, id, free, lease).await? {
            let (notifier, receiver, slot) = (Arc::clone(self), receiver.clone(), slots.take(id));
            attempts.spawn(async move {
                notifier.attempt(&claimed, receiver.as_deref()).await;
                drop(slot);
                // There may be more for it.
                notifier.wake.notify_one();
            });
        }
        Ok(())
    }

    /// One attempt, from the check of the lease to its record.
    async fn attempt(&self, claimed: &ClaimedDelivery, receiver: Option<&Receiver>) {
        let kind = receiver.map_or("unknown", Receiver::kind_name);
        let began = Instant::now();
        let begun = match self.storage.outbox_begin(claimed, lease(receiver).as_secs_f64()).await {
            Ok(Some(begun)) => begun,
            Ok(None) => return self.metrics.attempted(kind, "fenced", began.elapsed()),
            // Nothing was sent; the lease lapses and somebody tries.
            Err(error) => {
                return tracing::warn!(
                    delivery = claimed.id,
                    error = &error as &dyn std::error::Error,
                    "attempt not begun"
                );
            }
        };
        let outcome = self.tell(claimed, receiver, &begun, began).await;
        self.metrics.attempted(kind, outcome.verdict.as_str(), began.elapsed());
        let ending = ending(&outcome, &begun);
        tracing::debug!(delivery = claimed.id, receiver = claimed.receiver_id, ?outcome, "attempted");
        if let Ending::Dead { .. } = ending {
            tracing::warn!(
                delivery = claimed.id,
                receiver = claimed.receiver_id,
                status = outcome.status,
                detail = outcome.detail,
                "notification given up; it can be resent"
            );
        }
        let gone = outcome.verdict == Verdict::Gone;
        let end = AttemptEnd {
            delivery_id: claimed.id,
            lease_epoch: claimed.lease_epoch,
            holder: self.holder.clone(),
            begun,
            ending,
            status: outcome.status.map(i32::from),
            detail: outcome.detail,
        };
        if self.record(&end).await {
            match end.ending {
                Ending::Sent { .. } => self.metrics.ended(kind, "sent"),
                Ending::Dead { .. } => self.metrics.ended(kind, "dead"),
                Ending::Retry { .. } => {}
            }
        }
        if let Some(receiver) = receiver.filter(|_| gone) {
            self.disable(receiver).await;
        }
    }

    async fn tell(
        &self,
        claimed: &ClaimedDelivery,
        receiver: Option<&Receiver>,
        begun: &BegunAttempt,
        began: Instant,
    ) -> Outcome {
        let Some(receiver) = receiver else { return Outcome::refused(None, "there is no such receiver") };
        if !receiver.row.enabled {
            return Outcome::refused(None, "the receiver is disabled");
        }
        let target = match &receiver.target {
            Ok(target) => target,
            Err(Unusable::Sealed(why)) => return Outcome::retry(None, None, why),
            Err(Unusable::Broken(why)) => return Outcome::refused(None, why),
        };
        let notification: Notification = match serde_json::from_value(claimed.notification.clone()) {
            Ok(notification) => notification,
            Err(error) => return Outcome::refused(None, &format!("the notification is not readable: {error}")),
        };
        let mut open = None;
        if target.edits() {
            let (id, key) = (&claimed.receiver_id, &notification.group_key);
            open = match self.storage.outbox_open_message(id, key, claimed.id).await {
                Ok(open) => open,
                Err(_) => return Outcome::retry(None, None, "the database went away"),
            };
        }
        // Nothing is sent once the lease is near its end, whatever this process slept through.
        let deadline = began + attempt_timeout(Some(receiver));
        let sending = target.send(&self.outbound, &notification, open.as_deref(), begun.began_at);
        let late = || Outcome::retry(None, None, "it took too long");
        before(deadline, sending).await.unwrap_or_else(late)
    }

    /// Records, again and again while the database is away. False when another process has the delivery.
    async fn record(&self, end: &AttemptEnd) -> bool {
        let give_up = Instant::now() + RECORD_FOR;
        loop {
            match self.storage.outbox_record(end).await {
                Ok(()) => return true,
                Err(StorageError::Fenced) => {
                    tracing::warn!(delivery = end.delivery_id, "another process has claimed what was attempted here");
                    return false;
                }
                Err(error) if error.is_unavailable() && Instant::now() < give_up => {
                    tokio::time::sleep(RECORD_EVERY).await;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(delivery = end.delivery_id, error, "attempt not recorded; it may be sent again");
                    return false;
                }
            }
        }
    }

    async fn disable(&self, receiver: &Receiver) {
        let disabled = self.storage.receiver_disable(&receiver.row.id, receiver.row.revision).await;
        tracing::warn!(receiver = receiver.row.id, ?disabled, "the receiver says that it is gone: disabled");
        self.receivers_changed();
    }
}

/// How long an attempt may take from its beginning; a little more than the call itself, for what stands around it.
fn attempt_timeout(receiver: Option<&Receiver>) -> Duration {
    receiver.and_then(|receiver| receiver.kind).map_or(Duration::ZERO, Kind::deadline) + Duration::from_secs(1)
}

/// 15 s for what speaks HTTP.
fn lease(receiver: Option<&Receiver>) -> Duration {
    let longest = receiver.and_then(|receiver| receiver.kind).map_or(Kind::Webhook.deadline(), Kind::deadline);
    longest + LEASE_MARGIN
}

/// What becomes of the delivery.
fn ending(outcome: &Outcome, begun: &BegunAttempt) -> Ending {
    match &outcome.verdict {
        Verdict::Sent { remote_ref } => Ending::Sent { remote_ref: remote_ref.clone() },
        Verdict::Refused | Verdict::Gone => Ending::Dead { refused: true },
        Verdict::Retry { after } => {
            let number = u32::try_from(begun.number_in_round).unwrap_or(1);
            let age = Duration::from_secs_f64(begun.age_seconds.max(0.0));
            match backoff::delay(number, age, *after, rand::random()) {
                Some(delay) => Ending::Retry { delay_seconds: delay.as_secs_f64() },
                None => Ending::Dead { refused: false },
            }
        }
    }
}
