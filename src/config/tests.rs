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
