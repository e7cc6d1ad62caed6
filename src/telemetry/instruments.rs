//! The registry's metrics as instruments of the OpenTelemetry SDK, so that what is at `/metrics` goes out over OTLP too.
//!
//! Instruments observe: nothing is counted twice, and a value is read only when it is exported. A family comes into the
//! registry with its first value, so new ones are looked for now and then. The SDK takes no finished histograms: of those go
//! the count and the sum.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider as _};
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::{Metric, MetricFamily, MetricType};
use tokio_util::sync::CancellationToken;

use super::{Pipeline, Telemetry};

/// How often new families are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The instruments of one pipeline.
pub struct Instruments {
    meter: Meter,
    telemetry: Arc<Telemetry>,
    known: HashSet<String>,
}

impl Instruments {
    /// None yet.
    #[must_use]
    pub fn new(pipeline: &Pipeline, telemetry: Arc<Telemetry>) -> Self {
        Self { meter: pipeline.meters().meter("fastbreak"), telemetry, known: HashSet::new() }
    }

    /// Makes instruments of families as they come, until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = cancel.cancelled() => return,
            }
            for family in self.telemetry.families() {
                if self.known.insert(family.name.clone()) {
                    self.observe(&family);
                }
            }
        }
    }

    fn observe(&self, family: &MetricFamily) {
        let kind = family.r#type();
        let (name, unit) = dotted(&family.name, kind);
        let (help, own) = (family.help.clone(), || (Arc::clone(&self.telemetry), family.name.clone()));
        match kind {
            MetricType::Counter => {
                let counter = self.meter.u64_observable_counter(name).with_unit(unit).with_description(help);
                counter.with_callback(values(own(), |m| Some(m.counter.as_ref()?.value as u64))).build();
            }
            MetricType::Gauge => {
                let gauge = self.meter.f64_observable_gauge(name).with_unit(unit).with_description(help);
                gauge.with_callback(values(own(), |m| Some(m.gauge.as_ref()?.value))).build();
            }
            MetricType::Histogram => {
                let count = self.meter.u64_observable_counter(format!("{name}.count")).with_description(help.clone());
                count.with_callback(values(own(), |m| Some(m.histogram.as_ref()?.sample_count))).build();
                let sum = self.meter.f64_observable_counter(format!("{name}.sum")).with_description(help);
                sum.with_unit(unit).with_callback(values(own(), |m| Some(m.histogram.as_ref()?.sample_sum))).build();
            }
            _ => {}
        }
    }
}

/// A callback that observes one number of each metric of a family.
fn values<T: 'static>(
    (telemetry, family): (Arc<Telemetry>, String),
    value: impl Fn(&Metric) -> Option<T> + Send + Sync + 'static,
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    move |observer| {
        let families = telemetry.families();
        for metric in families.iter().filter(|known| known.name == family).flat_map(|family| &family.metric) {
            let attributes = metric.label.iter().filter(|label| !label.value.is_empty());
            let attributes: Vec<KeyValue> =
                attributes.map(|label| KeyValue::new(label.name.clone(), label.value.clone())).collect();
            if let Some(value) = value(metric) {
                observer.observe(value, &attributes);
            }
        }
    }
}

/// The name with dots and its unit: the prefix and the room come first, a unit becomes what the conventions call it.
fn dotted(family: &str, kind: MetricType) -> (String, &'static str) {
    let name = family.strip_suffix("_total").unwrap_or(family);
    let (name, of, unit) = match (name.strip_suffix("_seconds"), name.strip_suffix("_bytes"), kind) {
        (Some(name), _, MetricType::Histogram) if !name.ends_with("_duration") => (name, ".duration", "s"),
        (Some(name), _, _) => (name, "", "s"),
        (_, Some(name), MetricType::Counter) => (name, ".io", "By"),
        (_, Some(name), _) => (name, ".usage", "By"),
        _ => (name, "", ""),
    };
    (format!("{}{of}", name.replacen('_', ".", 2)), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_dots_and_units_of_their_own() {
        let check = |family: &str, kind, name: &str, unit: &str| {
            assert_eq!(dotted(family, kind), (name.to_owned(), unit_of(unit)), "{family}");
        };
        let (counter, gauge, histogram) = (MetricType::Counter, MetricType::Gauge, MetricType::Histogram);
        check("fastbreak_ingest_items_total", counter, "fastbreak.ingest.items", "");
        check("fastbreak_ingest_commit_seconds", histogram, "fastbreak.ingest.commit.duration", "s");
        check("fastbreak_query_duration_seconds", histogram, "fastbreak.query.duration", "s");
        check("fastbreak_ingest_journal_bytes_total", counter, "fastbreak.ingest.journal.io", "By");
        check("fastbreak_ingest_in_flight_bytes", gauge, "fastbreak.ingest.in_flight.usage", "By");
        check("fastbreak_rollup_head_windows", gauge, "fastbreak.rollup.head_windows", "");
        check("fastbreak_rollup_checkpoint_timestamp_seconds", gauge, "fastbreak.rollup.checkpoint_timestamp", "s");
    }

    fn unit_of(unit: &str) -> &'static str {
        ["s", "By", ""].into_iter().find(|known| *known == unit).expect("a unit of the table")
    }
}
