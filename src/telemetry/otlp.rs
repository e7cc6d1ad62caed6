//! Telemetry out over OTLP, through the OpenTelemetry SDK: what a process of ours says about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use parking_lot::Mutex;

/// How exports went.
#[derive(Debug, Default)]
pub struct Exports {
    /// Acknowledged.
    pub done: AtomicU64,
    /// Given up.
    pub failed: AtomicU64,
    /// Why the last one was given up.
    pub last_error: Mutex<Option<String>>,
}

impl Exports {
    fn note(&self, result: &OTelSdkResult) {
        match result {
            Ok(()) => _ = self.done.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                *self.last_error.lock() = Some(error.to_string());
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

/// Who is measured, and where its telemetry goes.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// `service.name`.
    pub service: &'a str,
    /// More resource attributes.
    pub attributes: &'a [(&'static str, String)],
    /// OTLP/gRPC endpoint, or what the `OTEL_EXPORTER_OTLP_*` variables say.
    pub endpoint: Option<&'a str>,
    /// How often metrics are sent.
    pub period: Duration,
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
        let (spans, metrics) = match origin.endpoint {
            Some(endpoint) => (
                SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?,
                MetricExporter::builder().with_tonic().with_endpoint(endpoint).build()?,
            ),
            None => (SpanExporter::builder().build()?, MetricExporter::builder().build()?),
        };
        let exports = Arc::new(Exports::default());
        let attributes = origin.attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
        let resource =
            Resource::builder().with_service_name(origin.service.to_owned()).with_attributes(attributes).build();
        let reader = PeriodicReader::builder(Counted { exporter: metrics, exports: Arc::clone(&exports) })
            .with_interval(origin.period)
            .build();
        Ok(Self {
            tracers: SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_batch_exporter(Counted { exporter: spans, exports: Arc::clone(&exports) })
                .build(),
            meters: SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build(),
            exports,
        })
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
