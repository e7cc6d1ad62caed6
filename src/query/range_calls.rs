//! Functions over a range: increases, aggregates over time, trends.

use super::calls::{Call, Function};
use super::compile::{Increases, Node, Plan};
use super::eval::{Eval, Sink};
use super::functions::{OverTime, last_two, predict, smooth};
use super::samples::{self, Grid, Over, Source};
use super::value::{Column, Sample, Value};
use super::{QueryError, extrapolate, quantile};
use crate::model::Cell;

impl Plan {
    /// True when all that is asked of series is what `rate` and `increase` tell.
    pub(super) fn is_of_increases(&self) -> bool {
        is_of_increases(&self.root)
    }
}

fn is_of_increases(node: &Node) -> bool {
    match node {
        Node::Number(_) | Node::Text(_) => true,
        Node::Series(_) => false,
        Node::Subquery(subquery) => is_of_increases(&subquery.of),
        Node::Negate(of) => is_of_increases(of),
        Node::Call(Call { function: Function::Increase { .. }, .. }, args) => {
            args.iter().all(|arg| matches!(arg, Node::Series(_)) || is_of_increases(arg))
        }
        Node::Call(_, args) => args.iter().all(is_of_increases),
        Node::Aggregate { of, parameter, .. } => {
            is_of_increases(of) && parameter.as_deref().is_none_or(is_of_increases)
        }
        Node::Binary { left, right, .. } => is_of_increases(left) && is_of_increases(right),
    }
}

impl Eval<'_> {
    pub(super) fn call(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        let columns = match call.function {
            Function::Increase { per_second } => {
                self.collect(|sink| self.each_increase((call, per_second), args, sink))
            }
            Function::Last2 { per_second, counter } => self.over_range(call, args.first(), |source, grid, over| {
                samples::over_time(source, grid, over, |windows, _| last_two(windows, per_second, counter))
            }),
            Function::Delta => self.over_range(call, args.first(), |source, grid, over| match grid.increases {
                Increases::Exact => samples::over_time(source, grid, over, |windows, _| {
                    Some(windows.last()?.last - windows.first().filter(|_| windows.len() > 1)?.last)
                }),
                Increases::Extrapolated => extrapolate::delta(source, grid, over),
            }),
            Function::OverTime(of) => self.over_time(call, args, of),
            Function::QuantileOverTime => self.quantile_over_time(call, args),
            Function::PredictLinear => {
                let ahead = self.numbers(call, args.get(1))?;
                let ahead = |step: usize| ahead.get(step).copied().unwrap_or(f64::NAN);
                self.over_steps(call, args.first(), |windows, (step, end)| predict(windows, end, ahead(step)))
            }
            Function::DoubleExponentialSmoothing => {
                let factor = |at: usize| {
                    let number = self.numbers(call, args.get(at))?.first().copied().unwrap_or(f64::NAN);
                    let inside = number > 0.0 && number < 1.0;
                    let text = format!("{}() takes factors between 0 and 1, not {number}", call.name);
                    if inside { Ok(number) } else { Err(QueryError::Invalid(text)) }
                };
                let (level, trend) = (factor(1)?, factor(2)?);
                self.over_range(call, args.first(), |source, grid, over| {
                    samples::over_time(source, grid, over, |windows, _| smooth(windows, level, trend))
                })
            }
            Function::AbsentOverTime => {
                let present = Function::OverTime(OverTime::Present);
                let columns = self.over_time(Call { function: present, ..call }, args, OverTime::Present)?;
                return Ok(self.absent(args.first(), &columns));
            }
            _ => return self.of_values(call, args),
        };
        columns.map(Value::Vector)
    }

    /// `rate` and `increase`, one column after another.
    pub(super) fn each_increase(
        &self,
        (call, per_second): (Call, bool),
        args: &[Node],
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        self.note_gauges(call, args.first());
        let samples = |source: Source<'_>, grid: &Grid, over: Over| match grid.increases {
            Increases::Exact => samples::increase(source, grid, Over { per_second, ..over }),
            Increases::Extrapolated => extrapolate::increase(source, grid, Over { per_second, ..over }),
        };
        self.each_over_range(call, args.first(), samples, sink)
    }

    fn over_time(&self, call: Call, args: &[Node], of: OverTime) -> Result<Vec<Column>, QueryError> {
        self.over_range(call, args.first(), |source, grid, over| {
            if let Source::Series(series) = source
                && let Some(counts) = samples::histograms_seen(series, grid, over)
            {
                return match of {
                    OverTime::Count => counts,
                    OverTime::Present => counts.iter().map(|n| n.float().map(|_| 1.0).into()).collect(),
                    OverTime::Last => samples::last_within(series, grid, over),
                    OverTime::First => samples::first_within(series, grid, over),
                    _ => {
                        self.notes.info(format!("histograms are left out of {}()", call.name));
                        vec![Sample::None; grid.steps]
                    }
                };
            }
            samples::over_time(source, grid, over, |windows, _| of.of(windows))
        })
    }

    fn quantile_over_time(&self, call: Call, args: &[Node]) -> Result<Vec<Column>, QueryError> {
        let q = self.numbers(call, args.first())?;
        self.note_quantiles(&q);
        self.over_steps(call, args.get(1), |windows, (step, _)| {
            let mut values: Vec<f64> = windows.iter().map(|window| window.last).collect();
            Some(quantile::of_values(q.get(step).copied().unwrap_or(f64::NAN), &mut values))
        })
    }

    /// `f` over the windows of each step, with the step's number and time.
    fn over_steps(
        &self,
        call: Call,
        arg: Option<&Node>,
        f: impl Fn(&[samples::Span], (usize, i64)) -> Option<f64> + Sync,
    ) -> Result<Vec<Column>, QueryError> {
        self.over_range(call, arg, |source, grid, over| {
            samples::over_time(source, grid, over, |windows, end| {
                let at = end + over.offset;
                let step = if grid.step > 0 { (at - grid.start) / grid.step } else { 0 };
                f(windows, (usize::try_from(step).unwrap_or(0), at))
            })
        })
    }

    /// A rate of something that is no counter is rarely what is meant.
    fn note_gauges(&self, call: Call, arg: Option<&Node>) {
        let Some(Node::Series(selected)) = arg else { return };
        let series = self.series.get(selected.select).copied().into_iter().flatten();
        for one in series.filter(|one| matches!(one.windows.first(), Some((_, Cell::Gauge(_))))) {
            self.notes.info(format!(
                "metric might not be a counter: {}() of {:?}, which is a {}, reads each fall as a reset",
                call.name,
                one.metric.name,
                one.metric.kind.as_str()
            ));
        }
    }

    pub(super) fn note_quantiles(&self, q: &[f64]) {
        if let Some(bad) = q.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            self.notes.warn(format!("quantile value should be between 0 and 1, got {bad}"));
        }
    }
}
