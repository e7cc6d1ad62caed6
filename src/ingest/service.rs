//! Services: who is told and capped as one. Counts what was committed, and bounds metrics and series.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::model::TimeMs;

/// Most metrics that one service may make.
pub(super) const METRICS_MAX: u32 = 10_000;
/// How often a service is told that it is over a cap.
const WARN_EVERY_MS: TimeMs = 60_000;

/// Most series of a service and of one of its metrics.
#[derive(Clone, Copy, Debug)]
pub struct SeriesCaps {
    /// Of a service.
    pub per_service: u32,
    /// Of one metric of a service.
    pub per_metric: u32,
}

impl Default for SeriesCaps {
    /// 20 000 and 2 000.
    fn default() -> Self {
        Self { per_service: 20_000, per_metric: 2_000 }
    }
}

/// What last hit a cap.
#[derive(Clone, Debug)]
pub struct Offender {
    /// The metric.
    pub metric: Arc<str>,
    /// Its attribute with the most values, as far as the refused series tells.
    pub attribute: Option<Arc<str>>,
}

/// A service as the ledger knows it.
#[derive(Debug)]
pub struct Service {
    /// `service.name`, or `unknown_service`.
    pub name: Arc<str>,
    /// Series made by resources that still report.
    pub series: AtomicU32,
    /// Data points and spans taken.
    pub accepted: AtomicU64,
    /// Data points and spans refused.
    pub rejected: AtomicU64,
    /// Data points folded into overflow series.
    pub folded: AtomicU64,
    /// When it last sent something.
    pub last_seen: AtomicI64,
    /// What last hit a cap.
    pub offender: Mutex<Option<Offender>>,
    per_metric: Mutex<HashMap<u32, u32>>,
    metrics_made: AtomicU32,
    /// When the sender was last told of a cap.
    warned_at: AtomicI64,
}

impl Service {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            series: AtomicU32::new(0),
            accepted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            last_seen: AtomicI64::new(0),
            offender: Mutex::default(),
            per_metric: Mutex::default(),
            metrics_made: AtomicU32::new(0),
            warned_at: AtomicI64::new(0),
        }
    }

    /// True once a minute: tell the sender now.
    pub(super) fn warns(&self, now: TimeMs) -> bool {
        let last = self.warned_at.load(Ordering::Relaxed);
        now - last >= WARN_EVERY_MS
            && self.warned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether it may make one more metric; takes the place if so.
    pub(super) fn admit_metric(&self) -> bool {
        self.metrics_made
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < METRICS_MAX).then_some(n + 1))
            .is_ok()
    }

    /// Whether one more series of metric `index` is within the caps; takes the place if so.
    pub(super) fn admit(&self, index: u32, caps: SeriesCaps) -> bool {
        let mut per_metric = self.per_metric.lock();
        let of_metric = per_metric.entry(index).or_default();
        if *of_metric >= caps.per_metric || self.series.load(Ordering::Relaxed) >= caps.per_service {
            return false;
        }
        *of_metric += 1;
        self.series.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Gives back the places of a resource that no longer reports.
    pub(super) fn release(&self, admitted: &HashMap<u32, u32>) {
        let mut per_metric = self.per_metric.lock();
        for (index, n) in admitted {
            if let Some(of_metric) = per_metric.get_mut(index) {
                *of_metric = of_metric.saturating_sub(*n);
                self.series.fetch_sub((*n).min(self.series.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
        }
        per_metric.retain(|_, n| *n > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_for_metric_and_service_and_places_come_back() {
        let service = Service::new(Arc::from("a"));
        let caps = SeriesCaps { per_service: 3, per_metric: 2 };
        let admitted: Vec<bool> = [0, 0, 0, 1, 1].map(|metric| service.admit(metric, caps)).into();
        assert_eq!(admitted, [true, true, false, true, false]);
        service.release(&HashMap::from_iter([(0, 2)]));
        assert!(service.admit(1, caps) && service.admit(0, caps) && !service.admit(0, caps));
    }
}
