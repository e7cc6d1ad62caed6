//! A Redis of its own for each test, a wire to it that can be cut, and a source that counts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastbreak_client::cache::{Cache, CachePolicy, Failure, Source, Write};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Waits for a condition, and says what it waited for in vain.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A server on a socket in a directory of its own.
pub(crate) struct Redis {
    directory: TempDir,
    child: Mutex<Option<Child>>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let redis = Self { directory: tempfile::tempdir().unwrap(), child: Mutex::default() };
        redis.restart();
        redis
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Starts it again, with nothing in it.
    pub(crate) fn restart(&self) {
        let mut child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let began = std::time::Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none(), "Redis starts");
            std::thread::sleep(Duration::from_millis(2));
        }
        *self.child.lock() = Some(child);
    }

    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let _gone = std::fs::remove_file(self.socket());
    }

    /// Sends a signal, such as `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.lock().as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    pub(crate) fn client(&self) -> redis::Client {
        client(&self.socket())
    }

    pub(crate) async fn command(&self, words: &[&str]) -> redis::Value {
        let mut connection = self.client().get_multiplexed_async_connection().await.unwrap();
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn client(socket: &std::path::Path) -> redis::Client {
    redis::Client::open(format!("redis+unix://{}", socket.display())).unwrap()
}

/// A wire to a Redis that can be cut, or made to hold back what Redis says.
pub(crate) struct Wire {
    socket: PathBuf,
    cut: watch::Sender<bool>,
    held: watch::Sender<bool>,
}

impl Wire {
    pub(crate) fn to(redis: &Redis, name: &str) -> Self {
        let socket = redis.directory.path().join(name);
        let (listener, server) = (UnixListener::bind(&socket).unwrap(), redis.socket());
        let (cut, is_cut) = watch::channel(false);
        let (held, is_held) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, mut is_cut, is_held) = (server.clone(), is_cut.clone(), is_held.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ended = carry(client, server, is_held) => {}
                        _cut = is_cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Self { socket, cut, held }
    }

    pub(crate) fn client(&self) -> redis::Client {
        client(&self.socket)
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    pub(crate) fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }
}

async fn carry(client: UnixStream, server: PathBuf, mut is_held: watch::Receiver<bool>) -> std::io::Result<()> {
    let (mut asks, mut hears) = client.into_split();
    let (mut says, mut asked) = UnixStream::connect(server).await?.into_split();
    let answers = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let len = says.read(&mut bytes).await?;
            if len == 0 || is_held.wait_for(|held| !*held).await.is_err() {
                return Ok(());
            }
            hears.write_all(&bytes[..len]).await?;
        }
    };
    tokio::select! {
        ended = tokio::io::copy(&mut asks, &mut asked) => ended.map(drop),
        ended = answers => ended,
    }
}

/// What the source holds, and what was asked of it.
#[derive(Default)]
pub(crate) struct Far {
    pub(crate) values: Mutex<HashMap<String, String>>,
    pub(crate) loads: AtomicUsize,
    /// Batches of writes, as they came.
    pub(crate) written: Mutex<Vec<Vec<Write<String, String>>>>,
    pub(crate) takes: Mutex<Duration>,
    pub(crate) fails: AtomicBool,
    pub(crate) panics: AtomicBool,
    pub(crate) refuses: Mutex<Option<String>>,
    /// A write that is made answers when nobody has this.
    pub(crate) held: tokio::sync::RwLock<()>,
}

impl Far {
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.values.lock().insert(key.to_owned(), value.to_owned());
    }

    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.values.lock().get(key).cloned()
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn failure() -> Failure {
        Failure { why: "the source is away".to_owned(), retryable: true, retry_after: None }
    }
}

/// A source of texts. A value `x #a #b` has the tags a and b.
#[derive(Clone, Default)]
pub(crate) struct Texts(pub(crate) Arc<Far>);

impl Source for Texts {
    type Key = String;
    type Value = String;

    const WRITES: bool = true;

    async fn load(&self, key: &String) -> Result<Option<String>, Failure> {
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        let value = self.0.value(key);
        let takes = *self.0.takes.lock();
        sleep(takes).await;
        assert!(!self.0.panics.load(Ordering::SeqCst), "told to");
        if self.0.fails.load(Ordering::SeqCst) { Err(Far::failure()) } else { Ok(value) }
    }

    async fn write(&self, writes: &[Write<String, String>]) -> Result<(), Failure> {
        let takes = *self.0.takes.lock();
        sleep(takes).await;
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(Far::failure());
        }
        let refused = self.0.refuses.lock().clone();
        if writes.iter().any(|write| Some(&write.key) == refused.as_ref()) {
            return Err(Failure { retryable: false, ..Far::failure() });
        }
        {
            let mut values = self.0.values.lock();
            for write in writes {
                match &write.value {
                    Some(value) => values.insert(write.key.clone(), value.clone()),
                    None => values.remove(&write.key),
                };
            }
        }
        self.0.written.lock().push(writes.to_vec());
        let _free = self.0.held.read().await;
        Ok(())
    }

    fn tags(&self, _key: &String, value: &String) -> Vec<String> {
        value.split(' ').filter_map(|word| word.strip_prefix('#')).map(str::to_owned).collect()
    }
}

/// As by default, and quick to give up.
pub(crate) fn policy() -> CachePolicy {
    let mut policy =
        CachePolicy { l1_max_bytes: 4 << 20, l2_timeout: Duration::from_secs(2), ..CachePolicy::default() };
    policy.retry.attempts = 1;
    policy
}

/// A cache on a Redis, which it is in touch with.
pub(crate) async fn cache(client: redis::Client, far: &Arc<Far>, policy: CachePolicy) -> Cache<Texts> {
    let built = Cache::builder("texts", Texts(Arc::clone(far))).policy(policy).redis(client).build().await;
    let cache = built.unwrap();
    in_touch(&cache).await;
    cache
}

/// Waits until the cache reads its memory.
pub(crate) async fn in_touch(cache: &Cache<Texts>) {
    eventually("in touch with Redis", async || cache.is_in_touch()).await;
}

/// Waits until each has heard of everything, or reads no memory.
pub(crate) async fn settled(redis: &Redis, caches: &[&Cache<Texts>]) {
    let mut connection = redis.client().get_multiplexed_async_connection().await.unwrap();
    let seq: Option<u64> = redis::cmd("GET").arg("fb:{texts}:seq").query_async(&mut connection).await.unwrap();
    for cache in caches {
        let seq = seq.unwrap_or_default();
        eventually("heard, or cut off", async || cache.heard() >= seq || !cache.is_in_touch()).await;
    }
}

pub(crate) async fn read(cache: &Cache<Texts>, key: &str) -> Option<String> {
    cache.get_or_load(&key.to_owned()).await.unwrap()
}
