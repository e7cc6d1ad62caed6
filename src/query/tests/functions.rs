//! Functions, modifiers and notes, one table each.

use super::*;
use crate::model::ExponentialBuckets;

/// Numbers a window apart, and histograms of every sort.
fn data() -> Vec<SeriesWindows> {
    let exponential = |offset, counts: &[u64]| {
        let mut of = Histogram::exponential(0);
        of.count = counts.iter().sum();
        of.sum = 4.0;
        if let Buckets::Exponential { positive, .. } = &mut of.buckets {
            *positive = ExponentialBuckets { offset, counts: counts.to_vec() };
        }
        of
    };
    vec![
        gauge("line{a=x}", &[1.0, 3.0, 5.0]),
        gauge("flat", &[2.0, 2.0, 2.0]),
        gauge("steps", &[4.0, 1.0, 1.0]),
        gauge("odd{le=1,kind=a}", &[1.0]),
        gauge("not{b=y}", &[f64::NAN]),
        delta("mails", &[1.0, 2.0, 4.0]),
        counter("orders", &[10.0, 30.0, 60.0]),
        durations("explicit", "", explicit(&[1.0, 2.0], &[1, 1, 0], 2.5)),
        durations("boundless", "", explicit(&[], &[7], 7.0)),
        durations("mixed{of=explicit}", "", explicit(&[1.0, 2.0], &[1, 1, 0], 2.5)),
        durations("mixed{of=exponential}", "", exponential(0, &[2])),
        durations("apart{of=a}", "", explicit(&[1.0], &[3, 4], 2.5)),
        durations("apart{of=b}", "", explicit(&[2.0], &[5, 6], 2.5)),
        durations("native", "", exponential(0, &[2, 2])),
    ]
}

fn answer(query: &str) -> Answer {
    let at = TimeMs::from(nth(3)) * 1000;
    ask(&data(), query, Params::instant(at, at + 60_000, Width::TEN_SECONDS)).expect(query)
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (query, expected) in table {
        assert_eq!(text(&answer(query)), *expected, "{query}");
    }
}

#[test]
fn trends_and_smoothing() {
    check(&[
        ("deriv(line[30s])", "{a=x} 0.2"),
        // The last value was measured a second before.
        ("predict_linear(line[30s], 59)", "{a=x} 17"),
        ("predict_linear(flat[30s], 3600)", "{} 2"),
        ("double_exponential_smoothing(line[30s], 0.5, 0.5)", "{a=x} 5"),
        ("changes(steps[30s])", "{} 1"),
        ("resets(steps[30s])", "{} 1"),
        ("resets(mails[30s])", "{} 0"),
        ("stddev_over_time(line[30s])", "{a=x} 1.632993"),
        ("stdvar_over_time(flat[30s])", "{} 0"),
        ("present_over_time(line[30s])", "{a=x} 1"),
        ("irate(mails[30s])", "{} 0.4"),
        ("irate(orders[30s])", "{} 3"),
    ]);
}

#[test]
fn times_and_subqueries() {
    let third = T0 + 30;
    check(&[
        (&format!("line @ {}", T0 + 10), "{a=x} 1"),
        (&format!("line @ {third} offset 10s"), "{a=x} 3"),
        ("line @ end()", "{a=x} 5"),
        (&format!("increase(orders[20s] @ {})", T0 + 20), "{} 30"),
        ("max_over_time(line[30s:10s])", "{a=x} 5"),
        ("sum_over_time(line[30s:10s])", "{a=x} 9"),
        ("count_over_time((line > 2)[30s:10s])", "{a=x} 2"),
        ("min_over_time(sum(line)[30s:10s] offset 10s)", "{} 1"),
        ("increase(orders[30s:10s])", "{} 50"),
        ("max_over_time(rate(mails[10s])[30s:10s])", "{} 0.4"),
        ("absent_over_time(line[30s:10s])", ""),
        ("timestamp(line)", &format!("{{a=x}} {}", T0 + 29)),
        ("timestamp(mails)", &format!("{{}} {third}")),
        ("timestamp(line + 0)", &format!("{{a=x}} {third}")),
        ("pi()", "3.141592653589793"),
    ]);
}

#[test]
fn numbers() {
    check(&[
        ("acos(line - 4)", "{a=x} 0"),
        ("tanh(flat - 2)", "{} 0"),
        ("1 atan2 1", "0.7853981633974483"),
        ("clamp(line, 2, 4)", "{a=x} 4"),
        ("clamp(line, 4, 2)", ""),
        ("clamp_min(not, 1)", "{b=y} NaN"),
        ("sort_desc(line or flat or not)", "{a=x} 5; {b=y} NaN; {} 2"),
        ("label_join(line, \"b\", \"-\", \"a\", \"a\")", "{a=x,b=x-x} 5"),
        ("-native", "{} histogram(4)"),
    ]);
}

#[test]
fn distributions() {
    check(&[
        ("histogram_fraction(0, 1, explicit)", "{} 0.5"),
        ("histogram_fraction(1, 1.5, explicit)", "{} 0.25"),
        ("histogram_fraction(1, Inf, native)", "{} 1"),
        ("histogram_fraction(2, 4, native)", "{} 0.5"),
        ("histogram_stdvar(explicit)", "{} 0.3125"),
        ("histogram_quantile(0.5, boundless)", "{} NaN"),
        ("histogram_quantile(0.5, sum(apart))", "{} NaN"),
        ("histogram_count(sum(apart))", "{} 18"),
        ("sum(mixed)", ""),
        ("count(mixed)", "{} 2"),
        // Counted a minute and a half minute apart: 2/60 + 2/30 a second.
        ("histogram_count(rate(explicit[1m]) + rate(explicit[30s]))", "{} 0.1"),
        ("count_over_time(explicit[30s])", "{} 1"),
        ("last_over_time(histogram_count(explicit)[30s:10s])", "{} 2"),
    ]);
}

#[test]
fn selectors_see_le_names_and_alternatives() {
    check(&[
        ("odd{le=\"1\"}", "{kind=a,le=1} 1"),
        ("odd{le=\"1.0\"}", "{kind=a,le=1} 1"),
        ("odd{le=\"2\"}", ""),
        ("line{quantile=\"0.5\"}", ""),
        ("line{le=\"\"}", "{a=x} 5"),
        ("explicit_bucket{le=\"1.0\"}", "{le=1} 1"),
        ("explicit_bucket{le!=\"+Inf\"}", "{le=1} 1; {le=2} 2"),
        ("{__name__=\"flat\" or __name__=\"line\", a=\"x\"}", "{a=x} 5; {} 2"),
        ("{__name__=~\"flat|steps\", __name__!=\"steps\"}", "{} 2"),
    ]);
}

#[test]
fn answers_say_what_was_left_out() {
    let said = |query: &str| {
        let Answer { warnings, infos, .. } = answer(query);
        [warnings, infos].concat().join("; ")
    };
    for (query, expected) in [
        ("sum(mixed)", "exponential and explicit"),
        ("sum(apart)", "reconciled"),
        ("sum(explicit or line)", "histograms and floats"),
        ("min(explicit)", "ignored histograms in min"),
        ("explicit + flat", "incompatible sample types"),
        ("quantile(2, line)", "between 0 and 1, got 2"),
        ("histogram_quantile(-1, explicit)", "between 0 and 1, got -1"),
        ("histogram_quantile(0.5, line)", "\"le\" is missing"),
        ("rate(line[30s])", "is a gauge"),
        ("rate(orders[15s])", "a range of 15s was read as 20s"),
    ] {
        assert!(said(query).contains(expected), "{query}: {}", said(query));
    }
    assert_eq!(said("sum(rate(orders[30s]))"), "");
}

#[test]
fn what_is_too_late_has_no_answer() {
    let plan = Plan::parse("line", Params::instant(RUN, RUN, Width::TEN_SECONDS), None).expect("parses");
    let late = std::sync::atomic::AtomicBool::new(true);
    assert!(matches!(plan.evaluate_until(&[Vec::<SeriesWindows>::new()], &late), Ok(None)));
}
