//! What there is to ask for, as Prometheus tells it: series, labels, metadata; and what its clients ask before they begin.
//!
//! Source: Prometheus documentation, "HTTP API". Without `start` the last day is meant. A histogram is told as one metric
//! and by its classic names.

use std::sync::Arc;

use axum::Form;
use axum::Router;
use axum::extract::{self, FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::Response;
use axum::routing::get;
use chrono::Utc;
use http::Method;
use serde_json::{Map, Value, json};

use super::query::{failure, labels, time};
use super::{State, typed};
use crate::model::{MetricKind, TimeMs};
use crate::query::{QueryError, format_query, query_tree};

/// How far back is looked when nobody says.
const SPAN_MS: TimeMs = 24 * 3_600_000;
/// The Prometheus whose API this is: its clients choose by it what to ask.
const SPOKEN: &str = "2.55.0";

/// The routes.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/prometheus/api/v1/series", get(series).post(series))
        .route("/prometheus/api/v1/labels", get(label_names).post(label_names))
        .route("/prometheus/api/v1/label/{name}/values", get(label_values))
        .route("/prometheus/api/v1/metadata", get(metadata))
        .route("/prometheus/api/v1/format_query", get(format).post(format))
        .route("/prometheus/api/v1/parse_query", get(parse).post(parse))
        .route("/prometheus/api/v1/status/buildinfo", get(build_info))
        .route("/prometheus/api/v1/status/flags", get(flags))
        .route("/prometheus/api/v1/status/config", get(configuration))
}

/// Parameters of the query and of a form, in their order.
struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let refused = |what: String| failure(&QueryError::Invalid(what));
        let (mut parts, body) = request.into_parts();
        let query = Query::<Vec<(String, String)>>::from_request_parts(&mut parts, state).await;
        let Query(mut pairs) = query.map_err(|error| refused(error.body_text()))?;
        if parts.method == Method::POST {
            let form = Form::<Vec<(String, String)>>::from_request(Request::from_parts(parts, body), state).await;
            pairs.extend(form.map_err(|error| refused(error.body_text()))?.0);
        }
        Ok(Self(pairs))
    }
}

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, QueryError> {
        self.get(name).ok_or_else(|| QueryError::Invalid(format!("invalid parameter {name:?}: it is missing")))
    }

    fn matchers(&self) -> Vec<String> {
        self.0.iter().filter(|(name, _)| name == "match[]").map(|(_, value)| value.clone()).collect()
    }

    fn span(&self) -> Result<(TimeMs, TimeMs), QueryError> {
        let end = self.get("end").map_or_else(|| Ok(Utc::now().timestamp_millis()), |text| time("end", text))?;
        let start = self.get("start").map_or(Ok(end - SPAN_MS), |text| time("start", text))?;
        if end < start {
            return Err(QueryError::Invalid("invalid parameter \"end\": end must not be before start".to_owned()));
        }
        Ok((start, end))
    }

    /// Most rows; all without or for 0.
    fn limit(&self, name: &str) -> Result<usize, QueryError> {
        let Some(text) = self.get(name) else { return Ok(usize::MAX) };
        let bad = || QueryError::Invalid(format!("invalid parameter {name:?}: {text:?} is not a number of at least 0"));
        let n: usize = text.parse().map_err(|_| bad())?;
        Ok(if n == 0 { usize::MAX } else { n })
    }
}

/// At most `limit` of `rows`, with a warning when there were more.
fn answer(mut rows: Vec<Value>, limit: usize) -> Response {
    let over = rows.len() > limit;
    rows.truncate(limit);
    let mut body = json!({ "status": "success", "data": rows });
    if let Some(body) = body.as_object_mut().filter(|_| over) {
        body.insert("warnings".to_owned(), json!(["results truncated due to limit"]));
    }
    typed(&body)
}

fn told(result: Result<Response, QueryError>) -> Response {
    result.unwrap_or_else(|error| failure(&error))
}

fn success(data: &Value) -> Response {
    typed(&json!({ "status": "success", "data": data }))
}

async fn series(extract::State(state): extract::State<Arc<State>>, parameters: Parameters) -> Response {
    let answered = async {
        let (matchers, span, limit) = (parameters.matchers(), parameters.span()?, parameters.limit("limit")?);
        if matchers.is_empty() {
            return Err(QueryError::Invalid("no match[] parameter provided".to_owned()));
        }
        let found = state.engine.series(&matchers, span).await?;
        Ok(answer(found.iter().map(|one| Value::Object(labels(one))).collect(), limit))
    };
    told(answered.await)
}

async fn label_names(extract::State(state): extract::State<Arc<State>>, parameters: Parameters) -> Response {
    let answered = async {
        let limit = parameters.limit("limit")?;
        let names = state.engine.label_names(&parameters.matchers(), parameters.span()?).await?;
        Ok(answer(names.into_iter().map(Value::from).collect(), limit))
    };
    told(answered.await)
}

async fn label_values(
    extract::State(state): extract::State<Arc<State>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Response {
    let answered = async {
        let limit = parameters.limit("limit")?;
        let name = unescaped(&name);
        let values = state.engine.label_values(&name, &parameters.matchers(), parameters.span()?).await?;
        Ok(answer(values.into_iter().map(Value::from).collect(), limit))
    };
    told(answered.await)
}

/// The name that clients write as `U__http_2e_route` where a path has to hold it; any other name as it is.
fn unescaped(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    while let Some((plain, after)) = rest.split_once('_') {
        out.push_str(plain);
        let (code, after) = after.split_once('_').unwrap_or((after, ""));
        let meant =
            if code.is_empty() { Some('_') } else { u32::from_str_radix(code, 16).ok().and_then(char::from_u32) };
        let Some(meant) = meant else { return name.to_owned() };
        out.push(meant);
        rest = after;
    }
    out + rest
}

const fn type_of(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Gauge | MetricKind::UpDownCounter => "gauge",
        MetricKind::Counter => "counter",
        MetricKind::Histogram | MetricKind::ExponentialHistogram => "histogram",
        MetricKind::Summary => "summary",
    }
}

async fn metadata(extract::State(state): extract::State<Arc<State>>, parameters: Parameters) -> Response {
    let answered = async {
        let (limit, per_metric) = (parameters.limit("limit")?, parameters.limit("limit_per_metric")?);
        let mut of_name: Map<String, Value> = Map::new();
        for facts in state.engine.catalog().await? {
            if parameters.get("metric").is_some_and(|name| name != facts.prometheus_name) {
                continue;
            }
            if !of_name.contains_key(&facts.prometheus_name) && of_name.len() >= limit {
                continue;
            }
            let one =
                json!({ "type": type_of(facts.metric.kind), "help": facts.description, "unit": &*facts.metric.unit });
            let all = of_name.entry(facts.prometheus_name).or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut().filter(|all| all.len() < per_metric && !all.contains(&one)) {
                all.push(one);
            }
        }
        Ok(success(&Value::Object(of_name)))
    };
    told(answered.await)
}

async fn format(parameters: Parameters) -> Response {
    told(parameters.required("query").and_then(format_query).map(|text| success(&Value::from(text))))
}

async fn parse(parameters: Parameters) -> Response {
    told(parameters.required("query").and_then(query_tree).map(|tree| success(&tree)))
}

async fn build_info() -> Response {
    success(&json!({
        "application": "FastBreak",
        "version": SPOKEN,
        "revision": concat!("fastbreak-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

async fn flags(extract::State(state): extract::State<Arc<State>>) -> Response {
    let limits = state.engine.limits();
    success(&json!({
        "query.lookback-delta": "5m",
        "query.max-concurrency": limits.concurrent.to_string(),
        "query.timeout": humantime::format_duration(limits.deadline).to_string(),
    }))
}

/// There is no file of Prometheus's to show.
async fn configuration() -> Response {
    success(&json!({ "yaml": "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        for (escaped, name) in [
            ("room", "room"),
            ("U__http_2e_route", "http.route"),
            ("U__a__b", "a_b"),
            ("U__x_zz_", "U__x_zz_"),
            ("U__plain", "plain"),
        ] {
            assert_eq!(unescaped(escaped), name, "{escaped}");
        }
    }
}
