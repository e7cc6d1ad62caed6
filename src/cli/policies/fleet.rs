//! `fastbreak policies fleet|invalidate|warm`: who runs what, entries made invalid, keys loaded ahead.

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::server::{ServerArgs, segment, text};

/// Exit code when something has not come to its end in time.
const EXIT_WAITS: u8 = 5;
/// How often what is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Which instances.
#[derive(Args, Debug)]
pub(super) struct FleetArgs {
    /// Of this service; of all when left out
    service: Option<String>,
    /// Only those that are connected and run something else than they should
    #[arg(long)]
    behind: bool,
}

/// Which entries.
#[derive(Args, Debug)]
pub(super) struct InvalidateArgs {
    /// Whose caches; a * stands for any characters, and every service when left out
    #[arg(long, default_value = "")]
    service: String,
    /// Which caches, alike
    #[arg(long, default_value = "")]
    key_space: String,
    /// By key; may be repeated
    #[arg(long = "key")]
    keys: Vec<String>,
    /// By tag; may be repeated
    #[arg(long = "tag")]
    tags: Vec<String>,
    /// By how keys begin; may be repeated
    #[arg(long = "prefix")]
    prefixes: Vec<String>,
    /// The whole key space
    #[arg(long)]
    all: bool,
    /// Wait so many seconds until nobody reads an entry from before any more; exit code 5 when somebody still may
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Who does it
    #[arg(long, env = "USER", default_value = "")]
    author: String,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

/// Which keys.
#[derive(Args, Debug)]
pub(super) struct WarmArgs {
    /// Whose caches; a * stands for any characters, and every service when left out
    #[arg(long, default_value = "")]
    service: String,
    /// Which cache
    #[arg(long)]
    key_space: String,
    /// Keys, beside those of the command line, one a line
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Keys
    keys: Vec<String>,
    /// Wait so many seconds for the reports; exit code 5 when one is missing
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

pub(super) async fn list(server: &ServerArgs, args: FleetArgs) -> anyhow::Result<()> {
    let service = segment(args.service.as_deref().unwrap_or_default());
    server.show(&server.get(&format!("/api/fleet?service={service}&behind={}", args.behind)).await?, instance_lines);
    Ok(())
}

/// Looks at `path` until it is `done`, or the time is over.
async fn waited(
    server: &ServerArgs,
    path: &str,
    wait: Option<u64>,
    done: impl Fn(&Value) -> bool,
) -> anyhow::Result<(Value, ExitCode)> {
    let end = Instant::now() + Duration::from_secs(wait.unwrap_or_default());
    loop {
        let seen = server.get(path).await?;
        if done(&seen) {
            return Ok((seen, ExitCode::SUCCESS));
        }
        if Instant::now() >= end {
            return Ok((seen, if wait.is_some() { ExitCode::from(EXIT_WAITS) } else { ExitCode::SUCCESS }));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn invalidate(server: &ServerArgs, args: InvalidateArgs) -> anyhow::Result<ExitCode> {
    let InvalidateArgs { service, key_space, keys, tags, prefixes, all, wait, author, reason } = args;
    let body = json!({
        "service": service, "keySpace": key_space, "keys": keys, "tags": tags, "prefixes": prefixes, "all": all,
        "author": author, "reason": reason,
    });
    let made = server.call(Method::POST, "/api/invalidations", Some(&body)).await?;
    let path = format!("/api/invalidations/{}", text(&made, "/sequence"));
    let has_converged = |seen: &Value| seen.get("converged") == Some(&Value::Bool(true));
    let (seen, code) = waited(server, &path, wait, has_converged).await?;
    server.show(&seen, invalidation_line);
    Ok(code)
}

pub(super) async fn warm(server: &ServerArgs, args: WarmArgs) -> anyhow::Result<ExitCode> {
    let WarmArgs { service, key_space, file, mut keys, wait } = args;
    if let Some(file) = file {
        let open = std::fs::File::open(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        for line in std::io::BufReader::new(open).lines() {
            keys.extend(Some(line?).filter(|line| !line.is_empty()));
        }
    }
    let body = json!({ "service": service, "keySpace": key_space, "keys": keys });
    let asked = server.call(Method::POST, "/api/warmings", Some(&body)).await?;
    let each = |seen: &Value| seen.get("instances").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_done = |seen: &Value| each(seen).iter().all(|one| one.get("done") == Some(&Value::Bool(true)));
    let (seen, code) = waited(server, &format!("/api/warmings/{}", text(&asked, "/id")), wait, is_done).await?;
    server.show(&seen, |seen| each(seen).iter().map(warmed_line).collect::<Vec<_>>().join("\n"));
    Ok(code)
}

fn instance_lines(instance: &Value) -> String {
    let connected = if instance.get("connected") == Some(&Value::Bool(true)) { "connected" } else { "gone" };
    let mut out = format!(
        "{:<20} {:<38} {connected:<9} {}  {}",
        text(instance, "/service"),
        text(instance, "/instance"),
        text(instance, "/lastSeenAt"),
        text(instance, "/sdk"),
    );
    for policy in instance.get("policies").and_then(Value::as_array).into_iter().flatten() {
        let is = |name: &str| policy.get(name) == Some(&Value::Bool(true));
        out.push_str(&format!(
            "\n    {:<28} {} of {}{}{}{} {}",
            text(policy, "/policyId"),
            text(policy, "/running"),
            text(policy, "/assigned"),
            if is("behind") { " behind" } else { "" },
            if is("canary") { " canary" } else { "" },
            Some(text(policy, "/overrideId"))
                .filter(|id| !id.is_empty())
                .map(|id| format!(" under {id}"))
                .unwrap_or_default(),
            text(policy, "/error"),
        ));
    }
    out
}

fn invalidation_line(of: &Value) -> String {
    let state = if of.get("converged") == Some(&Value::Bool(true)) {
        format!("converged after {} s", text(of, "/convergedAfterS"))
    } else {
        let waiting = of.get("waiting").and_then(Value::as_array).cloned().unwrap_or_default();
        let waiting: Vec<&str> = waiting.iter().filter_map(Value::as_str).collect();
        format!("waits for {}", waiting.join(", "))
    };
    format!("invalidation {}: {} acknowledged, {state}", text(of, "/sequence"), text(of, "/acknowledged"))
}

fn warmed_line(of: &Value) -> String {
    let (service, instance) = (text(of, "/service"), text(of, "/instance"));
    if of.get("done") == Some(&Value::Bool(true)) {
        format!("{service}/{instance}: {} loaded, {} failed", text(of, "/loaded"), text(of, "/failed"))
    } else {
        format!("{service}/{instance}: has not reported")
    }
}
