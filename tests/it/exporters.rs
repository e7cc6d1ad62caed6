//! Real exporters, unmodified: what the official SDKs of four languages send is what is answered.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::support::Server;
use crate::support::rust_exporter::{self, Way};

/// An exporter program in another language.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    language: &'static str,
    command: &'static [&'static str],
    protocols: &'static [&'static str],
}

pub(crate) const PYTHON: Program = Program {
    language: "python",
    command: &["python/.venv/bin/python", "python/send.py"],
    protocols: &["grpc", "http/protobuf"],
};
pub(crate) const NODE: Program = Program {
    language: "node",
    command: &["node", "node/send.mjs"],
    protocols: &["grpc", "http/protobuf", "http/json"],
};
const GO: Program = Program { language: "go", command: &["go/exporters"], protocols: &["grpc", "http/protobuf"] };

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exporters")
}

impl Program {
    /// Makes it ready; false when its toolchain is not on this machine.
    pub(crate) fn install(self) -> bool {
        // Two at once would fill the machine.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap();
        let status = Command::new(directory().join("install.sh")).arg(self.language).status().unwrap();
        if status.code() == Some(3) {
            return false;
        }
        assert!(status.success(), "tests/exporters/install.sh {} failed", self.language);
        true
    }

    fn send(self, way: Way<'_>, compression: &str) {
        let (program, arguments) = self.command.split_first().unwrap();
        let program = if program.contains('/') { directory().join(program) } else { program.into() };
        let output = Command::new(program)
            .args(arguments)
            .args([way.protocol, way.endpoint, way.service])
            .current_dir(directory())
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
            .env("TEMPORALITY", if way.delta { "delta" } else { "cumulative" })
            .output()
            .unwrap();
        assert!(output.status.success(), "{way:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A bound within which an answer must be; both ends equal where it is exact.
fn close(expected: f64) -> (f64, f64) {
    (expected - expected.abs() * 1e-9, expected + expected.abs() * 1e-9)
}

/// What `service` sent, in two rounds, compared with the table in `tests/exporters/README.md`.
async fn check(server: &Server, way: Way<'_>) {
    let of = format!("service_name=\"{}\"", way.service);
    let span_metric = "traces.span.metrics.duration";
    // A non-monotonic sum is its last value, or the sum of what was added; Rust's SDK always sends the first.
    let carts = if way.delta && !way.service.starts_with("rust") { "sum(increase({M}[1h]))" } else { "sum({M})" };
    let table: &[(&str, &str, &str, (f64, f64))] = &[
        ("shop.orders", ", region=\"eu\"", "sum(increase({M}[1h]))", close(14.0)),
        ("shop.orders", ", region=\"us\"", "sum(increase({M}[1h]))", close(20.0)),
        ("shop.orders", "", "3600 * sum(rate({M}[1h]))", close(34.0)),
        ("shop.revenue", "", "sum(increase({M}[1h]))", close(7.5)),
        ("shop.carts", "", carts, close(6.0)),
        ("shop.temperature", "", "avg({M})", close(21.5)),
        ("shop.cpu.ticks", ", core=\"0\"", "sum(increase({M}[1h]))", close(200.0)),
        (
            "http.server.request.duration",
            ", http_route=\"/cart\"",
            "histogram_count(sum(increase({M}[1h])))",
            close(200.0),
        ),
        (
            "http.server.request.duration",
            ", http_route=\"/cart\"",
            "histogram_sum(sum(increase({M}[1h])))",
            close(10.1),
        ),
        // The true median is 0.05, the bound of a bucket; the true p99 lies in (0.05, 0.1].
        (
            "http.server.request.duration",
            ", http_route=\"/cart\"",
            "histogram_quantile(0.5, sum(increase({M}[1h])))",
            close(0.05),
        ),
        (
            "http.server.request.duration",
            ", http_route=\"/cart\"",
            "histogram_quantile(0.99, sum(increase({M}[1h])))",
            (0.05, 0.1),
        ),
        (
            "http.server.request.duration",
            ", http_response_status_code=\"500\"",
            "histogram_count(sum(increase({M}[1h])))",
            close(8.0),
        ),
        ("shop.payment.duration", "", "histogram_count(sum(increase({M}[1h])))", close(400.0)),
        ("shop.payment.duration", "", "histogram_sum(sum(increase({M}[1h])))", close(402.0)),
        // Scale 4 of 160 buckets: within 2^(1/16) of the true 1.00 and 1.98.
        ("shop.payment.duration", "", "histogram_quantile(0.5, sum(increase({M}[1h])))", (0.957, 1.045)),
        ("shop.payment.duration", "", "histogram_quantile(0.99, sum(increase({M}[1h])))", (1.89, 2.07)),
        (span_metric, ", span_kind=\"SPAN_KIND_SERVER\"", "histogram_count(sum(increase({M}[1h])))", close(20.0)),
        (span_metric, ", status_code=\"STATUS_CODE_ERROR\"", "histogram_count(sum(increase({M}[1h])))", close(4.0)),
        (span_metric, ", span_name=\"GET /cart\"", "histogram_sum(sum(increase({M}[1h])))", (1.9999, 2.0001)),
        (span_metric, ", db_system=\"postgresql\"", "histogram_sum(sum(increase({M}[1h])))", (0.7999, 0.8001)),
        (
            span_metric,
            ", span_kind=\"SPAN_KIND_CLIENT\"",
            "histogram_quantile(0.9, sum(increase({M}[1h])))",
            (0.038, 0.042),
        ),
    ];
    for (metric, labels, query, (least, most)) in table {
        let query = query.replace("{M}", &format!("{{\"{metric}\", {of}{labels}}}"));
        let answer = server.number(&query).await;
        assert!(
            answer.is_some_and(|n| (*least..=*most).contains(&n)),
            "{way:?}: {query} is {answer:?}, not {least}..={most}"
        );
    }
    let services = server.get("/api/services").await;
    let services = services["services"].as_array().unwrap();
    let ours = services.iter().find(|service| service["name"] == way.service).unwrap();
    assert_eq!(ours["rejected"], 0, "{way:?}");
}

async fn every_way(program: Program) {
    if !tokio::task::spawn_blocking(move || program.install()).await.unwrap() {
        println!("skipped: there is no {} here", program.language);
        return;
    }
    let server = Server::start().await;
    for protocol in program.protocols {
        let endpoint = if *protocol == "grpc" { &server.grpc } else { &server.otlp_http };
        for (compression, delta) in [("none", false), ("gzip", true)] {
            let service = format!("{}-{}-{compression}-{delta}", program.language, protocol.replace('/', "-"));
            let way = Way { protocol, endpoint, service: &service, delta };
            tokio::task::block_in_place(|| program.send(way, compression));
            check(&server, way).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_exporters_are_answered_exactly() {
    every_way(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_exporters_are_answered_exactly() {
    every_way(NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_exporters_are_answered_exactly() {
    every_way(GO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_exporters_are_answered_exactly() {
    let server = Server::start().await;
    for protocol in ["grpc", "http/protobuf", "http/json"] {
        let endpoint = if protocol == "grpc" { &server.grpc } else { &server.otlp_http };
        for delta in [false, true] {
            let service = format!("rust-{}-{delta}", protocol.replace('/', "-"));
            let way = Way { protocol, endpoint, service: &service, delta };
            tokio::task::block_in_place(|| rust_exporter::send(way));
            check(&server, way).await;
        }
    }
}
