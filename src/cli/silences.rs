//! `fastbreak silences`: who is quiet, and until when.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::server::{ServerArgs, segment, text};

/// Arguments of `fastbreak silences`.
#[derive(Args, Debug)]
pub(super) struct SilencesArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: SilencesCommand,
}

#[derive(Subcommand, Debug)]
enum SilencesCommand {
    /// Print silences, the newest first
    List,
    /// Silence what meets all matchers
    Add {
        /// NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX; may be repeated
        #[arg(required = true)]
        matchers: Vec<String>,
        /// For how long, such as 2h
        #[arg(long = "for", default_value = "1h")]
        lasting: String,
        /// Who makes it
        #[arg(long, env = "USER", default_value = "somebody")]
        by: String,
        /// Why
        #[arg(long, default_value = "")]
        comment: String,
        /// Only show which alerts it would meet
        #[arg(long)]
        dry_run: bool,
    },
    /// End a silence now
    Expire {
        /// Which silence
        id: String,
    },
}

fn line(silence: &Value) -> String {
    let matchers = silence.get("matchers").and_then(Value::as_array).into_iter().flatten();
    let matchers: Vec<String> =
        matchers.map(|m| format!("{}{}{:?}", text(m, "/name"), text(m, "/op"), text(m, "/value"))).collect();
    format!(
        "{:<18} {:<8} until {}  {}  {} alerts  {}: {}",
        text(silence, "/id"),
        text(silence, "/state"),
        text(silence, "/endsAt"),
        matchers.join(" "),
        text(silence, "/affected"),
        text(silence, "/createdBy"),
        text(silence, "/comment"),
    )
}

fn matcher(written: &str) -> anyhow::Result<Value> {
    let at = written.find(['=', '!']).with_context(|| format!("{written:?} has none of = != =~ !~"))?;
    let (name, rest) = written.split_at(at);
    // The longer ones first.
    let Some(op) = ["!=", "=~", "!~", "="].into_iter().find(|op| rest.starts_with(op)) else {
        bail!("{written:?} has none of = != =~ !~")
    };
    Ok(json!({ "name": name, "op": op, "value": rest.strip_prefix(op).unwrap_or_default() }))
}

pub(super) async fn run(args: SilencesArgs) -> anyhow::Result<ExitCode> {
    let server = &args.server;
    match args.command {
        SilencesCommand::List => server.show(&server.get("/api/silences").await?, line),
        SilencesCommand::Add { matchers, lasting, by, comment, dry_run } => {
            let span =
                humantime::parse_duration(&lasting).with_context(|| format!("--for {lasting:?} is not such as 2h"))?;
            let ends_at = chrono::Utc::now() + chrono::TimeDelta::from_std(span).context("--for is too long")?;
            let matchers = matchers.iter().map(|written| matcher(written)).collect::<anyhow::Result<Vec<_>>>()?;
            let body = json!({ "matchers": matchers, "endsAt": ends_at, "createdBy": by, "comment": comment });
            let path = if dry_run { "/api/silences?dryRun=true" } else { "/api/silences" };
            server.show(&server.call(Method::POST, path, Some(&body)).await?, line);
        }
        SilencesCommand::Expire { id } => {
            let path = format!("/api/silences/{}", segment(&id));
            server.show(&server.call(Method::DELETE, &path, None).await?, line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_as_they_are_written() {
        let check = |written: &str, expect: Value| assert_eq!(matcher(written).ok(), Some(expect), "{written}");
        check("host=a", json!({ "name": "host", "op": "=", "value": "a" }));
        check("host!~a.*=", json!({ "name": "host", "op": "!~", "value": "a.*=" }));
        check("host=~=a", json!({ "name": "host", "op": "=~", "value": "=a" }));
        assert!(matcher("host").is_err());
    }
}
