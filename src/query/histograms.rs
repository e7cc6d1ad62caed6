//! Functions of distributions, native and as classic buckets.

use super::QueryError;
use super::calls::{Call, Function};
use super::compile::Node;
use super::eval::Eval;
use super::quantile;
use super::relabel::with_label;
use super::value::{Column, HistogramSample, Sample, Value, without_name};
use crate::model::Labels;

/// A count may fall by so much of itself through rounding.
const ROUNDING: f64 = 1e-12;

/// Columns of one classic histogram by their upper bound.
type Buckets = Vec<(f64, Column)>;

impl Eval<'_> {
    pub(super) fn of_histograms(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        match call.function {
            Function::HistogramQuantile => {
                let q = self.numbers(call, args.first())?;
                self.note_quantiles(&q);
                self.quantiles(&q, self.vector(call, args.get(1))?).map(Value::Vector)
            }
            Function::HistogramFraction => {
                let (lower, upper) = (self.numbers(call, args.first())?, self.numbers(call, args.get(1))?);
                let bound = |of: &[f64], step: usize| of.get(step).copied().unwrap_or(f64::NAN);
                let columns = self.vector(call, args.get(2))?;
                Ok(Value::Vector(each(columns, |step, h| {
                    quantile::fraction((bound(&lower, step), bound(&upper, step)), &h.histogram)
                })))
            }
            _ => {
                let columns = self.vector(call, args.first())?;
                Ok(Value::Vector(each(columns, |_, h| {
                    let (count, sum) = (h.histogram.count as f64 * h.factor, h.histogram.sum * h.factor);
                    match call.function {
                        Function::HistogramCount => count,
                        Function::HistogramSum => sum,
                        Function::HistogramStdvar => quantile::variance(&h.histogram),
                        Function::HistogramStddev => quantile::variance(&h.histogram).sqrt(),
                        _ => sum / count,
                    }
                })))
            }
        }
    }

    /// Native histograms each for itself, classic buckets grouped by all labels but `le`.
    fn quantiles(&self, q: &[f64], columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
        let mut native: Vec<Column> = Vec::new();
        let mut classic: Vec<(Labels, Buckets)> = Vec::new();
        for column in columns {
            let Some(bound) = self.bound_of(&column) else {
                native.push(column);
                continue;
            };
            let labels = without_name(&with_label(&column.labels, "le", ""));
            match classic.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, buckets)) => buckets.push((bound, column)),
                None => classic.push((labels, vec![(bound, column)])),
            }
        }
        let q_at = |step: usize| q.get(step).copied().unwrap_or(f64::NAN);
        let mut out = each(native, |step, h| quantile::of_histogram(q_at(step), &h.histogram));
        for (labels, mut buckets) in classic {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let at = |(step, q): (usize, &f64)| {
                let counts: Vec<(f64, f64)> = buckets
                    .iter()
                    .filter_map(|(bound, column)| Some((*bound, column.samples.get(step)?.float()?)))
                    .collect();
                if counts.windows(2).any(|pair| matches!(pair, [(_, a), (_, b)] if b < a && a - b > a.abs() * ROUNDING))
                {
                    self.notes.info("input to histogram_quantile needed to be fixed for monotonicity");
                }
                Sample::from((!counts.is_empty()).then(|| quantile::of_classic(*q, &counts)))
            };
            out.push(Column { labels, samples: q.iter().enumerate().map(at).collect() });
        }
        Ok(out)
    }

    /// The upper bound of a classic bucket.
    fn bound_of(&self, column: &Column) -> Option<f64> {
        let le = column.labels.get("le");
        let bound = le.and_then(|le| if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() });
        if bound.is_none() && column.samples.iter().any(|sample| sample.float().is_some()) {
            let le = le.unwrap_or_default();
            self.notes.warn(format!("bucket label \"le\" is missing or has a malformed value of {le:?}"));
        }
        bound
    }
}

/// `f` of every distribution; numbers are left out.
fn each(columns: Vec<Column>, f: impl Fn(usize, &HistogramSample) -> f64) -> Vec<Column> {
    let one = |column: Column| {
        let samples = column.samples.iter().enumerate();
        let samples = samples.map(|(step, sample)| sample.histogram().map(|h| f(step, h)).into()).collect();
        Column { labels: column.labels, samples }.nameless()
    };
    columns.into_iter().map(one).filter(|column| column.samples.iter().any(Sample::is_some)).collect()
}
