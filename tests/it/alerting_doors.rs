//! The other doors to alerting: gRPC and the command line.

use std::process::Command;

use fastbreak::proto;
use fastbreak::proto::alert_service_client::AlertServiceClient;
use fastbreak::proto::rule_service_client::RuleServiceClient;
use fastbreak::proto::silence_service_client::SilenceServiceClient;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use crate::alerting::{options, send, wait_for_state};
use crate::support::{Database, Server};

pub(crate) async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(server.grpc.clone()).unwrap().connect().await.unwrap()
}

fn rule(threshold: f64) -> proto::Rule {
    proto::Rule {
        id: "load".to_owned(),
        name: "Load".to_owned(),
        condition: "max by (host) (load) > threshold".to_owned(),
        threshold: Some(threshold),
        notification_channels: vec!["email".to_owned()],
        ..proto::Rule::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_over_grpc_have_revisions_dry_runs_and_details() {
    let server = options(&Database::create().await).start();
    let mut rules = RuleServiceClient::new(channel(&server).await);
    let create = |rule, dry_run| proto::CreateRuleRequest { rule: Some(rule), dry_run };
    let tried = rules.create_rule(create(rule(10.0), true)).await.unwrap().into_inner();
    assert_eq!((tried.revision, tried.enabled, tried.limit), (0, Some(true), Some(100)));
    let get = |id: &str| proto::GetRuleRequest { id: id.to_owned() };
    assert_eq!(rules.get_rule(get("load")).await.unwrap_err().code(), Code::NotFound, "only tried");
    for _ in 0..2 {
        let saved = rules.create_rule(create(rule(10.0), false)).await.unwrap().into_inner();
        assert_eq!(saved.revision, 1, "the same again is what is there");
    }
    assert_eq!(rules.create_rule(create(rule(11.0), false)).await.unwrap_err().code(), Code::AlreadyExists);
    let update =
        |threshold, revision| proto::UpdateRuleRequest { rule: Some(rule(threshold)), revision, dry_run: false };
    assert_eq!(rules.update_rule(update(12.0, 1)).await.unwrap().into_inner().revision, 2);
    assert_eq!(rules.update_rule(update(13.0, 1)).await.unwrap_err().code(), Code::Aborted);
    let mut bad = rule(10.0);
    bad.condition = "rate(".to_owned();
    bad.cooldown_minutes = Some(-1.0);
    let refused = rules.create_rule(create(bad, true)).await.unwrap_err();
    let fields: Vec<String> =
        refused.get_details_bad_request().unwrap().field_violations.into_iter().map(|v| v.field).collect();
    assert_eq!(
        (refused.code(), fields),
        (Code::InvalidArgument, vec!["cooldownMinutes".to_owned(), "condition".to_owned()])
    );
    let reverted = rules
        .revert_rule(proto::RevertRuleRequest {
            id: "load".to_owned(),
            to_revision: 1,
            revision: 2,
            ..proto::RevertRuleRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((reverted.revision, reverted.threshold), (3, Some(10.0)));
    let delete = |revision| proto::DeleteRuleRequest { id: "load".to_owned(), revision, dry_run: false };
    assert_eq!(rules.delete_rule(delete(1)).await.unwrap_err().code(), Code::Aborted);
    rules.delete_rule(delete(3)).await.unwrap();
    assert!(
        !rules.list_rules(proto::ListRulesRequest {}).await.unwrap().into_inner().rules.iter().any(|r| r.id == "load")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_silences_over_grpc_are_those_of_the_api() {
    let server = options(&Database::create().await).start();
    let channel = channel(&server).await;
    let mut rules = RuleServiceClient::new(channel.clone());
    let mut alerts = AlertServiceClient::new(channel.clone());
    let mut silences = SilenceServiceClient::new(channel);
    rules.create_rule(proto::CreateRuleRequest { rule: Some(rule(10.0)), dry_run: false }).await.unwrap();
    send(&server, "a", 12.0).await;
    wait_for_state(&server, "load", "firing").await;
    let list = proto::ListAlertsRequest { rule_id: "load".to_owned(), ..proto::ListAlertsRequest::default() };
    let firing = alerts.list_alerts(list).await.unwrap().into_inner().alerts.remove(0);
    assert_eq!((firing.state(), firing.value), (proto::AlertState::Firing, Some(12.0)));
    let take = proto::AcknowledgeAlertRequest { id: firing.id.clone(), by: "ada".to_owned(), note: String::new() };
    assert_eq!(alerts.acknowledge_alert(take).await.unwrap().into_inner().acknowledged.unwrap().by, "ada");
    let one = alerts.get_alert(proto::GetAlertRequest { id: firing.id }).await.unwrap().into_inner();
    assert_eq!(one.transitions.last().unwrap().to, "firing");
    let history = alerts.list_alert_history(proto::ListAlertHistoryRequest::default()).await.unwrap().into_inner();
    assert!(history.alerts.iter().any(|alert| alert.rule_id == "load"));
    let why = proto::ExplainAlertRequest { rule_id: "load".to_owned(), ..proto::ExplainAlertRequest::default() };
    assert_eq!(alerts.explain_alert(why).await.unwrap().into_inner().verdict, "notified");
    let matcher = |op: &str| proto::LabelMatcher { name: "host".to_owned(), op: op.to_owned(), value: "a".to_owned() };
    let met = proto::PreviewSilenceRequest { matchers: vec![matcher("")] };
    assert_eq!(silences.preview_silence(met).await.unwrap().into_inner().alerts.len(), 1);
    let ends_at = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
    let silence = |op: &str| proto::Silence {
        id: "quiet".to_owned(),
        matchers: vec![matcher(op)],
        starts_at: Some((ends_at - std::time::Duration::from_secs(3_600)).into()),
        ends_at: Some(ends_at.into()),
        ..proto::Silence::default()
    };
    let create = |op: &str| proto::CreateSilenceRequest { silence: Some(silence(op)), dry_run: false };
    assert_eq!(silences.create_silence(create("=>")).await.unwrap_err().code(), Code::InvalidArgument);
    for _ in 0..2 {
        let saved = silences.create_silence(create("=")).await.unwrap().into_inner();
        assert_eq!((saved.state.as_str(), saved.affected), ("active", 1), "the same again is what is there");
    }
    let over = silences.expire_silence(proto::ExpireSilenceRequest { id: "quiet".to_owned() }).await.unwrap();
    assert_eq!(over.into_inner().state, "expired");
}

/// Runs the binary; returns exit code, standard output and standard error.
fn fastbreak(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastbreak"));
    let output = command.args(arguments).env("FASTBREAK_URL", &server.http).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_live_in_files_ours_and_those_of_prometheus() {
    let server = options(&Database::create().await).start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.yaml");
    let file = path.to_str().unwrap();
    let write = |threshold: u32| {
        let ours = format!(
            "rules:\n- id: load\n  name: Load\n  condition: max by (host) (load) > threshold\n  threshold: {threshold}\n"
        );
        let theirs = "groups:\n- name: node\n  rules:\n  - alert: Down\n    expr: load == 0\n    for: 5m\n    \
                      annotations:\n      summary: '{{ $labels.host }} is down'\n  - record: a:b\n    expr: sum(load)\n";
        std::fs::write(&path, format!("{ours}{theirs}")).unwrap();
    };
    write(10);
    let (code, out, error) = fastbreak(&server, &["rules", "apply", "-f", file]);
    assert_eq!((code, out.as_str()), (0, "load created\nnode.Down created\n"), "{error}");
    assert!(error.contains("recording rule a:b is left out"), "{error}");
    assert_eq!(fastbreak(&server, &["rules", "apply", "-f", file]).1, "load unchanged\nnode.Down unchanged\n");
    assert_eq!(fastbreak(&server, &["rules", "diff", "-f", file]).0, 0);
    write(20);
    let (code, out, _) = fastbreak(&server, &["rules", "diff", "-f", file]);
    assert_eq!((code, out.as_str()), (3, "load\n  - threshold: 10.0\n  + threshold: 20.0\n"));
    assert_eq!(fastbreak(&server, &["rules", "apply", "-f", file]).1, "load changed\nnode.Down unchanged\n");
    assert_eq!(server.get("/api/alerts/rules/load").await["origin"], "file");
    let (_, out, _) = fastbreak(&server, &["rules", "revisions", "load"]);
    assert_eq!(out.lines().map(|line| &line[..1]).collect::<Vec<_>>(), ["2", "1"], "{out}");
    let (code, out, error) = fastbreak(&server, &["rules", "revert", "load", "1", "--dry-run"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("threshold: 10"), "{out}");
    assert_eq!(server.get("/api/alerts/rules/load").await["threshold"], 20.0, "only tried");
    let (code, out, _) = fastbreak(&server, &["rules", "get", "load"]);
    assert_eq!(code, 0);
    std::fs::write(&path, &out).unwrap();
    assert_eq!(fastbreak(&server, &["rules", "diff", "-f", file]).0, 0, "what is printed is a file:\n{out}");
    std::fs::write(&path, "rules:\n- {id: bad, name: Bad, condition: rate(}\n").unwrap();
    let (code, out, _) = fastbreak(&server, &["rules", "test", "-f", file]);
    assert_eq!(code, 3);
    assert!(out.starts_with("bad condition: "), "{out}");
    let (code, out, error) = fastbreak(&server, &["rules", "backtest", "load", "--since", "1h"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("load: 3601 evaluations, 0 alerts"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_silences_on_the_command_line() {
    let server = options(&Database::create().await).start();
    crate::alerting::save_rule(&server, "load", serde_json::json!({})).await;
    assert_eq!(fastbreak(&server, &["alerts", "list"]).0, 0);
    send(&server, "a", 30.0).await;
    wait_for_state(&server, "load", "firing").await;
    let (code, out, _) = fastbreak(&server, &["alerts", "list"]);
    assert_eq!(code, 3, "something fires");
    let id = out.split_whitespace().next().unwrap();
    let (code, out, error) = fastbreak(&server, &["alerts", "ack", id, "--by", "ada", "--note", "on it"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("taken by ada"), "{out}");
    let (_, out, _) = fastbreak(&server, &["alerts", "explain", "load", "--label", "host=a"]);
    assert!(out.starts_with("notified\n"), "{out}");
    let (code, out, error) = fastbreak(&server, &["silences", "add", "host=~a|b", "--for", "2h", "--by", "ada"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("active") && out.contains("1 alerts"), "{out}");
    let id = out.split_whitespace().next().unwrap();
    assert!(fastbreak(&server, &["silences", "expire", id]).1.contains("expired"));
    let (code, _, error) = fastbreak(&server, &["silences", "add", "host"]);
    assert_eq!(code, 1);
    assert!(error.contains("has none of"), "{error}");
}
