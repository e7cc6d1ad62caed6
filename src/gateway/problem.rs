//! Problem documents (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::alerting::AlertingError;
use crate::model::Violation;
use crate::notify::NotifyError;
use crate::policy::PolicyError;
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
    field: Option<String>,
}

/// How a change is refused, for the description of the API.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what Problem writes")]
pub(super) enum Refused {
    /// A field is not as it must be.
    #[response(status = 400)]
    Invalid(ProblemDocument),
    /// There is no such thing.
    #[response(status = 404)]
    Absent(ProblemDocument),
    /// Somebody else was first: the revision is not the newest, or the name is taken.
    #[response(status = 409)]
    Conflict(ProblemDocument),
    /// It cannot be done as things stand.
    #[response(status = 422)]
    Impossible(ProblemDocument),
}

/// An error as a client reads it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
}

impl Problem {
    pub(super) fn of(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// A parameter or field out of range.
    pub(super) fn parameter(field: &str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::of(StatusCode::BAD_REQUEST, "invalid-argument", detail) }
    }
}

impl From<AlertingError> for Problem {
    fn from(error: AlertingError) -> Self {
        let code = error.code();
        if code.http().is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, "alerting did not answer");
        }
        let field = match &error {
            AlertingError::Invalid(violations) => violations.first().map(|violation| violation.field.clone()),
            _ => None,
        };
        Self { field, ..Self::of(code.http(), code.as_str(), error.to_string()) }
    }
}

impl From<Vec<Violation>> for Problem {
    fn from(violations: Vec<Violation>) -> Self {
        PolicyError::Invalid(violations).into()
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        let code = error.code();
        if code.http().is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, "policies not answered");
        }
        let field = match &error {
            PolicyError::Invalid(violations) => violations.first().map(|violation| violation.field.clone()),
            _ => None,
        };
        Self { field, ..Self::of(code.http(), code.as_str(), error.to_string()) }
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

impl From<NotifyError> for Problem {
    fn from(error: NotifyError) -> Self {
        let code = error.code();
        if code.http().is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, "receivers or deliveries not answered");
        }
        let field = match &error {
            NotifyError::Fields(fields) => fields.first().map(|first| first.field.clone()),
            _ => None,
        };
        Self { field, ..Self::of(code.http(), code.as_str(), error.to_string()) }
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
