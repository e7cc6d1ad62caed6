//! Receivers: the kinds, what each is told, and one way to tell it.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::email::{self, Email};
use super::fields::{FieldError, Fields};
use super::outbound::{CALL_TIMEOUT, Guard, Outbound, before};
use super::outcome::Outcome;
use super::pagerduty::{self, PagerDuty};
use super::seal::Secrets;
use super::slack::{self, Slack};
use super::teams::{self, Teams};
use super::telegram::{self, Telegram};
use super::webhook::{self, Webhook};
use crate::model::Notification;

/// Longest name of a receiver, in bytes.
const ID_BYTES_MAX: usize = 64;

/// The kinds of receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// SMTP.
    Email,
    /// Standard Webhooks.
    Webhook,
    /// Slack, by webhook or bot.
    Slack,
    /// PagerDuty Events v2.
    PagerDuty,
    /// Microsoft Teams.
    Teams,
    /// Telegram Bot API.
    Telegram,
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Email, Self::Webhook, Self::Slack, Self::PagerDuty, Self::Teams, Self::Telegram];

    /// As JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::PagerDuty => "pagerduty",
            Self::Teams => "teams",
            Self::Telegram => "telegram",
        }
    }

    /// The settings that are sealed and never shown.
    #[must_use]
    pub const fn secrets(self) -> &'static [&'static str] {
        match self {
            Self::Email => email::SECRETS,
            Self::Webhook => webhook::SECRETS,
            Self::Slack => slack::SECRETS,
            Self::PagerDuty => pagerduty::SECRETS,
            Self::Teams => teams::SECRETS,
            Self::Telegram => telegram::SECRETS,
        }
    }

    /// How long telling it may take in all.
    pub(super) const fn deadline(self) -> Duration {
        match self {
            Self::Email => email::MAIL_TIMEOUT,
            _ => CALL_TIMEOUT,
        }
    }
}

impl FromStr for Kind {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            FieldError { field: "kind".to_owned(), what: format!("must be one of {}, not {text:?}", known.join(", ")) }
        })
    }
}

/// What a receiver is to be, before it is checked.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The name by which rules and routes mean it.
    pub id: String,
    /// Its kind.
    pub kind: Kind,
    /// Settings that may be shown.
    pub settings: Map<String, Value>,
    /// The others.
    pub secrets: Secrets,
    /// False when nothing is to be delivered to it.
    pub enabled: bool,
}

impl Draft {
    /// Every mistake in it. `trusted` when the operator wrote it.
    #[must_use]
    pub fn problems(&self, guard: &Guard, trusted: bool) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX || !self.id.chars().all(sound) {
            let what = format!("must be 1 to {ID_BYTES_MAX} of a-z, 0-9, dot, underscore and hyphen");
            problems.push(FieldError { field: "id".to_owned(), what });
        }
        if let Err(more) = Target::read(self.kind, (&self.settings, &self.secrets), guard, trusted) {
            problems.extend(more);
        }
        problems
    }
}

/// A receiver ready to be told.
pub(super) enum Target {
    Email(Email),
    Webhook(Webhook),
    Slack(Slack),
    PagerDuty(PagerDuty),
    Teams(Teams),
    Telegram(Telegram),
}

impl Target {
    /// Reads settings and secrets, and tells every mistake in them.
    pub(super) fn read(
        kind: Kind,
        (settings, secrets): (&Map<String, Value>, &Secrets),
        guard: &Guard,
        trusted: bool,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::new(settings, secrets, guard);
        let target = match kind {
            Kind::Email => Email::read(&mut fields, trusted).map(Self::Email),
            Kind::Webhook => Webhook::read(&mut fields).map(Self::Webhook),
            Kind::Slack => Slack::read(&mut fields).map(Self::Slack),
            Kind::PagerDuty => PagerDuty::read(&mut fields).map(Self::PagerDuty),
            Kind::Teams => Teams::read(&mut fields).map(Self::Teams),
            Kind::Telegram => Telegram::read(&mut fields).map(Self::Telegram),
        };
        let problems = fields.finish(kind.secrets());
        target.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// True when what the group's earlier message is called is of use.
    pub(super) const fn edits(&self) -> bool {
        matches!(self, Self::Slack(slack) if slack.edits())
    }

    /// Tells it once. `open` is what it calls the group's earlier message.
    pub(super) async fn send(
        &self,
        outbound: &Outbound,
        notification: &Notification,
        open: Option<&str>,
        now: DateTime<Utc>,
    ) -> Outcome {
        match self {
            Self::Email(email) => {
                let deadline = Instant::now() + email::MAIL_TIMEOUT;
                let late = || Outcome::retry(None, None, "the mail server took too long");
                before(deadline, email.send(outbound.guard(), notification)).await.unwrap_or_else(late)
            }
            Self::Webhook(webhook) => webhook.send(outbound, notification, now).await,
            Self::Slack(slack) => slack.send(outbound, notification, open).await,
            Self::PagerDuty(pagerduty) => pagerduty.send(outbound, notification).await,
            Self::Teams(teams) => teams.send(outbound, notification).await,
            Self::Telegram(telegram) => telegram.send(outbound, notification).await,
        }
    }
}
