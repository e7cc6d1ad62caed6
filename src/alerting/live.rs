//! The live loop: which rules are due and ours, one read of state and measurements for all of them, one fenced
//! transaction for each that has something to say.
//!
//! Evaluation times are multiples of the interval by the database's clock, so every replica means the same instants, and a
//! late tick is left out and never queued. Which replica evaluates a rule is spread by rendezvous over the lease rows: that
//! is only for less work. That a rule is evaluated once is the epoch's doing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::evaluate::{Instance, LabelSet, ReadyRule, Samples, Verdict, evaluate, samples};
use super::{Alerting, outcome, stored, validate};
use crate::model::{Route, StoredRule};
use crate::query::{Condition, QueryError};
use crate::storage::{RuleStateRow, StateChange, StorageError, Tick};

/// How often the loop looks.
const TICK: Duration = Duration::from_secs(1);
/// Rules evaluated at once.
const RULES_PER_BATCH: usize = 1_000;
/// Groups decided on in one tick.
const GROUPS_PER_TICK: usize = 500;

/// A rule as this replica holds it.
struct Held {
    stored: StoredRule,
    /// Why it cannot be evaluated, otherwise.
    ready: Result<ReadyRule, String>,
    /// The last slot that was looked at, in milliseconds.
    slot: i64,
}

/// The loop.
pub(super) struct Live {
    alerting: Arc<Alerting>,
    rules: HashMap<String, Held>,
    rules_revision: i64,
    routes: Arc<Route>,
    routing_revision: i64,
    /// The last failure, so that it is logged once.
    failing: bool,
}

/// What a batch reads before it evaluates.
struct Batch {
    due: Vec<(String, DateTime<Utc>)>,
    states: HashMap<String, RuleStateRow>,
    open: HashMap<String, Vec<OpenAlert>>,
}

/// An open alert and the groups that it is told with.
pub(super) struct OpenAlert {
    pub(super) instance: Instance,
    pub(super) group_keys: Vec<String>,
}

impl Live {
    pub(super) fn new(alerting: Arc<Alerting>) -> Self {
        let routes = Arc::new(super::routes::default_tree());
        Self { alerting, rules: HashMap::new(), rules_revision: -1, routes, routing_revision: -1, failing: false }
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
        self.refresh(&tick).await?;
        let due = self.due(&tick);
        let evaluated = !due.is_empty();
        for part in due.chunks(RULES_PER_BATCH) {
            self.evaluate_batch(part.to_vec()).await?;
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
                rules.insert(row.id, Held { stored, ready, slot });
            }
        }
        self.rules = rules;
        self.rules_revision = tick.rules_revision;
        Ok(())
    }

    /// The rules that are ours and due, with the time to evaluate them at.
    fn due(&mut self, tick: &Tick) -> Vec<(String, DateTime<Utc>)> {
        let now = tick.now.timestamp_millis();
        let (mut due, mut ours) = (Vec::new(), 0);
        for (id, held) in &mut self.rules {
            if owner(&tick.replicas, id) != Some(self.alerting.replica.as_str()) {
                // Should it become ours, it is due at once.
                held.slot = 0;
                continue;
            }
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
            due.push((id.clone(), DateTime::from_timestamp_millis(slot).unwrap_or(tick.now)));
        }
        self.alerting.metrics.rules.set(ours);
        due
    }

    async fn read_batch(&self, due: Vec<(String, DateTime<Utc>)>) -> Result<Batch, StorageError> {
        let ids: Vec<String> = due.iter().map(|(id, _)| id.clone()).collect();
        let states = self.alerting.storage.rule_states(&ids).await?;
        let states: HashMap<String, RuleStateRow> =
            states.into_iter().map(|state| (state.rule_id.clone(), state)).collect();
        let mut open: HashMap<String, Vec<OpenAlert>> = HashMap::new();
        for row in self.alerting.storage.alerts_open(&ids).await? {
            let Some(instance) = stored::instance(&row) else { continue };
            open.entry(row.rule_id).or_default().push(OpenAlert { instance, group_keys: row.group_keys });
        }
        let fresh = |(id, at): &(String, DateTime<Utc>)| {
            states.get(id).is_some_and(|state| state.evaluated_at.is_none_or(|last| last < *at))
        };
        Ok(Batch { due: due.into_iter().filter(fresh).collect(), states, open })
    }

    async fn evaluate_batch(&mut self, due: Vec<(String, DateTime<Utc>)>) -> Result<(), QueryError> {
        let began = Instant::now();
        let batch = self.read_batch(due).await?;
        let seen = self.ask(&batch).await?;
        let share = began.elapsed().as_secs_f64() / batch.due.len().max(1) as f64;
        let mut quiet: Vec<StateChange> = Vec::new();
        let mut finished: Vec<String> = Vec::new();
        for (id, at) in &batch.due {
            let (Some(held), Some(before)) = (self.rules.get(id), batch.states.get(id)) else { continue };
            let ready = match &held.ready {
                Ok(ready) => ready,
                Err(error) => {
                    quiet.push(outcome::broken(before, *at, error));
                    continue;
                }
            };
            let open = batch.open.get(id).map(Vec::as_slice).unwrap_or_default();
            let instances: Vec<Instance> = open.iter().map(|open| open.instance.clone()).collect();
            let known: Vec<LabelSet> = stored::read("known series", &before.known).unwrap_or_default();
            let nothing = Samples::new();
            let samples = seen.get(id).map_or(Ok(&nothing), |seen| seen.as_ref().map_err(String::as_str));
            let verdict = evaluate(ready, &instances, &known, samples, *at);
            self.count(&verdict);
            let state = outcome::state_change(ready, before, &verdict, (*at, share));
            let is_written = if open.is_empty() && verdict.outcomes.is_empty() {
                quiet.push(state);
                true
            } else {
                self.write(ready, open, verdict, state).await
            };
            if is_written && (held.stored.deleted || !held.stored.rule.enabled) {
                finished.push(id.clone());
            }
        }
        let total = quiet.len();
        let written = self.alerting.storage.rule_states_advance(&quiet).await?;
        self.alerting.metrics.evaluated("fenced", total.saturating_sub(written));
        self.alerting.metrics.ticked(began.elapsed());
        for id in finished {
            self.rules.remove(&id);
        }
        Ok(())
    }

    /// Asks all queries of the batch at once; by rule, what they gave or why not.
    async fn ask(&self, batch: &Batch) -> Result<HashMap<String, Result<Samples, String>>, QueryError> {
        let mut conditions: Vec<(&Condition, i64)> = Vec::new();
        let mut asked = Vec::new();
        for (id, at) in &batch.due {
            let Some(ready) = self.rules.get(id).and_then(|held| held.ready.as_ref().ok()) else { continue };
            let rule = &ready.stored.rule;
            if !ready.stored.deleted && rule.enabled {
                conditions.push((&ready.condition, at.timestamp_millis() - rule.evaluation_delay.millis()));
                asked.push(id.clone());
            }
        }
        let answers = self.alerting.engine.conditions(&conditions).await?;
        let read = |answer: Result<crate::query::Answer, QueryError>| {
            answer.map(|answer| samples(&answer, 0)).map_err(|error| error.to_string())
        };
        Ok(asked.into_iter().zip(answers.into_iter().map(read)).collect())
    }

    fn count(&self, verdict: &Verdict) {
        self.alerting.metrics.evaluated(verdict.summary.health.as_str(), 1);
        self.alerting.metrics.left_out(verdict.summary.left_out);
    }

    /// Writes what a rule has to say. When it fails or is fenced off, false: the next evaluation says it.
    async fn write(&self, ready: &ReadyRule, open: &[OpenAlert], verdict: Verdict, state: StateChange) -> bool {
        let charts = self.alerting.charts(ready, &verdict, state.evaluated_at).await;
        let write = outcome::write(ready, open, &verdict, (state, &charts), &self.routes);
        let url = &self.alerting.config.dashboard_url;
        let written =
            self.alerting.storage.evaluation_write(&write, |case, around| stored::decide(case, around, url)).await;
        match written {
            Ok(queued) => {
                self.alerting.metrics.queued(queued);
                for (transition, _) in verdict.outcomes.iter().filter_map(|outcome| outcome.transition.as_ref()) {
                    self.alerting.metrics.changed(transition.to.as_str());
                }
                true
            }
            Err(StorageError::Fenced) => {
                self.alerting.metrics.evaluated("fenced", 1);
                tracing::debug!(rule = ready.stored.rule.id, "somebody else has evaluated it");
                false
            }
            Err(error) => {
                self.alerting.metrics.evaluated("failed", 1);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    rule = ready.stored.rule.id,
                    "an evaluation was not written"
                );
                false
            }
        }
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
