//! The shape of the house: layers, walls, file length, module docs. See ARCHITECTURE in `src/lib.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer; a module names only those of lower layers, and never another of its own.
const LAYERS: &[(u8, &[&str])] = &[
    (9, &["cli"]),
    (8, &["app", "config"]),
    (7, &["gateway", "grpc"]),
    (6, &["ingest", "alerting", "notify"]),
    (5, &["query"]),
    (4, &["policy", "rollup", "traces"]),
    (3, &["storage", "redis"]),
    (2, &["telemetry", "template", "live"]),
    (1, &["model"]),
    (0, &["error", "proto", "varint"]),
];

/// Pairs that may look sideways, and why.
const SIDEWAYS: &[(&str, &str)] = &[
    // The configuration that `app` is built from.
    ("app", "config"),
];

/// Crate, and the only places that may name it.
const WALLS: &[(&str, &[&str])] = &[
    ("diesel", &["storage"]),
    ("diesel_async", &["storage"]),
    ("prost", &["ingest", "proto.rs", "grpc"]),
    ("opentelemetry_proto", &["ingest", "app/listen.rs", "cli/demo", "cli/send.rs"]),
    ("tonic", &["ingest", "grpc", "proto.rs", "error.rs", "app/listen.rs", "cli/demo", "cli/send.rs"]),
    ("axum", &["gateway", "ingest/grpc.rs", "ingest/http.rs", "app/listen.rs"]),
    ("redis", &["redis.rs"]),
    ("opentelemetry_sdk", &["telemetry/otlp.rs", "cli/demo"]),
    ("opentelemetry_otlp", &["telemetry/otlp.rs", "cli/demo"]),
    ("lettre", &["notify/email"]),
    ("chacha20poly1305", &["notify/seal.rs"]),
    ("minijinja", &["template.rs"]),
    ("rust_embed", &["gateway/assets.rs"]),
    // The words of the product, and what answers are made of, describe themselves.
    ("utoipa", &["alerting/explain.rs", "alerting/quiet.rs", "gateway", "model"]),
    (
        "fastbreak_client",
        &[
            "cli/demo",
            "grpc/policy_words.rs",
            "ingest/statement.rs",
            "policy",
            "query/engine.rs",
            "query/parts.rs",
            "redis.rs",
            "rollup/cache.rs",
            "telemetry/otlp.rs",
        ],
    ),
    ("promql_parser", &["query", "gateway/query.rs"]),
];

/// Cores without clock, runtime or I/O.
const PURE: &[&str] = &[
    "model/",
    "rollup/block/",
    "traces/block/",
    "traces/decide.rs",
    "traces/filter.rs",
    "traces/gather.rs",
    "ingest/spans.rs",
    "ingest/statement.rs",
    "traces/graph.rs",
    "alerting/state.rs",
    "alerting/evaluate.rs",
    "alerting/dispatch.rs",
    "alerting/memory.rs",
    "alerting/replay.rs",
    "alerting/routes.rs",
    "alerting/suppress.rs",
    "alerting/templates.rs",
    "alerting/validate.rs",
    "query/samples.rs",
    "query/eval.rs",
    "query/binary.rs",
    "query/aggregate.rs",
    "query/quantile.rs",
    "query/compile.rs",
    "query/extrapolate.rs",
    "query/fold.rs",
    "query/functions.rs",
    "query/histograms.rs",
    "query/notes.rs",
    "query/range_calls.rs",
    "query/relabel.rs",
    "query/script/",
    "query/select.rs",
    "query/vector_calls.rs",
    "query/many/added.rs",
    "query/many/sums.rs",
    "ingest/json/",
    "template.rs",
    "notify/backoff.rs",
    "notify/words.rs",
    "notify/chart.rs",
];

const LINES_MAX: usize = 500;

struct File {
    /// Below `src`, such as `ingest/wire.rs`.
    path: String,
    /// Without its tests.
    code: String,
    whole: String,
}

fn files(directory: &Path, root: &Path, out: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("src is there") {
        let path: PathBuf = entry.expect("readable").path();
        if path.is_dir() {
            files(&path, root, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let whole = fs::read_to_string(&path).expect("readable");
            let code = whole.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            let path = path.strip_prefix(root).expect("below src").to_string_lossy().into_owned();
            out.push(File { path, code, whole });
        }
    }
}

fn all() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    files(&root, &root, &mut out);
    assert!(out.len() > 50, "the house was not found");
    out
}

fn is_test(file: &File) -> bool {
    file.path.ends_with("/tests.rs")
}

fn module(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

/// What stands behind each `prefix` in code, comments left out.
fn names_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(move |line| line.split(prefix).skip(1))
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

fn none(offenders: &[String], law: &str) {
    assert!(offenders.is_empty(), "{law}:\n  {}", offenders.join("\n  "));
}

#[test]
fn every_module_has_a_layer() {
    let mut unknown = BTreeMap::new();
    for file in all() {
        let module = module(&file.path).to_owned();
        if !matches!(module.as_str(), "lib" | "main") && layer(&module).is_none() {
            unknown.insert(module, file.path);
        }
    }
    none(&unknown.into_values().collect::<Vec<_>>(), "modules without a place in LAYERS");
}

#[test]
fn imports_point_down() {
    let mut offenders = Vec::new();
    for file in all() {
        let from = module(&file.path);
        let Some(own) = layer(from) else { continue };
        for to in names_after(&file.code, "crate::") {
            let Some(other) = layer(to).filter(|_| to != from) else { continue };
            if other >= own && !SIDEWAYS.contains(&(from, to)) {
                offenders.push(format!("{} names {to} (layer {own} to {other})", file.path));
            }
        }
    }
    none(&offenders, "a module names only lower layers");
}

#[test]
fn crates_stay_behind_their_walls() {
    let mut offenders = Vec::new();
    for file in all().iter().filter(|file| !is_test(file)) {
        for (name, places) in WALLS {
            let used = file.code.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
                let after = |at: usize| {
                    line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
                };
                line.match_indices(&format!("{name}::")).any(|(at, _)| after(at))
            });
            if used && !places.iter().any(|place| file.path.starts_with(place)) {
                offenders.push(format!("{} names {name}", file.path));
            }
        }
    }
    none(&offenders, "crates that only some rooms may name");
}

#[test]
fn pure_cores_have_no_runtime_and_no_clock() {
    let mut offenders = Vec::new();
    for file in all().iter().filter(|file| PURE.iter().any(|pure| file.path.starts_with(pure))) {
        for banned in ["tokio::", "Utc::now", "SystemTime::now", "Instant::now", "std::fs", "std::net"] {
            if file.code.contains(banned) {
                offenders.push(format!("{} names {banned}", file.path));
            }
        }
    }
    none(&offenders, "pure cores decide from their arguments alone");
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let long = |file: &File| {
        (file.code.lines().count() > LINES_MAX).then(|| format!("{}: {}", file.path, file.code.lines().count()))
    };
    none(&all().iter().filter_map(long).collect::<Vec<_>>(), "files grow out of their shape");
}

#[test]
fn every_file_says_what_it_is() {
    let mute = |file: &File| (!file.whole.starts_with("//! ")).then(|| file.path.clone());
    none(&all().iter().filter_map(mute).collect::<Vec<_>>(), "files without a module doc");
}

#[test]
fn sql_is_never_put_together_from_text() {
    let built = |file: &File| file.code.contains("sql_query(format!").then(|| file.path.clone());
    none(&all().iter().filter_map(built).collect::<Vec<_>>(), "statements with values in their text");
}
