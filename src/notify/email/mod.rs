//! Email: settings, and one message to all recipients over a pooled SMTP connection.

mod answers;
mod message;
mod smtp;

use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::{Address, AsyncTransport};
use secrecy::SecretString;

use super::fields::Fields;
use super::outbound::Guard;
use super::outcome::{Outcome, Verdict};
use crate::model::Notification;
use answers::Answers;
use smtp::{Relay, TlsMode, Transport};

pub(super) const SECRETS: &[&str] = &["password"];
/// Most recipients of one receiver.
const RECIPIENTS_MAX: usize = 50;
/// How long a mail may take in all: SMTP is a conversation, and some servers are slow on purpose.
pub(super) const MAIL_TIMEOUT: Duration = Duration::from_secs(25);

/// An email receiver's settings.
pub(super) struct Email {
    relay: Relay,
    from: Mailbox,
    to: Vec<Mailbox>,
    subject: Option<String>,
    text: Option<String>,
    answers: Answers,
}

impl Email {
    /// `trusted` when the operator named the server: it may then be anywhere.
    pub(super) fn read(fields: &mut Fields<'_>, trusted: bool) -> Option<Self> {
        let host = fields.required("host");
        let port = fields.port("port", 587);
        let tls = TlsMode::read(fields.choice("tls", TlsMode::NAMES), port);
        let credentials = credentials(fields);
        let from = mailbox(fields, "from");
        let to = recipients(fields);
        let subject = fields.template("subjectTemplate");
        let text = fields.template("textTemplate");
        let relay = Relay::new((host, port), tls, credentials, trusted);
        Some(Self { relay, from: from?, to, subject, text, answers: Answers::default() })
    }

    pub(super) async fn send(&self, guard: &Guard, notification: &Notification) -> Outcome {
        let mail = message::Mail {
            from: &self.from,
            to: &self.to,
            subject: self.subject.as_deref(),
            text: self.text.as_deref(),
        };
        let bytes = match mail.write(notification) {
            Ok(bytes) => bytes,
            Err(error) => return Outcome::refused(None, &error.to_string()),
        };
        match self.relay.transport(guard, self.from.email.domain()).await {
            Ok(transport) => self.hand_over(&transport, &notification.id, &bytes).await,
            Err(outcome) => outcome,
        }
    }

    /// One recipient that is refused makes the server refuse the mail to all: then each gets it alone. Who answered is not
    /// asked again when the mail is tried again, be it that another is away or that there was no time.
    async fn hand_over(&self, transport: &Transport, id: &str, mail: &[u8]) -> Outcome {
        let address = |at: usize| self.to.get(at).map(|to| to.email.clone());
        let missing = self.answers.missing(id, self.to.len());
        if missing.len() == self.to.len() {
            let everybody: Vec<Address> = missing.iter().copied().filter_map(address).collect();
            match self.hand_to(transport, &everybody, mail).await {
                Err(outcome) if everybody.len() > 1 && is_about_a_recipient(&outcome) => {}
                Ok(outcome) | Err(outcome) => return outcome,
            }
        }
        let mut failed = Vec::new();
        for (at, one) in missing.into_iter().filter_map(|at| Some((at, address(at)?))) {
            let (Ok(outcome) | Err(outcome)) = self.hand_to(transport, &[one], mail).await;
            if !matches!(outcome.verdict, Verdict::Retry { .. }) {
                self.answers.note(id, at, outcome);
                continue;
            }
            let goes_on = is_about_a_recipient(&outcome);
            failed.push((at, outcome));
            if !goes_on {
                break;
            }
        }
        self.answers.conclude(id, failed, |at| address(at).map_or_else(String::new, |address| address.to_string()))
    }

    async fn hand_to(&self, transport: &Transport, to: &[Address], mail: &[u8]) -> Result<Outcome, Outcome> {
        let envelope = Envelope::new(Some(self.from.email.clone()), to.to_vec())
            .map_err(|error| Outcome::refused(None, &error.to_string()))?;
        match transport.send_raw(&envelope, mail).await {
            Ok(response) => Ok(Outcome::sent(response.code().into(), None)),
            Err(error) => Err(self.relay.failed(&error)),
        }
    }
}

/// Whether the others may fare better: not when the relay is away or has no time for anybody.
fn is_about_a_recipient(outcome: &Outcome) -> bool {
    outcome.verdict == Verdict::Refused || matches!(outcome.status, Some(450..=452))
}

fn credentials(fields: &mut Fields<'_>) -> Option<(String, SecretString)> {
    let username = fields.text("username");
    let password = fields.secret("password");
    match (username, password) {
        (Some(username), Some(password)) => Some((username, password)),
        (None, None) => None,
        (Some(_), None) => {
            fields.problem("username", "needs a password");
            None
        }
        (None, Some(_)) => {
            fields.problem("username", "is missing beside a password");
            None
        }
    }
}

fn mailbox(fields: &mut Fields<'_>, name: &'static str) -> Option<Mailbox> {
    let text = fields.required(name);
    if text.is_empty() {
        return None;
    }
    text.parse().map_err(|error| fields.problem(name, format!("is no mail address: {error}"))).ok()
}

fn recipients(fields: &mut Fields<'_>) -> Vec<Mailbox> {
    let mut out = Vec::new();
    for text in fields.list("recipients", RECIPIENTS_MAX) {
        match text.trim().parse() {
            Ok(mailbox) => out.push(mailbox),
            Err(error) => fields.problem("recipients", format!("has {text:?}, which is no mail address: {error}")),
        }
    }
    out
}
