//! The state machine against a model that looks at the whole history each time, and the cases that people ask about.

use proptest::prelude::*;

use super::*;

fn policy(levels: &[(Severity, f64, Option<f64>)], hold: i64, keep: i64) -> Policy {
    Policy {
        compare: Condition::parse("x > threshold", Some(0.0)).expect("sound").compare,
        levels: levels.iter().map(|&(severity, threshold, recovery)| Level { severity, threshold, recovery }).collect(),
        severity: Severity::Warning,
        hold_for: TimeDelta::seconds(hold),
        keep_firing_for: TimeDelta::seconds(keep),
        no_data: NoData::Keep,
        missing_series: MissingSeries::Resolve,
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).expect("in range")
}

/// Runs `seen`, one every ten seconds; returns the effects with their seconds.
fn run(policy: &Policy, seen: &[Seen]) -> Vec<(i64, Effect)> {
    let (mut state, mut effects) = (State::INACTIVE, Vec::new());
    for (i, seen) in seen.iter().enumerate() {
        let second = i as i64 * 10;
        let (next, effect) = step(&state, *seen, at(second), policy);
        effects.extend(effect.map(|effect| (second, effect)));
        state = next;
    }
    effects
}

fn values(values: &[f64]) -> Vec<Seen> {
    values.iter().map(|value| Seen::Value(*value)).collect()
}

const ONE: &[(Severity, f64, Option<f64>)] = &[(Severity::Warning, 10.0, None)];
const TWO: &[(Severity, f64, Option<f64>)] =
    &[(Severity::Warning, 10.0, Some(5.0)), (Severity::Critical, 20.0, Some(15.0))];

#[test]
fn a_breach_must_last_and_the_end_may_be_put_off() {
    let policy = policy(ONE, 20, 20);
    let seen = values(&[11.0, 11.0, 1.0, 11.0, 11.0, 11.0, 1.0, 11.0, 1.0, 1.0, 1.0]);
    let expect = [
        (0, Effect::Began),
        (20, Effect::Cleared),
        (30, Effect::Began),
        (50, Effect::Fired),
        (90, Effect::Resolved("recovered")),
    ];
    assert_eq!(run(&policy, &seen), expect);
}

#[test]
fn severities_rise_and_fall_by_their_own_thresholds_with_hysteresis() {
    let policy = policy(TWO, 0, 0);
    let seen = values(&[12.0, 21.0, 16.0, 14.0, 6.0, 4.0]);
    let expect =
        [(0, Effect::Fired), (10, Effect::Escalated), (30, Effect::Lowered), (50, Effect::Resolved("recovered"))];
    assert_eq!(run(&policy, &seen), expect);
}

#[test]
fn silence_is_handled_as_the_rule_says() {
    let fired = |no_data, missing_series, then: Seen| {
        let policy = Policy { no_data, missing_series, ..policy(ONE, 0, 0) };
        run(&policy, &[Seen::Value(11.0), then]).get(1).copied()
    };
    let resolved = |reason| Some((10, Effect::Resolved(reason)));
    use {MissingSeries as M, NoData as N};
    assert_eq!(fired(N::Keep, M::Keep, Seen::Nothing), None);
    assert_eq!(fired(N::Error, M::Keep, Seen::Nothing), None);
    assert_eq!(fired(N::Ok, M::Keep, Seen::Nothing), resolved("no_data"));
    assert_eq!(fired(N::Fire, M::Keep, Seen::Nothing), None);
    assert_eq!(fired(N::Keep, M::Keep, Seen::Missing), None);
    assert_eq!(fired(N::Keep, M::Resolve, Seen::Missing), resolved("missing_series"));
    assert_eq!(fired(N::Keep, M::Keep, Seen::Unwanted("rule_changed")), resolved("rule_changed"));
    let silent = Policy { no_data: N::Fire, ..policy(ONE, 10, 0) };
    assert_eq!(run(&silent, &[Seen::Nothing, Seen::Nothing]), [(0, Effect::Began), (10, Effect::Fired)]);
    assert_eq!(run(&silent, &[Seen::Value(f64::NAN), Seen::Value(f64::NAN)]), []);
}

/// What the words of the rule say, told from the whole history at each step.
fn by_the_words(policy: &Policy, history: &[(DateTime<Utc>, f64)]) -> Option<Severity> {
    let mut firing: Option<Severity> = None;
    let mut last_breach = None;
    for (i, &(now, value)) in history.iter().enumerate() {
        let breaches = |level: &Level, value: f64, firing: Option<Severity>| {
            value > level.threshold
                || (firing.is_some_and(|s| s >= level.severity) && level.recovery.is_some_and(|r| value > r))
        };
        let before = firing;
        let breached: Vec<&Level> = policy.levels.iter().filter(|level| breaches(level, value, before)).collect();
        if !breached.is_empty() {
            last_breach = Some(now);
        }
        // A level has held when no value since `hold_for` ago fell out of it.
        let held = breached.iter().filter(|level| {
            let back = history.iter().take(i + 1).rev();
            let run: Vec<_> = back.take_while(|(_, v)| breaches(level, *v, before)).collect();
            run.last().is_some_and(|(since, _)| now - *since >= policy.hold_for)
        });
        let (worst, held) = (breached.iter().map(|l| l.severity).max(), held.map(|l| l.severity).max());
        firing = match firing {
            None => held,
            Some(_) if worst.is_none() => {
                firing.filter(|_| last_breach.is_some_and(|last| now - last < policy.keep_firing_for))
            }
            Some(now) => held.filter(|held| *held > now).or(worst.map(|worst| worst.min(now))),
        };
    }
    firing
}

proptest! {
    /// Without recovery thresholds, whose grip depends on the way there, the machine is what the words say.
    #[test]
    fn the_machine_does_what_the_words_say(
        values in prop::collection::vec(prop::sample::select(vec![1.0, 9.0, 11.0, 15.0, 21.0, f64::NAN]), 1..60),
        gaps in prop::collection::vec(1i64..30, 60),
        hold in 0i64..50,
        keep in 0i64..50,
    ) {
        let levels = [(Severity::Warning, 10.0, None), (Severity::Critical, 20.0, None)];
        let policy = Policy { no_data: NoData::Ok, ..policy(&levels, hold, keep) };
        let (mut state, mut history, mut now) = (State::INACTIVE, Vec::new(), at(0));
        for (value, gap) in values.iter().zip(&gaps) {
            now += TimeDelta::seconds(*gap);
            history.push((now, *value));
            let (next, _) = step(&state, Seen::Value(*value), now, &policy);
            state = next;
            let firing = (state.phase == Phase::Firing).then_some(state.severity);
            prop_assert_eq!(firing, by_the_words(&policy, &history), "{:?}", history);
        }
    }

    /// Any rule, anything seen: effects follow the arrows, nothing fires before it has held, NaN and errors never fire.
    #[test]
    fn effects_follow_the_arrows(
        seen in prop::collection::vec(prop_oneof![
            (0.0..30.0f64).prop_map(Seen::Value),
            Just(Seen::Value(f64::NAN)),
            Just(Seen::Nothing),
            Just(Seen::Missing),
            Just(Seen::Unknown),
            Just(Seen::Unwanted("rule_changed")),
        ], 1..60),
        hold in 0i64..40,
        keep in 0i64..40,
        no_data in prop::sample::select(vec![NoData::Ok, NoData::Keep, NoData::Fire, NoData::Error]),
        missing_series in prop::sample::select(vec![MissingSeries::Keep, MissingSeries::Resolve, MissingSeries::Fire]),
    ) {
        let policy = Policy { no_data, missing_series, ..policy(TWO, hold, keep) };
        let (mut state, mut began) = (State::INACTIVE, None);
        for (i, seen) in seen.iter().enumerate() {
            let now = at(i as i64 * 10);
            let (next, effect) = step(&state, *seen, now, &policy);
            let arrow = (state.phase, next.phase);
            match effect {
                None => prop_assert_eq!(state.phase, next.phase),
                Some(Effect::Began) => prop_assert_eq!(arrow, (Phase::Inactive, Phase::Pending)),
                Some(Effect::Cleared) => prop_assert_eq!(arrow, (Phase::Pending, Phase::Inactive)),
                Some(Effect::Fired) => {
                    prop_assert!(state.phase != Phase::Firing && next.phase == Phase::Firing);
                    prop_assert!(now - began.unwrap_or(now) >= policy.hold_for);
                    let by_accident = matches!(seen, Seen::Unknown) || matches!(seen, Seen::Value(v) if v.is_nan());
                    prop_assert!(!by_accident);
                }
                Some(Effect::Escalated) => prop_assert!(next.severity > state.severity),
                Some(Effect::Lowered) => prop_assert!(next.severity < state.severity),
                Some(Effect::Resolved(_)) => prop_assert_eq!(arrow, (Phase::Firing, Phase::Inactive)),
            }
            began = if next.phase == Phase::Inactive { None } else { began.or(Some(now)) };
            state = next;
        }
    }
}
