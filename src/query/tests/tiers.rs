//! What wide windows tell of narrow ranges, and of what is still open.

use super::*;

const HOUR: TimeMs = 3_600_000;

/// A counter that adds 3600 an hour, in windows of an hour that begin with the first.
fn hourly(first: u32, totals: &[f64]) -> SeriesWindows {
    let cell = |(i, total): (usize, &f64)| {
        let start = first + 3600 * i as u32;
        let time = TimeMs::from(start) * 1000 + HOUR - 1000;
        (start, Cell::Counter(Counter::one(Run { start: 1, time, value: *total })))
    };
    let cells = totals.iter().enumerate().map(cell).collect();
    series("n", "1", MetricKind::Counter, Temporality::Cumulative, cells)
}

fn at(data: &SeriesWindows, query: &str, at: TimeMs, now: TimeMs) -> String {
    text(&ask(std::slice::from_ref(data), query, Params::instant(at, now, Width::HOUR)).expect(query))
}

#[test]
fn a_narrow_range_is_widened_to_the_windows_and_scaled_back() {
    let data = hourly(36_000, &[3_600.0, 7_200.0, 10_800.0, 14_400.0]);
    let (end, later) = (36_000_000 + 4 * HOUR, 36_000_000 + 90 * HOUR);
    for (query, expected) in [
        ("rate(n[5m])", "{} 1"),
        ("rate(n[90m])", "{} 1"),
        ("rate(n[2h])", "{} 1"),
        ("increase(n[5m])", "{} 300"),
        ("increase(n[90m])", "{} 5400"),
        ("increase(n[2h])", "{} 7200"),
        ("max_over_time(n[5m])", "{} 14400"),
    ] {
        assert_eq!(at(&data, query, end, later), expected, "{query}");
        // Half an hour on, the last whole window still stands for what is asked.
        assert_eq!(at(&data, query, end + HOUR / 2, later), expected, "{query} later");
    }
    assert_eq!(at(&data, "n", end + HOUR - 1000, later), "{} 14400");
    assert_eq!(at(&data, "n", end + HOUR, later), "");
}

#[test]
fn an_open_window_adds_the_time_that_it_covers() {
    let data = hourly(36_000, &[3_600.0, 7_200.0, 10_800.0, 12_600.0]);
    // Half of the fourth hour has passed.
    let now = 36_000_000 + 3 * HOUR + HOUR / 2;
    assert_eq!(at(&data, "rate(n[1h])", now, now), "{} 1");
    assert_eq!(at(&data, "increase(n[2h])", now, now), "{} 9000");
    // It is not told before it came.
    assert_eq!(at(&data, "n", now - 20 * 60_000, now), "{} 10800");
}

#[test]
fn what_is_fetched_holds_the_total_before_the_range() {
    for (width, query) in
        [(Width::TEN_SECONDS, "rate(n[5m])"), (Width::MINUTE, "rate(n[5m])"), (Width::HOUR, "rate(n[5m])")]
    {
        let plan = Plan::parse(query, Params::instant(100 * HOUR, 200 * HOUR, width), None).expect(query);
        let range = 300_000.max(width.millis());
        let first = TimeMs::from(width.window_of(plan.selects()[0].start)) * 1000;
        assert!(first <= 100 * HOUR - range - 2 * width.millis(), "{width:?}");
    }
}

proptest! {
    #[test]
    fn totals_tell_the_same_increases_as_cells(
        steps in prop::collection::vec((1u32..4, any::<bool>(), 0u32..100, 0u8..10), 1..60),
        range in 1u32..30,
    ) {
        let (mut at, mut value, mut start) = (T0, 0.0, RUN);
        let mut totals = Vec::new();
        for (gap, is_known, more, reset) in steps {
            at += 10 * gap;
            value = if reset == 0 { f64::from(more) } else { value + f64::from(more) };
            start = if reset == 0 && is_known { TimeMs::from(at) * 1000 } else { start };
            totals.push((at, Run { start, time: TimeMs::from(at) * 1000 + 1, value }));
        }
        let cells = totals.iter().map(|(at, run)| (*at, Cell::Counter(Counter::one(*run)))).collect();
        let of_cells = series("orders", "1", MetricKind::Counter, Temporality::Cumulative, cells);
        let of_totals = SeriesWindows { totals, ..of_cells.clone_without_windows() };
        let query = format!("sum(rate(orders[{}s])) / increase(orders[1m])", range * 10);
        for increases in [Increases::Exact, Increases::Extrapolated] {
            let params = Params { increases, ..Params::range((RUN, RUN + 2_000_000), 7_000, RUN + 9_000_000, Width::TEN_SECONDS) };
            let plan = Plan::parse(&query, params, None).expect("parses");
            prop_assert!(plan.is_of_increases());
            let told = |one: &SeriesWindows| plan.evaluate(&vec![vec![one.clone()]; plan.selects().len()]).expect("told");
            prop_assert_eq!(format!("{:?}", told(&of_totals)), format!("{:?}", told(&of_cells)));
        }
    }
}
