//! Metrics: name, unit, kind and temporality, which together identify; the description does not.

use std::fmt;

/// What a metric's data points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MetricKind {
    /// A value that is true at an instant. A non-monotonic cumulative sum is kept as one too.
    Gauge = 1,
    /// A monotonic sum.
    Counter = 2,
    /// A non-monotonic sum.
    UpDownCounter = 3,
    /// A histogram with explicit bounds.
    Histogram = 4,
    /// A histogram with exponential bounds.
    ExponentialHistogram = 5,
    /// Quantiles computed by the client.
    Summary = 6,
}

impl MetricKind {
    /// The word used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::UpDownCounter => "updowncounter",
            Self::Histogram => "histogram",
            Self::ExponentialHistogram => "exponential_histogram",
            Self::Summary => "summary",
        }
    }

    /// The kind that [`MetricKind`] `as u8` came from.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Gauge,
            2 => Self::Counter,
            3 => Self::UpDownCounter,
            4 => Self::Histogram,
            5 => Self::ExponentialHistogram,
            6 => Self::Summary,
            _ => return None,
        })
    }

    /// True for kinds whose windows hold bucket vectors.
    #[must_use]
    pub const fn is_histogram(self) -> bool {
        matches!(self, Self::Histogram | Self::ExponentialHistogram)
    }
}

/// How points of a sum or histogram relate to the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Temporality {
    /// Gauges and summaries have none.
    None = 0,
    /// Each point covers the time since the last.
    Delta = 1,
    /// Each point covers the time since the start time.
    Cumulative = 2,
}

impl Temporality {
    /// The word used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Delta => "delta",
            Self::Cumulative => "cumulative",
        }
    }

    /// The temporality that [`Temporality`] `as u8` came from.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => return None,
        })
    }
}

/// 64 bits of a stable hash of a metric's identity, the same on every replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(pub u64);

impl fmt::Debug for MetricId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metric:{:016x}", self.0)
    }
}

/// A metric's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric {
    /// As sent, dots and all: `http.server.request.duration`.
    pub name: Box<str>,
    /// UCUM unit as sent, possibly empty.
    pub unit: Box<str>,
    /// What the points are.
    pub kind: MetricKind,
    /// How the points add up.
    pub temporality: Temporality,
}

impl Metric {
    /// The id: XXH3 over the identity, each part closed by a byte that no UTF-8 text holds.
    #[must_use]
    pub fn id(&self) -> MetricId {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(self.name.as_bytes());
        hasher.update(&[0xff]);
        hasher.update(self.unit.as_bytes());
        hasher.update(&[0xff, self.kind as u8, self.temporality as u8]);
        MetricId(hasher.digest())
    }
}

/// The name under which Prometheus' OTLP translation would know the metric, without histogram suffixes:
/// dots become underscores, the unit is spelled out and appended, counters end in `_total`.
/// Source: OpenTelemetry specification, "Prometheus and `OpenMetrics` compatibility".
#[must_use]
pub fn prometheus_name(metric: &Metric) -> String {
    let mut name = sanitise(&metric.name);
    for suffix in unit_words(&metric.unit, metric.kind) {
        if !name.ends_with(&suffix) {
            name.push('_');
            name.push_str(&suffix);
        }
    }
    if metric.kind == MetricKind::Counter && !name.ends_with("_total") {
        name.push_str("_total");
    }
    name
}

/// Letters, digits, `_` and `:` stay; runs of anything else become one underscore.
fn sanitise(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 16);
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// The unit in words, the "per" part apart: `By/s` is `bytes`, `per_second`.
fn unit_words(unit: &str, kind: MetricKind) -> Vec<String> {
    let unit = strip_annotations(unit);
    if unit == "1" {
        return if kind == MetricKind::Gauge { vec!["ratio".to_owned()] } else { Vec::new() };
    }
    let (main, per) = unit.split_once('/').map_or((unit.as_str(), None), |(m, p)| (m, Some(p)));
    let mut words = Vec::new();
    if !main.is_empty() {
        words.push(sanitise(spell(main)));
    }
    if let Some(per) = per.filter(|p| !p.is_empty()) {
        words.push(format!("per_{}", sanitise(spell_singular(per))));
    }
    words
}

fn strip_annotations(unit: &str) -> String {
    let mut depth = 0usize;
    unit.chars()
        .filter(|c| {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect()
}

fn spell(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        other => other,
    }
}

fn spell_singular(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" | "min" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, unit: &str, kind: MetricKind) -> Metric {
        Metric { name: name.into(), unit: unit.into(), kind, temporality: Temporality::Cumulative }
    }

    #[test]
    fn names_follow_the_prometheus_translation() {
        let check = |name, unit, kind, expect: &str| {
            assert_eq!(prometheus_name(&metric(name, unit, kind)), expect);
        };
        check("http.server.request.duration", "s", MetricKind::Histogram, "http_server_request_duration_seconds");
        check("http.requests", "{request}", MetricKind::Counter, "http_requests_total");
        check("jobs_total", "1", MetricKind::Counter, "jobs_total");
        check("system.memory.utilization", "1", MetricKind::Gauge, "system_memory_utilization_ratio");
        check("disk.io", "By/s", MetricKind::Gauge, "disk_io_bytes_per_second");
        check("2fa..x", "", MetricKind::Gauge, "_2fa_x");
    }

    #[test]
    fn identity_is_name_unit_kind_and_temporality() {
        let a = metric("a", "s", MetricKind::Gauge);
        let mut b = a.clone();
        assert_eq!(a.id(), b.id());
        b.temporality = Temporality::Delta;
        assert_ne!(a.id(), b.id());
        assert_ne!(metric("ab", "", MetricKind::Gauge).id(), metric("a", "b", MetricKind::Gauge).id());
    }
}
