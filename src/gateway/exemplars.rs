//! Exemplars over HTTP, as Prometheus answers them.
//!
//! Source: Prometheus documentation, "HTTP API", "Querying exemplars".

#![expect(unused_qualifications, reason = "what utoipa makes of IntoParams qualifies its types")]

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Form;
use axum::extract::{self, Query};
use axum::response::Response;
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::query::{failure, labels, text, time};
use super::{State, typed};
use crate::model::Exemplar;
use crate::query::{QueryError, SeriesExemplars};

/// Span of time when none is given.
const SPAN_MS: i64 = 3_600_000;

/// Parameters of an exemplar query.
#[derive(Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[schema(as = Exemplars)]
pub(super) struct Parameters {
    /// PromQL; its selectors count.
    query: String,
    /// Unix seconds or RFC 3339; an hour before the end by default.
    start: Option<String>,
    /// Unix seconds or RFC 3339; now by default.
    end: Option<String>,
}

/// The exemplars of a query's series, as Prometheus answers them.
#[utoipa::path(get, path = "/prometheus/api/v1/query_exemplars", operation_id = "queryExemplars", tag = "prometheus", params(Parameters), responses((status = 200, body = Value)))]
pub(super) async fn exemplars(
    extract::State(state): extract::State<Arc<State>>,
    Query(query): Query<Parameters>,
) -> Response {
    answer(&state, query).await
}

/// The same with a form as body.
#[utoipa::path(post, path = "/prometheus/api/v1/query_exemplars", operation_id = "queryExemplarsByForm", tag = "prometheus", request_body(content = Parameters, content_type = "application/x-www-form-urlencoded"), responses((status = 200, body = Value)))]
pub(super) async fn exemplars_form(
    extract::State(state): extract::State<Arc<State>>,
    Form(query): Form<Parameters>,
) -> Response {
    answer(&state, query).await
}

async fn answer(state: &State, query: Parameters) -> Response {
    let span = || {
        let end = query.end.as_deref().map_or_else(|| Ok(Utc::now().timestamp_millis()), |text| time("end", text))?;
        let start = query.start.as_deref().map_or(Ok(end - SPAN_MS), |text| time("start", text))?;
        if end < start {
            return Err(QueryError::Invalid("end must not be before start".to_owned()));
        }
        Ok((start, end))
    };
    let found = match span() {
        Ok(span) => state.engine.exemplars(&query.query, span).await,
        Err(error) => Err(error),
    };
    match found {
        Err(error) => failure(&error),
        Ok((series, left_out)) => {
            let mut body = json!({ "status": "success", "data": series.iter().map(view).collect::<Vec<_>>() });
            if let Some(body) = body.as_object_mut().filter(|_| left_out) {
                body.insert("warnings".to_owned(), json!(["only the exemplars of the greatest values are shown"]));
            }
            typed(&body)
        }
    }
}

fn view(series: &SeriesExemplars) -> Value {
    let one = |exemplar: &Exemplar| {
        json!({
            "labels": { "trace_id": hex(&exemplar.trace_id), "span_id": hex(&exemplar.span_id) },
            "value": text(exemplar.value),
            "timestamp": exemplar.time as f64 / 1000.0,
        })
    };
    json!({
        "seriesLabels": labels(&series.labels),
        "exemplars": series.exemplars.iter().map(one).collect::<Vec<_>>(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}
