//! The live loop: which rules are due and ours, one read of state and measurements for all of them, one fenced
//! transaction for each that has something to say.
//!
//! Evaluation times are multiples of the interval by the database's clock, so every replica means the same instants, and a
//! late tick is left out and never queued. Which replica evaluates a rule is spread by rendezvous over the lease rows: that
//! is only for less work. That a rule is evaluated once is the epoch's doing.

mod batch;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hashbrown::{HashMap, HashSet};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(super) use self::batch::OpenAlert;
use self::batch::{Due, QUIET_WRITES};
use super::evaluate::ReadyRule;
use super::memory::Memory;
use super::{Alerting, stored, validate};
use crate::model::{Route, StoredRule};
use crate::query::{QueryError, Standing};
use crate::storage::{StorageError, Tick};

/// How often the loop looks.
const TICK: Duration = Duration::from_secs(1);
/// Rules evaluated at once.
const RULES_PER_BATCH: usize = 10_000;
/// Groups decided on in one tick.
const GROUPS_PER_TICK: usize = 500;
/// Ticks further apart than this may have let the lease lapse: it is renewed when less than this is left of it.
const LEASE_SAFE: TimeDelta = TimeDelta::seconds(4);

/// A rule as this replica holds it.
struct Held {
    stored: StoredRule,
    /// Why it cannot be evaluated, otherwise.
    ready: Result<ReadyRule, String>,
    /// The last slot that was looked at, in milliseconds.
    slot: i64,
    is_ours: bool,
    /// Its state while it has no alerts.
    memory: Option<Memory>,
}

impl Held {
    fn is_unwanted(&self) -> bool {
        self.stored.deleted || !self.stored.rule.enabled
    }
}

/// The loop.
pub(super) struct Live {
    alerting: Arc<Alerting>,
    rules: HashMap<String, Held>,
    rules_revision: i64,
    routes: Arc<Route>,
    routing_revision: i64,
    /// Among whom the rules are spread; emptied when that has to be found out anew.
    replicas: Vec<String>,
    last_tick: Option<DateTime<Utc>>,
    /// What the engine keeps for us between two ticks.
    standing: Standing,
    /// What may still be written in this tick.
    quiet_writes: usize,
    /// The last failure, so that it is logged once.
    failing: bool,
}

impl Live {
    pub(super) fn new(alerting: Arc<Alerting>) -> Self {
        Self {
            alerting,
            rules: HashMap::new(),
            rules_revision: -1,
            routes: Arc::new(super::routes::default_tree()),
            routing_revision: -1,
            replicas: Vec::new(),
            last_tick: None,
            standing: Standing::default(),
            quiet_writes: 0,
            failing: false,
        }
    }

    /// Until cancelled. Whatever fails is tried again by the next tick.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut offset_ms = 0;
        loop {
            // Just after each whole second of the database's clock.
            let into_second = (Utc::now().timestamp_millis() + offset_ms).rem_euclid(1_000) as u64;
            let pause = TICK - Duration::from_millis(into_second) + Duration::from_millis(5);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => break,
            }
            match self.tick().await {
                Ok(now) => {
                    offset_ms = now.timestamp_millis() - Utc::now().timestamp_millis();
                    self.failing = false;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(error = &error as &dyn std::error::Error, "rules are not evaluated now");
                    }
                }
            }
        }
        let unwritten = |held: &&Held| held.memory.as_ref().is_some_and(Memory::is_unwritten);
        let ids: Vec<String> = self.rules.values().filter(unwritten).map(|held| held.stored.rule.id.clone()).collect();
        if let Err(error) = self.write_quiet(&ids).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the last evaluations are not written");
        }
        if let Err(error) = self.alerting.storage.replica_leave(&self.alerting.replica).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the replica's lease is left to lapse");
        }
    }

    async fn tick(&mut self) -> Result<DateTime<Utc>, QueryError> {
        let mut tick = self.alerting.storage.alerting_tick(&self.alerting.replica).await?;
        // The lease's own row is not in the snapshot of the statement that wrote it.
        if !tick.replicas.contains(&self.alerting.replica) {
            tick.replicas.push(self.alerting.replica.clone());
        }
        if self.last_tick.is_none_or(|last| tick.now - last > LEASE_SAFE) {
            // Others may have evaluated our rules.
            self.rules.values_mut().for_each(|held| held.memory = None);
        }
        self.last_tick = Some(tick.now);
        self.refresh(&tick).await?;
        self.spread(&tick);
        let mut due = self.due(&tick);
        let evaluated = !due.is_empty();
        self.quiet_writes = QUIET_WRITES;
        while !due.is_empty() {
            let rest = due.split_off(RULES_PER_BATCH.min(due.len()));
            self.evaluate_batch(std::mem::replace(&mut due, rest)).await?;
        }
        if evaluated || tick.groups_due > 0 {
            self.dispatch_due().await?;
        }
        Ok(tick.now)
    }

    /// Reads anew what has changed.
    async fn refresh(&mut self, tick: &Tick) -> Result<(), StorageError> {
        if tick.routing_revision != self.routing_revision {
            self.routes = Arc::new(self.alerting.route_tree().await?.0);
            self.routing_revision = tick.routing_revision;
        }
        if tick.rules_revision == self.rules_revision {
            return Ok(());
        }
        let open: HashSet<String> =
            self.alerting.storage.alert_counts().await?.into_iter().map(|(id, ..)| id).collect();
        let mut rules = HashMap::new();
        for row in self.alerting.storage.rule_list().await? {
            let dormant = row.deleted || row.definition.get("enabled") == Some(&serde_json::Value::Bool(false));
            if dormant && !open.contains(&row.id) {
                continue;
            }
            let before = self.rules.remove(&row.id);
            let slot = before.as_ref().map_or(0, |held| held.slot);
            if let Some(same) = before.filter(|held| held.stored.revision == row.revision) {
                rules.insert(row.id, same);
            } else if let Some(stored) = stored::rule(&row) {
                let ready = validate::rule(stored.clone()).map_err(|error| error.to_string());
                rules.insert(row.id, Held { stored, ready, slot, is_ours: false, memory: None });
            }
        }
        self.rules = rules;
        self.rules_revision = tick.rules_revision;
        self.replicas.clear();
        Ok(())
    }

    /// Finds out which rules are ours, when the replicas or the rules have changed.
    fn spread(&mut self, tick: &Tick) {
        let mut replicas = tick.replicas.clone();
        replicas.sort();
        if replicas == self.replicas {
            return;
        }
        for (id, held) in &mut self.rules {
            held.is_ours = owner(&replicas, id) == Some(self.alerting.replica.as_str());
            if !held.is_ours {
                // Should it become ours, it is due at once.
                (held.slot, held.memory) = (0, None);
            }
        }
        self.replicas = replicas;
    }

    /// The rules that are ours and due, with the time to evaluate them at.
    fn due(&mut self, tick: &Tick) -> Vec<Due> {
        let now = tick.now.timestamp_millis();
        let (mut due, mut ours) = (Vec::new(), 0);
        for (id, held) in self.rules.iter_mut().filter(|(_, held)| held.is_ours) {
            ours += 1;
            let interval = self.alerting.interval_of(&held.stored.rule).millis();
            let slot = now - now.rem_euclid(interval);
            if slot <= held.slot {
                continue;
            }
            if held.slot > 0 {
                self.alerting.metrics.skipped((slot - held.slot) / interval - 1);
            }
            held.slot = slot;
            let at = DateTime::from_timestamp_millis(slot).unwrap_or(tick.now);
            due.push(Due { id: id.clone(), at, told: None });
        }
        self.alerting.metrics.rules.set(ours);
        due
    }

    async fn dispatch_due(&self) -> Result<(), StorageError> {
        let url = &self.alerting.config.dashboard_url;
        for _ in 0..GROUPS_PER_TICK {
            let decided = self.alerting.storage.dispatch_due(|case, around| stored::decide(case, around, url)).await;
            match decided {
                Ok(None) => break,
                Ok(Some(queued)) => self.alerting.metrics.queued(queued),
                Err(error) => {
                    self.alerting.metrics.group_failed();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// The replica that evaluates `rule`: the one whose hash with it is greatest, so that one that comes or goes moves only
/// its own share.
fn owner<'a>(replicas: &'a [String], rule: &str) -> Option<&'a str> {
    let seed = xxh3_64_with_seed(rule.as_bytes(), 0);
    let weight = |replica: &&String| (xxh3_64_with_seed(replica.as_bytes(), seed), (*replica).clone());
    replicas.iter().max_by_key(weight).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_goes_moves_only_its_own_rules() {
        let three = ["a", "b", "c"].map(str::to_owned);
        let two = ["a", "c"].map(str::to_owned);
        let mut counts = HashMap::new();
        for rule in (0..300).map(|i| format!("rule_{i}")) {
            let before = owner(&three, &rule).expect("somebody");
            *counts.entry(before.to_owned()).or_insert(0) += 1;
            if before != "b" {
                assert_eq!(owner(&two, &rule), Some(before));
            }
        }
        assert!(counts.values().all(|count| *count > 60), "{counts:?}");
    }
}
