//! Bodies of JSON that people write, bounded and told precisely what is wrong with them; revisions as `ETag` and `If-Match`.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

use super::problem::Problem;
use super::{BODY_BYTES_MAX, typed};
use crate::storage::Expected;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|_| {
            let text = format!("the body is larger than {BODY_BYTES_MAX} bytes, or ends before its length");
            Problem::of(StatusCode::PAYLOAD_TOO_LARGE, "too-large", text)
        })?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let (path, inner) = (error.path().to_string(), error.inner().to_string());
            field_problem(&path, &inner)
        })?;
        reader.end().map_err(|error| Problem::parameter("body", error.to_string()))?;
        Ok(Self(read))
    }
}

fn field_problem(path: &str, what: &str) -> Problem {
    // serde names the field of these two in backquotes, at the path of the object around it.
    let named = what.contains("unknown field") || what.contains("missing field");
    let inner = what.split('`').nth(1).filter(|_| named);
    let field = match (path, inner) {
        (".", None) => "body".to_owned(),
        (".", Some(inner)) => inner.to_owned(),
        (path, Some(inner)) if !path.ends_with(inner) => format!("{path}.{inner}"),
        (path, _) => path.to_owned(),
    };
    Problem::parameter(&field, format!("{field}: {what}"))
}

/// A value out of an object that was read as JSON before.
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    let read: Result<T, _> = serde_path_to_error::deserialize(value);
    read.map_err(|error| field_problem(&error.path().to_string(), &error.inner().to_string()))
}

/// Parameters that every write takes.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct WriteQuery {
    /// Only check.
    #[serde(default)]
    pub(super) dry_run: bool,
    /// The revision that it replaces.
    pub(super) revision: Option<i64>,
}

/// The revision that a writer saw: from `If-Match`, or a field of the body or query.
pub(super) fn seen_revision(headers: &HeaderMap, field: Option<i64>) -> Result<Option<i64>, Problem> {
    let Some(etag) = headers.get(header::IF_MATCH).filter(|etag| etag.as_bytes() != b"*") else { return Ok(field) };
    let number = etag.to_str().ok().and_then(|text| text.trim_start_matches("W/").trim_matches('"').parse().ok());
    number.map(Some).ok_or_else(|| Problem::parameter("If-Match", "If-Match must be a revision such as \"3\""))
}

/// What a replacement expects.
pub(super) fn expected(headers: &HeaderMap, field: Option<i64>) -> Result<Expected, Problem> {
    Ok(seen_revision(headers, field)?.map_or(Expected::Present, Expected::Revision))
}

/// JSON with its revision as `ETag`.
pub(super) fn revised(status: StatusCode, revision: i64, value: &impl Serialize) -> Response {
    let mut response = (status, typed(value)).into_response();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}
