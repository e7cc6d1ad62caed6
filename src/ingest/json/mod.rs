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
#[error("{0}")]
pub struct JsonError(#[from] serde_json::Error);

/// `ExportMetricsServiceRequest` as protobuf.
///
/// # Errors
/// When the text is not JSON or a known field has another type.
pub fn metrics_to_wire(body: &[u8]) -> Result<Vec<u8>, JsonError> {
    Ok(transcode::message(body, &EXPORT_METRICS)?)
}

/// `ExportTraceServiceRequest` as protobuf.
///
/// # Errors
/// When the text is not JSON or a known field has another type.
pub fn traces_to_wire(body: &[u8]) -> Result<Vec<u8>, JsonError> {
    Ok(transcode::message(body, &EXPORT_TRACES)?)
}

#[cfg(test)]
mod tests;
