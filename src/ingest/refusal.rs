//! Refusals of whole requests, and what they are on each transport.
//!
//! Source: OTLP 1.11, "Failures" and "Retryable response codes". Only `UNAVAILABLE` and `RESOURCE_EXHAUSTED` with
//! `RetryInfo` invite a retry, on HTTP only 429, 502, 503 and 504.

use std::time::Duration;

/// What kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The body cannot be read.
    Malformed,
    /// Over the size limit, before or after inflating. Never worth a retry.
    TooLarge,
    /// Not in time.
    Deadline,
    /// Overload, a database away, or a server about to leave.
    Unavailable,
    /// `grpc-encoding` or `Content-Encoding` that we do not have.
    Encoding,
    /// The framing of the call is broken.
    Framing,
}

impl RefusalKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::TooLarge, Self::Deadline, Self::Unavailable, Self::Encoding, Self::Framing];

    /// The label value under which it is counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
            Self::Encoding => "encoding",
            Self::Framing => "framing",
        }
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// Names the field or limit.
    pub message: String,
    /// When to come again, where that helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal that a retry does not mend.
    pub(super) fn of(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// Come again in one to three seconds; spread, so that not all come at once.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        let retry_after = Duration::from_millis(1_000 + rand::random_range(0..2_000));
        Self { kind: RefusalKind::Unavailable, message: message.into(), retry_after: Some(retry_after) }
    }

    /// The label value under which it is counted.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.kind.as_str()
    }
}
