//! The page at `/` until the dashboard takes its place: addresses and indicators, plain HTML, no script.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract;
use axum::response::Html;
use chrono::Utc;

use super::State;
use super::indicators::current_values;

/// `GET /`.
pub(super) async fn index(extract::State(state): extract::State<Arc<State>>) -> Html<String> {
    let facts = &state.facts;
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>FastBreak</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head><body><h1>FastBreak</h1>",
    );
    // Writing to a String cannot fail.
    let _infallible = write!(
        out,
        "<h2>Send to it</h2><pre>OTEL_EXPORTER_OTLP_ENDPOINT=http://{}  (gRPC)\nOTEL_EXPORTER_OTLP_ENDPOINT=http://{}  \
         (HTTP: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf)</pre><h2>Now</h2>",
        facts.grpc, facts.otlp_http
    );
    match current_values(&state, Utc::now().timestamp_millis(), None).await {
        Ok(values) => {
            out.push_str(
                "<table><thead><tr><th>Indicator</th><th>Value</th><th>Unit</th><th>Meaning</th></tr></thead><tbody>",
            );
            for (indicator, value) in values {
                let value = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
                let _infallible = write!(
                    out,
                    "<tr><td>{}</td><td>{value}</td><td>{}</td><td>{}</td></tr>",
                    indicator.name, indicator.unit, indicator.description
                );
            }
            out.push_str("</tbody></table>");
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "indicators not shown");
            out.push_str("<p>The database is not available.</p>");
        }
    }
    out.push_str(
        "<p><a href=\"/api/metrics/current\">current</a> · <a href=\"/api/metrics/history?hours=1\">history</a> · \
         <a href=\"/api/services\">services</a> · <a href=\"/api/ingest/ledger\">ingest ledger</a> · \
         <a href=\"/api/system/info\">system</a> · <a href=\"/health\">health</a> · <a href=\"/metrics\">metrics</a></p></body></html>",
    );
    Html(out)
}
