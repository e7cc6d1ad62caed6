//! Matchers of labels: what silences, routes, inhibitions and maintenance windows are about.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Longest regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 10;
/// Largest compiled regular expression, in bytes.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum MatchOp {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Different.
    #[serde(rename = "!=")]
    NotEqual,
    /// A regular expression matches the whole value.
    #[serde(rename = "=~")]
    Matches,
    /// It does not.
    #[serde(rename = "!~")]
    MatchesNot,
}

/// As it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default = "equal")]
    op: MatchOp,
    value: String,
}

const fn equal() -> MatchOp {
    MatchOp::Equal
}

/// One condition on one label; a label that is not there is the empty text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct LabelMatcher {
    written: Written,
    regex: Option<Regex>,
}

impl LabelMatcher {
    /// A matcher.
    ///
    /// # Errors
    /// When the name is empty or the regular expression is not sound, in words that name which.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, String> {
        Self::try_from(Written { name: name.to_owned(), op, value: value.to_owned() })
    }

    /// Whether `labels` are meant.
    #[must_use]
    pub fn is_match(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.written.name).map_or("", String::as_str);
        let by_regex = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.written.op {
            MatchOp::Equal => value == self.written.value,
            MatchOp::NotEqual => value != self.written.value,
            MatchOp::Matches => by_regex(),
            MatchOp::MatchesNot => !by_regex(),
        }
    }

    /// True when it is met by labels that do not have the name at all.
    #[must_use]
    pub fn takes_nothing(&self) -> bool {
        self.is_match(&BTreeMap::new())
    }

    /// Name, comparison and value, as written.
    #[must_use]
    pub fn parts(&self) -> (&str, MatchOp, &str) {
        (&self.written.name, self.written.op, &self.written.value)
    }
}

// It is described as it is written.
impl PartialSchema for LabelMatcher {
    fn schema() -> RefOr<Schema> {
        Written::schema()
    }
}

impl ToSchema for LabelMatcher {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Written::schemas(schemas);
    }
}

impl PartialEq for LabelMatcher {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl TryFrom<Written> for LabelMatcher {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        if written.name.is_empty() {
            return Err("a matcher needs the name of a label".to_owned());
        }
        let regex = match written.op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Matches | MatchOp::MatchesNot => Some(compile(&written)?),
        };
        Ok(Self { written, regex })
    }
}

fn compile(written: &Written) -> Result<Regex, String> {
    let bytes = written.value.len();
    if bytes > REGEX_BYTES_MAX {
        return Err(format!("regular expression of {bytes} bytes on {} > limit of {REGEX_BYTES_MAX}", written.name));
    }
    regex::RegexBuilder::new(&format!("^(?s:{})$", written.value))
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|error| format!("regular expression {:?} on {}: {error}", written.value, written.name))
}

impl From<LabelMatcher> for Written {
    fn from(matcher: LabelMatcher) -> Self {
        matcher.written
    }
}

impl fmt::Display for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.written.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Matches => "=~",
            MatchOp::MatchesNot => "!~",
        };
        write!(f, "{}{op}{:?}", self.written.name, self.written.value)
    }
}

/// Whether every one of `matchers` is met.
#[must_use]
pub fn all_match(matchers: &[LabelMatcher], labels: &BTreeMap<String, String>) -> bool {
    matchers.iter().all(|matcher| matcher.is_match(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_label_is_the_empty_text() {
        let labels = BTreeMap::from([("service".to_owned(), "shop".to_owned())]);
        let check = |name: &str, op, value: &str, expect: bool| {
            let matcher = LabelMatcher::new(name, op, value).expect("sound");
            assert_eq!(matcher.is_match(&labels), expect, "{matcher}");
        };
        check("service", MatchOp::Equal, "shop", true);
        check("service", MatchOp::Matches, "sh.*", true);
        check("service", MatchOp::Matches, "sh", false);
        check("zone", MatchOp::Equal, "", true);
        check("zone", MatchOp::NotEqual, "a", true);
        check("zone", MatchOp::MatchesNot, ".+", true);
        assert!(LabelMatcher::new("a", MatchOp::Matches, "(").is_err());
        assert!(LabelMatcher::new("a", MatchOp::Matches, &"x".repeat(2_000)).is_err());
    }
}
