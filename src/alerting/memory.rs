//! What this replica remembers of a rule without alerts, so that an evaluation with nothing to say neither reads nor writes.
//!
//! Rules with alerts are never remembered: whatever can be told is read anew and written under its epoch each time. What is
//! remembered may be stale, when another replica has evaluated the rule meanwhile. That shows when it is written, since the
//! epoch has passed by then; and until then it told nobody anything. It is written when the rule decides otherwise than
//! before, and else once in a while, a bounded number of rules a tick.

use chrono::{DateTime, TimeDelta, Utc};

use super::evaluate::{LabelSet, ReadyRule, Summary};
use super::outcome;
use super::stored;
use crate::storage::{RuleStateRow, StateChange};

/// How long an evaluation that decided as the one before may stay unwritten.
const UNWRITTEN_MAX: TimeDelta = TimeDelta::seconds(10);

/// The state of a rule without alerts, as of its last evaluation here.
pub(super) struct Memory {
    row: RuleStateRow,
    known: Vec<LabelSet>,
    known_is_new: bool,
    /// The run that ended with the last evaluation, in words.
    ended: Option<String>,
    written_at: Option<DateTime<Utc>>,
    /// Something was decided that must not wait.
    is_urgent: bool,
}

impl Memory {
    /// Of a row as it was read.
    pub(super) fn new(row: RuleStateRow) -> Self {
        let known = stored::read("known series", &row.known).unwrap_or_default();
        let written_at = row.evaluated_at;
        Self { row, known, known_is_new: false, ended: None, written_at, is_urgent: false }
    }

    pub(super) const fn row(&self) -> &RuleStateRow {
        &self.row
    }

    /// Label sets to be missed.
    pub(super) fn known(&self) -> &[LabelSet] {
        &self.known
    }

    /// Whether the rule was evaluated before `at`, or never.
    pub(super) fn is_before(&self, at: DateTime<Utc>) -> bool {
        self.row.evaluated_at.is_none_or(|last| last < at)
    }

    /// Takes in an evaluation that found nothing to say.
    pub(super) fn evaluated(
        &mut self,
        ready: &ReadyRule,
        summary: &Summary,
        known: Option<Vec<LabelSet>>,
        took: (DateTime<Utc>, f64),
    ) {
        let (error, left_out) = (self.row.error.take(), self.row.left_out);
        self.ended = outcome::advance(&mut self.row, ready, summary, took);
        self.is_urgent |= self.ended.is_some() || self.row.error != error || self.row.left_out != left_out;
        if let Some(known) = known {
            (self.known, self.known_is_new, self.is_urgent) = (known, true, true);
        }
    }

    /// Takes in that the rule cannot be evaluated.
    pub(super) fn broken(&mut self, at: DateTime<Utc>, error: &str) {
        self.is_urgent |= self.row.error.as_deref() != Some(error);
        self.ended = outcome::advance_broken(&mut self.row, at, error);
    }

    /// Lets it be written at the next occasion.
    pub(super) const fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// Something must be written now.
    pub(super) const fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// It has not been written for as long as may be.
    pub(super) fn is_overdue(&self) -> bool {
        let since = self.written_at.zip(self.row.evaluated_at).map(|(written, now)| now - written);
        since.is_none_or(|since| since >= UNWRITTEN_MAX)
    }

    /// Anything is unwritten.
    pub(super) fn is_unwritten(&self) -> bool {
        self.is_urgent || self.written_at != self.row.evaluated_at
    }

    /// What is to be written.
    pub(super) fn change(&self) -> Option<StateChange> {
        let mut change = outcome::change_of(&self.row, self.ended.clone())?;
        change.known = self.known_is_new.then(|| stored::write(&self.known));
        Some(change)
    }

    /// It is written, under the next epoch.
    pub(super) fn was_written(&mut self) {
        self.row.epoch += 1;
        self.written_at = self.row.evaluated_at;
        (self.known_is_new, self.is_urgent, self.ended) = (false, false, None);
    }
}
