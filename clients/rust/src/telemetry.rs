//! Metrics and traces out over OTLP/gRPC, through the OpenTelemetry SDK.
//!
//! The `OTEL_*` variables count for more than the code, so that whoever runs a service can send its telemetry elsewhere:
//! `OTEL_SDK_DISABLED`, `OTEL_{TRACES,METRICS}_EXPORTER`, `OTEL_EXPORTER_OTLP_*`, `OTEL_METRIC_EXPORT_INTERVAL`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`. What cannot be sent is dropped and
//! counted; nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use parking_lot::Mutex;

use crate::batcher::Count;

/// How often metrics are sent when no variable says: as wide as the server's windows.
const PERIOD: Duration = Duration::from_secs(10);
/// How long one export may take.
const EXPORT_MAX: Duration = Duration::from_secs(5);

/// How exports went.
#[derive(Debug, Default)]
pub struct Exports {
    /// Acknowledged.
    pub done: Count,
    /// Given up, and what was in them dropped.
    pub failed: Count,
    last_error: Mutex<Option<String>>,
}

impl Exports {
    /// Why the last export was given up; none when it was not.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    fn note(&self, result: &OTelSdkResult) {
        let error = result.as_ref().err().map(ToString::to_string);
        let was = std::mem::replace(&mut *self.last_error.lock(), error.clone());
        match error {
            None => self.done.add(1),
            Some(error) => {
                self.failed.add(1);
                if was.is_none() {
                    tracing::warn!(error, "telemetry is not taken; what cannot be sent is dropped and counted");
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

/// What the variables leave to the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// Whether the signal is sent.
    is_on: bool,
    /// Whether a variable says where to.
    has_endpoint: bool,
}

impl Wanted {
    /// Of `TRACES` or `METRICS`, as `variable` says.
    fn of(signal: &str, variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let is_disabled = given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = given(&format!("OTEL_{signal}_EXPORTER"));
        let has_endpoint = given("OTEL_EXPORTER_OTLP_ENDPOINT").is_some()
            || given(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")).is_some();
        Self { is_on: !is_disabled && exporter.is_none_or(|exporter| exporter == "otlp"), has_endpoint }
    }
}

/// Who is measured. Variables have been looked at before.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// More resource attributes.
    pub attributes: Vec<(String, String)>,
    /// Where to, unless a variable says.
    pub endpoint: String,
    /// Sent as `authorization`.
    pub token: Option<String>,
    /// How often metrics are sent, unless a variable says; 10 s by default.
    pub period: Option<Duration>,
}

/// The SDK's two providers.
#[derive(Debug)]
pub struct Telemetry {
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
    exports: Arc<Exports>,
}

impl Telemetry {
    /// Exports in the background, and is what the global providers give from now on. To be called within the runtime.
    ///
    /// # Errors
    /// When an endpoint is not understood.
    pub fn start(origin: &Origin) -> Result<Self, ExporterBuildError> {
        let attributes = origin.attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let resource = Resource::builder()
            .with_attributes(attributes)
            .with_service_name(origin.service.clone())
            .with_attribute(KeyValue::new("service.instance.id", origin.instance.clone()))
            .build();
        let variable = |name: &str| std::env::var(name).ok();
        let wanted = Wanted::of("TRACES", variable);
        let spans = || {
            let builder =
                SpanExporter::builder().with_tonic().with_timeout(EXPORT_MAX).with_metadata(origin.metadata());
            if wanted.has_endpoint { builder } else { builder.with_endpoint(&origin.endpoint) }.build()
        };
        let spans = wanted.is_on.then(spans).transpose()?;
        let wanted = Wanted::of("METRICS", variable);
        let metrics = || {
            let builder =
                MetricExporter::builder().with_tonic().with_timeout(EXPORT_MAX).with_metadata(origin.metadata());
            if wanted.has_endpoint { builder } else { builder.with_endpoint(&origin.endpoint) }.build()
        };
        let metrics = wanted.is_on.then(metrics).transpose()?;
        let has_period = variable("OTEL_METRIC_EXPORT_INTERVAL").is_some();
        let period = (!has_period).then(|| origin.period.unwrap_or(PERIOD));
        let telemetry = Self::of(resource, spans, (metrics, period));
        global::set_tracer_provider(telemetry.tracers.clone());
        global::set_meter_provider(telemetry.meters.clone());
        global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(telemetry)
    }

    /// Exports in the background through exporters of your own, and is nothing global. Without a period metrics go as often as
    /// `OTEL_METRIC_EXPORT_INTERVAL` says. To be called within the runtime.
    #[must_use]
    pub fn of(
        resource: Resource,
        spans: Option<SpanExporter>,
        (metrics, period): (Option<MetricExporter>, Option<Duration>),
    ) -> Self {
        let exports = Arc::new(Exports::default());
        let mut tracers = SdkTracerProvider::builder().with_resource(resource.clone());
        if let Some(exporter) = spans {
            tracers = tracers.with_batch_exporter(Counted { exporter, exports: Arc::clone(&exports) });
        }
        let mut meters = SdkMeterProvider::builder().with_resource(resource);
        if let Some(exporter) = metrics {
            let reader = PeriodicReader::builder(Counted { exporter, exports: Arc::clone(&exports) });
            let reader = period.into_iter().fold(reader, |reader, period| reader.with_interval(period));
            meters = meters.with_reader(reader.build());
        }
        Self { tracers: tracers.build(), meters: meters.build(), exports }
    }

    /// Makes tracers.
    #[must_use]
    pub const fn tracers(&self) -> &SdkTracerProvider {
        &self.tracers
    }

    /// Makes meters.
    #[must_use]
    pub const fn meters(&self) -> &SdkMeterProvider {
        &self.meters
    }

    /// How exports went.
    #[must_use]
    pub const fn exports(&self) -> &Arc<Exports> {
        &self.exports
    }

    /// Sends what waits and ends. True when that was done in time.
    pub async fn shutdown(&self, within: Duration) -> bool {
        let (tracers, meters) = (self.tracers.clone(), self.meters.clone());
        let (done, ended) = tokio::sync::oneshot::channel();
        // A thread of its own, to be left behind: the runtime would wait for one of its own.
        let spawned = std::thread::Builder::new().name("fastbreak-shutdown".to_owned()).spawn(move || {
            let sent = tracers.shutdown().and(meters.shutdown());
            let _nobody_waits = done.send(sent.is_ok());
        });
        match spawned {
            Ok(_left_behind) => matches!(tokio::time::timeout(within, ended).await, Ok(Ok(true))),
            Err(_no_thread) => false,
        }
    }
}

impl Origin {
    fn metadata(&self) -> tonic::metadata::MetadataMap {
        let mut metadata = tonic::metadata::MetadataMap::new();
        if let Some(Ok(token)) = self.token.as_deref().map(str::parse) {
            metadata.insert("authorization", token);
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_count_for_more_than_the_code() {
        let check = |variables: &[(&str, &str)], is_on: bool, has_endpoint: bool| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(Wanted::of("TRACES", find), Wanted { is_on, has_endpoint }, "{variables:?}");
        };
        check(&[], true, false);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], true, false);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")], true, true);
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4317")], true, true);
        check(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:4317")], true, false);
        check(&[("OTEL_TRACES_EXPORTER", "none")], false, false);
        check(&[("OTEL_METRICS_EXPORTER", "none")], true, false);
        check(&[("OTEL_SDK_DISABLED", "TRUE")], false, false);
    }
}
