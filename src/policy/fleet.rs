//! The fleet: which instance runs what. Streams say what is new of their instance; a batcher of our own SDK brings it to the
//! database, many at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process, Retry, SubmitError};
use fastbreak_client::measure;
use futures::future::join_all;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::counters::PolicyMetrics;
use super::house::own;
use super::told::Running;
use super::{Policies, PolicyError};
use crate::storage::{InstanceRow, InstanceWrite, Storage, StorageError};

/// Instances in one statement.
const ROWS_PER_WRITE: usize = 2_000;
/// Rows that wait; who has one more waits outside.
const WAITING_MAX: usize = 200_000;
/// How long after a failure it is tried again, at most.
const RETRY_WITHIN: Duration = Duration::from_millis(500);
/// How long one statement may take.
const WRITE_WITHIN: Duration = Duration::from_secs(60);
/// How long streams may take to end when the server goes.
const STREAMS_END_WITHIN: Duration = Duration::from_secs(1);
/// How long the last rows may take when the server goes.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// Names an instance: its service, and its own name there.
type InstanceName = (String, String);

/// What is to be written: of each instance the newest.
#[derive(Default)]
struct Newest {
    rows: HashMap<InstanceName, (u64, InstanceWrite)>,
    applied: BTreeSet<i64>,
    /// Rows that were put, counted.
    puts: u64,
}

impl Newest {
    fn put(&mut self, mut row: InstanceWrite, applied: Option<i64>) {
        self.applied.extend(applied);
        let name = (row.service.clone(), row.instance.clone());
        let there = self.rows.get(&name).map(|(_, there)| there);
        // An older stream of the instance has nothing to say any more.
        if there.is_some_and(|there| there.session != row.session && !row.opens) {
            return;
        }
        // Who is gone takes over no row: where its own was never written, that of a newer stream stands.
        row.opens =
            row.connected && (row.opens || there.is_some_and(|there| there.opens && there.session == row.session));
        self.puts += 1;
        self.rows.insert(name, (self.puts, row));
    }

    /// What is in the database need not be written again.
    fn written(&mut self, rows: &[(u64, InstanceWrite)], applied: &[i64]) {
        for (number, row) in rows {
            let name = (row.service.clone(), row.instance.clone());
            match self.rows.get_mut(&name) {
                Some((newest, _)) if newest == number => drop(self.rows.remove(&name)),
                // It has the row now; another stream may take it over before the next write.
                Some((_, newer)) if newer.session == row.session => newer.opens = false,
                _ => {}
            }
        }
        self.applied.retain(|sequence| !applied.contains(sequence));
    }
}

/// Writes the newest rows of instances.
struct Writer {
    storage: Storage,
    newest: Arc<Mutex<Newest>>,
    /// Something was written.
    settling: Arc<Notify>,
    metrics: PolicyMetrics,
}

impl Writer {
    async fn write(&self, names: &[InstanceName]) -> Result<(), StorageError> {
        let (rows, applied) = {
            let newest = self.newest.lock();
            let wanted: BTreeSet<&InstanceName> = names.iter().collect();
            let rows: Vec<(u64, InstanceWrite)> =
                wanted.into_iter().filter_map(|name| newest.rows.get(name)).cloned().collect();
            (rows, newest.applied.iter().copied().collect::<Vec<i64>>())
        };
        if rows.is_empty() && applied.is_empty() {
            return Ok(());
        }
        let plain: Vec<&InstanceWrite> = rows.iter().map(|(_, row)| row).collect();
        self.storage.instances_write(&plain, &applied).await?;
        self.metrics.fleet_rows.inc_by(rows.len() as u64);
        self.metrics.fleet_writes.inc();
        self.newest.lock().written(&rows, &applied);
        self.settling.notify_one();
        Ok(())
    }
}

impl Process for Writer {
    type Item = InstanceName;
    type Output = ();

    async fn process(&self, names: Vec<InstanceName>) -> Result<Vec<Outcome<()>>, Failure> {
        match self.write(&names).await {
            Ok(()) => Ok(names.iter().map(|_| Outcome::Done(())).collect()),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "what instances run is not written now");
                self.metrics.fleet_failures.inc();
                Err(Failure { why: error.to_string(), retryable: true, retry_after: None })
            }
        }
    }
}

/// Where streams hand in what is new of their instances.
pub(super) struct Desk {
    newest: Arc<Mutex<Newest>>,
    writes: Batcher<Writer>,
}

impl Desk {
    /// To be called within the runtime; `settling` is told of every write.
    pub(super) fn new(
        storage: Storage,
        settling: Arc<Notify>,
        metrics: PolicyMetrics,
    ) -> Result<Self, fastbreak_client::batcher::PolicyError> {
        let policy = BatchPolicy {
            max_items: ROWS_PER_WRITE,
            // In order: what is older is never written after what is newer.
            max_concurrent_batches: 1,
            max_queued: WAITING_MAX,
            call_timeout: WRITE_WITHIN,
            deadline: Duration::from_secs(3600),
            // A row that changes while it is written is to be written again.
            deduplicate: false,
            retry: Retry {
                attempts: 100,
                base: RETRY_WITHIN,
                max: RETRY_WITHIN,
                budget_ratio: 1.0,
                budget_reserve: WAITING_MAX as u32,
            },
            ..BatchPolicy::default()
        };
        let newest = Arc::<Mutex<Newest>>::default();
        let writer = Writer { storage, newest: Arc::clone(&newest), settling, metrics };
        Ok(Self { newest, writes: Batcher::new(policy, writer)? })
    }

    /// Has a row written, and what has reached a Redis; ready when that is so, or the server goes.
    fn put(&self, row: InstanceWrite, applied: Option<i64>) -> impl Future<Output = ()> + use<> {
        let name = (row.service.clone(), row.instance.clone());
        self.newest.lock().put(row, applied);
        self.write(name)
    }

    /// Has the newest row of an instance written, however long the database is away.
    fn write(&self, name: InstanceName) -> impl Future<Output = ()> + use<> {
        let writes = self.writes.clone();
        async move {
            while !matches!(writes.submit(name.clone()).await, Ok(()) | Err(SubmitError::Closed)) {
                tokio::time::sleep(RETRY_WITHIN).await;
            }
        }
    }

    /// Writes what waits, if it can, and takes nothing more.
    async fn close(&self) {
        let names: Vec<InstanceName> = self.newest.lock().rows.keys().cloned().collect();
        let last = join_all(names.into_iter().map(|name| self.write(name)));
        if tokio::time::timeout(LAST_WITHIN, last).await.is_err() {
            tracing::warn!("what some instances run was not written at the end");
        }
        self.writes.drain(Duration::ZERO).await;
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
        self.desk.put(row, None).await;
    }

    /// Makes what the batcher of the fleet's rows counts instruments.
    pub fn measure(&self, meter: &Meter) {
        measure::batcher(meter, None, "fleet-rows", &self.desk.writes);
    }

    /// Waits for streams to say that they are gone, and writes that down.
    pub(super) async fn close_fleet(&self) {
        let _late = tokio::time::timeout(STREAMS_END_WITHIN, self.house.closed()).await;
        self.desk.close().await;
    }

    /// The same without waiting; `applied` is an invalidation that has reached a Redis.
    pub fn instance_will_be(&self, row: InstanceWrite, applied: Option<i64>) {
        tokio::spawn(self.desk.put(row, applied));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Told, Who};

    #[test]
    fn who_is_gone_before_it_was_written_takes_over_nobodys_row() {
        let told = Told::new(Who { service: "shop".to_owned(), instance: "shop-1".to_owned(), ..Who::default() });
        let row = |session: &str, connected| told.row((session, "replica"), connected);
        let mut newest = Newest::default();
        newest.put(InstanceWrite { opens: true, ..row("first", true) }, None);
        newest.put(row("first", true), None);
        let kept =
            |newest: &Newest| newest.rows.values().map(|(_, row)| (row.connected, row.opens)).collect::<Vec<_>>();
        assert_eq!(kept(&newest), [(true, true)], "it opens until that is written");
        newest.put(row("first", false), None);
        assert_eq!(kept(&newest), [(false, false)]);
        newest.put(row("other", true), None);
        assert_eq!(kept(&newest), [(false, false)], "an older stream has nothing to say");
    }
}
