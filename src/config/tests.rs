//! Precedence, suggestions, and that all mistakes are told at once.

use super::*;

fn read(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let environment: Vec<_> = environment.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let resolved = load(&flags, &environment, None);
    Config::read(&resolved).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

#[test]
fn defaults_are_loopback_and_private() {
    let config = read(&[], &[]).expect("sound");
    assert_eq!(config.database, Backend::Private);
    assert_eq!(config.redis, Backend::Private);
    assert_eq!(config.http_addr.to_string(), "127.0.0.1:3001");
    assert_eq!(config.ingest.limits.receive_bytes, 64 << 20);
}

#[test]
fn a_flag_beats_the_environment_and_the_url_beats_its_parts() {
    let environment = [("FASTBREAK_WINDOW", "15s"), ("DB_HOST", "db"), ("DB_PASSWORD", "p@ss"), ("PORT", "8080")];
    let config = read(&["window=30s"], &environment).expect("sound");
    assert_eq!(config.window.seconds(), 30);
    assert_eq!(config.http_addr.port(), 8080);
    assert_eq!(config.database, Backend::Url("postgres://postgres:p%40ss@db:5432/fastbreak".to_owned()));
    let config = read(&[], &[("DB_HOST", "db"), ("DATABASE_URL", "postgres://u@h/d")]).expect("sound");
    assert_eq!(config.database, Backend::Url("postgres://u@h/d".to_owned()));
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let environment =
        [("FASTBREAK_WINDW", "1s"), ("FASTBREAK_CHECKPOINT", "soon"), ("FASTBREAK_GRPC_ADDR", "0.0.0.0:3001")];
    let problems = read(&["windo=1s", "window=7s"], &environment).expect_err("mistakes");
    let told = problems.join("\n");
    for expected in [
        "environment FASTBREAK_WINDW: unknown variable, did you mean \"FASTBREAK_WINDOW\"?",
        "command line: unknown key \"windo\", did you mean \"window\"?",
        "environment FASTBREAK_CHECKPOINT: checkpoint = \"soon\" is not a duration",
        "command line: window must be whole seconds that divide an hour",
        "is not loopback and no tokens are configured",
    ] {
        assert!(told.contains(expected), "{expected}\n---\n{told}");
    }
}

#[test]
fn the_seeds_debug_variable_means_debug() {
    assert_eq!(read(&[], &[("DEBUG", "fastbreak:*")]).expect("sound").log_filter, "info,fastbreak=debug");
}
