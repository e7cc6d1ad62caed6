//! The page of a binary that was built without the dashboard: how to build it, and where everything else is.

use axum::response::Html;

use super::Facts;

/// Says how to build the dashboard.
pub(super) fn not_built(facts: &Facts) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>FastBreak</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head><body><h1>FastBreak</h1>\
         <p>The server runs; its dashboard was not built into this binary. <code>make dashboard</code> builds it \
         (npm and Node 20 or later), then build the server again.</p>\
         <h2>Send to it</h2><pre>OTEL_EXPORTER_OTLP_ENDPOINT=http://{}  (gRPC)\nOTEL_EXPORTER_OTLP_ENDPOINT=http://{}  \
         (HTTP: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)</pre>\
         <p><a href=\"/api/metrics/current\">current</a> · <a href=\"/api/metrics/history?hours=1\">history</a> · \
         <a href=\"/api/services\">services</a> · <a href=\"/api/ingest/ledger\">ingest ledger</a> · \
         <a href=\"/api/system/info\">system</a> · <a href=\"/api/openapi.json\">API</a> · \
         <a href=\"/health\">health</a> · <a href=\"/metrics\">metrics</a></p></body></html>",
        facts.grpc, facts.otlp_http
    ))
}
