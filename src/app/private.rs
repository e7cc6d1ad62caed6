//! A private Postgres and Redis: our own children, on unix sockets only, started and stopped with us.
//!
//! Child processes die with this one even when it is killed (parent-death signal), and a start waits for one that is
//! still on its way out. As root, both run as an unprivileged user: Postgres refuses to run as root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::child;
use super::directories::{Directories, User, files, keep_for};

/// How long a server may take to start, to stop, or to leave after its parent was killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the helpers of a killed Postgres may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// Beginning of the names of clusters in the making.
const BESIDE: &str = "postgres.new-";

/// Why a private server is not there.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// The program is not installed.
    #[error("{program} was not found; install it ({package}) or configure {setting}")]
    Missing {
        /// Which.
        program: &'static str,
        /// Debian's name of it.
        package: &'static str,
        /// What to set instead.
        setting: &'static str,
    },
    /// A file or directory cannot be made.
    #[error("{what}")]
    Files {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// It did not answer in time.
    #[error("{program} did not {what} within {} s", PATIENCE.as_secs())]
    Late {
        /// Which.
        program: &'static str,
        /// What was waited for.
        what: &'static str,
    },
}

/// A running private Postgres.
pub struct PrivatePostgres {
    child: Child,
    /// How to reach it.
    pub url: String,
}

impl PrivatePostgres {
    /// Makes the cluster if there is none, and starts it. Must be called on the main thread: its end ends the child.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn start(data_dir: &Path) -> Result<Self, PrivateError> {
        let user = User::find();
        let Directories { base, own: data, run } = Directories::make(data_dir, "postgres", user)?;
        let bin = postgres_bin().ok_or(PrivateError::Missing {
            program: "postgres",
            package: "postgresql",
            setting: "DATABASE_URL",
        })?;
        if !data.join("PG_VERSION").exists() {
            init_cluster(&bin, &base, &data, user).await?;
        }
        wait_for_leaver(&data.join("postmaster.pid"), "postgres").await?;
        let host = run.to_string_lossy().replace('/', "%2F");
        let url = |database: &str| format!("postgres://fastbreak@{host}/{database}");
        let began = Instant::now();
        loop {
            // It is stopped whenever this is dropped, also when nobody waits for the rest any more.
            let child = launch(&bin, (&base, &data, &run), user)?;
            let mut postgres = Self { child, url: url("fastbreak") };
            match create_database(&url("postgres"), &mut postgres.child).await {
                Ok(()) => return Ok(postgres),
                // Of one that was killed, helpers may be on their way out and hold its memory.
                Err(PrivateError::Failed { .. }) if began.elapsed() < LEAVE_WITHIN => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Stops it: open transactions are rolled back, everything committed is kept.
    pub fn stop(&mut self) {
        child::stop(&mut self.child, child::Signal::Interrupt, PATIENCE);
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The newest Postgres: Debian's place first, then the path.
fn postgres_bin() -> Option<PathBuf> {
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/postgres").exists().then(|| (version, path.join("bin")))
        })
        .collect();
    debian.sort();
    debian.pop().map(|(_, bin)| bin).or_else(|| find_on_path("postgres")?.parent().map(Path::to_owned))
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

/// Starts the server on the cluster at `data`.
fn launch(bin: &Path, (base, data, run): (&Path, &Path, &Path), user: User) -> Result<Child, PrivateError> {
    let log = base.join("postgres.log");
    let log = std::fs::File::options().create(true).append(true).open(&log).map_err(files(&log))?;
    let mut command = user.command(&bin.join("postgres"));
    command.arg("-D").arg(data).arg("-k").arg(run);
    command.args(["-c", "listen_addresses=", "-c", "max_wal_size=2GB", "-c", "checkpoint_timeout=15min"]);
    command.args(["-c", "wal_compression=on", "-c", "shared_buffers=256MB", "-c", "max_connections=64"]);
    command.args(["-c", "unix_socket_permissions=0700"]);
    command.stdout(log.try_clone().map_err(files(base))?).stderr(log);
    child::spawn(command, child::Signal::Interrupt).map_err(files(&bin.join("postgres")))
}

/// Makes the cluster beside its place and moves it there once it is whole: what is killed half-way leaves nothing that a
/// later start would take for a cluster.
async fn init_cluster(bin: &Path, base: &Path, data: &Path, user: User) -> Result<(), PrivateError> {
    tracing::info!(directory = %data.display(), "making a private Postgres cluster");
    remove_unfinished(base).map_err(files(base))?;
    let beside = base.join(format!("{BESIDE}{}", std::process::id()));
    keep_for(user, &beside)?;
    let program = bin.join("initdb");
    let mut command = user.command(&program);
    command.arg("-D").arg(&beside).args(["-U", "fastbreak", "--auth=trust", "--encoding=UTF8", "--no-locale"]);
    child::end_with_us(&mut command, child::Signal::Kill);
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await.map_err(files(&program))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(PrivateError::Failed { program: "initdb", said });
    }
    std::fs::rename(&beside, data).map_err(files(data))?;
    // Again: what a killed initdb had started may have been writing still, a moment ago.
    remove_unfinished(base).map_err(files(base))?;
    // Postgres has synced the files; their place must outlive a power cut too.
    std::fs::File::open(base).and_then(|base| base.sync_all()).map_err(files(base))
}

/// Removes clusters that were never finished, as far as nobody writes into them; they are not in the way, each has its name.
fn remove_unfinished(base: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(base)?.filter_map(Result::ok) {
        if entry.file_name().as_encoded_bytes().starts_with(BESIDE.as_bytes()) {
            let _left = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Waits while the process named in a pid file, left by one that was killed, is still leaving.
async fn wait_for_leaver(pid_file: &Path, program: &'static str) -> Result<(), PrivateError> {
    let began = Instant::now();
    loop {
        let pid =
            std::fs::read_to_string(pid_file).ok().and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| child::is_running(*pid, program)) else { return Ok(()) };
        if began.elapsed() > PATIENCE {
            return Err(PrivateError::Late { program, what: "leave (is another fastbreak running on this data_dir?)" });
        }
        tracing::debug!(pid, program, "waiting for the old process to leave");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Connects until Postgres answers, and makes our database.
async fn create_database(url: &str, child: &mut Child) -> Result<(), PrivateError> {
    let began = Instant::now();
    let client = loop {
        match tokio_postgres::connect(url, tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                break client;
            }
            Err(error) => {
                if let Ok(Some(status)) = child.try_wait() {
                    let said = format!("it ended with {status}; see postgres.log in the data directory");
                    return Err(PrivateError::Failed { program: "postgres", said });
                }
                if began.elapsed() > PATIENCE {
                    tracing::warn!(%error, "postgres does not answer");
                    return Err(PrivateError::Late { program: "postgres", what: "answer" });
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let failed = |error: tokio_postgres::Error| PrivateError::Failed { program: "postgres", said: error.to_string() };
    let there = client.query("SELECT 1 FROM pg_database WHERE datname = 'fastbreak'", &[]).await.map_err(failed)?;
    if there.is_empty() {
        client.batch_execute("CREATE DATABASE fastbreak").await.map_err(failed)?;
    }
    Ok(())
}

/// A running private Redis.
pub struct PrivateRedis {
    child: Child,
    /// How to reach it.
    pub url: String,
}

impl PrivateRedis {
    /// Starts it, empty: Redis holds only what Postgres has too. Must be called on the main thread.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn start(data_dir: &Path) -> Result<Self, PrivateError> {
        let user = User::find();
        let program = find_on_path("redis-server").ok_or(PrivateError::Missing {
            program: "redis-server",
            package: "redis-server",
            setting: "REDIS_URL",
        })?;
        let Directories { own: data, run, .. } = Directories::make(data_dir, "redis", user)?;
        wait_for_leaver(&data.join("redis.pid"), "redis-server").await?;
        let socket = run.join("redis.sock");
        // A socket left by one that was killed would be taken for an answer.
        if socket.exists() {
            std::fs::remove_file(&socket).map_err(files(&socket))?;
        }
        let mut command = user.command(&program);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--maxmemory", "256mb"]);
        command.args(["--maxmemory-policy", "allkeys-lru", "--logfile", "", "--unixsocketperm", "700"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(&data).arg("--pidfile").arg(data.join("redis.pid"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = child::spawn(command, child::Signal::Terminate).map_err(files(&program))?;
        let mut redis = Self { child, url: format!("redis+unix://{}", socket.display()) };
        let began = Instant::now();
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            if let Ok(Some(status)) = redis.child.try_wait() {
                return Err(PrivateError::Failed { program: "redis-server", said: format!("it ended with {status}") });
            }
            if began.elapsed() > PATIENCE {
                return Err(PrivateError::Late { program: "redis-server", what: "answer" });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(redis)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it.
    pub fn stop(&mut self) {
        child::stop(&mut self.child, child::Signal::Terminate, PATIENCE);
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.stop();
    }
}
