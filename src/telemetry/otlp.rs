//! Telemetry out over OTLP: what a process of ours says about itself. Providers and exports are those of our own SDK; here
//! is what differs, which is where to and when.

use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::telemetry::Exports;
pub use fastbreak_client::telemetry::Telemetry as Pipeline;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

/// How exports went, for the registry.
#[derive(Debug)]
struct Counts(Arc<Exports>);

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, count) in [
            ("telemetry_exports", "Exports of our own telemetry that were acknowledged", &self.0.done),
            ("telemetry_export_failures", "Exports of our own telemetry that were given up", &self.0.failed),
        ] {
            let counter = ConstCounter::new(count.get());
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// Makes what `pipeline` counts known to `registry`.
pub fn register(pipeline: &Pipeline, registry: &mut Registry) {
    registry.register_collector(Box::new(Counts(Arc::clone(pipeline.exports()))));
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

/// Providers that export in the background. To be called within the runtime.
///
/// # Errors
/// When the endpoint is not understood.
pub fn pipeline(origin: &Origin<'_>) -> Result<Pipeline, ExporterBuildError> {
    let attributes = origin.attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
    let resource = Resource::builder().with_service_name(origin.service.to_owned()).with_attributes(attributes).build();
    let spans = origin.signals.traces.then(|| span_exporter(origin.endpoint)).transpose()?;
    let metrics = origin.signals.metrics.then(|| metric_exporter(origin.endpoint)).transpose()?;
    Ok(Pipeline::of(resource, spans, (metrics, origin.period)))
}

/// Our own, as the `OTEL_*` variables say; none when they name no endpoint. `instance` is our `service.instance.id`.
///
/// # Errors
/// When a variable is not understood.
pub fn own_pipeline(instance: &str) -> Result<Option<Pipeline>, ExporterBuildError> {
    let signals = Signals::configured(|name| std::env::var(name).ok());
    if signals == Signals::default() {
        return Ok(None);
    }
    let detected = Resource::builder().build().get(&Key::from_static_str("service.name"));
    let named = detected.map(|name| name.to_string()).filter(|name| !name.starts_with("unknown_service"));
    let attributes =
        [("service.instance.id", instance.to_owned()), ("service.version", env!("CARGO_PKG_VERSION").to_owned())];
    let service = named.as_deref().unwrap_or("fastbreak");
    pipeline(&Origin { service, attributes: &attributes, endpoint: None, period: None, signals }).map(Some)
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
