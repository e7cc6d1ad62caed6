//! The receivers as this process last saw them: what is delivered to, also while the database is away.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Map;

use super::outbound::Guard;
use super::receiver::{Kind, Target};
use super::seal::{SealError, Secrets, Vault};
use crate::storage::{ReceiverRow, Storage, StorageError};

/// Why a receiver cannot be told by this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Its secrets are sealed with a key that another replica may have: what waits for it is left alone.
    Sealed(String),
    /// Its settings are not sound.
    Broken(String),
}

/// A receiver of the book.
pub(super) struct Receiver {
    /// As stored.
    pub(super) row: ReceiverRow,
    /// Its kind, when it is a known one.
    pub(super) kind: Option<Kind>,
    /// Ready to be told, or why not. Lives over reloads while the revision stays: connections are pooled in it.
    pub(super) target: Result<Target, Unusable>,
    /// Opened.
    pub(super) secrets: Secrets,
}

impl Receiver {
    pub(super) fn open(row: ReceiverRow, vault: &Vault, guard: &Guard) -> Self {
        let kind = row.kind.parse::<Kind>().ok();
        let (secrets, sealed) = match vault.unseal(&row.id, row.secrets.as_deref()) {
            Ok(secrets) => (secrets, None),
            Err(error @ SealError::OtherKey) => (Secrets::new(), Some(Unusable::Sealed(error.to_string()))),
            Err(error) => (Secrets::new(), Some(Unusable::Broken(error.to_string()))),
        };
        let target = match (kind, sealed) {
            (_, Some(unusable)) => Err(unusable),
            (None, None) => Err(Unusable::Broken(format!("the kind {:?} is not known", row.kind))),
            (Some(kind), None) => {
                let none = Map::new();
                let settings = row.settings.as_object().unwrap_or(&none);
                let trusted = row.origin == super::ENVIRONMENT;
                Target::read(kind, (settings, &secrets), guard, trusted).map_err(|problems| {
                    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    Unusable::Broken(told.join("; "))
                })
            }
        };
        Self { row, kind, target, secrets }
    }

    /// For labels of metrics.
    pub(super) fn kind_name(&self) -> &'static str {
        self.kind.map_or("unknown", Kind::as_str)
    }
}

/// All of them, by id.
#[derive(Default)]
pub(super) struct Book {
    by_id: RwLock<BTreeMap<String, Arc<Receiver>>>,
}

impl Book {
    pub(super) fn get(&self, id: &str) -> Option<Arc<Receiver>> {
        self.by_id.read().get(id).cloned()
    }

    pub(super) fn list(&self) -> Vec<Arc<Receiver>> {
        self.by_id.read().values().cloned().collect()
    }

    /// Reads them anew; what has not changed stays as it is.
    pub(super) async fn reload(&self, storage: &Storage, vault: &Vault, guard: &Guard) -> Result<(), StorageError> {
        let rows = storage.receiver_list().await?;
        let known = self.by_id.read().clone();
        let fresh = rows.into_iter().map(|row| {
            let same = known.get(&row.id).filter(|receiver| receiver.row == row).cloned();
            (row.id.clone(), same.unwrap_or_else(|| Arc::new(noted(Receiver::open(row, vault, guard)))))
        });
        let fresh = fresh.collect();
        *self.by_id.write() = fresh;
        Ok(())
    }
}

/// Logs once what cannot be told.
fn noted(receiver: Receiver) -> Receiver {
    if let Err(Unusable::Sealed(why) | Unusable::Broken(why)) = &receiver.target {
        tracing::warn!(receiver = receiver.row.id, why, "receiver cannot be used");
    }
    receiver
}
