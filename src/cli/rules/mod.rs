//! `fastbreak rules`: rules as files, and what they would do.

mod file;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::server::{Output, ServerArgs, segment, text};
use super::{complain, print};

/// Exit code when a check failed.
const EXIT_CHECK_FAILED: u8 = 3;
/// Fields that the server adds to a rule.
const READ_ONLY: &[&str] = &["revision", "origin", "createdAt", "updatedAt", "health", "alerts"];

/// Arguments of `fastbreak rules`.
#[derive(Args, Debug)]
pub(super) struct RulesArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Subcommand, Debug)]
enum RulesCommand {
    /// Print every rule, or one as it is written in a file
    Get {
        /// Which rule
        id: Option<String>,
    },
    /// Create and replace the rules of files, ours or Prometheus'
    Apply {
        /// YAML or JSON; may be repeated
        #[arg(short, long = "file", required = true)]
        files: Vec<PathBuf>,
        /// Only check
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what apply would change; exit code 3 when it would
    Diff {
        /// YAML or JSON; may be repeated
        #[arg(short, long = "file", required = true)]
        files: Vec<PathBuf>,
    },
    /// Let the server check the rules of files; exit code 3 when one is not sound
    Test {
        /// YAML or JSON; may be repeated
        #[arg(short, long = "file", required = true)]
        files: Vec<PathBuf>,
    },
    /// Run a stored rule, or the rules of a file, over stored history
    Backtest {
        /// Which stored rule
        #[arg(required_unless_present = "file")]
        id: Option<String>,
        /// Rules to be tried instead
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// How far back, such as 7d
        #[arg(long, default_value = "7d")]
        since: String,
    },
    /// Send a test notification the way that the rule's alerts go
    Fire {
        /// Which rule
        id: String,
    },
    /// Print every revision of a rule, the newest first
    Revisions {
        /// Which rule
        id: String,
    },
    /// Make an old revision the newest
    Revert {
        /// Which rule
        id: String,
        /// Which revision
        revision: i64,
        /// Only show what the rule would be
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete a rule
    Delete {
        /// Which rule
        id: String,
    },
}

pub(super) async fn run(args: RulesArgs) -> anyhow::Result<ExitCode> {
    let server = &args.server;
    match args.command {
        RulesCommand::Get { id } => get(server, id.as_deref()).await,
        RulesCommand::Apply { files, dry_run } => apply(server, &files, dry_run).await,
        RulesCommand::Diff { files } => diff(server, &files).await,
        RulesCommand::Test { files } => test(server, &files).await,
        RulesCommand::Backtest { id, file, since } => backtest(server, id, file, &since).await,
        RulesCommand::Fire { id } => {
            let path = format!("/api/alerts/rules/{}/test", segment(&id));
            let sent = server.call(Method::POST, &path, Some(&json!({ "by": "fastbreak rules fire" }))).await?;
            server.show(&sent, |sent| format!("sent to {}", text(sent, "/receivers")));
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::Revisions { id } => {
            let revisions = server.get(&format!("/api/alerts/rules/{}/revisions", segment(&id))).await?;
            server.show(&revisions, revision_line);
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::Revert { id, revision, dry_run } => {
            let path = format!("/api/alerts/rules/{}/revert?dryRun={dry_run}", segment(&id));
            let reverted = server.call(Method::POST, &path, Some(&json!({ "revision": revision }))).await?;
            show_as_file(server, &reverted)?;
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::Delete { id } => {
            server.call(Method::DELETE, &format!("/api/alerts/rules/{}", segment(&id)), None).await?;
            print(&format!("{id} deleted\n"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn line(rule: &Value) -> String {
    let enabled = if rule.get("enabled") == Some(&Value::Bool(false)) { "disabled" } else { "enabled" };
    format!(
        "{:<28} {:<9} {:<9} {:<8} {}/{}  {}",
        text(rule, "/id"),
        text(rule, "/severity"),
        enabled,
        text(rule, "/health/state"),
        text(rule, "/alerts/firing"),
        text(rule, "/alerts/pending"),
        text(rule, "/condition"),
    )
}

async fn get(server: &ServerArgs, id: Option<&str>) -> anyhow::Result<ExitCode> {
    let Some(id) = id else {
        let rules = server.get("/api/alerts/rules").await?;
        server.show(&rules, line);
        return Ok(ExitCode::SUCCESS);
    };
    let rule = server.get(&format!("/api/alerts/rules/{}", segment(id))).await?;
    show_as_file(server, &rule)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a rule as a file that `apply` takes.
fn show_as_file(server: &ServerArgs, rule: &Value) -> anyhow::Result<()> {
    match server.output {
        Output::Json => print(&format!("{rule}\n")),
        Output::Table => print(&serde_saphyr::to_string(&json!({ "rules": [written(rule)] }))?),
    }
    Ok(())
}

fn revision_line(revision: &Value) -> String {
    let what = if revision.get("deleted") == Some(&Value::Bool(true)) { "deleted" } else { "saved" };
    format!(
        "{:<5} {}  {what:<8} {:<8} {}",
        text(revision, "/revision"),
        text(revision, "/createdAt"),
        text(revision, "/origin"),
        text(revision, "/rule/condition"),
    )
}

/// A rule without what the server adds.
fn written(rule: &Value) -> Value {
    let mut rule = rule.as_object().cloned().unwrap_or_default();
    rule.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    Value::Object(rule)
}

fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Map<String, Value>>> {
    let mut rules = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let read = file::parse(&text).with_context(|| format!("{} is not a file of rules", path.display()))?;
        for warning in &read.warnings {
            complain(&format!("{}: {warning}", path.display()));
        }
        rules.extend(read.rules);
    }
    if rules.is_empty() { bail!("there is no rule in these files") } else { Ok(rules) }
}

fn id_of(rule: &Map<String, Value>) -> String {
    rule.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What became of one rule: `created`, `changed`, `unchanged`.
async fn apply_one(server: &ServerArgs, rule: &Map<String, Value>, dry_run: bool) -> anyhow::Result<&'static str> {
    let mut body = Value::Object(rule.clone());
    let id = id_of(rule);
    let path = format!("/api/alerts/rules/{}", segment(&id));
    let there = server.try_call(Method::GET, &path, None).await?;
    // As the server would write it, with every default.
    let checked = server.call(Method::POST, "/api/alerts/rules?dryRun=true", Some(&body)).await?;
    let exists = there.is_success();
    if exists && written(&there.body) == checked {
        return Ok("unchanged");
    }
    if !dry_run {
        if let Some(body) = body.as_object_mut() {
            body.insert("origin".to_owned(), json!("file"));
            if exists {
                body.insert("revision".to_owned(), there.body.get("revision").cloned().unwrap_or_default());
            }
        }
        let (method, path) = if exists { (Method::PUT, path.as_str()) } else { (Method::POST, "/api/alerts/rules") };
        server.call(method, path, Some(&body)).await?;
    }
    Ok(if exists { "changed" } else { "created" })
}

async fn apply(server: &ServerArgs, files: &[PathBuf], dry_run: bool) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    for rule in read(files)? {
        let id = id_of(&rule);
        match apply_one(server, &rule, dry_run).await {
            Ok(what) => print(&format!("{id} {what}{}\n", if dry_run { " (dry run)" } else { "" })),
            Err(error) => {
                failed += 1;
                complain(&format!("{id}: {error:#}"));
            }
        }
    }
    if failed > 0 { bail!("{failed} rules were not taken") } else { Ok(ExitCode::SUCCESS) }
}

async fn diff(server: &ServerArgs, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut differs = false;
    for rule in read(files)? {
        let id = id_of(&rule);
        let there = server.try_call(Method::GET, &format!("/api/alerts/rules/{}", segment(&id)), None).await?;
        let wanted = server.call(Method::POST, "/api/alerts/rules?dryRun=true", Some(&Value::Object(rule))).await?;
        let before = if there.is_success() { written(&there.body) } else { json!({}) };
        let lines = changes(&before, &wanted);
        if !lines.is_empty() {
            differs = true;
            print(&format!("{id}\n{lines}"));
        }
    }
    Ok(if differs { ExitCode::from(EXIT_CHECK_FAILED) } else { ExitCode::SUCCESS })
}

/// The fields that differ, as `- before` and `+ after`.
fn changes(before: &Value, after: &Value) -> String {
    let empty = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let mut out = String::new();
    for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
        if let Some(value) = before.get(name) {
            out.push_str(&format!("  - {name}: {value}\n"));
        }
        if let Some(value) = after.get(name) {
            out.push_str(&format!("  + {name}: {value}\n"));
        }
    }
    out
}

async fn test(server: &ServerArgs, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut failed = false;
    for rule in read(files)? {
        let id = id_of(&rule);
        let answer = server.try_call(Method::POST, "/api/alerts/rules?dryRun=true", Some(&Value::Object(rule))).await?;
        if answer.is_success() {
            print(&format!("{id} ok\n"));
        } else {
            failed = true;
            print(&format!("{id} {}\n", answer.problem()));
        }
    }
    Ok(if failed { ExitCode::from(EXIT_CHECK_FAILED) } else { ExitCode::SUCCESS })
}

async fn backtest(
    server: &ServerArgs,
    id: Option<String>,
    file: Option<PathBuf>,
    since: &str,
) -> anyhow::Result<ExitCode> {
    let span = humantime::parse_duration(since).with_context(|| format!("--since {since:?} is not such as 7d"))?;
    let to = chrono::Utc::now();
    let from = to - chrono::TimeDelta::from_std(span).context("--since is too long")?;
    let tried: Vec<(String, Option<Value>)> = match file {
        None => id.into_iter().map(|id| (id, None)).collect(),
        Some(file) => {
            let mut tried = Vec::new();
            for rule in read(&[file])? {
                let id = id_of(&rule);
                let path = format!("/api/alerts/rules/{}", segment(&id));
                let known = server.try_call(Method::GET, &path, None).await?.is_success();
                tried.push((if known { id } else { "new".to_owned() }, Some(Value::Object(rule))));
            }
            tried
        }
    };
    for (id, rule) in tried {
        let name = rule.as_ref().map_or_else(|| id.clone(), |rule| text(rule, "/id"));
        let bar = ProgressBar::new_spinner().with_message(format!("{name} over {since}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        let body = json!({ "from": from, "to": to, "rule": rule });
        let path = format!("/api/alerts/rules/{}/backtest", segment(&id));
        let result = server.call(Method::POST, &path, Some(&body)).await;
        bar.finish_and_clear();
        server.show(&result?, |result| report(&name, result));
    }
    Ok(ExitCode::SUCCESS)
}

fn report(name: &str, result: &Value) -> String {
    let numbers = |at: &str| {
        format!(
            "{} alerts, {} s firing, {} notifications {}",
            text(result, &format!("{at}/alerts")),
            text(result, &format!("{at}/firingSeconds")),
            text(result, &format!("{at}/notifications")),
            text(result, &format!("{at}/byReceiver")),
        )
    };
    let mut out = format!("{name}: {} evaluations, {}", text(result, "/evaluations"), numbers("/summary"));
    if result.get("live").is_some_and(Value::is_object) {
        out.push_str(&format!("\n  as it is stored: {}", numbers("/live")));
    }
    for told in result.get("notifications").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!(
            "\n  {} {} {} to {}",
            text(told, "/at"),
            text(told, "/severity"),
            text(told, "/reason"),
            text(told, "/receiver")
        ));
    }
    out
}
