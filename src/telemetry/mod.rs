//! FastBreak's own logs, metrics and traces, and what the host it runs on measures.
//!
//! Layer 2. Metrics belong to the modules that count; here is the registry, its text form, and the way out over OTLP.

mod host;
mod instruments;
mod logs;
mod otlp;

use parking_lot::Mutex;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
use prometheus_client::encoding::{prometheus_protobuf, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

pub use host::{HostSample, HostSampler, SampleKind, is_alive};
pub use instruments::Instruments;
pub use logs::{LogStyle, check_filter, init};
pub use otlp::{Origin, Pipeline, Signals, own_pipeline, pipeline, register};

/// Makes the members of a family whose labels are known before anything is counted: nothing is told as zero, and a rate
/// misses no first event.
pub fn begin<const N: usize>(
    family: &Family<[(&'static str, &'static str); N], Counter>,
    labels: impl IntoIterator<Item = [(&'static str, &'static str); N]>,
) {
    for labels in labels {
        let _made = family.get_or_create(&labels);
    }
}

/// Our own metrics.
pub struct Telemetry {
    registry: Mutex<Registry>,
    samplers: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { registry: Mutex::new(Registry::with_prefix("fastbreak")), samplers: Mutex::default() }
    }
}

impl Telemetry {
    /// Lets a module make its metrics known.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock());
    }

    /// Has `sample` called before metrics are read: it sets the gauges of what is measured only then.
    pub fn sample_with(&self, sample: impl Fn() + Send + Sync + 'static) {
        self.samplers.lock().push(Box::new(sample));
    }

    fn sample(&self) {
        self.samplers.lock().iter().for_each(|sample| sample());
    }

    /// All metrics in the `OpenMetrics` text format.
    #[must_use]
    pub fn text(&self) -> String {
        self.sample();
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _infallible = text::encode(&mut out, &self.registry.lock());
        out
    }

    /// All metrics that have a value.
    fn families(&self) -> Vec<MetricFamily> {
        self.sample();
        // Only a native histogram without buckets cannot be told so; there is none.
        prometheus_protobuf::encode(&self.registry.lock()).unwrap_or_default()
    }
}
