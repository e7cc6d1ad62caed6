//! Values: one column a series, one sample a step.

use std::sync::Arc;

use crate::model::{Histogram, Labels, TimeMs};

/// A native histogram in an answer: counts times a factor (a rate divides by seconds).
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Whole counts.
    pub histogram: Arc<Histogram>,
    /// What to multiply counts and sum by.
    pub factor: f64,
}

/// A series' value at one step.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// No value.
    None,
    /// A number.
    Float(f64),
    /// A distribution.
    Histogram(HistogramSample),
}

impl Sample {
    /// The number, if it is one.
    #[must_use]
    pub const fn float(&self) -> Option<f64> {
        if let Self::Float(value) = self { Some(*value) } else { None }
    }

    /// The distribution, if it is one.
    #[must_use]
    pub const fn histogram(&self) -> Option<&HistogramSample> {
        if let Self::Histogram(histogram) = self { Some(histogram) } else { None }
    }

    /// True where there is a value.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl From<Option<f64>> for Sample {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::None, Self::Float)
    }
}

/// One series over all steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Labels in PromQL's spelling, `__name__` among them where it is kept.
    pub labels: Labels,
    /// One sample a step.
    pub samples: Vec<Sample>,
}

impl Column {
    /// The same samples without `__name__`.
    pub(super) fn nameless(self) -> Self {
        Self { labels: without_name(&self.labels), samples: self.samples }
    }
}

/// The label set without `__name__`.
pub(super) fn without_name(labels: &Labels) -> Labels {
    if labels.get("__name__").is_none() {
        return labels.clone();
    }
    Labels::from_pairs(labels.pairs().iter().filter(|(name, _)| &**name != "__name__").cloned().collect())
}

/// What an expression is worth over all steps.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// One number a step.
    Scalar(Vec<f64>),
    /// One column a series.
    Vector(Vec<Column>),
    /// A text.
    Text(String),
}

/// An answer's value.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerValue {
    /// One number a step.
    Scalar(Vec<f64>),
    /// One column a series; columns without any sample are left out.
    Vector(Vec<Column>),
    /// A text.
    Text(String),
}

/// What a query comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The times of the steps.
    pub times: Vec<TimeMs>,
    /// The value at each.
    pub value: AnswerValue,
    /// Where it is not what was asked for, or not all of it.
    pub warnings: Vec<String>,
    /// Where it may surprise.
    pub infos: Vec<String>,
}

impl Answer {
    /// The single number of an answer with one column or scalar, at the last step that has one.
    #[must_use]
    pub fn last_number(&self) -> Option<f64> {
        match &self.value {
            AnswerValue::Scalar(values) => values.last().copied(),
            AnswerValue::Vector(columns) => columns.first()?.samples.iter().rev().find_map(Sample::float),
            AnswerValue::Text(_) => None,
        }
    }
}
