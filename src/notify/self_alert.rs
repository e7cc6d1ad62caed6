//! The one alert that needs no database: that the database cannot be reached.
//!
//! It goes to the receivers as last seen. Its id is made of the cluster's id and the minute in which the database was last
//! heard, so every replica sends the same one. Once the database is back, the end is told through the outbox, where the
//! same id is one delivery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Notifier;
use super::book::Receiver;
use super::outcome::Verdict;
use crate::model::{Notification, NotificationReason, NotifiedAlert, Severity};
use crate::storage::NewDelivery;

/// How often a receiver is tried.
const TRIES: u32 = 5;
/// Pause between tries.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// What is known of the database.
pub(super) struct Outage {
    /// When it was last heard, by this process's clock.
    heard: Instant,
    /// And by its own.
    heard_at: Option<DateTime<Utc>>,
    /// The outage that was told, by its minute.
    told: Option<DateTime<Utc>>,
}

impl Outage {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, heard_at: None, told: None }
    }

    /// It answered; returns the minute of the outage that is over, if it was told.
    pub(super) fn answered(&mut self, now: Instant, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        (self.heard, self.heard_at) = (now, Some(at));
        self.told.take()
    }

    /// It did not; returns the minute in which the outage began when it is to be told now.
    pub(super) fn failed(&mut self, now: Instant, after: Duration) -> Option<DateTime<Utc>> {
        if self.told.is_some() || now.duration_since(self.heard) < after {
            return None;
        }
        let began = self.heard_at?;
        let rounded = (began.timestamp() + 30).div_euclid(60) * 60;
        self.told = DateTime::from_timestamp(rounded, 0);
        self.told
    }
}

/// A name of the cluster that tells nothing of the secret it is made of.
pub(super) fn cluster_id(seed: u64) -> String {
    let hash = Sha256::new().chain_update(b"fastbreak cluster\0").chain_update(seed.to_le_bytes()).finalize();
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The notification about the outage that began in minute `began`; over when `ended`.
fn notification(
    notifier: &Notifier,
    receiver: &str,
    began: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
) -> Notification {
    let cluster = &notifier.cluster;
    let minute = began.timestamp() / 60;
    let id = format!("self-{cluster}-{minute}");
    let texts = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let summary = "Exports are refused, rules are not evaluated and nothing is notified until the database is back.";
    let alert = NotifiedAlert {
        fingerprint: id.clone(),
        rule_id: "fastbreak-database-unreachable".to_owned(),
        rule_name: "FastBreak cannot reach its database".to_owned(),
        condition: format!("no answer for {}", humantime::format_duration(notifier.self_alert_after)),
        firing: ended.is_none(),
        severity: Severity::Critical,
        labels: texts(&[("cluster", cluster)]),
        annotations: texts(&[("summary", summary)]),
        value: None,
        threshold: None,
        unit: String::new(),
        starts_at: began,
        ends_at: ended,
        peak: None,
        resolved_reason: ended.map(|_| "recovered".to_owned()),
        acknowledged_by: None,
        chart: Vec::new(),
    };
    Notification {
        id: if ended.is_some() { format!("{id}-resolved") } else { id.clone() },
        receiver: receiver.to_owned(),
        reason: if ended.is_some() { NotificationReason::Resolved } else { NotificationReason::Fired },
        group_key: id,
        group_labels: BTreeMap::new(),
        alerts: vec![alert],
        alerts_left_out: 0,
        decided_at: ended.unwrap_or(began + TimeDelta::from_std(notifier.self_alert_after).unwrap_or_default()),
        dashboard_url: notifier.dashboard_url.clone(),
    }
}

impl Notifier {
    /// The database answered at `at`, its time; ends an outage that was told.
    pub(super) async fn database_answered(&self, outage: &mut Outage, at: DateTime<Utc>) {
        self.metrics.looked("ok");
        let Some(began) = outage.answered(Instant::now(), at) else { return };
        let told = self.book.list().into_iter().filter(|receiver| receiver.row.enabled);
        let ends: Vec<NewDelivery> =
            told.map(|receiver| (&notification(self, &receiver.row.id, began, Some(at))).into()).collect();
        if let Err(error) = self.storage.delivery_enqueue(&ends).await {
            // It answers, and takes nothing yet.
            outage.told = Some(began);
            tracing::warn!(error = &error as &dyn std::error::Error, "the end of the outage is told later");
        }
        self.wake.notify_one();
    }

    /// The database did not answer; tells the receivers once it has been so for long enough.
    pub(super) fn database_failed(self: &Arc<Self>, outage: &mut Outage, attempts: &mut JoinSet<()>) {
        self.metrics.looked("failed");
        let Some(began) = outage.failed(Instant::now(), self.self_alert_after) else { return };
        tracing::error!(since = %began, "the database cannot be reached: telling the receivers as last seen");
        for receiver in self.book.list() {
            if receiver.row.enabled && receiver.target.is_ok() {
                let notifier = Arc::clone(self);
                attempts.spawn(async move { notifier.self_alert(&receiver, began).await });
            }
        }
    }

    async fn self_alert(&self, receiver: &Receiver, began: DateTime<Utc>) {
        let (Ok(target), Some(kind)) = (&receiver.target, receiver.kind) else { return };
        let notification = notification(self, &receiver.row.id, began, None);
        for _ in 0..TRIES {
            let outcome = target.send(&self.outbound, &notification, None, Utc::now()).await;
            self.metrics.self_alerted(kind.as_str(), outcome.verdict.as_str());
            match outcome.verdict {
                Verdict::Retry { after } => tokio::time::sleep(after.unwrap_or(TRY_EVERY).min(TRY_EVERY)).await,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_with_the_same_minute_by_all() {
        let start = Instant::now();
        let after = Duration::from_secs(60);
        let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("a time");
        let (mut a, mut b) = (Outage::new(start), Outage::new(start));
        a.answered(start, at(0));
        b.answered(start, at(1));
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(a.failed(later(59), after), None);
        let told = a.failed(later(61), after);
        assert!(told.is_some_and(|minute| minute.timestamp() % 60 == 0));
        assert_eq!(b.failed(later(62), after), told);
        assert_eq!(a.failed(later(70), after), None);
        assert_eq!(a.answered(later(80), at(80)), told);
        assert_eq!(a.answered(later(81), at(81)), None);
    }

    #[test]
    fn a_database_never_heard_is_not_ours_to_tell_of() {
        let start = Instant::now();
        assert_eq!(Outage::new(start).failed(start + Duration::from_secs(600), Duration::from_secs(60)), None);
    }
}
