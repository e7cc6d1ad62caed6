//! Binary operators: arithmetic, comparison, sets, and how vectors are matched.

use std::sync::Arc;

use hashbrown::HashMap;
use promql_parser::parser::{LabelModifier, VectorMatchCardinality};

use super::QueryError;
use super::aggregate::{add_histograms, left_after, picked};
use super::compile::Matching;
use super::notes::Notes;
use super::value::{Column, HistogramSample, Sample, Value, without_name};
use crate::model::Labels;

/// An operator, and where it notes what it cannot do.
type Op<'a> = (&'a str, &'a Notes);

/// Applies `op`.
pub(super) fn apply((op, notes): Op<'_>, left: Value, right: Value, matching: &Matching) -> Result<Value, QueryError> {
    match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => {
            let number = |(a, b): (f64, f64)| {
                arithmetic(op, a, b).or_else(|| compare(op, a, b).map(|yes| f64::from(u8::from(yes))))
            };
            a.into_iter()
                .zip(b)
                .map(number)
                .collect::<Option<Vec<_>>>()
                .map(Value::Scalar)
                .ok_or_else(|| unsupported(op))
        }
        (Value::Vector(columns), Value::Scalar(numbers)) => {
            with_numbers((op, notes), columns, &numbers, matching.as_bool, false).map(Value::Vector)
        }
        (Value::Scalar(numbers), Value::Vector(columns)) => {
            with_numbers((op, notes), columns, &numbers, matching.as_bool, true).map(Value::Vector)
        }
        (Value::Vector(left), Value::Vector(right)) => match op {
            "and" | "or" | "unless" => Ok(Value::Vector(set(op, left, right, matching))),
            _ => vectors((op, notes), left, right, matching).map(Value::Vector),
        },
        _ => Err(QueryError::Invalid(format!("operator {op} does not take text"))),
    }
}

/// Each sample times the number of its step.
pub(super) fn times(columns: Vec<Column>, numbers: &[f64], notes: &Notes) -> Result<Vec<Column>, QueryError> {
    with_numbers(("*", notes), columns, numbers, false, false)
}

fn unsupported(op: &str) -> QueryError {
    QueryError::Unsupported(format!("operator {op}"))
}

fn arithmetic(op: &str, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "%" => a % b,
        "^" => a.powf(b),
        "atan2" => a.atan2(b),
        _ => return None,
    })
}

fn compare(op: &str, a: f64, b: f64) -> Option<bool> {
    Some(match op {
        "==" => a == b,
        "!=" => a != b,
        ">" => a > b,
        "<" => a < b,
        ">=" => a >= b,
        "<=" => a <= b,
        _ => return None,
    })
}

/// The sample of `a op b`; a comparison keeps `kept` or, as a boolean, tells 0 or 1.
fn sample((op, notes): Op<'_>, a: &Sample, b: &Sample, as_bool: bool, kept: &Sample) -> Result<Sample, QueryError> {
    match (a, b) {
        (Sample::None, _) | (_, Sample::None) => Ok(Sample::None),
        (Sample::Float(a), Sample::Float(b)) => {
            if let Some(value) = arithmetic(op, *a, *b) {
                return Ok(Sample::Float(value));
            }
            let yes = compare(op, *a, *b).ok_or_else(|| unsupported(op))?;
            Ok(match (as_bool, yes) {
                (true, _) => Sample::Float(f64::from(u8::from(yes))),
                (false, true) => kept.clone(),
                (false, false) => Sample::None,
            })
        }
        (Sample::Histogram(h), Sample::Float(n)) if op == "*" => Ok(scaled(h, *n)),
        (Sample::Float(n), Sample::Histogram(h)) if op == "*" => Ok(scaled(h, *n)),
        (Sample::Histogram(h), Sample::Float(n)) if op == "/" => Ok(scaled(h, 1.0 / n)),
        (Sample::Histogram(a), Sample::Histogram(b)) if op == "+" => {
            Ok(add_histograms(&[a, b], 1.0, notes).map_or(Sample::None, Sample::Histogram))
        }
        (Sample::Histogram(a), Sample::Histogram(b)) if op == "-" => Ok(less(a, b, notes)),
        (Sample::Histogram(x), Sample::Histogram(y)) if matches!(op, "==" | "!=") => {
            let yes = (x == y) == (op == "==");
            Ok(match (as_bool, yes) {
                (true, _) => Sample::Float(f64::from(u8::from(yes))),
                (false, true) => kept.clone(),
                (false, false) => Sample::None,
            })
        }
        _ => {
            notes.info(format!("incompatible sample types encountered for binary operator {op:?}: left out"));
            Ok(Sample::None)
        }
    }
}

/// What a total has more than an earlier one. Counts are never negative here.
fn less(a: &HistogramSample, b: &HistogramSample, notes: &Notes) -> Sample {
    let difference = if a.factor == b.factor { a.histogram.since(&b.histogram) } else { None };
    let Some(histogram) = difference else {
        notes.warn("a histogram can only be subtracted from one that holds all its counts: left out");
        return Sample::None;
    };
    Sample::Histogram(HistogramSample { histogram: Arc::new(histogram), factor: a.factor })
}

fn scaled(histogram: &HistogramSample, by: f64) -> Sample {
    Sample::Histogram(HistogramSample { histogram: Arc::clone(&histogram.histogram), factor: histogram.factor * by })
}

fn is_comparison(op: &str) -> bool {
    compare(op, 0.0, 0.0).is_some()
}

fn with_numbers(
    (op, notes): Op<'_>,
    columns: Vec<Column>,
    numbers: &[f64],
    as_bool: bool,
    number_first: bool,
) -> Result<Vec<Column>, QueryError> {
    let keeps_name = is_comparison(op) && !as_bool;
    columns
        .into_iter()
        .map(|column| {
            let samples = column.samples.iter().zip(numbers).map(|(own, number)| {
                let number = Sample::Float(*number);
                let (a, b) = if number_first { (&number, own) } else { (own, &number) };
                sample((op, notes), a, b, as_bool, own)
            });
            let out = Column { labels: column.labels.clone(), samples: samples.collect::<Result<_, _>>()? };
            Ok(if keeps_name { out } else { out.nameless() })
        })
        .collect()
}

/// The labels by which two vectors are matched.
fn key(labels: &Labels, matching: Option<&LabelModifier>) -> Labels {
    match matching {
        None => without_name(labels),
        Some(LabelModifier::Include(names)) => picked(labels, &names.labels),
        Some(LabelModifier::Exclude(names)) => left_after(labels, &names.labels, false),
    }
}

fn set(op: &str, left: Vec<Column>, right: Vec<Column>, matching: &Matching) -> Vec<Column> {
    let modifier = matching.labels.as_ref();
    let presence = |columns: &[Column]| {
        let mut by_key: HashMap<Labels, Vec<bool>> = HashMap::new();
        for column in columns {
            let present =
                by_key.entry(key(&column.labels, modifier)).or_insert_with(|| vec![false; column.samples.len()]);
            for (known, sample) in present.iter_mut().zip(&column.samples) {
                *known |= sample.is_some();
            }
        }
        by_key
    };
    let masked = |columns: Vec<Column>, mask: &HashMap<Labels, Vec<bool>>, keep_where: bool| {
        let keep = move |mut column: Column| {
            let present = mask.get(&key(&column.labels, modifier));
            for (step, sample) in column.samples.iter_mut().enumerate() {
                let is_there = present.and_then(|p| p.get(step)).copied().unwrap_or(false);
                if is_there != keep_where {
                    *sample = Sample::None;
                }
            }
            column.samples.iter().any(Sample::is_some).then_some(column)
        };
        columns.into_iter().filter_map(keep).collect::<Vec<_>>()
    };
    match op {
        "and" => masked(left, &presence(&right), true),
        "unless" => masked(left, &presence(&right), false),
        _ => {
            let rest = masked(right, &presence(&left), false);
            join_same(left, rest)
        }
    }
}

/// Columns of one label set, complementary in time, become one.
fn join_same(mut left: Vec<Column>, right: Vec<Column>) -> Vec<Column> {
    for column in right {
        match left.iter_mut().find(|known| known.labels == column.labels) {
            Some(known) => {
                for (known, sample) in known.samples.iter_mut().zip(column.samples) {
                    if !known.is_some() {
                        *known = sample;
                    }
                }
            }
            None => left.push(column),
        }
    }
    left
}

fn vectors(
    (op, notes): Op<'_>,
    left: Vec<Column>,
    right: Vec<Column>,
    matching: &Matching,
) -> Result<Vec<Column>, QueryError> {
    let modifier = matching.labels.as_ref();
    let (many, one, many_is_left, extra) = match &matching.cardinality {
        VectorMatchCardinality::OneToMany(extra) => (right, left, false, Some(extra)),
        VectorMatchCardinality::ManyToOne(extra) => (left, right, true, Some(extra)),
        _ => (left, right, true, None),
    };
    let mut by_key: HashMap<Labels, Vec<Column>> = HashMap::new();
    for column in one {
        by_key.entry(key(&column.labels, modifier)).or_default().push(column);
    }
    if let Some(twins) = by_key.values().find(|partners| meet(partners)) {
        return Err(ambiguous(op, twins.first()));
    }
    let mut out = Results::default();
    for column in &many {
        let Some(partners) = by_key.get(&key(&column.labels, modifier)) else { continue };
        for partner in partners {
            let pairs = column.samples.iter().zip(&partner.samples).map(|(mine, theirs)| {
                let (a, b) = if many_is_left { (mine, theirs) } else { (theirs, mine) };
                sample((op, notes), a, b, matching.as_bool, a)
            });
            let samples: Vec<Sample> = pairs.collect::<Result<_, _>>()?;
            let labels = match extra {
                Some(extra) => with_extra(&column.labels, &partner.labels, (&extra.labels, keeps_name(op, matching))),
                None => result_labels(op, &column.labels, matching),
            };
            out.add(Column { labels, samples }, op)?;
        }
    }
    Ok(out.columns)
}

/// True when two of `partners` have a sample at the same step: which of them is meant cannot be told.
fn meet(partners: &[Column]) -> bool {
    let steps = partners.first().map_or(0, |column| column.samples.len());
    let present =
        |step: usize| partners.iter().filter(|column| column.samples.get(step).is_some_and(Sample::is_some)).count();
    partners.len() > 1 && (0..steps).any(|step| present(step) > 1)
}

fn ambiguous(op: &str, column: Option<&Column>) -> QueryError {
    let labels = column.map(|column| column.labels.clone()).unwrap_or_default();
    QueryError::Execution(format!(
        "several series match {labels:?} for operator {op}: use on, ignoring, group_left or group_right"
    ))
}

/// A filter leaves the metric what it is.
fn keeps_name(op: &str, matching: &Matching) -> bool {
    is_comparison(op) && !matching.as_bool
}

/// Results by label set.
#[derive(Default)]
struct Results {
    columns: Vec<Column>,
    by_labels: HashMap<Labels, usize>,
}

impl Results {
    /// Two results with one label set at the same step mean that the matching was ambiguous.
    fn add(&mut self, column: Column, op: &str) -> Result<(), QueryError> {
        let known = self.by_labels.get(&column.labels).and_then(|at| self.columns.get_mut(*at));
        let Some(known) = known else {
            self.by_labels.insert(column.labels.clone(), self.columns.len());
            self.columns.push(column);
            return Ok(());
        };
        if known.samples.iter().zip(&column.samples).any(|(a, b)| a.is_some() && b.is_some()) {
            return Err(ambiguous(op, Some(&column)));
        }
        for (known, sample) in known.samples.iter_mut().zip(column.samples) {
            if sample.is_some() {
                *known = sample;
            }
        }
        Ok(())
    }
}

fn result_labels(op: &str, labels: &Labels, matching: &Matching) -> Labels {
    match &matching.labels {
        Some(LabelModifier::Include(names)) => picked(labels, &names.labels),
        Some(LabelModifier::Exclude(names)) => left_after(labels, &names.labels, keeps_name(op, matching)),
        None => left_after(labels, &[], keeps_name(op, matching)),
    }
}

fn with_extra(many: &Labels, one: &Labels, (extra, keep_name): (&[String], bool)) -> Labels {
    let kept = left_after(many, extra, keep_name);
    let pairs = picked(one, extra).pairs().iter().chain(kept.pairs()).cloned().collect();
    Labels::from_pairs(pairs)
}
