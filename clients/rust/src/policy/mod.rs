//! Policies, watched while the service runs.
//!
//! The server gives a snapshot and then every change. What is wrong is refused with the reason, and what ran before goes on.
//! A change that an alert made lasts for its lease, counted here, and ends here, also when the server is gone. The last good
//! policies are kept on disk for a start without the server.
//!
//! | module | what it does |
//! | --- | --- |
//! | `target` | what a policy can be given to; which is for whom |
//! | `convert` | from the wire, with defaults and checks |
//! | `state` | what is here, and until when; pure |
//! | `session` | one connection |
//! | `disk` | what is kept |
//! | `batcher` | a batcher as a target |
//! | `cache` | a cache as a target |

mod batcher;
mod cache;
mod convert;
mod disk;
mod session;
mod state;
mod target;

pub use target::{Assigned, Kind, Pending, Policy, Target, Warmed};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::batcher::{Batcher, Count, Process};
use crate::cache::{Cache, Source};
use state::State;

/// The greatest wait before the second try to connect; it doubles with each.
const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// The greatest wait before any.
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// Who asks for policies.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`: the same as in what is exported.
    pub instance: String,
    /// Of the service.
    pub version: String,
    /// Such as region; policies may choose by them.
    pub labels: BTreeMap<String, String>,
    /// Sent as `authorization`.
    pub token: Option<AsciiMetadataValue>,
    /// Where the last good policies are kept; nowhere without.
    pub file: Option<PathBuf>,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections that were tried.
    pub connections: Count,
    /// Messages that came.
    pub messages: Count,
    /// Of them, those that were answered with yes.
    pub acknowledged: Count,
    /// Policies that were refused.
    pub refused: Count,
    /// Invalidations that were applied.
    pub invalidations: Count,
    /// Times that memory was dropped since an invalidation was missed.
    pub gaps: Count,
    /// Overrides whose lease ended here.
    pub leases_ended: Count,
    /// Times that the policies could not be kept on disk.
    pub disk_failures: Count,
}

/// A target and what it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub target: String,
    /// None: as in the code.
    pub assigned: Option<Assigned>,
}

/// How the watcher does.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The server gave its snapshot and is heard.
    pub connected: bool,
    /// Why the last connection ended.
    pub error: Option<String>,
    /// Every target.
    pub targets: Vec<Running>,
}

struct Shared {
    who: Identity,
    state: Mutex<State>,
    /// `(connected, why the last connection ended)`.
    link: Mutex<(bool, Option<String>)>,
    stats: Stats,
    /// A target came.
    added: Notify,
    /// Something may end earlier than before.
    ends: Notify,
    /// What is on disk is not what is here.
    dirty: Notify,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Shared {
    fn changed(&self) {
        self.ends.notify_one();
        self.dirty.notify_one();
    }

    fn greeted(&self) {
        *self.link.lock() = (true, None);
        self.changed();
    }

    /// Whether it is to end before `wait` is over.
    async fn is_stopped_within(&self, wait: impl Future<Output = ()>) -> bool {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            () = wait => false,
        }
    }
}

/// Ends the tasks when the last handle goes.
struct Hand {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// The policies of this instance; cheap to clone. The last clone that goes ends the watching.
#[derive(Clone)]
pub struct Policies(Arc<Hand>);

/// Does not keep the watching up.
#[derive(Clone)]
pub struct WeakPolicies(Weak<Hand>);

impl WeakPolicies {
    /// The policies, as long as a handle of them is there.
    #[must_use]
    pub fn upgrade(&self) -> Option<Policies> {
        self.0.upgrade().map(Policies)
    }
}

impl Policies {
    /// Watches over `channel`, which may be one that is not connected yet. To be called within the runtime.
    #[must_use]
    pub fn start(who: Identity, channel: Channel) -> Self {
        let shared = Arc::new(Shared {
            who,
            state: Mutex::default(),
            link: Mutex::default(),
            stats: Stats::default(),
            added: Notify::new(),
            ends: Notify::new(),
            dirty: Notify::new(),
            stop: tokio::sync::watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(Arc::clone(&shared), channel));
        tasks.spawn(end_leases(Arc::clone(&shared)));
        tasks.spawn(keep(Arc::clone(&shared)));
        Self(Arc::new(Hand { shared, tasks: Mutex::new(tasks) }))
    }

    /// Gives `target` the policies that are for it, now and later, until it is gone.
    pub fn add(&self, target: Arc<dyn Target>) {
        let name = target.name().to_owned();
        match self.0.shared.state.lock().add(target) {
            Ok(true) => {}
            Ok(false) => tracing::warn!(name, "there are too many targets; it runs as its code says"),
            Err(why) => tracing::warn!(name, %why, "a policy is not applied; it runs as its code says"),
        }
        self.0.shared.added.notify_one();
    }

    /// Gives `batcher` the policies for that name. The policy that it has now is the one that it goes back to.
    pub fn batcher<P: Process>(&self, name: &str, batcher: &Batcher<P>) {
        self.add(batcher::target(name, batcher));
    }

    /// Gives `cache` the policies for that key space. The policy that it has now is the one that it goes back to. Memory
    /// that it has already is dropped, so that no invalidation from before counts in it.
    pub fn cache<S: Source>(&self, name: &str, cache: &Cache<S>) {
        self.add(cache::target(name, cache));
    }

    /// What was done until now.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.0.shared.stats
    }

    /// What runs, and whether the server is heard.
    #[must_use]
    pub fn status(&self) -> Status {
        let (connected, error) = self.0.shared.link.lock().clone();
        let state = self.0.shared.state.lock();
        let running = state.running().filter(|(target, _)| !target.is_gone()).map(|(target, assigned)| Running {
            kind: target.kind(),
            target: target.name().to_owned(),
            assigned: assigned.cloned(),
        });
        Status { connected, error, targets: running.collect() }
    }

    /// The policy and its revision that the target of that kind and name runs; none: as in the code.
    #[must_use]
    pub fn in_force(&self, kind: Kind, name: &str) -> Option<(String, i64)> {
        let state = self.0.shared.state.lock();
        let mut running = state.running().filter(|(target, _)| target.kind() == kind && target.name() == name);
        running.find_map(|(_, assigned)| assigned.map(|assigned| (assigned.policy_id.clone(), assigned.revision)))
    }

    /// A handle that does not keep it.
    #[must_use]
    pub fn downgrade(&self) -> WeakPolicies {
        WeakPolicies(Arc::downgrade(&self.0))
    }

    /// Ends the watching, and keeps what runs on disk. True when that was done in time. Targets keep what they have.
    pub async fn stop(&self, within: Duration) -> bool {
        self.0.shared.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        let all = async { while tasks.join_next().await.is_some() {} };
        tokio::time::timeout(within, all).await.is_ok()
    }
}

/// Connects, again and again.
async fn watch(shared: Arc<Shared>, channel: Channel) {
    load(&shared).await;
    let mut tries = 0;
    loop {
        shared.stats.connections.add(1);
        // In a task of its own, so that what a host wrote may panic.
        let mut session = JoinSet::new();
        let (theirs, channel) = (Arc::clone(&shared), channel.clone());
        session.spawn(async move { session::run(&theirs, channel).await });
        let mut ended = None;
        if shared.is_stopped_within(async { ended = session.join_next().await }).await {
            return;
        }
        let (greeted, end) = ended.and_then(Result::ok).unwrap_or((false, session::End::Panicked));
        let gap = matches!(end, session::End::Gap);
        let was = std::mem::replace(&mut *shared.link.lock(), (false, Some(end.to_string())));
        if was.1.is_none() {
            tracing::warn!(error = %end, "policies are not watched; the last ones go on");
        }
        tries = if greeted { 0 } else { tries + 1 };
        if shared.is_stopped_within(sleep(backoff(tries, gap))).await {
            return;
        }
    }
}

/// Jittered in full, so that a fleet does not come back as one.
fn backoff(tries: u32, gap: bool) -> Duration {
    let ceiling = BACKOFF_BASE.saturating_mul(1 << tries.min(10)).min(BACKOFF_MAX);
    let least = if gap { Duration::ZERO } else { BACKOFF_BASE / 4 };
    least + ceiling.mul_f64(fastrand::f64())
}

/// Takes up what was kept on disk.
async fn load(shared: &Arc<Shared>) {
    let Some(path) = shared.who.file.clone() else { return };
    let read = tokio::task::spawn_blocking(move || disk::read(&path)).await;
    match read {
        Ok(Ok(Some(kept))) => {
            for refused in shared.state.lock().snapshot(kept, Instant::now()) {
                tracing::warn!(policy.id = refused.policy_id, why = %refused.why, "a policy from disk is not taken");
            }
        }
        Ok(Ok(None)) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the policies on disk cannot be used; the code's are, until the server answers")
        }
    }
}

/// Ends overrides when their time is over.
async fn end_leases(shared: Arc<Shared>) {
    loop {
        let next = shared.state.lock().next_end();
        let wait = async {
            match next {
                Some(end) => tokio::select! {
                    () = sleep_until(end) => {}
                    () = shared.ends.notified() => {}
                },
                None => shared.ends.notified().await,
            }
        };
        if shared.is_stopped_within(wait).await {
            return;
        }
        let ended = shared.state.lock().expire(Instant::now());
        shared.stats.leases_ended.add(ended as u64);
    }
}

/// Keeps what runs on disk: many changes are written once.
async fn keep(shared: Arc<Shared>) {
    let Some(path) = shared.who.file.clone() else { return };
    loop {
        let stopped = shared.is_stopped_within(shared.dirty.notified()).await;
        let (kept, path) = (shared.state.lock().kept(), path.clone());
        if stopped && shared.stats.messages.get() == 0 {
            return;
        }
        let written = tokio::task::spawn_blocking(move || disk::write(&path, &kept)).await;
        if let Ok(Err(error)) = written {
            shared.stats.disk_failures.add(1);
            tracing::warn!(%error, "the policies cannot be kept on disk");
        }
        if stopped {
            return;
        }
    }
}
