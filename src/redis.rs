//! All Redis: it makes things fast and is never believed.
//!
//! Layer 3. Replicas announce their commits over pub/sub, so that others look into the journal at once and not within a
//! second. Nothing here holds what Postgres does not: flushing or losing Redis changes no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use redis::AsyncCommands;
use redis::aio::ConnectionManager;
use tokio::sync::Notify;

/// The channel of announcements.
const CHANNEL: &str = "fastbreak:streams";
/// Least time between two announcements: followers read in batches.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(20);
/// Pause before a lost subscription is made again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// Announcements between replicas.
pub struct FanOut {
    client: redis::Client,
    state: Arc<State>,
}

struct State {
    due: Notify,
    connected: AtomicBool,
}

impl FanOut {
    /// Connects to the Redis at `url`; reconnects by itself from then on.
    ///
    /// # Errors
    /// When it does not answer now.
    pub async fn connect(url: &str) -> Result<Self, redis::RedisError> {
        let client = redis::Client::open(url)?;
        let connection = ConnectionManager::new(client.clone()).await?;
        let state = Arc::new(State { due: Notify::new(), connected: AtomicBool::new(true) });
        tokio::spawn(announce(connection, Arc::clone(&state)));
        Ok(Self { client, state })
    }

    /// Tells the others that a journal has grown; never waits.
    pub fn announce(&self) {
        self.state.due.notify_one();
    }

    /// True when the last announcement went out.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state.connected.load(Ordering::Relaxed)
    }

    /// Calls `wake` at each announcement.
    pub fn on_message(&self, wake: impl Fn() + Send + Sync + 'static) {
        let client = self.client.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = listen(&client, &wake).await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "subscription lost");
                }
                // What was announced in between is found by looking.
                wake();
                tokio::time::sleep(RESUBSCRIBE_AFTER).await;
            }
        });
    }
}

async fn announce(mut connection: ConnectionManager, state: Arc<State>) {
    loop {
        state.due.notified().await;
        let sent: Result<(), _> = connection.publish(CHANNEL, "").await;
        state.connected.store(sent.is_ok(), Ordering::Relaxed);
        tokio::time::sleep(ANNOUNCE_EVERY).await;
    }
}

async fn listen(client: &redis::Client, wake: &(impl Fn() + Sync)) -> Result<(), redis::RedisError> {
    let mut subscription = client.get_async_pubsub().await?;
    subscription.subscribe(CHANNEL).await?;
    let mut messages = subscription.on_message();
    while messages.next().await.is_some() {
        wake();
    }
    Ok(())
}
