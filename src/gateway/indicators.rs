//! The indicators: now, and over time.

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
use crate::model::TimeMs;
use crate::query::{Answer, AnswerValue, INDICATORS, Indicator, QueryError, Sample, indicator};

const HOUR_MS: i64 = 3_600_000;
/// Longest history, in hours: what the coarsest tier holds.
const HOURS_MAX: f64 = 9_600.0;
/// Points of one indicator when no step is asked for.
const POINTS: i64 = 240;
/// Most points of one indicator.
const POINTS_MAX: i64 = 10_000;

fn iso(ms: TimeMs) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// An indicator's value.
#[derive(Serialize, ToSchema)]
struct IndicatorView {
    /// Null where nothing measures it.
    value: Option<f64>,
    unit: &'static str,
    at: DateTime<Utc>,
    /// What it tells.
    description: &'static str,
}

/// Every indicator now.
#[derive(Serialize, ToSchema)]
struct CurrentView {
    at: DateTime<Utc>,
    service: Option<String>,
    #[schema(value_type = BTreeMap<String, IndicatorView>)]
    metrics: BTreeMap<&'static str, IndicatorView>,
}

/// An indicator over time.
#[derive(Serialize, ToSchema)]
struct PointsView {
    unit: &'static str,
    /// `[milliseconds, value]`.
    #[schema(value_type = Vec<Vec<f64>>)]
    points: Vec<(TimeMs, f64)>,
}

/// Indicators over time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryView {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step_seconds: f64,
    #[schema(value_type = BTreeMap<String, PointsView>)]
    metrics: BTreeMap<&'static str, PointsView>,
}

/// Query of `GET /api/metrics/current`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CurrentQuery {
    service: Option<String>,
}

/// Every indicator's value now.
#[utoipa::path(get, path = "/api/metrics/current", operation_id = "getCurrentMetrics", tag = "metrics", params(CurrentQuery), responses((status = 200, body = CurrentView)))]
pub(super) async fn current(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<CurrentQuery>,
) -> Result<Response, Problem> {
    let at = Utc::now().timestamp_millis();
    let service = query.service.as_deref();
    let values = current_values(&state, at, service).await?;
    let view = |indicator: &Indicator, value| IndicatorView {
        value,
        unit: indicator.unit,
        at: iso(at),
        description: indicator.description,
    };
    let metrics = values.into_iter().map(|(indicator, value)| (indicator.name, view(indicator, value))).collect();
    Ok(typed(&CurrentView { at: iso(at), service: query.service, metrics }))
}

/// Every indicator's value at `at`, where it has one.
pub(super) async fn current_values(
    state: &State,
    at: TimeMs,
    service: Option<&str>,
) -> Result<Vec<(&'static Indicator, Option<f64>)>, QueryError> {
    let names: Vec<&str> = INDICATORS.iter().map(|indicator| indicator.name).collect();
    let answers = state.engine.instants(&names, at, service).await?;
    let finite = |answer: &Answer| answer.last_number().filter(|value| value.is_finite());
    Ok(INDICATORS.iter().zip(answers.iter().map(finite)).collect())
}

/// Query of `GET /api/metrics/history`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    hours: Option<String>,
    step: Option<String>,
    indicator: Option<String>,
    service: Option<String>,
}

impl HistoryQuery {
    fn hours(&self) -> Result<f64, Problem> {
        let Some(text) = &self.hours else { return Ok(24.0) };
        let hours = text.parse::<f64>().ok().filter(|hours| *hours > 0.0 && *hours <= HOURS_MAX);
        hours.ok_or_else(|| {
            Problem::parameter("hours", format!("hours must be more than 0 and at most {HOURS_MAX}, not {text:?}"))
        })
    }

    /// Seconds between points, whole minutes once the range is long.
    fn step_ms(&self, span: i64) -> Result<i64, Problem> {
        let Some(text) = &self.step else {
            let step = span / POINTS;
            return Ok(if step > 60_000 { step / 60_000 * 60_000 } else { (step / 10_000).max(1) * 10_000 });
        };
        let seconds = text.trim_end_matches('s').parse::<f64>().ok();
        let step =
            seconds.map(|seconds| (seconds * 1000.0) as i64).filter(|step| *step > 0 && span / step <= POINTS_MAX);
        let least = (span / POINTS_MAX).max(1) as f64 / 1000.0;
        step.ok_or_else(|| {
            Problem::parameter("step", format!("step must be at least {least} s for this range, not {text:?}"))
        })
    }
}

/// Indicators over the last hours.
#[utoipa::path(get, path = "/api/metrics/history", operation_id = "getMetricsHistory", tag = "metrics", params(HistoryQuery), responses((status = 200, body = HistoryView)))]
pub(super) async fn history(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Problem> {
    let span = (query.hours()? * HOUR_MS as f64) as i64;
    let step = query.step_ms(span)?;
    let end = Utc::now().timestamp_millis();
    let wanted: Vec<&Indicator> = match &query.indicator {
        None => INDICATORS.iter().collect(),
        Some(name) => vec![indicator(name).ok_or_else(|| {
            let known: Vec<&str> = INDICATORS.iter().map(|i| i.name).collect();
            Problem::parameter("indicator", format!("indicator {name:?} is not one of {}", known.join(", ")))
        })?],
    };
    let start = (end - span) / step * step;
    let mut metrics = BTreeMap::new();
    let names: Vec<&str> = wanted.iter().map(|indicator| indicator.name).collect();
    let answers = state.engine.ranges(&names, (start, end), step, query.service.as_deref()).await?;
    for (indicator, answer) in wanted.into_iter().zip(answers) {
        let AnswerValue::Vector(columns) = &answer.value else { continue };
        let samples = columns.first().map(|column| column.samples.as_slice()).unwrap_or_default();
        let finite = |sample| Sample::float(sample).filter(|value| value.is_finite());
        let points = answer.times.iter().zip(samples).filter_map(|(at, sample)| Some((*at, finite(sample)?))).collect();
        metrics.insert(indicator.name, PointsView { unit: indicator.unit, points });
    }
    let step_seconds = step as f64 / 1000.0;
    Ok(typed(&HistoryView { from: iso(start), to: iso(end), step_seconds, metrics }))
}
