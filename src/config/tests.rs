//! Precedence, suggestions, and that all mistakes are told at once.

use std::ffi::OsString;

use super::*;

fn read(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let environment: Vec<_> = environment.iter().map(|(n, v)| (n.into(), v.into())).collect();
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

#[test]
fn the_seeds_variables_make_receivers_and_their_mistakes_name_the_variable() {
    let sound = [
        ("SMTP_HOST", "mail.example.com"),
        ("SMTP_USER", "alerts@example.com"),
        ("SMTP_PASS", "secret"),
        ("ALERT_EMAIL_RECIPIENTS", "a@example.com, b@example.com"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/X"),
    ];
    let config = read(&[], &sound).expect("sound");
    let ids: Vec<&str> = config.notify.environment.iter().map(|draft| draft.id.as_str()).collect();
    assert_eq!(ids, ["email", "slack"]);
    assert_eq!(config.notify.environment[0].settings["from"], "alerts@example.com");
    assert!(!format!("{config:?}").contains("hooks.slack.com"));
    let bad = [
        ("SMTP_HOST", "mail.example.com"),
        ("SMTP_USER", "alerts"),
        ("SMTP_TLS", "maybe"),
        ("ALERT_EMAIL_RECIPIENTS", "nobody"),
        ("ALERT_WEBHOOK_URL", "http://10.0.0.1/token"),
        ("FASTBREAK_SECRET_KEY", "short"),
        ("FASTBREAK_NOTIFY_ALLOW_CIDRS", "10.0.0.0/40"),
        ("FASTBREAK_NOTIFY_ALLOW_PORTS", "0-80"),
    ];
    let told = read(&[], &bad).expect_err("mistakes").join("\n");
    for expected in [
        "environment SMTP_TLS: smtp_tls must be one of auto, starttls, tls, none",
        "environment SMTP_USER: smtp_user needs a password",
        "alert_email_from is no mail address",
        "environment ALERT_EMAIL_RECIPIENTS: alert_email_recipients has \"nobody\"",
        "environment ALERT_WEBHOOK_URL: alert_webhook_url is not to be called: the address 10.0.0.1 is not public",
        "environment FASTBREAK_SECRET_KEY: secret_key has fewer than 32 bytes",
        "notify_allow_cidrs has \"10.0.0.0/40\"",
        "notify_allow_ports has \"0-80\"",
    ] {
        assert!(told.contains(expected), "{expected}\n---\n{told}");
    }
    assert!(!told.contains("token"));
}

#[test]
fn numbers_have_a_range_that_the_message_tells() {
    let check = |variable: &str, value: &str, expect: &str| {
        let told = read(&[], &[(variable, value)]).expect_err(value).join("\n");
        assert!(told.starts_with(&format!("environment {variable}: {expect}")), "{told}");
    };
    check("FASTBREAK_DATABASE_CONNECTIONS", "0", "database_connections = \"0\" is not a number from 2 to 1000");
    check("FASTBREAK_MAX_STREAMS", "x", "max_streams = \"x\" is not a number from 1 to 10000");
    check("FASTBREAK_GRACE_PERIOD", "1d", "grace_period = \"1d\" must be from 1s to 10m");
    check("FASTBREAK_RETENTION_HOUR", "1000y", "retention_hour = \"1000y\" must be from 1h to 100years");
    check("FASTBREAK_RECEIVE_BYTES", "1", "receive_bytes = \"1\" is not a size from 1.0 KiB to 1.0 GiB, such as 64MiB");
    check("RUST_LOG", "fastbreak=loud", "log_filter = \"fastbreak=loud\" is not understood: ");
}

#[test]
fn a_variable_set_to_nothing_is_not_set() {
    assert_eq!(read(&[], &[("RUST_LOG", ""), ("DB_HOST", "")]).expect("sound").log_filter, "info");
}

#[test]
fn what_is_not_utf_8_is_told_when_it_is_ours() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = || OsString::from_vec(vec![0xff, b'x']);
    let environment = [("FASTBREAK_WINDOW".into(), bad()), ("LS_COLORS".into(), bad()), (bad(), bad())];
    let resolved = load(&[], &environment, None);
    let told: Vec<String> = resolved.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["environment FASTBREAK_WINDOW: the value is not UTF-8"]);
}

#[test]
fn a_secrets_file_must_be_there_and_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("password");
    let name = path.to_str().expect("UTF-8");
    let file = |environment: &[(&str, &str)]| read(&[], environment).map(|config| config.database);
    let told = |environment: &[(&str, &str)]| file(environment).expect_err("refused").join("\n");
    let set = [("DB_HOST", "db"), ("DB_PASSWORD_FILE", name)];
    assert!(told(&set).contains("cannot be read: No such file"), "{}", told(&set));
    std::fs::write(&path, "s3cret\n").expect("written");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
    mode(0o644);
    assert!(told(&set).contains("is open to everybody (mode 644)"), "{}", told(&set));
    mode(0o640);
    assert_eq!(file(&set), Ok(Backend::Url("postgres://postgres:s3cret@db:5432/fastbreak".to_owned())));
    let both = [set[0], set[1], ("DB_PASSWORD", "other")];
    assert!(told(&both).contains("DB_PASSWORD is set too"), "{}", told(&both));
    std::fs::write(&path, "\n").expect("written");
    assert!(told(&set).contains("is empty"), "{}", told(&set));
}
