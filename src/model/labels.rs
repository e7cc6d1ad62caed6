//! Label sets: sorted, unique by name, cheap to share.

use std::fmt;
use std::sync::Arc;

use super::label_aliases;

/// A sorted set of labels, unique by name. Names are stored as sent (dots kept).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Sorts `pairs` and keeps the first of each name.
    #[must_use]
    pub fn from_pairs(mut pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        Self(pairs.into())
    }

    /// The same from borrowed text.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self::from_pairs(pairs.iter().map(|&(n, v)| (Arc::from(n), Arc::from(v))).collect())
    }

    /// The value under `name` exactly as stored.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        self.0.get(at).map(|(_, v)| &**v)
    }

    /// The value under `name`, where `http_route` also finds `http.route`, and a current name what old senders call it.
    #[must_use]
    pub fn get_canonical(&self, name: &str) -> Option<&str> {
        self.find_canonical(name).map(|(_, value)| value)
    }

    /// The label that [`Labels::get_canonical`] means, with the name under which it is here.
    #[must_use]
    pub fn find_canonical(&self, name: &str) -> Option<(&str, &str)> {
        let find = |wanted: &str| self.iter().find(|(known, _)| canonical_label_name(known) == wanted);
        if let Ok(at) = self.0.binary_search_by(|(known, _)| (**known).cmp(name)) {
            return self.0.get(at).map(|(known, value)| (&**known, &**value));
        }
        let name = canonical_label_name(name);
        find(&name).or_else(|| label_aliases(&name).find_map(find))
    }

    /// The pairs in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    /// The pairs in order of their names, shared.
    #[must_use]
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The name under which PromQL and `/metrics` know a label: anything but ASCII letters, digits and `_` becomes `_`.
#[must_use]
pub fn canonical_label_name(name: &str) -> std::borrow::Cow<'_, str> {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return name.into();
    }
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_the_first_of_a_name_wins() {
        let labels = Labels::of(&[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "1")]);
    }

    #[test]
    fn dotted_names_answer_to_underscores() {
        let labels = Labels::of(&[("http.route", "/a")]);
        assert_eq!(labels.get_canonical("http_route"), Some("/a"));
        assert_eq!(labels.get_canonical("http.route"), Some("/a"));
        assert_eq!(labels.get("http_route"), None);
    }

    #[test]
    fn current_names_find_what_old_senders_call_it_and_the_other_way_round() {
        let old = Labels::of(&[("http.status_code", "500"), ("state", "idle")]);
        assert_eq!(old.get_canonical("http.response.status_code"), Some("500"));
        assert_eq!(old.get_canonical("cpu_mode"), Some("idle"));
        let new = Labels::of(&[("http.response.status_code", "500"), ("cpu.mode", "idle")]);
        assert_eq!(new.get_canonical("http_status_code"), Some("500"));
        assert_eq!(new.get_canonical("state"), None);
    }
}
