//! `fastbreak check`: the configuration as the server would read it, and whether what it names answers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::{ConfigArgs, EXIT_CONFIG, complain, print};
use crate::app::connect;
use crate::config::{Backend, Config, SETTINGS};

/// How long Redis may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A check failed.
const EXIT_FAILED: u8 = 3;

pub(super) async fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let resolved = args.resolve();
    for setting in SETTINGS {
        let Some((value, origin)) = resolved.values.get(setting.key).filter(|(value, _)| !value.is_empty()) else {
            continue;
        };
        let shown = if setting.secret { "***" } else { value };
        print(&format!("{:<24} {shown:<24} {origin}\n", setting.key));
    }
    let config = match Config::read(&resolved) {
        Ok(config) => config,
        Err(errors) => {
            complain(&format!("fastbreak: the configuration has mistakes:\n{errors}"));
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let database = check_database(&config).await;
    let redis = check_redis(&config).await;
    let mut failed = false;
    for (what, result) in [("database", database), ("redis", redis)] {
        let (word, text) = match result {
            Ok(text) => ("ok", text),
            Err(error) => {
                failed = true;
                ("FAILED", format!("{error:#}"))
            }
        };
        print(&format!("{what:<24} {word}: {text}\n"));
    }
    Ok(if failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

async fn check_database(config: &Config) -> anyhow::Result<String> {
    let Backend::Url(url) = &config.database else { return Ok("private, started by serve".to_owned()) };
    let storage = connect(url, config.database_connections).await?;
    Ok(format!("Postgres {}", storage.server_version().await?))
}

async fn check_redis(config: &Config) -> anyhow::Result<String> {
    match &config.redis {
        Backend::Off => Ok("off".to_owned()),
        Backend::Private => Ok("private, started by serve".to_owned()),
        Backend::Url(url) => {
            let answer = tokio::time::timeout(ANSWER_WITHIN, crate::redis::ping(url)).await;
            answer.with_context(|| format!("no answer within {} s", ANSWER_WITHIN.as_secs()))??;
            Ok("answers".to_owned())
        }
    }
}
