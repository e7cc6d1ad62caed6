//! `fastbreak traces`: kept traces of a running server.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::server::{Output, ServerArgs, segment, text};

/// Columns that a bar of a trace has.
const BAR: usize = 40;

/// Arguments.
#[derive(Args)]
pub(super) struct TracesArgs {
    #[command(subcommand)]
    command: TracesCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Subcommand)]
enum TracesCommand {
    /// Kept traces, a line each
    List(ListArgs),
    /// One trace as a tree, or one of its spans
    Get {
        /// Its id
        trace_id: String,
        /// A span, with all that it carries
        #[arg(long)]
        span: Option<String>,
        /// The whole trace as an OTLP/JSON export
        #[arg(long, conflicts_with = "span")]
        otlp: bool,
    },
}

#[derive(Args)]
struct ListArgs {
    /// A service in the trace
    #[arg(long)]
    service: Option<String>,
    /// Another service in it, as two that call each other are
    #[arg(long)]
    with: Option<String>,
    /// An operation in it
    #[arg(long)]
    operation: Option<String>,
    /// Least duration, such as 250ms
    #[arg(long)]
    min_duration: Option<String>,
    /// Greatest duration
    #[arg(long)]
    max_duration: Option<String>,
    /// Only those with an error (true), or without (false)
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    error: Option<bool>,
    /// An attribute of a span or its resource, as name=value; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// How far to look back, such as 1h
    #[arg(long = "for", default_value = "1h")]
    lasting: String,
    /// The slowest first instead of the newest
    #[arg(long)]
    slowest: bool,
    /// Most traces
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

impl ListArgs {
    fn path(&self) -> anyhow::Result<String> {
        let back = humantime::parse_duration(&self.lasting)
            .with_context(|| format!("--for {:?} is not such as 1h", self.lasting))?;
        let from = chrono::Utc::now() - chrono::TimeDelta::from_std(back).context("--for is too long")?;
        let mut path = format!("/api/traces?limit={}&from={}", self.limit, segment(&from.to_rfc3339()));
        let error = self.error.map(|error| error.to_string());
        for (name, value) in [
            ("service", self.service.as_ref()),
            ("with", self.with.as_ref()),
            ("operation", self.operation.as_ref()),
            ("minDuration", self.min_duration.as_ref()),
            ("maxDuration", self.max_duration.as_ref()),
            ("error", error.as_ref()),
        ] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        for attribute in &self.attributes {
            path.push_str(&format!("&attribute={}", segment(attribute)));
        }
        if self.slowest {
            path.push_str("&order=slowest");
        }
        Ok(path)
    }
}

fn line(row: &Value) -> String {
    let ms = row.pointer("/durationMs").and_then(Value::as_f64).unwrap_or_default();
    let errors = row.pointer("/errorCount").and_then(Value::as_u64).unwrap_or_default();
    let failed = if errors > 0 { format!(" {errors} failed") } else { String::new() };
    let root = format!("{} {}", text(row, "/rootService"), text(row, "/rootOperation"));
    let spans = text(row, "/spanCount");
    format!("{} {:>10.1} ms {spans:>6} spans{failed}  {}  {root}", text(row, "/traceId"), ms, text(row, "/startedAt"))
}

/// The spans as a tree with bars, parents before children.
fn tree(body: &Value) -> String {
    let column =
        |name: &str| body.pointer(&format!("/spans/{name}")).and_then(Value::as_array).cloned().unwrap_or_default();
    let (parents, starts, durations) = (column("parent"), column("startNanos"), column("durationNanos"));
    let (services, operations, statuses) = (column("service"), column("operation"), column("status"));
    let number = |values: &[Value], i: usize| values.get(i).and_then(Value::as_u64).unwrap_or_default();
    let whole = (0..starts.len()).map(|i| number(&starts, i) + number(&durations, i)).max().unwrap_or(1).max(1);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); starts.len()];
    let mut open: Vec<(usize, usize)> = Vec::new();
    for i in (0..starts.len()).rev() {
        match parents.get(i).and_then(Value::as_u64).and_then(|parent| children.get_mut(parent as usize)) {
            Some(siblings) => siblings.push(i),
            None => open.push((i, 0)),
        }
    }
    let name = |list: &str, values: &[Value], i: usize| text(body, &format!("/{list}/{}", number(values, i)));
    let mut out = String::new();
    while let Some((i, depth)) = open.pop() {
        let place = |nanos: u64| (nanos as u128 * BAR as u128 / u128::from(whole)) as usize;
        let (from, to) = (place(number(&starts, i)), place(number(&starts, i) + number(&durations, i)));
        let bar = format!("{}{}", " ".repeat(from.min(BAR - 1)), "█".repeat((to - from).max(1)));
        let failed = if statuses.get(i).and_then(Value::as_str) == Some("error") { " !" } else { "" };
        let ms = number(&durations, i) as f64 / 1e6;
        let what = format!("{} {}{failed}", name("services", &services, i), name("operations", &operations, i));
        out.push_str(&format!("{bar:<width$} {ms:>10.3} ms  {}{what}\n", "  ".repeat(depth), width = BAR + 1));
        open.extend(children.get(i).into_iter().flatten().map(|child| (*child, depth + 1)));
    }
    out
}

pub(super) async fn run(args: TracesArgs) -> anyhow::Result<ExitCode> {
    let server = &args.server;
    match args.command {
        TracesCommand::List(list) => {
            let body = server.get(&list.path()?).await?;
            if server.output == Output::Json {
                server.show(&body, line);
            } else {
                server.show(body.pointer("/traces").unwrap_or(&Value::Null), line);
            }
        }
        TracesCommand::Get { trace_id, span: Some(span), .. } => {
            let path = format!("/api/traces/{}/spans/{}", segment(&trace_id), segment(&span));
            super::print(&format!("{:#}\n", server.get(&path).await?));
        }
        TracesCommand::Get { trace_id, otlp: true, .. } => {
            super::print(&format!("{}\n", server.get(&format!("/api/traces/{}/otlp", segment(&trace_id))).await?));
        }
        TracesCommand::Get { trace_id, .. } => {
            let body = server.get(&format!("/api/traces/{}", segment(&trace_id))).await?;
            if server.output == Output::Json {
                server.show(&body, line);
            } else {
                super::print(&format!("{}\n{}", line(body.pointer("/trace").unwrap_or(&Value::Null)), tree(&body)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trace_is_a_tree_of_bars() {
        let body = json!({
            "services": ["front", "stock"],
            "operations": ["GET /cart", "reserve"],
            "spans": {
                "parent": [null, 0, 0],
                "service": [0, 1, 1],
                "operation": [0, 1, 1],
                "status": ["unset", "error", "unset"],
                "startNanos": [0, 10_000_000, 50_000_000],
                "durationNanos": [100_000_000, 20_000_000, 50_000_000],
            },
        });
        let tree = tree(&body);
        let lines: Vec<&str> = tree.lines().map(str::trim_end).collect();
        assert!(lines[0].ends_with("100.000 ms  front GET /cart") && lines[0].starts_with(&"█".repeat(40)), "{tree}");
        assert!(lines[1].ends_with("20.000 ms    stock reserve !") && lines[1].starts_with("    ████████ "), "{tree}");
        assert!(lines[2].ends_with("50.000 ms    stock reserve"), "{tree}");
    }
}
