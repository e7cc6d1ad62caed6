//! One table of error codes, mapped once to gRPC and once to HTTP.

use http::StatusCode;
use tonic::Code;

/// What kind of failure an API tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The request is not well formed, or a field is out of range.
    InvalidArgument,
    /// Well formed, but it cannot be done: an unsupported function, a range beyond retention.
    Unprocessable,
    /// There is no such thing.
    NotFound,
    /// Somebody else was first: a stale revision, a name that is taken.
    Conflict,
    /// There is one already.
    AlreadyExists,
    /// Over a limit that the message names.
    LimitExceeded,
    /// It took longer than it may.
    DeadlineExceeded,
    /// Not now; try again.
    Unavailable,
    /// A bug.
    Internal,
}

impl ErrorCode {
    /// On HTTP.
    #[must_use]
    pub const fn http(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::Unprocessable | Self::LimitExceeded => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict | Self::AlreadyExists => StatusCode::CONFLICT,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// On gRPC.
    #[must_use]
    pub const fn grpc(self) -> Code {
        match self {
            Self::InvalidArgument => Code::InvalidArgument,
            Self::Unprocessable => Code::FailedPrecondition,
            Self::NotFound => Code::NotFound,
            Self::Conflict => Code::Aborted,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::LimitExceeded => Code::ResourceExhausted,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Unavailable => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }

    /// The word in `type` URIs and `code` fields.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::Unprocessable => "unprocessable",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::AlreadyExists => "already-exists",
            Self::LimitExceeded => "limit-exceeded",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}
