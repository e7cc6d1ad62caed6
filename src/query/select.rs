//! Selectors: which metrics and series they mean, and as what.
//!
//! A metric answers to its own name (`http.server.request.duration`) and to its Prometheus name
//! (`http_server_request_duration_seconds`); a histogram also to `…_bucket`, `…_count` and `…_sum` of either.

use std::sync::Arc;

use promql_parser::label::{MatchOp, Matcher};

use crate::model::{
    Buckets, Cell, Counter, Delta, Histogram, Labels, Metric, MetricKind, Run, SeriesWindows, TimeMs, alias_of,
    canonical_label_name, prometheus_name,
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

/// One selector of a query.
#[derive(Clone, Debug)]
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
    /// As what `metric` is meant, if it is, and the factor that turns its values into the unit asked for.
    #[must_use]
    pub fn view_of(&self, metric: &Metric) -> Option<(View, f64, String)> {
        let alias = alias_of(&metric.name);
        let stands_for = alias.map(|alias| Metric {
            name: alias.new.into(),
            unit: alias.unit.into(),
            kind: metric.kind,
            temporality: metric.temporality,
        });
        let candidates = [Some((metric, 1.0)), stands_for.as_ref().zip(alias.map(|alias| alias.factor))];
        for (metric, factor) in candidates.into_iter().flatten() {
            let prometheus = prometheus_name(metric);
            if self.is_named(&metric.name) || self.is_named(&prometheus) {
                return Some((View::Plain, factor, prometheus));
            }
            for (view, suffix) in [(View::Bucket, "_bucket"), (View::Sum, "_sum"), (View::Count, "_count")] {
                let has = metric.kind.is_histogram() || (metric.kind == MetricKind::Summary && view != View::Bucket);
                let name = format!("{prometheus}{suffix}");
                if has && (self.is_named(&name) || self.is_named(&format!("{}{suffix}", metric.name))) {
                    return Some((view, factor, name));
                }
            }
        }
        None
    }

    fn is_named(&self, name: &str) -> bool {
        self.names.iter().all(|matcher| matcher.is_match(name))
    }

    /// Whether a series with `labels` is meant. `le` and `quantile` belong to views and are matched after they are made.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let all = |matchers: &[Matcher]| {
            matchers
                .iter()
                .filter(|matcher| !is_of_view(matcher))
                .all(|matcher| matcher.is_match(labels.get_canonical(&matcher.name).unwrap_or_default()))
        };
        all(&self.matchers) && (self.or_matchers.is_empty() || self.or_matchers.iter().any(|group| all(group)))
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
        (view, factor, name): (View, f64, String),
    ) -> Vec<SeriesWindows> {
        let mut series = scale(series, factor);
        series.labels = canonical(&series.labels, &name);
        let mut out = match view {
            View::Plain if series.metric.kind == MetricKind::Summary => quantiles(series),
            View::Plain => return vec![series],
            View::Bucket => buckets(series),
            View::Sum => vec![map_cells(series, |cell| total(cell, |h| h.sum, |s| s.sum))],
            View::Count => vec![map_cells(series, |cell| total(cell, |h| h.count as f64, |s| s.count as f64))],
        };
        out.retain(|one| {
            let matched = |m: &Matcher| m.is_match(one.labels.get(&m.name).unwrap_or_default());
            self.matchers.iter().filter(|m| is_of_view(m)).all(matched)
        });
        out
    }
}

fn is_of_view(matcher: &Matcher) -> bool {
    matcher.name == "le" || matcher.name == "quantile"
}

/// True when a name matcher is an equality, so that other metrics need not be looked at.
pub(super) const fn is_equality(matcher: &Matcher) -> bool {
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

/// One series per upper bound that occurs.
fn buckets(series: SeriesWindows) -> Vec<SeriesWindows> {
    let mut bounds: Vec<f64> = Vec::new();
    for (_, cell) in &series.windows {
        let of_cell: Vec<&Histogram> = match cell {
            Cell::Histogram(histogram) => vec![histogram],
            Cell::HistogramRuns(runs) => runs.0.iter().map(|run| &run.value).collect(),
            _ => continue,
        };
        for histogram in of_cell {
            for (upper, _) in super::quantile::cumulative(histogram) {
                if let Err(at) = bounds.binary_search_by(|known| known.total_cmp(&upper)) {
                    bounds.insert(at, upper);
                }
            }
        }
    }
    bounds
        .into_iter()
        .map(|bound| {
            let mut one = map_cells(series.clone(), |cell| total(cell, |h| count_up_to(h, bound), |_| 0.0));
            one.labels = with_label(&series.labels, "le", &le_text(bound));
            one
        })
        .collect()
}

fn le_text(bound: f64) -> String {
    if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() }
}

fn count_up_to(histogram: &Histogram, bound: f64) -> f64 {
    let cumulative = super::quantile::cumulative(histogram);
    cumulative.iter().take_while(|(upper, _)| *upper <= bound).last().map_or(0.0, |(_, n)| *n as f64)
}

/// One gauge per quantile of a summary.
fn quantiles(series: SeriesWindows) -> Vec<SeriesWindows> {
    let mut of: Vec<f64> = Vec::new();
    for (_, cell) in &series.windows {
        let Cell::Summary(summary) = cell else { continue };
        for (quantile, _) in &summary.quantiles {
            if let Err(at) = of.binary_search_by(|known| known.total_cmp(quantile)) {
                of.insert(at, *quantile);
            }
        }
    }
    of.into_iter()
        .map(|quantile| {
            let mut one = map_cells(series.clone(), |cell| match cell {
                Cell::Summary(s) => s
                    .quantiles
                    .iter()
                    .find(|(q, _)| *q == quantile)
                    .map_or(Cell::Stale, |(_, value)| Cell::Gauge(crate::model::Gauge::one(s.time, *value))),
                other => other.clone(),
            });
            one.labels = with_label(&series.labels, "quantile", &quantile.to_string());
            one
        })
        .collect()
}

/// The series in the unit of the name it was asked by.
fn scale(series: SeriesWindows, factor: f64) -> SeriesWindows {
    if factor == 1.0 {
        return series;
    }
    map_cells(series, |cell| match cell {
        Cell::Gauge(g) => Cell::Gauge(crate::model::Gauge {
            last: g.last * factor,
            min: g.min * factor,
            max: g.max * factor,
            sum: g.sum * factor,
            ..*g
        }),
        Cell::Histogram(h) => Cell::Histogram(Box::new(scale_histogram(h, factor))),
        Cell::HistogramRuns(runs) => {
            let run = |run: &Run<Histogram>| Run {
                start: run.start,
                time: run.time,
                value: scale_histogram(&run.value, factor),
            };
            Cell::HistogramRuns(Box::new(crate::model::HistogramRuns(runs.0.iter().map(run).collect())))
        }
        other => other.clone(),
    })
}

fn scale_histogram(histogram: &Histogram, factor: f64) -> Histogram {
    let mut out = histogram.clone();
    out.sum *= factor;
    out.min = out.min.map(|v| v * factor);
    out.max = out.max.map(|v| v * factor);
    if let Buckets::Explicit { bounds, .. } = &mut out.buckets {
        *bounds = bounds.iter().map(|bound| bound * factor).collect();
    }
    out
}
