//! Queries over hand-made windows: one table an area, and delta against cumulative.

mod functions;
mod indicators;
mod tiers;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{
    Buckets, Cell, Counter, Delta, Gauge, Histogram, HistogramRuns, Labels, Metric, MetricKind, Run, SeriesId,
    SeriesWindows, Summary, Temporality, TimeMs, Width,
};

/// Windows are ten seconds wide and begin here.
const T0: u32 = 3600;
const RUN: TimeMs = T0 as TimeMs * 1000;

type Windows = Vec<(u32, Cell)>;

fn series(name: &str, unit: &str, kind: MetricKind, temporality: Temporality, windows: Windows) -> SeriesWindows {
    let (name, labels) = name.split_once('{').unwrap_or((name, ""));
    let pairs: Vec<(&str, &str)> =
        labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('=')).collect();
    let metric = Metric { name: name.into(), unit: unit.into(), kind, temporality };
    let labels = Labels::of(&pairs);
    SeriesWindows {
        id: SeriesId::of(metric.id(), &labels),
        metric: Arc::new(metric),
        labels,
        windows,
        totals: Vec::new(),
    }
}

fn nth(i: usize) -> u32 {
    T0 + 10 * i as u32
}

fn windows<T: Copy>(values: &[T], cell: impl Fn(TimeMs, T) -> Cell) -> Windows {
    values.iter().enumerate().map(|(i, value)| (nth(i), cell(TimeMs::from(nth(i)) * 1000 + 9000, *value))).collect()
}

fn gauge(name: &str, values: &[f64]) -> SeriesWindows {
    let cells = windows(values, |time, value| Cell::Gauge(Gauge::one(time, value)));
    series(name, "1", MetricKind::Gauge, Temporality::None, cells)
}

fn counter(name: &str, totals: &[f64]) -> SeriesWindows {
    let cells = windows(totals, |time, value| Cell::Counter(Counter::one(Run { start: RUN, time, value })));
    series(name, "1", MetricKind::Counter, Temporality::Cumulative, cells)
}

fn delta(name: &str, amounts: &[f64]) -> SeriesWindows {
    let cells = windows(amounts, |_, sum| Cell::Delta(Delta { sum, count: 1 }));
    series(name, "1", MetricKind::Counter, Temporality::Delta, cells)
}

fn explicit(bounds: &[f64], counts: &[u64], sum: f64) -> Histogram {
    let buckets = Buckets::Explicit { bounds: Arc::from(bounds), counts: counts.to_vec() };
    Histogram { count: counts.iter().sum(), sum, min: None, max: None, buckets }
}

fn durations(name: &str, unit: &str, of: Histogram) -> SeriesWindows {
    let cells = vec![(nth(0), Cell::Histogram(Box::new(of)))];
    series(name, unit, MetricKind::Histogram, Temporality::Delta, cells)
}

fn shop() -> Vec<SeriesWindows> {
    let summary =
        Summary { time: RUN + 5000, start: RUN, count: 4, sum: 10.0, quantiles: vec![(0.5, 2.0), (0.99, 7.0)] };
    let bounds = [0.1, 0.5, 1.0];
    vec![
        gauge("temp{room=a,service.name=shop}", &[1.0, 5.0, 3.0]),
        gauge("temp{room=b,service.name=shop}", &[10.0, 20.0, 40.0]),
        gauge("limit{room=a}", &[4.0, 4.0, 4.0]),
        counter("orders{service.name=shop}", &[10.0, 30.0, 60.0]),
        counter("restarted", &[50.0, 80.0, 5.0]),
        delta("mails", &[1.0, 2.0, 4.0]),
        series("lag", "s", MetricKind::Summary, Temporality::None, vec![(nth(0), Cell::Summary(Box::new(summary)))]),
        durations("http.server.request.duration{http.route=/new}", "s", explicit(&bounds, &[6, 2, 1, 1], 4.0)),
        durations("http.server.duration{http.route=/old}", "ms", explicit(&[100.0, 500.0, 1000.0], &[6, 2, 1, 1], 4e3)),
        series(
            "gone",
            "1",
            MetricKind::Gauge,
            Temporality::None,
            vec![(nth(0), Cell::Gauge(Gauge::one(RUN, 1.0))), (nth(1), Cell::Stale)],
        ),
    ]
}

fn ask(data: &[SeriesWindows], query: &str, params: Params) -> Result<Answer, QueryError> {
    let plan = Plan::parse(query, params, None)?;
    plan.evaluate(&script::fetch(&plan, data)?)
}

fn number(sample: &Sample) -> String {
    match sample {
        Sample::None => "_".to_owned(),
        Sample::Float(value) => ((value * 1e6).round() / 1e6).to_string(),
        Sample::Histogram(h) => format!("histogram({})", h.histogram.count),
    }
}

/// `name{label="value"} samples`, sorted, joined by `; `.
fn text(answer: &Answer) -> String {
    let columns = match &answer.value {
        AnswerValue::Scalar(values) => return values.iter().map(f64::to_string).collect::<Vec<_>>().join(" "),
        AnswerValue::Text(text) => return text.clone(),
        AnswerValue::Vector(columns) => columns,
    };
    let line = |column: &Column| {
        let labels = column.labels.iter().filter(|(name, _)| *name != "__name__" && *name != "service_name");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
        let samples: Vec<String> = column.samples.iter().map(number).collect();
        format!("{{{}}} {}", labels.join(","), samples.join(" "))
    };
    let mut lines: Vec<String> = columns.iter().map(line).collect();
    lines.sort();
    lines.join("; ")
}

/// Asks at the end of the third window.
fn now(query: &str) -> String {
    let at = TimeMs::from(nth(3)) * 1000;
    match ask(&shop(), query, Params::instant(at, at + 60_000, Width::TEN_SECONDS)) {
        Ok(answer) => text(&answer),
        Err(error) => format!("error: {error}"),
    }
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (query, expected) in table {
        assert_eq!(now(query), *expected, "{query}");
    }
}

#[test]
fn selectors_and_matchers() {
    check(&[
        ("temp", "{room=a} 3; {room=b} 40"),
        ("temp{room=\"a\"}", "{room=a} 3"),
        ("temp{room!=\"a\"}", "{room=b} 40"),
        ("temp{room=~\"a|c\"}", "{room=a} 3"),
        ("temp{room!~\"a.*\"}", "{room=b} 40"),
        ("temp{service_name=\"shop\", room=\"b\"}", "{room=b} 40"),
        ("temp{door=\"\"}", "{room=a} 3; {room=b} 40"),
        ("{__name__=~\"temp|limit\", room=\"a\"}", "{room=a} 3; {room=a} 4"),
        ("temp{room=\"a\"} offset 10s", "{room=a} 5"),
        ("temp{room=\"a\"} offset 1h", ""),
        ("gone", ""),
        ("gone offset 20s", "{} 1"),
        ("orders_total", "{} 60"),
    ]);
}

#[test]
fn a_metric_answers_to_its_own_its_prometheus_and_its_current_name() {
    check(&[
        ("histogram_count(http_server_request_duration_seconds)", "{http_route=/new} 10; {http_route=/old} 10"),
        ("histogram_sum({\"http.server.request.duration\"})", "{http_route=/new} 4; {http_route=/old} 4"),
        ("histogram_sum(http_server_duration_milliseconds)", "{http_route=/old} 4000"),
        ("increase(http_server_request_duration_seconds_count[1m])", "{http_route=/new} 10; {http_route=/old} 10"),
        (
            "increase(http_server_request_duration_seconds_bucket{le=\"0.5\"}[1m])",
            "{http_route=/new,le=0.5} 8; {http_route=/old,le=0.5} 8",
        ),
        ("lag_seconds", "{quantile=0.5} 2; {quantile=0.99} 7"),
        ("lag_seconds{quantile=\"0.5\"}", "{quantile=0.5} 2"),
        ("lag_seconds_sum", "{} 10"),
    ]);
}

#[test]
fn ranges() {
    check(&[
        ("increase(orders[30s])", "{} 60"),
        ("increase(orders[20s])", "{} 50"),
        ("rate(orders[30s])", "{} 2"),
        ("irate(orders[30s])", "{} 3"),
        ("increase(mails[30s])", "{} 7"),
        ("rate(mails[20s])", "{} 0.3"),
        ("increase(restarted[20s])", "{} 35"),
        ("delta(temp{room=\"b\"}[30s])", "{room=b} 30"),
        ("idelta(temp{room=\"a\"}[30s])", "{room=a} -2"),
        ("avg_over_time(temp[30s])", "{room=a} 3; {room=b} 23.333333"),
        ("sum_over_time(temp{room=\"a\"}[30s])", "{room=a} 9"),
        ("min_over_time(temp{room=\"a\"}[30s])", "{room=a} 1"),
        ("max_over_time(temp{room=\"a\"}[30s])", "{room=a} 5"),
        ("count_over_time(temp{room=\"a\"}[20s])", "{room=a} 2"),
        ("last_over_time(temp{room=\"a\"}[30s])", "{room=a} 3"),
        ("quantile_over_time(0.5, temp{room=\"a\"}[30s])", "{room=a} 3"),
        ("absent_over_time(temp[30s])", ""),
        ("absent(nothing{a=\"b\"})", "{a=b} 1"),
    ]);
}

#[test]
fn aggregations() {
    check(&[
        ("sum(temp)", "{} 43"),
        ("sum by (room) (temp)", "{room=a} 3; {room=b} 40"),
        ("sum without (room, service_name) (temp)", "{} 43"),
        ("avg(temp)", "{} 21.5"),
        ("min(temp)", "{} 3"),
        ("max(temp)", "{} 40"),
        ("count(temp)", "{} 2"),
        ("group(temp)", "{} 1"),
        ("stddev(temp)", "{} 18.5"),
        ("topk(1, temp)", "{room=b} 40"),
        ("bottomk(1, temp)", "{room=a} 3"),
        ("quantile(0.5, temp)", "{} 21.5"),
        ("count_values(\"v\", temp)", "{v=3} 1; {v=40} 1"),
    ]);
}

#[test]
fn operators_and_matching() {
    check(&[
        ("1 + 2 * 3 ^ 2", "19"),
        ("-temp{room=\"a\"}", "{room=a} -3"),
        ("temp / 2", "{room=a} 1.5; {room=b} 20"),
        ("7 % 4", "3"),
        ("temp > 10", "{room=b} 40"),
        ("temp > bool 10", "{room=a} 0; {room=b} 1"),
        ("temp > on (room) limit", ""),
        ("limit > on (room) temp", "{room=a} 4"),
        ("temp * on (room) group_left limit", "{room=a} 12"),
        ("temp and on (room) limit", "{room=a} 3"),
        ("temp unless on (room) limit", "{room=b} 40"),
        ("limit or on (room) temp", "{room=a} 4; {room=b} 40"),
        ("limit - ignoring (service_name) temp{room=\"a\"}", "{room=a} 1"),
        ("sum(temp) / count(temp)", "{} 21.5"),
        ("clamp_max(temp, 10)", "{room=a} 3; {room=b} 10"),
        ("label_replace(limit, \"r\", \"${1}x\", \"room\", \"(.*)\")", "{r=ax,room=a} 4"),
    ]);
}

#[test]
fn quantiles_of_histograms() {
    check(&[
        (
            "histogram_quantile(0.5, rate(http_server_request_duration_seconds[1m]))",
            "{http_route=/new} 0.083333; {http_route=/old} 0.083333",
        ),
        ("histogram_quantile(0.8, sum by (le) (rate(http_server_request_duration_seconds_bucket[1m])))", "{} 0.5"),
        ("histogram_avg(sum(rate(http_server_request_duration_seconds[1m])))", "{} 0.4"),
        ("histogram_count(sum(increase(http_server_request_duration_seconds[1m])))", "{} 20"),
    ]);
}

#[test]
fn bad_queries_say_what_is_wrong() {
    for (query, part) in [
        ("sum(", ""),
        ("temp[5m:1m]", "range vector"),
        ("limitk(1, temp)", "limitk"),
        ("mad_over_time(temp[5m])", "mad_over_time"),
        ("temp * on (room) fill(0) limit", "fill"),
        ("max_over_time(temp[30d:1ms])", "100000"),
        ("temp + on (door) limit", "match"),
        ("label_replace(limit, \"r\", \"$1\", \"room\", \"(\")", "regular expression"),
    ] {
        let said = now(query);
        assert!(said.starts_with("error: ") && said.contains(part), "{query}: {said}");
    }
    let long = format!("temp{}", " ".repeat(20 << 10));
    let deep = format!("{}1{}", "(".repeat(80), ")".repeat(80));
    for query in [long, deep] {
        assert!(now(&query).contains("limit of"), "{}", now(&query));
    }
    let params = Params::range((0, 12_000_000), 1, 0, Width::TEN_SECONDS);
    assert!(matches!(ask(&[], "1", params), Err(QueryError::Limit(_))));
}

#[test]
fn a_range_is_answered_at_each_step_and_open_windows_at_once() {
    let start = TimeMs::from(nth(1)) * 1000;
    let params = Params::range((start, start + 20_000), 10_000, start + 20_000, Width::TEN_SECONDS);
    let said = |query| text(&ask(&shop(), query, params).expect(query));
    assert_eq!(said("temp{room=\"a\"}"), "{room=a} 1 5 3");
    assert_eq!(said("increase(mails[20s])"), "{} 1 3 6");
    // Two seconds into the third window, what is in it is shown.
    let params = Params::instant(start + 12_000, start + 12_000, Width::TEN_SECONDS);
    assert_eq!(text(&ask(&shop(), "increase(mails[1m])", params).expect("answers")), "{} 7");
}

#[test]
fn every_indicator_compiles() {
    for indicator in INDICATORS {
        let params = Params::instant(RUN, RUN, Width::TEN_SECONDS);
        Plan::parse(indicator.name, params, Some("shop")).unwrap_or_else(|error| panic!("{}: {error}", indicator.name));
    }
}

proptest! {
    /// The same events, told as deltas and as totals with restarts, give the same increases over any range.
    #[test]
    fn delta_and_cumulative_give_the_same_rates(
        amounts in prop::collection::vec((0u32..1000, prop::bool::weighted(0.2)), 1..40),
        range in 1i64..30,
    ) {
        let deltas: Vec<f64> = amounts.iter().map(|(amount, _)| f64::from(*amount)).collect();
        let (mut start, mut total) = (RUN, 0.0);
        let mut totals = Vec::new();
        for (i, (amount, restart)) in amounts.iter().enumerate() {
            let time = TimeMs::from(nth(i)) * 1000 + 9000;
            if *restart {
                (start, total) = (time - 8000, 0.0);
            }
            total += f64::from(*amount);
            totals.push((nth(i), Cell::Counter(Counter::one(Run { start, time, value: total }))));
        }
        let cumulative = series("n", "1", MetricKind::Counter, Temporality::Cumulative, totals);
        let end = TimeMs::from(nth(amounts.len())) * 1000;
        let params = Params::range((RUN + 10_000, end), 10_000, end + 60_000, Width::TEN_SECONDS);
        let query = format!("rate(n[{}s])", range * 10);
        let as_deltas = ask(&[delta("n", &deltas)], &query, params).expect("answers");
        let as_totals = ask(&[cumulative], &query, params).expect("answers");
        prop_assert_eq!(text(&as_deltas), text(&as_totals));
    }

    /// The same for distributions.
    #[test]
    fn delta_and_cumulative_histograms_give_the_same_quantiles(
        counts in prop::collection::vec(prop::array::uniform4(0u64..50), 1..20),
    ) {
        let bounds = [0.1, 0.5, 1.0];
        let mut total = [0u64; 4];
        let (mut deltas, mut totals) = (Vec::new(), Vec::new());
        for (i, counts) in counts.iter().enumerate() {
            for (total, count) in total.iter_mut().zip(counts) {
                *total += count;
            }
            deltas.push((nth(i), Cell::Histogram(Box::new(explicit(&bounds, counts, 0.0)))));
            let run = Run { start: RUN, time: TimeMs::from(nth(i)) * 1000, value: explicit(&bounds, &total, 0.0) };
            totals.push((nth(i), Cell::HistogramRuns(Box::new(HistogramRuns(vec![run])))));
        }
        let end = TimeMs::from(nth(counts.len())) * 1000;
        let params = Params::range((RUN + 10_000, end), 10_000, end + 60_000, Width::TEN_SECONDS);
        let of = |temporality, cells| series("d", "1", MetricKind::Histogram, temporality, cells);
        for query in ["histogram_quantile(0.9, rate(d[30s]))", "histogram_count(increase(d[50s]))"] {
            let as_deltas = ask(&[of(Temporality::Delta, deltas.clone())], query, params).expect("answers");
            let as_totals = ask(&[of(Temporality::Cumulative, totals.clone())], query, params).expect("answers");
            prop_assert_eq!(text(&as_deltas), text(&as_totals));
        }
    }
}
