//! The scripts of `docs/grpcurl` against the real server, by the real `grpcurl` (`GRPCURL` or on the `PATH`).

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::json;

use crate::alerting::{call, options, save_rule, send, wait_for_state};
use crate::support::hook::{Hook, Reply};
use crate::support::{Database, Server, eventually};

/// The program, if it is on this machine.
fn grpcurl() -> Option<String> {
    let named = std::env::var("GRPCURL").unwrap_or_else(|_| "grpcurl".to_owned());
    let is_there = Command::new(&named).arg("-version").output().is_ok_and(|output| output.status.success());
    is_there.then_some(named)
}

fn address(server: &Server) -> &str {
    server.grpc.trim_start_matches("http://")
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/grpcurl").join(name)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a script; returns what it printed.
fn run(program: &str, server: &Server, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.arg(script(name)).args(arguments).env("GRPCURL", program).env("FASTBREAK_GRPC", address(server));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}:\n{}", text(&output));
    text(&output)
}

/// Every method of `service`, as reflection tells it.
fn methods(program: &str, server: &Server, service: &str) -> Vec<String> {
    let output = Command::new(program).args(["-plaintext", address(server), "list", service]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let listed = String::from_utf8(output.stdout).unwrap();
    listed.lines().map(|line| line.rsplit('.').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_admin_call_is_in_a_script_that_works() {
    let Some(program) = grpcurl() else {
        return println!("skipped: grpcurl is neither named by GRPCURL nor on the PATH");
    };
    let hook = Hook::start(|_, _| Reply::Status(200)).await;
    let database = Database::create().await;
    let options = options(&database)
        .with("FASTBREAK_NOTIFY_ALLOW_CIDRS", "127.0.0.0/8")
        .with("FASTBREAK_NOTIFY_ALLOW_PORTS", "1-65535");
    let server = options.start();
    let email = json!({ "id": "email", "kind": "webhook", "settings": {}, "secrets": { "url": hook.url } });
    assert_eq!(call(&server, "POST", "/api/receivers", &email).await.0, 201);
    save_rule(&server, "load", json!({})).await;
    send(&server, "a", 12.0).await;
    wait_for_state(&server, "load", "firing").await;
    let sent = "SELECT count(*) FROM deliveries WHERE state = 'sent'";
    eventually("it is delivered", async || database.number(sent).await > 0).await;
    for (service, name) in [
        ("RuleService", "rules.sh"),
        ("AlertService", "alerts.sh"),
        ("SilenceService", "silences.sh"),
        ("ReceiverService", "receivers.sh"),
        ("PolicyService", "policies.sh"),
        ("FleetService", "fleet.sh"),
        ("InvalidationService", "invalidations.sh"),
        ("OverrideService", "overrides.sh"),
        ("RolloutService", "rollouts.sh"),
    ] {
        let arguments = if name == "receivers.sh" { vec![hook.url.as_str()] } else { Vec::new() };
        let printed = run(&program, &server, name, &arguments);
        let methods = methods(&program, &server, &format!("fastbreak.v1.{service}"));
        assert!(methods.len() >= 3, "{service}: {methods:?}");
        for method in methods {
            assert!(printed.contains(&format!("# {method} ")), "{name} does not call {method}:\n{printed}");
        }
    }
    assert_eq!(call(&server, "GET", "/api/alerts/rules/docs_slow", &json!(null)).await.0, 404, "nothing is left");
    println!("all scripts of docs/grpcurl work, by {program}");
}
