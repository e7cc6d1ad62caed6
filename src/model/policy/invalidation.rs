//! What an invalidation means, and what a warming loads.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Mistakes, Violation};

/// Most keys, tags and prefixes of one invalidation together.
const TARGETS_MAX: usize = 1_000;
/// Longest of them, in bytes.
const TARGET_BYTES_MAX: usize = 1 << 10;
/// All of them together: a thousand invalidations are held for instances that were away.
const TARGETS_BYTES_MAX: usize = 64 << 10;
/// Most keys of one warming.
const WARM_KEYS_MAX: usize = 10_000;
/// All of them together.
const WARM_BYTES_MAX: usize = 256 << 10;
/// Longest name of a service or a key space, in bytes.
const WORD_BYTES_MAX: usize = 200;

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InvalidationTargets {
    /// By key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// By tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// By how their keys begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// The whole key space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl InvalidationTargets {
    /// Checks them, and for whom they are.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check(&self, service: &str, key_space: &str) -> Result<(), Vec<Violation>> {
        let mut mistakes = Mistakes::default();
        mistakes.line("service", service, WORD_BYTES_MAX);
        mistakes.line("keySpace", key_space, WORD_BYTES_MAX);
        let lists = [("keys", &self.keys), ("tags", &self.tags), ("prefixes", &self.prefixes)];
        let count: usize = lists.iter().map(|(_, list)| list.len()).sum();
        mistakes.unless(count > 0 || self.all, "keys", || "keys, tags, prefixes or all must be given".to_owned());
        mistakes.at_most("keys", count, TARGETS_MAX, "keys, tags and prefixes");
        for (field, list) in lists {
            check_texts(&mut mistakes, field, list);
        }
        let bytes = lists.iter().flat_map(|(_, list)| list.iter()).map(String::len).sum();
        mistakes.at_most("keys", bytes, TARGETS_BYTES_MAX, "bytes of keys, tags and prefixes");
        mistakes.done()
    }
}

/// Checks what is to be warmed.
///
/// # Errors
/// Every mistake at once.
pub fn check_warming(key_space: &str, keys: &[String]) -> Result<(), Vec<Violation>> {
    let mut mistakes = Mistakes::default();
    mistakes.within("keySpace", Some(key_space.len()), (1, WORD_BYTES_MAX));
    mistakes.no_nul("keySpace", key_space);
    mistakes.within("keys", Some(keys.len()), (1, WARM_KEYS_MAX));
    check_texts(&mut mistakes, "keys", keys);
    let bytes = keys.iter().map(String::len).sum();
    mistakes.at_most("keys", bytes, WARM_BYTES_MAX, "bytes of keys");
    mistakes.done()
}

fn check_texts(mistakes: &mut Mistakes, field: &str, texts: &[String]) {
    let is_wrong = |text: &String| text.is_empty() || text.len() > TARGET_BYTES_MAX || text.contains('\0');
    if let Some(at) = texts.iter().position(is_wrong) {
        let text = format!("must have 1 to {TARGET_BYTES_MAX} bytes and no NUL");
        mistakes.unless(false, &format!("{field}[{at}]"), || text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let told = |targets: InvalidationTargets| {
            let violations = targets.check("shop", "prices").expect_err("wrong");
            violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
        };
        assert_eq!(told(InvalidationTargets::default()), ["keys"]);
        let tags = vec!["a".to_owned(), String::new()];
        assert_eq!(told(InvalidationTargets { tags, ..InvalidationTargets::default() }), ["tags[1]"]);
        let keys = vec!["a".to_owned(); TARGETS_MAX + 1];
        assert_eq!(told(InvalidationTargets { keys, ..InvalidationTargets::default() }), ["keys"]);
        let sound = InvalidationTargets { all: true, ..InvalidationTargets::default() };
        assert_eq!(sound.check("", ""), Ok(()));
        assert!(check_warming("", &[]).is_err_and(|violations| violations.len() == 2));
    }
}
