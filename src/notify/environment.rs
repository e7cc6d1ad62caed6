//! The receivers that the environment names: made anew at each start, read only afterwards.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::receiver::Draft;
use super::seal::Secrets;
use super::{ENVIRONMENT, Notifier, OpenError};
use crate::storage::{NewReceiver, ReceiverRow};

impl Notifier {
    /// Makes, changes and removes rows until they are what the environment says. A receiver that a person made under the
    /// same name stays: what they typed is nowhere else.
    pub(super) async fn apply_environment(&self, drafts: &[Draft]) -> Result<(), OpenError> {
        for draft in drafts {
            let new = NewReceiver {
                id: draft.id.clone(),
                kind: draft.kind.as_str().to_owned(),
                settings: Value::Object(draft.settings.clone()),
                secrets: self.vault.seal(&draft.id, &draft.secrets)?,
                enabled: draft.enabled,
                origin: ENVIRONMENT.to_owned(),
            };
            match self.storage.receiver_find(&draft.id).await? {
                // Another replica may be first; then it is the same.
                None => _ = self.storage.receiver_insert(&new).await?,
                Some(row) if row.origin != ENVIRONMENT => {
                    tracing::warn!(receiver = row.id, "made by a person: the environment's settings are not used");
                }
                Some(row) if self.is_as_drafted(&row, draft) => {}
                Some(row) => _ = self.storage.receiver_update(row.revision, &new).await?,
            }
        }
        for row in self.storage.receiver_list().await? {
            if row.origin == ENVIRONMENT && !drafts.iter().any(|draft| draft.id == row.id) {
                self.storage.receiver_delete(&row.id, row.revision).await?;
                tracing::info!(receiver = row.id, "no longer in the environment: removed");
            }
        }
        Ok(())
    }

    pub(super) fn is_as_drafted(&self, row: &ReceiverRow, draft: &Draft) -> bool {
        let same = |stored: &Secrets| {
            stored.len() == draft.secrets.len()
                && stored.iter().all(|(name, secret)| {
                    draft.secrets.get(name).is_some_and(|new| new.expose_secret() == secret.expose_secret())
                })
        };
        row.kind == draft.kind.as_str()
            && row.enabled == draft.enabled
            && row.settings.as_object() == Some(&draft.settings)
            && self.vault.unseal(&row.id, row.secrets.as_deref()).is_ok_and(|stored| same(&stored))
    }
}
