//! The cache and the batcher beside the libraries that one would use instead, in one run.
//!
//! `cargo bench -p fastbreak-client --bench cache`; with a word behind `--`, only the part of this name: level1, memory,
//! level2, flights, batcher; with `--reads-of NAME TURNS`, so many million reads of one library, for instructions to be counted
//! (`perf stat`, `valgrind --tool=callgrind`): the difference of two counts is that of the reads. Rates are per second of this machine and swing by a quarter; what counts are the ratios: all
//! take turns, and each has the median of its turns.

#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::unwrap_used, reason = "a bench that fails says so by panicking")]

mod batcher;
mod level1;
mod level2;
mod trace;

/// The middle one.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

/// CPU seconds of this process until now.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--memory-of", name] => return level1::memory_of(name),
        ["--reads-of", name, turns] => return level1::reads_of(name, turns.parse().unwrap()),
        _ => {}
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|word| word == part);
    if wanted("memory") {
        level1::memory();
    }
    if wanted("level1") {
        level1::run();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if wanted("level2") {
        runtime.block_on(level2::run());
    }
    if wanted("flights") {
        runtime.block_on(level2::flights());
    }
    if wanted("batcher") {
        batcher::run();
    }
}
