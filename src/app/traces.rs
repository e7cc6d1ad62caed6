//! What traces need in the background: room kept, the service graph fed in.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::background::every;
use crate::ingest::{Ingest, encode_edges};
use crate::model::Width;
use crate::traces::Traces;

/// How often the room that traces take is looked at: they may come fast.
const HOUSE_EVERY: Duration = Duration::from_secs(60);

pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    traces: &Arc<Traces>,
    ingest: &Arc<Ingest>,
    (window, cancel): (Width, &CancellationToken),
) {
    let (kept, end) = (Arc::clone(traces), cancel.clone());
    let house = move || keep_house(Arc::clone(&kept));
    tasks.spawn(async move {
        // At once too: a server that never runs for long keeps its house as well.
        house().await;
        every(HOUSE_EVERY, end, house).await;
    });
    let rooms = (Arc::clone(traces), Arc::clone(ingest));
    let period = Duration::from_secs(u64::from(window.seconds()));
    tasks.spawn(every(period, cancel.clone(), move || feed_edges(rooms.clone())));
}

async fn keep_house(traces: Arc<Traces>) {
    if let Err(error) = traces.keep_house().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "old traces are not dropped now");
    }
}

/// Feeds the calls between services in as ordinary series.
async fn feed_edges((traces, ingest): (Arc<Traces>, Arc<Ingest>)) {
    let edges = traces.take_edges();
    if edges.is_empty() {
        return;
    }
    if let Err(refusal) = ingest.take_own(encode_edges(&edges)).await {
        tracing::debug!(reason = refusal.message, "service graph not taken now");
        traces.give_back_edges(edges);
    }
}
