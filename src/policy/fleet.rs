//! The fleet: which instance runs what. Streams say what is new of their instance; one writer brings it to the database,
//! many at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::house::own;
use super::told::Running;
use super::{Policies, PolicyError};
use crate::storage::{InstanceRow, InstanceWrite, Storage};

/// Instances in one statement.
const ROWS_PER_WRITE: usize = 2_000;
/// How long after a failure it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What waits to be written; never more than the streams that are open, and some that were.
#[derive(Default)]
struct Waiting {
    rows: HashMap<(String, String), InstanceWrite>,
    applied: BTreeSet<i64>,
    /// Of the write that will have it.
    number: u64,
}

/// The writer's desk.
pub(super) struct Desk {
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// The number of the last write.
    written: watch::Sender<u64>,
}

impl Default for Desk {
    fn default() -> Self {
        let waiting = Mutex::new(Waiting { number: 1, ..Waiting::default() });
        Self { waiting, wake: Notify::new(), written: watch::Sender::new(0) }
    }
}

impl Desk {
    /// Has a row written, and what has reached a Redis; returns the number of the write.
    fn put(&self, mut row: InstanceWrite, applied: Option<i64>) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.applied.extend(applied);
        let key = (row.service.clone(), row.instance.clone());
        match waiting.rows.get(&key) {
            // An older stream of the instance has nothing to say any more.
            Some(there) if there.session != row.session && !row.opens => {}
            there => {
                row.opens |= there.is_some_and(|there| there.opens && there.session == row.session);
                waiting.rows.insert(key, row);
            }
        }
        let number = waiting.number;
        drop(waiting);
        self.wake.notify_one();
        number
    }

    fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.rows.is_empty() && waiting.applied.is_empty()
    }

    fn take(&self) -> Option<(Vec<InstanceWrite>, Vec<i64>, u64)> {
        let mut waiting = self.waiting.lock();
        if waiting.rows.is_empty() && waiting.applied.is_empty() {
            return None;
        }
        let rows = std::mem::take(&mut waiting.rows).into_values().collect();
        let applied = std::mem::take(&mut waiting.applied).into_iter().collect();
        waiting.number += 1;
        Some((rows, applied, waiting.number - 1))
    }

    /// What could not be written waits again, unless something newer does.
    fn put_back(&self, rows: Vec<InstanceWrite>, applied: Vec<i64>) {
        let mut waiting = self.waiting.lock();
        waiting.applied.extend(applied);
        for row in rows {
            let key = (row.service.clone(), row.instance.clone());
            let opens = row.opens.then(|| row.session.clone());
            let there = waiting.rows.entry(key).or_insert(row);
            there.opens |= opens.is_some_and(|session| session == there.session);
        }
    }

    async fn write(storage: &Storage, rows: &[InstanceWrite], applied: &[i64]) -> Result<(), PolicyError> {
        let mut applied = Some(applied);
        for rows in rows.chunks(ROWS_PER_WRITE) {
            storage.instances_write(rows, applied.take().unwrap_or_default()).await?;
        }
        if let Some(applied) = applied {
            storage.instances_write(&[], applied).await?;
        }
        Ok(())
    }
}

/// An instance of a service.
#[derive(Clone, Debug)]
pub struct FleetInstance {
    /// As it says itself.
    pub row: InstanceRow,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// By id: every policy that it should run, or runs.
    pub policies: Vec<InstancePolicy>,
}

/// A policy on an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePolicy {
    /// Which.
    pub policy_id: String,
    /// What it should run; 0: nothing.
    pub assigned: i64,
    /// What it runs, as it has answered.
    pub running: Running,
}

impl InstancePolicy {
    /// It runs something else than it should, or has refused it.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.assigned != self.running.revision || !self.running.error.is_empty()
    }
}

impl Policies {
    /// What a stream says of its instance; ready when it is in the database, or this server goes.
    pub async fn instance_is(&self, row: InstanceWrite) {
        let number = self.desk.put(row, None);
        let mut written = self.desk.written.subscribe();
        tokio::select! {
            _ = written.wait_for(|written| *written >= number) => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// The same without waiting; `applied` is an invalidation that has reached a Redis.
    pub fn instance_will_be(&self, row: InstanceWrite, applied: Option<i64>) {
        self.desk.put(row, applied);
    }

    /// Writes what streams say, until cancelled and all is written that can be.
    pub(super) async fn write_fleet(self: Arc<Self>, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = self.desk.wake.notified() => {}
                () = cancel.cancelled() => {}
            }
            while let Some((rows, applied, number)) = self.desk.take() {
                if let Err(error) = Desk::write(&self.storage, &rows, &applied).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "what instances run is not written now");
                    self.desk.put_back(rows, applied);
                    break;
                }
                self.desk.written.send_replace(number);
                self.settling.notify_one();
            }
            if cancel.is_cancelled() {
                return;
            }
            if !self.desk.is_empty() {
                tokio::time::sleep(RETRY_AFTER).await;
                self.desk.wake.notify_one();
            }
        }
    }

    /// The instances of a service, or of all when it is empty; those that are `behind` only, when asked.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn fleet(&self, service: &str, behind: bool) -> Result<Vec<FleetInstance>, PolicyError> {
        let house = self.read_house().await?;
        let rows = self.storage.instance_list(service).await?;
        let seen = |row: InstanceRow| {
            let labels: BTreeMap<String, String> = own("labels of an instance", &row.labels)?;
            let mut running: BTreeMap<String, Running> = own("what an instance runs", &row.running)?;
            let assigned = house.assigned((&row.service, &row.instance), &labels);
            let mut policies: Vec<InstancePolicy> = assigned
                .into_iter()
                .map(|(id, assigned)| {
                    let running = running.remove(id).unwrap_or_default();
                    InstancePolicy { policy_id: id.to_owned(), assigned: assigned.policy.revision, running }
                })
                .collect();
            policies.extend(running.into_iter().map(|(policy_id, running)| InstancePolicy {
                policy_id,
                assigned: 0,
                running,
            }));
            Some(FleetInstance { row, labels, policies })
        };
        let is_wanted = |instance: &FleetInstance| {
            !behind || instance.row.connected && instance.policies.iter().any(InstancePolicy::is_behind)
        };
        Ok(rows.into_iter().filter_map(seen).filter(is_wanted).collect())
    }
}
