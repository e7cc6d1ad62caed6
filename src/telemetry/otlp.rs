//! Telemetry out over OTLP, through the OpenTelemetry SDK: what a process of ours says about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// How exports went.
#[derive(Debug, Default)]
pub struct Exports {
    /// Acknowledged.
    pub done: Counter,
    /// Given up.
    pub failed: Counter,
    /// Why the last one was given up.
    pub last_error: Mutex<Option<String>>,
    failing: AtomicBool,
}

impl Exports {
    /// Makes the counters known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("telemetry");
        registry.register("exports", "Exports of our own telemetry that were acknowledged", self.done.clone());
        registry.register("export_failures", "Exports of our own telemetry that were given up", self.failed.clone());
    }

    fn note(&self, result: &OTelSdkResult) {
        let failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Ok(()) => _ = self.done.inc(),
            Err(error) => {
                self.failed.inc();
                *self.last_error.lock() = Some(error.to_string());
                if !failing {
                    tracing::warn!(%error, "telemetry is not taken; what cannot be sent is dropped and counted");
                }
            }
        }
    }
}

/// An exporter that counts; the SDK itself keeps what failed to itself.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    exports: Arc<Exports>,
}

impl opentelemetry_sdk::trace::SpanExporter for Counted<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        self.exports.note(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Counted<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.exports.note(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// The signals to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Spans.
    pub traces: bool,
    /// Metrics.
    pub metrics: bool,
}

impl Signals {
    /// Both.
    pub const ALL: Self = Self { traces: true, metrics: true };

    /// Those for which the `OTEL_*` variables, looked up by `variable`, name an endpoint and do not say otherwise.
    fn configured(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given =
            |name: String| variable(&name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        if given("OTEL_SDK_DISABLED".to_owned()).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Self::default();
        }
        let wanted = |signal: &str| {
            let endpoint = given("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned())
                .or_else(|| given(format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")));
            endpoint.is_some() && given(format!("OTEL_{signal}_EXPORTER")).is_none_or(|exporter| exporter == "otlp")
        };
        Self { traces: wanted("TRACES"), metrics: wanted("METRICS") }
    }
}

/// Who is measured, and where its telemetry goes.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// `service.name`.
    pub service: &'a str,
    /// More resource attributes.
    pub attributes: &'a [(&'static str, String)],
    /// OTLP/gRPC endpoint, or what the `OTEL_EXPORTER_OTLP_*` variables say.
    pub endpoint: Option<&'a str>,
    /// How often metrics are sent, or what `OTEL_METRIC_EXPORT_INTERVAL` says.
    pub period: Option<Duration>,
    /// What is sent.
    pub signals: Signals,
}

/// The SDK's two providers for one service.
#[derive(Debug)]
pub struct Pipeline {
    /// Makes tracers.
    pub tracers: SdkTracerProvider,
    /// Makes meters.
    pub meters: SdkMeterProvider,
    /// How exports went.
    pub exports: Arc<Exports>,
}

impl Pipeline {
    /// Providers that export in the background. To be called within the runtime.
    ///
    /// # Errors
    /// When the endpoint is not understood.
    pub fn build(origin: &Origin<'_>) -> Result<Self, ExporterBuildError> {
        let exports = Arc::new(Exports::default());
        let attributes = origin.attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
        let resource =
            Resource::builder().with_service_name(origin.service.to_owned()).with_attributes(attributes).build();
        let mut tracers = SdkTracerProvider::builder().with_resource(resource.clone());
        if origin.signals.traces {
            let exporter = span_exporter(origin.endpoint)?;
            tracers = tracers.with_batch_exporter(Counted { exporter, exports: Arc::clone(&exports) });
        }
        let mut meters = SdkMeterProvider::builder().with_resource(resource);
        if origin.signals.metrics {
            let exporter = metric_exporter(origin.endpoint)?;
            let reader = PeriodicReader::builder(Counted { exporter, exports: Arc::clone(&exports) });
            let reader = origin.period.into_iter().fold(reader, |reader, period| reader.with_interval(period));
            meters = meters.with_reader(reader.build());
        }
        Ok(Self { tracers: tracers.build(), meters: meters.build(), exports })
    }

    /// Our own, as the `OTEL_*` variables say; none when they name no endpoint. `instance` is our `service.instance.id`.
    ///
    /// # Errors
    /// When a variable is not understood.
    pub fn own(instance: &str) -> Result<Option<Self>, ExporterBuildError> {
        let signals = Signals::configured(|name| std::env::var(name).ok());
        if signals == Signals::default() {
            return Ok(None);
        }
        let detected = Resource::builder().build().get(&Key::from_static_str("service.name"));
        let named = detected.map(|name| name.to_string()).filter(|name| !name.starts_with("unknown_service"));
        let attributes =
            [("service.instance.id", instance.to_owned()), ("service.version", env!("CARGO_PKG_VERSION").to_owned())];
        let service = named.as_deref().unwrap_or("fastbreak");
        Self::build(&Origin { service, attributes: &attributes, endpoint: None, period: None, signals }).map(Some)
    }

    /// Sends what waits and ends, for as long as `patience` lasts.
    pub async fn end(self, patience: Duration) {
        let (done, ended) = tokio::sync::oneshot::channel();
        // A thread of its own, to be left behind: the runtime would wait for one of its own.
        std::thread::spawn(move || {
            self.shutdown();
            let _nobody_waits = done.send(());
        });
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::debug!("telemetry not sent to the end");
        }
    }

    /// Sends what waits and ends. Blocks; to be called off the runtime's threads.
    pub fn shutdown(&self) {
        for result in [self.tracers.shutdown(), self.meters.shutdown()] {
            if let Err(error) = result {
                tracing::debug!(%error, "telemetry not sent to the end");
            }
        }
    }
}

/// The specification's default where the variables name no protocol; the SDK's own depends on how it was built.
fn names_protocol(signal: &str) -> bool {
    let given = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    given("OTEL_EXPORTER_OTLP_PROTOCOL") || given(&format!("OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"))
}

fn span_exporter(endpoint: Option<&str>) -> Result<SpanExporter, ExporterBuildError> {
    match endpoint {
        Some(endpoint) => SpanExporter::builder().with_tonic().with_endpoint(endpoint).build(),
        None if names_protocol("TRACES") => SpanExporter::builder().build(),
        None => SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build(),
    }
}

fn metric_exporter(endpoint: Option<&str>) -> Result<MetricExporter, ExporterBuildError> {
    match endpoint {
        Some(endpoint) => MetricExporter::builder().with_tonic().with_endpoint(endpoint).build(),
        None if names_protocol("METRICS") => MetricExporter::builder().build(),
        None => MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_sent_where_the_variables_name_an_endpoint() {
        let check = |variables: &[(&str, &str)], traces: bool, metrics: bool| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(Signals::configured(find), Signals { traces, metrics }, "{variables:?}");
        };
        let everywhere = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        check(&[], false, false);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false, false);
        check(&[everywhere], true, true);
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")], true, false);
        check(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:4318/v1/metrics")], false, true);
        check(&[everywhere, ("OTEL_TRACES_EXPORTER", "none")], false, true);
        check(&[everywhere, ("OTEL_SDK_DISABLED", "true")], false, false);
    }
}
