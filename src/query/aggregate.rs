//! Aggregation over series: sum, avg, min, max, count, topk and the rest.

use std::sync::Arc;

use hashbrown::HashMap;
use promql_parser::parser::LabelModifier;

use super::QueryError;
use super::notes::Notes;
use super::quantile;
use super::value::{Column, HistogramSample, Sample, Value};
use crate::model::{Buckets, Histogram, Labels};

/// Those that are evaluated here.
pub(super) const AGGREGATIONS: &[&str] =
    &["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile", "topk", "bottomk", "count_values"];

/// How much finer than the finest of them histograms of several factors are counted while they are added.
const FINER: f64 = 65_536.0;

/// The labels called `names`, by the names asked for.
pub(super) fn picked(labels: &Labels, names: &[String]) -> Labels {
    let one = |name: &String| Some((Arc::from(name.as_str()), Arc::from(labels.get_canonical(name)?)));
    Labels::from_pairs(names.iter().filter_map(one).collect())
}

/// The labels but those called `names`, and but the metric's name unless that is kept.
pub(super) fn left_after(labels: &Labels, names: &[String], keep_name: bool) -> Labels {
    let gone: Vec<&str> = names.iter().filter_map(|name| Some(labels.find_canonical(name)?.0)).collect();
    let kept = |name: &str| (keep_name || name != "__name__") && !gone.contains(&name);
    Labels::from_pairs(labels.pairs().iter().filter(|(name, _)| kept(name)).cloned().collect())
}

/// The labels by which `labels` are grouped.
pub(super) fn group_labels(labels: &Labels, by: Option<&LabelModifier>) -> Labels {
    match by {
        None => Labels::default(),
        Some(LabelModifier::Include(names)) => picked(labels, &names.labels),
        Some(LabelModifier::Exclude(names)) => left_after(labels, &names.labels, false),
    }
}

/// Aggregates `columns` by `op`.
pub(super) fn aggregate(
    op: &str,
    columns: Vec<Column>,
    parameter: Option<&Value>,
    by: Option<&LabelModifier>,
    notes: &Notes,
) -> Result<Vec<Column>, QueryError> {
    let mut order: Vec<Labels> = Vec::new();
    let mut groups: HashMap<Labels, Vec<Column>> = HashMap::new();
    for column in columns {
        let group = group_labels(&column.labels, by);
        let members = groups.entry(group.clone()).or_default();
        if members.is_empty() {
            order.push(group);
        }
        members.push(column);
    }
    let mut out = Vec::new();
    for labels in order {
        let members = groups.remove(&labels).unwrap_or_default();
        match op {
            "topk" | "bottomk" => out.extend(choose(members, parameter, op == "topk")?),
            "count_values" => out.extend(count_values(&labels, &members, parameter)?),
            _ => out.push(fold((op, notes), labels, &members, parameter)?),
        }
    }
    Ok(out)
}

fn fold(
    (op, notes): (&str, &Notes),
    labels: Labels,
    members: &[Column],
    parameter: Option<&Value>,
) -> Result<Column, QueryError> {
    let steps = members.first().map_or(0, |column| column.samples.len());
    let samples = (0..steps)
        .map(|step| {
            let present = members.iter().filter_map(|column| column.samples.get(step)).filter(|s| s.is_some());
            let floats: Vec<f64> = present.clone().filter_map(Sample::float).collect();
            let histograms: Vec<&HistogramSample> = present.filter_map(Sample::histogram).collect();
            if !histograms.is_empty() {
                notes.info(format!("ignored histograms in {op} aggregation"));
            }
            fold_floats(op, floats, || number(parameter, step))
        })
        .collect::<Result<_, _>>()?;
    if op == "quantile"
        && let Some(bad) = (0..steps).find_map(|step| number(parameter, step).ok().filter(|q| !(0.0..=1.0).contains(q)))
    {
        notes.warn(format!("quantile value should be between 0 and 1, got {bad}"));
    }
    Ok(Column { labels, samples })
}

/// The fold of a step that has histograms, and `floats` numbers beside them.
pub(super) fn fold_histograms((op, notes): (&str, &Notes), histograms: &[&HistogramSample], floats: usize) -> Sample {
    let n = histograms.len() + floats;
    match op {
        "sum" | "avg" if floats > 0 => {
            notes.warn(format!("{op} met a mix of histograms and floats and left the group out"));
            Sample::None
        }
        "sum" => add_histograms(histograms, 1.0, notes).map_or(Sample::None, Sample::Histogram),
        "avg" => add_histograms(histograms, n as f64, notes).map_or(Sample::None, Sample::Histogram),
        "count" => Sample::Float(n as f64),
        "group" => Sample::Float(1.0),
        _ => {
            notes.info(format!("ignored histograms in {op} aggregation"));
            Sample::None
        }
    }
}

fn fold_floats(
    op: &str,
    mut floats: Vec<f64>,
    parameter: impl Fn() -> Result<f64, QueryError>,
) -> Result<Sample, QueryError> {
    if floats.is_empty() {
        return Ok(Sample::None);
    }
    let count = floats.len() as f64;
    let variance = || {
        let mean = floats.iter().sum::<f64>() / count;
        floats.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count
    };
    Ok(Sample::Float(match op {
        "stddev" => variance().sqrt(),
        "stdvar" => variance(),
        "quantile" => quantile::of_values(parameter()?, &mut floats),
        other => return Err(QueryError::Unsupported(format!("aggregation {other}"))),
    }))
}

/// The sum of histograms over `divisor`; none when their buckets cannot be brought together, which is noted.
pub(super) fn add_histograms(histograms: &[&HistogramSample], divisor: f64, notes: &Notes) -> Option<HistogramSample> {
    let (first, rest) = histograms.split_first()?;
    let is_explicit = |h: &Histogram| matches!(h.buckets, Buckets::Explicit { .. });
    if rest.iter().any(|other| is_explicit(&other.histogram) != is_explicit(&first.histogram)) {
        notes.warn("a mix of histograms with exponential and explicit buckets was left out");
        return None;
    }
    if rest.iter().any(|other| has_other_bounds(&first.histogram, &other.histogram)) {
        notes.info("explicit buckets with different bounds were reconciled at the bounds that all have");
    }
    if rest.iter().all(|other| other.factor == first.factor) {
        let mut sum = (*first.histogram).clone();
        rest.iter().for_each(|other| sum.merge(&other.histogram));
        return Some(HistogramSample { histogram: Arc::new(sum), factor: first.factor / divisor });
    }
    let factor = histograms.iter().map(|h| h.factor).fold(f64::INFINITY, f64::min) / FINER;
    if factor <= 0.0 || !factor.is_finite() {
        notes.warn("histograms with negative counts cannot be added to others and were left out");
        return None;
    }
    let mut sum = first.histogram.times(first.factor / factor);
    rest.iter().for_each(|other| sum.merge(&other.histogram.times(other.factor / factor)));
    Some(HistogramSample { histogram: Arc::new(sum), factor: factor / divisor })
}

fn has_other_bounds(a: &Histogram, b: &Histogram) -> bool {
    match (&a.buckets, &b.buckets) {
        (Buckets::Explicit { bounds: a, .. }, Buckets::Explicit { bounds: b, .. }) => a != b,
        _ => false,
    }
}

fn number(parameter: Option<&Value>, step: usize) -> Result<f64, QueryError> {
    match parameter {
        Some(Value::Scalar(values)) => Ok(values.get(step).copied().unwrap_or(f64::NAN)),
        _ => Err(QueryError::Invalid("aggregation parameter must be a number".to_owned())),
    }
}

/// The `k` greatest or least of a group at each step; they keep their labels.
fn choose(mut members: Vec<Column>, parameter: Option<&Value>, greatest: bool) -> Result<Vec<Column>, QueryError> {
    let steps = members.first().map_or(0, |column| column.samples.len());
    for step in 0..steps {
        let k = number(parameter, step)?.max(0.0) as usize;
        let value = |column: &Column| column.samples.get(step).and_then(Sample::float);
        let mut ranked: Vec<(usize, f64)> =
            members.iter().enumerate().filter_map(|(i, column)| Some((i, value(column)?))).collect();
        // NaN ranks last either way.
        ranked.sort_by(|a, b| {
            let order = if greatest { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) };
            a.1.is_nan().cmp(&b.1.is_nan()).then(order)
        });
        ranked.truncate(k);
        for (i, column) in members.iter_mut().enumerate() {
            let kept = ranked.iter().any(|(kept, _)| *kept == i);
            if let Some(sample) = column.samples.get_mut(step).filter(|_| !kept) {
                *sample = Sample::None;
            }
        }
    }
    if steps == 1 {
        let value = |column: &Column| column.samples.first().and_then(Sample::float).unwrap_or(f64::NAN);
        members.sort_by(|a, b| {
            let (a, b) = (value(a), value(b));
            let order = if greatest { b.total_cmp(&a) } else { a.total_cmp(&b) };
            a.is_nan().cmp(&b.is_nan()).then(order)
        });
    }
    members.retain(|column| column.samples.iter().any(Sample::is_some));
    Ok(members)
}

fn count_values(labels: &Labels, members: &[Column], parameter: Option<&Value>) -> Result<Vec<Column>, QueryError> {
    let Some(Value::Text(name)) = parameter else {
        return Err(QueryError::Invalid("count_values needs the name of a label".to_owned()));
    };
    let steps = members.first().map_or(0, |column| column.samples.len());
    let mut out: Vec<(String, Column)> = Vec::new();
    for (step, value) in
        members.iter().flat_map(|c| c.samples.iter().enumerate()).filter_map(|(i, s)| Some((i, s.float()?)))
    {
        let text = value.to_string();
        let at = out.iter().position(|(known, _)| *known == text).unwrap_or_else(|| {
            let mut pairs = labels.pairs().to_vec();
            pairs.retain(|(known, _)| **known != *name.as_str());
            pairs.push((Arc::from(name.as_str()), Arc::from(text.as_str())));
            let column = Column { labels: Labels::from_pairs(pairs), samples: vec![Sample::None; steps] };
            out.push((text.clone(), column));
            out.len() - 1
        });
        if let Some(sample) = out.get_mut(at).and_then(|(_, column)| column.samples.get_mut(step)) {
            *sample = Sample::Float(sample.float().unwrap_or(0.0) + 1.0);
        }
    }
    Ok(out.into_iter().map(|(_, column)| column).collect())
}
