//! Sums that are kept against the plan that evaluates everything.

use std::sync::Arc;

use proptest::prelude::*;

use super::kept::Metric;
use super::standing::{Meaning, Picked};
use super::sums::{Moment, Sums};
use super::*;
use crate::model::{
    Cell, Counter, Delta, Labels, Metric as Measured, MetricKind, Run, SeriesId, Temporality, WindowStart,
};
use crate::query::{AnswerValue, Column, Sample};
use crate::rollup::{MetricEntry, Registry};

const WIDTH: Width = Width::TEN_SECONDS;
const WINDOWS: usize = 60;
const START: WindowStart = 1_000_000;

/// What a series did in one window.
#[derive(Clone, Copy, Debug)]
enum Did {
    Nothing,
    Rose(u8),
    /// It began anew, with another start time or without.
    Began(bool),
}

fn did() -> impl Strategy<Value = Did> {
    prop_oneof![
        2 => Just(Did::Nothing),
        12 => any::<u8>().prop_map(Did::Rose),
        1 => any::<bool>().prop_map(Did::Began),
    ]
}

fn entry() -> Arc<MetricEntry> {
    let metric = Measured {
        name: "requests".into(),
        unit: "".into(),
        kind: MetricKind::Counter,
        temporality: Temporality::Cumulative,
    };
    Registry::default().metric(metric, "")
}

/// Windows of one series.
fn windows(all: &[Did], is_delta: bool, born: usize) -> Vec<(WindowStart, Cell)> {
    let mut out = Vec::new();
    let (mut total, mut start) = (f64::from(born as u32), i64::from(START) * 1_000 - 5_000);
    for (number, did) in all.iter().enumerate().skip(born) {
        let window = START + 10 * number as u32;
        let time = i64::from(window) * 1_000 + 3_000;
        match did {
            Did::Nothing => continue,
            Did::Rose(by) => total += f64::from(*by),
            Did::Began(with_start) => {
                total = 1.0;
                start = if *with_start { time - 1_000 } else { start };
            }
        }
        let run = Run { start, time, value: total };
        let cell =
            if is_delta { Cell::Delta(Delta { sum: total, count: 1 }) } else { Cell::Counter(Counter::one(run)) };
        out.push((window, cell));
    }
    out
}

fn values(answer: &Answer) -> Vec<(Labels, f64)> {
    let AnswerValue::Vector(columns) = &answer.value else { panic!("a vector") };
    let value = |column: &Column| Some((column.labels.clone(), column.samples.first().and_then(Sample::float)?));
    let mut values: Vec<(Labels, f64)> = columns.iter().filter_map(value).collect();
    values.sort_by(|a, b| a.0.cmp(&b.0));
    values
}

proptest! {
    #[test]
    fn sums_that_are_kept_are_those_of_the_plan(
        series in prop::collection::vec((prop::collection::vec(did(), WINDOWS), any::<bool>(), 0usize..40), 1..6),
        closed in 30usize..WINDOWS,
        late in 0i64..20_000,
        split in any::<bool>(),
        query in prop::sample::select(vec![
            "sum by (zone) (rate(requests[5m])) > threshold",
            "sum(increase(requests[2m])) > threshold",
            "sum without (host) (rate(requests[1m])) > threshold",
        ]),
    ) {
        let entry = entry();
        let mut metric = Metric::new(1);
        let end = START + 10 * WINDOWS as u32;
        let (at, now) = (i64::from(end) * 1_000 - 5_000, i64::from(end) * 1_000 - 5_000 + late);
        let condition = Condition::parse(query, Some(1.0)).expect("sound");
        let plan = condition.plan(Params::instant(at, now, WIDTH)).expect("a plan");
        let mut meaning = Meaning {
            metric: Arc::clone(&entry),
            meant: plan.selects()[0].view_of(&entry.metric).expect("meant"),
            looked_at: 0,
            picked: Vec::new(),
            placed: (0, 0),
        };
        let mut whole = Vec::new();
        for (number, (all, is_delta, born)) in series.iter().enumerate() {
            let windows = windows(all, *is_delta, *born);
            let labels = Labels::of(&[("host", &number.to_string()), ("zone", if number % 2 == 0 { "a" } else { "b" })]);
            let place = metric.place(number as u32);
            let border = START + 10 * closed as u32;
            let kept = &mut metric.series[place as usize];
            kept.closed = windows.iter().filter(|(window, _)| *window <= border).cloned().collect();
            // The window in which the seal fell is in both.
            let of_live = |window: WindowStart| if split { window >= border } else { window > border };
            kept.live = windows.iter().filter(|(window, _)| of_live(*window)).cloned().collect();
            if split && *is_delta {
                kept.closed.retain(|(window, _)| *window < border);
            }
            kept.added.close(&kept.closed);
            kept.added.live(&kept.closed, &kept.live);
            let id = SeriesId(number as u64);
            let metric = Arc::clone(&entry.metric);
            whole.push(SeriesWindows { id, metric, labels: labels.clone(), windows, totals: Vec::new() });
            let shown = Some(labels.clone());
            meaning.picked.push(Picked { slot: number as u32, id, labels, shown, place });
        }
        metric.build = 1;
        let select = &plan.selects()[0];
        let span = (WIDTH.window_of(select.start), WIDTH.window_of(select.end));
        for series in &mut whole {
            series.windows.retain(|(window, _)| span.0 <= *window && *window <= span.1);
        }
        whole.retain(|series| !series.windows.is_empty());
        let expect = values(&plan.evaluate(&[whole]).expect("evaluates"));
        let is_usual = metric.series.iter().all(|kept| !kept.added.is_disturbed);
        let metrics = HashMap::from_iter([(entry.index, metric)]);
        let sum = condition.sum().expect("a sum of rates");
        let mut sums = Sums::default();
        let answer = sums.answer(sum, &[meaning], &metrics, Moment { at, now, width: WIDTH });
        prop_assert_eq!(answer.is_some(), is_usual, "only what is unusual is left to the plan");
        if let Some(answer) = answer {
            let kept = values(&answer);
            prop_assert_eq!(kept.len(), expect.len(), "{:?} {:?}", kept, expect);
            for (kept, expect) in kept.iter().zip(&expect) {
                prop_assert_eq!(&kept.0, &expect.0);
                prop_assert!((kept.1 - expect.1).abs() <= 1e-9 * expect.1.abs().max(1.0), "{:?} {:?}", kept, expect);
            }
        }
    }
}

#[test]
fn only_a_sum_of_rates_as_of_now_is_kept_as_sums() {
    let is_sum = |text: &str| Condition::parse(text, Some(1.0)).expect(text).sum().is_some();
    assert!(is_sum("sum by (a) (rate(x[5m])) > threshold"));
    assert!(is_sum("(sum((increase(x{a=\"b\"}[5m])))) < threshold"));
    for text in ["sum(rate(x[5m] offset 1m)) > threshold", "avg(rate(x[5m])) > threshold", "sum(x) > threshold"] {
        assert!(!is_sum(text), "{text}");
    }
}

#[test]
fn the_newest_windows_are_enough_where_nothing_looks_back() {
    let newest = |text: &str| Condition::parse(text, Some(1.0)).expect(text).is_of_newest();
    assert!(newest("x{a=\"b\"} > threshold") && newest("x / on(a) y > threshold"));
    assert!(!newest("rate(x[5m]) > threshold") && !newest("avgResponseTime > threshold"));
}
