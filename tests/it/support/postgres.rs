//! Postgres: one for the run, and private ones for tests that kill them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock, mpsc};

use fastbreak::app::PrivatePostgres;

/// What directories of a run are called, before its process id.
const PREFIX: &str = "fastbreak-it-";

/// A directory that the user Postgres runs as can walk into.
pub(crate) fn open_dir(name: &str) -> PathBuf {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep);
    let path = std::env::temp_dir().join(format!("{PREFIX}{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Removes what runs that are over have left, some gigabytes each: a run is over before its servers are.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let of_run = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid: Option<u32> = of_run.and_then(|rest| rest.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another run may be at it too.
            let _gone = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Starts a Postgres from a thread that lives as long as this process: the server dies with the thread that started it.
pub(crate) fn start(data_dir: PathBuf) -> (String, u32) {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let postgres = runtime.block_on(PrivatePostgres::start(&data_dir)).unwrap();
        tell.send((postgres.url.clone(), postgres.pid())).unwrap();
        loop {
            std::thread::park();
        }
    });
    told.recv().expect("Postgres starts")
}

/// The Postgres of this run.
fn shared() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| start(open_dir("pg")).0)
}

/// An empty database of its own.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("it_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = shared();
        let (client, connection) = tokio_postgres::connect(admin, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (server, _) = admin.rsplit_once('/').unwrap();
        Self { url: format!("{server}/{name}") }
    }

    /// One number out of the database.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// One text out of the database.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
    }
}
