//! PromQL over HTTP, as Prometheus answers it.
//!
//! Source: Prometheus documentation, "HTTP API".

#![expect(unused_qualifications, reason = "what utoipa makes of IntoParams qualifies its types")]

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Form;
use axum::extract::{self, Query};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{State, json_text, typed};
use crate::error::ErrorCode;
use crate::model::{Labels, TimeMs};
use crate::query::{Answer, AnswerValue, Column, Increases, QueryError, Sample};

/// Parameters of an instant query.
#[derive(Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub(super) struct Instant {
    /// PromQL.
    query: String,
    /// Unix seconds or RFC 3339; now by default.
    time: Option<String>,
    /// `exact`, the default, or `prometheus`.
    increase: Option<String>,
}

/// Parameters of a range query.
#[derive(Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub(super) struct Range {
    /// PromQL.
    query: String,
    /// Unix seconds or RFC 3339.
    start: String,
    /// Unix seconds or RFC 3339.
    end: String,
    /// Seconds or a duration.
    step: String,
    /// `exact`, the default, or `prometheus`.
    increase: Option<String>,
}

/// How increases are told; a parameter of ours, `exact` by default.
fn increases(text: Option<&str>) -> Result<Increases, QueryError> {
    let Some(text) = text else { return Ok(Increases::Exact) };
    Increases::named(text).ok_or_else(|| {
        QueryError::Invalid(format!("invalid parameter \"increase\": it is exact or prometheus, not {text:?}"))
    })
}

/// The value of a PromQL expression at an instant, as Prometheus answers it.
#[utoipa::path(get, path = "/prometheus/api/v1/query", operation_id = "query", tag = "prometheus", params(Instant), responses((status = 200, body = Value)))]
pub(super) async fn instant(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<Instant>,
) -> Response {
    answer_instant(&state, query).await
}

/// The same with a form as body.
#[utoipa::path(post, path = "/prometheus/api/v1/query", operation_id = "queryByForm", tag = "prometheus", request_body(content = Instant, content_type = "application/x-www-form-urlencoded"), responses((status = 200, body = Value)))]
pub(super) async fn instant_form(
    extract::State(state): extract::State<Arc<State>>,
    Form(query): Form<Instant>,
) -> Response {
    answer_instant(&state, query).await
}

/// The values of a PromQL expression over a range, as Prometheus answers them.
#[utoipa::path(get, path = "/prometheus/api/v1/query_range", operation_id = "queryRange", tag = "prometheus", params(Range), responses((status = 200, body = Value)))]
pub(super) async fn range(extract::State(state): extract::State<Arc<State>>, Query(query): Query<Range>) -> Response {
    answer_range(&state, query).await
}

/// The same with a form as body.
#[utoipa::path(post, path = "/prometheus/api/v1/query_range", operation_id = "queryRangeByForm", tag = "prometheus", request_body(content = Range, content_type = "application/x-www-form-urlencoded"), responses((status = 200, body = Value)))]
pub(super) async fn range_form(
    extract::State(state): extract::State<Arc<State>>,
    Form(query): Form<Range>,
) -> Response {
    answer_range(&state, query).await
}

async fn answer_instant(state: &State, query: Instant) -> Response {
    let parsed = || {
        let now = || Ok(Utc::now().timestamp_millis());
        let at = query.time.as_deref().map_or_else(now, |text| time("time", text))?;
        Ok((at, increases(query.increase.as_deref())?))
    };
    let answer = match parsed() {
        Ok((at, increases)) => state.engine.instant_by(&query.query, at, increases).await,
        Err(error) => Err(error),
    };
    answer.map_or_else(|error| failure(&error), |answer| success(&instant_view(&answer), &answer))
}

async fn answer_range(state: &State, query: Range) -> Response {
    let parsed = || {
        let span = (time("start", &query.start)?, time("end", &query.end)?);
        Ok((span, step(&query.step)?, increases(query.increase.as_deref())?))
    };
    let answer = match parsed() {
        Ok((span, step, increases)) => state.engine.range_by(&query.query, span, step, increases).await,
        Err(error) => Err(error),
    };
    answer.map_or_else(|error| failure(&error), |answer| json_text(range_body(&answer)))
}

/// Unix seconds or RFC 3339.
pub(super) fn time(field: &str, text: &str) -> Result<TimeMs, QueryError> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| seconds.is_finite())
        .map(|seconds| (seconds * 1000.0).round() as TimeMs);
    seconds.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis())).ok_or_else(|| {
        QueryError::Invalid(format!("invalid parameter \"{field}\": cannot parse {text:?} to a valid timestamp"))
    })
}

/// Seconds or a duration.
fn step(text: &str) -> Result<TimeMs, QueryError> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| seconds.is_finite())
        .map(|seconds| (seconds * 1000.0).round() as TimeMs);
    seconds
        .or_else(|| promql_parser::util::parse_duration(text).ok().and_then(|d| TimeMs::try_from(d.as_millis()).ok()))
        .ok_or_else(|| {
            QueryError::Invalid(format!("invalid parameter \"step\": cannot parse {text:?} to a valid duration"))
        })
}

fn success(data: &Value, answer: &Answer) -> Response {
    let mut body = json!({ "status": "success", "data": data });
    for (key, notes) in [("warnings", &answer.warnings), ("infos", &answer.infos)] {
        if let Some(body) = body.as_object_mut().filter(|_| !notes.is_empty()) {
            body.insert(key.to_owned(), json!(notes));
        }
    }
    typed(&body)
}

pub(super) fn failure(error: &QueryError) -> Response {
    let (status, kind) = match error.code() {
        ErrorCode::InvalidArgument => (StatusCode::BAD_REQUEST, "bad_data"),
        ErrorCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorCode::DeadlineExceeded => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        ErrorCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
    };
    let body = typed(&json!({ "status": "error", "errorType": kind, "error": error.to_string() }));
    let mut response = (status, body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

pub(super) fn labels(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn seconds(at: TimeMs) -> Value {
    if at % 1000 == 0 { Value::from(at / 1000) } else { json!(at as f64 / 1000.0) }
}

pub(super) fn text(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

/// One sample under its key: a number, or a histogram's count and sum.
fn sample(at: TimeMs, sample: &Sample) -> Option<(&'static str, Value)> {
    match sample {
        Sample::None => None,
        Sample::Float(value) => Some(("value", json!([seconds(at), text(*value)]))),
        Sample::Histogram(h) => {
            let (count, sum) = (h.histogram.count as f64 * h.factor, h.histogram.sum * h.factor);
            Some(("histogram", json!([seconds(at), { "count": text(count), "sum": text(sum) }])))
        }
    }
}

fn instant_view(answer: &Answer) -> Value {
    let at = answer.times.first().copied().unwrap_or_default();
    match &answer.value {
        AnswerValue::Scalar(values) => {
            json!({ "resultType": "scalar", "result": [seconds(at), text(values.first().copied().unwrap_or(f64::NAN))] })
        }
        AnswerValue::Text(value) => json!({ "resultType": "string", "result": [seconds(at), value] }),
        AnswerValue::Vector(columns) => {
            let row = |column: &Column| {
                let (key, value) = sample(at, column.samples.first()?)?;
                Some(json!({ "metric": labels(&column.labels), key: value }))
            };
            json!({ "resultType": "vector", "result": columns.iter().filter_map(row).collect::<Vec<_>>() })
        }
    }
}

/// The answer to a range query. Its text is written straight: a day of many series is a great many small values.
fn range_body(answer: &Answer) -> String {
    let scalar;
    let columns = match &answer.value {
        AnswerValue::Vector(columns) => columns.as_slice(),
        AnswerValue::Scalar(values) => {
            let samples = values.iter().map(|value| Sample::Float(*value)).collect();
            scalar = [Column { labels: Labels::default(), samples }];
            &scalar
        }
        AnswerValue::Text(_) => &[],
    };
    let mut out = String::from(r#"{"status":"success","data":{"resultType":"matrix","result":["#);
    for (i, column) in columns.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        out.push_str(r#"{"metric":"#);
        out.push_str(&Value::Object(labels(&column.labels)).to_string());
        for (key, name) in [("value", "values"), ("histogram", "histograms")] {
            write_samples(&mut out, (key, name), (answer, column));
        }
        out.push('}');
    }
    out.push_str("]}");
    for (key, notes) in [("warnings", &answer.warnings), ("infos", &answer.infos)] {
        if !notes.is_empty() {
            out.push_str(&format!(",\"{key}\":{}", json!(notes)));
        }
    }
    out.push('}');
    out
}

/// The numbers of a series, or its distributions, as a list called `name`; nothing when there are none.
fn write_samples(out: &mut String, (key, name): (&str, &str), (answer, column): (&Answer, &Column)) {
    let mut first = true;
    for (at, one) in answer.times.iter().zip(&column.samples) {
        let is_number = match one {
            Sample::None => continue,
            Sample::Float(_) => true,
            Sample::Histogram(_) => false,
        };
        if is_number != (key == "value") {
            continue;
        }
        if first {
            out.push_str(&format!(",\"{name}\":["));
        } else {
            out.push(',');
        }
        first = false;
        match one {
            // Writing to a String cannot fail.
            Sample::Float(value) => _ = write!(out, "[{},\"{}\"]", seconds(*at), text(*value)),
            _ => out.push_str(&sample(*at, one).map(|(_, value)| value.to_string()).unwrap_or_default()),
        }
    }
    out.push_str(if first { "" } else { "]" });
}
