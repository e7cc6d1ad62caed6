//! Delivery of notifications: the outbox in, messages to people and machines out.
//!
//! Layer 6. `alerting` decides who is told and writes one row of `deliveries` for each receiver in the transaction of the
//! transition; here those rows are delivered. The two rooms meet in that table and nowhere else.
//!
//! # From a row to a message
//!
//! 1. *Look.* Every half second, and at once when [`Notifier::wake`] is called, the loop asks which receivers have something
//!    queued. That answer is also the heartbeat of the database.
//! 2. *Claim.* For each receiver with a free slot (4 at once, 256 in all) due rows are taken with `FOR UPDATE SKIP LOCKED`:
//!    the lease epoch goes up by one, the lease lives 15 s (30 s for email). Only the oldest queued row of a group is ever
//!    taken, so "resolved" cannot overtake "fired".
//! 3. *Begin.* One statement checks epoch and lease by the database's clock, counts the attempt, and makes the lease fresh.
//!    No row, no sending. From here a deadline runs that is shorter than the lease, and every step of the call looks at the
//!    clock first: a process that was stopped and goes on does not send under a lease that it has lost.
//! 4. *Send.* The receiver's kind renders and calls. Webhooks and chats go through one guarded HTTP client
//!    ([`Guard`] says where it may go), mail through a pooled SMTP connection to an address that the same guard chose.
//! 5. *Record.* Outcome and attempt are written in one statement that names the epoch. When the database is away just
//!    then it is tried for a minute: what was sent must not be sent again for that.
//!
//! # Once, or again with the same name
//!
//! The notification's id is a function of what is told. It is `webhook-id`, the left side of `Message-ID`, and the group's
//! key is PagerDuty's `dedup_key`. A sender that dies, or loses the database, between sending and recording leaves
//! a row whose lease lapses; another sends again under the same id. Nothing else makes a duplicate. An attempt whose outcome was never told stays in the log
//! as one that was lost with its sender.
//!
//! # When it does not arrive
//!
//! 408, 429, 5xx, a timeout or a broken connection are tried again for 24 h: 5 s, 30 s, 2 min, 10 min, 30 min, then every
//! hour, each wait random up to that (full jitter), `Retry-After` kept to. Any other 4xx is refused for good; 410 also
//! disables the receiver. What is given up is kept as `dead`, counted, logged and shown, and can be resent, which begins
//! another 24 h. Nothing goes to another receiver by itself. Rows live 90 days.
//!
//! # Secrets
//!
//! URLs of webhooks, tokens, passwords and signing keys are sealed with XChaCha20-Poly1305 under a key from
//! `FASTBREAK_SECRET_KEY`, or from a file of mode 0600 that the first start makes in the data directory. Replicas on one
//! database need one key: a receiver sealed with another key is left to the replicas that can open it. Errors, attempts and
//! logs name scheme and host, never a path.
//!
//! # When the database is away
//!
//! After 60 s without it, the receivers as last seen get one alert about that, with an id that all replicas share; its end
//! goes through the outbox.

mod addresses;
mod admin;
mod backoff;
mod book;
mod chart;
mod counters;
mod deliver;
mod email;
mod environment;
mod fields;
mod outbound;
mod outcome;
mod pagerduty;
mod receiver;
mod seal;
mod self_alert;
mod slack;
mod teams;
mod telegram;
mod template;
mod webhook;
mod words;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;

pub use admin::{NotifyError, ReceiverChange, ReceiverView, TestOutcome};
pub use counters::NotifyMetrics;
pub use fields::{FieldError, ShownSecret};
pub use outbound::Guard;
pub use outcome::{Outcome, Verdict};
pub use receiver::{Draft, Kind};
pub use seal::{KEY_BYTES_MIN, SealError};

use crate::storage::{Storage, StorageError};
use book::Book;
use outbound::Outbound;
use seal::Vault;

/// Origin of receivers that the environment configures.
pub const ENVIRONMENT: &str = "environment";
/// Origin of receivers that people make.
const API: &str = "api";

/// What delivery needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where notifications may go.
    pub guard: Guard,
    /// The database may be away for so long before the receivers are told.
    pub self_alert_after: Duration,
    /// Key of the secrets; a file in `data_dir` without it.
    pub secret_key: Option<SecretString>,
    /// Where the key file is.
    pub data_dir: PathBuf,
    /// Receivers that the environment names.
    pub environment: Vec<Draft>,
}

/// Why delivery cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database is away.
    #[error("the receivers cannot be read")]
    Storage(#[from] StorageError),
    /// The key cannot be had.
    #[error("secrets cannot be sealed")]
    Seal(#[from] SealError),
    /// The HTTP client cannot be made.
    #[error("no HTTP client")]
    Client(#[from] reqwest::Error),
}

/// Receivers and their deliveries.
pub struct Notifier {
    storage: Storage,
    vault: Vault,
    outbound: Outbound,
    book: Book,
    wake: Notify,
    /// The book is older than a change made here.
    stale: AtomicBool,
    /// Names this process in leases and attempts.
    holder: String,
    dashboard_url: String,
    /// The same on every replica.
    cluster: String,
    self_alert_after: Duration,
    /// What is counted here.
    pub metrics: NotifyMetrics,
}

impl Notifier {
    /// Opens the vault, makes the environment's receivers, reads all of them. `holder` names this process.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        storage: Storage,
        config: Config,
        holder: String,
        dashboard_url: String,
    ) -> Result<Self, OpenError> {
        let notifier = Self {
            vault: Vault::open(config.secret_key.as_ref(), &config.data_dir)?,
            outbound: Outbound::new(config.guard)?,
            book: Book::default(),
            wake: Notify::new(),
            stale: AtomicBool::new(false),
            holder,
            dashboard_url,
            cluster: self_alert::cluster_id(storage.journal_seed().await?),
            self_alert_after: config.self_alert_after,
            metrics: NotifyMetrics::default(),
            storage,
        };
        notifier.apply_environment(&config.environment).await?;
        notifier.book.reload(&notifier.storage, &notifier.vault, notifier.outbound.guard()).await?;
        Ok(notifier)
    }

    /// Looks at the outbox now: something was queued.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The receivers were changed here: reads them before the next claim.
    fn receivers_changed(&self) {
        self.stale.store(true, Ordering::Relaxed);
        self.wake();
    }
}
