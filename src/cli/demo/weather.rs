//! The demo's incidents, and its chance.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

/// How long an incident lasts.
const INCIDENT: Duration = Duration::from_secs(60);

/// What ails the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    None,
    SlowDatabase,
    ErrorBurst,
    ColdCache,
}

const INCIDENTS: [Incident; 4] = [Incident::None, Incident::SlowDatabase, Incident::ErrorBurst, Incident::ColdCache];

impl Incident {
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::None => "all is well",
            Self::SlowDatabase => "incident: the database is slow",
            Self::ErrorBurst => "incident: checkout fails",
            Self::ColdCache => "incident: the cache is cold",
        }
    }
}

/// The incident that is on.
#[derive(Debug, Default)]
pub(super) struct Weather(AtomicU8);

impl Weather {
    pub(super) fn now(&self) -> Incident {
        INCIDENTS.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or(Incident::None)
    }

    /// Changes the weather by the clock; returns what to tell when it changed.
    pub(super) fn turn(&self, elapsed: Duration, every: Duration, chance: &mut SmallRng) -> Option<&'static str> {
        let every = every.max(INCIDENT);
        let into = Duration::from_nanos((elapsed.as_nanos() % every.as_nanos()) as u64);
        // The first stretch is fair, so that there is something to compare with.
        let foul = into >= every - INCIDENT.min(every / 2);
        if foul == (self.now() != Incident::None) {
            return None;
        }
        self.0.store(if foul { chance.random_range(1..INCIDENTS.len() as u8) } else { 0 }, Ordering::Relaxed);
        Some(self.now().describe())
    }

    /// How many times longer a query takes.
    pub(super) fn database(&self) -> f64 {
        if self.now() == Incident::SlowDatabase { 15.0 } else { 1.0 }
    }

    /// Share of checkouts that fail.
    pub(super) fn failures(&self) -> f64 {
        if self.now() == Incident::ErrorBurst { 0.4 } else { 0.01 }
    }

    /// Whether the cache loses what it has, again and again.
    pub(super) fn is_cold(&self) -> bool {
        self.now() == Incident::ColdCache
    }
}

/// A waiting time with this mean: exponential, as between arrivals; bounded at eight times the mean.
pub(super) fn waiting(chance: &mut SmallRng, mean: Duration) -> Duration {
    mean.mul_f64((-chance.random::<f64>().max(1e-9).ln()).min(8.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn incidents_come_and_go_by_the_clock() {
        let (weather, mut chance) = (Weather::default(), SmallRng::seed_from_u64(1));
        let every = Duration::from_secs(240);
        let mut told = Vec::new();
        for second in 0..480 {
            if weather.turn(Duration::from_secs(second), every, &mut chance).is_some() {
                told.push((second, weather.now() != Incident::None));
            }
        }
        assert_eq!(told, [(180, true), (240, false), (420, true)]);
    }
}
