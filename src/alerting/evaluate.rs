//! One evaluation of a whole rule: from what the query gave to the alerts that changed. Pure; live and backtest call it.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::state::{Effect, Phase, Policy, Seen, State, step};
use super::templates::{self, Facts};
use crate::model::{
    Alert, AlertState, EscalationStep, MissingSeries, NoData, Period, RuleHealth, StoredRule, Transition, fingerprint,
};
use crate::query::{Answer, AnswerValue, Column, Condition, QueryError, Sample};

/// Most series that a rule's query may give; beyond it the rule is in error.
const SERIES_MAX: usize = 10_000;
/// Most label sets remembered for `missingSeries: fire`.
const KNOWN_MAX: usize = 1_000;

/// Sets of labels.
pub(super) type LabelSet = BTreeMap<String, String>;

/// A rule, ready to be evaluated.
#[derive(Clone, Debug)]
pub(super) struct ReadyRule {
    pub(super) stored: StoredRule,
    pub(super) condition: Condition,
    pub(super) policy: Policy,
}

impl ReadyRule {
    pub(super) fn new(stored: StoredRule) -> Result<Self, QueryError> {
        let condition = Condition::parse(&stored.rule.condition, stored.rule.threshold)?;
        let policy = Policy::of(&stored.rule, &condition);
        Ok(Self { stored, condition, policy })
    }

    /// Why its alerts are not wanted any more.
    fn unwanted(&self) -> Option<&'static str> {
        if self.stored.deleted {
            Some("rule_deleted")
        } else if !self.stored.rule.enabled {
            Some("rule_disabled")
        } else {
            None
        }
    }
}

/// What telling needs of the rule, as of the last evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Telling {
    pub(super) cooldown: Period,
    pub(super) escalation: Vec<EscalationStep>,
}

/// An alert that is not resolved, with what its state machine remembers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Instance {
    pub(super) alert: Alert,
    pub(super) state: State,
    pub(super) telling: Telling,
}

/// An alert after an evaluation.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) instance: Instance,
    pub(super) transition: Option<(Transition, Effect)>,
}

/// How the rule as a whole decided, in a word for `explain`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) health: RuleHealth,
    pub(super) error: Option<String>,
    /// `no_breach`, `breach`, `no_data`, `error`.
    pub(super) kind: &'static str,
    /// The value nearest to a breach, or furthest in it.
    pub(super) worst: Option<f64>,
    /// New alerts beyond the rule's limit.
    pub(super) left_out: u32,
}

/// What an evaluation comes to.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) summary: Summary,
    /// Label sets to be missed one day; `None` when as before.
    pub(super) known: Option<Vec<LabelSet>>,
}

/// What the query gave at one time.
pub(super) type Samples = Vec<(LabelSet, f64)>;

/// The samples of `answer` at its step number `at`.
pub(super) fn samples(answer: &Answer, at: usize) -> Samples {
    match &answer.value {
        AnswerValue::Scalar(values) => values.get(at).map(|value| (LabelSet::new(), *value)).into_iter().collect(),
        AnswerValue::Text(_) => Vec::new(),
        AnswerValue::Vector(columns) => {
            let one = |column: &Column| {
                let value = column.samples.get(at).and_then(Sample::float)?;
                let labels = column.labels.iter().filter(|(name, _)| *name != "__name__");
                Some((labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), value))
            };
            columns.iter().filter_map(one).collect()
        }
    }
}

/// The summary of an evaluation of a rule without alerts, when it cannot change anything; `None` when it may.
///
/// Gives what [`evaluate`] gives, without the label sets: most evaluations are so.
pub(super) fn quiet(rule: &ReadyRule, answer: &Answer) -> Option<Summary> {
    quiet_at(rule, answer, 0)
}

/// The same at step number `at`.
pub(super) fn quiet_at(rule: &ReadyRule, answer: &Answer, at: usize) -> Option<Summary> {
    let policy = &rule.policy;
    if rule.unwanted().is_some() || policy.missing_series == MissingSeries::Fire {
        return None;
    }
    let values: Vec<f64> = match &answer.value {
        AnswerValue::Scalar(values) => values.get(at).copied().into_iter().collect(),
        AnswerValue::Text(_) => Vec::new(),
        AnswerValue::Vector(columns) => {
            let there = |column: &Column| column.samples.get(at).and_then(Sample::float);
            let values = columns.iter().filter_map(there).collect();
            if columns.len() > 1 && !are_distinct(columns.iter().filter(|column| there(column).is_some()), rule) {
                return None;
            }
            values
        }
    };
    let fires_of_nothing = values.is_empty() && policy.no_data == NoData::Fire && policy.compare.is_some();
    if values.len() > SERIES_MAX || fires_of_nothing || values.iter().any(|value| policy.is_breached_by(*value)) {
        return None;
    }
    let evaluation = Evaluation { rule, at: DateTime::default(), outcomes: Vec::new(), open: 0, left_out: 0 };
    Some(evaluation.summary(None, values.into_iter()))
}

/// Whether alerts of these columns could be told from one another.
fn are_distinct<'a>(columns: impl Iterator<Item = &'a Column>, rule: &ReadyRule) -> bool {
    let own = &rule.stored.rule.labels;
    let print = |column: &Column| {
        let mut hash = Xxh3::new();
        for (name, value) in column.labels.iter().filter(|(name, _)| *name != "__name__" && !own.contains_key(*name)) {
            for text in [name, value] {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        hash.digest128()
    };
    let mut seen = HashSet::new();
    columns.map(print).all(|print| seen.insert(print))
}

/// Evaluates `rule` at `at`, given its open alerts, the label sets known before, and what the query gave.
pub(super) fn evaluate(
    rule: &ReadyRule,
    open: &[Instance],
    known: &[LabelSet],
    seen: Result<&Samples, &str>,
    at: DateTime<Utc>,
) -> Verdict {
    let mut evaluation = Evaluation { rule, at, outcomes: Vec::new(), open: 0, left_out: 0 };
    let mut error = None;
    let mut by_fingerprint: HashMap<String, (LabelSet, f64)> = HashMap::new();
    let mut order = Vec::new();
    match seen {
        Err(text) => error = Some(text.to_owned()),
        Ok(samples) if samples.len() > SERIES_MAX => {
            error = Some(format!("{} series > limit of {SERIES_MAX}: sum or select fewer", samples.len()));
        }
        Ok(samples) => {
            for (labels, value) in samples {
                let labels = evaluation.labelled(labels);
                let print = fingerprint(&rule.stored.rule, &labels);
                if by_fingerprint.insert(print.clone(), (labels, *value)).is_some() {
                    error = Some("two series are alike but for names or labels that the rule sets".to_owned());
                } else {
                    order.push(print);
                }
            }
        }
    }
    let failed = error.is_some() && by_fingerprint.is_empty();
    evaluation.step_open(open, &by_fingerprint, failed);
    let unwanted = rule.unwanted().is_some();
    if !failed && !unwanted {
        let fresh: HashSet<&str> = open.iter().map(|instance| instance.alert.fingerprint.as_str()).collect();
        for (labels, value) in order.iter().filter(|p| !fresh.contains(&***p)).filter_map(|p| by_fingerprint.get(p)) {
            evaluation.step_new(labels, Seen::Value(*value));
        }
        evaluation.step_absent(&fresh, known, &by_fingerprint);
    }
    let seen_sets = order.iter().filter_map(|print| by_fingerprint.get(print)).map(|(labels, _)| labels);
    let remembers = rule.policy.missing_series == MissingSeries::Fire && !failed;
    let known = if remembers { merged(known, seen_sets) } else { None };
    let summary = evaluation.summary(error, by_fingerprint.values().map(|(_, value)| *value));
    Verdict { outcomes: evaluation.outcomes, summary, known }
}

/// `known` with what is new, or `None` when nothing is.
fn merged<'a>(known: &[LabelSet], seen: impl Iterator<Item = &'a LabelSet>) -> Option<Vec<LabelSet>> {
    let before: HashSet<&LabelSet> = known.iter().collect();
    let new: Vec<LabelSet> = seen.filter(|labels| !before.contains(labels)).cloned().collect();
    let room = KNOWN_MAX.saturating_sub(known.len());
    (!new.is_empty() && room > 0).then(|| known.iter().cloned().chain(new.into_iter().take(room)).collect())
}

struct Evaluation<'a> {
    rule: &'a ReadyRule,
    at: DateTime<Utc>,
    outcomes: Vec<Outcome>,
    /// Alerts that are open after it.
    open: u32,
    left_out: u32,
}

impl Evaluation<'_> {
    fn labelled(&self, labels: &LabelSet) -> LabelSet {
        let own = self.rule.stored.rule.labels.iter();
        labels.iter().chain(own).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn step_open(&mut self, open: &[Instance], seen: &HashMap<String, (LabelSet, f64)>, failed: bool) {
        for instance in open {
            let value = seen.get(&instance.alert.fingerprint).map(|(_, value)| *value);
            let nobody = instance.alert.labels == self.rule.stored.rule.labels;
            let what = if let Some(reason) = self.rule.unwanted() {
                Seen::Unwanted(reason)
            } else if instance.alert.condition != self.rule.stored.rule.condition {
                Seen::Unwanted("rule_changed")
            } else if failed {
                Seen::Unknown
            } else if let Some(value) = value {
                Seen::Value(value)
            } else if seen.is_empty() {
                Seen::Nothing
            } else if nobody && self.rule.policy.no_data == NoData::Fire {
                Seen::Unwanted("data_is_back")
            } else {
                Seen::Missing
            };
            self.step_instance(instance.clone(), what);
        }
    }

    /// What fires because it is not there.
    fn step_absent(&mut self, open: &HashSet<&str>, known: &[LabelSet], seen: &HashMap<String, (LabelSet, f64)>) {
        let rule = &self.rule.stored.rule;
        if seen.is_empty() {
            if self.rule.policy.no_data == NoData::Fire && open.is_empty() && self.rule.policy.compare.is_some() {
                self.step_new(&rule.labels.clone(), Seen::Nothing);
            }
        } else if self.rule.policy.missing_series == MissingSeries::Fire {
            let is_gone = |labels: &&LabelSet| {
                let print = fingerprint(rule, labels);
                !seen.contains_key(&print) && !open.contains(&*print)
            };
            for labels in known.iter().filter(is_gone) {
                self.step_new(labels, Seen::Missing);
            }
        }
    }

    fn step_new(&mut self, labels: &LabelSet, seen: Seen) {
        let stored = &self.rule.stored.rule;
        let (state, effect) = step(&State::INACTIVE, seen, self.at, &self.rule.policy);
        if state.phase == Phase::Inactive {
            return;
        }
        if self.open >= stored.limit {
            self.left_out += 1;
            return;
        }
        let alert = Alert {
            id: String::new(),
            fingerprint: fingerprint(stored, labels),
            rule_id: stored.id.clone(),
            rule_name: stored.name.clone(),
            condition: stored.condition.clone(),
            state: AlertState::Inactive,
            severity: state.severity,
            labels: labels.clone(),
            annotations: BTreeMap::new(),
            value: None,
            threshold: None,
            unit: self.rule.condition.unit.to_owned(),
            peak: None,
            pending_since: self.at,
            starts_at: None,
            ends_at: None,
            resolved_reason: None,
            last_evaluation_at: self.at,
            acknowledged: None,
            suppressed: Vec::new(),
        };
        let telling = Telling { cooldown: stored.cooldown(), escalation: stored.escalation.clone() };
        self.settle(Instance { alert, state: State::INACTIVE, telling }, seen, (state, effect));
    }

    fn step_instance(&mut self, instance: Instance, seen: Seen) {
        let stepped = step(&instance.state, seen, self.at, &self.rule.policy);
        self.settle(instance, seen, stepped);
    }

    /// Writes down what a step did.
    fn settle(&mut self, mut instance: Instance, seen: Seen, (state, effect): (State, Option<Effect>)) {
        let rule = &self.rule.stored.rule;
        let from = instance.state.phase;
        let alert = &mut instance.alert;
        if let Seen::Value(value) = seen {
            alert.value = Some(value).filter(|value| !value.is_nan());
            if state.phase != Phase::Inactive {
                alert.peak = worse(&self.rule.policy, alert.peak, value);
            }
        }
        if state.phase != Phase::Inactive {
            alert.severity = state.severity;
            alert.state = state.phase.as_state();
            alert.threshold = self.rule.policy.threshold(state.severity);
            self.open += 1;
        }
        alert.rule_name.clone_from(&rule.name);
        alert.last_evaluation_at = self.at;
        match effect {
            Some(Effect::Fired) => alert.starts_at = Some(self.at),
            Some(Effect::Resolved(reason)) => {
                alert.state = AlertState::Resolved;
                alert.resolved_reason = Some(reason.to_owned());
                alert.ends_at = Some(self.at);
            }
            Some(Effect::Cleared) => {
                alert.state = AlertState::Inactive;
                alert.ends_at = Some(self.at);
            }
            _ => {}
        }
        if effect.is_some() {
            let (labels, value) = (&alert.labels, alert.value);
            let facts = Facts { labels, value, threshold: alert.threshold, severity: alert.severity };
            alert.annotations = templates::annotations(rule, &facts);
        }
        if effect == Some(Effect::Escalated) {
            // Whoever took it took something less bad.
            alert.acknowledged = None;
        }
        let transition = effect.map(|effect| {
            let transition = Transition {
                at: self.at,
                from: from.as_state(),
                to: alert.state,
                severity: alert.severity,
                value: alert.value,
                reason: effect.reason().to_owned(),
            };
            (transition, effect)
        });
        instance.telling = Telling { cooldown: rule.cooldown(), escalation: rule.escalation.clone() };
        instance.state = state;
        self.outcomes.push(Outcome { instance, transition });
    }

    fn summary(&self, error: Option<String>, values: impl Iterator<Item = f64>) -> Summary {
        let policy = &self.rule.policy;
        let mut values = values.filter(|value| !value.is_nan()).peekable();
        let empty = values.peek().is_none();
        let worst = values.fold(None, |worst, value| worse(policy, worst, value));
        let open = self.outcomes.iter().any(|outcome| outcome.instance.state.phase != Phase::Inactive);
        let (limit, left_out) = (self.rule.stored.rule.limit, self.left_out);
        let over = (left_out > 0).then(|| format!("{left_out} alerts beyond the limit of {limit} are left out"));
        let silent = empty && policy.compare.is_some();
        let nothing = (silent && policy.no_data == NoData::Error).then(|| "the query gives no data".to_owned());
        let error = error.or(over).or(nothing);
        let (health, kind) = if error.is_some() {
            (RuleHealth::Error, if open { "breach" } else { "error" })
        } else if silent {
            (RuleHealth::NoData, if open { "breach" } else { "no_data" })
        } else {
            (RuleHealth::Ok, if open { "breach" } else { "no_breach" })
        };
        Summary { health, error, kind, worst, left_out }
    }
}

/// The worse of two values, as the rule sees it.
fn worse(policy: &Policy, so_far: Option<f64>, value: f64) -> Option<f64> {
    if value.is_nan() {
        return so_far;
    }
    let greater = policy.compare.is_none_or(|compare| compare.greater_is_worse().unwrap_or(true));
    Some(so_far.map_or(value, |known| if (value > known) == greater { value } else { known }))
}

#[cfg(test)]
mod tests;
