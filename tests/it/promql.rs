//! Prometheus-style scripts: every case of `tests/promql`, through the engine and through the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use fastbreak::query::run_script;

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
        let report = run_script(&std::fs::read_to_string(&file).unwrap());
        passed += report.passed;
        failures.extend(report.failures.into_iter().map(|failure| format!("{}: {failure}", file.display())));
    }
    assert!(failures.is_empty(), "{passed} passed, {} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(passed > 100, "only {passed} cases were found");
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
