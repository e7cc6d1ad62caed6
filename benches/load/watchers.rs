//! Many SDKs that watch the policies of one server: what each costs it, and how soon a change is with all of them.
//!
//! Each has a TCP connection and a stream of its own, as SDKs in processes of their own would, answers what it is sent, and
//! pings as often as a cache with the usual lease of coherence does. All of them share core 1, so the times are those of both
//! sides.

use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::proto::policy_service_client::PolicyServiceClient;
use fastbreak_client::proto::watch_request::Message as Said;
use fastbreak_client::proto::watch_response::Message as Say;
use fastbreak_client::proto::{
    Ack, CachePolicy, CreatePolicyRequest, Hello, Ping, Policy, PolicySelector, UpdatePolicyRequest, WatchRequest,
    policy,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::Effort;
use crate::contenders::{Contender, Field};
use crate::process::Server;
use crate::tables::median;

const POLICY: &str = "bench";
/// A third of the usual lease of coherence.
const PING_EVERY: Duration = Duration::from_millis(3_333);
/// Watchers that are connecting at once.
const OPENING: usize = 64;
const UPDATES: usize = 10;
/// Between two updates: an operator's, not a flood's.
const PAUSE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(120);

/// What the watchers have been told since it was last taken.
#[derive(Default)]
struct Fleet {
    heard: Mutex<Vec<Instant>>,
    all: Notify,
}

impl Fleet {
    fn hear(&self, watchers: usize) {
        let mut heard = self.heard.lock();
        heard.push(Instant::now());
        if heard.len() == watchers {
            self.all.notify_one();
        }
    }

    /// When each was told, once all were.
    async fn take(&self, what: &str) -> Vec<Instant> {
        assert!(timeout(PATIENCE, self.all.notified()).await.is_ok(), "{what}: {} were told", self.heard.lock().len());
        std::mem::take(&mut *self.heard.lock())
    }
}

fn request(message: Said) -> WatchRequest {
    WatchRequest { message: Some(message) }
}

/// One SDK, until the server ends.
async fn watch(address: String, (number, watchers): (usize, usize), fleet: Arc<Fleet>, opening: Arc<Semaphore>) {
    let room = opening.acquire_owned().await;
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await;
    let (say, saying) = mpsc::channel(4);
    let hello = Hello { service: "bench".to_owned(), instance: format!("i-{number}"), ..Hello::default() };
    say.send(request(Said::Hello(hello))).await.expect("there is room");
    let mut client = PolicyServiceClient::new(channel.expect("the server accepts"));
    let told = client.watch(ReceiverStream::new(saying)).await;
    let mut told = told.unwrap_or_else(|status| panic!("watcher {number}: {status}")).into_inner();
    let mut room = Some(room);
    let first = PING_EVERY.mul_f64(number as f64 / watchers as f64);
    let mut ping = interval_at(Instant::now() + first, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pings = 0;
    loop {
        let answer = tokio::select! {
            message = told.message() => {
                // Ends with the server.
                let Ok(Some(response)) = message else { return };
                if let Some(Say::Pong(_)) | None = response.message {
                    continue;
                }
                fleet.hear(watchers);
                drop(room.take());
                Said::Ack(Ack { nonce: response.nonce, ..Ack::default() })
            }
            _ = ping.tick() => {
                pings += 1;
                Said::Ping(Ping { number: pings, lease: None })
            }
        };
        if say.send(request(answer)).await.is_err() {
            return;
        }
    }
}

fn policy_of(update: usize) -> Policy {
    let seconds = 60 + update as i64;
    let cache = CachePolicy { l1_ttl: Some(prost_types::Duration { seconds, nanos: 0 }), ..CachePolicy::default() };
    Policy {
        id: POLICY.to_owned(),
        name: POLICY.to_owned(),
        selector: Some(PolicySelector {
            service: "bench".to_owned(),
            target: "users".to_owned(),
            ..Default::default()
        }),
        kind: Some(policy::Kind::Cache(cache)),
        ..Policy::default()
    }
}

/// Seconds until these parts of the fleet had an update, and until it was acknowledged to whoever made it.
struct FanOut {
    parts: [f64; 3],
    acknowledged: f64,
}

async fn update(client: &mut PolicyServiceClient<Channel>, number: usize, fleet: &Fleet) -> FanOut {
    let began = Instant::now();
    let request = UpdatePolicyRequest { policy: Some(policy_of(number)), ..UpdatePolicyRequest::default() };
    client.update_policy(request).await.expect("updates");
    let acknowledged = began.elapsed().as_secs_f64();
    let mut heard = fleet.take("an update").await;
    heard.sort();
    let last = heard.len() - 1;
    let parts = [0.5, 0.95, 1.0].map(|part| (heard[(last as f64 * part) as usize] - began).as_secs_f64());
    FanOut { parts, acknowledged }
}

/// CPU seconds a second while nothing changes.
async fn idle(server: &Server) -> f64 {
    let (began, before) = (Instant::now(), server.cpu());
    tokio::time::sleep(PING_EVERY * 2).await;
    server.cpu().since(before).own / began.elapsed().as_secs_f64()
}

/// Memory of a watcher, and how soon a change is with all of them.
pub(crate) async fn fan_out(effort: Effort) {
    let watchers = if effort.many < 1_000_000 { 1_000 } else { 10_000 };
    let mut field = Field::default();
    let most = (watchers + 1_000).to_string();
    field.fastbreak(&[("FASTBREAK_MAX_CONNECTIONS", &most), ("FASTBREAK_MAX_CONNECTIONS_PER_ADDRESS", &most)]);
    let Some(server) = field.get(Contender::FastBreak) else { return };
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).expect("an address").connect().await;
    let mut client = PolicyServiceClient::new(channel.expect("the server accepts"));
    let create = CreatePolicyRequest { policy: Some(policy_of(0)), ..CreatePolicyRequest::default() };
    client.create_policy(create).await.expect("creates");
    idle(server).await;
    let (before, alone) = (server.memory(), idle(server).await);

    let (fleet, opening) = (Arc::<Fleet>::default(), Arc::new(Semaphore::new(OPENING)));
    let began = Instant::now();
    for number in 0..watchers {
        let (fleet, opening) = (Arc::clone(&fleet), Arc::clone(&opening));
        tokio::spawn(watch(server.address.clone(), (number, watchers), fleet, opening));
    }
    fleet.take("the first snapshot").await;
    let opened = began.elapsed().as_secs_f64();
    let watched = idle(server).await - alone;
    let open = server.memory();

    let mut runs = Vec::new();
    let mut cpu = Vec::new();
    for number in 1..=UPDATES {
        tokio::time::sleep(PAUSE).await;
        let before = server.cpu();
        runs.push(update(&mut client, number, &fleet).await);
        let spent = server.cpu().since(before);
        cpu.push((spent.own / watchers as f64) * 1e6);
    }
    let after = server.memory();
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / watchers as f64 / 1024.0;
    let of = |read: &dyn Fn(&FanOut) -> f64| median(&mut runs.iter().map(read).collect::<Vec<_>>()) * 1e3;
    let worst = runs.iter().map(|run| run.parts[1]).fold(0.0, f64::max) * 1e3;
    println!("\n### SDKs that watch one server, a connection and a stream each; {UPDATES} updates\n");
    println!(
        "| watchers | opened in s | KiB each | after the updates | CPU while idle, % of a core | update acknowledged ms | \
         half have it ms | 95 % | of the worst update | all | CPU µs each |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    println!(
        "| {watchers} | {opened:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {worst:.0} | {:.0} | {:.0} |",
        each(open),
        each(after),
        watched * 100.0,
        of(&|run| run.acknowledged),
        of(&|run| run.parts[0]),
        of(&|run| run.parts[1]),
        of(&|run| run.parts[2]),
        median(&mut cpu)
    );
}
