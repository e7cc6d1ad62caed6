//! A pool of connections, measured.

use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, ObservableUpDownCounter};

const BOUNDARIES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// How a pool stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Connections that someone has.
    pub used: u32,
    /// Connections that nobody has.
    pub idle: u32,
    /// Most connections.
    pub max: u32,
    /// Those who wait for one, when the pool knows.
    pub pending: Option<u32>,
}

/// The instruments of one pool. They last as long as it does.
pub struct Pool {
    name: [KeyValue; 2],
    wait_time: Histogram<f64>,
    timeouts: Counter<u64>,
    _gauges: [ObservableUpDownCounter<i64>; 3],
}

impl Pool {
    pub(super) fn new(
        meter: &Meter,
        system: &str,
        name: &str,
        read: impl Fn() -> PoolState + Send + Sync + 'static,
    ) -> Self {
        let name = [
            KeyValue::new("db.client.connection.pool.name", name.to_owned()),
            KeyValue::new("db.system.name", system.to_owned()),
        ];
        let read = std::sync::Arc::new(read);
        let with = |name: &[KeyValue; 2], state: &'static str| {
            let [pool, system] = name.clone();
            [pool, system, KeyValue::new("db.client.connection.state", state)]
        };
        let (used, idle) = (with(&name, "used"), with(&name, "idle"));
        let count = {
            let read = std::sync::Arc::clone(&read);
            move || read()
        };
        let count = meter
            .i64_observable_up_down_counter("db.client.connection.count")
            .with_unit("{connection}")
            .with_description("Connections by state.")
            .with_callback(move |observer| {
                let state = count();
                observer.observe(i64::from(state.used), &used);
                observer.observe(i64::from(state.idle), &idle);
            })
            .build();
        let gauge = |metric: &'static str, unit: &'static str, of: fn(PoolState) -> Option<u32>| {
            let (read, name) = (std::sync::Arc::clone(&read), name.clone());
            let gauge = meter.i64_observable_up_down_counter(metric).with_unit(unit);
            let observed = gauge.with_callback(move |observer| {
                if let Some(value) = of(read()) {
                    observer.observe(i64::from(value), &name);
                }
            });
            observed.build()
        };
        let max = gauge("db.client.connection.max", "{connection}", |state| Some(state.max));
        let pending = gauge("db.client.connection.pending_requests", "{request}", |state| state.pending);
        let wait_time = meter
            .f64_histogram("db.client.connection.wait_time")
            .with_unit("s")
            .with_description("Time until a connection was had.")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        let timeouts = meter
            .u64_counter("db.client.connection.timeouts")
            .with_unit("{timeout}")
            .with_description("Times that no connection was had.")
            .build();
        Self { name, wait_time, timeouts, _gauges: [count, max, pending] }
    }

    /// Measures how long `get` waits for a connection.
    ///
    /// # Errors
    /// Those of `get`, which count as timeouts.
    pub async fn get<T, E>(&self, get: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let had = get.await;
        match had {
            Ok(_) => self.wait_time.record(began.elapsed().as_secs_f64(), &self.name),
            Err(_) => self.timeouts.add(1, &self.name),
        }
        had
    }
}
