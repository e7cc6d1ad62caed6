//! Aggregations that fold: sum, avg, min, max, count, group. Series come one after another and only the groups are held.

use hashbrown::HashMap;
use promql_parser::parser::LabelModifier;

use super::aggregate::{fold_histograms, group_labels};
use super::notes::Notes;
use super::value::{Column, HistogramSample, Sample};
use crate::model::Labels;

/// How two numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
}

impl Op {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "group" => Self::Group,
            _ => return None,
        })
    }

    fn add(self, known: &mut f64, value: f64) {
        match self {
            Self::Sum | Self::Avg => *known += value,
            Self::Min => *known = known.min(value),
            Self::Max => *known = known.max(value),
            Self::Count | Self::Group => {}
        }
    }

    fn finish(self, value: f64, count: u32) -> f64 {
        match self {
            Self::Sum | Self::Min | Self::Max => value,
            Self::Avg => value / f64::from(count),
            Self::Count => f64::from(count),
            Self::Group => 1.0,
        }
    }
}

/// One group so far.
struct Group {
    labels: Labels,
    values: Vec<f64>,
    counts: Vec<u32>,
    /// Columns that hold distributions.
    histograms: Vec<Column>,
}

/// An aggregation under way.
pub(super) struct Folding<'a> {
    name: &'a str,
    op: Op,
    by: Option<&'a LabelModifier>,
    steps: usize,
    places: HashMap<Labels, usize>,
    groups: Vec<Group>,
}

impl<'a> Folding<'a> {
    /// Whether the aggregation `name` folds.
    pub(super) fn can(name: &str) -> bool {
        Op::named(name).is_some()
    }

    pub(super) fn new(name: &'a str, by: Option<&'a LabelModifier>, steps: usize) -> Self {
        let op = Op::named(name).unwrap_or(Op::Group);
        Self { name, op, by, steps, places: HashMap::new(), groups: Vec::new() }
    }

    pub(super) fn add(&mut self, column: Column) {
        let labels = group_labels(&column.labels, self.by);
        let place = match self.places.get(&labels) {
            Some(place) => *place,
            None => {
                self.places.insert(labels.clone(), self.groups.len());
                let (values, counts) = (vec![0.0; self.steps], vec![0; self.steps]);
                self.groups.push(Group { labels, values, counts, histograms: Vec::new() });
                self.groups.len() - 1
            }
        };
        let Some(group) = self.groups.get_mut(place) else { return };
        let mut has_histograms = false;
        for ((sample, value), count) in column.samples.iter().zip(&mut group.values).zip(&mut group.counts) {
            match sample {
                Sample::None => {}
                Sample::Histogram(_) => has_histograms = true,
                Sample::Float(new) => {
                    if *count == 0 {
                        *value = *new;
                    } else {
                        self.op.add(value, *new);
                    }
                    *count += 1;
                }
            }
        }
        if has_histograms {
            group.histograms.push(column);
        }
    }

    /// A column a group, in the order in which groups came.
    pub(super) fn finish(self, notes: &Notes) -> Vec<Column> {
        let (name, op) = (self.name, self.op);
        let column = |group: Group| {
            let sample = |(step, (value, count)): (usize, (f64, u32))| {
                let at = |column: &'_ Column| column.samples.get(step).and_then(Sample::histogram).cloned();
                let histograms: Vec<HistogramSample> = group.histograms.iter().filter_map(at).collect();
                let number = if count == 0 { Sample::None } else { Sample::Float(op.finish(value, count)) };
                if histograms.is_empty() {
                    return number;
                }
                let histograms: Vec<&HistogramSample> = histograms.iter().collect();
                match fold_histograms((name, notes), &histograms, count as usize) {
                    // Extremes are of the numbers alone.
                    Sample::None if matches!(op, Op::Min | Op::Max) => number,
                    folded => folded,
                }
            };
            let numbers = group.values.iter().copied().zip(group.counts.iter().copied());
            let samples = numbers.enumerate().map(sample).collect();
            Column { labels: group.labels.clone(), samples }
        };
        self.groups.into_iter().map(column).collect()
    }
}
