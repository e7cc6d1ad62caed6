//! The routing tree: which groups an alert belongs to, and how they are told. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::evaluate::LabelSet;
use crate::model::{Alert, GroupPolicy, Period, Route, Rule, Severity, all_match};

/// The receiver that means every enabled one.
pub(super) const EVERY: &str = "*";
/// Time between notifications about news in a group, where no route says.
const GROUP_INTERVAL: Period = Period::minutes(1);

/// A group: its key, and how it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) key: String,
    pub(super) policy: GroupPolicy,
}

/// A route that matched, with what it inherits.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    /// Place in the tree: `route`, `route/0`, `route/0/2`, …
    pub(super) path: String,
    /// What it is about: the matchers on the way. Stays when routes are put before it, or somewhere else.
    about: String,
    pub(super) receivers: Vec<String>,
    group_by: Vec<String>,
    group_wait: Period,
    group_interval: Period,
    repeat_interval: Period,
}

/// The tree before anybody has written one: everything to every receiver, one group a rule.
pub(super) fn default_tree() -> Route {
    Route {
        receivers: Some(vec![EVERY.to_owned()]),
        group_by: Some(vec!["rule_id".to_owned()]),
        group_interval: Some(GROUP_INTERVAL),
        ..Route::default()
    }
}

/// The routes that take `labels`: the deepest of each branch, more than one only by `continue`.
pub(super) fn matching(tree: &Route, labels: &LabelSet) -> Vec<Matched> {
    let root = Matched {
        path: "route".to_owned(),
        about: String::new(),
        receivers: Vec::new(),
        group_by: Vec::new(),
        group_wait: Period::ZERO,
        group_interval: GROUP_INTERVAL,
        repeat_interval: Period::ZERO,
    };
    let mut found = Vec::new();
    descend(tree, &inherit(tree, &root), labels, &mut found);
    found
}

fn inherit(route: &Route, above: &Matched) -> Matched {
    Matched {
        path: above.path.clone(),
        about: above.about.clone(),
        receivers: route.receivers.clone().unwrap_or_else(|| above.receivers.clone()),
        group_by: route.group_by.clone().unwrap_or_else(|| above.group_by.clone()),
        group_wait: route.group_wait.unwrap_or(above.group_wait),
        group_interval: route.group_interval.unwrap_or(above.group_interval),
        repeat_interval: route.repeat_interval.unwrap_or(above.repeat_interval),
    }
}

fn descend(route: &Route, own: &Matched, labels: &LabelSet, found: &mut Vec<Matched>) {
    let before = found.len();
    for (number, child) in route.routes.iter().enumerate() {
        if all_match(&child.matchers, labels) {
            let mut inherited = inherit(child, own);
            inherited.path = format!("{}/{number}", own.path);
            let _infallible = write!(inherited.about, "/{}", written(child));
            // Of several that are about the same, `continue` leads to each.
            let likes = route.routes.iter().take(number).filter(|other| is_like(other, child)).count();
            if likes > 0 {
                let _infallible = write!(inherited.about, "#{likes}");
            }
            descend(child, &inherited, labels, found);
            if !child.goes_on {
                break;
            }
        }
    }
    if found.len() == before {
        found.push(own.clone());
    }
}

/// Whether two are about the same.
fn is_like(one: &Route, other: &Route) -> bool {
    one.matchers.len() == other.matchers.len() && one.matchers.iter().all(|matcher| other.matchers.contains(matcher))
}

/// The matchers, in no order of their own.
fn written(route: &Route) -> String {
    let mut matchers: Vec<String> = route.matchers.iter().map(ToString::to_string).collect();
    matchers.sort_unstable();
    matchers.join(",")
}

/// The groups of an alert of `rule`: the rule's own receivers where it names some, otherwise what the tree says.
pub(super) fn groups_of(rule: &Rule, alert: &Alert, tree: &Route) -> Vec<Group> {
    let labels = alert.matched_labels();
    let has_own = !rule.notification_channels.is_empty()
        || rule.thresholds.iter().any(|level| !level.notification_channels.is_empty());
    if has_own {
        let shared = common(&rule.group_by, &labels);
        let severities = [Severity::Info, Severity::Warning, Severity::Critical];
        let by_severity: BTreeMap<Severity, Vec<String>> = severities
            .into_iter()
            .map(|severity| (severity, rule.channels(severity).to_vec()))
            .filter(|(_, channels)| !channels.is_empty() && *channels != rule.notification_channels)
            .collect();
        let policy = GroupPolicy {
            receivers: rule.notification_channels.clone(),
            by_severity,
            group_interval: GROUP_INTERVAL,
            labels: shared,
            ..GroupPolicy::default()
        };
        return vec![Group { key: key(&format!("rule/{}", rule.id), &policy.labels), policy }];
    }
    let group = |matched: Matched| {
        let group_by = if rule.group_by.is_empty() { &matched.group_by } else { &rule.group_by };
        let policy = GroupPolicy {
            receivers: matched.receivers,
            by_severity: BTreeMap::new(),
            group_wait: matched.group_wait,
            group_interval: matched.group_interval,
            repeat_interval: matched.repeat_interval,
            labels: common(group_by, &labels),
        };
        let route = match matched.about.as_str() {
            "" => "route".to_owned(),
            // Short, for it is part of a key.
            about => format!("route/{:016x}", xxh3_64(about.as_bytes())),
        };
        Group { key: key(&route, &policy.labels), policy }
    };
    matching(tree, &labels).into_iter().map(group).collect()
}

fn common(group_by: &[String], labels: &LabelSet) -> LabelSet {
    let of = |name: &String| Some((name.clone(), labels.get(name)?.clone()));
    group_by.iter().filter_map(of).collect()
}

fn key(of: &str, labels: &LabelSet) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{of}{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Route {
        serde_json::from_value(serde_json::json!({
            "receivers": ["email"],
            "routes": [
                { "matchers": [{ "name": "severity", "value": "critical" }], "receivers": ["pager"], "continue": true,
                  "routes": [{ "matchers": [{ "name": "team", "value": "db" }], "groupBy": ["team"] }] },
                { "matchers": [{ "name": "team", "op": "=~", "value": "db|cache" }], "receivers": ["slack"] },
                { "receivers": ["never"] },
            ],
        }))
        .expect("a tree")
    }

    #[test]
    fn the_deepest_match_wins_and_continue_goes_on() {
        let check = |pairs: &[(&str, &str)], expect: &[(&str, &str)]| {
            let labels = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let found = matching(&tree(), &labels);
            let found: Vec<_> = found.iter().map(|m| (m.path.as_str(), m.receivers.join(","))).collect();
            let expect: Vec<_> = expect.iter().map(|(path, to)| (*path, (*to).to_owned())).collect();
            assert_eq!(found, expect, "{pairs:?}");
        };
        check(&[("severity", "critical"), ("team", "db")], &[("route/0/0", "pager"), ("route/1", "slack")]);
        check(&[("severity", "critical")], &[("route/0", "pager"), ("route/2", "never")]);
        check(&[("team", "cache")], &[("route/1", "slack")]);
    }

    #[test]
    fn a_group_keeps_its_key_wherever_its_route_stands() {
        let labels: LabelSet =
            [("severity", "critical"), ("team", "db")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let keys = |tree: &Route| matching(tree, &labels).into_iter().map(|matched| matched.about).collect::<Vec<_>>();
        let before = keys(&tree());
        let mut after = tree();
        after.routes.insert(0, Route { goes_on: true, ..after.routes[0].clone() });
        after.routes[0].matchers.truncate(0);
        after.routes[0].routes.clear();
        assert_eq!(keys(&after)[1..], before, "one is put before");
        let mut twice = tree();
        twice.routes.insert(0, tree().routes[0].clone());
        let keys = keys(&twice);
        assert_eq!((keys.len(), keys[0] == keys[1]), (3, false), "{keys:?}");
    }
}
