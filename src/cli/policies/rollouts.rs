//! `fastbreak policies rollout|rollback|override`: revisions in stages, and temporary changes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{ChangeArgs, read};
use crate::cli::print;
use crate::cli::server::{ServerArgs, segment, text};

/// Exit code when a rollout that was followed was rolled back.
const EXIT_ROLLED_BACK: u8 = 4;
/// How often a rollout that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Subcommand, Debug)]
pub(super) enum RolloutCommand {
    /// Give the policy of a file to one part of the fleet after the other
    Start {
        /// The policy as it is to be; YAML or JSON
        #[arg(short, long)]
        file: PathBuf,
        /// A stage as PERCENT or PERCENT:BAKE, such as 10:5m; 1, 10, 50 and 100 of 10m each when left out
        #[arg(long = "stage", value_name = "PERCENT[:BAKE]")]
        stages: Vec<String>,
        /// Guards as a list in YAML or JSON: name, query with $group, and maxRatio, minRatio, maxValue or minValue
        #[arg(long)]
        guards: Option<PathBuf>,
        /// Stay until it has ended; exit code 4 when it was rolled back
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Print the last rollouts of a policy, or of all
    List {
        /// Which policy
        policy: Option<String>,
    },
    /// Print one rollout with its stages and what its guards measured
    Show {
        /// Which rollout
        id: String,
        /// Stay until it has ended; exit code 4 when it was rolled back
        #[arg(long)]
        follow: bool,
    },
    /// Stay at the stage until resumed
    Pause(MoveArgs),
    /// Go on; the stage's bake time begins again
    Resume(MoveArgs),
    /// Go to the next stage now; from the last it is done
    Promote(MoveArgs),
}

/// Which rollout, and who moves it.
#[derive(Args, Debug)]
pub(super) struct MoveArgs {
    /// The rollout, or the policy of which it is under way
    id: String,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Subcommand, Debug)]
pub(super) enum OverrideCommand {
    /// Change a policy for the time of a lease; the same id again renews it
    Put {
        /// Which policy
        policy: String,
        /// Names the override; made when left out
        #[arg(long)]
        id: Option<String>,
        /// TTLs, grace and stale-while-revalidate times this
        #[arg(long)]
        ttl_factor: Option<f64>,
        /// Entries past their TTL are served for so long, such as 10m
        #[arg(long)]
        serve_stale: Option<String>,
        /// Rate of a batcher times this
        #[arg(long)]
        rate_factor: Option<f64>,
        /// Batches at once times this
        #[arg(long)]
        concurrency_factor: Option<f64>,
        /// How long it lasts
        #[arg(long, default_value = "10m")]
        lease: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Print the overrides whose lease runs
    List {
        /// Of this policy; of all when left out
        policy: Option<String>,
    },
    /// Print the overrides of a policy that have ended
    Ended {
        /// Which policy
        policy: String,
    },
    /// End an override now
    End {
        /// Which override
        id: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

pub(super) async fn run(server: &ServerArgs, command: RolloutCommand) -> anyhow::Result<ExitCode> {
    match command {
        RolloutCommand::Start { file, stages, guards, follow, change } => {
            let stages = stages.iter().map(|stage| stage_of(stage)).collect::<anyhow::Result<Vec<Value>>>()?;
            let guards = guards.map(|file| read(&file)).transpose()?.unwrap_or_else(|| json!([]));
            let body = json!({ "policy": read(&file)?, "stages": stages, "guards": guards });
            let started = server.call(Method::POST, &format!("/api/rollouts?{}", change.query()), Some(&body)).await?;
            if change.dry_run {
                server.show(&started, details);
            } else if follow {
                return followed(server, &text(&started, "/id")).await;
            } else {
                server.show(&started, details);
            }
        }
        RolloutCommand::List { policy } => {
            let path = format!("/api/rollouts?policy={}", segment(policy.as_deref().unwrap_or_default()));
            server.show(&server.get(&path).await?, line);
        }
        RolloutCommand::Show { id, follow: true } => return followed(server, &id).await,
        RolloutCommand::Show { id, follow: false } => server.show(&server.get(&path_of(&id)).await?, details),
        RolloutCommand::Pause(args) => go(server, args, "pause").await?,
        RolloutCommand::Resume(args) => go(server, args, "resume").await?,
        RolloutCommand::Promote(args) => go(server, args, "promote").await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Moves a rollout, or the one of a policy that is under way.
pub(super) async fn go(server: &ServerArgs, args: MoveArgs, to: &str) -> anyhow::Result<()> {
    let MoveArgs { id, change } = args;
    let of_policy = server.get(&format!("/api/rollouts?policy={}", segment(&id))).await?;
    let open = |rollout: &&Value| rollout.get("endedAt").is_none_or(Value::is_null);
    let found = of_policy.as_array().and_then(|rollouts| rollouts.iter().find(open)).map(|open| text(open, "/id"));
    let id = found.unwrap_or(id);
    if change.dry_run {
        server.show(&server.get(&path_of(&id)).await?, details);
        return Ok(());
    }
    let path = format!("{}/{to}?{}", path_of(&id), change.query());
    server.show(&server.call(Method::POST, &path, None).await?, details);
    Ok(())
}

pub(super) async fn run_override(server: &ServerArgs, command: OverrideCommand) -> anyhow::Result<()> {
    match command {
        OverrideCommand::Put {
            policy,
            id,
            ttl_factor,
            serve_stale,
            rate_factor,
            concurrency_factor,
            lease,
            change,
        } => {
            let mut adjustment = Map::new();
            for (name, factor) in
                [("ttlFactor", ttl_factor), ("rateFactor", rate_factor), ("concurrencyFactor", concurrency_factor)]
            {
                factor.map(|factor| adjustment.insert(name.to_owned(), json!(factor)));
            }
            serve_stale.map(|stale| adjustment.insert("serveStale".to_owned(), json!(stale)));
            let id = id.unwrap_or_default();
            let body = json!({ "id": id, "policyId": policy, "adjustment": adjustment, "lease": lease });
            let put = server.call(Method::POST, &format!("/api/overrides?{}", change.query()), Some(&body)).await?;
            if change.dry_run { super::show_as_file(server, &put)? } else { server.show(&put, override_line) }
        }
        OverrideCommand::List { policy } => {
            let path = format!("/api/overrides?policy={}", segment(policy.as_deref().unwrap_or_default()));
            server.show(&server.get(&path).await?, override_line);
        }
        OverrideCommand::Ended { policy } => {
            let ended = server.get(&format!("/api/policies/{}/ended-overrides", segment(&policy))).await?;
            server.show(&ended, override_line);
        }
        OverrideCommand::End { id, change } => {
            server.call(Method::DELETE, &format!("/api/overrides/{}?{}", segment(&id), change.query()), None).await?;
            print(&format!("{id} ended\n"));
        }
    }
    Ok(())
}

fn path_of(id: &str) -> String {
    format!("/api/rollouts/{}", segment(id))
}

fn stage_of(stage: &str) -> anyhow::Result<Value> {
    let (percent, bake) = stage.split_once(':').map_or((stage, None), |(percent, bake)| (percent, Some(bake)));
    let percent: f64 =
        percent.trim_end_matches('%').parse().with_context(|| format!("{stage:?} is no PERCENT[:BAKE]"))?;
    Ok(bake.map_or_else(|| json!({ "percent": percent }), |bake| json!({ "percent": percent, "bake": bake })))
}

/// Prints each change of a rollout until it has ended.
async fn followed(server: &ServerArgs, id: &str) -> anyhow::Result<ExitCode> {
    let mut known = String::new();
    loop {
        let rollout = server.get(&path_of(id)).await?;
        let told = line(&rollout);
        if told != known {
            server.show(&rollout, line);
            known = told;
        }
        match text(&rollout, "/state").as_str() {
            "done" => return Ok(ExitCode::SUCCESS),
            "rolled_back" => return Ok(ExitCode::from(EXIT_ROLLED_BACK)),
            "running" | "paused" => tokio::time::sleep(LOOK_EVERY).await,
            other => bail!("a state that this command does not know: {other:?}"),
        }
    }
}

fn percent_of(rollout: &Value) -> String {
    text(rollout, &format!("/stages/{}/percent", text(rollout, "/stage")))
}

fn line(rollout: &Value) -> String {
    format!(
        "{:<16} {:<24} {:>4} -> {:<4} {:<11} {:>5}% {:>5} of {:<5} {}",
        text(rollout, "/id"),
        text(rollout, "/policyId"),
        text(rollout, "/fromRevision"),
        text(rollout, "/toRevision"),
        text(rollout, "/state"),
        percent_of(rollout),
        text(rollout, "/canaryInstances"),
        text(rollout, "/instances"),
        text(rollout, "/reason"),
    )
}

fn details(rollout: &Value) -> String {
    let mut out = line(rollout);
    let each = |name: &str| rollout.get(name).and_then(Value::as_array).into_iter().flatten().collect::<Vec<_>>();
    for (n, stage) in each("stages").into_iter().enumerate() {
        let mark = if text(rollout, "/stage") == n.to_string() { ">" } else { " " };
        out.push_str(&format!("\n {mark} {}% for {}", text(stage, "/percent"), text(stage, "/bake")));
    }
    for reading in each("readings") {
        let state = if reading.get("broken") == Some(&Value::Bool(true)) { "broken" } else { "holds" };
        let value = |name: &str| Some(text(reading, name)).filter(|value| !value.is_empty()).unwrap_or("-".to_owned());
        out.push_str(&format!(
            "\n   {} {state}: {} against {} {}",
            text(reading, "/guard"),
            value("/canary"),
            value("/control"),
            text(reading, "/error"),
        ));
    }
    out
}

fn override_line(over: &Value) -> String {
    let end = Some(text(over, "/endedAt")).filter(|at| !at.is_empty()).unwrap_or_else(|| text(over, "/expiresAt"));
    let by = Some(text(over, "/ruleId")).filter(|rule| !rule.is_empty()).map(|rule| format!("rule {rule}"));
    format!(
        "{:<24} {:<24} {}  until {end}  {}  {} {}",
        text(over, "/id"),
        text(over, "/policyId"),
        over.get("adjustment").map(Value::to_string).unwrap_or_default(),
        by.unwrap_or_else(|| text(over, "/author")),
        text(over, "/reason"),
        text(over, "/endReason"),
    )
}
