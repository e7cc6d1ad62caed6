//! `fastbreak notify test`: tries receivers through a running server and says what came back.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::print;

/// A receiver did not take the test.
const EXIT_FAILED: u8 = 3;

/// Arguments of `fastbreak notify`.
#[derive(Args, Debug)]
pub(super) struct NotifyArgs {
    #[command(subcommand)]
    command: NotifyCommand,
}

#[derive(Subcommand, Debug)]
enum NotifyCommand {
    /// Send a test message now, and show the outcome
    Test {
        /// Which receiver; every enabled one by default
        receiver: Option<String>,
        /// The server's HTTP address
        #[arg(long, env = "FASTBREAK_URL", default_value = "http://127.0.0.1:3001")]
        url: String,
    },
}

pub(super) async fn run(args: NotifyArgs) -> anyhow::Result<ExitCode> {
    let NotifyCommand::Test { receiver, url } = args.command;
    let api = format!("{}/api/receivers", url.trim_end_matches('/'));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let receivers = match receiver {
        Some(receiver) => vec![receiver],
        None => enabled(&client, &api).await?,
    };
    if receivers.is_empty() {
        bail!("there are no receivers; SMTP_HOST, ALERT_WEBHOOK_URL and SLACK_WEBHOOK_URL make some");
    }
    let mut failed = false;
    for receiver in receivers {
        let answer = answer(client.post(format!("{api}/{receiver}/test"))).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let outcome = text("outcome");
        failed |= outcome != "sent";
        let status = answer.get("status").and_then(Value::as_i64).map(|n| n.to_string()).unwrap_or_default();
        let took = answer.get("durationMs").and_then(Value::as_i64).unwrap_or_default();
        print(&format!("{receiver:<24} {outcome:<8} {status:<4} {took:>6} ms  {}\n", text("detail")));
    }
    Ok(if failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

async fn enabled(client: &reqwest::Client, api: &str) -> anyhow::Result<Vec<String>> {
    let answer = answer(client.get(api)).await?;
    let receivers = answer.as_array().into_iter().flatten();
    let receivers = receivers.filter(|receiver| receiver.get("enabled").and_then(Value::as_bool) == Some(true));
    Ok(receivers.filter_map(|receiver| receiver.get("id")?.as_str().map(str::to_owned)).collect())
}

async fn answer(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await.context("the server does not answer")?;
    let refused = !answer.status().is_success();
    let body: Value = answer.json().await.context("the server's answer is not JSON")?;
    if refused {
        bail!("{}", body.get("detail").and_then(Value::as_str).unwrap_or("the server refused"));
    }
    Ok(body)
}
