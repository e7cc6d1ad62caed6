//! Spans of time as rules say them: `30s`, `5m`, `1h30m`; in memory whole milliseconds.

use std::fmt;

use chrono::TimeDelta;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Units, greatest first, with their milliseconds.
const UNITS: &[(&str, i64)] =
    &[("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A span of time, never negative. JSON has it as text; a number is taken as seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, ToSchema)]
#[schema(value_type = String, examples("5m"))]
pub struct Period(i64);

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000)
    }

    /// So many milliseconds.
    #[must_use]
    pub(crate) const fn milliseconds(millis: u32) -> Self {
        Self(millis as i64)
    }

    /// So many minutes.
    #[must_use]
    pub const fn minutes(minutes: i64) -> Self {
        Self(minutes * 60_000)
    }

    /// So many milliseconds; `None` when negative.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Option<Self> {
        if millis < 0 { None } else { Some(Self(millis)) }
    }

    /// In milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// As a difference of times.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        TimeDelta::milliseconds(self.0)
    }

    /// Reads `1h30m`; every unit at most once, from the greatest to the smallest, as Prometheus has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self::ZERO);
        }
        let (mut rest, mut total, mut units) = (text, 0i64, UNITS);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let at = units.iter().position(|(name, _)| *name == unit)?;
            let (_, millis) = units.get(at)?;
            total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*millis)?)?;
            (rest, units) = (tail, units.get(at + 1..)?);
        }
        (!text.is_empty()).then_some(Self(total))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, millis) in UNITS.iter().filter(|(unit, _)| *unit != "w") {
            if rest >= *millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time such as 30s, 5m or 1h30m")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        Period::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Period, E> {
        let millis = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000));
        millis.map(Period).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(seconds), &self))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Period, E> {
        let sound = (0.0..1e12).contains(&seconds);
        sound
            .then_some(Period((seconds * 1_000.0) as i64))
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(seconds), &self))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_not() {
        for (text, millis) in [("30s", 30_000), ("1h30m", 5_400_000), ("0s", 0), ("250ms", 250), ("2d", 172_800_000)] {
            let period = Period::parse(text).expect(text);
            assert_eq!((period.millis(), period.to_string().as_str()), (millis, text));
        }
        for bad in ["", "5", "m", "1m1h", "-5m", "5x", "1m 2s", "99999999999999999w"] {
            assert_eq!(Period::parse(bad), None, "{bad}");
        }
        assert_eq!(serde_json::from_str::<Period>("90").ok(), Some(Period::seconds(90)));
    }
}
