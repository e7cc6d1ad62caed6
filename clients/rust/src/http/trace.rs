//! The span of a request, which goes on the caller's trace.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

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

/// Attributes that a span has in the end: room for them is made at once.
const ATTRIBUTES: usize = 6;

/// A span under way, and when it began.
pub(super) struct Span(Context, SystemTime);

impl Span {
    pub(super) fn start(tracer: &global::BoxedTracer, parts: &Parts, labels: &Labels) -> Self {
        let parent = global::get_text_map_propagator(|propagator| {
            propagator.extract_with_context(&Context::current(), &Headers(&parts.headers))
        });
        let name = match &labels.route {
            Some(route) => [labels.method(), " ", route].concat().into(),
            None => Cow::Borrowed(labels.method()),
        };
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        attributes.extend([
            KeyValue::new("http.request.method", labels.method()),
            KeyValue::new("url.scheme", labels.scheme()),
            KeyValue::new("http.route", labels.route()),
            KeyValue::new("network.protocol.version", labels.version),
        ]);
        let began = opentelemetry::time::now();
        let mut builder = tracer.span_builder(name).with_kind(SpanKind::Server).with_start_time(began);
        builder.attributes = Some(attributes);
        let span = tracer.build_with_context(builder, &parent);
        Self(parent.with_span(span), began)
    }

    /// What is done in it is done within the span.
    pub(super) fn within<T>(&self, what: impl FnOnce() -> T) -> T {
        let _guard = self.0.clone().attach();
        what()
    }

    /// It took as long as the request is said to have.
    pub(super) fn end(self, outcome: Outcome, took: Duration) {
        let span = self.0.span();
        if let Some(status) = outcome.status() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        if let Some(error) = outcome.error() {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(self.1 + took);
    }
}
