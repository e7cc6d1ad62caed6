//! `fastbreak policies`: policies as files, what an edit would change, and every revision with who made it and why; the fleet
//! that runs them, rollouts, overrides, invalidations.

mod fleet;
mod rollouts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::print;
use super::server::{Output, ServerArgs, segment, text};
use fleet::{FleetArgs, InvalidateArgs, WarmArgs};
use rollouts::{MoveArgs, OverrideCommand, RolloutCommand};

/// Exit code when there is a difference.
const EXIT_DIFFERS: u8 = 3;
/// Fields that the server adds to a policy.
const READ_ONLY: &[&str] = &["revision", "author", "reason", "createdAt", "updatedAt"];

/// Arguments of `fastbreak policies`.
#[derive(Args, Debug)]
pub(super) struct PoliciesArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: PoliciesCommand,
}

/// Who changes something, and why.
#[derive(Args, Debug)]
struct ChangeArgs {
    /// Who changes it
    #[arg(long, env = "USER", default_value = "")]
    author: String,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
    /// Only check
    #[arg(long)]
    dry_run: bool,
}

impl ChangeArgs {
    fn query(&self) -> String {
        format!("dryRun={}&author={}&reason={}", self.dry_run, segment(&self.author), segment(&self.reason))
    }
}

#[derive(Subcommand, Debug)]
enum PoliciesCommand {
    /// Print every policy, or one as it is written in a file
    Get {
        /// Which policy
        id: Option<String>,
    },
    /// Create or replace the policy of a file
    Set {
        /// YAML or JSON
        #[arg(short, long)]
        file: PathBuf,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Show what the policy of a file would change; exit code 3 when it would
    Diff {
        /// YAML or JSON
        #[arg(short, long)]
        file: PathBuf,
    },
    /// Print every revision of a policy, the newest first
    Revisions {
        /// Which policy
        id: String,
    },
    /// Make an old revision the newest
    Revert {
        /// Which policy
        id: String,
        /// Which revision
        revision: i64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Delete a policy
    Delete {
        /// Which policy
        id: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Give a policy to one part of the fleet after the other
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Give everybody the revision from before the rollout
    Rollback(MoveArgs),
    /// Change a policy for a while
    #[command(subcommand)]
    Override(OverrideCommand),
    /// Print which instance runs what
    Fleet(FleetArgs),
    /// Make entries of caches invalid, everywhere
    Invalidate(InvalidateArgs),
    /// Have one instance of each service load keys before they are asked for
    Warm(WarmArgs),
}

fn path_of(id: &str) -> String {
    format!("/api/policies/{}", segment(id))
}

pub(super) async fn run(args: PoliciesArgs) -> anyhow::Result<ExitCode> {
    let server = &args.server;
    match args.command {
        PoliciesCommand::Get { id: None } => server.show(&server.get("/api/policies").await?, line),
        PoliciesCommand::Get { id: Some(id) } => show_as_file(server, &server.get(&path_of(&id)).await?)?,
        PoliciesCommand::Set { file, change } => show_as_file(server, &set(server, &read(&file)?, &change).await?)?,
        PoliciesCommand::Diff { file } => return diff(server, &read(&file)?).await,
        PoliciesCommand::Revisions { id } => {
            let revisions = server.get(&format!("{}/revisions", path_of(&id))).await?;
            server.show(&revisions, revision_line);
        }
        PoliciesCommand::Revert { id, revision, change } => {
            let path = format!("{}/revert?{}", path_of(&id), change.query());
            show_as_file(server, &server.call(Method::POST, &path, Some(&json!({ "revision": revision }))).await?)?;
        }
        PoliciesCommand::Delete { id, change } => {
            server.call(Method::DELETE, &format!("{}?{}", path_of(&id), change.query()), None).await?;
            print(&format!("{id} deleted{}\n", if change.dry_run { " (dry run)" } else { "" }));
        }
        PoliciesCommand::Rollout(command) => return rollouts::run(server, command).await,
        PoliciesCommand::Rollback(args) => rollouts::go(server, args, "rollback").await?,
        PoliciesCommand::Override(command) => rollouts::run_override(server, command).await?,
        PoliciesCommand::Fleet(args) => fleet::list(server, args).await?,
        PoliciesCommand::Invalidate(args) => return fleet::invalidate(server, args).await,
        PoliciesCommand::Warm(args) => return fleet::warm(server, args).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let written = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    serde_saphyr::from_str(&written).with_context(|| format!("{} is not a policy", file.display()))
}

/// Creates a policy, or replaces the revision that is there now.
async fn set(server: &ServerArgs, policy: &Value, change: &ChangeArgs) -> anyhow::Result<Value> {
    let path = path_of(&text(policy, "/id"));
    let there = server.try_call(Method::GET, &path, None).await?;
    if there.is_success() {
        let path = format!("{path}?{}&revision={}", change.query(), text(&there.body, "/revision"));
        return server.call(Method::PUT, &path, Some(policy)).await;
    }
    server.call(Method::POST, &format!("/api/policies?{}", change.query()), Some(policy)).await
}

async fn diff(server: &ServerArgs, policy: &Value) -> anyhow::Result<ExitCode> {
    let path = format!("{}/diff", path_of(&text(policy, "/id")));
    let changes = server.call(Method::POST, &path, Some(&json!({ "edit": policy }))).await?;
    server.show(&changes, change_line);
    let differs = changes.as_array().is_some_and(|changes| !changes.is_empty());
    Ok(if differs { ExitCode::from(EXIT_DIFFERS) } else { ExitCode::SUCCESS })
}

/// Prints a policy as a file that `set` takes.
fn show_as_file(server: &ServerArgs, policy: &Value) -> anyhow::Result<()> {
    if server.output == Output::Json {
        print(&format!("{policy}\n"));
        return Ok(());
    }
    let mut written = policy.as_object().cloned().unwrap_or_default();
    written.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    print(&serde_saphyr::to_string(&Value::Object(written))?);
    Ok(())
}

fn line(policy: &Value) -> String {
    let kind = if policy.get("cache").is_some() { "cache" } else { "batch" };
    let of = |pointer: &str| Some(text(policy, pointer)).filter(|text| !text.is_empty()).unwrap_or("*".to_owned());
    format!(
        "{:<28} {kind:<6} {:<5} {:<20} {}",
        text(policy, "/id"),
        text(policy, "/revision"),
        of("/selector/service"),
        of("/selector/target"),
    )
}

fn change_line(change: &Value) -> String {
    format!("{}: {:?} -> {:?}", text(change, "/field"), text(change, "/before"), text(change, "/after"))
}

fn revision_line(revision: &Value) -> String {
    let mut out = format!(
        "{:<5} {}  {:<8} {:<12} {}",
        text(revision, "/revision"),
        text(revision, "/createdAt"),
        if revision.get("deleted") == Some(&Value::Bool(true)) { "deleted" } else { "saved" },
        text(revision, "/author"),
        text(revision, "/reason"),
    );
    for change in revision.get("changes").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!("\n      {}", change_line(change)));
    }
    out
}
