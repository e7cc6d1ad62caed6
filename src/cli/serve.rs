//! `fastbreak serve` and `fastbreak migrate`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::print;
use crate::app::{App, open_database};
use crate::config::Config;
use crate::gateway::Facts;

/// Serves until SIGTERM or SIGINT.
pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let grace = config.grace_period;
    let app = App::build(config).await?;
    print(&banner(app.facts()));
    if app.run(stop).await? {
        return Ok(ExitCode::SUCCESS);
    }
    super::complain(&format!(
        "fastbreak: the drain took longer than {} s; what was not flushed is in the journal",
        grace.as_secs()
    ));
    Ok(ExitCode::FAILURE)
}

/// Addresses and the lines to copy.
fn banner(facts: &Facts) -> String {
    format!(
        "FastBreak {version}\n\
         dashboard  http://{http}\n\
         grpc       {grpc}\n\
         otlp-http  {otlp_http}\n\
         database   {database}\n\
         \n\
         Point an exporter here:\n\
         \x20 export OTEL_EXPORTER_OTLP_ENDPOINT=http://{grpc} OTEL_EXPORTER_OTLP_PROTOCOL=grpc\n\
         \x20 export OTEL_EXPORTER_OTLP_ENDPOINT=http://{otlp_http} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n",
        version = env!("CARGO_PKG_VERSION"),
        http = facts.http,
        grpc = facts.grpc,
        otlp_http = facts.otlp_http,
        database = if facts.private_postgres { "private Postgres" } else { "as configured" },
    )
}

/// Applies migrations.
pub(super) async fn migrate(config: Config) -> anyhow::Result<ExitCode> {
    let (storage, _private) = open_database(&config).await?;
    let applied = storage.migrate().await?;
    for migration in &applied {
        print(&format!("applied {migration}\n"));
    }
    if applied.is_empty() {
        print("nothing to apply\n");
    }
    Ok(ExitCode::SUCCESS)
}
