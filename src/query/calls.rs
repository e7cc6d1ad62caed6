//! The table of functions: name, and what kind of function it is.

use super::functions::{Clock, Math, OverTime};

/// A function in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) name: &'static str,
}

impl Call {
    /// True when the answer is still of the metric that was asked for.
    pub(super) const fn keeps_name(self) -> bool {
        matches!(self.function, Function::OverTime(OverTime::First | OverTime::Last))
    }
}

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// What a range added; per second or in all.
    Increase {
        per_second: bool,
    },
    /// The last two values of a range: difference or rate.
    Last2 {
        per_second: bool,
        counter: bool,
    },
    /// Difference of the ends of a range of a gauge.
    Delta,
    /// An aggregate over the windows of a range.
    OverTime(OverTime),
    /// Quantile over the windows of a range.
    QuantileOverTime,
    /// Where a line through a range leads.
    PredictLinear,
    /// A range smoothed, with its trend.
    DoubleExponentialSmoothing,
    /// Number to number.
    Math(Math),
    /// Part of a timestamp.
    Clock(Clock),
    Clamp {
        min: bool,
        max: bool,
    },
    Round,
    Scalar,
    Vector,
    Time,
    Pi,
    Timestamp,
    Absent,
    AbsentOverTime,
    LabelReplace,
    LabelJoin,
    Sort {
        descending: bool,
    },
    HistogramQuantile,
    HistogramCount,
    HistogramSum,
    HistogramAvg,
    HistogramFraction,
    HistogramStddev,
    HistogramStdvar,
}

impl Function {
    /// The function called `name`, if it is supported.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Increase { per_second: true },
            "increase" => Self::Increase { per_second: false },
            "irate" => Self::Last2 { per_second: true, counter: true },
            "idelta" => Self::Last2 { per_second: false, counter: false },
            "delta" => Self::Delta,
            "quantile_over_time" => Self::QuantileOverTime,
            "predict_linear" => Self::PredictLinear,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "clamp" => Self::Clamp { min: true, max: true },
            "clamp_min" => Self::Clamp { min: true, max: false },
            "clamp_max" => Self::Clamp { min: false, max: true },
            "round" => Self::Round,
            "scalar" => Self::Scalar,
            "vector" => Self::Vector,
            "time" => Self::Time,
            "pi" => Self::Pi,
            "timestamp" => Self::Timestamp,
            "absent" => Self::Absent,
            "absent_over_time" => Self::AbsentOverTime,
            "label_replace" => Self::LabelReplace,
            "label_join" => Self::LabelJoin,
            "sort" => Self::Sort { descending: false },
            "sort_desc" => Self::Sort { descending: true },
            "histogram_quantile" => Self::HistogramQuantile,
            "histogram_count" => Self::HistogramCount,
            "histogram_sum" => Self::HistogramSum,
            "histogram_avg" => Self::HistogramAvg,
            "histogram_fraction" => Self::HistogramFraction,
            "histogram_stddev" => Self::HistogramStddev,
            "histogram_stdvar" => Self::HistogramStdvar,
            _ => {
                return OverTime::named(name)
                    .map(Self::OverTime)
                    .or_else(|| Math::named(name).map(Self::Math))
                    .or_else(|| Clock::named(name).map(Self::Clock));
            }
        })
    }
}
