//! Functions of numbers and instant vectors.

use super::calls::{Call, Function};
use super::compile::Node;
use super::eval::{Eval, expected};
use super::select::Select;
use super::value::{Column, Sample, Value};
use super::{QueryError, samples};
use crate::model::Labels;

impl Eval<'_> {
    pub(super) fn of_values(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        match call.function {
            Function::Time => Ok(Value::Scalar(self.seconds())),
            Function::Pi => Ok(Value::Scalar(vec![std::f64::consts::PI; self.grid.steps])),
            Function::Math(math) => Ok(Value::Vector(map_floats(self.vector(call, args.first())?, |_, v| math.of(v)))),
            Function::Clock(clock) => {
                let columns = match args.first() {
                    Some(_) => self.vector(call, args.first())?,
                    None => vec![self.unlabelled(&self.seconds())],
                };
                Ok(Value::Vector(map_floats(columns, |_, seconds| clock.of(seconds))))
            }
            Function::Clamp { min, max } => self.clamp(call, args, (min, max)),
            Function::Round => {
                let to = match args.get(1) {
                    Some(_) => self.numbers(call, args.get(1))?,
                    None => vec![1.0; self.grid.steps],
                };
                let to = |step: usize| 1.0 / to.get(step).copied().unwrap_or(1.0);
                Ok(Value::Vector(map_floats(self.vector(call, args.first())?, |step, v| {
                    (v * to(step) + 0.5).floor() / to(step)
                })))
            }
            Function::Scalar => {
                let columns = self.vector(call, args.first())?;
                let one = |step: usize| {
                    let mut present = columns.iter().filter_map(|column| column.samples.get(step)?.float());
                    present.next().filter(|_| present.next().is_none()).unwrap_or(f64::NAN)
                };
                Ok(Value::Scalar((0..self.grid.steps).map(one).collect()))
            }
            Function::Vector => Ok(Value::Vector(vec![self.unlabelled(&self.numbers(call, args.first())?)])),
            Function::Timestamp => self.timestamp(call, args),
            Function::Absent => Ok(self.absent(args.first(), &self.vector(call, args.first())?)),
            Function::Sort { descending } => self.sort(call, args, descending),
            Function::LabelReplace => self.label_replace(call, args),
            Function::LabelJoin => self.label_join(call, args),
            _ => self.of_histograms(call, args),
        }
    }

    fn seconds(&self) -> Vec<f64> {
        (0..self.grid.steps).map(|step| self.grid.time(step) as f64 / 1000.0).collect()
    }

    fn unlabelled(&self, numbers: &[f64]) -> Column {
        Column { labels: Labels::default(), samples: numbers.iter().map(|n| Sample::Float(*n)).collect() }
    }

    pub(super) fn vector(&self, call: Call, arg: Option<&Node>) -> Result<Vec<Column>, QueryError> {
        match arg.map(|arg| self.node(arg)).transpose()? {
            Some(Value::Vector(columns)) => Ok(columns),
            _ => Err(expected(call, "a vector")),
        }
    }

    pub(super) fn numbers(&self, call: Call, arg: Option<&Node>) -> Result<Vec<f64>, QueryError> {
        match arg.map(|arg| self.node(arg)).transpose()? {
            Some(Value::Scalar(numbers)) => Ok(numbers),
            _ => Err(expected(call, "a number")),
        }
    }

    pub(super) fn text(&self, call: Call, arg: Option<&Node>) -> Result<String, QueryError> {
        match arg.map(|arg| self.node(arg)).transpose()? {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(expected(call, "text")),
        }
    }

    /// When a selector's values were measured; what is computed is of the step's time.
    fn timestamp(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        if let Some(Node::Series(selected)) = args.first()
            && selected.range == 0
        {
            let Value::Vector(columns) = self.selected(selected, samples::timestamps)? else {
                return Err(expected(call, "a vector"));
            };
            return Ok(Value::Vector(columns.into_iter().map(Column::nameless).collect()));
        }
        let seconds = self.seconds();
        let at = |step: usize, _| seconds.get(step).copied().unwrap_or(f64::NAN);
        Ok(Value::Vector(map_floats(self.vector(call, args.first())?, at)))
    }

    fn clamp(&self, call: Call, args: &[Node], (min, max): (bool, bool)) -> Result<Value, QueryError> {
        let low = if min { Some(self.numbers(call, args.get(1))?) } else { None };
        let high = if max { Some(self.numbers(call, args.get(usize::from(min) + 1))?) } else { None };
        let bound = |of: &Option<Vec<f64>>, step: usize, open: f64| {
            of.as_ref().map_or(open, |numbers| numbers.get(step).copied().unwrap_or(f64::NAN))
        };
        let columns = self.vector(call, args.first())?.into_iter().map(|column| {
            let clamped = |(step, sample): (usize, &Sample)| {
                let (low, high) = (bound(&low, step, f64::NEG_INFINITY), bound(&high, step, f64::INFINITY));
                let value = sample.float().filter(|_| low <= high || low.is_nan() || high.is_nan())?;
                Some(if low.is_nan() || high.is_nan() { f64::NAN } else { clamp_one(value, low, high) })
            };
            let samples = column.samples.iter().enumerate().map(|sample| clamped(sample).into()).collect();
            Column { labels: column.labels, samples }.nameless()
        });
        Ok(Value::Vector(columns.collect()))
    }

    /// One where `of` has nothing, labelled as what is missed.
    pub(super) fn absent(&self, of: Option<&Node>, columns: &[Column]) -> Value {
        let select = if let Some(Node::Series(of)) = of { self.selects.get(of.select) } else { None };
        let is_there = |step: usize| columns.iter().any(|column| column.samples.get(step).is_some_and(Sample::is_some));
        let samples = (0..self.grid.steps).map(|step| Sample::from((!is_there(step)).then_some(1.0))).collect();
        Value::Vector(vec![Column { labels: select.map(Select::required).unwrap_or_default(), samples }])
    }

    /// By value at the last step; what is no number stands last.
    fn sort(&self, call: Call, args: &[Node], descending: bool) -> Result<Value, QueryError> {
        let mut columns = self.vector(call, args.first())?;
        let last = |column: &Column| column.samples.last().and_then(Sample::float).unwrap_or(f64::NAN);
        columns.sort_by(|a, b| {
            let (a, b) = (last(a), last(b));
            let order = if descending { b.total_cmp(&a) } else { a.total_cmp(&b) };
            a.is_nan().cmp(&b.is_nan()).then(order)
        });
        Ok(Value::Vector(columns))
    }
}

/// A value that is no number stays none.
fn clamp_one(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() { value } else { value.max(low).min(high) }
}

pub(super) fn map_floats(columns: Vec<Column>, f: impl Fn(usize, f64) -> f64) -> Vec<Column> {
    columns
        .into_iter()
        .map(|column| {
            let samples = column.samples.iter().enumerate();
            let samples = samples.map(|(step, sample)| sample.float().map(|value| f(step, value)).into()).collect();
            Column { labels: column.labels, samples }.nameless()
        })
        .collect()
}
