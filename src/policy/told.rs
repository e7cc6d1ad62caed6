//! One instance: what it was told, what it has answered, and what it has missed.
//!
//! All that is remembered is what was sent last, so nothing queues for a slow one: when it has answered it is told the
//! difference to the newest state, however much has changed meanwhile. Invalidations alone are told one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::house::{Assigned, House};
use crate::model::glob;
use crate::storage::{InstanceWrite, InvalidationRow, WarmingRow};

/// An instance, as it says itself.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Of the service.
    pub version: String,
    /// Such as region.
    pub labels: BTreeMap<String, String>,
    /// Of the SDK.
    pub sdk: String,
    /// The revision of each policy that it runs.
    pub running: BTreeMap<String, i64>,
    /// The last invalidation that it applied; 0: its memory is empty.
    pub invalidation: i64,
    /// For how long after a Pong its memory may be read.
    pub lease: Duration,
}

/// What it is told of one policy.
#[derive(Clone, Debug, PartialEq)]
struct Given {
    revision: i64,
    canary: bool,
    /// Which overrides, and when the first of them ends by the database's clock: the same at each look.
    bent: Option<(String, DateTime<Utc>)>,
}

impl From<&Assigned> for Given {
    fn from(assigned: &Assigned) -> Self {
        let bent = assigned.bent.as_ref().map(|bent| (bent.id.clone(), bent.expires_at));
        Self { revision: assigned.policy.revision, canary: assigned.canary, bent }
    }
}

/// What it runs of one policy, as it has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// Which revision; 0: none.
    pub revision: i64,
    /// The revision that it tries before the others.
    pub canary: bool,
    /// The overrides that count instead.
    pub override_id: String,
    /// Why it refused another.
    pub error: String,
}

/// What it has missed of policies.
#[derive(Debug, Default, PartialEq)]
pub struct Missed {
    /// Policies that it is to run now.
    pub changed: Vec<Assigned>,
    /// Policies that it runs as they are, by id.
    pub unchanged: Vec<String>,
    /// Policies that it is to run no more, by id.
    pub removed: Vec<String>,
}

/// An invalidation for it, or the news that some are lost.
#[derive(Debug)]
pub enum Invalid {
    /// None.
    Nothing,
    /// The next, and the one before it.
    Next(Arc<InvalidationRow>, i64),
    /// Some are known no more: its memory must go.
    Lost,
}

/// See the module.
#[derive(Debug)]
pub struct Told {
    who: Who,
    given: BTreeMap<String, Given>,
    /// Those that the last message was about.
    asked: BTreeSet<String>,
    running: BTreeMap<String, Running>,
    /// What it ran before the last message.
    before: BTreeMap<String, Running>,
    /// The last invalidation that it was sent.
    sent: i64,
    /// Up to where there was none for it beside those.
    looked: i64,
    acknowledged: i64,
    /// Invalidations that some Redis has heard of since the house was read.
    applied: BTreeSet<i64>,
    warmed: i64,
    /// Since when it has only asked for shorter leases than the one that counts, and the longest of them.
    shorter: Option<(Duration, Instant)>,
}

impl Told {
    /// An instance that has said who it is.
    #[must_use]
    pub fn new(who: Who) -> Self {
        let given = |revision: &i64| Given { revision: *revision, canary: false, bent: None };
        let given = who.running.iter().map(|(id, revision)| (id.clone(), given(revision))).collect();
        let runs = |revision: &i64| Running { revision: *revision, ..Running::default() };
        let running = who.running.iter().map(|(id, revision)| (id.clone(), runs(revision))).collect();
        let acknowledged = who.invalidation;
        let (before, asked, applied) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let (sent, looked, warmed) = (0, 0, 0);
        Self { who, given, asked, running, before, sent, looked, acknowledged, applied, warmed, shorter: None }
    }

    /// Who it is.
    #[must_use]
    pub const fn who(&self) -> &Who {
        &self.who
    }

    /// It asks for a lease. True when the one that counts is another now: a longer one at once, a shorter one when the last
    /// of the longer ones has run out.
    pub fn asks_lease(&mut self, lease: Duration, now: Instant) -> bool {
        if lease >= self.who.lease {
            self.shorter = None;
            return std::mem::replace(&mut self.who.lease, lease) < lease;
        }
        let (longest, since) = self.shorter.get_or_insert((lease, now));
        *longest = lease.max(*longest);
        if now.duration_since(*since) <= self.who.lease {
            return false;
        }
        self.who.lease = *longest;
        self.shorter = None;
        true
    }

    /// These are in Redis, whatever the house says.
    pub fn are_applied(&mut self, applied: BTreeSet<i64>) {
        self.applied = applied;
    }

    /// From which invalidation on it is told of them, and whether its memory must go.
    pub fn begin(&mut self, house: &House) -> (i64, bool) {
        let resumes = self.who.invalidation > 0 && self.who.invalidation <= house.newest();
        let lost =
            self.who.invalidation > 0 && (!resumes || house.invalidations_after(self.who.invalidation).is_none());
        let start = if resumes && !lost {
            self.who.invalidation
        } else {
            // What no Redis has heard of yet is told to the next who comes, whose memory is empty.
            let pending = house.unapplied().find(|row| self.is_meant(row) && !self.applied.contains(&row.sequence));
            pending.map_or(house.newest(), |row| row.sequence - 1)
        };
        (self.sent, self.looked) = (start, start);
        (start, lost)
    }

    /// What it has missed of policies, which it is then taken to have been told.
    pub fn catch_up(&mut self, house: &House) -> Missed {
        let mut missed = Missed::default();
        let mut given = BTreeMap::new();
        for (id, assigned) in house.assigned((&self.who.service, &self.who.instance), &self.who.labels) {
            let now = Given::from(&assigned);
            if self.given.get(id) == Some(&now) {
                missed.unchanged.push(id.to_owned());
            } else {
                missed.changed.push(assigned);
            }
            given.insert(id.to_owned(), now);
        }
        self.asked = missed.changed.iter().map(|assigned| assigned.policy.policy.id.clone()).collect();
        let before = std::mem::replace(&mut self.given, given);
        missed.removed = before.into_keys().filter(|id| !self.given.contains_key(id)).collect();
        missed
    }

    fn is_meant(&self, row: &InvalidationRow) -> bool {
        glob(&row.service, &self.who.service)
    }

    /// The next invalidation for it, which it is then taken to have been sent.
    pub fn next_invalidation(&mut self, house: &House) -> Invalid {
        let Some(after) = house.invalidations_after(self.looked) else { return Invalid::Lost };
        let Some(next) = after.iter().find(|row| self.is_meant(row)) else {
            self.looked = self.looked.max(house.newest());
            return Invalid::Nothing;
        };
        let previous = std::mem::replace(&mut self.sent, next.sequence);
        self.looked = next.sequence;
        Invalid::Next(Arc::clone(next), previous)
    }

    /// Everything starts anew from the newest: its memory is said to be lost.
    pub fn restart(&mut self, house: &House) -> i64 {
        self.who.invalidation = 0;
        self.given.clear();
        self.begin(house).0
    }

    /// The last invalidation that it was sent.
    #[must_use]
    pub const fn sent(&self) -> i64 {
        self.sent
    }

    /// Whether it was sent every invalidation for it up to this one.
    #[must_use]
    pub const fn knows(&self, sequence: i64) -> bool {
        self.looked >= sequence
    }

    /// What it is to load, which it is then taken to have been told.
    pub fn next_warming<'a>(&mut self, house: &'a House) -> Option<&'a WarmingRow> {
        let is_mine = |row: &&Arc<WarmingRow>| {
            row.id > self.warmed && row.service == self.who.service && row.instance == self.who.instance
        };
        let next = house.warmings().iter().find(is_mine)?;
        self.warmed = next.id;
        Some(next)
    }

    /// It has answered what it was told of policies: it runs them. Of the others it runs, or refuses, what it did.
    pub fn runs(&mut self) {
        self.before = std::mem::take(&mut self.running);
        let runs = |given: &Given| Running {
            revision: given.revision,
            canary: given.canary,
            override_id: given.bent.as_ref().map(|(id, _)| id.clone()).unwrap_or_default(),
            error: String::new(),
        };
        let now = |(id, given): (&String, &Given)| {
            let as_before = self.before.get(id).filter(|_| !self.asked.contains(id)).cloned();
            (id.clone(), as_before.unwrap_or_else(|| runs(given)))
        };
        self.running = self.given.iter().map(now).collect();
    }

    /// It has refused one of them, or, where the id is empty, all.
    pub fn refuses(&mut self, policy: &str, error: &str) {
        for (id, running) in &mut self.running {
            if policy.is_empty() || id == policy {
                *running = Running { error: error.to_owned(), ..self.before.get(id).cloned().unwrap_or_default() };
            }
        }
    }

    /// It has applied the invalidations up to this one.
    pub const fn applied(&mut self, sequence: i64) {
        self.acknowledged = sequence;
    }

    /// Its row of the fleet.
    #[must_use]
    pub fn row(&self, (session, replica): (&str, &str), connected: bool) -> InstanceWrite {
        let who = &self.who;
        InstanceWrite {
            service: who.service.clone(),
            instance: who.instance.clone(),
            session: session.to_owned(),
            replica: replica.to_owned(),
            version: who.version.clone(),
            labels: json!(who.labels),
            sdk: who.sdk.clone(),
            connected,
            lease_ms: i64::try_from(who.lease.as_millis()).unwrap_or(i64::MAX),
            invalidation: self.acknowledged,
            running: json!(self.running),
            opens: false,
        }
    }
}

#[cfg(test)]
mod tests;
