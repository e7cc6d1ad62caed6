//! Evaluation of a compiled query over fetched series: all steps of the range at once.

use std::sync::Arc;

use regex::Regex;

use super::calls::{Call, Function};
use super::compile::{LOOKBACK_MS, Node, Plan, Selected};
use super::functions::last_two;
use super::samples::{self, Grid};
use super::select::Select;
use super::value::{Answer, AnswerValue, Column, Sample, Value, without_name};
use super::{QueryError, aggregate, binary, quantile};
use crate::model::{Labels, SeriesWindows, TimeMs};

/// Most samples of an answer or of any value on the way.
const SAMPLES_MAX: usize = 20_000_000;

/// The new value of a label, from the others.
type ValueOf = Box<dyn Fn(&Labels) -> Option<String>>;

impl Plan {
    /// Evaluates over `series`, one list for each of [`Plan::selects`].
    ///
    /// # Errors
    /// When operands do not fit, or a limit is passed.
    pub fn evaluate(&self, series: &[Vec<SeriesWindows>]) -> Result<Answer, QueryError> {
        let params = &self.params;
        let grid = Grid {
            start: params.start,
            step: params.step,
            steps: params.steps()?,
            now: params.now,
            lookback: LOOKBACK_MS,
            width: params.width,
        };
        let value = match (Eval { grid, selects: &self.selects, series }).node(&self.root)? {
            Value::Scalar(numbers) => AnswerValue::Scalar(numbers),
            Value::Text(text) => AnswerValue::Text(text),
            Value::Vector(mut columns) => {
                columns.retain(|column| column.samples.iter().any(Sample::is_some));
                AnswerValue::Vector(columns)
            }
        };
        Ok(Answer { times: (0..grid.steps).map(|step| grid.time(step)).collect(), value, warnings: Vec::new() })
    }
}

struct Eval<'a> {
    grid: Grid,
    selects: &'a [Select],
    series: &'a [Vec<SeriesWindows>],
}

fn expected(call: Call, what: &str) -> QueryError {
    QueryError::Invalid(format!("{}() takes {what}", call.name))
}

impl Eval<'_> {
    fn node(&self, node: &Node) -> Result<Value, QueryError> {
        match node {
            Node::Number(number) => Ok(Value::Scalar(vec![*number; self.grid.steps])),
            Node::Text(text) => Ok(Value::Text(text.clone())),
            Node::Series(selected) if selected.range > 0 => {
                Err(QueryError::Invalid("a range vector must be the argument of a function".to_owned()))
            }
            Node::Series(selected) => self
                .columns(selected, true, |series| samples::instant(series, &self.grid, selected.offset))
                .map(Value::Vector),
            Node::Negate(of) => match self.node(of)? {
                Value::Scalar(numbers) => Ok(Value::Scalar(numbers.into_iter().map(|n| -n).collect())),
                Value::Vector(columns) => Ok(Value::Vector(map_floats(columns, |_, value| -value))),
                Value::Text(_) => Err(QueryError::Invalid("text cannot be negated".to_owned())),
            },
            Node::Call(call, args) => self.call(*call, args),
            Node::Aggregate { op, of, parameter, by } => {
                let parameter = parameter.as_ref().map(|parameter| self.node(parameter)).transpose()?;
                let Value::Vector(columns) = self.node(of)? else {
                    return Err(QueryError::Invalid(format!("{op}() takes a vector")));
                };
                aggregate::aggregate(op, columns, parameter.as_ref(), by.as_ref()).map(Value::Vector)
            }
            Node::Binary { op, left, right, matching } => {
                binary::apply(op, self.node(left)?, self.node(right)?, matching)
            }
        }
    }

    fn columns(
        &self,
        selected: &Selected,
        named: bool,
        samples: impl Fn(&SeriesWindows) -> Vec<Sample>,
    ) -> Result<Vec<Column>, QueryError> {
        let series = self.series.get(selected.select).map(Vec::as_slice).unwrap_or_default();
        let total = series.len().saturating_mul(self.grid.steps);
        if total > SAMPLES_MAX {
            return Err(QueryError::Limit(format!(
                "{total} samples > limit of {SAMPLES_MAX}: narrow the selector or the range"
            )));
        }
        Ok(series
            .iter()
            .map(|one| {
                let labels = if named { one.labels.clone() } else { without_name(&one.labels) };
                Column { labels, samples: samples(one) }
            })
            .filter(|column| column.samples.iter().any(Sample::is_some))
            .collect())
    }

    /// Columns of a function over a range selector.
    fn over_range(
        &self,
        call: Call,
        arg: Option<&Node>,
        samples: impl Fn(&SeriesWindows, (TimeMs, TimeMs)) -> Vec<Sample>,
    ) -> Result<Value, QueryError> {
        let Some(Node::Series(selected)) = arg.filter(|arg| matches!(arg, Node::Series(s) if s.range > 0)) else {
            return Err(expected(call, "a range vector"));
        };
        let keeps_name = call.name == "last_over_time";
        self.columns(selected, keeps_name, |series| samples(series, (selected.range, selected.offset)))
            .map(Value::Vector)
    }

    fn call(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        let grid = &self.grid;
        match call.function {
            Function::Increase { per_second } => self.over_range(call, args.first(), |series, span| {
                let factor = if per_second { 1000.0 / span.0 as f64 } else { 1.0 };
                samples::increase(series, grid, span, factor)
            }),
            Function::Last2 { per_second, counter } => self.over_range(call, args.first(), |series, span| {
                samples::over_time(series, grid, span, |windows, _| last_two(windows, per_second, counter))
            }),
            Function::Delta => self.over_range(call, args.first(), |series, span| {
                samples::over_time(series, grid, span, |windows, _| {
                    Some(windows.last()?.last - windows.first().filter(|_| windows.len() > 1)?.last)
                })
            }),
            Function::OverTime(over_time) => self.over_range(call, args.first(), |series, span| {
                samples::over_time(series, grid, span, |windows, _| over_time.of(windows))
            }),
            Function::QuantileOverTime => {
                let q = self.numbers(call, args.first())?;
                let q = q.first().copied().unwrap_or(f64::NAN);
                self.over_range(call, args.get(1), |series, span| {
                    samples::over_time(series, grid, span, |windows, _| {
                        let mut values: Vec<f64> = windows.iter().map(|window| window.last).collect();
                        Some(quantile::of_values(q, &mut values))
                    })
                })
            }
            Function::AbsentOverTime => {
                let present = self.over_range(call, args.first(), |series, span| {
                    samples::over_time(series, grid, span, |_, _| Some(1.0))
                })?;
                let Value::Vector(columns) = present else { return Err(expected(call, "a range vector")) };
                Ok(self.absent(args.first(), &columns))
            }
            _ => self.of_values(call, args),
        }
    }

    fn of_values(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        match call.function {
            Function::Time => Ok(Value::Scalar(self.seconds())),
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
            Function::Timestamp => {
                let seconds = self.seconds();
                let at = |step: usize, _| seconds.get(step).copied().unwrap_or(f64::NAN);
                Ok(Value::Vector(map_floats(self.vector(call, args.first())?, at)))
            }
            Function::Absent => Ok(self.absent(args.first(), &self.vector(call, args.first())?)),
            Function::Sort { descending } => self.sort(call, args, descending),
            Function::LabelReplace | Function::LabelJoin => self.relabel(call, args),
            _ => self.of_histograms(call, args),
        }
    }

    fn seconds(&self) -> Vec<f64> {
        (0..self.grid.steps).map(|step| self.grid.time(step) as f64 / 1000.0).collect()
    }

    fn unlabelled(&self, numbers: &[f64]) -> Column {
        Column { labels: Labels::default(), samples: numbers.iter().map(|n| Sample::Float(*n)).collect() }
    }

    fn vector(&self, call: Call, arg: Option<&Node>) -> Result<Vec<Column>, QueryError> {
        match arg.map(|arg| self.node(arg)).transpose()? {
            Some(Value::Vector(columns)) => Ok(columns),
            _ => Err(expected(call, "a vector")),
        }
    }

    fn numbers(&self, call: Call, arg: Option<&Node>) -> Result<Vec<f64>, QueryError> {
        match arg.map(|arg| self.node(arg)).transpose()? {
            Some(Value::Scalar(numbers)) => Ok(numbers),
            _ => Err(expected(call, "a number")),
        }
    }

    fn text(&self, call: Call, arg: Option<&Node>) -> Result<String, QueryError> {
        match arg.map(|arg| self.node(arg)).transpose()? {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(expected(call, "text")),
        }
    }

    fn clamp(&self, call: Call, args: &[Node], (min, max): (bool, bool)) -> Result<Value, QueryError> {
        let low = if min { Some(self.numbers(call, args.get(1))?) } else { None };
        let high = if max { Some(self.numbers(call, args.get(usize::from(min) + 1))?) } else { None };
        let bound = |of: &Option<Vec<f64>>, step: usize, open: f64| {
            of.as_ref().map_or(open, |numbers| numbers.get(step).copied().unwrap_or(f64::NAN))
        };
        let columns = self.vector(call, args.first())?;
        Ok(Value::Vector(map_floats(columns, |step, value| {
            value.max(bound(&low, step, f64::NEG_INFINITY)).min(bound(&high, step, f64::INFINITY))
        })))
    }

    /// One where `of` has nothing, labelled as what is missed.
    fn absent(&self, of: Option<&Node>, columns: &[Column]) -> Value {
        let select = if let Some(Node::Series(of)) = of { self.selects.get(of.select) } else { None };
        let is_there = |step: usize| columns.iter().any(|column| column.samples.get(step).is_some_and(Sample::is_some));
        let samples = (0..self.grid.steps).map(|step| Sample::from((!is_there(step)).then_some(1.0))).collect();
        Value::Vector(vec![Column { labels: select.map(Select::required).unwrap_or_default(), samples }])
    }

    fn sort(&self, call: Call, args: &[Node], descending: bool) -> Result<Value, QueryError> {
        let mut columns = self.vector(call, args.first())?;
        let last = |column: &Column| column.samples.last().and_then(Sample::float).unwrap_or(f64::NAN);
        columns.sort_by(|a, b| {
            let order = last(a).total_cmp(&last(b));
            if descending { order.reverse() } else { order }
        });
        Ok(Value::Vector(columns))
    }

    fn relabel(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        let columns = self.vector(call, args.first())?;
        let target = self.text(call, args.get(1))?;
        let text = |at: usize| self.text(call, args.get(at));
        let value_of: ValueOf = if call.function == Function::LabelReplace {
            let (replacement, source) = (text(2)?, text(3)?);
            let pattern = Regex::new(&format!("^(?s:{})$", text(4)?))
                .map_err(|error| QueryError::Invalid(format!("label_replace() takes a regular expression: {error}")))?;
            Box::new(move |labels| {
                let captures = pattern.captures(labels.get(&source).unwrap_or_default())?;
                let mut value = String::new();
                captures.expand(&replacement, &mut value);
                Some(value)
            })
        } else {
            let separator = text(2)?;
            let sources = (3..args.len()).map(text).collect::<Result<Vec<_>, _>>()?;
            Box::new(move |labels| {
                let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or_default()).collect();
                Some(values.join(&separator))
            })
        };
        let changed = columns.into_iter().map(|column| match value_of(&column.labels) {
            Some(value) => Column { labels: with_label(&column.labels, &target, &value), samples: column.samples },
            None => column,
        });
        Ok(Value::Vector(changed.collect()))
    }

    fn of_histograms(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        if call.function == Function::HistogramQuantile {
            let q = self.numbers(call, args.first())?;
            let columns = self.vector(call, args.get(1))?;
            return Ok(Value::Vector(histogram_quantile(&q, columns)));
        }
        let columns = self.vector(call, args.first())?;
        let value = |sample: &Sample| {
            let h = sample.histogram()?;
            let (count, sum) = (h.histogram.count as f64 * h.factor, h.histogram.sum * h.factor);
            Some(match call.function {
                Function::HistogramCount => count,
                Function::HistogramSum => sum,
                _ => sum / count,
            })
        };
        let columns = columns.into_iter().map(|column| {
            let samples = column.samples.iter().map(|sample| Sample::from(value(sample))).collect();
            Column { labels: column.labels, samples }.nameless()
        });
        Ok(Value::Vector(columns.collect()))
    }
}

fn map_floats(columns: Vec<Column>, f: impl Fn(usize, f64) -> f64) -> Vec<Column> {
    columns
        .into_iter()
        .map(|column| {
            let samples = column.samples.iter().enumerate();
            let samples = samples.map(|(step, sample)| sample.float().map(|value| f(step, value)).into()).collect();
            Column { labels: column.labels, samples }.nameless()
        })
        .collect()
}

fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut pairs: Vec<_> = labels.pairs().iter().filter(|(known, _)| &**known != name).cloned().collect();
    if !value.is_empty() {
        pairs.push((Arc::from(name), Arc::from(value)));
    }
    Labels::from_pairs(pairs)
}

/// Native histograms each for itself, classic buckets grouped by all labels but `le`.
fn histogram_quantile(q: &[f64], columns: Vec<Column>) -> Vec<Column> {
    let mut out: Vec<Column> = Vec::new();
    let mut classic: Vec<(Labels, Vec<(f64, Column)>)> = Vec::new();
    for column in columns {
        let bound =
            column.labels.get("le").and_then(|le| if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() });
        match bound {
            Some(bound) => {
                let labels = without_name(&with_label(&column.labels, "le", ""));
                match classic.iter_mut().find(|(known, _)| *known == labels) {
                    Some((_, buckets)) => buckets.push((bound, column)),
                    None => classic.push((labels, vec![(bound, column)])),
                }
            }
            None => {
                let of = |(sample, q): (&Sample, &f64)| {
                    Sample::from(sample.histogram().map(|h| quantile::of_histogram(*q, &h.histogram)))
                };
                let samples = column.samples.iter().zip(q).map(of).collect();
                out.push(Column { labels: column.labels, samples }.nameless());
            }
        }
    }
    for (labels, mut buckets) in classic {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = |(step, q): (usize, &f64)| {
            let counts: Vec<(f64, f64)> = buckets
                .iter()
                .filter_map(|(bound, column)| Some((*bound, column.samples.get(step)?.float()?)))
                .collect();
            Sample::from((!counts.is_empty()).then(|| quantile::of_classic(*q, &counts)))
        };
        out.push(Column { labels, samples: q.iter().enumerate().map(at).collect() });
    }
    out
}
