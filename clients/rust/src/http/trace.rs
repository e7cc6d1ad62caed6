//! The span of a request, which goes on the caller's trace.

use http::HeaderMap;
use http::request::Parts;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, global};

use super::labels::{Labels, Outcome};

/// Headers as what a trace is read from.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// A span under way.
pub(super) struct Span(Context);

impl Span {
    pub(super) fn start(tracer: &global::BoxedTracer, parts: &Parts, labels: &Labels) -> Self {
        let parent = global::get_text_map_propagator(|propagator| {
            propagator.extract_with_context(&Context::current(), &Headers(&parts.headers))
        });
        let name = match &labels.route {
            Some(route) => format!("{} {route}", labels.method()),
            None => labels.method().to_owned(),
        };
        let attributes = [
            KeyValue::new("http.request.method", labels.method()),
            KeyValue::new("url.scheme", labels.scheme()),
            KeyValue::new("http.route", labels.route()),
            KeyValue::new("network.protocol.version", labels.version),
        ];
        let builder = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let span = tracer.build_with_context(builder, &parent);
        Self(parent.with_span(span))
    }

    /// What is done in it is done within the span.
    pub(super) fn within<T>(&self, what: impl FnOnce() -> T) -> T {
        let _guard = self.0.clone().attach();
        what()
    }

    pub(super) fn end(self, outcome: Outcome) {
        let span = self.0.span();
        if let Some(status) = outcome.status() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        if let Some(error) = outcome.error() {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
