//! What a client may say on `/ws`, how often, and the codes that end a socket.

use std::time::{Duration, Instant};

use axum::extract::ws::CloseFrame;
use serde::Deserialize;

/// Messages a client may send within a second.
const MESSAGES_A_SECOND: u32 = 20;
/// Longest reason that a close frame can hold.
const REASON_BYTES_MAX: usize = 123;

/// A message of a client.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Request {
    /// Wants these topics too from now on.
    Subscribe { topics: Vec<Wanted> },
    /// Wants these no longer.
    Unsubscribe { topics: Vec<String> },
}

/// A topic that is wanted.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    pub(super) topic: String,
    /// What the client had of it before its last socket ended.
    pub(super) resume: Option<Resume>,
}

/// A place to go on from.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Resume {
    /// Of the server that gave the number.
    pub(super) instance: String,
    pub(super) seq: u64,
}

/// Why a socket ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) code: u16,
    reason: String,
}

impl Ending {
    fn of(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self { code, reason }
    }

    pub(super) fn invalid_text() -> Self {
        Self::of(1007, "frames are UTF-8 text")
    }

    pub(super) fn policy(reason: impl Into<String>) -> Self {
        Self::of(1008, reason)
    }

    pub(super) fn too_big(bytes: Option<usize>) -> Self {
        let max = super::FRAME_BYTES_MAX;
        Self::of(
            1009,
            bytes.map_or(format!("a frame is more than {max} bytes"), |n| {
                format!("frame of {n} bytes > limit of {max}")
            }),
        )
    }

    pub(super) fn restart() -> Self {
        Self::of(1012, "the server is shutting down")
    }

    pub(super) fn over_limit(reason: impl Into<String>) -> Self {
        Self::of(1013, reason)
    }
}

impl From<Ending> for CloseFrame {
    fn from(ending: Ending) -> Self {
        Self { code: ending.code, reason: ending.reason.into() }
    }
}

/// Reads a message.
pub(super) fn parse(text: &str) -> Result<Request, Ending> {
    if text.len() > super::FRAME_BYTES_MAX {
        return Err(Ending::too_big(Some(text.len())));
    }
    serde_json::from_str(text).map_err(|error| Ending::policy(format!("not understood: {error}")))
}

/// Counts messages within the running second.
pub(super) struct Rate {
    since: Instant,
    count: u32,
}

impl Rate {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    pub(super) fn message(&mut self, now: Instant) -> Result<(), Ending> {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.count += 1;
        if self.count <= MESSAGES_A_SECOND {
            return Ok(());
        }
        Err(Ending::policy(format!("more than {MESSAGES_A_SECOND} messages in a second")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let topic = || "ledger".to_owned();
        let subscribed = |resume| Ok(Request::Subscribe { topics: vec![Wanted { topic: topic(), resume }] });
        assert_eq!(parse(r#"{"op":"subscribe","topics":[{"topic":"ledger"}]}"#), subscribed(None));
        let resume = Some(Resume { instance: "a".to_owned(), seq: 7 });
        let text = r#"{"op":"subscribe","topics":[{"topic":"ledger","resume":{"instance":"a","seq":7}}]}"#;
        assert_eq!(parse(text), subscribed(resume));
        let unsubscribed = Ok(Request::Unsubscribe { topics: vec![topic()] });
        assert_eq!(parse(r#"{"op":"unsubscribe","topics":["ledger"]}"#), unsubscribed);
        for bad in ["", "{", "[]", r#"{"op":"shout"}"#, r#"{"op":"subscribe"}"#, r#"{"op":"subscribe","topics":1}"#] {
            assert_eq!(parse(bad).map_err(|ending| ending.code), Err(1008), "{bad}");
        }
        assert_eq!(parse(&" ".repeat(20_000)).map_err(|ending| ending.code), Err(1009));
    }

    #[test]
    fn the_twenty_first_message_of_a_second_is_too_many() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for _ in 0..MESSAGES_A_SECOND {
            assert_eq!(rate.message(start), Ok(()));
        }
        assert_eq!(rate.message(start).map_err(|ending| ending.code), Err(1008));
        assert_eq!(rate.message(start + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn a_reason_is_cut_between_letters() {
        let ending = Ending::policy("é".repeat(100));
        assert!(ending.reason.len() <= REASON_BYTES_MAX && ending.reason.chars().all(|c| c == 'é'));
    }
}
