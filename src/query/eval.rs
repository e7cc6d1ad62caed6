//! Evaluation of a compiled query over fetched series: all steps of the range at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rayon::prelude::*;

use super::calls::{Call, Function};
use super::compile::{Node, Plan, Selected};
use super::fold::Folding;
use super::notes::Notes;
use super::samples::{self, Grid, Over, Source, covered};
use super::select::Select;
use super::value::{Answer, AnswerValue, Column, Sample, Value, without_name};
use super::{QueryError, aggregate, binary};
use crate::model::{Labels, SeriesWindows, TimeMs};

/// Most samples of an answer or of any value on the way.
const SAMPLES_MAX: usize = 20_000_000;

impl Plan {
    /// Evaluates over `series`, one list for each of [`Plan::selects`].
    ///
    /// # Errors
    /// When operands do not fit, or a limit is passed.
    pub fn evaluate(&self, series: &[Vec<SeriesWindows>]) -> Result<Answer, QueryError> {
        let never = AtomicBool::new(false);
        self.evaluate_until(series, &never)?.ok_or(QueryError::Deadline(Duration::ZERO))
    }

    /// The same, without an answer once `stop` is raised.
    ///
    /// # Errors
    /// When operands do not fit, or a limit is passed.
    pub fn evaluate_until(
        &self,
        series: &[impl AsRef<[SeriesWindows]>],
        stop: &AtomicBool,
    ) -> Result<Option<Answer>, QueryError> {
        let (grid, notes) = (self.params.grid()?, Notes::default());
        let series: Vec<&[SeriesWindows]> = series.iter().map(AsRef::as_ref).collect();
        let eval = Eval { grid, selects: &self.selects, series: &series, notes: &notes, stop };
        let value = match eval.node(&self.root) {
            Ok(Value::Scalar(numbers)) => AnswerValue::Scalar(numbers),
            Ok(Value::Text(text)) => AnswerValue::Text(text),
            Ok(Value::Vector(mut columns)) => {
                columns.retain(|column| column.samples.iter().any(Sample::is_some));
                if grid.steps > 1 {
                    // Ranges come in the order of their labels, however they were found.
                    columns.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                AnswerValue::Vector(columns)
            }
            Err(QueryError::Deadline(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (warnings, infos) = notes.into_lists();
        let times = (0..grid.steps).map(|step| grid.time(step)).collect();
        Ok(Some(Answer { times, value, warnings, infos }))
    }
}

/// Samples that one core makes before it hands them on.
const TOGETHER: usize = 32_768;

/// Takes columns one after another.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Column) -> Result<(), QueryError>;

/// An evaluation at the steps of `grid`.
#[derive(Clone, Copy)]
pub(super) struct Eval<'a> {
    pub(super) grid: Grid,
    pub(super) selects: &'a [Select],
    pub(super) series: &'a [&'a [SeriesWindows]],
    pub(super) notes: &'a Notes,
    pub(super) stop: &'a AtomicBool,
}

pub(super) fn expected(call: Call, what: &str) -> QueryError {
    QueryError::Invalid(format!("{}() takes {what}", call.name))
}

impl<'a> Eval<'a> {
    pub(super) fn node(&self, node: &Node) -> Result<Value, QueryError> {
        self.go_on()?;
        match node {
            Node::Number(number) => Ok(Value::Scalar(vec![*number; self.grid.steps])),
            Node::Text(text) => Ok(Value::Text(text.clone())),
            Node::Series(selected) if selected.range == 0 => self.selected(selected, samples::instant),
            Node::Series(_) | Node::Subquery(_) => {
                Err(QueryError::Invalid("a range vector must be the argument of a function".to_owned()))
            }
            Node::Negate(of) => match self.node(of)? {
                Value::Scalar(numbers) => Ok(Value::Scalar(numbers.into_iter().map(|n| -n).collect())),
                Value::Vector(columns) => {
                    let minus_one = vec![-1.0; self.grid.steps];
                    binary::times(columns, &minus_one, self.notes).map(Value::Vector)
                }
                Value::Text(_) => Err(QueryError::Invalid("text cannot be negated".to_owned())),
            },
            Node::Call(call, args) => self.call(*call, args),
            Node::Aggregate { op, of, by, .. } if Folding::can(op) => {
                let mut folding = Folding::new(op, by.as_ref(), self.grid.steps);
                self.each(of, &mut |column| {
                    folding.add(column);
                    Ok(())
                })?;
                Ok(Value::Vector(folding.finish(self.notes)))
            }
            Node::Aggregate { op, of, parameter, by } => {
                let parameter = parameter.as_ref().map(|parameter| self.node(parameter)).transpose()?;
                let Value::Vector(columns) = self.node(of)? else {
                    return Err(QueryError::Invalid(format!("{op}() takes a vector")));
                };
                aggregate::aggregate(op, columns, parameter.as_ref(), by.as_ref(), self.notes).map(Value::Vector)
            }
            Node::Binary { op, left, right, matching } => {
                binary::apply((op, self.notes), self.node(left)?, self.node(right)?, matching)
            }
        }
    }

    /// Stops once it is too late.
    fn go_on(&self) -> Result<(), QueryError> {
        // Whoever raised the flag knows the deadline.
        if self.stop.load(Ordering::Relaxed) { Err(QueryError::Deadline(Duration::ZERO)) } else { Ok(()) }
    }

    /// Hands the columns of a vector to `sink` one after another; those of selectors and of rates are made one by one.
    fn each(&self, node: &Node, sink: Sink<'_>) -> Result<(), QueryError> {
        match node {
            Node::Series(selected) if selected.range == 0 => self.each_selected(selected, samples::instant, sink),
            Node::Call(call @ Call { function: Function::Increase { per_second }, .. }, args) => {
                self.each_increase((*call, *per_second), args, sink)
            }
            _ => match self.node(node)? {
                Value::Vector(columns) => columns.into_iter().try_for_each(sink),
                _ => Err(QueryError::Invalid("an aggregation takes a vector".to_owned())),
            },
        }
    }

    /// Columns of an instant selector.
    pub(super) fn selected(
        &self,
        selected: &Selected,
        samples: impl Fn(&SeriesWindows, &Grid, TimeMs) -> Vec<Sample> + Sync,
    ) -> Result<Value, QueryError> {
        self.collect(|sink| self.each_selected(selected, samples, sink)).map(Value::Vector)
    }

    fn each_selected(
        &self,
        selected: &Selected,
        samples: impl Fn(&SeriesWindows, &Grid, TimeMs) -> Vec<Sample> + Sync,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let grid = self.grid_at(selected.at);
        let of = |series: &SeriesWindows| {
            let column = Column { labels: series.labels.clone(), samples: samples(series, &grid, selected.offset) };
            self.spread(column, selected.at)
        };
        self.each_column(self.series_of(selected), of, sink)
    }

    fn series_of(&self, selected: &Selected) -> &'a [SeriesWindows] {
        self.series.get(selected.select).copied().unwrap_or_default()
    }

    /// Hands the column of each of `of` to `sink`, in their order; made on all cores when there are many.
    fn each_column<T: Sync>(
        &self,
        of: &[T],
        column: impl Fn(&T) -> Column + Sync,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut take = |column: Column| {
            let is_any = column.samples.iter().any(Sample::is_some);
            if is_any { sink(column) } else { Ok(()) }
        };
        let many = (TOGETHER / self.grid.steps.max(1)).max(1);
        if of.len() <= many {
            return of.iter().try_for_each(|one| self.go_on().and_then(|()| take(column(one))));
        }
        for of in of.chunks(many * rayon::current_num_threads()) {
            self.go_on()?;
            let columns: Vec<Vec<Column>> = of.par_chunks(many).map(|of| of.iter().map(&column).collect()).collect();
            columns.into_iter().flatten().try_for_each(&mut take)?;
        }
        Ok(())
    }

    /// All columns that `each` hands out.
    pub(super) fn collect(
        &self,
        each: impl FnOnce(Sink<'_>) -> Result<(), QueryError>,
    ) -> Result<Vec<Column>, QueryError> {
        let mut out: Vec<Column> = Vec::new();
        each(&mut |column| {
            let total = (out.len() + 1).saturating_mul(self.grid.steps);
            if total > SAMPLES_MAX {
                let text = format!("{total} samples > limit of {SAMPLES_MAX}: narrow the selector or the range");
                return Err(QueryError::Limit(text));
            }
            out.push(column);
            Ok(())
        })?;
        Ok(out)
    }

    /// The steps, or the only one that `@` leaves.
    fn grid_at(&self, at: Option<TimeMs>) -> Grid {
        at.map_or(self.grid, |at| self.grid.only(at))
    }

    /// What `@` fixes is the same at every step.
    fn spread(&self, mut column: Column, at: Option<TimeMs>) -> Column {
        if at.is_some() {
            let only = column.samples.pop().unwrap_or(Sample::None);
            column.samples = vec![only; self.grid.steps];
        }
        column
    }

    /// Columns of a function over a range selector or a subquery.
    pub(super) fn over_range(
        &self,
        call: Call,
        arg: Option<&Node>,
        samples: impl Fn(Source<'_>, &Grid, Over) -> Vec<Sample> + Sync,
    ) -> Result<Vec<Column>, QueryError> {
        self.collect(|sink| self.each_over_range(call, arg, samples, sink))
    }

    /// The same, one after another.
    pub(super) fn each_over_range(
        &self,
        call: Call,
        arg: Option<&Node>,
        samples: impl Fn(Source<'_>, &Grid, Over) -> Vec<Sample> + Sync,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let named = |labels: &Labels| if call.keeps_name() { labels.clone() } else { without_name(labels) };
        match arg {
            Some(Node::Series(selected)) if selected.range > 0 => {
                self.note_widened(selected.range);
                let (grid, at) = (self.grid_at(selected.at), selected.at);
                let over = Over { range: selected.range, offset: selected.offset, per_second: false, of_points: false };
                let column = |series: &SeriesWindows| {
                    let samples = samples(Source::Series(series), &grid, over);
                    self.spread(Column { labels: named(&series.labels), samples }, at)
                };
                self.each_column(self.series_of(selected), column, sink)
            }
            Some(Node::Subquery(subquery)) => {
                let (grid, at) = (self.grid_at(subquery.at), subquery.at);
                let over = Over { range: subquery.range, offset: subquery.offset, per_second: false, of_points: true };
                let inner = Eval { grid: subquery.grid, ..*self };
                let Value::Vector(columns) = inner.node(&subquery.of)? else {
                    return Err(QueryError::Invalid("a subquery takes a vector".to_owned()));
                };
                let column = |column: &Column| {
                    let points = self.points(call, column, &subquery.grid);
                    let samples = samples(Source::Points(&points), &grid, over);
                    self.spread(Column { labels: named(&column.labels), samples }, at)
                };
                self.each_column(&columns, column, sink)
            }
            _ => Err(expected(call, "a range vector")),
        }
    }

    /// The numbers of a column, with their times.
    fn points(&self, call: Call, column: &Column, grid: &Grid) -> Vec<(TimeMs, f64)> {
        if column.samples.iter().any(|sample| sample.histogram().is_some()) {
            self.notes.warn(format!("histograms of a subquery are left out of {}()", call.name));
        }
        let steps = column.samples.iter().enumerate();
        steps.filter_map(|(step, sample)| Some((grid.time(step), sample.float()?))).collect()
    }

    fn note_widened(&self, range: TimeMs) {
        let (width, covered) = (self.grid.width, covered(range, self.grid.width));
        if covered != range {
            let of = |ms: TimeMs| humantime::format_duration(Duration::from_millis(ms.unsigned_abs())).to_string();
            let (range, covered, width) = (of(range), of(covered), of(width.millis()));
            self.notes.info(format!("a range of {range} was read as {covered}: windows are {width} wide here"));
        }
    }
}
