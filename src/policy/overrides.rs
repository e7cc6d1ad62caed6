//! Temporary changes of policies, each under a lease: whoever wants one longer renews it, and an instance that hears no more
//! ends it by itself.

use serde_json::json;

use super::house::own;
use super::{Policies, PolicyError, check_change, named};
use crate::model::{Adjustment, Mistakes, Period, Policy, check_lease, longest_lease};
use crate::storage::{Change, NewOverride, OverrideEndRow, OverrideRow};

/// A temporary change as somebody wants it.
#[derive(Clone, Debug)]
pub struct WantedOverride {
    /// Names it; made when empty.
    pub id: String,
    /// Which policy.
    pub policy_id: String,
    /// How.
    pub adjustment: Adjustment,
    /// From now on, or from the renewal.
    pub lease: Period,
    /// The rule that holds it, when one does.
    pub rule_id: Option<String>,
    /// Who, and why.
    pub change: Change,
}

/// A temporary change.
#[derive(Clone, Debug)]
pub struct Override {
    /// As it is kept.
    pub row: OverrideRow,
    /// How the policy is changed.
    pub adjustment: Adjustment,
    /// What the policy that stands is under it alone.
    pub effective: Policy,
}

/// A temporary change that was.
#[derive(Clone, Debug)]
pub struct EndedOverride {
    /// As it is kept.
    pub row: OverrideEndRow,
    /// How the policy was changed.
    pub adjustment: Adjustment,
}

impl Policies {
    /// What an override would come to.
    ///
    /// # Errors
    /// When it is not sound, or there is no such policy.
    pub async fn try_override(&self, wanted: &WantedOverride) -> Result<Policy, PolicyError> {
        let policy = self.one(&wanted.policy_id).await?.policy;
        wanted.adjustment.check()?;
        check_lease(&policy, wanted.lease)?;
        check_change(&wanted.change)?;
        if !wanted.id.is_empty() && wanted.rule_id.is_none() {
            let mut mistakes = Mistakes::default();
            mistakes.id("id", &wanted.id);
            mistakes.done()?;
        }
        Ok(wanted.adjustment.apply(&policy))
    }

    /// Puts an override, or renews the one of that id: as long as the adjustment is the same, it stays whose it was. Another
    /// adjustment takes its place, and the audit keeps both.
    ///
    /// # Errors
    /// When it is not sound, there is no such policy, it has too many overrides, or the id names one of another.
    pub async fn put_override(&self, mut wanted: WantedOverride) -> Result<Override, PolicyError> {
        if wanted.rule_id.is_some() {
            // The rule renews it; a shorter one does as well.
            wanted.lease = wanted.lease.min(longest_lease(&self.one(&wanted.policy_id).await?.policy));
        }
        let effective = self.try_override(&wanted).await?;
        let WantedOverride { mut id, policy_id, adjustment, lease, rule_id, change } = wanted;
        if id.is_empty() {
            id = format!("{:016x}", rand::random::<u64>());
        }
        let new =
            NewOverride { id, policy_id, adjustment: json!(adjustment), lease_ms: lease.millis(), rule_id, change };
        let put = self.storage.override_put(&new).await;
        let row = put.map_err(|error| {
            let of_other = matches!(error, crate::storage::WriteError::Exists);
            PolicyError::of_write(
                error,
                if of_other { format!("override {:?}", new.id) } else { named(&new.policy_id) },
            )
        })?;
        self.metrics.overrides_put.inc();
        self.written.notify_one();
        Ok(Override { row, adjustment, effective })
    }

    /// The overrides whose lease runs, of one policy, or of all when it is empty; the oldest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn overrides(&self, policy: &str) -> Result<Vec<Override>, PolicyError> {
        let policies = self.list().await?;
        let seen = |row: OverrideRow| {
            let adjustment: Adjustment = own("an override", &row.adjustment)?;
            let changed = policies.iter().find(|kept| kept.policy.id == row.policy_id)?;
            let effective = adjustment.apply(&changed.policy);
            Some(Override { row, adjustment, effective })
        };
        let rows = self.storage.override_list().await?;
        Ok(rows.into_iter().filter(|row| policy.is_empty() || row.policy_id == policy).filter_map(seen).collect())
    }

    /// The last hundred overrides of a policy that have ended, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn ended_overrides(&self, policy: &str) -> Result<Vec<EndedOverride>, PolicyError> {
        let seen = |row: OverrideEndRow| {
            let adjustment = own("an override", &row.adjustment)?;
            Some(EndedOverride { row, adjustment })
        };
        Ok(self.storage.override_ends(policy).await?.into_iter().filter_map(seen).collect())
    }

    /// Ends an override now.
    ///
    /// # Errors
    /// When there is none, who or why is too long, or the database is away.
    pub async fn end_override(&self, id: &str, change: &Change) -> Result<(), PolicyError> {
        check_change(change)?;
        if !self.storage.override_end(id, change).await? {
            return Err(PolicyError::Absent(format!("override {id:?}")));
        }
        self.metrics.overrides_ended.inc();
        self.written.notify_one();
        Ok(())
    }
}
