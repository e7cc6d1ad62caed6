//! Annotations as templates: `{{ labels.service_name }} answers in {{ value }} ms`. Checked when a rule is saved; one that
//! fails in the night gives plain text and never loses the page.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, context};

use crate::model::{Rule, Severity};

/// Instructions that one template may take.
const FUEL: u64 = 20_000;
/// Longest text that comes out, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What a template may speak of.
pub(super) struct Facts<'a> {
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) value: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) severity: Severity,
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment
}

fn render(text: &str, rule: &Rule, facts: &Facts<'_>) -> Result<String, minijinja::Error> {
    let rule = context! { id => &rule.id, name => &rule.name, condition => &rule.condition };
    environment().render_str(
        text,
        context! {
            labels => facts.labels,
            value => facts.value,
            threshold => facts.threshold,
            severity => facts.severity.as_str(),
            rule => rule,
        },
    )
}

/// What is wrong with a template, if anything.
pub(super) fn check(text: &str, rule: &Rule) -> Result<(), String> {
    let labels = BTreeMap::new();
    let facts = Facts { labels: &labels, value: Some(1.0), threshold: rule.threshold, severity: rule.severity };
    render(text, rule, &facts).map(drop).map_err(|error| error.to_string())
}

/// The annotations of an alert.
pub(super) fn annotations(rule: &Rule, facts: &Facts<'_>) -> BTreeMap<String, String> {
    let text = |template: &String| {
        // Most annotations are plain text.
        if !template.contains("{{") && !template.contains("{%") {
            return template.clone();
        }
        let mut text = render(template, rule, facts).unwrap_or_else(|error| plain(rule, facts, &error.to_string()));
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        text
    };
    rule.annotations.iter().map(|(name, template)| (name.clone(), text(template))).collect()
}

fn plain(rule: &Rule, facts: &Facts<'_>, error: &str) -> String {
    let value = facts.value.map_or("no value".to_owned(), |value| value.to_string());
    format!("{}: {} at {value} (template failed: {error})", rule.name, rule.condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(summary: &str) -> Rule {
        let json = serde_json::json!({
            "id": "r", "name": "slow", "condition": "avgResponseTime > threshold", "threshold": 5.0,
            "annotations": { "summary": summary },
        });
        serde_json::from_value(json).expect("a rule")
    }

    fn told(summary: &str) -> String {
        let labels = BTreeMap::from([("service".to_owned(), "shop".to_owned())]);
        let facts = Facts { labels: &labels, value: Some(7.5), threshold: Some(5.0), severity: Severity::Critical };
        annotations(&rule(summary), &facts).remove("summary").expect("it is there")
    }

    #[test]
    fn labels_and_value_are_filled_in_and_what_fails_becomes_plain_text() {
        assert_eq!(told("{{ labels.service }} at {{ value | round(1) }}"), "shop at 7.5");
        assert_eq!(told("{{ labels.nothing }}!"), "!");
        assert!(told("{{ value / labels.service }}").starts_with("slow: avgResponseTime > threshold at 7.5"));
        assert!(
            told("{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}").contains("failed")
        );
    }

    #[test]
    fn mistakes_are_found_when_a_rule_is_saved() {
        assert!(check("{{ labels.a }}", &rule("")).is_ok());
        assert!(check("{{ labels.a ", &rule("")).is_err());
        assert!(check("{{ value | nothing }}", &rule("")).is_err());
    }
}
