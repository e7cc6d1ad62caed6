//! `fastbreak query`: PromQL or an indicator, asked of a running server; or test scripts, run here.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::print;
use crate::query::{Increases, run_script};

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people: labels and value, a line a series
    Table,
    /// The server's JSON
    Json,
}

/// How increases are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Increase {
    /// Between the ends of windows, without a guess
    Exact,
    /// Extrapolated to the ends of the range
    Prometheus,
}

impl Increase {
    const fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prometheus => "prometheus",
        }
    }
}

/// Arguments of `fastbreak query`.
#[derive(Args, Debug)]
pub(super) struct QueryArgs {
    /// PromQL, or the name of an indicator such as avgResponseTime
    #[arg(required_unless_present_any = ["test", "catalog"])]
    query: Option<String>,
    /// Run Prometheus-style test scripts against the engine instead, without a server
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "query")]
    test: Vec<PathBuf>,
    /// List the metrics that are there instead: all, or those about these words
    #[arg(long, value_name = "WORDS", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["query", "test"])]
    catalog: Option<String>,
    /// How rate, increase and delta tell what a range added; scripts are Prometheus's unless told otherwise
    #[arg(long, value_enum)]
    increase: Option<Increase>,
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
    if let Some(words) = &args.catalog {
        return list_metrics(&args, words).await;
    }
    let Some(query) = &args.query else { return run_scripts(&args.test, args.increase) };
    let mut parameters = vec![("query", query.as_str())];
    if let Some(time) = &args.time {
        parameters.push(("time", time));
    }
    if let Some(increase) = args.increase {
        parameters.push(("increase", increase.word()));
    }
    let body = ask(&args, "/prometheus/api/v1/query", &parameters).await?;
    if body.get("status").and_then(Value::as_str) != Some("success") {
        bail!("{}", body.get("error").and_then(Value::as_str).unwrap_or("the server refused the query"));
    }
    match args.output {
        Output::Json => print(&format!("{body}\n")),
        Output::Table => print(&table(&body)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(args: &QueryArgs, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
    let url = format!("{}{path}", args.url.trim_end_matches('/'));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(&url).query(parameters).send().await.with_context(|| format!("{url} does not answer"))?;
    answer.json().await.context("the server's answer is not JSON")
}

/// A line a metric: name, unit, kind, temporality, series, last seen, description.
async fn list_metrics(args: &QueryArgs, words: &str) -> anyhow::Result<ExitCode> {
    let body = ask(args, "/api/catalog/metrics", &[("search", words)]).await?;
    let Some(metrics) = body.get("metrics").and_then(Value::as_array) else {
        bail!("{}", body.get("detail").and_then(Value::as_str).unwrap_or("the server does not tell its metrics"));
    };
    if args.output == Output::Json {
        print(&format!("{body}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let text = |metric: &Value, field: &str| match metric.get(field) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    for metric in metrics {
        let of = |field| text(metric, field);
        let (name, kind, temporality, unit) = (of("prometheusName"), of("kind"), of("temporality"), of("unit"));
        let (series, seen, about) = (of("series"), of("lastSeenAt"), of("description"));
        print(&format!("{name}  {kind}  {temporality}  {unit}  {series} series  {seen}  {about}\n"));
    }
    if metrics.is_empty() {
        print("no metrics\n");
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs every script and says what failed; exit code 1 when anything did.
fn run_scripts(files: &[PathBuf], increase: Option<Increase>) -> anyhow::Result<ExitCode> {
    let increases = match increase {
        Some(Increase::Exact) => Increases::Exact,
        Some(Increase::Prometheus) | None => Increases::Extrapolated,
    };
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let report = run_script(&text, increases);
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
