//! Mistakes in what people write: every one at once, each with its field and its limit.

use std::fmt::Display;

/// Longest id of anything, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 100;
/// Longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 200;
/// Longest free text, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// One mistake in what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which field, as JSON names it.
    pub field: String,
    /// What is wrong with it, and the limit.
    pub what: String,
}

/// Several in one line.
#[must_use]
pub fn in_words(violations: &[Violation]) -> String {
    violations.iter().map(|v| format!("{}: {}", v.field, v.what)).collect::<Vec<_>>().join("; ")
}

/// Mistakes, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Violation>);

impl Mistakes {
    pub(crate) fn unless(&mut self, sound: bool, field: &str, what: impl FnOnce() -> String) {
        if !sound {
            self.0.push(Violation { field: field.to_owned(), what: what() });
        }
    }

    pub(crate) fn done(self) -> Result<(), Vec<Violation>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    pub(crate) fn id(&mut self, field: &str, id: &str) {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
        let ok = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(sound);
        self.unless(ok, field, || format!("{id:?} is not 1 to {ID_BYTES_MAX} letters, digits, _, -, . or :"));
    }

    pub(crate) fn name(&mut self, field: &str, name: &str) {
        let ok = (1..=NAME_BYTES_MAX).contains(&name.trim().len());
        self.unless(ok, field, || format!("must have 1 to {NAME_BYTES_MAX} bytes, not {}", name.len()));
        self.no_nul(field, name);
    }

    pub(crate) fn text(&mut self, field: &str, text: &str) {
        self.line(field, text, TEXT_BYTES_MAX);
    }

    /// Text of at most so many bytes, which may be empty.
    pub(crate) fn line(&mut self, field: &str, text: &str, most: usize) {
        self.at_most(field, text.len(), most, "bytes");
        self.no_nul(field, text);
    }

    /// What Postgres keeps in no text.
    pub(crate) fn no_nul(&mut self, field: &str, text: &str) {
        self.unless(!text.contains('\0'), field, || "must not contain NUL".to_owned());
    }

    pub(crate) fn at_most(&mut self, field: &str, count: usize, most: usize, what: &str) {
        self.unless(count <= most, field, || format!("{count} {what} > limit of {most}"));
    }

    /// What is given lies between `least` and `most`; a number that is none does not.
    pub(crate) fn within<T: PartialOrd + Display>(&mut self, field: &str, given: Option<T>, (least, most): (T, T)) {
        if let Some(given) = given {
            let ok = given >= least && given <= most;
            self.unless(ok, field, || format!("must be {least} to {most}, not {given}"));
        }
    }

    pub(crate) fn finite(&mut self, field: &str, number: Option<f64>) {
        self.unless(number.is_none_or(f64::is_finite), field, || "must be a finite number".to_owned());
    }
}
