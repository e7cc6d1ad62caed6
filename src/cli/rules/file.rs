//! Files of rules: ours (`rules:` with the fields of the API) and Prometheus' (`groups:`), as YAML or JSON.

use std::collections::HashMap;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct RuleFile {
    pub(super) rules: Vec<Map<String, Value>>,
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    rules: Vec<Map<String, Value>>,
    #[serde(default)]
    groups: Vec<Group>,
}

/// A group of a Prometheus rule file; what it has beside these changes nothing for us.
#[derive(Deserialize)]
struct Group {
    name: String,
    interval: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    rules: Vec<PrometheusRule>,
}

#[derive(Deserialize)]
struct PrometheusRule {
    alert: Option<String>,
    record: Option<String>,
    expr: Value,
    #[serde(rename = "for")]
    hold_for: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    labels: HashMap<String, String>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

pub(super) fn parse(text: &str) -> anyhow::Result<RuleFile> {
    let written: Written = serde_saphyr::from_str(text).context("neither YAML nor JSON of rules")?;
    let mut file = RuleFile { rules: written.rules, ..RuleFile::default() };
    if let Some(nameless) = file.rules.iter().find(|rule| !rule.contains_key("id")) {
        bail!("a rule has no id: {}", Value::Object(nameless.clone()));
    }
    let mut taken: HashMap<String, usize> = HashMap::new();
    for group in written.groups {
        for rule in &group.rules {
            match (&rule.alert, &rule.record) {
                (Some(alert), None) => {
                    let imported = import(&group, rule, alert, &mut taken);
                    file.rules.push(imported);
                }
                (_, record) => {
                    let name = record.as_deref().unwrap_or("without a name");
                    file.warnings.push(format!("recording rule {name} is left out: windows are kept as they are"));
                }
            }
        }
    }
    Ok(file)
}

fn import(group: &Group, rule: &PrometheusRule, alert: &str, taken: &mut HashMap<String, usize>) -> Map<String, Value> {
    let severity = match rule.labels.get("severity").map(String::as_str) {
        Some("critical" | "page" | "error") => "critical",
        Some("info" | "none") => "info",
        _ => "warning",
    };
    let mut id = slug(&format!("{}.{alert}", group.name));
    // The same alert twice in a group, as severities are written there.
    let times = taken.entry(id.clone()).and_modify(|times| *times += 1).or_insert(1);
    if *times > 1 {
        id = format!("{id}.{times}");
    }
    let expr = rule.expr.as_str().map_or_else(|| rule.expr.to_string(), ToOwned::to_owned);
    let annotations: Map<String, Value> =
        rule.annotations.iter().map(|(name, text)| (name.clone(), json!(template(text)))).collect();
    // Ours carries the severity itself.
    let labels: Map<String, Value> = rule
        .labels
        .iter()
        .filter(|(name, value)| !(*name == "severity" && *value == severity))
        .map(|(name, text)| (name.clone(), json!(text)))
        .collect();
    let mut out = Map::new();
    for (name, value) in [
        ("id", json!(id)),
        ("name", json!(alert)),
        ("condition", json!(expr.trim())),
        ("severity", json!(severity)),
        ("labels", Value::Object(labels)),
        ("annotations", Value::Object(annotations)),
        ("for", json!(rule.hold_for)),
        ("keepFiringFor", json!(rule.keep_firing_for)),
        ("evaluationInterval", json!(group.interval)),
        ("limit", json!(group.limit.filter(|limit| *limit > 0))),
    ] {
        if !value.is_null() {
            out.insert(name.to_owned(), value);
        }
    }
    out
}

fn slug(text: &str) -> String {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.chars().map(|c| if sound(c) { c } else { '_' }).take(90).collect()
}

/// A template of Prometheus' in our words: `{{ $labels.x }}` and `{{ $value }}`. What goes through one of its functions is
/// left as the plain value.
fn template(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once("{{") {
        let Some((expression, after)) = inside.split_once("}}") else { break };
        out.push_str(before);
        let name = expression.split(|c: char| c == '|' || c.is_whitespace()).find(|part| part.starts_with('$'));
        match name.map(|name| name.trim_start_matches('$').trim_end_matches(')')) {
            Some(name) => out.push_str(&format!("{{{{ {name} }}}}")),
            None => out.push_str(expression.trim()),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_rule_files_are_taken_as_they_are() {
        let file = parse(
            "groups:\n- name: node\n  interval: 30s\n  rules:\n  - record: job:up:sum\n    expr: sum by (job) (up)\n  \
             - alert: InstanceDown\n    expr: up == 0\n    for: 5m\n    labels:\n      severity: page\n      team: db\n    \
             annotations:\n      summary: \"{{ $labels.instance }} is at {{ $value | humanize }}\"\n  \
             - alert: InstanceDown\n    expr: up == 2\n",
        )
        .expect("a file");
        assert_eq!(file.warnings.len(), 1);
        let expect = json!({
            "id": "node.InstanceDown", "name": "InstanceDown", "condition": "up == 0", "severity": "critical", "for": "5m",
            "labels": { "severity": "page", "team": "db" }, "evaluationInterval": "30s",
            "annotations": { "summary": "{{ labels.instance }} is at {{ value }}" },
        });
        let rules: Vec<Value> = file.rules.into_iter().map(Value::Object).collect();
        assert_eq!(rules.first(), Some(&expect));
        assert_eq!(rules.get(1).and_then(|rule| rule.get("id")), Some(&json!("node.InstanceDown.2")));
    }

    #[test]
    fn our_own_files_have_the_fields_of_the_api() {
        let file =
            parse("rules:\n- {id: a, name: A, condition: cpuUsage > threshold, threshold: 90}\n").expect("a file");
        assert_eq!(file.rules.len(), 1);
        assert!(parse("rules:\n- {name: A}\n").is_err());
        assert!(parse("groups: 5").is_err());
    }
}
