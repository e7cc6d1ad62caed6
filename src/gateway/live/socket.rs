//! One client's socket.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use serde_json::json;
use tokio::time::{interval, timeout};
use tokio_tungstenite::tungstenite;

use super::Place;
use super::feed::Feed;
use super::protocol::{self, Ending, Rate, Request, Resume, Wanted};
use super::topic::Topic;

/// Most topics of one client.
const SUBSCRIPTIONS_MAX: usize = 50;
/// How long a frame may take to leave.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(10);
/// A client from which nothing is heard for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Changes within this time go out together.
const GATHER: Duration = Duration::from_millis(100);

struct Subscription {
    feed: Arc<Feed>,
    /// Up to where the client has it.
    seq: Option<u64>,
}

struct Client {
    place: Place,
    subscriptions: Vec<Subscription>,
    rate: Rate,
    heard: Instant,
}

/// Why a socket is left: with a close frame, or without a word since nobody listens.
enum Left {
    Close(Ending),
    Gone,
}

/// Serves a client until it leaves, breaks a rule, or the server drains.
pub(super) async fn serve(mut socket: WebSocket, place: Place) {
    let now = Instant::now();
    let mut client = Client { place, subscriptions: Vec::new(), rate: Rate::new(now), heard: now };
    let Err(left) = client.run(&mut socket).await else { return };
    if let Left::Close(ending) = left {
        client.place.0.live.metrics.closed.get_or_create(&[("code", ending.code)]).inc();
        let _gone = timeout(WRITE_DEADLINE, socket.send(Message::Close(Some(ending.into())))).await;
    }
}

impl Client {
    async fn run(&mut self, socket: &mut WebSocket) -> Result<(), Left> {
        let state = Arc::clone(&self.place.0);
        let hello = json!({
            "kind": "hello",
            "instance": state.live.instance,
            "windowSeconds": state.facts.window.seconds(),
        });
        send(socket, Message::Text(hello.to_string().into())).await?;
        let (mut changed, mut ping, mut gather) = (state.live.board.watch(), interval(PING_EVERY), interval(GATHER));
        gather.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = socket.recv() => match message {
                    Some(message) => self.take(message)?,
                    None => return Ok(()),
                },
                _ = gather.tick() => if changed.has_changed().unwrap_or(false) || self.is_new() {
                    changed.mark_unchanged();
                    self.tell(socket).await?;
                },
                _ = ping.tick() => {
                    if self.heard.elapsed() > SILENCE_MAX {
                        return Err(Left::Gone);
                    }
                    send(socket, Message::Ping(Bytes::new())).await?;
                }
                () = state.live.drain.cancelled() => return Err(Left::Close(Ending::restart())),
            }
        }
    }

    /// True when a topic was subscribed to whose items were not yet sent.
    fn is_new(&self) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.seq.is_none())
    }

    fn take(&mut self, message: Result<Message, axum::Error>) -> Result<(), Left> {
        let now = Instant::now();
        self.heard = now;
        match message {
            Ok(Message::Text(text)) => {
                self.rate.message(now).map_err(Left::Close)?;
                self.answer(protocol::parse(&text).map_err(Left::Close)?).map_err(Left::Close)
            }
            Ok(Message::Binary(_)) => Err(Left::Close(Ending::invalid_text())),
            Ok(Message::Ping(_) | Message::Pong(_)) => self.rate.message(now).map_err(Left::Close),
            Ok(Message::Close(_)) => Err(Left::Gone),
            Err(error) => Err(broken(&error)),
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), Ending> {
        match request {
            Request::Unsubscribe { topics } => {
                self.subscriptions.retain(|one| !topics.iter().any(|topic| topic == one.feed.topic()));
                Ok(())
            }
            Request::Subscribe { topics } => topics.into_iter().try_for_each(|wanted| self.subscribe(wanted)),
        }
    }

    fn subscribe(&mut self, Wanted { topic: text, resume }: Wanted) -> Result<(), Ending> {
        let topic: Topic = text.parse().map_err(|()| Ending::policy(format!("unknown topic {text:?}")))?;
        self.subscriptions.retain(|one| one.feed.topic() != text);
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Ending::over_limit(format!("more than {SUBSCRIPTIONS_MAX} subscriptions")));
        }
        let live = &self.place.0.live;
        let feed = live.feed(&topic).ok_or_else(|| Ending::over_limit("too many different topics"))?;
        let own = |resume: Resume| (resume.instance == live.instance).then_some(resume.seq);
        self.subscriptions.push(Subscription { feed, seq: resume.and_then(own) });
        Ok(())
    }

    /// Sends what is new; what was published meanwhile goes out the next time, once.
    async fn tell(&mut self, socket: &mut WebSocket) -> Result<(), Left> {
        for subscription in &mut self.subscriptions {
            let Some((seq, frames)) = subscription.feed.frames(subscription.seq) else { continue };
            for frame in frames.iter() {
                send(socket, Message::Text(frame.clone())).await?;
                self.place.0.live.metrics.frames.inc();
            }
            subscription.seq = Some(seq);
        }
        Ok(())
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Left> {
    match timeout(WRITE_DEADLINE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Left::Gone),
    }
}

/// What a frame that cannot be read means.
fn broken(error: &axum::Error) -> Left {
    let cause = error.source().and_then(|source| source.downcast_ref::<tungstenite::Error>());
    match cause {
        Some(tungstenite::Error::Capacity(_)) => Left::Close(Ending::too_big(None)),
        Some(tungstenite::Error::Utf8(_)) => Left::Close(Ending::invalid_text()),
        _ => Left::Gone,
    }
}
