//! The short way to a summary against the whole evaluation.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::alerting::{rulebook, validate};
use crate::model::{Labels, Rule};

fn rule(no_data: &str, own: bool) -> ReadyRule {
    let rule = serde_json::json!({
        "id": "load", "name": "Load", "condition": "load > threshold", "threshold": 10.0, "noData": no_data,
        "thresholds": [{ "severity": "critical", "threshold": 20.0 }],
        "labels": if own { serde_json::json!({ "zone": "here" }) } else { serde_json::json!({}) },
    });
    let rule: Rule = serde_json::from_value(rule).expect("a rule");
    validate::rule(rulebook::unsaved(rule)).expect("sound")
}

fn column(host: &str, zone: &str, sample: Sample) -> Column {
    let pairs = [("__name__", "load"), ("host", host), ("zone", zone)];
    let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (Arc::from(*n), Arc::from(*v))).collect());
    Column { labels, samples: vec![sample] }
}

proptest! {
    /// Whatever is told quickly is what the whole evaluation tells, and then it changes nothing.
    #[test]
    fn the_short_way_says_what_the_whole_way_says(
        columns in prop::collection::vec(
            (
                prop::sample::select(vec!["a", "b", "c"]),
                prop::sample::select(vec!["x", "y"]),
                prop::sample::select(vec![None, Some(1.0), Some(9.0), Some(f64::NAN), Some(12.0)]),
            ),
            0..5,
        ),
        no_data in prop::sample::select(vec!["ok", "keep", "fire", "error"]),
        own in any::<bool>(),
    ) {
        let rule = rule(no_data, own);
        let columns: Vec<Column> =
            columns.into_iter().map(|(host, zone, value)| column(host, zone, Sample::from(value))).collect();
        let answer = Answer { times: vec![0], value: AnswerValue::Vector(columns), warnings: Vec::new(), infos: Vec::new() };
        let whole = evaluate(&rule, &[], &[], Ok(&samples(&answer, 0)), DateTime::default());
        match quiet(&rule, &answer) {
            Some(summary) => {
                prop_assert_eq!(&summary, &whole.summary);
                prop_assert!(whole.outcomes.is_empty() && whole.known.is_none());
            }
            // The whole way is gone where something changes or is wrong.
            None => prop_assert!(!whole.outcomes.is_empty() || whole.summary.error.is_some() || no_data == "fire"),
        }
    }
}
