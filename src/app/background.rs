//! What goes on beside the requests: followers, compaction, checkpoints, housekeeping, the host's own measurements.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ingest::{Ingest, encode_host};
use crate::rollup::{Compactor, Streams};
use crate::storage;
use crate::telemetry::HostSampler;
use crate::traces::Traces;

/// How often partitions are made and dropped, and memory of what is gone is given back.
pub(super) const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(300);

pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    config: &Config,
    (streams, traces): (&Arc<Streams>, &Arc<Traces>),
    ingest: &Arc<Ingest>,
    cancel: &CancellationToken,
) {
    super::traces::spawn(tasks, traces, ingest, (config.window, cancel));
    let own = |streams: &Arc<Streams>| (Arc::clone(streams), cancel.clone());
    let (s, c) = own(streams);
    tasks.spawn(async move { s.run_follower(c).await });
    let (s, c) = own(streams);
    tasks.spawn(async move { s.run_lease(c).await });
    tasks.spawn(Compactor::new(Arc::clone(streams)).run(cancel.clone()));
    tasks.spawn(every(config.checkpoint, cancel.clone(), {
        let ingest = Arc::clone(ingest);
        move || {
            let ingest = Arc::clone(&ingest);
            async move { ingest.cut() }
        }
    }));
    let retention = config.retention;
    let house = {
        let (streams, ingest) = (Arc::clone(streams), Arc::clone(ingest));
        move || keep_house(Arc::clone(&streams), Arc::clone(&ingest), retention)
    };
    let c = cancel.clone();
    tasks.spawn(async move {
        // At once too: a server that never runs for long keeps its house as well.
        house().await;
        every(HOUSEKEEPING_EVERY, c, house).await;
    });
    let window = Duration::from_secs(u64::from(config.window.seconds()));
    let (ingest, cancel) = (Arc::clone(ingest), cancel.clone());
    tasks.spawn(sample_host(ingest, window, cancel));
}

/// Runs `work` once each `period` until cancelled.
pub(super) async fn every<F: Future<Output = ()>>(period: Duration, cancel: CancellationToken, work: impl Fn() -> F) {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tokio::select! {
            _ = tick.tick() => work().await,
            () = cancel.cancelled() => return,
        }
    }
}

async fn keep_house(streams: Arc<Streams>, ingest: Arc<Ingest>, retention: storage::Retention) {
    ingest.forget_unused();
    let storage = streams.storage();
    if let Err(error) = storage.ensure_partitions().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "partitions not made");
    }
    match storage.drop_expired(retention).await {
        Ok(0) => {}
        Ok(dropped) => tracing::info!(dropped, "expired partitions dropped"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "partitions not dropped"),
    }
}

/// Feeds the host's measurements in as ordinary series, once a window.
async fn sample_host(ingest: Arc<Ingest>, period: Duration, cancel: CancellationToken) {
    let host = super::host_name();
    let mut sampler = match HostSampler::new() {
        Ok(sampler) => sampler,
        Err(error) => return tracing::warn!(%error, "the host is not measured"),
    };
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = cancel.cancelled() => return,
        }
        let body = encode_host(&sampler.sample(), &host, chrono::Utc::now().timestamp_millis());
        if let Err(refusal) = ingest.take_own(body).await {
            tracing::debug!(reason = refusal.message, "host sample not taken");
        }
    }
}
