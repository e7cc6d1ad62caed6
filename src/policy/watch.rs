//! What the house is kept up to date by: a look at the database now and then, and whenever somebody must be sure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::house::House;
use super::{Policies, PolicyError};
use crate::storage::PolicyVersion;

/// How often the database is asked whether another replica has changed something.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Least time between two looks that were asked for.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Looks, counted.
pub(super) struct Looks {
    /// How many have begun.
    begun: AtomicU64,
    /// The last that was done.
    done: watch::Sender<u64>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), done: watch::Sender::new(0) }
    }
}

impl Policies {
    /// The house, marked changed with each change here and, a moment later, on any replica.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Arc<House>>> {
        self.house.subscribe()
    }

    /// Ready once this server goes, so that whoever watches looks for another.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// The house as it was at some moment after this was called; for whoever watches it. Waits while the database is away.
    pub async fn fresh(self: Arc<Self>) -> Option<Arc<House>> {
        let wanted = self.looks.begun.load(Ordering::SeqCst) + 1;
        let mut done = self.looks.done.subscribe();
        self.written.notify_one();
        done.wait_for(|done| *done >= wanted).await.ok()?;
        self.house.borrow().clone()
    }

    /// Keeps what is watched up to date, drives rollouts and ends overrides, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        tokio::join!(self.look_about(&cancel), self.settle(&cancel), Arc::clone(&self).drive(&cancel));
        self.closing.cancel();
        self.close_fleet().await;
    }

    async fn look_about(&self, cancel: &CancellationToken) {
        let mut known = None;
        loop {
            let end = self.house.borrow().as_ref().and_then(|house| house.next_end());
            let at = Instant::now() + LOOK_EVERY;
            tokio::select! {
                () = tokio::time::sleep_until(end.map_or(at, |end| end.min(at))) => {}
                () = self.written.notified() => {}
                () = cancel.cancelled() => return,
            }
            if self.house.receiver_count() == 0 {
                // Nobody is to be told of what was read before, when somebody comes.
                if known.take().is_some() {
                    self.house.send_replace(None);
                }
                continue;
            }
            let number = self.looks.begun.fetch_add(1, Ordering::SeqCst) + 1;
            match self.look(known).await {
                Ok(version) => {
                    known = Some(version);
                    self.looks.done.send_replace(number);
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "policies are not brought up to date; instances go on with what they have");
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Reads the house anew when its version is not `known`, or an override has ended; returns the version.
    async fn look(&self, known: Option<PolicyVersion>) -> Result<PolicyVersion, PolicyError> {
        let version = self.storage.policies_version().await?;
        let before = self.house.borrow().clone();
        let has_ended = before.as_ref().and_then(|house| house.next_end()).is_some_and(|end| end <= Instant::now());
        if known == Some(version) && before.is_some() && !has_ended {
            return Ok(version);
        }
        let house = House::read(&self.storage, version.invalidation, before.as_deref()).await?;
        self.house.send_replace(Some(Arc::new(house)));
        Ok(version)
    }

    /// The house as it is now, for an answer.
    pub(super) async fn read_house(&self) -> Result<House, PolicyError> {
        let version = self.storage.policies_version().await?;
        let before = self.house.borrow().clone();
        Ok(House::read(&self.storage, version.invalidation, before.as_deref()).await?)
    }
}
