//! Prometheus-style test scripts: samples are loaded, queries asked, answers compared. The same engine evaluates them.
//!
//! A sample is a window of one second that counts from its start, so that it is seen at its own time and ranges hold
//! exactly the samples within them. Native histograms are read where their counts are whole.
//!
//! Source: Prometheus, `promql/promqltest`, "The PromQL test scripting language".

mod native;
mod parse;

use std::sync::Arc;

use hashbrown::HashMap;

use self::parse::{Case, Expected, Statement, Values, Written, statements};
use super::compile::{Increases, Params, Plan};
use super::limits::{Budget, Limits};
use super::value::{Answer, AnswerValue, Column, Sample};
use super::{QueryError, Select};
use crate::model::{
    Cell, Counter, Gauge, HistogramRuns, Labels, Metric, MetricKind, Run, SeriesId, SeriesWindows, Temporality, TimeMs,
    Width,
};

/// Relative difference that two equal numbers may have.
const EPSILON: f64 = 1e-6;
/// Long before every sample: all windows are open and count from their start.
const BEFORE_ALL: TimeMs = TimeMs::MIN / 4;

/// What became of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases answered as expected.
    pub passed: usize,
    /// What went wrong, a line a case: number of the line, query, expected and told.
    pub failures: Vec<String>,
}

/// Runs a whole script, with increases told as `increases` says until the script says otherwise (`increase exact`, a
/// statement of ours). What cannot be read is a failure like any other.
#[must_use]
pub fn run_script(text: &str, mut increases: Increases) -> Report {
    let (mut report, mut data) = (Report::default(), Vec::new());
    for (line, statement) in statements(text) {
        let result = match statement {
            Err(error) => Err(error),
            Ok(Statement::Clear) => {
                data.clear();
                continue;
            }
            Ok(Statement::Increase(told)) => {
                increases = told;
                continue;
            }
            Ok(Statement::Load(series)) => {
                let loaded = series.into_iter().try_for_each(|(labels, samples)| load(&mut data, &labels, &samples));
                match loaded {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                }
            }
            Ok(Statement::Eval(case)) => {
                check(&data, &case, increases).map_err(|error| format!("{}: {error}", case.query))
            }
        };
        match result {
            Ok(()) => report.passed += 1,
            Err(error) => report.failures.push(format!("line {line}: {error}")),
        }
    }
    report
}

/// Adds the samples of one series; `None` marks it stale.
fn load(data: &mut Vec<SeriesWindows>, labels: &Labels, samples: &[(TimeMs, Option<Written>)]) -> Result<(), String> {
    let name = labels.get("__name__").unwrap_or_default();
    let counts = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
    let cell = |(time, value): &(TimeMs, Option<Written>)| {
        let cell = match value {
            None => Cell::Stale,
            Some(Written::Number(value)) if counts => {
                Cell::Counter(Counter::one(Run { start: 0, time: *time, value: *value }))
            }
            Some(Written::Number(value)) => Cell::Gauge(Gauge::one(*time, *value)),
            Some(Written::Histogram(native)) => {
                let run = Run { start: 0, time: *time, value: native.histogram()? };
                Cell::HistogramRuns(Box::new(HistogramRuns::one(run)))
            }
        };
        Ok((u32::try_from(time / 1000).unwrap_or(u32::MAX), cell))
    };
    let metric = Metric { name: name.into(), unit: "".into(), kind: MetricKind::Gauge, temporality: Temporality::None };
    let labels = Labels::from_pairs(labels.pairs().iter().filter(|(name, _)| &**name != "__name__").cloned().collect());
    let id = SeriesId::of(metric.id(), &labels);
    let at = data.iter().position(|known| known.id == id).unwrap_or_else(|| {
        data.push(SeriesWindows { id, metric: Arc::new(metric), labels, windows: Vec::new(), totals: Vec::new() });
        data.len() - 1
    });
    if let Some(series) = data.get_mut(at) {
        let windows = samples.iter().map(cell).collect::<Result<Vec<_>, String>>()?;
        series.windows.extend(windows);
        series.windows.sort_by_key(|(window, _)| *window);
    }
    Ok(())
}

/// What a plan's selectors find in `data`, as the engine would present it.
///
/// # Errors
/// When a limit is passed.
pub(super) fn fetch(plan: &Plan, data: &[SeriesWindows]) -> Result<Vec<Vec<SeriesWindows>>, QueryError> {
    let mut budget = Budget::new(&Limits::default());
    let mut of_select = |select: &Select| {
        let mut out = Vec::new();
        for one in data.iter().filter(|one| select.matches(&one.labels)) {
            let Some(meant) = select.view_of(&one.metric) else { continue };
            out.extend(select.present(one.clone(), &meant, &mut budget)?);
        }
        Ok(out)
    };
    plan.selects().iter().map(&mut of_select).collect()
}

fn ask(data: &[SeriesWindows], case: &Case, increases: Increases) -> Result<Answer, QueryError> {
    let (start, end, step) = case.span;
    let params = Params::range((start, end), step, BEFORE_ALL, Width::SECOND);
    let plan = Plan::parse(&case.query, Params { increases, ..params }, None)?;
    plan.evaluate(&fetch(&plan, data)?)
}

fn check(data: &[SeriesWindows], case: &Case, increases: Increases) -> Result<(), String> {
    let answer = match (ask(data, case, increases), &case.fails) {
        (Err(error), Some(text)) if error.to_string().contains(text.as_str()) => return Ok(()),
        (Err(error), Some(text)) => return Err(format!("failed with {error:?}, not {text:?}")),
        (Err(error), None) => return Err(error.to_string()),
        (Ok(_), Some(_)) => return Err("answered, but should have failed".to_owned()),
        (Ok(answer), None) => answer,
    };
    for (wanted, notes, what) in [(case.warns, &answer.warnings, "warning"), (case.infos, &answer.infos, "info")] {
        if let Some(wanted) = wanted.filter(|wanted| *wanted == notes.is_empty()) {
            return Err(format!("{} {what}: {notes:?}", if wanted { "without" } else { "with" }));
        }
    }
    match (&case.expected, &answer.value) {
        (Expected::Scalar(expected), AnswerValue::Scalar(told)) => {
            same(&[Some(Written::Number(*expected))], &samples_of(told))
        }
        (Expected::Text(expected), AnswerValue::Text(told)) if expected == told => Ok(()),
        (Expected::Vector(expected), AnswerValue::Vector(told)) => same_vectors(expected, told, case.ordered),
        (Expected::Vector(expected), AnswerValue::Scalar(told)) if case.is_range() => {
            let only = expected.first().filter(|(labels, _)| labels.is_empty()).ok_or("a scalar was told")?;
            same(&only.1, &samples_of(told))
        }
        (_, told) => Err(format!("another type was told: {told:?}")),
    }
}

fn samples_of(numbers: &[f64]) -> Vec<Sample> {
    numbers.iter().map(|number| Sample::Float(*number)).collect()
}

fn same_vectors(expected: &[(Labels, Values)], told: &[Column], ordered: bool) -> Result<(), String> {
    if expected.len() != told.len() {
        let labels: Vec<&Labels> = told.iter().map(|column| &column.labels).collect();
        return Err(format!("{} series are expected, told are {}: {labels:?}", expected.len(), told.len()));
    }
    let by_labels: HashMap<&Labels, &Column> = told.iter().map(|column| (&column.labels, column)).collect();
    for (i, (labels, values)) in expected.iter().enumerate() {
        let at_place = told.get(i).filter(|column| !ordered || column.labels == *labels);
        let column =
            at_place.and(by_labels.get(labels)).ok_or_else(|| format!("{labels:?} is not told at its place"))?;
        same(values, &column.samples).map_err(|error| format!("{labels:?}: {error}"))?;
    }
    Ok(())
}

/// Steps that are left out at the end hold nothing.
fn same(expected: &[Option<Written>], told: &[Sample]) -> Result<(), String> {
    let close = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= EPSILON * a.abs().max(b.abs()).min(f64::MAX)
    };
    let steps = expected.len().max(told.len());
    let equal = (0..steps).all(|step| {
        match (expected.get(step).and_then(Option::as_ref), told.get(step).unwrap_or(&Sample::None)) {
            (Some(Written::Number(a)), Sample::Float(b)) => close(*a, *b),
            (Some(Written::Histogram(a)), Sample::Histogram(b)) => a.is(b),
            (None, Sample::None) => true,
            _ => false,
        }
    });
    if equal { Ok(()) } else { Err(format!("{expected:?} is expected, told is {told:?}")) }
}
