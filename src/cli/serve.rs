//! `fastbreak serve` and `fastbreak migrate`.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{EXIT_CONFIG, complain, print, start_logs};
use crate::app::{App, instance_id, open_database};
use crate::config::Config;
use crate::gateway::Facts;
use crate::telemetry::own_pipeline;

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
    tokio::pin!(stop);
    let own = match own_pipeline(&instance_id()) {
        Ok(own) => own,
        Err(error) => {
            complain(&format!("fastbreak: the OTEL_ variables have a mistake: {error}"));
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    start_logs(&config, own.as_ref());
    let built = tokio::select! {
        built = App::build(config) => Some(built),
        // What was started ends with what was built of it.
        () = &mut stop => None,
    };
    let app = match built {
        Some(Ok(app)) => app.with_own_telemetry(own),
        unbuilt => {
            if let Some(own) = own {
                own.shutdown(Duration::ZERO).await;
            }
            return unbuilt.map_or(Ok(ExitCode::SUCCESS), |built| built.map(|_app| ExitCode::FAILURE));
        }
    };
    print(&banner(app.facts()));
    if app.run(stop).await? {
        return Ok(ExitCode::SUCCESS);
    }
    complain(&format!(
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
    start_logs(&config, None);
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
