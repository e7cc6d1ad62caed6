//! The way to Redis: what is asked at the same time goes in one round trip.
//!
//! One task takes everything that waits, up to a bound, and sends it as one pipeline in which all reads are one `MGET`. Some
//! pipelines are under way at once; the next gathers meanwhile. So a single caller waits for nothing, and ten thousand make
//! a few dozen round trips. Each call is answered by its deadline, whatever Redis does, and needs no timer of its own: what
//! is under way has one for the pipeline, what waits one for all.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, Value};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cache::frame::{Parts, hex, tomb};

/// Calls that may wait to be sent; one more fails.
const WAITING_MAX: usize = 65_536;
/// Calls in one pipeline.
const BATCH_MAX: usize = 128;
/// Pipelines under way at once.
const UNDER_WAY_MAX: usize = 4;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("Redis: {0}")]
    Redis(String),
    #[error("Redis has not answered within l2_timeout")]
    Late,
    #[error("Redis is left alone for a while")]
    Resting,
    #[error("{WAITING_MAX} calls wait for Redis")]
    Full,
}

/// What a read gives: the last stamp at that time, and the bytes.
pub(super) type Got = (u64, Option<Vec<u8>>);
type Reply<T> = oneshot::Sender<Result<T, LinkError>>;

/// A value to be put; see the script.
pub(super) struct Put {
    pub(super) name: Vec<u8>,
    pub(super) key: String,
    pub(super) parts: Parts,
    /// The stamp that its write began with.
    pub(super) begun: Option<u64>,
    pub(super) life_ms: u64,
}

/// What all puts have in common.
pub(super) struct Puts {
    pub(super) script: String,
    pub(super) log: Vec<u8>,
    pub(super) origin: String,
    pub(super) tomb_ms: u64,
}

enum Call {
    Get(Vec<u8>, Reply<Got>),
    Put(Box<Put>, Reply<bool>),
    Run(Cmd, Reply<Value>),
}

impl Call {
    fn fail(self, error: LinkError) {
        // Who has left wants no answer.
        match self {
            Self::Get(_, reply) => drop(reply.send(Err(error))),
            Self::Put(_, reply) => drop(reply.send(Err(error))),
            Self::Run(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

struct Shared {
    client: Client,
    seq: Vec<u8>,
    scripts: Vec<redis::Script>,
    puts: Puts,
    /// With their deadlines, in the order in which they came.
    waiting: Mutex<Vec<(Instant, Call)>>,
    wake: Notify,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// One connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
}

/// See the module. Its task ends with the last clone.
pub(crate) struct Link {
    shared: Arc<Shared>,
    task: tokio::task::AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// `seq` is read with every read; `scripts` are loaded on each new connection.
    pub(super) fn new(client: Client, seq: Vec<u8>, (scripts, puts): (Vec<redis::Script>, Puts)) -> Self {
        let shared = Arc::new(Shared {
            client,
            seq,
            scripts,
            puts,
            waiting: Mutex::new(Vec::new()),
            wake: Notify::new(),
            connection: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
        });
        let task = tokio::spawn(drive(Arc::clone(&shared))).abort_handle();
        Self { shared, task }
    }

    fn hand_in(&self, deadline: Instant, call: Call) -> Result<(), LinkError> {
        let mut waiting = self.shared.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return Err(LinkError::Full);
        }
        waiting.push((deadline, call));
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    pub(super) async fn get(&self, key: Vec<u8>, deadline: Instant) -> Result<Got, LinkError> {
        let (reply, answer) = oneshot::channel();
        self.hand_in(deadline, Call::Get(key, reply))?;
        answer.await.unwrap_or(Err(LinkError::Redis("the task of this connection ended".to_owned())))
    }

    pub(super) async fn put(&self, put: Put, deadline: Instant) -> Result<bool, LinkError> {
        let (reply, answer) = oneshot::channel();
        self.hand_in(deadline, Call::Put(Box::new(put), reply))?;
        answer.await.unwrap_or(Err(LinkError::Redis("the task of this connection ended".to_owned())))
    }

    pub(super) async fn run(&self, cmd: Cmd, deadline: Instant) -> Result<Value, LinkError> {
        let (reply, answer) = oneshot::channel();
        self.hand_in(deadline, Call::Run(cmd, reply))?;
        answer.await.unwrap_or(Err(LinkError::Redis("the task of this connection ended".to_owned())))
    }

    /// A connection of its own, for calls that wait.
    pub(super) async fn another(&self) -> redis::RedisResult<MultiplexedConnection> {
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(CONNECT_WITHIN));
        self.shared.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Longest time to connect.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Longest time that a pipeline may take before its connection is given up; callers are gone long before.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

async fn drive(shared: Arc<Shared>) {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    loop {
        shared.wake.notified().await;
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&under_way).acquire_owned() => permit,
                () = shared.expire() => continue,
            };
            let Ok(permit) = permit else { return };
            // Whoever is ready to ask may do so before the pipeline is made.
            tokio::task::yield_now().await;
            let calls: Vec<(Instant, Call)> = {
                let mut waiting = shared.waiting.lock();
                let len = waiting.len().min(BATCH_MAX);
                waiting.drain(..len).collect()
            };
            if calls.is_empty() {
                break;
            }
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                exchange(&shared, calls).await;
                drop(permit);
            });
        }
    }
}

impl Shared {
    /// Answers what has waited for too long, once the first of it has. When nothing waits, it waits for something that does.
    async fn expire(&self) {
        let first = loop {
            let first = self.waiting.lock().first().map(|(deadline, _)| *deadline);
            match first {
                Some(first) => break first,
                None => self.wake.notified().await,
            }
        };
        sleep_until(first).await;
        let now = Instant::now();
        let late: Vec<(Instant, Call)> = {
            let mut waiting = self.waiting.lock();
            let all = std::mem::take(&mut *waiting);
            let (late, rest) = all.into_iter().partition(|(deadline, _)| *deadline <= now);
            *waiting = rest;
            late
        };
        late.into_iter().for_each(|(_, call)| call.fail(LinkError::Late));
    }

    async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        if let Some(connection) = self.connection.lock().clone() {
            return Ok(connection);
        }
        let _turn = self.connecting.lock().await;
        if let Some(connection) = self.connection.lock().clone() {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_connection_timeout(Some(CONNECT_WITHIN));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        for script in &self.scripts {
            script.load_async(&mut connection).await?;
        }
        *self.connection.lock() = Some(connection.clone());
        Ok(connection)
    }
}

/// Calls of one pipeline, by kind.
#[derive(Default)]
struct Sorted {
    gets: Vec<Reply<Got>>,
    puts: Vec<Reply<bool>>,
    runs: Vec<Reply<Value>>,
}

impl Shared {
    fn sort(&self, calls: Vec<(Instant, Call)>) -> (Pipeline, Sorted) {
        let (mut mget, mut pipeline) = (redis::cmd("MGET"), Pipeline::with_capacity(4));
        let (mut sorted, mut puts) = (Sorted::default(), Vec::new());
        mget.arg(&self.seq);
        for (_, call) in calls {
            match call {
                Call::Get(key, reply) => {
                    mget.arg(key);
                    sorted.gets.push(reply);
                }
                Call::Put(put, reply) => {
                    puts.push(put);
                    sorted.puts.push(reply);
                }
                Call::Run(cmd, reply) => {
                    pipeline.add_command(cmd);
                    sorted.runs.push(reply);
                }
            }
        }
        if !puts.is_empty() {
            pipeline.add_command(self.put_all(&puts));
        }
        if !sorted.gets.is_empty() {
            pipeline.add_command(mget);
        }
        pipeline.ignore_errors();
        (pipeline, sorted)
    }

    fn put_all(&self, puts: &[Box<Put>]) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.puts.script).arg(puts.len() + 2).arg(&self.seq).arg(&self.puts.log);
        for put in puts {
            cmd.arg(&put.name);
        }
        cmd.arg(&self.puts.origin).arg(self.puts.tomb_ms).arg(&tomb());
        for Put { key, parts, begun, life_ms, .. } in puts.iter().map(|put| &**put) {
            cmd.arg(begun.map(hex).unwrap_or_default()).arg(&parts.head).arg(&parts.tail).arg(life_ms).arg(key);
        }
        cmd
    }
}

impl Sorted {
    fn fail(self, error: &LinkError) {
        self.runs.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
        self.puts.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
        self.gets.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
    }

    /// True when Redis has forgotten the scripts.
    fn answer(self, mut answers: Vec<Value>) -> bool {
        let read = if self.gets.is_empty() { None } else { answers.pop() };
        let put = if self.puts.is_empty() { None } else { answers.pop() };
        let mut scripts_lost = answer_runs(self.runs, answers);
        scripts_lost |= put.is_some_and(|put| answer_puts(self.puts, put));
        answer_gets(self.gets, read);
        scripts_lost
    }
}

async fn exchange(shared: &Shared, calls: Vec<(Instant, Call)>) {
    let deadline = calls.iter().map(|(deadline, _)| *deadline).max().unwrap_or_else(Instant::now);
    let (pipeline, sorted) = shared.sort(calls);
    let sent = async { pipeline.query_async::<Vec<Value>>(&mut shared.connection().await?).await };
    tokio::pin!(sent);
    let is_good = match timeout_at(deadline, &mut sent).await {
        Ok(Ok(answers)) => !sorted.answer(answers),
        Ok(Err(error)) => {
            sorted.fail(&LinkError::Redis(error.to_string()));
            false
        }
        Err(_elapsed) => {
            sorted.fail(&LinkError::Late);
            // It goes on counting as under way, so that a Redis that hangs is not asked for more and more.
            sent.await.is_ok_and(|answers| !answers.iter().any(is_lost))
        }
    };
    if !is_good {
        // The next one connects anew.
        *shared.connection.lock() = None;
    }
}

/// Redis has forgotten a script.
fn is_lost(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// True when Redis has forgotten the script.
fn answer_puts(puts: Vec<Reply<bool>>, answer: Value) -> bool {
    let stored = match answer {
        Value::Array(stored) => stored,
        other => {
            let lost = is_lost(&other);
            let error = LinkError::Redis(format!("not put: {other:?}"));
            puts.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            return lost;
        }
    };
    for (reply, stored) in puts.into_iter().zip(stored) {
        drop(reply.send(Ok(stored == Value::Int(1))));
    }
    false
}

/// True when Redis has forgotten the scripts.
fn answer_runs(runs: Vec<Reply<Value>>, answers: Vec<Value>) -> bool {
    let mut scripts_lost = false;
    for (reply, answer) in runs.into_iter().zip(answers) {
        scripts_lost |= is_lost(&answer);
        let answer = match answer {
            Value::ServerError(error) => Err(LinkError::Redis(error.to_string())),
            answer => Ok(answer),
        };
        // Who has left wants no answer.
        drop(reply.send(answer));
    }
    scripts_lost
}

fn answer_gets(gets: Vec<Reply<Got>>, read: Option<Value>) {
    let Some(Value::Array(read)) = read else {
        if gets.is_empty() {
            return;
        }
        let error = LinkError::Redis("no answer to MGET".to_owned());
        gets.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
        return;
    };
    let mut read = read.into_iter().map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    let seq = read.next().flatten();
    let seq = seq.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()).unwrap_or(0);
    for (reply, bytes) in gets.into_iter().zip(read) {
        drop(reply.send(Ok((seq, bytes))));
    }
}
