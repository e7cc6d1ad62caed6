//! Reading a receiver's settings: every mistake at once, each with the field's name and the limit.

use std::collections::BTreeMap;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::outbound::Guard;
use super::seal::Secrets;
use super::template;

/// Longest value of a setting or secret, in bytes.
const VALUE_BYTES_MAX: usize = 16 << 10;

/// A field that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {what}")]
pub struct FieldError {
    /// Such as `settings.channel` or `secrets.url`.
    pub field: String,
    /// What is wrong, after the field's name.
    pub what: String,
}

/// The settings and secrets of one receiver, being read.
pub(super) struct Fields<'a> {
    settings: &'a Map<String, Value>,
    secrets: &'a Secrets,
    known: Vec<&'static str>,
    /// What is wrong so far.
    pub(super) problems: Vec<FieldError>,
    /// Where notifications may go.
    pub(super) guard: &'a Guard,
}

impl<'a> Fields<'a> {
    pub(super) fn new(settings: &'a Map<String, Value>, secrets: &'a Secrets, guard: &'a Guard) -> Self {
        Self { settings, secrets, known: Vec::new(), problems: Vec::new(), guard }
    }

    /// Notes a mistake in a setting.
    pub(super) fn problem(&mut self, name: &str, what: impl Into<String>) {
        self.problems.push(FieldError { field: format!("settings.{name}"), what: what.into() });
    }

    fn secret_problem(&mut self, name: &str, what: impl Into<String>) {
        self.problems.push(FieldError { field: format!("secrets.{name}"), what: what.into() });
    }

    /// A text, when it is there.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        match self.settings.get(name)? {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) if text.contains('\0') => {
                self.problem(name, "must not contain NUL");
                None
            }
            Value::String(text) if text.len() <= VALUE_BYTES_MAX => Some(text.clone()),
            Value::String(_) => {
                self.problem(name, format!("is longer than {VALUE_BYTES_MAX} bytes"));
                None
            }
            _ => {
                self.problem(name, "must be text");
                None
            }
        }
    }

    /// A text that must be there; empty after a mistake, which is noted.
    pub(super) fn required(&mut self, name: &'static str) -> String {
        let before = self.problems.len();
        let text = self.text(name);
        if text.is_none() && self.problems.len() == before {
            self.problem(name, "is missing");
        }
        text.unwrap_or_default()
    }

    /// One of `allowed`, the first by default.
    pub(super) fn choice(&mut self, name: &'static str, allowed: &[&'static str]) -> &'static str {
        let first = allowed.first().copied().unwrap_or_default();
        let Some(text) = self.text(name) else { return first };
        allowed.iter().copied().find(|choice| *choice == text).unwrap_or_else(|| {
            self.problem(name, format!("must be one of {}, not {text:?}", allowed.join(", ")));
            first
        })
    }

    /// A port.
    pub(super) fn port(&mut self, name: &'static str, default: u16) -> u16 {
        self.known.push(name);
        match self.settings.get(name) {
            None | Some(Value::Null) => default,
            Some(value) => {
                value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|port| *port > 0).unwrap_or_else(|| {
                    self.problem(name, "must be a number from 1 to 65535");
                    default
                })
            }
        }
    }

    /// A list of texts; at least one and at most `limit`.
    pub(super) fn list(&mut self, name: &'static str, limit: usize) -> Vec<String> {
        self.known.push(name);
        let list: Option<Vec<String>> = match self.settings.get(name) {
            Some(Value::Array(list)) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let list = list.filter(|list| (1..=limit).contains(&list.len()));
        list.unwrap_or_else(|| {
            self.problem(name, format!("must be a list of 1 to {limit} texts"));
            Vec::new()
        })
    }

    /// A template that was tried.
    pub(super) fn template(&mut self, name: &'static str) -> Option<String> {
        let source = self.text(name)?;
        if let Err(what) = template::check(&source) {
            self.problem(name, what);
        }
        Some(source)
    }

    /// The address of an API that is usually the same for everybody.
    pub(super) fn api_url(&mut self, name: &'static str, usual: &str) -> Option<Url> {
        let text = self.text(name).unwrap_or_else(|| usual.to_owned());
        match self.url(&text) {
            Ok(url) => Some(url),
            Err(what) => {
                self.problem(name, what);
                None
            }
        }
    }

    /// An address below which methods are called: it ends with a slash.
    pub(super) fn api_base(&mut self, name: &'static str, usual: &str) -> Option<Url> {
        let mut url = self.api_url(name, usual)?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Some(url)
    }

    /// A secret, when it is there.
    pub(super) fn secret(&mut self, name: &str) -> Option<SecretString> {
        let secret = self.secrets.get(name)?;
        if secret.expose_secret().len() > VALUE_BYTES_MAX {
            self.secret_problem(name, format!("is longer than {VALUE_BYTES_MAX} bytes"));
            return None;
        }
        Some(secret.clone()).filter(|secret| !secret.expose_secret().is_empty())
    }

    /// A secret that must be there; empty after a mistake, which is noted.
    pub(super) fn required_secret(&mut self, name: &str) -> SecretString {
        let before = self.problems.len();
        let secret = self.secret(name);
        if secret.is_none() && self.problems.len() == before {
            self.secret_problem(name, "is missing");
        }
        secret.unwrap_or_default()
    }

    /// A secret URL that must be there.
    pub(super) fn secret_url(&mut self, name: &str) -> Option<Url> {
        let secret = self.required_secret(name);
        if secret.expose_secret().is_empty() {
            return None;
        }
        match self.url(secret.expose_secret()) {
            Ok(url) => Some(url),
            Err(what) => {
                self.secret_problem(name, what);
                None
            }
        }
    }

    fn url(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
        self.guard.check(&url).map_err(|what| format!("is not to be called: {what}"))?;
        Ok(url)
    }

    /// Notes the settings and secrets that nobody reads, and ends.
    pub(super) fn finish(mut self, secrets: &[&str]) -> Vec<FieldError> {
        let known = std::mem::take(&mut self.known);
        for name in self.settings.keys().filter(|name| !known.contains(&name.as_str())) {
            let hint = if secrets.contains(&name.as_str()) { "belongs under secrets" } else { "is not known" };
            let what = format!("{hint}; this kind has the settings {}", known.join(", "));
            self.problems.push(FieldError { field: format!("settings.{name}"), what });
        }
        for name in self.secrets.keys().filter(|name| !secrets.contains(&name.as_str())) {
            let what = format!("is not known; this kind has the secrets {}", secrets.join(", "));
            self.problems.push(FieldError { field: format!("secrets.{name}"), what });
        }
        self.problems
    }
}

/// What may be shown of each of `names`: whether it is set, and its end when it is long enough to keep the rest secret.
pub(super) fn shown(names: &[&'static str], secrets: &Secrets) -> BTreeMap<&'static str, ShownSecret> {
    let show = |secret: &SecretString| {
        let text = secret.expose_secret();
        let chars = text.chars().count();
        (chars >= 12).then(|| text.chars().skip(chars - 4).collect())
    };
    names
        .iter()
        .map(|name| {
            let secret = secrets.get(*name);
            (*name, ShownSecret { set: secret.is_some(), last4: secret.and_then(show) })
        })
        .collect()
}

/// What may be shown of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSecret {
    /// True when there is one.
    pub set: bool,
    /// Its last four characters, when it has twelve or more.
    pub last4: Option<String>,
}
