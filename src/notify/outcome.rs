//! What came of an attempt, and the one table that reads HTTP statuses.

use std::time::Duration;

use super::outbound::{Answer, CallError};
use super::words::one_line;

/// Longest detail that is kept, in characters.
pub(super) const DETAIL_CHARS_MAX: usize = 300;

/// What it means for the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Sent {
        /// What the receiver calls the message.
        remote_ref: Option<String>,
    },
    /// It may arrive later.
    Retry {
        /// The wait that the receiver asks for.
        after: Option<Duration>,
    },
    /// It never will.
    Refused,
    /// It never will, and nothing else either: the receiver says that it is gone.
    Gone,
}

impl Verdict {
    /// As the delivery log has it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Retry { .. } => "retry",
            Self::Refused | Self::Gone => "refused",
        }
    }
}

/// An attempt, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it means.
    pub verdict: Verdict,
    /// HTTP or SMTP status, where there was one.
    pub status: Option<u16>,
    /// Why it failed, without secrets.
    pub detail: String,
}

impl Outcome {
    pub(super) const fn sent(status: u16, remote_ref: Option<String>) -> Self {
        Self { verdict: Verdict::Sent { remote_ref }, status: Some(status), detail: String::new() }
    }

    pub(super) fn retry(status: Option<u16>, after: Option<Duration>, detail: &str) -> Self {
        Self { verdict: Verdict::Retry { after }, status, detail: one_line(detail, DETAIL_CHARS_MAX) }
    }

    pub(super) fn refused(status: Option<u16>, detail: &str) -> Self {
        Self { verdict: Verdict::Refused, status, detail: one_line(detail, DETAIL_CHARS_MAX) }
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Forbidden(what) => Self::refused(None, what),
            CallError::Failed(what) => Self::retry(None, None, what),
        }
    }
}

/// 2xx arrived. 408, 429, 5xx and what no receiver should answer (1xx, 3xx: redirects are not followed) may pass. Any other
/// 4xx will not, and 410 says that the address is gone.
pub(super) fn of_answer(answer: &Answer) -> Outcome {
    let status = answer.status;
    let said = one_line(&String::from_utf8_lossy(&answer.body), DETAIL_CHARS_MAX);
    let detail = if said.is_empty() { format!("status {status}") } else { format!("status {status}: {said}") };
    match status {
        200..=299 => Outcome::sent(status, None),
        410 => Outcome { verdict: Verdict::Gone, ..Outcome::refused(Some(status), &detail) },
        408 | 429 => Outcome::retry(Some(status), answer.retry_after, &detail),
        400..=499 => Outcome::refused(Some(status), &detail),
        _ => Outcome::retry(Some(status), answer.retry_after, &detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_table_says() {
        for (status, expect) in [
            (200, "sent"),
            (204, "sent"),
            (302, "retry"),
            (400, "refused"),
            (404, "refused"),
            (408, "retry"),
            (410, "refused"),
            (429, "retry"),
            (500, "retry"),
            (503, "retry"),
        ] {
            let answer = Answer { status, retry_after: Some(Duration::from_secs(7)), body: b"no\r\n".to_vec() };
            let outcome = of_answer(&answer);
            assert_eq!(outcome.verdict.as_str(), expect, "{status}");
            assert_eq!(outcome.verdict == Verdict::Gone, status == 410);
            if status == 429 {
                assert_eq!(outcome.verdict, Verdict::Retry { after: Some(Duration::from_secs(7)) });
                assert_eq!(outcome.detail, "status 429: no");
            }
        }
    }
}
