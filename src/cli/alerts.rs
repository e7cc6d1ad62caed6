//! `fastbreak alerts`: what is open, what was, who took it, and why.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::print;
use super::server::{Output, ServerArgs, segment, text};

/// Exit code when something fires, for scripts.
const EXIT_FIRING: u8 = 3;

/// Arguments of `fastbreak alerts`.
#[derive(Args, Debug)]
pub(super) struct AlertsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Subcommand, Debug)]
enum AlertsCommand {
    /// Print open alerts, the worst first; exit code 3 when one fires
    List,
    /// Print alerts that were open lately
    History {
        /// How many hours back
        #[arg(long, default_value = "24")]
        hours: f64,
    },
    /// Print one alert with its transitions
    Get {
        /// Which alert
        id: String,
    },
    /// Take an alert: no more repeats, no escalation
    Ack {
        /// Which alert
        id: String,
        /// Who takes it
        #[arg(long, env = "USER", default_value = "somebody")]
        by: String,
        /// What you know of it
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Give an alert back
    Unack {
        /// Which alert
        id: String,
    },
    /// Say why a rule fired, did not fire, or was not told
    Explain {
        /// Which rule
        rule: String,
        /// At this time (RFC 3339) instead of now
        #[arg(long)]
        at: Option<String>,
        /// Only alerts with this label, as NAME=VALUE; may be repeated
        #[arg(long = "label")]
        labels: Vec<String>,
    },
}

fn line(alert: &Value) -> String {
    let when =
        Some(text(alert, "/startsAt")).filter(|at| !at.is_empty()).unwrap_or_else(|| text(alert, "/pendingSince"));
    let taken = text(alert, "/acknowledged/by");
    let taken = if taken.is_empty() { taken } else { format!("  taken by {taken}") };
    format!(
        "{:<8} {:<9} {:<9} {when}  {} {} value {}{taken}",
        text(alert, "/id"),
        text(alert, "/state"),
        text(alert, "/severity"),
        text(alert, "/ruleName"),
        text(alert, "/labels"),
        text(alert, "/value"),
    )
}

pub(super) async fn run(args: AlertsArgs) -> anyhow::Result<ExitCode> {
    let server = &args.server;
    match args.command {
        AlertsCommand::List => {
            let alerts = server.get("/api/alerts/active").await?;
            server.show(&alerts, line);
            let fires = |alert: &Value| alert.get("state").and_then(Value::as_str) == Some("firing");
            let any = alerts.as_array().into_iter().flatten().any(fires);
            return Ok(if any { ExitCode::from(EXIT_FIRING) } else { ExitCode::SUCCESS });
        }
        AlertsCommand::History { hours } => {
            server.show(&server.get(&format!("/api/alerts/history?hours={hours}")).await?, line);
        }
        AlertsCommand::Get { id } => {
            let alert = server.get(&format!("/api/alerts/{}", segment(&id))).await?;
            server.show(&alert, |alert| {
                let transitions = alert.get("transitions").and_then(Value::as_array).into_iter().flatten();
                let lines = transitions.map(|t| {
                    format!(
                        "\n  {} {} -> {} ({})",
                        text(t, "/at"),
                        text(t, "/from"),
                        text(t, "/to"),
                        text(t, "/reason")
                    )
                });
                line(alert) + &lines.collect::<String>()
            });
        }
        AlertsCommand::Ack { id, by, note } => {
            let body = json!({ "by": by, "note": note });
            let path = format!("/api/alerts/{}/ack", segment(&id));
            server.show(&server.call(Method::POST, &path, Some(&body)).await?, line);
        }
        AlertsCommand::Unack { id } => {
            let path = format!("/api/alerts/{}/ack", segment(&id));
            server.show(&server.call(Method::DELETE, &path, None).await?, line);
        }
        AlertsCommand::Explain { rule, at, labels } => explain(server, &rule, at, &labels).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn explain(server: &ServerArgs, rule: &str, at: Option<String>, labels: &[String]) -> anyhow::Result<()> {
    let mut path = format!("/api/alerts/explain?ruleId={}", segment(rule));
    if let Some(at) = at {
        path.push_str(&format!("&at={}", segment(&at)));
    }
    for label in labels {
        let Some((name, value)) = label.split_once('=') else { anyhow::bail!("--label {label:?} is not NAME=VALUE") };
        path.push_str(&format!("&label.{}={}", segment(name), segment(value)));
    }
    let told = server.get(&path).await?;
    if server.output == Output::Json {
        print(&format!("{told}\n"));
        return Ok(());
    }
    let mut out = format!("{}\n", text(&told, "/verdict"));
    for step in told.get("steps").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!("  {} {:<14} {}\n", text(step, "/at"), text(step, "/what"), text(step, "/detail")));
    }
    print(&out);
    Ok(())
}
