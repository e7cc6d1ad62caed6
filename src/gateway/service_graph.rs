//! The service graph: who calls whom, how often, how well and how fast, at any time that has windows.

#![expect(unused_qualifications, reason = "what utoipa makes of IntoParams qualifies its types")]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{self, Query};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::{State, typed};
use crate::query::{AnswerValue, Sample};

/// Minutes looked at when nothing is said, and most of them.
const MINUTES: u32 = 60;
const MINUTES_MAX: u32 = 60 * 24 * 30;

/// Which time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// How far back, 1 to 43200; 60 by default.
    minutes: Option<String>,
    /// RFC 3339 or Unix seconds; now by default.
    at: Option<String>,
}

/// What calls or is called.
#[derive(Serialize, ToSchema)]
struct NodeView {
    name: String,
    /// `service`, or what its callers say of one that sends no spans: `database`, `cache`, `queue`, `external`.
    kind: &'static str,
}

/// Calls of one by another.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EdgeView {
    client: String,
    server: String,
    /// `request`, `messaging`, `database`, `cache`, `external`, `publish` or `receive`.
    connection: String,
    requests: f64,
    rate_per_second: f64,
    /// Of 1.
    error_rate: f64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
}

/// Who calls whom.
#[derive(Serialize, ToSchema)]
struct GraphView {
    at: DateTime<Utc>,
    minutes: u32,
    nodes: Vec<NodeView>,
    edges: Vec<EdgeView>,
}

/// An edge's numbers, as far as they are known.
#[derive(Default)]
struct Numbers {
    requests: f64,
    failed: f64,
    p50: Option<f64>,
    p95: Option<f64>,
}

/// Client, server and connection.
type Edge = (String, String, String);

fn read(asked: &Asked) -> Result<(u32, DateTime<Utc>), Problem> {
    let minutes = asked.minutes.as_deref().map_or(Ok(MINUTES), |text| {
        let minutes = text.parse().ok().filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
        minutes.ok_or_else(|| Problem::parameter("minutes", format!("minutes must be from 1 to {MINUTES_MAX}")))
    })?;
    let at = asked.at.as_deref().map_or(Ok(Utc::now()), |text| {
        let read = super::query::time("at", text).ok().and_then(DateTime::from_timestamp_millis);
        read.ok_or_else(|| Problem::parameter("at", "at must be RFC 3339 or Unix seconds"))
    })?;
    Ok((minutes, at))
}

/// Who calls whom, how often, how well and how fast, at any time that has windows.
#[utoipa::path(get, path = "/api/service-graph", operation_id = "getServiceGraph", tag = "traces", params(Asked), responses((status = 200, body = GraphView)))]
pub(super) async fn graph(
    extract::State(state): extract::State<Arc<State>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let (minutes, at) = read(&asked)?;
    let by = "sum by (client, server, connection_type)";
    let increase = |metric: &str| format!("{by} (increase({{\"traces.service.graph.{metric}\"}}[{minutes}m]))");
    let durations = increase("request.server");
    let queries = [
        increase("request"),
        increase("request.failed"),
        format!("histogram_quantile(0.5, {durations})"),
        format!("histogram_quantile(0.95, {durations})"),
    ];
    let mut edges: BTreeMap<Edge, Numbers> = BTreeMap::new();
    let asked: Vec<&str> = queries.iter().map(String::as_str).collect();
    for (i, answer) in state.engine.instants(&asked, at.timestamp_millis(), None).await?.into_iter().enumerate() {
        let AnswerValue::Vector(columns) = answer.value else { continue };
        for column in columns {
            let label = |name: &str| column.labels.get(name).unwrap_or_default().to_owned();
            let Some(value) = column.samples.last().and_then(Sample::float) else { continue };
            let numbers = edges.entry((label("client"), label("server"), label("connection_type"))).or_default();
            match i {
                0 => numbers.requests = value,
                1 => numbers.failed = value,
                2 => numbers.p50 = Some(value),
                _ => numbers.p95 = Some(value),
            }
        }
    }
    edges.retain(|_, numbers| numbers.requests > 0.0);
    let seconds = f64::from(minutes) * 60.0;
    let (nodes, edges) =
        (nodes(&edges), edges.into_iter().map(|(edge, numbers)| view(edge, &numbers, seconds)).collect());
    Ok(typed(&GraphView { at, minutes, nodes, edges }))
}

fn view((client, server, connection): Edge, numbers: &Numbers, seconds: f64) -> EdgeView {
    let ms = |seconds: Option<f64>| seconds.filter(|seconds| seconds.is_finite()).map(|seconds| seconds * 1e3);
    EdgeView {
        client,
        server,
        connection,
        requests: numbers.requests,
        rate_per_second: numbers.requests / seconds,
        error_rate: numbers.failed / numbers.requests,
        p50_ms: ms(numbers.p50),
        p95_ms: ms(numbers.p95),
    }
}

/// Every end of an edge; what sends no spans of its own is what its callers say it is.
fn nodes(edges: &BTreeMap<Edge, Numbers>) -> Vec<NodeView> {
    let mut kinds: BTreeMap<&str, &'static str> = BTreeMap::new();
    for (client, server, connection) in edges.keys() {
        let (from, to) = match connection.as_str() {
            "database" => ("service", "database"),
            "cache" => ("service", "cache"),
            "external" => ("service", "external"),
            "publish" => ("service", "queue"),
            "receive" => ("queue", "service"),
            _ => ("service", "service"),
        };
        for (name, kind) in [(client, from), (server, to)] {
            let known = kinds.entry(name).or_insert(kind);
            if kind == "service" {
                *known = kind;
            }
        }
    }
    kinds.into_iter().map(|(name, kind)| NodeView { name: name.to_owned(), kind }).collect()
}
