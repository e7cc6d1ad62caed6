//! Rollouts: a revision given to a part of the fleet after the other, and the measurements that must hold meanwhile.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::has_all;
use crate::model::{Mistakes, Period, Violation};

/// Stands for the label matcher that chooses instances, in the query of a guard.
const GROUP: &str = "$group";
/// Most stages of a rollout.
const STAGES_MAX: usize = 20;
/// Most guards of a rollout.
const GUARDS_MAX: usize = 20;
/// Longest query of a guard, in bytes.
const QUERY_BYTES_MAX: usize = 4 << 10;
/// Longest bake time.
const BAKE_MAX: Period = Period::minutes(30 * 24 * 60);

/// A part of the fleet, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutStage {
    /// Share of the instances that the selector meets, by a stable hash of instance and policy.
    pub percent: f64,
    /// Of those, only instances with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How long its guards must hold before the next; 10 min by default.
    #[serde(default = "bake")]
    pub bake: Period,
}

const fn bake() -> Period {
    RolloutStage::BAKE
}

impl RolloutStage {
    /// How long the guards of a stage must hold, by default.
    pub const BAKE: Period = Period::minutes(10);

    /// Checks the stages of a rollout.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check_all(stages: &[Self]) -> Result<(), Vec<Violation>> {
        let mut mistakes = Mistakes::default();
        mistakes.within("stages", Some(stages.len()), (1, STAGES_MAX));
        for (n, stage) in stages.iter().enumerate() {
            mistakes.within(&format!("stages[{n}].percent"), Some(stage.percent), (0.0, 100.0));
            mistakes.within(&format!("stages[{n}].bake"), Some(stage.bake), (Period::ZERO, BAKE_MAX));
            mistakes.words(&format!("stages[{n}].labels"), &stage.labels);
        }
        mistakes.done()
    }

    /// What a rollout goes through when nobody says.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        [1.0, 10.0, 50.0, 100.0].map(|percent| Self { percent, labels: BTreeMap::new(), bake: Self::BAKE }).into()
    }

    /// Whether an instance, at its `share`, has the new revision while this is the last of `stages` that was reached.
    /// What an early stage has given it, no later one takes away.
    #[must_use]
    pub fn has_new(stages: &[Self], share: f64, labels: &BTreeMap<String, String>) -> bool {
        stages.iter().any(|stage| share < stage.percent && has_all(&stage.labels, labels))
    }
}

/// Where an instance stands in the fleet for a policy: 0 to 100, always the same.
#[must_use]
pub fn share(policy: &str, instance: &str) -> f64 {
    let hash = xxh3_64_with_seed(instance.as_bytes(), xxh3_64_with_seed(policy.as_bytes(), 0));
    // The upper 53 bits are exact in a float.
    (hash >> 11) as f64 / (1u64 << 53) as f64 * 100.0
}

/// What a guard does when it is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum GuardAction {
    /// Roll back.
    #[default]
    RollBack,
    /// Pause.
    Pause,
}

/// A measurement that must hold on instances with the new revision, against the others at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutGuard {
    /// For people.
    pub name: String,
    /// `PromQL`; `$group` stands for a label matcher that chooses the instances.
    pub query: String,
    /// Broken when new ÷ control is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ratio: Option<f64>,
    /// Broken when new ÷ control is under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ratio: Option<f64>,
    /// Broken when new is over, whatever control is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_value: Option<f64>,
    /// Broken when new is under, whatever control is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_value: Option<f64>,
    /// How long it must be broken.
    #[serde(default)]
    pub hold_for: Period,
    /// What it does then.
    #[serde(default)]
    pub action: GuardAction,
}

impl RolloutGuard {
    /// Checks the guards of a rollout; `parses` says what is wrong with a query.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check_all(guards: &[Self], parses: impl Fn(&str) -> Result<(), String>) -> Result<(), Vec<Violation>> {
        let mut mistakes = Mistakes::default();
        mistakes.at_most("guards", guards.len(), GUARDS_MAX, "guards");
        for (n, guard) in guards.iter().enumerate() {
            let field = |name: &str| format!("guards[{n}].{name}");
            mistakes.name(&field("name"), &guard.name);
            let twin = guards.iter().take(n).any(|before| before.name == guard.name);
            mistakes.unless(!twin, &field("name"), || format!("{:?} is there twice", guard.name));
            mistakes.at_most(&field("query"), guard.query.len(), QUERY_BYTES_MAX, "bytes");
            let grouped = guard.query.contains(GROUP);
            mistakes.unless(grouped, &field("query"), || format!("must have {GROUP} where instances are chosen"));
            if let Err(error) = parses(&guard.for_group(&["a"])) {
                mistakes.unless(false, &field("query"), || error);
            }
            let limits = [guard.max_ratio, guard.min_ratio, guard.max_value, guard.min_value];
            let some = limits.iter().any(Option::is_some);
            mistakes.unless(some, &field("maxRatio"), || "a guard needs a limit".to_owned());
            for limit in limits {
                mistakes.finite(&field("maxRatio"), limit);
            }
            mistakes.within(&field("holdFor"), Some(guard.hold_for), (Period::ZERO, Period::minutes(24 * 60)));
        }
        mistakes.done()
    }

    /// The query over `instances`.
    #[must_use]
    pub fn for_group(&self, instances: &[&str]) -> String {
        let escaped: Vec<String> = instances.iter().map(|id| regex::escape(id)).collect();
        let pattern = escaped.join("|").replace('\\', "\\\\").replace('"', "\\\"");
        self.query.replace(GROUP, &format!("service_instance_id=~\"{pattern}\""))
    }
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It goes on by itself.
    Running,
    /// It stays where it is.
    Paused,
    /// Everybody has the new revision.
    Done,
    /// Everybody has the revision from before.
    RolledBack,
}

impl RolloutState {
    /// As JSON and the table have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
        }
    }

    /// The other way.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Paused, Self::Done, Self::RolledBack].into_iter().find(|state| state.as_str() == text)
    }
}

/// What a guard measured at its last look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardReading {
    /// Which.
    pub guard: String,
    /// When.
    pub at: DateTime<Utc>,
    /// On instances with the new revision; nothing when there was nothing to measure.
    pub canary: Option<f64>,
    /// On the others.
    pub control: Option<f64>,
    /// It is broken.
    pub broken: bool,
    /// Since when it has been.
    pub broken_since: Option<DateTime<Utc>>,
    /// Why it could not be judged; empty when it could.
    pub error: String,
}

impl GuardReading {
    /// Judges what was measured, given the reading before; `alone`: there is no control group any more.
    #[must_use]
    pub fn judge(
        guard: &RolloutGuard,
        (canary, control): (Option<f64>, Option<f64>),
        alone: bool,
        before: Option<&Self>,
        at: DateTime<Utc>,
    ) -> Self {
        let usable = |value: Option<f64>| value.filter(|value| !value.is_nan());
        let (canary, control) = (usable(canary), usable(control));
        let compares = guard.max_ratio.is_some() || guard.min_ratio.is_some();
        let ratio = canary.zip(control).map(|(canary, control)| if canary == control { 1.0 } else { canary / control });
        let over = |value: Option<f64>, most: Option<f64>| value.zip(most).is_some_and(|(value, most)| value > most);
        let under =
            |value: Option<f64>, least: Option<f64>| value.zip(least).is_some_and(|(value, least)| value < least);
        let broken = over(ratio, guard.max_ratio)
            || under(ratio, guard.min_ratio)
            || over(canary, guard.max_value)
            || under(canary, guard.min_value);
        let error = if canary.is_none() {
            "nothing is measured on instances with the new revision"
        } else if compares && control.is_none() && !alone {
            "nothing is measured on the other instances"
        } else {
            ""
        };
        let since = before.and_then(|before| before.broken_since).unwrap_or(at);
        Self {
            guard: guard.name.clone(),
            at,
            canary,
            control,
            broken,
            broken_since: broken.then_some(since),
            error: error.to_owned(),
        }
    }

    /// A look that failed; what was broken stays so.
    #[must_use]
    pub fn failed(guard: &RolloutGuard, error: String, before: Option<&Self>, at: DateTime<Utc>) -> Self {
        let broken_since = before.and_then(|before| before.broken_since);
        let (guard, broken) = (guard.name.clone(), broken_since.is_some());
        Self { guard, at, canary: None, control: None, broken, broken_since, error }
    }
}

/// What a rollout does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutStep {
    /// It waits; why.
    Wait(String),
    /// To the next stage.
    Next,
    /// It stays until a person resumes it; why.
    Pause(String),
    /// Back for everybody; why.
    RollBack(String),
}

impl RolloutStep {
    /// By the last look at each guard; a stage that nobody could measure is never passed by itself.
    #[must_use]
    pub fn of(
        guards: &[RolloutGuard],
        readings: &[GuardReading],
        stage: &RolloutStage,
        stage_started: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Self {
        let reading = |guard: &RolloutGuard| readings.iter().find(|reading| reading.guard == guard.name);
        let mut paused = None;
        for guard in guards {
            let Some(since) = reading(guard).and_then(|reading| reading.broken_since) else { continue };
            if since + guard.hold_for.delta() <= now {
                let why = format!("guard {:?} is broken", guard.name);
                match guard.action {
                    GuardAction::RollBack => return Self::RollBack(why),
                    GuardAction::Pause => paused = Some(why),
                }
            }
        }
        if let Some(why) = paused {
            return Self::Pause(why);
        }
        if stage_started + stage.bake.delta() > now {
            return Self::Wait("the stage bakes".to_owned());
        }
        let unmeasured = guards.iter().find(|guard| {
            reading(guard).is_none_or(|read| read.at < stage_started || read.broken || !read.error.is_empty())
        });
        unmeasured.map_or(Self::Next, |guard| Self::Wait(format!("guard {:?} has not held in this stage", guard.name)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_has_it_at_ten_percent_has_it_at_fifty(instance in "[a-z0-9-]{1,20}", policy in "[a-z]{1,10}") {
            let stage = |percent| RolloutStage { percent, labels: BTreeMap::new(), bake: RolloutStage::BAKE };
            let (stages, at) = ([stage(10.0), stage(50.0), stage(100.0)], share(&policy, &instance));
            prop_assert!((0.0..100.0).contains(&at));
            prop_assert_eq!(at, share(&policy, &instance), "stable");
            let has: Vec<bool> = (1..=3).map(|n| RolloutStage::has_new(&stages[..n], at, &BTreeMap::new())).collect();
            prop_assert!(has.windows(2).all(|pair| pair[0] <= pair[1]), "{has:?}");
            prop_assert!(has[2], "everybody at a hundred");
        }

        #[test]
        fn a_later_stage_by_labels_takes_nothing_away(percents in prop::collection::vec(0.0f64..=100.0, 1..6), at in 0.0f64..100.0) {
            let labels = |n: usize| BTreeMap::from([("region".to_owned(), ["eu", "us"][n % 2].to_owned())]);
            let stages: Vec<RolloutStage> = percents.iter().enumerate()
                .map(|(n, percent)| RolloutStage { percent: *percent, labels: labels(n), bake: RolloutStage::BAKE }).collect();
            let has: Vec<bool> = (1..=stages.len()).map(|n| RolloutStage::has_new(&stages[..n], at, &labels(0))).collect();
            prop_assert!(has.windows(2).all(|pair| pair[0] <= pair[1]), "{has:?}");
        }
    }

    #[test]
    fn a_tenth_is_about_a_tenth() {
        let has = (0..10_000).filter(|n| share("products", &format!("shop-{n}")) < 10.0).count();
        assert!((900..1_100).contains(&has), "{has}");
    }

    fn guard(action: GuardAction) -> RolloutGuard {
        let (name, query) = ("hits".to_owned(), "a{$group}".to_owned());
        let (max_value, min_value, max_ratio) = (None, None, None);
        RolloutGuard {
            name,
            query,
            max_ratio,
            min_ratio: Some(0.9),
            max_value,
            min_value,
            hold_for: Period::seconds(10),
            action,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    #[test]
    fn a_guard_that_is_broken_for_its_time_ends_a_stage_and_one_that_nobody_measured_holds_it() {
        let stage = RolloutStage { percent: 10.0, labels: BTreeMap::new(), bake: Period::seconds(30) };
        let (guard, started) = (guard(GuardAction::RollBack), at(100));
        let step = |reading: &GuardReading, now| {
            RolloutStep::of(std::slice::from_ref(&guard), std::slice::from_ref(reading), &stage, started, now)
        };
        let read = |canary, control, before: Option<&GuardReading>, now| {
            GuardReading::judge(&guard, (canary, control), false, before, now)
        };
        let good = read(Some(0.95), Some(1.0), None, at(110));
        assert_eq!(step(&good, at(110)), RolloutStep::Wait("the stage bakes".to_owned()));
        assert_eq!(step(&good, at(130)), RolloutStep::Next);
        assert!(
            matches!(step(&read(None, Some(1.0), None, at(131)), at(131)), RolloutStep::Wait(_)),
            "nothing measured"
        );
        assert!(matches!(step(&read(Some(1.0), None, None, at(131)), at(131)), RolloutStep::Wait(_)), "no control");
        let bad = read(Some(0.5), Some(1.0), Some(&good), at(111));
        assert!(bad.broken && matches!(step(&bad, at(120)), RolloutStep::Wait(_)), "not yet for ten seconds");
        let worse = read(Some(0.5), Some(1.0), Some(&bad), at(121));
        assert_eq!(worse.broken_since, Some(at(111)));
        assert_eq!(step(&worse, at(121)), RolloutStep::RollBack("guard \"hits\" is broken".to_owned()));
        let failed = GuardReading::failed(&guard, "no answer".to_owned(), Some(&worse), at(122));
        assert!(failed.broken, "what nobody sees is not mended");
        let alone = GuardReading::judge(&guard, (Some(1.0), None), true, None, at(140));
        assert_eq!(step(&alone, at(140)), RolloutStep::Next, "everybody has it: there is nothing to compare with");
    }

    #[test]
    fn the_group_of_a_guard_is_one_matcher_however_instances_are_called() {
        let query = guard(GuardAction::Pause).for_group(&["a.b", "c\"d"]);
        assert_eq!(query, "a{service_instance_id=~\"a\\\\.b|c\\\"d\"}");
    }
}
