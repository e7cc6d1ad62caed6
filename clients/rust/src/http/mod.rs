//! What an HTTP server does, measured: a layer for tower.
//!
//! By the semantic conventions: `http.server.request.duration` and `http.server.active_requests`, and a span that goes on the
//! caller's trace. A request is named by its route, such as `/users/{id}`, and by `unmatched` when it has none; its path is
//! in no metric, so that nobody who asks for odd paths makes series.
//!
//! ```
//! use fastbreak_client::http::HttpLayer;
//!
//! let layer = HttpLayer::new().exclude(["/health", "/metrics"]);
//! # let _: HttpLayer = layer;
//! ```
//!
//! With axum, `Router::layer(layer)` is all; the route is what matched. Another router gives [`HttpLayer::route`] a function.

mod labels;
mod measure;
mod trace;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::metrics::Meter;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use measure::Measures;
use trace::Span;

/// The route of a request that has none.
pub const UNMATCHED: &str = "unmatched";

/// A route as a function of what is known before the request is handled.
type Route = dyn Fn(&http::request::Parts) -> Option<Arc<str>> + Send + Sync;

struct Settings {
    measures: Measures,
    tracer: opentelemetry::global::BoxedTracer,
    traces: bool,
    excluded: Vec<String>,
    route: Option<Box<Route>>,
}

/// Measures every request of a service; cheap to clone.
#[derive(Clone)]
pub struct HttpLayer(Arc<Settings>);

impl HttpLayer {
    /// A layer that exports through the global providers, which [`crate::FastBreak`] sets.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&opentelemetry::global::meter("fastbreak.http"), opentelemetry::global::tracer("fastbreak.http"))
    }

    /// A layer over providers of your own.
    #[must_use]
    pub fn with(meter: &Meter, tracer: opentelemetry::global::BoxedTracer) -> Self {
        let measures = Measures::new(meter);
        Self(Arc::new(Settings { measures, tracer, traces: true, excluded: Vec::new(), route: None }))
    }

    /// Requests to these paths are not measured; a `*` at the end stands for whatever is behind.
    #[must_use]
    pub fn exclude<S: Into<String>>(self, paths: impl IntoIterator<Item = S>) -> Self {
        self.change(|settings| settings.excluded.extend(paths.into_iter().map(Into::into)))
    }

    /// How the route of a request is found, when it is not axum that routes.
    #[must_use]
    pub fn route(self, route: impl Fn(&http::request::Parts) -> Option<Arc<str>> + Send + Sync + 'static) -> Self {
        self.change(|settings| settings.route = Some(Box::new(route)))
    }

    /// Without spans.
    #[must_use]
    pub fn without_traces(self) -> Self {
        self.change(|settings| settings.traces = false)
    }

    /// Before it is given to a service; afterwards nothing changes.
    fn change(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        if let Some(settings) = Arc::get_mut(&mut self.0) {
            change(settings);
        } else {
            tracing::warn!("an HTTP layer that is in use is not changed");
        }
        self
    }
}

impl Default for HttpLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = Http<S>;

    fn layer(&self, inner: S) -> Http<S> {
        Http { inner, settings: Arc::clone(&self.0) }
    }
}

/// A service that is measured.
#[derive(Clone)]
pub struct Http<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, I, O> Service<Request<I>> for Http<S>
where
    S: Service<Request<I>, Response = Response<O>>,
    O: Body,
{
    type Response = Response<Answer<O>>;
    type Error = S::Error;
    type Future = Handling<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        if self.settings.excludes(request.uri().path()) {
            return Handling { inner: self.inner.call(request), measured: None };
        }
        let (parts, body) = request.into_parts();
        let measured = Measured::start(&self.settings, &parts);
        let inner = match &measured.span {
            Some(span) => span.within(|| self.inner.call(Request::from_parts(parts, body))),
            None => self.inner.call(Request::from_parts(parts, body)),
        };
        Handling { inner, measured: Some(measured) }
    }
}

impl Settings {
    fn excludes(&self, path: &str) -> bool {
        self.excluded.iter().any(|excluded| match excluded.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == excluded,
        })
    }

    fn route_of(&self, parts: &http::request::Parts) -> Option<Arc<str>> {
        if let Some(route) = &self.route {
            return route(parts);
        }
        #[cfg(feature = "axum")]
        if let Some(matched) = parts.extensions.get::<axum::extract::MatchedPath>() {
            return Some(Arc::from(matched.as_str()));
        }
        None
    }
}

/// A request under way. Told when it is dropped, so that one that its caller leaves is counted too.
struct Measured {
    settings: Arc<Settings>,
    labels: labels::Labels,
    began: Instant,
    span: Option<Span>,
    /// None: it was never answered.
    status: Option<u16>,
    failed: bool,
}

impl Measured {
    fn start(settings: &Arc<Settings>, parts: &http::request::Parts) -> Self {
        let labels = labels::Labels::of(parts, settings.route_of(parts));
        settings.measures.began(&labels);
        let span = settings.traces.then(|| Span::start(&settings.tracer, parts, &labels));
        Self { settings: Arc::clone(settings), labels, began: Instant::now(), span, status: None, failed: false }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let outcome = labels::Outcome::of(self.status, self.failed);
        let took = self.began.elapsed();
        self.settings.measures.ended(&self.labels, outcome, took);
        if let Some(span) = self.span.take() {
            span.end(outcome, took);
        }
    }
}

pin_project! {
    /// A request that is being answered.
    pub struct Handling<F> {
        #[pin]
        inner: F,
        measured: Option<Measured>,
    }
}

impl<F, O, E> Future for Handling<F>
where
    F: Future<Output = Result<Response<O>, E>>,
    O: Body,
{
    type Output = Result<Response<Answer<O>>, E>;

    fn poll(self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        let polled = match this.measured.as_ref().and_then(|measured| measured.span.as_ref()) {
            Some(span) => span.within(|| inner.poll(context)),
            None => inner.poll(context),
        };
        let Poll::Ready(answered) = polled else { return Poll::Pending };
        let mut measured = this.measured.take();
        match (&answered, &mut measured) {
            (Ok(response), Some(measured)) => measured.status = Some(response.status().as_u16()),
            (Err(_), Some(measured)) => measured.failed = true,
            (_, None) => {}
        }
        Poll::Ready(answered.map(|response| response.map(|body| Answer { body, measured })))
    }
}

pin_project! {
    /// The body of an answer; the request ends with its last byte.
    pub struct Answer<B> {
        #[pin]
        body: B,
        measured: Option<Measured>,
    }
}

impl<B: Body + Default> Default for Answer<B> {
    fn default() -> Self {
        Self { body: B::default(), measured: None }
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(context);
        match &polled {
            Poll::Ready(None) => *this.measured = None,
            Poll::Ready(Some(Err(_))) => {
                if let Some(measured) = this.measured {
                    measured.failed = true;
                }
                *this.measured = None;
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
