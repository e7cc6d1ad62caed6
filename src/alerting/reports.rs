//! Which services report, how often they usually do, and for how long they have not.
//!
//! Silence is not health: a service that stops is told by the shipped rule `service_silent`, over a metric that is made here
//! and fed in like any other. How often a service reports is learned from its windows. While we take nothing in ourselves,
//! which our own host's measurements show, no service is blamed: clocks start anew when we are back.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::AlertingMetrics;
use crate::model::{TimeMs, Width, WindowStart};
use crate::query::{AnswerValue, Engine, QueryError, Sample};
use crate::rollup::{Streams, Symbol};
use crate::telemetry::{HostSample, SampleKind};

/// How many of its usual intervals a service has been silent for.
pub(super) const LAG: &str = "fastbreak.service.report.lag";
/// Its usual interval, in seconds.
const INTERVAL: &str = "fastbreak.service.report.interval";
/// Names the service that is told of; `service.name` is ours.
const SERVICE: &str = "reporting.service";
/// Whose reports show that we take anything in.
const OURSELVES: &str = "fastbreak";
/// Most services that are watched.
const SERVICES_MAX: usize = 1_000;
/// Gaps after which an interval counts as known.
const GAPS_MIN: u32 = 5;
/// What a shorter gap takes off the interval: the longest usual one stays for some hundred reports.
const FORGETTING: f64 = 0.01;
/// A gap counts for at most so many intervals: one outage does not make a service slow.
const GROWTH_MAX: f64 = 3.0;
/// So many windows without our own reports mean that we take nothing in.
const OWN_GAP_WINDOWS: i64 = 3;
/// A service that has been silent for so long is forgotten.
const FORGOTTEN_AFTER_MS: TimeMs = 24 * 60 * 60 * 1_000;
/// Where a restarted process learns the intervals.
const STORED: &str = "max by (reporting_service) (last_over_time({\"fastbreak.service.report.interval\"}[1d]))";

/// What is known of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Report {
    /// Its newest window, or when we began to look.
    last: WindowStart,
    interval_seconds: f64,
    gaps: u32,
}

impl Report {
    /// It reported in `window`; what it left out before `floor` was not its fault.
    fn saw(&mut self, window: WindowStart, floor: WindowStart) {
        if window <= self.last {
            return;
        }
        let gap = f64::from(window - self.last);
        if self.last >= floor && self.last > 0 {
            let usual = self.interval_seconds;
            let gap = if self.gaps < GAPS_MIN { gap } else { gap.min(usual * GROWTH_MAX) };
            self.interval_seconds = gap.max(usual + (gap - usual) * FORGETTING);
            self.gaps = self.gaps.saturating_add(1);
        }
        self.last = window;
    }

    /// How many of its intervals it has been silent for.
    fn lag(&self, now: TimeMs, floor: WindowStart, width: Width) -> Option<f64> {
        let since = TimeMs::from(self.last.max(floor)) * 1_000 + width.millis();
        let known = self.gaps >= GAPS_MIN && self.interval_seconds > 0.0;
        known.then(|| ((now - since) as f64 / 1_000.0 / self.interval_seconds).max(0.0))
    }
}

/// The services that report.
pub struct Reports {
    width: Width,
    services: BTreeMap<String, Report>,
    /// What was looked at before is not looked at again.
    swept: WindowStart,
    /// Since when we take in without a break.
    floor: WindowStart,
    metrics: AlertingMetrics,
}

impl Reports {
    /// Nothing is known yet; windows are `width` wide.
    #[must_use]
    pub(super) fn new(width: Width, now: TimeMs, metrics: AlertingMetrics) -> Self {
        let (services, floor) = (BTreeMap::new(), width.window_of(now));
        Self { width, services, swept: floor, floor, metrics }
    }

    /// Learns the intervals that were known before a restart.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) async fn restore(&mut self, engine: &Engine, now: TimeMs) -> Result<(), QueryError> {
        let AnswerValue::Vector(columns) = engine.instant(STORED, now, None).await?.value else { return Ok(()) };
        for column in columns.iter().take(SERVICES_MAX) {
            let interval = column.samples.last().and_then(Sample::float);
            let (Some(name), Some(interval_seconds)) = (column.labels.get("reporting_service"), interval) else {
                continue;
            };
            let known = Report { last: self.floor, interval_seconds, gaps: GAPS_MIN };
            self.services.entry(name.to_owned()).or_insert(known);
        }
        Ok(())
    }

    /// Looks at what came since the last time, and tells of every service whose interval is known.
    pub fn sweep(&mut self, streams: &Streams, now: TimeMs) -> Vec<HostSample> {
        for (name, window) in self.windows(streams) {
            self.saw(&name, window);
        }
        self.swept = self.width.window_of(now - self.width.millis());
        self.samples(now)
    }

    /// Which service reported in which window.
    fn windows(&self, streams: &Streams) -> BTreeSet<(String, WindowStart)> {
        let registry = streams.registry();
        let Some(name) = registry.interner.find("service.name") else { return BTreeSet::new() };
        let since = (self.swept, WindowStart::MAX);
        let mut seen: HashSet<(Symbol, WindowStart)> = HashSet::new();
        for stream in streams.list() {
            for metric in registry.metrics() {
                stream.head.visit(metric.index, i64::MIN, since, &mut |entry| {
                    let mut pairs = registry.get(entry.slot).into_iter().flat_map(|series| registry.pairs(series));
                    let service = pairs.find(|(label, _)| *label == name);
                    seen.extend(service.map(|(_, service)| (service, entry.window)));
                });
            }
        }
        seen.into_iter().map(|(service, window)| (registry.interner.text(service).to_string(), window)).collect()
    }

    fn saw(&mut self, name: &str, window: WindowStart) {
        if let Some(report) = self.services.get_mut(name) {
            report.saw(window, self.floor);
        } else if self.services.len() < SERVICES_MAX {
            self.services.insert(name.to_owned(), Report { last: window, ..Report::default() });
        } else {
            self.metrics.service_left_out();
        }
    }

    fn samples(&mut self, now: TimeMs) -> Vec<HostSample> {
        let own = self.services.get(OURSELVES).map_or(0, |own| own.last);
        if now - TimeMs::from(own) * 1_000 > OWN_GAP_WINDOWS * self.width.millis() {
            self.floor = self.width.window_of(now);
        }
        self.services.retain(|_, report| now - TimeMs::from(report.last) * 1_000 < FORGOTTEN_AFTER_MS);
        let told = self.services.iter().filter(|(name, _)| *name != OURSELVES);
        told.filter_map(|(name, report)| {
            let lag = report.lag(now, self.floor, self.width)?;
            let gauge = |metric, unit, value| HostSample {
                name: metric,
                unit,
                kind: SampleKind::Gauge,
                attributes: vec![(SERVICE, name.clone())],
                value,
            };
            Some([gauge(LAG, "1", lag), gauge(INTERVAL, "s", report.interval_seconds)])
        })
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: WindowStart = 1_000_000;

    fn reports() -> Reports {
        Reports::new(Width::TEN_SECONDS, TimeMs::from(START) * 1_000, AlertingMetrics::default())
    }

    /// Lets time pass, ten seconds at a time; `reports` says who reports at which second. Returns the lag of `shop`.
    fn pass(known: &mut Reports, seconds: std::ops::Range<u32>, reports: impl Fn(&str, u32) -> bool) -> Option<f64> {
        let mut lag = None;
        for second in seconds.step_by(10) {
            for name in ["shop", OURSELVES].into_iter().filter(|name| reports(name, second)) {
                known.saw(name, START + second);
            }
            let samples = known.samples(TimeMs::from(START + second + 10) * 1_000);
            lag = samples.iter().find(|sample| sample.name == LAG).map(|sample| sample.value);
        }
        lag
    }

    #[test]
    fn a_service_is_silent_after_three_of_its_own_intervals() {
        for every in [10, 60] {
            let mut known = reports();
            let usual = |name: &str, second: u32| name == OURSELVES || second.is_multiple_of(every);
            assert_eq!(pass(&mut known, 0..every * 4, usual), None, "not known yet");
            let lag = pass(&mut known, every * 4..every * 20, usual).expect("known by now");
            assert!(lag <= 1.0, "{lag}");
            let stops = every * 20;
            let lag = |known: &mut Reports, after: u32| {
                pass(known, stops + after - 10..stops + after, |name, _| name == OURSELVES).expect("known")
            };
            let (before, after) = (lag(&mut known, every * 2), lag(&mut known, every * 4));
            assert!(before < 3.0 && after >= 3.0, "{before} {after}");
        }
    }

    #[test]
    fn our_own_outage_is_not_blamed_on_services() {
        let mut known = reports();
        pass(&mut known, 0..200, |_, _| true);
        assert!(pass(&mut known, 200..500, |_, _| false).is_none_or(|lag| lag < 3.0), "nobody is taken in");
        let back = |name: &str, second: u32| name == OURSELVES || second >= 520;
        let lag = pass(&mut known, 500..530, back).expect("known");
        assert!(lag < 3.0, "{lag}");
        assert_eq!(known.services["shop"].interval_seconds, 10.0, "the gap was not its own");
        let lag = pass(&mut known, 530..600, |name, _| name == OURSELVES).expect("known");
        assert!(lag >= 3.0, "{lag}");
    }

    #[test]
    fn one_outage_of_a_service_does_not_make_it_slow() {
        let mut known = reports();
        pass(&mut known, 0..200, |_, _| true);
        pass(&mut known, 200..4_000, |name, _| name == OURSELVES);
        pass(&mut known, 4_000..4_010, |_, _| true);
        assert_eq!(known.services["shop"].interval_seconds, 30.0);
        pass(&mut known, 4_010..7_000, |_, _| true);
        assert!(known.services["shop"].interval_seconds < 12.0);
    }

    #[test]
    fn the_number_of_services_is_bounded() {
        let mut known = reports();
        for number in 0..SERVICES_MAX + 5 {
            known.saw(&format!("service-{number}"), START);
        }
        assert_eq!(known.services.len(), SERVICES_MAX);
    }
}
