//! `fastbreak query`: PromQL or an indicator, asked of a running server; or test scripts, run here.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::print;
use crate::query::run_script;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people: labels and value, a line a series
    Table,
    /// The server's JSON
    Json,
}

/// Arguments of `fastbreak query`.
#[derive(Args, Debug)]
pub(super) struct QueryArgs {
    /// PromQL, or the name of an indicator such as avgResponseTime
    #[arg(required_unless_present = "test")]
    query: Option<String>,
    /// Run Prometheus-style test scripts against the engine instead, without a server
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "query")]
    test: Vec<PathBuf>,
    /// The server's HTTP address
    #[arg(long, env = "FASTBREAK_URL", default_value = "http://127.0.0.1:3001")]
    url: String,
    /// At this time (Unix seconds or RFC 3339) instead of now
    #[arg(long)]
    time: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn run(args: QueryArgs) -> anyhow::Result<ExitCode> {
    let Some(query) = &args.query else { return run_scripts(&args.test) };
    let mut parameters = vec![("query", query.as_str())];
    if let Some(time) = &args.time {
        parameters.push(("time", time));
    }
    let url = format!("{}/prometheus/api/v1/query", args.url.trim_end_matches('/'));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(&url).query(&parameters).send().await.with_context(|| format!("{url} does not answer"))?;
    let body: Value = answer.json().await.context("the server's answer is not JSON")?;
    if body.get("status").and_then(Value::as_str) != Some("success") {
        bail!("{}", body.get("error").and_then(Value::as_str).unwrap_or("the server refused the query"));
    }
    match args.output {
        Output::Json => print(&format!("{body}\n")),
        Output::Table => print(&table(&body)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs every script and says what failed; exit code 1 when anything did.
fn run_scripts(files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let report = run_script(&text);
        for failure in &report.failures {
            print(&format!("{}: {failure}\n", file.display()));
        }
        passed += report.passed;
        failed += report.failures.len();
    }
    print(&format!("{passed} passed, {failed} failed\n"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(body: &Value) -> String {
    let result = body.pointer("/data/result");
    let Some(rows) = result.and_then(Value::as_array).filter(|rows| rows.iter().all(Value::is_object)) else {
        let value = result.and_then(|result| result.get(1)).and_then(Value::as_str).unwrap_or_default();
        return format!("{value}\n");
    };
    let mut out = String::new();
    for row in rows {
        let labels = row.get("metric").and_then(Value::as_object).into_iter().flatten();
        let name = row.pointer("/metric/__name__").and_then(Value::as_str).unwrap_or_default();
        let labels: Vec<String> =
            labels.filter(|(key, _)| *key != "__name__").map(|(key, value)| format!("{key}={value}")).collect();
        let value = row.pointer("/value/1").and_then(Value::as_str).map(ToOwned::to_owned);
        let value = value.or_else(|| row.pointer("/histogram/1").map(ToString::to_string)).unwrap_or_default();
        out.push_str(&format!("{name}{{{}}}  {value}\n", labels.join(",")));
    }
    if rows.is_empty() {
        out.push_str("no series\n");
    }
    out
}
