//! Feeds in which services report, once a window, as ordinary series.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use crate::alerting::Alerting;
use crate::ingest::{Ingest, encode_host};
use crate::rollup::Streams;

/// Until cancelled.
pub(super) async fn feed(
    alerting: Arc<Alerting>,
    (streams, ingest): (Arc<Streams>, Arc<Ingest>),
    cancel: CancellationToken,
) {
    let mut tick = tokio::time::interval(Duration::from_secs(u64::from(streams.width().seconds())));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reports = alerting.reports(streams.width(), Utc::now().timestamp_millis()).await;
    let host = super::host_name();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = cancel.cancelled() => return,
        }
        let now = Utc::now().timestamp_millis();
        let samples = reports.sweep(&streams, now);
        if samples.is_empty() {
            continue;
        }
        if let Err(refusal) = ingest.take_own(encode_host(&samples, &host, now)).await {
            tracing::debug!(reason = refusal.message, "reports of services not taken");
        }
    }
}
