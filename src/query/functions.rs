//! Functions of numbers: over the windows of a range, of one value, of a timestamp.

use chrono::{DateTime, Datelike, Timelike, Utc};

use super::samples::Span;
use crate::model::TimeMs;

/// Aggregates over the windows of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverTime {
    Avg,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
    Present,
    Stddev,
    Stdvar,
    Changes,
    Resets,
    Deriv,
}

impl OverTime {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "avg_over_time" => Self::Avg,
            "min_over_time" => Self::Min,
            "max_over_time" => Self::Max,
            "sum_over_time" => Self::Sum,
            "count_over_time" => Self::Count,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "present_over_time" => Self::Present,
            "stddev_over_time" => Self::Stddev,
            "stdvar_over_time" => Self::Stdvar,
            "changes" => Self::Changes,
            "resets" => Self::Resets,
            "deriv" => Self::Deriv,
            _ => return None,
        })
    }

    /// Over windows that are not none. Sums and counts are of the values as sent; variance is of the window means.
    pub(super) fn of(self, windows: &[Span]) -> Option<f64> {
        let sum = |f: fn(&Span) -> f64| windows.iter().map(f).sum::<f64>();
        Some(match self {
            Self::Avg => sum(|w| w.sum) / sum(|w| w.count),
            Self::Min => windows.iter().map(|w| w.min).fold(f64::NAN, f64::min),
            Self::Max => windows.iter().map(|w| w.max).fold(f64::NAN, f64::max),
            Self::Sum => sum(|w| w.sum),
            Self::Count => sum(|w| w.count),
            Self::First => windows.first()?.last,
            Self::Last => windows.last()?.last,
            Self::Present => 1.0,
            Self::Stddev => variance(windows).sqrt(),
            Self::Stdvar => variance(windows),
            Self::Changes => pairs(windows).filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan())).count() as f64,
            Self::Resets => windows.iter().zip(windows.iter().skip(1)).filter(|(a, b)| is_reset(a, b)).count() as f64,
            Self::Deriv => line(windows, windows.first()?.time)?.0,
        })
    }
}

fn pairs(windows: &[Span]) -> impl Iterator<Item = (f64, f64)> {
    windows.iter().zip(windows.iter().skip(1)).map(|(a, b)| (a.last, b.last))
}

fn variance(windows: &[Span]) -> f64 {
    let values = windows.iter().map(|w| w.sum / w.count);
    let n = windows.len() as f64;
    let mean = values.clone().sum::<f64>() / n;
    values.map(|v| (v - mean).powi(2)).sum::<f64>() / n
}

/// A total that fell, or that counts from a later start.
fn is_reset(before: &Span, after: &Span) -> bool {
    !after.is_delta && (after.last < before.last || (before.start != 0 && after.start > before.start))
}

/// `(slope a second, value at `zero`)` of the line through last values, by least squares.
fn line(windows: &[Span], zero: TimeMs) -> Option<(f64, f64)> {
    let first = windows.first().filter(|_| windows.len() > 1)?.last;
    if windows.iter().all(|window| window.last == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let n = windows.len() as f64;
    let xs = windows.iter().map(|w| (w.time - zero) as f64 / 1000.0);
    let ys = windows.iter().map(|w| w.last);
    let (x, y) = (xs.clone().sum::<f64>() / n, ys.clone().sum::<f64>() / n);
    let covariance: f64 = xs.clone().zip(ys).map(|(a, b)| (a - x) * (b - y)).sum();
    let spread: f64 = xs.map(|a| (a - x).powi(2)).sum();
    let slope = covariance / spread;
    Some((slope, y - slope * x))
}

/// The value that the line through a range has `seconds` after `now`.
pub(super) fn predict(windows: &[Span], now: TimeMs, seconds: f64) -> Option<f64> {
    let (slope, at_now) = line(windows, now)?;
    Some(slope * seconds + at_now)
}

/// Double exponential smoothing (Holt's linear method): the last level.
pub(super) fn smooth(windows: &[Span], level: f64, trend: f64) -> Option<f64> {
    let [first, second, ..] = windows else { return None };
    let (mut before, mut now, mut slope) = (0.0, first.last, second.last - first.last);
    for (i, window) in windows.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (now - before) + (1.0 - trend) * slope;
        }
        (before, now) = (now, level * window.last + (1.0 - level) * (now + slope));
    }
    Some(now)
}

/// Difference of the last two windows; of a counter, a reset counts from zero, and deltas are differences already.
pub(super) fn last_two(windows: &[Span], per_second: bool, counter: bool) -> Option<f64> {
    let [.., before, last] = windows else { return None };
    let whole = counter && (last.is_delta || is_reset(before, last));
    let difference = if whole { last.last } else { last.last - before.last };
    let seconds = (last.time - before.time) as f64 / 1000.0;
    Some(if per_second { difference / seconds } else { difference })
}

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Math {
    Abs,
    Ceil,
    Floor,
    Sqrt,
    Exp,
    Ln,
    Log2,
    Log10,
    Sgn,
    Deg,
    Rad,
    Sin,
    Cos,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Cosh,
    Sinh,
    Tanh,
    Tan,
}

impl Math {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Abs,
            "ceil" => Self::Ceil,
            "floor" => Self::Floor,
            "sqrt" => Self::Sqrt,
            "exp" => Self::Exp,
            "ln" => Self::Ln,
            "log2" => Self::Log2,
            "log10" => Self::Log10,
            "sgn" => Self::Sgn,
            "deg" => Self::Deg,
            "rad" => Self::Rad,
            "sin" => Self::Sin,
            "cos" => Self::Cos,
            "acos" => Self::Acos,
            "acosh" => Self::Acosh,
            "asin" => Self::Asin,
            "asinh" => Self::Asinh,
            "atan" => Self::Atan,
            "atanh" => Self::Atanh,
            "cosh" => Self::Cosh,
            "sinh" => Self::Sinh,
            "tanh" => Self::Tanh,
            "tan" => Self::Tan,
            _ => return None,
        })
    }

    pub(super) fn of(self, x: f64) -> f64 {
        match self {
            Self::Abs => x.abs(),
            Self::Ceil => x.ceil(),
            Self::Floor => x.floor(),
            Self::Sqrt => x.sqrt(),
            Self::Exp => x.exp(),
            Self::Ln => x.ln(),
            Self::Log2 => x.log2(),
            Self::Log10 => x.log10(),
            Self::Sgn if x == 0.0 || x.is_nan() => x,
            Self::Sgn => x.signum(),
            Self::Deg => x.to_degrees(),
            Self::Rad => x.to_radians(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Acos => x.acos(),
            Self::Acosh => x.acosh(),
            Self::Asin => x.asin(),
            Self::Asinh => x.asinh(),
            Self::Atan => x.atan(),
            Self::Atanh => x.atanh(),
            Self::Cosh => x.cosh(),
            Self::Sinh => x.sinh(),
            Self::Tanh => x.tanh(),
            Self::Tan => x.tan(),
        }
    }
}

/// Parts of a timestamp in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Minute,
    Hour,
    DayOfWeek,
    DayOfMonth,
    DayOfYear,
    DaysInMonth,
    Month,
    Year,
}

impl Clock {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day_of_week" => Self::DayOfWeek,
            "day_of_month" => Self::DayOfMonth,
            "day_of_year" => Self::DayOfYear,
            "days_in_month" => Self::DaysInMonth,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// Of seconds since the epoch; NaN outside of what a calendar knows.
    pub(super) fn of(self, seconds: f64) -> f64 {
        let Some(at) = DateTime::<Utc>::from_timestamp_millis((seconds * 1000.0) as TimeMs) else { return f64::NAN };
        f64::from(match self {
            Self::Minute => at.minute(),
            Self::Hour => at.hour(),
            Self::DayOfWeek => at.weekday().num_days_from_sunday(),
            Self::DayOfMonth => at.day(),
            Self::DayOfYear => at.ordinal(),
            Self::DaysInMonth => u32::from(at.num_days_in_month()),
            Self::Month => at.month(),
            Self::Year => return f64::from(at.year()),
        })
    }
}
