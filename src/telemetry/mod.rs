//! FastBreak's own logs, metrics and traces, and what the host it runs on measures.
//!
//! Layer 2. Metrics belong to the modules that count; here is only the registry and its text form.

mod host;
mod logs;
mod otlp;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use host::{HostSample, HostSampler, SampleKind};
pub use logs::{LogStyle, init};
pub use otlp::{Exports, Origin, Pipeline};

/// Our own metrics.
pub struct Telemetry {
    registry: Mutex<Registry>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { registry: Mutex::new(Registry::with_prefix("fastbreak")) }
    }
}

impl Telemetry {
    /// Lets a module make its metrics known.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock());
    }

    /// All metrics in the `OpenMetrics` text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _infallible = encode(&mut out, &self.registry.lock());
        out
    }
}
