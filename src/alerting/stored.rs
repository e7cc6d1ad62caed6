//! Between rows and the pure cores: alerts, groups and decisions as they are kept.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::dispatch::{Dispatch, GroupState, Member, Surroundings, dispatch};
use super::evaluate::{Instance, Telling};
use super::state::State;
use super::suppress::Suppressors;
use crate::model::{Alert, GroupPolicy, RuleOrigin, StoredRule};
use crate::storage::{AlertRow, Around, DecisionRow, GroupCase, GroupDecision, NewDelivery, RuleRow};

/// What is remembered of an alert beside what is shown.
#[derive(Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) state: State,
    pub(super) telling: Telling,
}

/// A value that we wrote ourselves; one that does not read back is told in the log and left out.
pub(super) fn read<T: DeserializeOwned>(what: &str, value: &Value) -> Option<T> {
    match T::deserialize(value) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::error!(what, %error, "a stored value does not read back");
            None
        }
    }
}

/// Our own types always become JSON; a float that is not finite becomes null.
pub(super) fn write<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

pub(super) fn rule(row: &RuleRow) -> Option<StoredRule> {
    Some(StoredRule {
        rule: read("rule", &row.definition)?,
        revision: row.revision,
        origin: RuleOrigin::parse(&row.origin).unwrap_or(RuleOrigin::Api),
        created_at: row.created_at,
        updated_at: row.updated_at,
        deleted: row.deleted,
    })
}

/// The alert of a row, with what is kept beside it.
pub(super) fn alert(row: &AlertRow) -> Option<Alert> {
    let mut alert: Alert = read("alert", &row.alert)?;
    alert.id = row.id.to_string();
    alert.acknowledged = row.acknowledged.as_ref().and_then(|by| read("acknowledgement", by));
    alert.suppressed = read("suppressions", &row.suppressed).unwrap_or_default();
    Some(alert)
}

pub(super) fn instance(row: &AlertRow) -> Option<Instance> {
    let Machine { state, telling } = read("machine", &row.machine)?;
    Some(Instance { alert: alert(row)?, state, telling })
}

fn member(row: &AlertRow) -> Option<Member> {
    let Instance { alert, telling, .. } = instance(row)?;
    Some(Member { alert, telling, chart: read("chart", &row.chart).unwrap_or_default() })
}

/// What suppresses, as read in the transaction that decides.
fn suppressors(around: &Around) -> Suppressors {
    let alerts = around.firing.iter().filter_map(|value| read::<Alert>("alert", value));
    Suppressors {
        silences: around.silences.iter().filter_map(|value| read("silence", value)).collect(),
        windows: around.windows.iter().filter_map(|value| read("maintenance window", value)).collect(),
        inhibitions: around.inhibitions.as_ref().and_then(|value| read("inhibitions", value)).unwrap_or_default(),
        firing: alerts.map(|alert| (alert.fingerprint.clone(), alert.matched_labels())).collect(),
    }
}

/// Decides on a group as it was read, and says what is to be written.
pub(super) fn decide(case: &GroupCase, around: &Around, dashboard_url: &str) -> GroupDecision {
    let policy: GroupPolicy = read("group policy", &case.policy).unwrap_or_default();
    let state: GroupState = read("group state", &case.state).unwrap_or_default();
    let members: Vec<Member> = case.members.iter().filter_map(member).collect();
    let suppressors = suppressors(around);
    let surroundings =
        Surroundings { now: around.now, suppressors: &suppressors, receivers: &around.receivers, dashboard_url };
    let decided = dispatch(&case.key, (&policy, &state), &members, &surroundings);
    decision(case, decided, around.now)
}

fn decision(case: &GroupCase, decided: Dispatch, now: DateTime<Utc>) -> GroupDecision {
    let row_of = |print: &str| case.members.iter().rev().find(|row| row.fingerprint == print);
    let decisions = decided.reasons.into_iter().filter_map(|reason| {
        Some(DecisionRow {
            rule_id: row_of(&reason.fingerprint)?.rule_id.clone(),
            fingerprint: reason.fingerprint,
            kind: reason.kind.to_owned(),
            detail: reason.detail,
            since: now,
            until: now,
        })
    });
    let suppressed = decided.suppressed.iter().filter_map(|(id, suppressed)| {
        let (id, suppressed) = (id.parse().ok()?, write(suppressed));
        let before = case.members.iter().find(|row| row.id == id)?;
        (before.suppressed != suppressed).then_some((id, suppressed))
    });
    GroupDecision {
        suppressed: suppressed.collect(),
        deliveries: decided.notifications.iter().map(NewDelivery::from).collect(),
        state: write(&decided.state),
        next_at: decided.next_at,
        settled: decided.settled.iter().filter_map(|id| id.parse().ok()).collect(),
        decisions: decisions.collect(),
    }
}
