//! `fastbreak send`: one metric point or one span, to see whether the way in is open.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::print;

/// Arguments of `fastbreak send`.
#[derive(Args, Debug)]
pub(super) struct SendArgs {
    #[command(subcommand)]
    what: What,
    /// The server's OTLP/HTTP address
    #[arg(long, global = true, env = "FASTBREAK_OTLP_HTTP_URL", default_value = "http://127.0.0.1:4318")]
    url: String,
    /// service.name
    #[arg(long, global = true, default_value = "fastbreak-send")]
    service: String,
    /// Attribute of the point or span; may be repeated
    #[arg(long = "attribute", short = 'a', global = true, value_name = "KEY=VALUE", value_parser = pair)]
    attributes: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send one point of a gauge, or of a delta counter
    Metric {
        /// Such as shop.orders
        name: String,
        /// The value
        #[arg(allow_negative_numbers = true)]
        value: f64,
        /// UCUM unit, such as s or By
        #[arg(long, default_value = "1")]
        unit: String,
        /// Add to a counter instead of setting a gauge
        #[arg(long)]
        add: bool,
    },
    /// Send one server span that ends now
    Span {
        /// Such as "GET /cart"
        name: String,
        /// How long it took
        #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
        duration: Duration,
        /// Mark it as failed
        #[arg(long)]
        error: bool,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

pub(super) async fn run(args: SendArgs) -> anyhow::Result<ExitCode> {
    let (path, body) = body(&args, Utc::now());
    let url = format!("{}/v1/{path}", args.url.trim_end_matches('/'));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.post(&url).json(&body).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    let said: Value = answer.json().await.unwrap_or_default();
    if !status.is_success() {
        bail!("refused with {status}: {}", said.get("message").and_then(Value::as_str).unwrap_or_default());
    }
    match said.pointer("/partialSuccess/errorMessage").and_then(Value::as_str).filter(|message| !message.is_empty()) {
        Some(message) => bail!("not stored: {message}"),
        None => print("committed\n"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Path and OTLP/JSON body.
fn body(args: &SendArgs, now: DateTime<Utc>) -> (&'static str, Value) {
    let attribute = |(key, value): &(String, String)| json!({"key": key, "value": {"stringValue": value}});
    let attributes: Vec<Value> = args.attributes.iter().map(attribute).collect();
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": args.service}}]});
    let scope = json!({"name": "fastbreak.send"});
    let at = |time: DateTime<Utc>| time.timestamp_nanos_opt().unwrap_or_default().to_string();
    match &args.what {
        What::Metric { name, value, unit, add } => {
            let points = json!([{"timeUnixNano": at(now), "asDouble": value, "attributes": attributes}]);
            let mut metric = json!({"name": name, "unit": unit});
            if let Some(metric) = metric.as_object_mut() {
                if *add {
                    let sum = json!({"aggregationTemporality": 1, "isMonotonic": *value >= 0.0, "dataPoints": points});
                    metric.insert("sum".to_owned(), sum);
                } else {
                    metric.insert("gauge".to_owned(), json!({"dataPoints": points}));
                }
            }
            let scoped = json!([{"scope": scope, "metrics": [metric]}]);
            ("metrics", json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scoped}]}))
        }
        What::Span { name, duration, error } => {
            let id = rand::random::<u128>();
            let span = json!({
                "traceId": format!("{id:032x}"), "spanId": format!("{:016x}", id as u64), "name": name, "kind": 2,
                "startTimeUnixNano": at(now - *duration), "endTimeUnixNano": at(now), "attributes": attributes,
                "status": {"code": if *error { 2 } else { 0 }},
            });
            let scoped = json!([{"scope": scope, "spans": [span]}]);
            ("traces", json!({"resourceSpans": [{"resource": resource, "scopeSpans": scoped}]}))
        }
    }
}
