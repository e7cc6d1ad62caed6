//! OTLP/JSON turned into OTLP protobuf bytes, so that one walk reads both.
//!
//! Streaming: fields go from the JSON text straight into wire bytes, guided by the tables in `schema`. Source: OTLP 1.11
//! "JSON Protobuf Encoding": hex ids, enums as integers, lowerCamelCase keys, 64-bit integers as text or number, unknown
//! fields ignored. What does not fit is an error that names the field; nothing is lost in silence.

mod schema;
mod transcode;

use schema::{EXPORT_METRICS, EXPORT_TRACES};

/// The body is not OTLP/JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or a known field has another type.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// It is larger as protobuf than a body may be.
    #[error("larger as protobuf than a body may be")]
    TooLarge,
}

/// `ExportMetricsServiceRequest` as protobuf of at most `limit` bytes.
///
/// # Errors
/// See [`JsonError`].
pub fn metrics_to_wire(body: &[u8], limit: usize) -> Result<Vec<u8>, JsonError> {
    transcode::message(body, &EXPORT_METRICS, limit)
}

/// `ExportTraceServiceRequest` as protobuf of at most `limit` bytes.
///
/// # Errors
/// See [`JsonError`].
pub fn traces_to_wire(body: &[u8], limit: usize) -> Result<Vec<u8>, JsonError> {
    transcode::message(body, &EXPORT_TRACES, limit)
}

#[cfg(test)]
mod tests;
