//! `Export…ServiceResponse`: empty, or what was refused and why.

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;

use super::committer::Ack;
use super::export::Signal;

/// As protobuf. `partial_success` is unset when there is nothing to say.
pub(super) fn encode(signal: Signal, ack: &Ack) -> Vec<u8> {
    let (rejected, error_message) = (ack.rejects.total() as i64, ack.rejects.message());
    let silent = rejected == 0 && error_message.is_empty();
    match signal {
        Signal::Metrics => {
            let partial = ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message };
            ExportMetricsServiceResponse { partial_success: (!silent).then_some(partial) }.encode_to_vec()
        }
        Signal::Traces => {
            let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message };
            ExportTraceServiceResponse { partial_success: (!silent).then_some(partial) }.encode_to_vec()
        }
    }
}

/// As OTLP/JSON: 64-bit numbers are strings, and `{}` when there is nothing to say.
pub(super) fn encode_json(signal: Signal, ack: &Ack) -> Vec<u8> {
    let (rejected, message) = (ack.rejects.total(), ack.rejects.message());
    if rejected == 0 && message.is_empty() {
        return b"{}".to_vec();
    }
    let field = match signal {
        Signal::Metrics => "rejectedDataPoints",
        Signal::Traces => "rejectedSpans",
    };
    serde_json::json!({ "partialSuccess": { field: rejected.to_string(), "errorMessage": message } })
        .to_string()
        .into_bytes()
}
