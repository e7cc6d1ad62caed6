//! What a request is called. All of it is of few values: who asks cannot make more.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Version};

/// A method that is not known.
const OTHER: &str = "_OTHER";
/// Methods that are known, the likeliest first, and then any other.
pub(super) const METHODS: [&str; 11] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY", OTHER];
/// How it came.
pub(super) const SCHEMES: [&str; 2] = ["http", "https"];

/// Of the request itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    /// One of [`METHODS`].
    pub(super) method: u8,
    /// One of [`SCHEMES`].
    pub(super) scheme: u8,
    /// The template; none: unmatched.
    pub(super) route: Option<Arc<str>>,
    /// Such as `1.1`.
    pub(super) version: &'static str,
}

/// Of what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// This status.
    Status(u16),
    /// It failed without one, or while it was answered.
    Failed(Option<u16>),
    /// Whoever asked left.
    Left,
}

impl Labels {
    pub(super) fn of(parts: &Parts, route: Option<Arc<str>>) -> Self {
        Self {
            method: method(&parts.method),
            scheme: (parts.uri.scheme_str() == Some("https")).into(),
            route,
            version: version(parts.version),
        }
    }

    pub(super) fn method(&self) -> &'static str {
        METHODS.get(usize::from(self.method)).copied().unwrap_or(OTHER)
    }

    pub(super) fn scheme(&self) -> &'static str {
        SCHEMES.get(usize::from(self.scheme)).copied().unwrap_or_default()
    }

    pub(super) fn route(&self) -> Arc<str> {
        self.route.clone().unwrap_or_else(|| Arc::from(super::UNMATCHED))
    }
}

impl Outcome {
    pub(super) const fn of(status: Option<u16>, failed: bool) -> Self {
        match (status, failed) {
            (status, true) => Self::Failed(status),
            (Some(status), false) => Self::Status(status),
            (None, false) => Self::Left,
        }
    }

    pub(super) const fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::Failed(status) => status,
            Self::Left => None,
        }
    }

    /// `error.type`: the status of a server's fault, or a word.
    pub(super) fn error(self) -> Option<String> {
        match self {
            Self::Status(status) if status >= 500 => Some(status.to_string()),
            Self::Status(_) => None,
            Self::Failed(_) => Some("failed".to_owned()),
            Self::Left => Some("cancelled".to_owned()),
        }
    }
}

/// Which of [`METHODS`] it is; the last is any other.
fn method(method: &Method) -> u8 {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1) as u8
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_known_or_other() {
        let name = |given: &[u8]| METHODS[usize::from(method(&Method::from_bytes(given).expect("a token")))];
        assert_eq!((name(b"GET"), name(b"QUERY")), ("GET", "QUERY"));
        assert_eq!((name(b"get"), name(b"PROPFIND"), name(b"_OTHER")), (OTHER, OTHER, OTHER));
    }

    #[test]
    fn only_a_servers_fault_is_an_error() {
        assert_eq!(Outcome::of(Some(404), false).error(), None);
        assert_eq!(Outcome::of(Some(503), false).error().as_deref(), Some("503"));
        assert_eq!(Outcome::of(Some(200), true).error().as_deref(), Some("failed"));
        assert_eq!(Outcome::of(None, false).error().as_deref(), Some("cancelled"));
    }
}
