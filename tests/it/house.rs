//! Start and stop of the real binary: private servers, signals, mistakes, subcommands.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::support::export::{DELTA, bytes, counter, http, now, point, request};
use crate::support::postgres::open_dir;
use crate::support::server::{Options, Server, client, fastbreak};
use crate::support::{Database, eventually};

const NOBODY: u32 = 65_534;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn send(server: &Server, value: f64) {
    let body = bytes(&request("shop", vec![counter("sent", DELTA, vec![point(value, now(), &[])])]));
    assert!(http(&client(), &server.otlp_http, &body).await);
}

async fn sent(server: &Server) -> Option<f64> {
    server.number("sum(increase(sent_total[1h]))").await
}

fn postmaster(data_dir: &Path) -> u32 {
    let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
    file.lines().next().unwrap().trim().parse().unwrap()
}

fn am_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Clusters in the making below `data_dir`.
fn in_the_making(data_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data_dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().contains("postgres.new-")).collect()
}

/// A server whose initdb is at work.
async fn caught_in_initdb(data_dir: &Path) -> Child {
    let child = Options::private(data_dir).command().stdout(Stdio::null()).spawn().unwrap();
    eventually("initdb is at work", async || {
        in_the_making(data_dir).iter().any(|path| path.join("PG_VERSION").exists())
    })
    .await;
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn private_data_outlives_kill_9_of_server_and_postgres() {
    let data_dir = open_dir("house-killed");
    let mut server = Options::private(&data_dir).start();
    for round in 1..=2 {
        send(&server, 5.0).await;
        let postgres = postmaster(&data_dir);
        server.kill();
        // It may be leaving already, its parent being gone.
        let _gone = Command::new("kill").args(["-KILL", &postgres.to_string()]).output().unwrap();
        server = Options::private(&data_dir).start();
        assert_eq!(sent(&server).await, Some(5.0 * f64::from(round)));
    }
    let run = std::fs::metadata(data_dir.join("run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o777, 0o700, "the socket trusts whoever reaches it");
    let health = server.get("/health").await;
    assert_eq!((&health["status"], &health["privateServers"]["postgres"]), (&"ok".into(), &"up".into()));
    assert_eq!(health["components"]["ingest"], "up");
    assert!(health["streams"].as_u64().unwrap() >= 1, "{health}");
    assert_eq!(server.terminate(), Some(0));
    assert!(!data_dir.join("postgres/postmaster.pid").exists(), "Postgres was stopped cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_the_middle_of_the_start_ends_it_at_once_and_cleanly() {
    let data_dir = open_dir("house-signal");
    let mut child = caught_in_initdb(&data_dir).await;
    signal(child.id(), "-TERM");
    let began = std::time::Instant::now();
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert!(!data_dir.join("postgres/PG_VERSION").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_initdb_does_not_stand_in_the_way_of_the_next_start() {
    let data_dir = open_dir("house-initdb");
    let mut child = caught_in_initdb(&data_dir).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let server = Options::private(&data_dir).start();
    send(&server, 1.0).await;
    assert_eq!(sent(&server).await, Some(1.0));
    assert_eq!(in_the_making(&data_dir), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_as_an_ordinary_user() {
    if !am_root() {
        println!("skipped: only root can");
        return;
    }
    let data_dir = open_dir("house-nobody");
    chown(&data_dir, Some(NOBODY), Some(NOBODY)).unwrap();
    let binary = open_dir("house-bin").join("fastbreak");
    std::fs::copy(env!("CARGO_BIN_EXE_fastbreak"), &binary).unwrap();
    let mut command = Options::private(&data_dir).command();
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary).arg("serve");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => as_nobody.env(name, value),
            None => as_nobody.env_remove(name),
        };
    }
    as_nobody.current_dir(command.current_dir("/").get_current_dir().unwrap()).stdin(Stdio::null());
    let server = Server::of(as_nobody);
    std::fs::remove_file(binary).unwrap();
    send(&server, 2.0).await;
    assert_eq!(sent(&server).await, Some(2.0));
    assert_eq!(std::fs::metadata(data_dir.join("postgres")).unwrap().uid(), NOBODY);
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_root_below_a_closed_directory_another_one_stands_in() {
    if !am_root() {
        println!("skipped: only root can");
        return;
    }
    let closed = open_dir("house-closed");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let log = closed.join("log");
    let mut command = Options::private(&closed.join("data")).command();
    command.stderr(std::fs::File::create(&log).unwrap());
    let server = Server::of(command);
    send(&server, 3.0).await;
    assert_eq!(sent(&server).await, Some(3.0));
    assert_eq!(server.terminate(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    let instead = log.split("directory=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("it is told");
    assert!(Path::new(instead).join("postgres/PG_VERSION").exists(), "{log}");
    std::fs::remove_dir_all(instead).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let options = Options::private(&open_dir("house-port")).with("FASTBREAK_GRPC_ADDR", &addr);
    let output = run(options.command()).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&addr) && told.contains("FASTBREAK_GRPC_ADDR"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_at_once_with_exit_78() {
    let mut command = fastbreak(&["serve", "--set", "windo=10s"]);
    command.env("FASTBREAK_DATABASE_CONNECTIONS", "0").env("FASTBREAK_RETENTON_FINE", "1h");
    command.env("FASTBREAK_CHECKPOINT", OsStr::from_bytes(b"\xff1s")).env("RUST_LOG", "fastbreak=loud");
    command.env("DB_HOST", "db").env("DB_PASSWORD_FILE", "/nowhere/password");
    let output = run(command).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    for expected in [
        "unknown key \"windo\", did you mean \"window\"?",
        "database_connections = \"0\" is not a number from 2 to 1000",
        "FASTBREAK_RETENTON_FINE: unknown variable, did you mean \"FASTBREAK_RETENTION_FINE\"?",
        "FASTBREAK_CHECKPOINT: the value is not UTF-8",
        "log_filter = \"fastbreak=loud\" is not understood",
        "DB_PASSWORD_FILE: /nowhere/password cannot be read",
    ] {
        assert!(told.contains(expected), "{expected}\n---\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_does_not_answer_is_given_up_in_time_and_named() {
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let options = Options::on(&Database { url: format!("postgres://me:s3cret@{addr}/db") });
    let output = run(options.command()).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("Postgres at {addr} cannot be reached")), "{told}");
    assert!(told.contains("no answer within 5 s") && !told.contains("s3cret"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_answers_and_keeps_secrets() {
    let database = Database::create().await;
    let check = async |url: &str| {
        let mut command = fastbreak(&["check"]);
        command.env("DATABASE_URL", url).env("REDIS_URL", "off");
        let output = run(command).await;
        (output.status.code(), text(&output.stdout))
    };
    let (code, told) = check(&database.url).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("ok: Postgres ") && told.contains("environment DATABASE_URL"), "{told}");
    let (code, told) = check("postgres://me:s3cret@127.0.0.1:1/db").await;
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("FAILED: Postgres at 127.0.0.1:1 cannot be reached"), "{told}");
    assert!(told.contains("***") && !told.contains("s3cret"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_apply_once_and_expired_partitions_are_dropped() {
    let database = Database::create().await;
    let migrate = async || {
        let mut command = fastbreak(&["migrate"]);
        command.env("DATABASE_URL", &database.url).env("REDIS_URL", "off");
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(migrate().await.starts_with("applied "));
    assert_eq!(migrate().await, "nothing to apply\n");
    let old = "date_trunc('day', now()) - interval '30 days'";
    database.execute(&format!("SELECT ensure_partition('blocks_fine', {old}, {old} + interval '1 day')")).await;
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'blocks_fine'::regclass";
    let before = database.number(partitions).await;
    let _server = Options::on(&database).with("FASTBREAK_RETENTION_FINE", "2h").start();
    eventually("the expired one is dropped, the others stay", async || database.number(partitions).await == before - 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_from_the_command_line_is_found_from_it() {
    let server = Server::start().await;
    let done = async |arguments: &[&str]| {
        let output = run(fastbreak(arguments)).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let metric = ["send", "metric", "shop.stock", "7", "--url", &server.otlp_http, "-a", "shelf=3"];
    assert_eq!(done(&metric).await, "committed\n");
    assert_eq!(done(&["send", "span", "GET /cart", "--url", &server.otlp_http]).await, "committed\n");
    let found = done(&["query", "{__name__=\"shop.stock\"}", "--url", &server.http]).await;
    assert!(found.contains("shelf=\"3\"") && found.trim_end().ends_with(" 7"), "{found}");
    assert_eq!(done(&["query", "absent_metric", "--url", &server.http]).await, "no series\n");
    let demo = done(&["demo", "--endpoint", &server.grpc, "--for", "2s", "--period", "500ms"]).await;
    assert!(demo.contains("exports acknowledged, 0 failed"), "{demo}");
    assert!(done(&["completions", "bash"]).await.contains("fastbreak"));
    let refused = run(fastbreak(&["query", "rate(", "--url", &server.http])).await;
    assert_eq!(refused.status.code(), Some(1));
}
