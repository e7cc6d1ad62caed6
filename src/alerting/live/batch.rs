//! One batch of the live loop: what is not remembered is read, all conditions are asked at once, every rule is evaluated, and
//! what it says is written.

use std::time::Instant;

use chrono::{DateTime, Utc};
use hashbrown::{HashMap, HashSet};

use super::super::evaluate::{Instance, LabelSet, Samples, Verdict, evaluate, quiet, samples};
use super::super::memory::Memory;
use super::super::{outcome, stored};
use super::{Held, Live};
use crate::query::{Condition, QueryError, Told};
use crate::storage::{RuleStateRow, StateChange, StorageError};

/// States of rules without alerts that are written in one tick, beside those that must not wait.
pub(super) const QUIET_WRITES: usize = 1_000;
/// States that one statement writes.
const STATES_PER_WRITE: usize = 1_000;

/// A rule that is due, when, and its state where that is not remembered: it has alerts.
pub(super) struct Due {
    pub(super) id: String,
    pub(super) at: DateTime<Utc>,
    pub(super) told: Option<(RuleStateRow, Vec<OpenAlert>)>,
}

/// An open alert and the groups that it is told with.
pub(in crate::alerting) struct OpenAlert {
    pub(in crate::alerting) instance: Instance,
    pub(in crate::alerting) group_keys: Vec<String>,
}

/// What a rule has to say.
struct Spoken {
    id: String,
    open: Vec<OpenAlert>,
    verdict: Verdict,
    state: StateChange,
}

impl Live {
    /// Reads what is not remembered; leaves those that are not to be evaluated at their time.
    async fn read(&mut self, mut due: Vec<Due>) -> Result<Vec<Due>, StorageError> {
        let is_unknown = |due: &&Due| self.rules.get(&due.id).is_some_and(|held| held.memory.is_none());
        let ids: Vec<String> = due.iter().filter(is_unknown).map(|due| due.id.clone()).collect();
        let mut read: HashMap<String, (RuleStateRow, Vec<OpenAlert>)> = HashMap::new();
        if !ids.is_empty() {
            for row in self.alerting.storage.rule_states(&ids).await? {
                read.insert(row.rule_id.clone(), (row, Vec::new()));
            }
            for row in self.alerting.storage.alerts_open(&ids).await? {
                let Some(instance) = stored::instance(&row) else { continue };
                let Some((_, open)) = read.get_mut(&row.rule_id) else { continue };
                open.push(OpenAlert { instance, group_keys: row.group_keys });
            }
        }
        due.retain_mut(|due| {
            let Some(held) = self.rules.get_mut(&due.id) else { return false };
            match read.remove(&due.id) {
                Some((row, open)) if open.is_empty() => held.memory = Some(Memory::new(row)),
                told => due.told = told,
            }
            match (&due.told, &held.memory) {
                (Some((row, _)), _) => row.evaluated_at.is_none_or(|last| last < due.at),
                (None, memory) => memory.as_ref().is_some_and(|memory| memory.is_before(due.at)),
            }
        });
        Ok(due)
    }

    pub(super) async fn evaluate_batch(&mut self, due: Vec<Due>) -> Result<(), QueryError> {
        let began = Instant::now();
        let due = self.read(due).await?;
        let answers = self.ask(&due).await?;
        let share = began.elapsed().as_secs_f64() / due.len().max(1) as f64;
        let (mut quiet, mut finished, mut spoken) = (Vec::new(), Vec::new(), Vec::new());
        for (due, answer) in due.into_iter().zip(answers) {
            let is_unwanted = self.rules.get(&due.id).is_some_and(Held::is_unwanted);
            let id = due.id.clone();
            match self.evaluate(due, answer.as_ref(), share) {
                Some(said) => spoken.push(said),
                None => quiet.push(id.clone()),
            }
            if is_unwanted {
                finished.push(id);
            }
        }
        for said in spoken {
            let id = said.id.clone();
            if !self.write(said).await {
                finished.retain(|finished| *finished != id);
            }
            // It has alerts now, or had: what is to be known of it is read.
            if let Some(held) = self.rules.get_mut(&id) {
                held.memory = None;
            }
        }
        let due = self.due_to_be_written(quiet);
        self.write_quiet(&due).await?;
        self.alerting.metrics.ticked(began.elapsed());
        for id in finished {
            self.rules.remove(&id);
        }
        Ok(())
    }

    /// Evaluates a rule; `None` when it has nothing to say.
    fn evaluate(&mut self, due: Due, answer: Option<&Told>, share: f64) -> Option<Spoken> {
        let Due { id, at, told } = due;
        let held = self.rules.get_mut(&id)?;
        let is_unwanted = held.is_unwanted();
        let ready = match &held.ready {
            Ok(ready) => ready,
            Err(error) => {
                let mut unread = told.map(|(row, _)| Memory::new(row));
                let memory = held.memory.as_mut().or(unread.as_mut())?;
                memory.broken(at, error);
                held.memory = unread.or_else(|| held.memory.take());
                return None;
            }
        };
        if let (Some(memory), Some(Ok(answer))) = (&mut held.memory, answer)
            && let Some(summary) = quiet(ready, answer)
        {
            self.alerting.metrics.evaluated(summary.health.as_str(), 1);
            memory.evaluated(ready, &summary, None, (at, share));
            return None;
        }
        let samples = match answer {
            None => Ok(Samples::new()),
            Some(Ok(answer)) => Ok(samples(answer, 0)),
            Some(Err(error)) => Err(error.to_string()),
        };
        let samples = samples.as_ref().map_err(String::as_str);
        let (row, open) = told.map_or((None, Vec::new()), |(row, open)| (Some(row), open));
        let instances: Vec<Instance> = open.iter().map(|open| open.instance.clone()).collect();
        let read = row.as_ref().and_then(|row| stored::read::<Vec<LabelSet>>("known series", &row.known));
        let known = held.memory.as_ref().map_or_else(|| read.as_deref().unwrap_or_default(), Memory::known);
        let verdict = evaluate(ready, &instances, known, samples, at);
        self.alerting.metrics.evaluated(verdict.summary.health.as_str(), 1);
        self.alerting.metrics.left_out(verdict.summary.left_out);
        if let Some(memory) = held.memory.as_mut().filter(|_| verdict.outcomes.is_empty()) {
            memory.evaluated(ready, &verdict.summary, verdict.known, (at, share));
            if is_unwanted {
                memory.hurry();
            }
            return None;
        }
        let before = row.as_ref().or_else(|| held.memory.as_ref().map(Memory::row))?;
        let state = outcome::state_change(ready, before, &verdict, (at, share))?;
        Some(Spoken { id, open, verdict, state })
    }

    /// Those of `ids` whose state is to be written now.
    fn due_to_be_written(&mut self, ids: Vec<String>) -> Vec<String> {
        let mut left = self.quiet_writes;
        let is_due = |id: &String| {
            let Some(memory) = self.rules.get(id).and_then(|held| held.memory.as_ref()) else { return false };
            if memory.is_urgent() {
                return true;
            }
            let may = left > 0 && memory.is_overdue();
            left -= usize::from(may);
            may
        };
        let due = ids.into_iter().filter(is_due).collect();
        self.quiet_writes = left;
        due
    }

    /// Writes the states of rules that have nothing to say.
    pub(super) async fn write_quiet(&mut self, ids: &[String]) -> Result<(), StorageError> {
        for ids in ids.chunks(STATES_PER_WRITE) {
            let memory = |id: &String| self.rules.get(id)?.memory.as_ref()?.change();
            let changes: Vec<StateChange> = ids.iter().filter_map(memory).collect();
            let written = self.alerting.storage.rule_states_advance(&changes).await;
            let written: HashSet<String> = match written {
                Ok(written) => written.into_iter().collect(),
                Err(error) => {
                    self.forget(ids);
                    return Err(error);
                }
            };
            self.alerting.metrics.evaluated("fenced", changes.len().saturating_sub(written.len()));
            for id in ids {
                let Some(held) = self.rules.get_mut(id) else { continue };
                if written.contains(id) {
                    held.memory.iter_mut().for_each(Memory::was_written);
                } else {
                    held.memory = None;
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, ids: &[String]) {
        for id in ids {
            if let Some(held) = self.rules.get_mut(id) {
                held.memory = None;
            }
        }
    }

    /// Asks all queries of the batch at once; for each rule what it gave, or nothing where nothing was asked.
    async fn ask(&mut self, due: &[Due]) -> Result<Vec<Option<Told>>, QueryError> {
        let question = |due: &Due| {
            let held = self.rules.get(&due.id).filter(|held| !held.is_unwanted())?;
            let ready = held.ready.as_ref().ok()?;
            Some((&ready.condition, due.at.timestamp_millis() - ready.stored.rule.evaluation_delay.millis()))
        };
        let asked: Vec<Option<(&Condition, i64)>> = due.iter().map(question).collect();
        let conditions: Vec<(&Condition, i64)> = asked.iter().copied().flatten().collect();
        let mut answers = self.alerting.engine.conditions(&mut self.standing, &conditions).await?.into_iter();
        Ok(asked.iter().map(|asked| asked.and_then(|_| answers.next())).collect())
    }

    /// Writes what a rule has to say. When it fails or is fenced off, false: the next evaluation says it.
    async fn write(&self, said: Spoken) -> bool {
        let Spoken { id, open, verdict, state } = said;
        let Some(Ok(ready)) = self.rules.get(&id).map(|held| &held.ready) else { return false };
        let charts = self.alerting.charts(ready, &verdict, state.evaluated_at).await;
        let write = outcome::write(ready, &open, &verdict, (state, &charts), &self.routes);
        let url = &self.alerting.config.dashboard_url;
        let written =
            self.alerting.storage.evaluation_write(&write, |case, around| stored::decide(case, around, url)).await;
        match written {
            Ok(queued) => {
                self.alerting.metrics.queued(queued);
                for (transition, _) in verdict.outcomes.iter().filter_map(|outcome| outcome.transition.as_ref()) {
                    self.alerting.metrics.changed(transition.to.as_str());
                }
                let interval = self.alerting.interval_of(&ready.stored.rule);
                self.alerting.holds.follow(&ready.stored.rule, &verdict, interval).await;
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
}
