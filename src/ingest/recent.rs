//! The last exports that were refused, whole or in part, with the reason that the sender was given.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use super::export::Signal;

/// Refusals that are kept.
const KEPT: usize = 32;

/// An export that was refused, whole or in part.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When.
    pub at: DateTime<Utc>,
    /// What was sent.
    pub signal: Signal,
    /// As it is counted.
    pub reason: &'static str,
    /// What the sender was told.
    pub message: String,
}

/// The last of them, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(Arc<Mutex<VecDeque<Refused>>>);

impl Recent {
    pub(super) fn add(&self, signal: Signal, reason: &'static str, message: String) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Refused { at: Utc::now(), signal, reason, message });
    }

    pub(super) fn list(&self) -> Vec<Refused> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_are_kept() {
        let recent = Recent::default();
        for n in 0..40 {
            recent.add(Signal::Metrics, "malformed", format!("number {n}"));
        }
        let kept = recent.list();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.last().map(|refused| refused.message.as_str()), Some("number 39"));
    }
}
