//! The search: kept traces by service, operation, duration, error, attributes and time.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::problem::Problem;
use super::super::typed;
use super::view;
use crate::storage::TraceOrder;
use crate::traces::{Search, Traces};

/// Traces of a page when nothing is said.
const LIMIT: usize = 50;
/// Span of time when none is given.
const HOUR_NS: i64 = 3_600_000_000_000;
/// Most attributes asked for at once.
const ATTRIBUTES_MAX: usize = 8;
/// Parameters that are taken.
const PARAMETERS: &[&str] = &[
    "service",
    "with",
    "operation",
    "minDuration",
    "maxDuration",
    "error",
    "attribute",
    "from",
    "to",
    "order",
    "cursor",
    "limit",
];

/// A duration such as `250ms`, in nanoseconds.
fn duration(field: &str, text: &str) -> Result<i64, Problem> {
    let read = humantime::parse_duration(text).ok().and_then(|duration| i64::try_from(duration.as_nanos()).ok());
    read.ok_or_else(|| Problem::parameter(field, format!("{field} must be a duration such as 250ms or 2s")))
}

/// A time as RFC 3339 or Unix seconds, in nanoseconds.
fn time(field: &str, text: &str) -> Result<i64, Problem> {
    let read = || {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return at.timestamp_nanos_opt();
        }
        let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=9e9).contains(seconds))?;
        Some((seconds * 1e9) as i64)
    };
    read().ok_or_else(|| Problem::parameter(field, format!("{field} must be RFC 3339 or Unix seconds")))
}

fn error(text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::parameter("error", "error must be true or false"))
}

fn order(text: &str) -> Result<TraceOrder, Problem> {
    match text {
        "newest" => Ok(TraceOrder::Newest),
        "slowest" => Ok(TraceOrder::Slowest),
        _ => Err(Problem::parameter("order", "order must be newest or slowest")),
    }
}

fn attribute(text: &str) -> Result<(String, String), Problem> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| {
        Problem::parameter("attribute", "attribute must be name=value; it may be given several times")
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The search that a query string asks for.
fn read(query: &str, now_ns: i64) -> Result<Search, Problem> {
    let url = reqwest::Url::parse(&format!("http://localhost/?{query}"))
        .map_err(|_| Problem::parameter("query", "the query string cannot be read"))?;
    let mut search = Search { limit: LIMIT, ..Search::default() };
    let (mut from, mut to) = (None, None);
    for (name, text) in url.query_pairs() {
        let text = &*text;
        match &*name {
            "service" => search.service = Some(text.to_owned()),
            "with" => search.with = Some(text.to_owned()),
            "operation" => search.operation = Some(text.to_owned()),
            "minDuration" => search.least_ns = Some(duration("minDuration", text)?),
            "maxDuration" => search.most_ns = Some(duration("maxDuration", text)?),
            "error" => search.error = Some(error(text)?),
            "attribute" => search.attributes.push(attribute(text)?),
            "from" => from = Some(time("from", text)?),
            "to" => to = Some(time("to", text)?),
            "order" => search.order = order(text)?,
            "cursor" => search.cursor = Some(text.to_owned()),
            "limit" => {
                search.limit = text.parse().map_err(|_| Problem::parameter("limit", "limit must be a number"))?;
            }
            other => {
                let known = PARAMETERS.join(", ");
                return Err(Problem::parameter(other, format!("{other:?} is not one of {known}")));
            }
        }
    }
    if search.attributes.len() > ATTRIBUTES_MAX {
        let text = format!("attribute may be given {ATTRIBUTES_MAX} times, not {}", search.attributes.len());
        return Err(Problem::parameter("attribute", text));
    }
    let to = to.unwrap_or(now_ns);
    search.span_ns = (from.unwrap_or(to - HOUR_NS), to);
    Ok(search)
}

/// The same search with another cursor.
fn next(query: &str, cursor: &str, span_ns: (i64, i64)) -> String {
    let mut url = reqwest::Url::parse("http://localhost/api/traces").expect("the path is constant");
    let before = reqwest::Url::parse(&format!("http://localhost/?{query}")).ok();
    let pairs: Vec<(String, String)> =
        before.iter().flat_map(reqwest::Url::query_pairs).map(|(n, v)| (n.into(), v.into())).collect();
    {
        let mut out = url.query_pairs_mut();
        for (name, value) in pairs.iter().filter(|(name, _)| !["cursor", "from", "to"].contains(&name.as_str())) {
            out.append_pair(name, value);
        }
        // The span stays what it was: a page must not move with the clock.
        for (name, at) in [("from", span_ns.0), ("to", span_ns.1)] {
            out.append_pair(name, &DateTime::from_timestamp_nanos(at).to_rfc3339());
        }
        out.append_pair("cursor", cursor);
    }
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// A page of traces.
#[derive(Serialize, ToSchema)]
struct TracesView {
    traces: Vec<view::FoundView>,
    /// For the next page, if there is one; it is in the `Link` header too.
    cursor: Option<String>,
}

/// Kept traces by service, operation, duration, error, attributes and time.
#[utoipa::path(
    get,
    path = "/api/traces",
    operation_id = "listTraces",
    tag = "traces",
    params(
        ("service" = Option<String>, Query, description = "a service with a span in it"),
        ("with" = Option<String>, Query, description = "another service with a span in it"),
        ("operation" = Option<String>, Query, description = "an operation with a span in it"),
        ("minDuration" = Option<String>, Query, description = "such as 250ms"),
        ("maxDuration" = Option<String>, Query, description = "such as 2s"),
        ("error" = Option<bool>, Query, description = "with or without a failed span"),
        ("attribute" = Option<Vec<String>>, Query, description = "name=value of a span; several times, at most 8"),
        ("from" = Option<String>, Query, description = "RFC 3339 or Unix seconds; an hour before `to` by default"),
        ("to" = Option<String>, Query, description = "RFC 3339 or Unix seconds; now by default"),
        ("order" = Option<String>, Query, description = "newest or slowest"),
        ("cursor" = Option<String>, Query, description = "of the page before"),
        ("limit" = Option<usize>, Query, description = "traces of a page; 50 by default")
    ),
    responses((status = 200, body = TracesView))
)]
pub(in crate::gateway) async fn list(
    State(traces): State<Arc<Traces>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let search = read(&query, Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX))?;
    let page = traces.search(&search).await?;
    let traces = page.traces.iter().map(Into::into).collect();
    let mut response = typed(&TracesView { traces, cursor: page.next.clone() });
    if let Some(cursor) = &page.next
        && let Ok(link) = HeaderValue::from_str(&format!("<{}>; rel=\"next\"", next(&query, cursor, search.span_ns)))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_what_is_wrong_is_named() {
        let query = "service=shop&operation=GET%20%2Fcart&minDuration=250ms&attribute=user.id%3D7&attribute=a=b=c\
                     &order=slowest&from=100&to=2001-09-09T01:46:40Z&limit=5&error=true";
        let search = read(query, 0).expect("sound");
        assert_eq!((search.service.as_deref(), search.operation.as_deref()), (Some("shop"), Some("GET /cart")));
        assert_eq!((search.least_ns, search.limit, search.error), (Some(250_000_000), 5, Some(true)));
        assert_eq!(search.attributes, [("user.id".into(), "7".into()), ("a".into(), "b=c".into())]);
        assert_eq!(search.span_ns, (100_000_000_000, 1_000_000_000_000_000_000));
        for bad in
            ["minDuration=x", "error=maybe", "attribute=x", "from=yesterday", "order=best", "limit=x", "colour=1"]
        {
            assert!(read(bad, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_of_the_same_span() {
        let address = next("service=a%26b&cursor=old&to=5", "1:ab", (0, 5_000_000_000));
        assert_eq!(
            address,
            "/api/traces?service=a%26b&from=1970-01-01T00%3A00%3A00%2B00%3A00&to=1970-01-01T00%3A00%3A05%2B00%3A00&cursor=1%3Aab"
        );
    }
}
