//! A replay of recorded input is what happened live.

use proptest::prelude::*;

use super::*;
use crate::alerting::rulebook::unsaved;
use crate::alerting::stored::{self, Machine};
use crate::alerting::validate;
use crate::model::Rule;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000 + second, 0).expect("in range")
}

fn rule(more: serde_json::Value) -> ReadyRule {
    let mut rule = serde_json::json!({
        "id": "load", "name": "Load", "condition": "load > threshold", "threshold": 10.0, "recoveryThreshold": 8.0,
        "thresholds": [{ "severity": "critical", "threshold": 20.0 }], "notificationChannels": ["email"],
    });
    rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let rule: Rule = serde_json::from_value(rule).expect("a rule");
    validate::rule(unsaved(rule)).expect("sound")
}

fn world() -> World {
    World {
        routes: crate::alerting::routes::default_tree(),
        suppressors: Suppressors::default(),
        receivers: Vec::new(),
    }
}

/// The rule as it is evaluated live: whatever is open goes through JSON between any two evaluations, as it does over a
/// restart or a takeover.
fn live(rule: &ReadyRule, recorded: &[(DateTime<Utc>, Samples)]) -> Vec<ReplayedTransition> {
    let (mut open, mut known, mut lives, mut out) = (Vec::<Instance>::new(), Vec::new(), 0, Vec::new());
    for (at, samples) in recorded {
        let verdict = evaluate(rule, &open, &known, Ok(samples), *at);
        known = verdict.known.unwrap_or(known);
        open.clear();
        for mut outcome in verdict.outcomes {
            if outcome.instance.alert.id.is_empty() {
                lives += 1;
                outcome.instance.alert.id = lives.to_string();
            }
            let Instance { alert, state, telling } = outcome.instance;
            if let Some((transition, _)) = outcome.transition {
                let (fingerprint, labels) = (alert.fingerprint.clone(), alert.labels.clone());
                out.push(ReplayedTransition { fingerprint, labels, transition });
            }
            if state.phase != Phase::Inactive {
                let machine = stored::write(&Machine { state, telling });
                let Machine { state, telling } = stored::read("machine", &machine).expect("read back");
                let alert = stored::read("alert", &stored::write(&alert)).expect("read back");
                open.push(Instance { alert, state, telling });
            }
        }
    }
    out
}

fn recorded() -> impl Strategy<Value = Vec<(DateTime<Utc>, Samples)>> {
    let value = prop::sample::select(vec![1.0, 7.0, 9.0, 11.0, 15.0, 21.0, 30.0, f64::NAN]);
    let sample = (prop::sample::subsequence(vec!["a", "b", "c"], 0..=3), prop::collection::vec(value, 3));
    prop::collection::vec((sample, 1i64..40), 1..60).prop_map(|steps| {
        let mut second = 0;
        let step = |((hosts, values), pause): ((Vec<&str>, Vec<f64>), i64)| {
            second += pause;
            let labels = |host: &str| LabelSet::from([("host".to_owned(), host.to_owned())]);
            (at(second), hosts.into_iter().zip(values).map(|(host, value)| (labels(host), value)).collect())
        };
        steps.into_iter().map(step).collect()
    })
}

proptest! {
    #[test]
    fn a_replay_of_recorded_input_is_what_happened_live(
        recorded in recorded(),
        hold in 0i64..60,
        keep in 0i64..60,
        no_data in prop::sample::select(vec!["ok", "keep", "fire", "error"]),
        missing in prop::sample::select(vec!["keep", "resolve", "fire"]),
    ) {
        let rule = rule(serde_json::json!({
            "for": hold, "keepFiringFor": keep, "noData": no_data, "missingSeries": missing, "limit": 2,
        }));
        let world = world();
        let mut replay = Replay::new(&rule, &world);
        for (at, samples) in &recorded {
            replay.step(*at, Ok(samples));
        }
        prop_assert_eq!(&replay.transitions, &live(&rule, &recorded));
        let fired = replay.transitions.iter().filter(|t| t.transition.reason == "held").count();
        prop_assert_eq!(replay.fired as usize, fired);
    }
}

#[test]
fn a_month_by_the_minute_is_told_as_it_would_have_been() {
    let rule = rule(serde_json::json!({ "cooldownMinutes": 60, "for": "5m" }));
    let world = world();
    let mut replay = Replay::new(&rule, &world);
    // Twenty minutes over the threshold, once a day.
    for minute in 0..30 * 24 * 60i64 {
        let value = if minute % 1_440 < 20 { 12.0 } else { 1.0 };
        replay.step(at(minute * 60), Ok(&vec![(LabelSet::new(), value)]));
    }
    assert_eq!((replay.fired, replay.told.get("email").copied()), (30, Some(60)));
    assert_eq!(replay.firing_until(at(30 * 24 * 3_600)), 30 * 15 * 60 * 1_000);
}
