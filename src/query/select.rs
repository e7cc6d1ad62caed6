//! Selectors: which metrics and series they mean, and as what.
//!
//! A metric answers to its own name (`http.server.request.duration`) and to its Prometheus name
//! (`http_server_request_duration_seconds`); a histogram also to `…_bucket`, `…_count` and `…_sum` of either.

use std::sync::Arc;

use promql_parser::label::{MatchOp, Matcher};

use super::QueryError;
use super::limits::Budget;
use crate::model::{
    Alias, Buckets, Cell, Counter, Delta, Gauge, Histogram, Labels, Metric, MetricKind, Run, SeriesWindows, TimeMs,
    UnitScale, WindowStart, alias_of, canonical_label_name, prometheus_name,
};

/// As what a metric's windows are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum View {
    /// As they are.
    Plain,
    /// Classic cumulative buckets, one series per `le`.
    Bucket,
    /// The sum of a histogram or summary.
    Sum,
    /// The count of a histogram or summary.
    Count,
}

/// How a selector means a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Meant {
    view: View,
    /// From the unit that was sent to that of the name asked for.
    scale: UnitScale,
    /// The name in PromQL's spelling, and with dots.
    names: [String; 2],
}

impl Meant {
    /// True when a series is presented as it is.
    pub(super) fn is_plain(&self) -> bool {
        self.view == View::Plain && self.scale.is_one()
    }

    /// True when a series is presented as several: one a bucket, one a quantile.
    pub(super) fn splits(&self, metric: &Metric) -> bool {
        self.view == View::Bucket || (self.view == View::Plain && metric.kind == MetricKind::Summary)
    }

    /// True when its windows are presented as they are.
    pub(super) fn is_only_named(&self, metric: &Metric) -> bool {
        self.view == View::Plain && self.scale.is_one() && metric.kind != MetricKind::Summary
    }

    /// A value of the metric in the unit of the name asked for.
    pub(super) fn in_unit(&self, value: f64) -> f64 {
        self.scale.of(value)
    }

    /// The labels of one of its series in PromQL's spelling.
    pub(super) fn labels(&self, labels: &Labels) -> Labels {
        let [prometheus, _] = &self.names;
        canonical(labels, prometheus)
    }
}

/// One selector of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    pub(super) names: Vec<Matcher>,
    pub(super) matchers: Vec<Matcher>,
    /// Alternatives joined by `or`.
    pub(super) or_matchers: Vec<Vec<Matcher>>,
    /// Earliest time whose windows are needed.
    pub start: TimeMs,
    /// Latest.
    pub end: TimeMs,
}

impl Select {
    /// The earliest and the latest time whose windows are needed.
    #[must_use]
    pub const fn span(&self) -> (TimeMs, TimeMs) {
        (self.start, self.end)
    }

    /// As what `metric` is meant, if it is. The current conventions' name comes first: it promises the current unit.
    #[must_use]
    pub fn view_of(&self, metric: &Metric) -> Option<Meant> {
        let alias = alias_of(&metric.name);
        if !self.may_mean(&metric.name) && !alias.is_some_and(|alias| self.may_mean(alias.new)) {
            return None;
        }
        let stands_for = alias.map(|alias| (in_unit_of(metric, alias), alias.scale(&metric.unit)));
        for (metric, scale) in stands_for.iter().map(|(m, s)| (m, *s)).chain([(metric, UnitScale::ONE)]) {
            let prometheus = prometheus_name(metric);
            for (view, suffix) in views(metric.kind) {
                let names = [format!("{prometheus}{suffix}"), format!("{}{suffix}", metric.name)];
                if self.is_named(&names) {
                    return Some(Meant { view, scale, names });
                }
            }
        }
        None
    }

    /// The names in PromQL's spelling by which this selector may mean `metric`.
    pub(super) fn names_of(&self, metric: &Metric) -> Vec<String> {
        told_names(metric).into_iter().filter(|name| self.is_named(&[name.clone(), name.clone()])).collect()
    }

    /// Rules out most metrics before their names are spelled: what is asked for by equality holds the name's first word.
    fn may_mean(&self, name: &str) -> bool {
        let word = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        self.names.iter().filter(|matcher| is_equality(matcher)).all(|matcher| matcher.value.contains(word))
    }

    fn is_named(&self, names: &[String; 2]) -> bool {
        let all = |matchers: &[Matcher]| matchers.iter().filter(|m| is_of_name(m)).all(|m| accepts(m, names));
        all(&self.names) && self.any_group(all)
    }

    fn any_group(&self, test: impl Fn(&[Matcher]) -> bool) -> bool {
        self.or_matchers.is_empty() || self.or_matchers.iter().any(|group| test(group))
    }

    /// True when every name is told by equality, so that a metric known by it is the only one.
    pub(super) fn names_are_equalities(&self) -> bool {
        let all = |matchers: &[Matcher]| matchers.iter().filter(|m| is_of_name(m)).all(is_equality);
        let named = |matchers: &[Matcher]| matchers.iter().any(is_of_name);
        let groups = &self.or_matchers;
        all(&self.names)
            && groups.iter().all(|group| all(group))
            && (named(&self.names) || (!groups.is_empty() && groups.iter().all(|group| named(group))))
    }

    /// Whether a series with `labels` is meant. The name, `le` and `quantile` belong to views and are matched after they
    /// are made.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let all = |matchers: &[Matcher]| {
            matchers
                .iter()
                .filter(|matcher| !is_of_view(matcher) && !is_of_name(matcher))
                .all(|matcher| matcher.is_match(labels.get_canonical(&matcher.name).unwrap_or_default()))
        };
        all(&self.matchers) && self.any_group(all)
    }

    /// The labels that every series meant must have: what `absent()` calls the one that is not there.
    pub(super) fn required(&self) -> Labels {
        let equal = self.matchers.iter().filter(|m| is_equality(m) && !m.value.is_empty());
        let once = equal.filter(|m| self.matchers.iter().filter(|other| other.name == m.name).count() == 1);
        Labels::from_pairs(once.map(|m| (Arc::from(&*m.name), Arc::from(&*m.value))).collect())
    }

    /// The series as PromQL sees it: labels in its spelling, and one series per bucket where buckets are asked for.
    pub(super) fn present(
        &self,
        series: SeriesWindows,
        meant: &Meant,
        budget: &mut Budget,
    ) -> Result<Vec<SeriesWindows>, QueryError> {
        let mut series = in_unit(series, meant.scale);
        series.labels = meant.labels(&series.labels);
        let is_meant = |labels: &Labels| self.is_meant(labels, meant);
        let out = match meant.view {
            View::Plain if series.metric.kind == MetricKind::Summary => quantiles(&series, is_meant),
            View::Bucket => return buckets(&series, is_meant, budget),
            View::Plain => vec![series],
            View::Sum => vec![map_cells(series, |cell| total(cell, |h| h.sum, |s| s.sum))],
            View::Count => vec![map_cells(series, |cell| total(cell, |h| h.count as f64, |s| s.count as f64))],
        };
        Ok(out.into_iter().filter(|one| is_meant(&one.labels)).collect())
    }

    /// All matchers, on a series as it is presented.
    pub(super) fn is_meant(&self, labels: &Labels, meant: &Meant) -> bool {
        let matched = |m: &Matcher| {
            if is_of_name(m) {
                return accepts(m, &meant.names);
            }
            let value = labels.get_canonical(&m.name).unwrap_or_default();
            if is_of_view(m) { matches_number(m, value) } else { m.is_match(value) }
        };
        self.matchers.iter().filter(|m| is_of_view(m)).all(matched) && self.any_group(|group| group.iter().all(matched))
    }
}

/// The metric that an old name stands for.
fn in_unit_of(metric: &Metric, alias: &Alias) -> Metric {
    let (kind, temporality) = (metric.kind, metric.temporality);
    Metric { name: alias.new.into(), unit: alias.unit.into(), kind, temporality }
}

/// As what metrics of a kind may be asked for, and what their names then end in.
fn views(kind: MetricKind) -> impl Iterator<Item = (View, &'static str)> {
    let counted = kind.is_histogram() || kind == MetricKind::Summary;
    [
        (View::Plain, "", true),
        (View::Bucket, "_bucket", kind.is_histogram()),
        (View::Sum, "_sum", counted),
        (View::Count, "_count", counted),
    ]
    .into_iter()
    .filter(|(.., has)| *has)
    .map(|(view, suffix, _)| (view, suffix))
}

/// The current name of `metric` in PromQL's spelling.
pub(super) fn told_name(metric: &Metric) -> String {
    match alias_of(&metric.name) {
        Some(alias) => prometheus_name(&in_unit_of(metric, alias)),
        None => prometheus_name(metric),
    }
}

/// All names under which `metric` is told of, in PromQL's spelling.
pub(super) fn told_names(metric: &Metric) -> Vec<String> {
    let name = told_name(metric);
    views(metric.kind).map(|(_, suffix)| format!("{name}{suffix}")).collect()
}

pub(super) fn is_of_view(matcher: &Matcher) -> bool {
    matcher.name == "le" || matcher.name == "quantile"
}

pub(super) fn is_of_name(matcher: &Matcher) -> bool {
    matcher.name == "__name__"
}

/// A metric has two spellings: either may be asked for, and neither may be ruled out.
fn accepts(matcher: &Matcher, names: &[String; 2]) -> bool {
    match matcher.op {
        MatchOp::Equal | MatchOp::Re(_) => names.iter().any(|name| matcher.is_match(name)),
        MatchOp::NotEqual | MatchOp::NotRe(_) => names.iter().all(|name| matcher.is_match(name)),
    }
}

/// `le="1.0"` is `le="1"`.
fn matches_number(matcher: &Matcher, value: &str) -> bool {
    let same = || matcher.value.parse::<f64>().ok().zip(value.parse::<f64>().ok()).is_some_and(|(a, b)| a == b);
    match matcher.op {
        MatchOp::Equal => matcher.is_match(value) || same(),
        MatchOp::NotEqual => matcher.is_match(value) && !same(),
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.is_match(value),
    }
}

/// True when a matcher is an equality.
const fn is_equality(matcher: &Matcher) -> bool {
    matches!(matcher.op, MatchOp::Equal)
}

fn canonical(labels: &Labels, name: &str) -> Labels {
    let mut pairs: Vec<(Arc<str>, Arc<str>)> = labels
        .pairs()
        .iter()
        .map(|(name, value)| match canonical_label_name(name) {
            std::borrow::Cow::Borrowed(_) => (Arc::clone(name), Arc::clone(value)),
            std::borrow::Cow::Owned(changed) => (Arc::from(changed), Arc::clone(value)),
        })
        .collect();
    pairs.push((Arc::from("__name__"), Arc::from(name)));
    Labels::from_pairs(pairs)
}

fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut pairs = labels.pairs().to_vec();
    pairs.push((Arc::from(name), Arc::from(value)));
    Labels::from_pairs(pairs)
}

fn map_cells(mut series: SeriesWindows, map: impl Fn(&Cell) -> Cell) -> SeriesWindows {
    for (_, cell) in &mut series.windows {
        *cell = map(cell);
    }
    series
}

/// A histogram's or summary's windows as those of a counter.
fn total(cell: &Cell, of: impl Fn(&Histogram) -> f64, of_summary: impl Fn(&crate::model::Summary) -> f64) -> Cell {
    match cell {
        Cell::Histogram(histogram) => Cell::Delta(Delta { sum: of(histogram), count: 1 }),
        Cell::HistogramRuns(runs) => {
            let runs: Vec<Run> =
                runs.0.iter().map(|run| Run { start: run.start, time: run.time, value: of(&run.value) }).collect();
            counter(&runs)
        }
        Cell::Summary(s) => counter(&[Run { start: s.start, time: s.time, value: of_summary(s) }]),
        other => other.clone(),
    }
}

fn counter(runs: &[Run]) -> Cell {
    let Some((first, more)) = runs.split_first() else { return Cell::Stale };
    let mut counter = Counter::one(*first);
    more.iter().for_each(|run| counter.add(*run));
    Cell::Counter(counter)
}

/// A total of a histogram with its counts accumulated, so that each bound is looked up and nothing is copied.
struct Cumulative {
    run: Option<(TimeMs, TimeMs)>,
    counts: Vec<(f64, u64)>,
}

impl Cumulative {
    fn up_to(&self, bound: f64) -> f64 {
        let n = self.counts.partition_point(|(upper, _)| *upper <= bound);
        n.checked_sub(1).and_then(|at| self.counts.get(at)).map_or(0.0, |(_, count)| *count as f64)
    }
}

fn cumulative(cell: &Cell) -> Vec<Cumulative> {
    match cell {
        Cell::Histogram(histogram) => vec![Cumulative { run: None, counts: super::quantile::cumulative(histogram) }],
        Cell::HistogramRuns(runs) => runs
            .0
            .iter()
            .map(|run| Cumulative { run: Some((run.start, run.time)), counts: super::quantile::cumulative(&run.value) })
            .collect(),
        _ => Vec::new(),
    }
}

/// One series per upper bound that occurs and is meant.
fn buckets(
    series: &SeriesWindows,
    is_meant: impl Fn(&Labels) -> bool,
    budget: &mut Budget,
) -> Result<Vec<SeriesWindows>, QueryError> {
    let windows: Vec<(WindowStart, Vec<Cumulative>)> =
        series.windows.iter().map(|(window, cell)| (*window, cumulative(cell))).collect();
    let mut bounds: Vec<f64> = Vec::new();
    for (upper, _) in windows.iter().flat_map(|(_, all)| all).flat_map(|one| &one.counts) {
        if let Err(at) = bounds.binary_search_by(|known| known.total_cmp(upper)) {
            bounds.insert(at, *upper);
        }
    }
    let mut out = Vec::new();
    for bound in bounds {
        let labels = with_label(&series.labels, "le", &le_text(bound));
        if !is_meant(&labels) {
            continue;
        }
        budget.take_bytes(windows.len() * size_of::<(WindowStart, Cell)>())?;
        let windows = windows.iter().map(|(window, all)| (*window, up_to(all, bound))).collect();
        out.push(SeriesWindows { labels, windows, ..series.clone_without_windows() });
    }
    Ok(out)
}

fn up_to(all: &[Cumulative], bound: f64) -> Cell {
    let runs: Vec<Run> = all
        .iter()
        .filter_map(|one| one.run.map(|(start, time)| Run { start, time, value: one.up_to(bound) }))
        .collect();
    match all {
        [one] if one.run.is_none() => Cell::Delta(Delta { sum: one.up_to(bound), count: 1 }),
        _ => counter(&runs),
    }
}

fn le_text(bound: f64) -> String {
    if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() }
}

/// One gauge per quantile of a summary that is meant.
fn quantiles(series: &SeriesWindows, is_meant: impl Fn(&Labels) -> bool) -> Vec<SeriesWindows> {
    let mut of: Vec<f64> = Vec::new();
    for (_, cell) in &series.windows {
        let Cell::Summary(summary) = cell else { continue };
        for (quantile, _) in &summary.quantiles {
            if let Err(at) = of.binary_search_by(|known| known.total_cmp(quantile)) {
                of.insert(at, *quantile);
            }
        }
    }
    let cell_of = |cell: &Cell, quantile: f64| match cell {
        Cell::Summary(s) => s
            .quantiles
            .iter()
            .find(|(q, _)| *q == quantile)
            .map_or(Cell::Stale, |(_, value)| Cell::Gauge(Gauge::one(s.time, *value))),
        other => other.clone(),
    };
    of.into_iter()
        .map(|quantile| (quantile, with_label(&series.labels, "quantile", &quantile.to_string())))
        .filter(|(_, labels)| is_meant(labels))
        .map(|(quantile, labels)| {
            let windows = series.windows.iter().map(|(window, cell)| (*window, cell_of(cell, quantile))).collect();
            SeriesWindows { labels, windows, ..series.clone_without_windows() }
        })
        .collect()
}

/// The series in the unit of the name it was asked by.
fn in_unit(mut series: SeriesWindows, scale: UnitScale) -> SeriesWindows {
    if scale.is_one() {
        return series;
    }
    let of_histogram = |h: &Histogram| match h.buckets {
        Buckets::Exponential { scale, .. } => Some(scale),
        Buckets::Explicit { .. } => None,
    };
    let of_cell = |cell: &Cell| match cell {
        Cell::Histogram(h) => of_histogram(h),
        Cell::HistogramRuns(runs) => runs.0.iter().filter_map(|run| of_histogram(&run.value)).min(),
        _ => None,
    };
    let least = series.windows.iter().filter_map(|(_, cell)| of_cell(cell)).min().unwrap_or_default();
    for (_, cell) in &mut series.windows {
        *cell = scale.of_cell(cell, least);
    }
    series
}
