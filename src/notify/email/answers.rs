//! Who has a mail already, or will never have it: what is tried again goes to the others alone. In memory, so after a restart
//! some may get a mail twice, as with every receiver.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::super::outcome::{DETAIL_CHARS_MAX, Outcome, Verdict};
use super::super::words::one_line;

/// Most mails of one receiver that are known to have reached some of its recipients; the oldest is forgotten, and goes to all
/// when it is tried again.
const MAILS_MAX: usize = 1_000;

/// A mail by its notification's id, and what was said of whom, by place in the recipients: it was taken, or never will be.
type Mail = (String, Vec<(usize, Outcome)>);

/// See the module.
#[derive(Default)]
pub(super) struct Answers {
    /// The oldest first.
    mails: Mutex<VecDeque<Mail>>,
}

impl Answers {
    /// Those of `recipients` that have not answered, by place.
    pub(super) fn missing(&self, id: &str, recipients: usize) -> Vec<usize> {
        let mails = self.mails.lock();
        let known = mails.iter().find(|(of, _)| of == id).map_or(&[][..], |(_, answers)| answers);
        (0..recipients).filter(|at| known.iter().all(|(answered, _)| answered != at)).collect()
    }

    pub(super) fn note(&self, id: &str, at: usize, answer: Outcome) {
        let mut mails = self.mails.lock();
        if let Some((_, answers)) = mails.iter_mut().find(|(of, _)| of == id) {
            answers.push((at, answer));
            return;
        }
        if mails.len() == MAILS_MAX {
            mails.pop_front();
        }
        mails.push_back((id.to_owned(), vec![(at, answer)]));
    }

    /// What came of the attempt, when `failed` are those who may still get it, and why not yet. Nothing is known of the mail
    /// afterwards unless there are some.
    pub(super) fn conclude(&self, id: &str, failed: Vec<(usize, Outcome)>, name: impl Fn(usize) -> String) -> Outcome {
        let mut mails = self.mails.lock();
        let known = mails.iter().position(|(of, _)| of == id);
        let answers = known.and_then(|at| mails.get(at)).map_or(&[][..], |(_, answers)| answers);
        let (taken, refused): (Vec<_>, Vec<_>) =
            answers.iter().cloned().partition(|(_, answer)| matches!(answer.verdict, Verdict::Sent { .. }));
        let told = failed.iter().chain(&refused).map(|(at, outcome)| format!("{}: {}", name(*at), outcome.detail));
        let detail = one_line(&told.collect::<Vec<_>>().join("; "), DETAIL_CHARS_MAX);
        if failed.is_empty()
            && let Some(at) = known
        {
            mails.remove(at);
        }
        // Who may still get it decides, then who has it.
        let last = [failed, taken, refused].into_iter().find_map(|mut outcomes| outcomes.pop());
        let none = || Outcome::refused(None, "it has no recipient");
        Outcome { detail, ..last.map_or_else(none, |(_, outcome)| outcome) }
    }
}
