//! What the asker should know beside the answer, as Prometheus annotates it: warnings, and infos of less weight.

use parking_lot::Mutex;

/// Most notes of each kind in one answer, as Prometheus has it.
const NOTES_MAX: usize = 10;

/// Notes gathered while a query is evaluated; each text once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    warnings: Mutex<Vec<String>>,
    infos: Mutex<Vec<String>>,
}

impl Notes {
    /// The answer, or a part of it, is not what was asked for.
    pub(super) fn warn(&self, text: impl Into<String>) {
        add(&self.warnings, format!("PromQL warning: {}", text.into()));
    }

    /// The answer may surprise.
    pub(super) fn info(&self, text: impl Into<String>) {
        add(&self.infos, format!("PromQL info: {}", text.into()));
    }

    /// `(warnings, infos)`.
    pub(super) fn into_lists(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_inner(), self.infos.into_inner())
    }
}

fn add(to: &Mutex<Vec<String>>, text: String) {
    let mut known = to.lock();
    if known.len() < NOTES_MAX && !known.contains(&text) {
        known.push(text);
    }
}
