//! The server as a child process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::Database;
use super::postgres::open_dir;

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) otlp_http: String,
}

/// How to start a server.
#[derive(Clone)]
pub(crate) struct Options {
    environment: Vec<(String, String)>,
}

impl Options {
    pub(crate) fn on(database: &Database) -> Self {
        let environment = [
            ("DATABASE_URL", database.url.as_str()),
            ("REDIS_URL", "off"),
            ("FASTBREAK_HTTP_ADDR", "127.0.0.1:0"),
            ("FASTBREAK_GRPC_ADDR", "127.0.0.1:0"),
            ("FASTBREAK_OTLP_HTTP_ADDR", "127.0.0.1:0"),
            ("RUST_LOG", "warn"),
        ];
        Self { environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    /// With a private Postgres below `data_dir`.
    pub(crate) fn private(data_dir: &Path) -> Self {
        let options = Self::on(&Database { url: String::new() });
        options.with("FASTBREAK_DATA_DIR", data_dir.to_str().unwrap())
    }

    /// Sets a variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command that starts the server.
    pub(crate) fn command(&self) -> Command {
        let mut command = fastbreak(&["serve"]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn start(&self) -> Server {
        Server::of(self.command())
    }
}

/// The binary with these arguments, in an empty directory and without the settings of whoever runs the tests.
pub(crate) fn fastbreak(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastbreak"));
    command.args(arguments).current_dir(open_dir("cwd")).stdin(Stdio::null());
    let ours = |name: &str| ["FASTBREAK_", "DB_", "DATABASE_", "REDIS_", "OTEL_"].iter().any(|p| name.starts_with(p));
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

impl Server {
    /// Runs `command`, and waits for its addresses.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut address = |word: &str| {
            let line = lines.by_ref().find(|line| line.starts_with(word));
            let line = line.unwrap_or_else(|| panic!("the server did not print its {word} address"));
            line.split_whitespace().nth(1).unwrap().trim_start_matches("http://").to_owned()
        };
        let (http, grpc, otlp_http) = (address("dashboard"), address("grpc"), address("otlp-http"));
        let url = |address: String| format!("http://{address}");
        Server { child, http: url(http), grpc: url(grpc), otlp_http: url(otlp_http) }
    }
}

impl Server {
    /// On a database of its own.
    pub(crate) async fn start() -> Self {
        Options::on(&Database::create().await).start()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        client().get(format!("{}{path}", self.http)).send().await.unwrap().json().await.unwrap()
    }

    /// The result of an instant query.
    pub(crate) async fn query(&self, promql: &str) -> Value {
        let url = format!("{}/prometheus/api/v1/query", self.http);
        let answer = client().get(url).query(&[("query", promql)]).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["status"], "success", "{promql}: {body}");
        body["data"]["result"].clone()
    }

    /// The only number of an instant query's result, if there is one.
    pub(crate) async fn number(&self, promql: &str) -> Option<f64> {
        let result = self.query(promql).await;
        let rows = result.as_array().unwrap();
        assert!(rows.len() <= 1, "{promql} has more than one series: {result}");
        rows.first().map(|row| row["value"][1].as_str().unwrap().parse().unwrap())
    }

    /// The most memory that it has held so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Ends at once, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to drain; returns its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let done = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// An HTTP client.
pub(crate) fn client() -> reqwest::Client {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
