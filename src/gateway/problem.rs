//! Problem documents (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use serde::Serialize;
use utoipa::ToSchema;

use crate::query::QueryError;

/// An error as it is written.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemDocument {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    title: Option<&'static str>,
    status: u16,
    /// The kind, in one word.
    code: &'static str,
    /// What is wrong, with the limit where there is one.
    detail: String,
    /// The parameter or member at fault.
    field: Option<&'static str>,
}

/// An error as a client reads it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<&'static str>,
}

impl Problem {
    pub(super) fn of(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// A parameter out of range.
    pub(super) fn parameter(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field), ..Self::of(StatusCode::BAD_REQUEST, "invalid-argument", detail) }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let code = error.code();
        if code.http().is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, "query not answered");
        }
        Self::of(code.http(), code.as_str(), error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument {
            kind: format!("/problems/{}", self.code),
            title: self.status.canonical_reason(),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
            field: self.field,
        };
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
