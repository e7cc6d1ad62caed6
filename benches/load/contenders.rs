//! Who is measured: FastBreak itself, the floors, and the peers that are installed.

use std::path::{Path, PathBuf};

use fastbreak::app::PrivatePostgres;

use crate::process::{Server, free_address};

/// A contender by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    FastBreak,
    /// The floor of this name.
    Floor(&'static str),
    Rotel,
    VictoriaMetrics,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FastBreak => "fastbreak",
            Self::Floor("raw") => "tonic, bytes dropped",
            Self::Floor("prost") => "tonic, prost decoded",
            Self::Floor(_) => "fastbreak, no commit",
            Self::Rotel => "rotel, blackhole",
            Self::VictoriaMetrics => "VictoriaMetrics",
        }
    }
}

/// Where the benchmarks keep their files and peers.
pub(crate) fn out() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/out")
}

/// A directory that the user Postgres runs as can walk into.
pub(crate) fn data_dir(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("fastbreak-bench-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
    directory
}

/// Everything that must live while the contenders are measured.
#[derive(Default)]
pub(crate) struct Field {
    pub(crate) servers: Vec<(Contender, Server)>,
    postgres: Option<PrivatePostgres>,
    /// Of FastBreak's private Postgres.
    pub(crate) database_url: String,
    directories: Vec<PathBuf>,
}

impl Field {
    /// Starts those that are here; says who is not.
    pub(crate) async fn start(contenders: &[Contender]) -> Self {
        let mut field = Self::default();
        for contender in contenders {
            match *contender {
                Contender::FastBreak => field.fastbreak(&[]),
                Contender::Floor(name) => field.floor(*contender, name).await,
                Contender::Rotel => field.rotel(),
                Contender::VictoriaMetrics => field.victoria_metrics(),
            }
        }
        field
    }

    pub(crate) fn get(&self, contender: Contender) -> Option<&Server> {
        self.servers.iter().find(|(one, _)| *one == contender).map(|(_, server)| server)
    }

    fn directory(&mut self, name: &str) -> PathBuf {
        let directory = data_dir(name);
        self.directories.push(directory.clone());
        directory
    }

    /// The real binary on a private Postgres and Redis, caps out of the way.
    pub(crate) fn fastbreak(&mut self, more: &[(&str, &str)]) {
        let directory = self.directory("fastbreak");
        let (grpc, http, otlp_http) = (free_address(), free_address(), free_address());
        let mut environment = vec![
            ("FASTBREAK_DATA_DIR", directory.to_str().expect("UTF-8")),
            ("FASTBREAK_GRPC_ADDR", &grpc),
            ("FASTBREAK_HTTP_ADDR", &http),
            ("FASTBREAK_OTLP_HTTP_ADDR", &otlp_http),
            ("FASTBREAK_SERIES_PER_SERVICE", "4000000"),
            ("FASTBREAK_SERIES_PER_METRIC", "4000000"),
            ("RUST_LOG", "warn"),
        ];
        environment.extend_from_slice(more);
        let program = Path::new(env!("CARGO_BIN_EXE_fastbreak"));
        self.database_url =
            format!("postgres://fastbreak@{}/fastbreak", directory.join("run").to_string_lossy().replace('/', "%2F"));
        let mut server = Server::start("fastbreak", program, &["serve"], &environment, &grpc);
        server.http = http;
        server.otlp_http = otlp_http;
        self.servers.push((Contender::FastBreak, server));
    }

    async fn floor(&mut self, contender: Contender, name: &'static str) {
        let mut environment = Vec::new();
        if name == "memory" && self.postgres.is_none() {
            let directory = self.directory("floor");
            self.postgres = Some(PrivatePostgres::start(&directory).await.expect("Postgres is installed"));
        }
        if let Some(postgres) = &self.postgres {
            environment.push(("DATABASE_URL", postgres.url.as_str()));
        }
        let program = std::env::current_exe().expect("this program");
        let address = free_address();
        let server = Server::start(name, &program, &["--floor", name, &address], &environment, &address);
        self.servers.push((contender, server));
    }

    fn rotel(&mut self) {
        let program = out().join("peers/bin/rotel-agent");
        if !program.exists() {
            return println!("rotel is not installed (benches/install-peers.sh): skipped");
        }
        let directory = self.directory("rotel");
        let (grpc, http) = (free_address(), free_address());
        let (pid, log) = (directory.join("pid"), directory.join("log"));
        let arguments = [
            "start",
            "--exporter",
            "blackhole",
            "--otlp-grpc-endpoint",
            &grpc,
            "--otlp-http-endpoint",
            &http,
            "--otlp-grpc-max-recv-msg-size-mib",
            "16",
            "--pid-file",
            pid.to_str().expect("UTF-8"),
            "--log-file",
            log.to_str().expect("UTF-8"),
        ];
        let server = Server::start("rotel", &program, &arguments, &[], &grpc);
        self.servers.push((Contender::Rotel, server));
    }

    fn victoria_metrics(&mut self) {
        let program = out().join("peers/bin/victoria-metrics");
        if !program.exists() {
            return println!("VictoriaMetrics is not installed (benches/install-peers.sh): skipped");
        }
        let directory = self.directory("victoria");
        let address = free_address();
        let storage = format!("-storageDataPath={}", directory.display());
        let listen = format!("-httpListenAddr={address}");
        let server = Server::start("victoria", &program, &[&storage, &listen], &[], &address);
        self.servers.push((Contender::VictoriaMetrics, server));
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.servers.drain(..).for_each(|(_, server)| server.stop());
        self.postgres = None;
        for directory in &self.directories {
            let _left = std::fs::remove_dir_all(directory);
        }
    }
}
