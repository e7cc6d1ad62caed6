//! What a policy can be given to, and which policy is for whom.

use std::cmp::Reverse;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::batcher::BatchPolicy;
use crate::cache::CachePolicy;
use crate::proto;

/// An answer that is waited for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The cache of a key space.
    Cache,
    /// A batcher.
    Batch,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// By a cache.
    Cache(CachePolicy),
    /// By a batcher.
    Batch(BatchPolicy),
}

impl TryFrom<&proto::AssignedPolicy> for Policy {
    type Error = String;

    /// From the wire, checked; what is left out is as by default.
    fn try_from(assigned: &proto::AssignedPolicy) -> Result<Self, String> {
        super::convert::policy(assigned.kind.as_ref())
    }
}

impl Policy {
    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Cache(_) => Kind::Cache,
            Self::Batch(_) => Kind::Batch,
        }
    }
}

/// A policy as one target gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// Which.
    pub policy_id: String,
    /// Which revision of it.
    pub revision: i64,
    /// The override that counts instead, while its lease runs.
    pub override_id: Option<String>,
    /// It belongs to the part of the fleet that tries the revision.
    pub canary: bool,
    /// What is to be done.
    pub policy: Policy,
}

/// What came of a warming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Keys that were loaded.
    pub loaded: u64,
    /// Keys that were not.
    pub failed: u64,
}

/// What a policy can be given to. Nothing here may block, nor call the [`super::Policies`] that it was added to.
pub trait Target: Send + Sync + 'static {
    /// Which policies are for it.
    fn kind(&self) -> Kind;

    /// The key space of a cache, the name of a batcher.
    fn name(&self) -> &str;

    /// Works by it from now on; without one, by what is in the code.
    ///
    /// # Errors
    /// Why not. What was in force before must be so still; the server hears of it.
    fn apply(&self, assigned: Option<&Assigned>) -> Result<(), String>;

    /// Whether it is not there any more, and may be forgotten.
    fn is_gone(&self) -> bool {
        false
    }

    /// How long its memory may be read after the server was heard; without one it needs no leave.
    fn coherence_lease(&self) -> Option<Duration> {
        None
    }

    /// For how long after the server was heard its memory may be read, with leave or without.
    fn memory_life(&self) -> Duration {
        self.coherence_lease().unwrap_or_default()
    }

    /// Its memory may be read until then.
    fn trusted_until(&self, _until: Instant) {}

    /// Drops its memory: something was missed.
    fn forget(&self) {}

    /// Makes entries invalid. Answered when none of them is read any more.
    fn invalidate<'a>(&'a self, _invalidation: &'a proto::Invalidation) -> Pending<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Loads keys before they are asked for.
    fn warm(&self, keys: Vec<String>) -> Pending<'_, Warmed> {
        let failed = keys.len() as u64;
        Box::pin(std::future::ready(Warmed { loaded: 0, failed }))
    }
}

impl fmt::Debug for dyn Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind(), self.name())
    }
}

/// Whether `name` is one of those that `pattern` means; a `*` stands for any characters, and nothing for everything.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty() || pattern.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

/// How exactly a pattern names: by the characters that it gives, and then by how little it leaves open.
pub(super) fn exactness(pattern: &str) -> (usize, Reverse<usize>) {
    let open = pattern.matches('*').count();
    (pattern.chars().count() - open, Reverse(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expect) in [
            ("prices", "prices", true),
            ("prices", "prices2", false),
            ("", "anything", true),
            ("*", "", true),
            ("price*", "prices", true),
            ("*ces", "prices", true),
            ("p*c*s", "prices", true),
            ("p*c*s", "prices2", false),
            ("a*a", "a", false),
            ("a*ab", "ab", false),
            ("*é*", "café", true),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        assert!(exactness("prices") > exactness("price*") && exactness("price*") > exactness("*"));
        assert!(exactness("prices") > exactness("prices*"));
    }
}
