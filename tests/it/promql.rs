//! Prometheus-style scripts: every case of `tests/promql`, through the engine and through the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use fastbreak::query::{Increases, run_script};

fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "test")).collect();
    files.sort();
    files
}

#[test]
fn every_script_passes() {
    let (mut passed, mut failures) = (0, Vec::new());
    for file in scripts() {
        let report = run_script(&std::fs::read_to_string(&file).unwrap(), Increases::Extrapolated);
        passed += report.passed;
        failures.extend(report.failures.into_iter().map(|failure| format!("{}: {failure}", file.display())));
    }
    assert!(failures.is_empty(), "{passed} passed, {} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(passed > 100, "only {passed} cases were found");
}

/// Functions and aggregations that Prometheus documents as stable.
const STABLE: &str = "abs absent absent_over_time acos acosh asin asinh atan atanh avg avg_over_time bottomk ceil changes \
    clamp clamp_max clamp_min cos cosh count count_over_time count_values day_of_month day_of_week day_of_year \
    days_in_month deg delta deriv double_exponential_smoothing exp floor group histogram_avg histogram_count \
    histogram_fraction histogram_quantile histogram_stddev histogram_stdvar histogram_sum hour idelta increase irate \
    label_join label_replace last_over_time ln log10 log2 max max_over_time min min_over_time minute month pi \
    predict_linear present_over_time quantile quantile_over_time rad rate resets round scalar sgn sin sinh sort \
    sort_desc sqrt stddev stddev_over_time stdvar stdvar_over_time sum sum_over_time tan tanh time timestamp topk \
    vector year";

#[test]
fn every_stable_function_operator_and_modifier_has_a_case() {
    let text: String = scripts().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let queries: Vec<&str> = text.lines().filter(|line| line.starts_with("eval")).collect();
    let has = |what: &str| queries.iter().any(|query| query.contains(what));
    for name in STABLE.split_whitespace() {
        let called = [format!(" {name}("), format!("({name}("), format!(" {name} by"), format!(" {name} without")];
        assert!(called.iter().any(|what| has(what)), "{name} has no case");
    }
    for what in [
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " ^ ",
        " atan2 ",
        " == ",
        " != ",
        " > ",
        " < ",
        " >= ",
        " <= ",
        " and ",
        " or ",
        " unless ",
        " bool ",
        " on (",
        "ignoring (",
        "group_left",
        "group_right",
        " by (",
        " without (",
        " offset ",
        "offset -",
        " @ ",
        "@ start()",
        "@ end()",
        "=~",
        "!~",
        "!=\"",
        ":1m]",
    ] {
        assert!(has(what), "{what} has no case");
    }
}

#[test]
fn a_failed_case_is_told_with_its_query_and_an_exit_code() {
    let file = std::env::temp_dir().join(format!("fastbreak-it-{}-failing.test", std::process::id()));
    std::fs::write(&file, "load 1m\n  up 1x5\neval instant at 1m up\n  up 1\neval instant at 1m up + 1\n  {} 3\n")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fastbreak")).args(["query", "--test"]).arg(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("line 5: up + 1: ") && told.ends_with("1 passed, 1 failed\n"), "{told}");
}
