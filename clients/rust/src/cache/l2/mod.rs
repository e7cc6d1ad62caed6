//! Level 2: entries in Redis, for all instances, and how instances that share one tell each other.
//!
//! Every call has a time limit and goes through a breaker; whatever goes wrong, the caller goes on without Redis.

mod breaker;
pub(super) mod bus;
mod link;
mod scripts;

pub(crate) use link::LinkError;

use std::time::Duration;

use redis::{Client, Cmd, Value};
use tokio::time::Instant;

use super::clock::Clock;
use super::frame::{self, Frame, Parts, Seal, hex};
use breaker::Breaker;
use link::{Link, Put, Puts};

/// How long a key that was made invalid stays so.
pub(super) const TOMB_LIFE: Duration = Duration::from_secs(65);
/// What was loaded is stored within so long after its load began, which is less than a tomb stands.
pub(super) const STORE_WITHIN: Duration = Duration::from_secs(60);

/// Names in one invalidation: a script can hand on about 4 000.
pub(super) const TARGETS_MAX: usize = 1000;

/// What is made invalid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Keys, as text.
    pub keys: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Beginnings of keys.
    pub prefixes: Vec<String>,
    /// The whole key space.
    pub all: bool,
}

impl Targets {
    /// How many it names.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.tags.len() + self.prefixes.len()
    }

    /// Also what `other` names; when that is too much to remember, everything.
    pub(super) fn add(&mut self, other: Self, most: usize) {
        for (names, more) in self.names_mut().into_iter().zip([other.keys, other.tags, other.prefixes]) {
            let more: Vec<_> = more.into_iter().filter(|name| !names.contains(name)).collect();
            names.extend(more);
        }
        self.all |= other.all;
        if self.len() > most {
            *self = Self { all: true, ..Self::default() };
        }
    }

    /// The first of them, at most so many.
    pub(super) fn first(&self, most: usize) -> Self {
        let mut left = most;
        let [keys, tags, prefixes] = [&self.keys, &self.tags, &self.prefixes].map(|names| {
            let some: Vec<String> = names.iter().take(left).cloned().collect();
            left -= some.len();
            some
        });
        Self { keys, tags, prefixes, all: self.all }
    }

    /// No more what `other` names.
    pub(super) fn take_off(&mut self, other: &Self) {
        for (names, gone) in self.names_mut().into_iter().zip([&other.keys, &other.tags, &other.prefixes]) {
            let gone: hashbrown::HashSet<&String> = gone.iter().collect();
            names.retain(|name| !gone.contains(name));
        }
        self.all &= !other.all;
    }

    const fn names_mut(&mut self) -> [&mut Vec<String>; 3] {
        [&mut self.keys, &mut self.tags, &mut self.prefixes]
    }
}

/// What Redis knows of stamps, beyond what this process does.
pub(super) struct Asked {
    pub(super) all: u64,
    pub(super) tags: Vec<u64>,
    pub(super) prefixes: Vec<(String, u64)>,
}

/// See the module.
pub(super) struct L2 {
    link: Link,
    breaker: Breaker,
    clock: Clock,
    /// `{space}:`, the hash tag of everything here.
    space: String,
    /// Who tells.
    pub(super) origin: String,
    /// What entries end with.
    pub(super) seal: Seal,
    invalidate: redis::Script,
    intend: redis::Script,
    store: redis::Script,
    release: redis::Script,
}

impl L2 {
    /// To be called within the runtime.
    pub(super) fn new(client: Client, space: &str, clock: Clock, seal: Seal) -> Self {
        let space = format!("fb:{{{space}}}:");
        let (invalidate, intend, put) = (scripts::invalidate(), scripts::intend(), scripts::put());
        let (store, release) = (redis::Script::new(scripts::STORE), redis::Script::new(scripts::RELEASE));
        let all = [&invalidate, &intend, &put, &store, &release].map(Clone::clone).to_vec();
        let origin = format!("{:016x}", fastrand::u64(..));
        let puts = Puts {
            script: put.get_hash().to_owned(),
            log: format!("{space}log").into_bytes(),
            origin: origin.clone(),
            tomb_ms: TOMB_LIFE.as_millis() as u64,
        };
        let link = Link::new(client, format!("{space}seq").into_bytes(), (all, puts));
        Self { link, breaker: Breaker::default(), clock, space, origin, seal, invalidate, intend, store, release }
    }

    /// Whether it is left alone, since it did not answer.
    pub(super) fn is_left_alone(&self) -> bool {
        self.breaker.is_open()
    }

    /// Whether nobody may ask it now.
    pub(super) fn is_resting(&self) -> bool {
        self.breaker.is_resting(self.clock.now_ms())
    }

    fn name(&self, kind: &str, of: &str) -> Vec<u8> {
        [self.space.as_bytes(), kind.as_bytes(), of.as_bytes()].concat()
    }

    /// What `call` gives, which the link answers within the `timeout`.
    async fn within<T, F: Future<Output = Result<T, LinkError>>>(
        &self,
        timeout: Duration,
        call: impl FnOnce(Instant) -> F,
    ) -> Result<T, LinkError> {
        if !self.breaker.allows(self.clock.now_ms()) {
            return Err(LinkError::Resting);
        }
        let answer = call(Instant::now() + timeout).await;
        self.breaker.note(answer.is_ok(), self.clock.now_ms());
        answer
    }

    async fn run<T: redis::FromRedisValue>(&self, timeout: Duration, cmd: Cmd) -> Result<T, LinkError> {
        let value = self.within(timeout, |deadline| self.link.run(cmd, deadline)).await?;
        redis::from_redis_value(value).map_err(|error| LinkError::Redis(error.to_string()))
    }

    /// The entry, and the last stamp at the time it was read.
    pub(super) async fn get(&self, key: &str, timeout: Duration) -> Result<(u64, Option<Frame>, bool), LinkError> {
        let (seq, bytes) = self.within(timeout, |deadline| self.link.get(self.name("k:", key), deadline)).await?;
        let present = bytes.is_some();
        Ok((seq, bytes.and_then(|bytes| frame::read(&bytes, (self.seal, key))), present))
    }

    /// The last invalidations of `tags`, of all, and of prefixes.
    pub(super) async fn ask(&self, tags: &[String], timeout: Duration) -> Result<Asked, LinkError> {
        let mut mget = redis::cmd("MGET");
        mget.arg(self.name("all", ""));
        for tag in tags {
            mget.arg(self.name("t:", tag));
        }
        let mut hgetall = redis::cmd("HGETALL");
        hgetall.arg(self.name("prefixes", ""));
        let (stamps, prefixes) = tokio::join!(self.run::<Vec<Option<u64>>>(timeout, mget), self.run(timeout, hgetall));
        let mut stamps = stamps?.into_iter().map(Option::unwrap_or_default);
        Ok(Asked { all: stamps.next().unwrap_or_default(), tags: stamps.collect(), prefixes: prefixes? })
    }

    /// Stores what was loaded, unless something later is there. `only_new`: nothing was there when the load began.
    pub(super) async fn store(
        &self,
        key: &str,
        (parts, stamp): (&Parts, u64),
        (life, timeout): (Duration, Duration),
        only_new: bool,
    ) -> Result<bool, LinkError> {
        let (name, frame, life) = (self.name("k:", key), parts.with_stamp(stamp), life.as_millis().max(1) as u64);
        if only_new {
            let mut set = redis::cmd("SET");
            set.arg(name).arg(frame).arg("NX").arg("PX").arg(life);
            return Ok(self.run::<Value>(timeout, set).await? != Value::Nil);
        }
        let mut cmd = evalsha(&self.store, 1);
        cmd.arg(name).arg(hex(stamp)).arg(frame).arg(life);
        self.run(timeout, cmd).await
    }

    /// Its stamp.
    pub(super) async fn invalidate(&self, targets: &Targets, timeout: Duration) -> Result<u64, LinkError> {
        let mut cmd = evalsha(&self.invalidate, 4 + targets.keys.len() + targets.tags.len());
        for name in ["seq", "log", "all", "prefixes"] {
            cmd.arg(self.name(name, ""));
        }
        for key in &targets.keys {
            cmd.arg(self.name("k:", key));
        }
        for tag in &targets.tags {
            cmd.arg(self.name("t:", tag));
        }
        cmd.arg(&self.origin).arg(if targets.all { "all" } else { "" });
        cmd.arg(TOMB_LIFE.as_millis() as u64).arg(&frame::tomb());
        for names in [&targets.keys, &targets.tags, &targets.prefixes] {
            cmd.arg(names.len());
            for name in names {
                cmd.arg(name);
            }
        }
        self.run(timeout, cmd).await
    }

    /// A write to the source begins: nothing older may be stored under its key.
    pub(super) async fn intend(&self, key: &str, timeout: Duration) -> Result<u64, LinkError> {
        let mut cmd = self.with_log(&self.intend, key);
        cmd.arg(&self.origin).arg(TOMB_LIFE.as_millis() as u64).arg(&frame::tomb());
        self.run(timeout, cmd).await
    }

    /// A write ends: whether the entry is there now. See the script; what is put at the same time goes in one.
    pub(super) async fn put(
        &self,
        key: &str,
        (parts, begun): (Parts, Option<u64>),
        (life, timeout): (Duration, Duration),
    ) -> Result<bool, LinkError> {
        let life_ms = life.as_millis().max(1) as u64;
        let put = Put { name: self.name("k:", key), key: key.to_owned(), parts, begun, life_ms };
        self.within(timeout, |deadline| self.link.put(put, deadline)).await
    }

    fn with_log(&self, script: &redis::Script, key: &str) -> Cmd {
        let mut cmd = evalsha(script, 3);
        cmd.arg(self.name("seq", "")).arg(self.name("log", "")).arg(self.name("k:", key));
        cmd
    }

    /// Whether the lease on loading `key` is ours now.
    pub(super) async fn lease(&self, key: &str, token: &str, times: (Duration, Duration)) -> Result<bool, LinkError> {
        let (life, timeout) = times;
        let mut set = redis::cmd("SET");
        set.arg(self.name("l:", key)).arg(token).arg("NX").arg("PX").arg(life.as_millis().max(1) as u64);
        Ok(self.run::<Value>(timeout, set).await? != Value::Nil)
    }

    /// Gives it back.
    pub(super) async fn release(&self, key: &str, token: &str, timeout: Duration) {
        let mut cmd = evalsha(&self.release, 1);
        cmd.arg(self.name("l:", key)).arg(token);
        // It ends by itself in any case.
        drop(self.run::<Value>(timeout, cmd).await);
    }
}

fn evalsha(script: &redis::Script, keys: usize) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(keys);
    cmd
}
