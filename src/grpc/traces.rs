//! `TraceService`.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tonic::{Request, Response, Status};

use super::convert::{bad_field, refusal, timestamp};
use crate::model::{self, Attribute};
use crate::proto;
use crate::proto::trace_service_server::TraceService;
use crate::storage::TraceOrder;
use crate::traces::{FoundTrace, LIMIT_MAX, Search, SpanDetail, TraceError, Traces};

/// Traces of a page when nothing is said.
const LIMIT: usize = 50;
/// Span of time when none is given.
const HOUR_NS: i64 = 3_600_000_000_000;

/// The service.
pub(super) struct TraceReader(pub(super) Arc<Traces>);

fn status(error: &TraceError) -> Status {
    match error {
        TraceError::Invalid { field, what } => refusal(error, error.code(), &[(field, what)]),
        _ => refusal(error, error.code(), &[]),
    }
}

fn nanos(field: &str, at: Option<prost_types::Timestamp>) -> Result<Option<i64>, Status> {
    let Some(at) = super::convert::time(field, at)? else { return Ok(None) };
    at.timestamp_nanos_opt().map(Some).ok_or_else(|| bad_field(field, "is beyond the year 2262"))
}

fn duration_ns(field: &str, given: Option<prost_types::Duration>) -> Result<Option<i64>, Status> {
    let Some(given) = given else { return Ok(None) };
    let whole = given.seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(i64::from(given.nanos)));
    whole.filter(|ns| *ns >= 0).map(Some).ok_or_else(|| bad_field(field, "must not be negative or over a century"))
}

fn read(request: proto::SearchTracesRequest, now_ns: i64) -> Result<Search, Status> {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let order = proto::TraceOrder::try_from(request.order).map_err(|_| bad_field("order", "is not known"))?;
    let errors = proto::TraceErrors::try_from(request.errors).map_err(|_| bad_field("errors", "is not known"))?;
    let to = nanos("to", request.to)?.unwrap_or(now_ns);
    Ok(Search {
        service: given(request.service),
        with: given(request.with),
        operation: given(request.operation),
        least_ns: duration_ns("min_duration", request.min_duration)?,
        most_ns: duration_ns("max_duration", request.max_duration)?,
        error: match errors {
            proto::TraceErrors::Unspecified => None,
            proto::TraceErrors::Only => Some(true),
            proto::TraceErrors::None => Some(false),
        },
        attributes: request.attributes.into_iter().collect(),
        span_ns: (nanos("from", request.from)?.unwrap_or(to - HOUR_NS), to),
        order: match order {
            proto::TraceOrder::Unspecified | proto::TraceOrder::Newest => TraceOrder::Newest,
            proto::TraceOrder::Slowest => TraceOrder::Slowest,
        },
        cursor: given(request.page_token),
        limit: if request.page_size == 0 { LIMIT } else { (request.page_size as usize).min(LIMIT_MAX) },
    })
}

fn at(nanos: u64) -> prost_types::Timestamp {
    timestamp(DateTime::from_timestamp_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)))
}

const fn duration(nanos: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: (nanos / 1_000_000_000) as i64, nanos: (nanos % 1_000_000_000) as i32 }
}

fn summary(found: &FoundTrace) -> proto::TraceSummary {
    let (root_service, root_operation) = found.root.clone().unwrap_or_default();
    proto::TraceSummary {
        trace_id: found.trace_id.to_string(),
        started_at: Some(at(found.start_ns as u64)),
        duration: Some(duration(found.duration_ns.max(0) as u64)),
        root_service,
        root_operation,
        services: found.services.clone(),
        span_count: found.span_count,
        error_count: found.error_count,
        reasons: found.reasons.names().into_iter().map(ToOwned::to_owned).collect(),
    }
}

fn attributes(attributes: &[Attribute]) -> HashMap<String, String> {
    let text = |attribute: &Attribute| attribute.value.scalar().unwrap_or_else(|| format!("{:?}", attribute.value));
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn span(span: &model::Span) -> proto::Span {
    let event = |event: &model::SpanEvent| proto::SpanEvent {
        name: event.name.clone(),
        at: Some(at(event.time)),
        attributes: attributes(&event.attributes),
    };
    proto::Span {
        span_id: span.span_id.to_string(),
        parent_span_id: if span.parent_id.is_none() { String::new() } else { span.parent_id.to_string() },
        service: span.source.service().to_owned(),
        operation: span.name.clone(),
        kind: span.kind.as_str().to_owned(),
        status: span.status.as_str().to_owned(),
        status_message: span.status_message.clone(),
        started_at: Some(at(span.start)),
        duration: Some(duration(span.end - span.start)),
        attributes: attributes(&span.attributes),
        resource: HashMap::new(),
        events: span.events.iter().map(event).collect(),
    }
}

#[tonic::async_trait]
impl TraceService for TraceReader {
    async fn search_traces(
        &self,
        request: Request<proto::SearchTracesRequest>,
    ) -> Result<Response<proto::SearchTracesResponse>, Status> {
        let now_ns = Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX);
        let page = self.0.search(&read(request.into_inner(), now_ns)?).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::SearchTracesResponse {
            traces: page.traces.iter().map(summary).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn get_trace(&self, request: Request<proto::GetTraceRequest>) -> Result<Response<proto::Trace>, Status> {
        let id = request.into_inner().trace_id.parse().map_err(|error| bad_field("trace_id", format!("{error}")))?;
        let trace = self.0.trace(id, SpanDetail::Outline).await.map_err(|error| status(&error))?;
        let spans = trace.spans.iter().map(span).collect();
        Ok(Response::new(proto::Trace { summary: Some(summary(&trace.found)), spans }))
    }

    async fn get_span(&self, request: Request<proto::GetSpanRequest>) -> Result<Response<proto::Span>, Status> {
        let request = request.into_inner();
        let id = request.trace_id.parse().map_err(|error| bad_field("trace_id", format!("{error}")))?;
        let span_id = request.span_id.parse().map_err(|error| bad_field("span_id", format!("{error}")))?;
        let found = self.0.span(id, span_id).await.map_err(|error| status(&error))?;
        Ok(Response::new(proto::Span { resource: attributes(&found.source.resource), ..span(&found) }))
    }
}
