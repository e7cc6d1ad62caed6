//! What the APIs ask: receivers made, changed and tried; deliveries read and resent.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::book::{Receiver, Unusable};
use super::fields::{FieldError, ShownSecret, shown};
use super::outcome::Outcome;
use super::receiver::{Draft, Kind};
use super::seal::SealError;
use super::{API, ENVIRONMENT, Notifier, words};
use crate::error::ErrorCode;
use crate::model::{Notification, NotificationReason};
use crate::storage::{AttemptRow, DeliveryFilter, DeliveryRow, LastDelivery, NewReceiver, ReceiverRow, StorageError};

/// Most receivers.
const RECEIVERS_MAX: usize = 1_000;

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Fields are not as they must be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldError>),
    /// There is no such thing.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// Receiver or delivery.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// Somebody else was first.
    #[error("{0}")]
    Conflict(String),
    /// The environment's receivers are changed in the environment.
    #[error("receiver {0:?} comes from the environment and is changed there")]
    ReadOnly(String),
    /// Over a limit.
    #[error("there are {RECEIVERS_MAX} receivers already, no more are allowed")]
    TooMany,
    /// Secrets cannot be opened or sealed.
    #[error("the secrets of this receiver cannot be used")]
    Seal(#[from] SealError),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl NotifyError {
    /// As the APIs tell it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Fields(_) => ErrorCode::InvalidArgument,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Conflict(_) => ErrorCode::Conflict,
            Self::ReadOnly(_) | Self::Seal(_) => ErrorCode::Unprocessable,
            Self::TooMany => ErrorCode::LimitExceeded,
            Self::Storage(error) => error.code(),
        }
    }
}

/// What a person wants a receiver to be.
#[derive(Clone, Debug, Default)]
pub struct ReceiverChange {
    /// Its kind.
    pub kind: String,
    /// Settings that may be shown; all of them.
    pub settings: Map<String, Value>,
    /// Secrets to set, or to remove; those not named stay.
    pub secrets: BTreeMap<String, Option<SecretString>>,
    /// False when nothing is to be delivered to it; as it was, or true, when not said.
    pub enabled: Option<bool>,
}

/// A receiver as it may be shown.
#[derive(Clone, Debug)]
pub struct ReceiverView {
    /// As stored; its sealed secrets are not for showing.
    pub row: ReceiverRow,
    /// What may be shown of its secrets.
    pub secrets: BTreeMap<&'static str, ShownSecret>,
    /// Why it cannot be used, when it cannot.
    pub problem: Option<String>,
    /// The last delivery that ended.
    pub last_delivery: Option<LastDelivery>,
}

/// How a test went.
#[derive(Clone, Debug)]
pub struct TestOutcome {
    /// What came back.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

fn view(receiver: &Receiver, last: &[LastDelivery]) -> ReceiverView {
    let names = receiver.kind.map_or(&[] as &[_], Kind::secrets);
    let problem = match &receiver.target {
        Ok(_) => None,
        Err(Unusable::Sealed(why) | Unusable::Broken(why)) => Some(why.clone()),
    };
    ReceiverView {
        row: receiver.row.clone(),
        secrets: shown(names, &receiver.secrets),
        problem,
        last_delivery: last.iter().find(|last| last.receiver_id == receiver.row.id).cloned(),
    }
}

fn no_receiver(id: &str) -> NotifyError {
    NotifyError::NotFound { what: "receiver", id: id.to_owned() }
}

impl Notifier {
    fn open_row(&self, row: ReceiverRow) -> Receiver {
        Receiver::open(row, &self.vault, self.outbound.guard())
    }

    async fn find_receiver(&self, id: &str) -> Result<Receiver, NotifyError> {
        let row = self.storage.receiver_find(id).await?;
        row.map(|row| self.open_row(row)).ok_or_else(|| no_receiver(id))
    }

    /// All receivers, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receivers(&self) -> Result<Vec<ReceiverView>, NotifyError> {
        let last = self.storage.receiver_last_deliveries().await?;
        let rows = self.storage.receiver_list().await?;
        Ok(rows.into_iter().map(|row| view(&self.open_row(row), &last)).collect())
    }

    /// One receiver.
    ///
    /// # Errors
    /// [`NotifyError::NotFound`].
    pub async fn receiver(&self, id: &str) -> Result<ReceiverView, NotifyError> {
        let receiver = self.find_receiver(id).await?;
        Ok(view(&receiver, &self.storage.receiver_last_deliveries().await?))
    }

    /// Makes a receiver. One that is there already and is the same is the answer; one that differs is a conflict.
    ///
    /// # Errors
    /// Every mistake in it, or a name that is taken.
    pub async fn create_receiver(
        &self,
        id: &str,
        change: ReceiverChange,
        dry_run: bool,
    ) -> Result<ReceiverView, NotifyError> {
        let draft = self.draft(id, change, None)?;
        let new = self.sealed(&draft)?;
        if dry_run {
            return Ok(self.would_be(new, 1));
        }
        if self.storage.receiver_list().await?.len() >= RECEIVERS_MAX {
            return Err(NotifyError::TooMany);
        }
        if let Some(row) = self.storage.receiver_insert(&new).await? {
            self.receivers_changed();
            return Ok(view(&self.open_row(row), &[]));
        }
        let there = self.find_receiver(id).await?;
        if there.row.origin == API && self.is_as_drafted(&there.row, &draft) {
            return Ok(view(&there, &[]));
        }
        Err(NotifyError::Conflict(format!("there is a receiver {id:?} already")))
    }

    /// Changes a receiver whose revision is still `revision`.
    ///
    /// # Errors
    /// Every mistake in it, or [`NotifyError::Conflict`] when it was changed meanwhile.
    pub async fn update_receiver(
        &self,
        (id, revision): (&str, i64),
        change: ReceiverChange,
        dry_run: bool,
    ) -> Result<ReceiverView, NotifyError> {
        let there = self.writable(id, revision).await?;
        let draft = self.draft(id, change, Some(&there))?;
        let new = self.sealed(&draft)?;
        if dry_run {
            return Ok(self.would_be(new, revision + 1));
        }
        let row = self.storage.receiver_update(revision, &new).await?.ok_or_else(|| stale(id, revision))?;
        self.receivers_changed();
        Ok(view(&self.open_row(row), &[]))
    }

    /// Removes a receiver whose revision is still `revision`, or only checks. What is queued for it is given up.
    ///
    /// # Errors
    /// [`NotifyError::Conflict`] when it was changed meanwhile.
    pub async fn delete_receiver(&self, id: &str, revision: i64, dry_run: bool) -> Result<(), NotifyError> {
        self.writable(id, revision).await?;
        if dry_run {
            return Ok(());
        }
        if !self.storage.receiver_delete(id, revision).await? {
            return Err(stale(id, revision));
        }
        self.receivers_changed();
        Ok(())
    }

    /// Sends a test message now, past the outbox, and tells what came of it.
    ///
    /// # Errors
    /// When there is no such receiver, or it cannot be used.
    pub async fn test_receiver(&self, id: &str) -> Result<TestOutcome, NotifyError> {
        let receiver = self.find_receiver(id).await?;
        let began = Instant::now();
        let now = Utc::now();
        let outcome = match &receiver.target {
            Ok(target) => target.send(&self.outbound, &self.test_message(id, now), None, now).await,
            Err(Unusable::Sealed(why) | Unusable::Broken(why)) => Outcome::refused(None, why),
        };
        Ok(TestOutcome { outcome, took: began.elapsed() })
    }

    /// Deliveries that pass `filter`, newest first, with their attempts.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
    ) -> Result<Vec<(DeliveryRow, Vec<AttemptRow>)>, NotifyError> {
        let rows = self.storage.delivery_list(filter).await?;
        self.with_attempts(rows).await
    }

    /// One delivery with its attempts.
    ///
    /// # Errors
    /// [`NotifyError::NotFound`].
    pub async fn delivery(&self, id: i64) -> Result<(DeliveryRow, Vec<AttemptRow>), NotifyError> {
        let rows = self.storage.delivery_find(id).await?.into_iter().collect();
        let found = self.with_attempts(rows).await?.pop();
        found.ok_or_else(|| NotifyError::NotFound { what: "delivery", id: id.to_string() })
    }

    /// Queues a delivery again, whatever became of it.
    ///
    /// # Errors
    /// [`NotifyError::NotFound`].
    pub async fn resend(&self, id: i64) -> Result<(DeliveryRow, Vec<AttemptRow>), NotifyError> {
        let rows = self.storage.delivery_resend(id).await?.into_iter().collect();
        self.wake();
        let found = self.with_attempts(rows).await?.pop();
        found.ok_or_else(|| NotifyError::NotFound { what: "delivery", id: id.to_string() })
    }

    async fn with_attempts(&self, rows: Vec<DeliveryRow>) -> Result<Vec<(DeliveryRow, Vec<AttemptRow>)>, NotifyError> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let mut by_id: BTreeMap<i64, Vec<AttemptRow>> = BTreeMap::new();
        for attempt in self.storage.delivery_attempts(&ids).await? {
            by_id.entry(attempt.delivery_id).or_default().push(attempt);
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let attempts = by_id.remove(&row.id).unwrap_or_default();
                (row, attempts)
            })
            .collect())
    }

    async fn writable(&self, id: &str, revision: i64) -> Result<Receiver, NotifyError> {
        let there = self.find_receiver(id).await?;
        if there.row.origin == ENVIRONMENT {
            return Err(NotifyError::ReadOnly(id.to_owned()));
        }
        if there.row.revision != revision {
            return Err(stale(id, revision));
        }
        Ok(there)
    }

    /// The change laid over what is there, checked.
    fn draft(&self, id: &str, change: ReceiverChange, there: Option<&Receiver>) -> Result<Draft, NotifyError> {
        let kind: Kind = change.kind.parse().map_err(|error| NotifyError::Fields(vec![error]))?;
        let mut secrets = match there {
            // Those of another kind mean nothing here.
            Some(there) if there.kind == Some(kind) => there.secrets.clone(),
            _ => super::seal::Secrets::new(),
        };
        for (name, secret) in change.secrets {
            match secret {
                Some(secret) => _ = secrets.insert(name, secret),
                None => _ = secrets.remove(&name),
            }
        }
        let enabled = change.enabled.unwrap_or_else(|| there.is_none_or(|there| there.row.enabled));
        let draft = Draft { id: id.to_owned(), kind, settings: change.settings, secrets, enabled };
        let problems = draft.problems(self.outbound.guard(), false);
        if problems.is_empty() { Ok(draft) } else { Err(NotifyError::Fields(problems)) }
    }

    fn sealed(&self, draft: &Draft) -> Result<NewReceiver, NotifyError> {
        Ok(NewReceiver {
            id: draft.id.clone(),
            kind: draft.kind.as_str().to_owned(),
            settings: Value::Object(draft.settings.clone()),
            secrets: self.vault.seal(&draft.id, &draft.secrets)?,
            enabled: draft.enabled,
            origin: API.to_owned(),
        })
    }

    fn would_be(&self, new: NewReceiver, revision: i64) -> ReceiverView {
        let NewReceiver { id, kind, settings, secrets, enabled, origin } = new;
        view(&self.open_row(ReceiverRow { id, kind, settings, secrets, enabled, origin, revision }), &[])
    }

    fn test_message(&self, receiver: &str, now: DateTime<Utc>) -> Notification {
        let id = format!("test-{receiver}-{}", now.timestamp_millis());
        let mut notification = words::sample(true);
        for alert in &mut notification.alerts {
            "FastBreak test: this receiver works".clone_into(&mut alert.rule_name);
            (alert.starts_at, alert.severity) = (now, crate::model::Severity::Info);
            alert.annotations =
                [("summary".to_owned(), "Nothing is wrong. A person tried this receiver.".to_owned())].into();
        }
        Notification {
            receiver: receiver.to_owned(),
            reason: NotificationReason::Test,
            group_key: id.clone(),
            id,
            decided_at: now,
            dashboard_url: self.dashboard_url.clone(),
            ..notification
        }
    }
}

fn stale(id: &str, revision: i64) -> NotifyError {
    NotifyError::Conflict(format!("receiver {id:?} is no longer at revision {revision}; read it and try again"))
}
