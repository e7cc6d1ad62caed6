//! What differs between two policies, field by field.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Policy;

/// One field that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PolicyChange {
    /// As JSON names it, such as `cache.l1Ttl`.
    pub field: String,
    /// Empty: it was not set.
    pub before: String,
    /// Empty: it is not set any more.
    pub after: String,
}

/// The fields in which `before` and `after` differ, by name; nothing stands for a policy that is not there.
#[must_use]
pub fn changes(before: Option<&Policy>, after: Option<&Policy>) -> Vec<PolicyChange> {
    let (before, after) = (fields(before), fields(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let of = |fields: &BTreeMap<String, String>, name: &String| fields.get(name).cloned().unwrap_or_default();
    let change =
        |name: &String| PolicyChange { field: name.clone(), before: of(&before, name), after: of(&after, name) };
    names.into_iter().map(change).filter(|change| change.before != change.after).collect()
}

fn fields(policy: Option<&Policy>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Some(policy) = policy {
        flatten("", &serde_json::to_value(policy).unwrap_or_default(), &mut out);
    }
    out
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, member, out);
            }
        }
        Value::String(text) => drop(out.insert(path.to_owned(), text.clone())),
        other => drop(out.insert(path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_told_once_with_what_it_was_and_is() {
        let read = |json| serde_json::from_value::<Policy>(json).expect("a policy");
        let one = read(serde_json::json!({ "id": "a", "name": "A", "cache": { "l1Ttl": "1m", "grace": "5s" } }));
        let two = read(serde_json::json!({
            "id": "a", "name": "A", "selector": { "labels": { "region": "eu" } }, "cache": { "l1Ttl": "2m" }
        }));
        let told: Vec<_> = changes(Some(&one), Some(&two)).into_iter().map(|c| (c.field, c.before, c.after)).collect();
        let owned = |field: &str, before: &str, after: &str| (field.to_owned(), before.to_owned(), after.to_owned());
        assert_eq!(
            told,
            [
                owned("cache.grace", "5s", ""),
                owned("cache.l1Ttl", "1m", "2m"),
                owned("selector.labels.region", "", "eu")
            ]
        );
        assert!(changes(Some(&one), Some(&one)).is_empty());
        assert!(changes(None, Some(&one)).iter().any(|c| c.field == "id" && c.before.is_empty()));
    }
}
