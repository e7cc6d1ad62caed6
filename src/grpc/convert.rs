//! What the services share: statuses with `google.rpc` details, times, severities.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::alerting::AlertingError;
use crate::error::ErrorCode;
use crate::model::{Period, Severity};
use crate::proto;

/// When to come again after the database was away.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An error of a room as a status: its code by name, when to come again, and which fields are wrong.
pub(super) fn refusal(error: &(dyn Error + 'static), code: ErrorCode, violations: &[(&str, &str)]) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(code.as_str(), "fastbreak", HashMap::new());
    for (field, what) in violations {
        details.add_bad_request_violation(*field, *what);
    }
    if code == ErrorCode::Unavailable {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    if code.http().is_server_error() {
        tracing::warn!(error, "a call is not answered");
    }
    Status::with_error_details(code.grpc(), error.to_string(), details)
}

/// An error of alerting as a status.
pub(super) fn status(error: &AlertingError) -> Status {
    let violations: Vec<(&str, &str)> = match error {
        AlertingError::Invalid(violations) => violations.iter().map(|v| (v.field.as_ref(), v.what.as_ref())).collect(),
        _ => Vec::new(),
    };
    refusal(error, error.code(), &violations)
}

/// A field that is missing or does not read.
pub(super) fn bad_field(field: &str, what: impl Into<String>) -> Status {
    let what = what.into();
    let details = ErrorDetails::with_bad_request_violation(field, what.as_str());
    Status::with_error_details(tonic::Code::InvalidArgument, format!("{field}: {what}"), details)
}

pub(super) fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    SystemTime::from(at).into()
}

pub(super) fn time(field: &str, at: Option<prost_types::Timestamp>) -> Result<Option<DateTime<Utc>>, Status> {
    let Some(at) = at else { return Ok(None) };
    let read = u32::try_from(at.nanos).ok().and_then(|nanos| DateTime::from_timestamp(at.seconds, nanos));
    read.map(Some).ok_or_else(|| bad_field(field, "is not a time"))
}

pub(super) fn duration(period: Period) -> prost_types::Duration {
    let millis = period.millis();
    prost_types::Duration { seconds: millis / 1_000, nanos: (millis % 1_000) as i32 * 1_000_000 }
}

pub(super) fn period(field: &str, given: Option<prost_types::Duration>) -> Result<Option<Period>, Status> {
    let Some(given) = given else { return Ok(None) };
    let sound = (0..=i64::from(u32::MAX)).contains(&given.seconds) && (0..1_000_000_000).contains(&given.nanos);
    let millis = given.seconds.saturating_mul(1_000).saturating_add(i64::from(given.nanos) / 1_000_000);
    if sound {
        Ok(Period::from_millis(millis))
    } else {
        Err(bad_field(field, "must not be negative or over a century"))
    }
}

pub(super) const fn severity(severity: Severity) -> proto::Severity {
    match severity {
        Severity::Info => proto::Severity::Info,
        Severity::Warning => proto::Severity::Warning,
        Severity::Critical => proto::Severity::Critical,
    }
}

/// The severity of a field; `None` when it is left out.
pub(super) fn read_severity(field: &str, given: i32) -> Result<Option<Severity>, Status> {
    Ok(match proto::Severity::try_from(given).map_err(|_| bad_field(field, format!("{given} is not known")))? {
        proto::Severity::Unspecified => None,
        proto::Severity::Info => Some(Severity::Info),
        proto::Severity::Warning => Some(Severity::Warning),
        proto::Severity::Critical => Some(Severity::Critical),
    })
}
