//! Hears what other instances made invalid.
//!
//! Every invalidation is an event of a Redis stream, which names the stamp before its own. So an instance that was cut off
//! reads on where it stopped, and knows when something is missing: then it drops its memory. A publish without a memory
//! (`PUBLISH`) could only ever do the latter.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamReadReply};

use super::{L2, Targets};
use crate::cache::clock::ms;

/// Pause before a lost connection is made again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Longest wait for an event before it is asked anew: an answer with none says that there is none.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// An answer may come so much later than asked for.
const GRACE: Duration = Duration::from_secs(1);
/// Events read at once.
const EVENTS_MAX: usize = 512;

/// Who hears.
pub(in crate::cache) trait Listener: Send + Sync + 'static {
    /// The level that is heard through.
    fn l2(&self) -> Option<&L2>;
    /// How long nothing may be heard.
    fn lease(&self) -> Duration;
    /// Something was made invalid; `own`: by this instance.
    fn heard(&self, targets: &Targets, stamp: u64, own: bool);
    /// Something was missed; from now on everything above `since` is told.
    fn missed(&self, since: u64);
    /// All that was told until `asked_at_ms` was heard, up to `stamp`.
    fn in_touch(&self, stamp: u64, asked_at_ms: u64);
    /// Redis answers again: what could not be told before may be told now.
    fn back(&self) -> impl Future<Output = ()> + Send;
    /// Milliseconds, by the cache's clock.
    fn now_ms(&self) -> u64;
}

/// Runs until the listener is gone.
pub(in crate::cache) async fn listen<L: Listener>(listener: Weak<L>) {
    let mut applied = None;
    loop {
        let Some(alive) = listener.upgrade() else { return };
        let Some(l2) = alive.l2() else { return };
        let connected = tokio::time::timeout(super::link::CONNECT_WITHIN, l2.link.another()).await;
        let space = l2.space.clone();
        if let Ok(Ok(connection)) = connected {
            drop(alive);
            // Its end is a lost connection, whatever it says.
            let _lost = follow(&listener, connection, &space, &mut applied).await;
        } else {
            drop(alive);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn follow<L: Listener>(
    listener: &Weak<L>,
    mut connection: MultiplexedConnection,
    space: &str,
    applied: &mut Option<u64>,
) -> Option<()> {
    let log = format!("{space}log");
    let asked_at = listener.upgrade()?.now_ms();
    let seq: Option<u64> = limited(ms(WAIT_MAX), redis::cmd("GET").arg(format!("{space}seq")), &mut connection).await?;
    let seq = seq.unwrap_or_default();
    if applied.is_none_or(|applied| applied > seq) {
        // A beginning, or a Redis that has forgotten everything.
        let alive = listener.upgrade()?;
        alive.missed(seq);
        alive.in_touch(seq, asked_at);
        *applied = Some(seq);
    }
    loop {
        let alive = listener.upgrade()?;
        let wait = ms((alive.lease() / 4).min(WAIT_MAX)).max(20);
        let asked_at = alive.now_ms();
        alive.back().await;
        drop(alive);
        let from = format!("{}-0", applied.unwrap_or_default());
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(EVENTS_MAX).arg("BLOCK").arg(wait).arg("STREAMS").arg(&log).arg(from);
        let heard: Option<StreamReadReply> = limited(wait, &read, &mut connection).await?;
        let alive = listener.upgrade()?;
        let Some(heard) = heard else {
            check(&*alive, &mut connection, space, (applied, asked_at)).await?;
            continue;
        };
        for event in heard.keys.iter().flat_map(|key| &key.ids) {
            apply(&alive, event, applied);
        }
        alive.in_touch(applied.unwrap_or_default(), asked_at);
    }
}

/// Nothing came: is there nothing?
async fn check<L: Listener>(
    alive: &L,
    connection: &mut MultiplexedConnection,
    space: &str,
    (applied, asked_at): (&mut Option<u64>, u64),
) -> Option<()> {
    let seq: Option<u64> = limited(ms(WAIT_MAX), redis::cmd("GET").arg(format!("{space}seq")), connection).await?;
    let seq = seq.unwrap_or_default();
    if *applied == Some(seq) {
        alive.in_touch(seq, asked_at);
    } else if applied.is_some_and(|applied| seq < applied) {
        alive.missed(seq);
        *applied = Some(seq);
    }
    Some(())
}

fn apply<L: Listener>(alive: &Arc<L>, event: &StreamId, applied: &mut Option<u64>) {
    let Some(stamp) = event.id.split('-').next().and_then(|stamp| stamp.parse().ok()) else { return };
    let mut targets = Targets::default();
    let (mut previous, mut own) = (None, false);
    for (name, value) in fields(event) {
        match name {
            "prev" => previous = value.parse().ok(),
            "by" => own = alive.l2().is_some_and(|l2| l2.origin == value),
            "key" => targets.keys.push(value),
            "tag" => targets.tags.push(value),
            "prefix" => targets.prefixes.push(value),
            "all" => targets.all = true,
            _ => {}
        }
    }
    if previous != *applied {
        alive.missed(stamp);
    }
    alive.heard(&targets, stamp, own);
    *applied = Some(stamp);
}

/// `(kind, value)`; a number behind each kind makes them different.
fn fields(event: &StreamId) -> impl Iterator<Item = (&str, String)> {
    event.map.iter().filter_map(|(name, value)| {
        let kind = name.split(':').next().unwrap_or_default();
        Some((kind, String::from_redis_value(value.clone()).ok()?))
    })
}

async fn limited<T: FromRedisValue>(wait_ms: u64, cmd: &redis::Cmd, to: &mut MultiplexedConnection) -> Option<T> {
    let limit = Duration::from_millis(wait_ms) + GRACE;
    tokio::time::timeout(limit, cmd.query_async(to)).await.ok()?.ok()
}
