//! Whole-system benchmarks: real servers as child processes, the same bytes to all, in one interleaved run.
//!
//! `cargo bench --bench load -- [--quick] [TABLE…]` prints tables of ratios. Servers have core 0, the generator core 1.
//! Rates are per CPU second of the server's process, since a shared machine makes wall time worthless. Floors are always
//! there; a peer that is not installed is skipped and said so (`benches/install-peers.sh`).

#![expect(clippy::print_stdout, reason = "a benchmark prints its tables")]
#![expect(clippy::indexing_slicing, reason = "a benchmark that fails says so by panicking")]

mod alerting;
mod contenders;
mod floors;
mod generator;
mod in_process;
mod payload;
mod process;
mod queries;
mod storage;
mod tables;
mod traces;
mod watchers;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) seconds: u64,
    pub(crate) repetitions: usize,
    /// Series of the large cases.
    pub(crate) many: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, name, address] = arguments.as_slice()
        && flag == "--floor"
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        return runtime.block_on(floors::serve(name, address));
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let effort = if quick {
        Effort { seconds: 2, repetitions: 3, many: 200_000 }
    } else {
        Effort { seconds: 5, repetitions: 5, many: 1_000_000 }
    };
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect();
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    process::take_core_one();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        for (name, table) in tables::TABLES {
            if wanted.is_empty() || wanted.contains(name) {
                table(effort).await;
            }
        }
    });
}
