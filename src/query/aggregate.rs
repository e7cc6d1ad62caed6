//! Aggregation over series: sum, avg, min, max, count, topk and the rest.

use std::sync::Arc;

use hashbrown::HashMap;
use promql_parser::parser::LabelModifier;

use super::QueryError;
use super::quantile;
use super::value::{Column, HistogramSample, Sample, Value};
use crate::model::Labels;

/// The labels by which `labels` are grouped.
pub(super) fn group_labels(labels: &Labels, by: Option<&LabelModifier>) -> Labels {
    let kept = |name: &str| match by {
        None => false,
        Some(LabelModifier::Include(names)) => names.labels.iter().any(|kept| kept == name),
        Some(LabelModifier::Exclude(names)) => name != "__name__" && !names.labels.iter().any(|gone| gone == name),
    };
    Labels::from_pairs(labels.pairs().iter().filter(|(name, _)| kept(name)).cloned().collect())
}

/// Aggregates `columns` by `op`.
pub(super) fn aggregate(
    op: &str,
    columns: Vec<Column>,
    parameter: Option<&Value>,
    by: Option<&LabelModifier>,
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
            _ => out.push(fold(op, labels, &members, parameter)?),
        }
    }
    Ok(out)
}

fn fold(op: &str, labels: Labels, members: &[Column], parameter: Option<&Value>) -> Result<Column, QueryError> {
    let steps = members.first().map_or(0, |column| column.samples.len());
    let samples = (0..steps)
        .map(|step| {
            let present = members.iter().filter_map(|column| column.samples.get(step)).filter(|s| s.is_some());
            let floats: Vec<f64> = present.clone().filter_map(Sample::float).collect();
            let histograms: Vec<&HistogramSample> = present.filter_map(Sample::histogram).collect();
            fold_step(op, floats, &histograms, || number(parameter, step))
        })
        .collect::<Result<_, _>>()?;
    Ok(Column { labels, samples })
}

fn fold_step(
    op: &str,
    mut floats: Vec<f64>,
    histograms: &[&HistogramSample],
    parameter: impl Fn() -> Result<f64, QueryError>,
) -> Result<Sample, QueryError> {
    let n = (floats.len() + histograms.len()) as f64;
    if n == 0.0 {
        return Ok(Sample::None);
    }
    if !histograms.is_empty() && matches!(op, "sum" | "avg") {
        if !floats.is_empty() {
            return Err(QueryError::Execution(format!("{op} over numbers and histograms together")));
        }
        let divisor = if op == "avg" { n } else { 1.0 };
        return Ok(Sample::Histogram(add_histograms(histograms, divisor)?));
    }
    let count = floats.len() as f64;
    if count == 0.0 && !matches!(op, "count" | "group") {
        return Ok(Sample::None);
    }
    let mean = || floats.iter().sum::<f64>() / count;
    let variance = || floats.iter().map(|v| (v - mean()).powi(2)).sum::<f64>() / count;
    Ok(Sample::Float(match op {
        "sum" => floats.iter().sum(),
        "avg" => mean(),
        "min" => floats.iter().copied().fold(f64::NAN, f64::min),
        "max" => floats.iter().copied().fold(f64::NAN, f64::max),
        "count" => n,
        "group" => 1.0,
        "stddev" => variance().sqrt(),
        "stdvar" => variance(),
        "quantile" => quantile::of_values(parameter()?, &mut floats),
        other => return Err(QueryError::Unsupported(format!("aggregation {other}"))),
    }))
}

/// The sum of histograms, which all must be scaled alike.
pub(super) fn add_histograms(histograms: &[&HistogramSample], divisor: f64) -> Result<HistogramSample, QueryError> {
    let Some((first, rest)) = histograms.split_first() else {
        return Err(QueryError::Execution("no histogram to add".to_owned()));
    };
    let mut sum = (*first.histogram).clone();
    for other in rest {
        if other.factor != first.factor {
            return Err(QueryError::Execution("histograms scaled by different factors cannot be added".to_owned()));
        }
        sum.merge(&other.histogram);
    }
    Ok(HistogramSample { histogram: Arc::new(sum), factor: first.factor / divisor })
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
            let order = value(a).total_cmp(&value(b));
            if greatest { order.reverse() } else { order }
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
