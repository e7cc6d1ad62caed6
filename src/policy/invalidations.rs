//! Invalidations that can be proven, and keys that are loaded before they are asked for.
//!
//! An instance reads its memory only while its lease of coherence runs, and the lease is renewed only by a server that has
//! looked, after it was asked, which invalidations there are. So an entry that an invalidation has ended is read by nobody
//! once every instance has acknowledged it or its lease from before has run out; see `storage::invalidations`.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::house::{House, own};
use super::{Policies, PolicyError, check_change};
use crate::model::{InvalidationTargets, check_warming, glob};
use crate::storage::{Change, InvalidationRow, NewInvalidation, WarmedRow};

/// How often what has not reached everybody is looked at.
const SETTLE_EVERY: Duration = Duration::from_millis(200);
/// How often, while all has, whether another replica has started something.
const REST: Duration = Duration::from_secs(5);
/// Most of a list.
const LIST_MAX: u32 = 1_000;
/// So many are in a list, when nobody says.
const LIST: u32 = 100;

/// An invalidation, and how far it has come.
#[derive(Clone, Debug)]
pub struct Invalidation {
    /// As it is kept.
    pub row: InvalidationRow,
    /// Which entries.
    pub targets: InvalidationTargets,
    /// Instances that have acknowledged it; only known when one is asked for.
    pub acknowledged: u64,
    /// The first hundred instances that it waits for, as `service/instance`.
    pub waiting: Vec<String>,
}

impl Invalidation {
    fn of(row: InvalidationRow) -> Option<Self> {
        let targets = own("targets of an invalidation", &row.targets)?;
        Some(Self { row, targets, acknowledged: 0, waiting: Vec::new() })
    }

    /// How long it took until nobody read an entry from before any more.
    #[must_use]
    pub fn converged_after(&self) -> Option<Duration> {
        (self.row.converged_at? - self.row.created_at).to_std().ok()
    }
}

/// Keys that were to be loaded ahead, and what came of it.
#[derive(Clone, Debug)]
pub struct Warming {
    /// Names it.
    pub id: String,
    /// Of which cache.
    pub key_space: String,
    /// How many keys.
    pub keys: u64,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// Who was asked.
    pub instances: Vec<WarmedInstance>,
}

/// What came of a warming on one instance.
#[derive(Clone, Debug)]
pub struct WarmedInstance {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Keys that it loaded; nothing until it has reported.
    pub loaded: Option<i64>,
    /// Keys that it could not load.
    pub failed: i64,
}

/// How long a list may be; `limit` is 0 where nobody says.
fn list_limit(limit: u32) -> Result<i64, PolicyError> {
    match limit {
        0 => Ok(i64::from(LIST)),
        1..=LIST_MAX => Ok(i64::from(limit)),
        _ => Err(PolicyError::invalid("limit", format!("{limit} > limit of {LIST_MAX}"))),
    }
}

fn named(sequence: i64) -> String {
    format!("invalidation {sequence}")
}

/// Rows of the same warming stand together.
fn gathered(rows: Vec<WarmedRow>) -> Vec<Warming> {
    let mut warmings: Vec<Warming> = Vec::new();
    for WarmedRow { batch: id, service, instance, key_space, keys, created_at, loaded, failed } in rows {
        let one = WarmedInstance { service, instance, loaded, failed: failed.unwrap_or_default() };
        match warmings.last_mut().filter(|last| last.id == id) {
            Some(last) => last.instances.push(one),
            None => {
                let keys = u64::from(keys.unsigned_abs());
                warmings.push(Warming { id, key_space, keys, created_at, instances: vec![one] });
            }
        }
    }
    warmings
}

impl Policies {
    /// Makes entries invalid, everywhere, in order.
    ///
    /// # Errors
    /// When it is not sound, or the database is away.
    pub async fn invalidate(
        &self,
        (service, key_space): (String, String),
        targets: &InvalidationTargets,
        change: Change,
    ) -> Result<Invalidation, PolicyError> {
        targets.check(&service, &key_space)?;
        check_change(&change)?;
        let Change { author, reason } = change;
        let new = NewInvalidation { service, key_space, targets: json!(targets), author, reason };
        let row = self.storage.invalidation_put(&new).await?;
        self.written.notify_one();
        self.settling.notify_one();
        let sequence = row.sequence;
        Invalidation::of(row).ok_or_else(|| PolicyError::Absent(named(sequence)))
    }

    /// One invalidation, and whom it waits for.
    ///
    /// # Errors
    /// When it is known no more, or the database is away.
    pub async fn invalidation(&self, sequence: i64) -> Result<Invalidation, PolicyError> {
        self.settle_once().await?;
        let row = self.storage.invalidation_find(sequence).await?;
        let mut found = row.and_then(Invalidation::of).ok_or_else(|| PolicyError::Absent(named(sequence)))?;
        let (acknowledged, waiting) = self.storage.invalidation_reach(sequence).await?;
        (found.acknowledged, found.waiting) = (acknowledged.unsigned_abs(), waiting);
        if found.row.converged_at.is_none() && !found.row.applied {
            found.waiting.push("the first instance that has such a cache".to_owned());
        }
        Ok(found)
    }

    /// The newest invalidations, the newest first.
    ///
    /// # Errors
    /// When more are asked for than there may be, or the database is away.
    pub async fn invalidations(&self, limit: u32) -> Result<Vec<Invalidation>, PolicyError> {
        let limit = list_limit(limit)?;
        self.settle_once().await?;
        let newest = self.storage.invalidations_after(i64::MIN, limit).await?;
        Ok(newest.into_iter().rev().filter_map(Invalidation::of).collect())
    }

    /// Writes down what has reached everybody. How many have not.
    async fn settle_once(&self) -> Result<i64, PolicyError> {
        let (reached, open) = self.storage.invalidations_settle().await?;
        for reached in reached {
            self.metrics.convergence.observe(reached.seconds);
        }
        self.metrics.converging.set(open);
        Ok(open)
    }

    /// Writes down what has reached everybody, until cancelled.
    pub(super) async fn settle(&self, cancel: &CancellationToken) {
        let mut open = 1;
        loop {
            let wait = if open > 0 { SETTLE_EVERY } else { REST };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.settling.notified() => {}
                () = cancel.cancelled() => return,
            }
            match self.settle_once().await {
                Ok(left) => open = left,
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "convergence is not looked at now")
                }
            }
        }
    }

    /// Of those that `house` holds as not yet in any Redis, those that are by now.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn applied_of(&self, house: &House) -> Result<BTreeSet<i64>, PolicyError> {
        let open: Vec<i64> = house.unapplied().map(|row| row.sequence).collect();
        if open.is_empty() {
            return Ok(BTreeSet::new());
        }
        Ok(self.storage.invalidations_applied(&open).await?.into_iter().collect())
    }

    /// Has one instance of each service load keys before they are asked for. Returns the id, and how many were asked.
    ///
    /// # Errors
    /// When it is not sound, nobody is there to do it, or too many do already.
    pub async fn warm(&self, service: &str, key_space: &str, keys: &[String]) -> Result<(String, usize), PolicyError> {
        check_warming(key_space, keys)?;
        let mut instances: Vec<(String, String)> = Vec::new();
        for row in self.storage.instance_list("").await? {
            let is_first = instances.last().is_none_or(|(known, _)| *known != row.service);
            if row.connected && is_first && glob(service, &row.service) {
                instances.push((row.service, row.instance));
            }
        }
        if instances.is_empty() {
            return Err(PolicyError::Absent(format!("instance of {service:?} that watches policies")));
        }
        let id = format!("{:016x}", rand::random::<u64>());
        let put = self.storage.warming_put((&id, key_space, &json!(keys)), &instances).await;
        put.map_err(|error| PolicyError::of_write(error, format!("warming {id:?}")))?;
        self.written.notify_one();
        Ok((id, instances.len()))
    }

    /// What came of a warming.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn warming(&self, id: &str) -> Result<Warming, PolicyError> {
        let found = if id.is_empty() { None } else { gathered(self.storage.warmed(id, 1).await?).pop() };
        found.ok_or_else(|| PolicyError::Absent(format!("warming {id:?}")))
    }

    /// The newest warmings, the newest first; they are known for a day.
    ///
    /// # Errors
    /// When more are asked for than there may be, or the database is away.
    pub async fn warmings(&self, limit: u32) -> Result<Vec<Warming>, PolicyError> {
        Ok(gathered(self.storage.warmed("", list_limit(limit)?).await?))
    }

    /// An instance reports what it has loaded.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn has_warmed(&self, id: i64, loaded: u64, failed: u64) -> Result<(), PolicyError> {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(self.storage.warming_end(id, (count(loaded), count(failed))).await?)
    }
}
