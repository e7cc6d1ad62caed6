//! Whether what people write is sound: every mistake at once, each with its field and its limit.

use std::collections::BTreeMap;

use super::error::AlertingError;
use super::evaluate::ReadyRule;
use super::templates;
use crate::model::{
    ID_BYTES_MAX, Inhibition, LabelMatcher, MaintenanceWindow, Mistakes, NAME_BYTES_MAX, Period, Route, Rule, Schedule,
    Silence, StoredRule,
};

/// Longest hold, cooldown and the like.
const PERIOD_MAX: Period = Period::minutes(30 * 24 * 60);
/// Longest evaluation interval.
const INTERVAL_MAX: Period = Period::minutes(24 * 60);
/// Furthest look back for late data.
const DELAY_MAX: Period = Period::minutes(60);
/// Most labels or annotations of a rule.
const LABELS_MAX: usize = 32;
/// Most receivers in one list.
const RECEIVERS_MAX: usize = 20;
/// Most alerts of one rule.
const ALERTS_MAX: u32 = 1_000;
/// Most policies that a rule changes while it fires.
const OVERRIDES_MAX: usize = 10;
/// Shortest and longest lease of such a change.
const LEASES: (Period, Period) = (Period::seconds(5), Period::minutes(24 * 60));
/// Most steps of an escalation chain.
const STEPS_MAX: usize = 10;
/// Most nodes of the routing tree.
const ROUTES_MAX: usize = 500;
/// Most inhibitions.
const INHIBITIONS_MAX: usize = 100;
/// Most matchers in one list.
const MATCHERS_MAX: usize = 20;

impl Mistakes {
    fn period(&mut self, field: &str, period: Period, most: Period) {
        self.unless(period <= most, field, || format!("{period} > limit of {most}"));
    }

    pub(super) fn receivers(&mut self, field: &str, receivers: &[String]) {
        self.unless(receivers.len() <= RECEIVERS_MAX, field, || {
            format!("{} receivers > limit of {RECEIVERS_MAX}", receivers.len())
        });
        for receiver in receivers.iter().filter(|receiver| *receiver != super::routes::EVERY) {
            self.id(field, receiver);
        }
    }

    fn labels(&mut self, field: &str, labels: &BTreeMap<String, String>) {
        self.unless(labels.len() <= LABELS_MAX, field, || format!("{} entries > limit of {LABELS_MAX}", labels.len()));
        for (name, text) in labels {
            self.unless(is_label_name(name), field, || format!("{name:?} is not a name of letters, digits and _"));
            self.text(field, text);
        }
    }

    fn matchers(&mut self, field: &str, matchers: &[LabelMatcher]) {
        self.unless(matchers.len() <= MATCHERS_MAX, field, || {
            format!("{} matchers > limit of {MATCHERS_MAX}", matchers.len())
        });
        for matcher in matchers {
            let (_, _, value) = matcher.parts();
            self.no_nul(field, value);
        }
    }
}

fn is_label_name(name: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b))
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Checks a rule; returns it ready to be evaluated.
pub(super) fn rule(stored: StoredRule) -> Result<ReadyRule, AlertingError> {
    let rule = &stored.rule;
    let mut mistakes = Mistakes::default();
    mistakes.id("id", &rule.id);
    mistakes.name("name", &rule.name);
    mistakes.finite("threshold", rule.threshold);
    mistakes.finite("recoveryThreshold", rule.recovery_threshold);
    let cooldown = rule.cooldown_minutes;
    let most = PERIOD_MAX.millis() as f64 / 60_000.0;
    mistakes.unless((0.0..=most).contains(&cooldown), "cooldownMinutes", || {
        format!("must be 0 to {most} minutes, not {cooldown}")
    });
    mistakes.period("for", rule.hold_for, PERIOD_MAX);
    mistakes.period("keepFiringFor", rule.keep_firing_for, PERIOD_MAX);
    mistakes.period("evaluationDelay", rule.evaluation_delay, DELAY_MAX);
    if let Some(interval) = rule.evaluation_interval {
        let sound = interval >= Period::seconds(1) && interval <= INTERVAL_MAX && interval.millis() % 1_000 == 0;
        mistakes.unless(sound, "evaluationInterval", || format!("must be whole seconds from 1s to {INTERVAL_MAX}"));
    }
    mistakes.unless((1..=ALERTS_MAX).contains(&rule.limit), "limit", || {
        format!("must be 1 to {ALERTS_MAX}, not {}", rule.limit)
    });
    mistakes.receivers("notificationChannels", &rule.notification_channels);
    mistakes.labels("labels", &rule.labels);
    mistakes.labels("annotations", &rule.annotations);
    for (name, text) in &rule.annotations {
        if let Err(error) = templates::check(text, rule) {
            mistakes.unless(false, &format!("annotations.{name}"), || error);
        }
    }
    mistakes.unless(rule.group_by.len() <= LABELS_MAX, "groupBy", || format!("more than {LABELS_MAX} labels"));
    escalation(&mut mistakes, rule);
    overrides(&mut mistakes, rule);
    match ReadyRule::new(stored.clone()) {
        Ok(ready) => {
            levels(&mut mistakes, &ready);
            Ok(mistakes.done().map(|()| ready)?)
        }
        Err(error) => {
            mistakes.unless(false, "condition", || error.to_string());
            mistakes.done()?;
            Err(error.into())
        }
    }
}

fn overrides(mistakes: &mut Mistakes, rule: &Rule) {
    mistakes.at_most("overrides", rule.overrides.len(), OVERRIDES_MAX, "overrides");
    for (n, over) in rule.overrides.iter().enumerate() {
        mistakes.id(&format!("overrides[{n}].policyId"), &over.policy_id);
        mistakes.within(&format!("overrides[{n}].lease"), Some(over.lease), LEASES);
        for violation in over.adjustment.check().err().into_iter().flatten() {
            mistakes.unless(false, &format!("overrides[{n}].{}", violation.field), || violation.what);
        }
    }
}

fn escalation(mistakes: &mut Mistakes, rule: &Rule) {
    mistakes.unless(rule.escalation.len() <= STEPS_MAX, "escalation", || {
        format!("{} steps > limit of {STEPS_MAX}", rule.escalation.len())
    });
    let mut before = Period::ZERO;
    for step in &rule.escalation {
        mistakes.unless(step.after > before, "escalation.after", || {
            format!("{} must be later than the step before, at {before}", step.after)
        });
        mistakes.period("escalation.after", step.after, PERIOD_MAX);
        mistakes.unless(!step.notification_channels.is_empty(), "escalation.notificationChannels", || {
            "a step must name a receiver".to_owned()
        });
        mistakes.receivers("escalation.notificationChannels", &step.notification_channels);
        before = step.after;
    }
}

/// Thresholds must grow worse with severity, and recovery must lie on the good side.
fn levels(mistakes: &mut Mistakes, ready: &ReadyRule) {
    let rule = &ready.stored.rule;
    let Some(compare) = ready.condition.compare else {
        let plain = rule.thresholds.is_empty() && rule.recovery_threshold.is_none();
        mistakes.unless(plain, "thresholds", || {
            "needs a condition that compares with threshold at its top, such as avgResponseTime > threshold".to_owned()
        });
        return;
    };
    let levels = rule.levels();
    let Some(greater) = compare.greater_is_worse() else {
        let plain = levels.len() == 1 && rule.recovery_threshold.is_none();
        mistakes
            .unless(plain, "thresholds", || format!("{} has no direction in which it gets worse", compare.as_str()));
        return;
    };
    for level in &levels {
        mistakes.finite("thresholds.threshold", Some(level.threshold));
        mistakes.finite("thresholds.recoveryThreshold", level.recovery_threshold);
        mistakes.receivers("thresholds.notificationChannels", &level.notification_channels);
        let recovery = level.recovery_threshold.unwrap_or(level.threshold);
        let good = if greater { recovery <= level.threshold } else { recovery >= level.threshold };
        let side = if greater { "at or below" } else { "at or above" };
        mistakes.unless(good, "recoveryThreshold", || {
            format!("{recovery} must be {side} the threshold {} of {}", level.threshold, level.severity.as_str())
        });
    }
    for (less, more) in levels.iter().zip(levels.iter().skip(1)) {
        mistakes.unless(less.severity != more.severity, "thresholds", || {
            format!("{} has two thresholds", less.severity.as_str())
        });
        let worse = if greater { more.threshold >= less.threshold } else { more.threshold <= less.threshold };
        mistakes.unless(worse, "thresholds", || {
            format!("{} must not be reached before {}", more.severity.as_str(), less.severity.as_str())
        });
    }
}

/// Checks a silence.
pub(super) fn silence(silence: &Silence) -> Result<(), AlertingError> {
    let mut mistakes = Mistakes::default();
    mistakes.id("id", &silence.id);
    mistakes.matchers("matchers", &silence.matchers);
    // One that meets everything would mute the house by mistake.
    let narrows = silence.matchers.iter().any(|matcher| !matcher.takes_nothing());
    mistakes.unless(narrows, "matchers", || "at least one must ask for a label that is there".to_owned());
    mistakes.unless(silence.starts_at < silence.ends_at, "endsAt", || "must be after startsAt".to_owned());
    mistakes.unless(silence.ends_at - silence.starts_at <= chrono::TimeDelta::days(366), "endsAt", || {
        "a silence lasts at most 366 days".to_owned()
    });
    mistakes.text("comment", &silence.comment);
    mistakes.line("createdBy", &silence.created_by, NAME_BYTES_MAX);
    Ok(mistakes.done()?)
}

/// Checks a maintenance window.
pub(super) fn window(window: &MaintenanceWindow) -> Result<(), AlertingError> {
    let mut mistakes = Mistakes::default();
    mistakes.id("id", &window.id);
    mistakes.name("name", &window.name);
    mistakes.text("comment", &window.comment);
    mistakes.matchers("matchers", &window.matchers);
    if let Schedule::Once { starts_at, ends_at } = &window.schedule {
        mistakes.unless(starts_at < ends_at, "schedule.endsAt", || "must be after startsAt".to_owned());
    }
    Ok(mistakes.done()?)
}

/// Checks the routing tree.
pub(super) fn routes(tree: &Route) -> Result<(), AlertingError> {
    let mut mistakes = Mistakes::default();
    mistakes.unless(tree.matchers.is_empty(), "matchers", || "the root takes every alert".to_owned());
    let receivers = tree.receivers.as_ref().is_some_and(|receivers| !receivers.is_empty());
    mistakes.unless(receivers, "receivers", || "the root must have a receiver, such as *".to_owned());
    let mut nodes = 0;
    route(&mut mistakes, tree, 0, &mut nodes);
    mistakes.unless(nodes <= ROUTES_MAX, "routes", || format!("{nodes} routes > limit of {ROUTES_MAX}"));
    Ok(mistakes.done()?)
}

fn route(mistakes: &mut Mistakes, route_: &Route, depth: usize, nodes: &mut usize) {
    *nodes += 1;
    mistakes.unless(depth <= 16, "routes", || "nested deeper than 16".to_owned());
    if depth > 16 {
        return;
    }
    mistakes.receivers("receivers", route_.receivers.as_deref().unwrap_or_default());
    mistakes.matchers("matchers", &route_.matchers);
    for (field, period) in [
        ("groupWait", route_.group_wait),
        ("groupInterval", route_.group_interval),
        ("repeatInterval", route_.repeat_interval),
    ] {
        mistakes.period(field, period.unwrap_or_default(), PERIOD_MAX);
    }
    for child in &route_.routes {
        route(mistakes, child, depth + 1, nodes);
    }
}

/// Checks inhibitions.
pub(super) fn inhibitions(inhibitions: &[Inhibition]) -> Result<(), AlertingError> {
    let mut mistakes = Mistakes::default();
    mistakes.unless(inhibitions.len() <= INHIBITIONS_MAX, "inhibitions", || {
        format!("{} > limit of {INHIBITIONS_MAX}", inhibitions.len())
    });
    for inhibition in inhibitions {
        mistakes.matchers("source", &inhibition.source);
        mistakes.matchers("target", &inhibition.target);
        mistakes.unless(!inhibition.source.is_empty(), "source", || "must have a matcher".to_owned());
        mistakes.unless(!inhibition.target.is_empty(), "target", || "must have a matcher".to_owned());
    }
    Ok(mistakes.done()?)
}
