//! A private Postgres and Redis: our own children, on unix sockets only, started and stopped with us.
//!
//! Child processes die with this one even when it is killed (parent-death signal), and a start waits for one that is
//! still on its way out. As root, both run as an unprivileged user: Postgres refuses to run as root.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::child;

/// How long a server may take to start, to stop, or to leave after its parent was killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest path of a unix socket that every kernel takes.
const SOCKET_PATH_MAX: usize = 100;
/// Data directories that servers make are for their user alone.
const ONLY_OWNER: u32 = 0o700;

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

/// The user that private servers run as: ourselves, or an unprivileged one when we are root.
#[derive(Clone, Copy, Debug)]
struct User(Option<(u32, u32)>);

impl User {
    fn find() -> Self {
        Self(child::is_root().then(|| child::unprivileged_user().unwrap_or((65_534, 65_534))))
    }

    fn own(self, path: &Path) -> Result<(), PrivateError> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(files(path))
    }

    fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir("/");
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn files(path: &Path) -> impl Fn(io::Error) -> PrivateError {
    let what = format!("{} cannot be used", path.display());
    move |source| PrivateError::Files { what: what.clone(), source }
}

/// A directory for one server, owned by its user, and a short one for its socket.
fn directories(data_dir: &Path, name: &str, user: User) -> Result<(PathBuf, PathBuf), PrivateError> {
    std::fs::create_dir_all(data_dir).map_err(files(data_dir))?;
    let data_dir = data_dir.canonicalize().map_err(files(data_dir))?;
    let own = data_dir.join(name);
    let run = data_dir.join("run");
    let run = if run.as_os_str().len() + 24 > SOCKET_PATH_MAX {
        let hash = xxhash_rust::xxh3::xxh3_64(data_dir.as_os_str().as_encoded_bytes());
        std::env::temp_dir().join(format!("fastbreak-{hash:016x}"))
    } else {
        run
    };
    for directory in [&own, &run] {
        std::fs::create_dir_all(directory).map_err(files(directory))?;
        user.own(directory)?;
    }
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(ONLY_OWNER)).map_err(files(&own))?;
    check_reachable(&data_dir, user)?;
    Ok((own, run))
}

/// Another user must be able to walk down to the data directory.
fn check_reachable(data_dir: &Path, user: User) -> Result<(), PrivateError> {
    if user.0.is_none() {
        return Ok(());
    }
    for parent in data_dir.ancestors() {
        let mode = std::fs::metadata(parent).map_err(files(parent))?.permissions().mode();
        if mode & 0o001 == 0 {
            let what =
                format!("{} is closed to the user that Postgres runs as; choose another data_dir", parent.display());
            return Err(PrivateError::Files { what, source: io::ErrorKind::PermissionDenied.into() });
        }
    }
    Ok(())
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
        let (data, run) = directories(data_dir, "postgres", user)?;
        let bin = postgres_bin().ok_or(PrivateError::Missing {
            program: "postgres",
            package: "postgresql",
            setting: "DATABASE_URL",
        })?;
        if !data.join("PG_VERSION").exists() {
            init_cluster(&bin, &data, user)?;
        }
        wait_for_leaver(&data.join("postmaster.pid"), "postgres").await?;
        let log = std::fs::File::options().create(true).append(true).open(data_dir.join("postgres.log"));
        let log = log.map_err(files(&data_dir.join("postgres.log")))?;
        let mut command = user.command(&bin.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&run);
        command.args(["-c", "listen_addresses=", "-c", "max_wal_size=2GB", "-c", "checkpoint_timeout=15min"]);
        command.args(["-c", "wal_compression=on", "-c", "shared_buffers=256MB", "-c", "max_connections=64"]);
        command.stdout(log.try_clone().map_err(files(data_dir))?).stderr(log);
        let mut child = child::spawn(command, child::Signal::Interrupt).map_err(files(&bin.join("postgres")))?;
        let host = run.to_string_lossy().replace('/', "%2F");
        let url = |database: &str| format!("postgres://fastbreak@{host}/{database}");
        if let Err(error) = create_database(&url("postgres"), &mut child).await {
            child::stop(&mut child, child::Signal::Interrupt, PATIENCE);
            return Err(error);
        }
        Ok(Self { child, url: url("fastbreak") })
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

fn init_cluster(bin: &Path, data: &Path, user: User) -> Result<(), PrivateError> {
    tracing::info!(directory = %data.display(), "making a private Postgres cluster");
    let program = bin.join("initdb");
    let mut command = user.command(&program);
    command.arg("-D").arg(data).args(["-U", "fastbreak", "--auth=trust", "--encoding=UTF8", "--no-locale"]);
    let output = command.output().map_err(files(&program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PrivateError::Failed { program: "initdb", said })
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
        let (data, run) = directories(data_dir, "redis", user)?;
        wait_for_leaver(&data.join("redis.pid"), "redis-server").await?;
        let socket = run.join("redis.sock");
        // A socket left by one that was killed would be taken for an answer.
        if socket.exists() {
            std::fs::remove_file(&socket).map_err(files(&socket))?;
        }
        let mut command = user.command(&program);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--maxmemory", "256mb"]);
        command.args(["--maxmemory-policy", "allkeys-lru", "--logfile", ""]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(&data).arg("--pidfile").arg(data.join("redis.pid"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child::spawn(command, child::Signal::Terminate).map_err(files(&program))?;
        let began = Instant::now();
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(PrivateError::Failed { program: "redis-server", said: format!("it ended with {status}") });
            }
            if began.elapsed() > PATIENCE {
                child::stop(&mut child, child::Signal::Terminate, PATIENCE);
                return Err(PrivateError::Late { program: "redis-server", what: "answer" });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Self { child, url: format!("redis+unix://{}", socket.display()) })
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
