//! The fleet at its edges: streams that are given up, refusals that come late, text that cannot be kept, replicas that stall.

use std::collections::BTreeSet;
use std::time::Duration;

use fastbreak::proto;
use fastbreak::proto::invalidation_service_client::InvalidationServiceClient;
use fastbreak::proto::watch_response::Message as Told;
use fastbreak::storage::{Config, Storage};
use serde_json::json;
use tonic::Code;

use crate::alerting::{call, options, save_rule};
use crate::alerting_doors::channel;
use crate::own_telemetry::counted;
use crate::policy_fleet::fleet;
use crate::policy_watch::{Instance, client, create, policy, update};
use crate::support::server::Options;
use crate::support::{Database, eventually, export, within};

fn invalidate(service: &str) -> proto::InvalidateRequest {
    proto::InvalidateRequest {
        service: service.to_owned(),
        key_space: "products".to_owned(),
        tags: vec!["shoes".to_owned()],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_while_it_opens_leaves_nobody_connected() {
    let database = Database::create().await;
    let server = Options::on(&database).start();
    client(&server).await.create_policy(create(policy("shop", 60))).await.unwrap();
    database.execute("ALTER TABLE policy_instances RENAME TO away").await;
    let instance = Instance::of(&server, "shop", &[]).await;
    eventually("it cannot be entered", async || counted(&server, "fastbreak_policies_fleet_failures_total").await > 0)
        .await;
    drop(instance);
    eventually("nobody watches", async || counted(&server, "fastbreak_policies_watching").await == 0).await;
    database.execute("ALTER TABLE away RENAME TO policy_instances").await;
    // What waits is written in order: once another is in, the first has been.
    let other = Instance::of(&server, "mail", &[]).await;
    let connected = "SELECT count(*) FROM policy_instances WHERE connected AND service = ";
    eventually("another is in", async || database.number(&format!("{connected}'mail'")).await == 1).await;
    eventually("the first is not", async || database.number(&format!("{connected}'shop'")).await == 0).await;
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_of_a_message_may_be_refused_whatever_waits_behind_it() {
    let server = Options::on(&Database::create().await).start();
    let mut policies = client(&server).await;
    let named = |id: &str, ttl: i64| proto::Policy { id: id.to_owned(), ..policy("shop", ttl) };
    for id in ["a", "b"] {
        policies.create_policy(create(named(id, 60))).await.unwrap();
    }
    let mut instance = Instance::of(&server, "shop", &[]).await;
    let snapshot = instance.next().await;
    let mut invalidations = InvalidationServiceClient::new(channel(&server).await);
    invalidations.invalidate(invalidate("shop")).await.unwrap();
    for id in ["a", "b"] {
        let error = format!("{id} is not to my taste");
        instance.refuse(&snapshot.nonce, id, &error).await;
    }
    let next = instance.next().await;
    assert!(matches!(next.message, Some(Told::Invalidation(_))), "{next:?}");
    let errors = async || -> BTreeSet<String> {
        let fleet = fleet(&server, false).await;
        fleet.iter().flat_map(|one| &one.policies).map(|policy| policy.error.clone()).collect()
    };
    let both: BTreeSet<String> = ["a", "b"].map(|id| format!("{id} is not to my taste")).into();
    eventually("both are refused", async || errors().await == both).await;
    // That an invalidation failed says nothing of policies.
    instance.ack(next.nonce, "no Redis").await;
    policies.update_policy(update(named("a", 90), 1)).await.unwrap();
    let changed = instance.delta("").await.0;
    assert_eq!(changed, [("a".to_owned(), 2)]);
    eventually("one is taken now", async || errors().await == ["", "b is not to my taste"].map(str::to_owned).into())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_is_told_once_and_a_converged_invalidation_to_nobody_new() {
    let server = Options::on(&Database::create().await).start();
    client(&server).await.create_policy(create(policy("shop", 60))).await.unwrap();
    let mut instance = Instance::of(&server, "shop", &[]).await;
    instance.snapshot().await;
    let bend = json!({ "policyId": "of-shop", "adjustment": { "ttlFactor": 2 }, "lease": "10m" });
    assert_eq!(call(&server, "POST", "/api/overrides", &bend).await.0, 201);
    assert_eq!(instance.delta("").await.0.len(), 1);
    let sent = counted(&server, "fastbreak_policies_sent_total").await;
    let mut invalidations = InvalidationServiceClient::new(channel(&server).await);
    for _ in 0..5 {
        invalidations.invalidate(invalidate("mail")).await.unwrap();
    }
    invalidations.invalidate(invalidate("shop")).await.unwrap();
    let next = instance.next().await;
    assert!(matches!(next.message, Some(Told::Invalidation(_))), "not the override again: {next:?}");
    assert_eq!(counted(&server, "fastbreak_policies_sent_total").await, sent);
    instance.applied(next.nonce).await;
    eventually("it is in Redis", async || {
        server.get("/api/invalidations").await.as_array().unwrap().iter().any(|one| one["converged"] == true)
    })
    .await;
    let mut second = Instance::named(&server, "shop", "shop-2").await.unwrap();
    let snapshot = second.snapshot().await;
    assert_eq!(snapshot.invalidation, 6, "its memory is empty, and Redis knows");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_postgres_cannot_keep_is_refused_by_name() {
    let server = Options::on(&Database::create().await).start();
    let body = json!({ "id": "a", "name": "A", "selector": { "service": "shop" }, "cache": {} });
    for (query, name, field) in [("?author=%00", "A", "author"), ("?reason=a%00", "A", "reason"), ("", "A\0", "name")] {
        let mut body = body.clone();
        body["name"] = json!(name);
        let (status, answer) = call(&server, "POST", &format!("/api/policies{query}"), &body).await;
        assert_eq!((status, answer["field"].as_str()), (400, Some(field)), "{answer}");
    }
    let key = json!({ "keySpace": "products", "keys": ["a\0"] });
    let (status, answer) = call(&server, "POST", "/api/invalidations", &key).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("keys[0]")), "{answer}");
    let large = json!({ "keySpace": "products", "keys": (0..100).map(|n| format!("{n:01000}")).collect::<Vec<_>>() });
    let (status, answer) = call(&server, "POST", "/api/invalidations", &large).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("keys")), "{answer}");
    let refused = Instance::named(&server, "shop", "a\0").await.map(drop).unwrap_err();
    assert_eq!(
        (refused.code(), refused.message().contains("hello.instance")),
        (Code::InvalidArgument, true),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_instance_outlives_a_stall_of_its_replica() {
    let database = Database::create().await;
    let server = Options::on(&database).start();
    client(&server).await.create_policy(create(policy("shop", 60))).await.unwrap();
    let mut instance = Instance::of(&server, "shop", &[]).await;
    instance.snapshot().await;
    let rows = "SELECT count(*) FROM policy_instances WHERE connected";
    eventually("it and its server are known", async || fleet(&server, false).await.iter().any(|one| one.connected))
        .await;
    let storage = Storage::connect(Config::new(database.url.clone())).await.unwrap();
    // Neither its server nor anybody else is heard while this is looked at.
    drop(instance);
    server.kill();
    database.execute("UPDATE policy_instances SET connected = true, last_seen_at = now() - interval '8 days'").await;
    storage.fleet_forget().await.unwrap();
    assert_eq!(database.number(rows).await, 1, "it may go on");
    database.execute("UPDATE replicas SET expires_at = now() - interval '2 hours'").await;
    storage.fleet_forget().await.unwrap();
    assert_eq!(database.number(rows).await, 0, "it is gone for good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rules_override_lasts_while_it_fires_and_follows_the_rule() {
    let server = options(&Database::create().await).start();
    for id in ["one", "two"] {
        let policy = json!({ "id": id, "name": id, "selector": { "service": "shop" }, "cache": {}, "bounds": { "maxLease": "5s" } });
        assert_eq!(call(&server, "POST", "/api/policies", &policy).await.0, 201);
    }
    let rule = |policy: &str, lease: &str| {
        let over = json!({ "policyId": policy, "adjustment": { "ttlFactor": 2 }, "lease": lease });
        json!({ "name": "Hot", "condition": "heat > threshold", "threshold": 1, "notificationChannels": [], "overrides": [over] })
    };
    save_rule(&server, "hot", rule("one", "10m")).await;
    let heat = export::bytes(&export::request(
        "shop",
        vec![export::gauge("heat", vec![export::point(5.0, export::now(), &[])])],
    ));
    assert!(export::http(&crate::support::server::client(), &server.otlp_http, &heat).await);
    let held = async |policy: &str| server.get(&format!("/api/overrides?policy={policy}")).await[0].clone();
    within(Duration::from_secs(30), "it is held", async || held("one").await.is_object()).await;
    let since = held("one").await["createdAt"].clone();
    let began = std::time::Instant::now();
    // Two leases and more: it is renewed by the lease that it has, not by the one that the rule would like.
    while began.elapsed() < Duration::from_secs(12) {
        assert_eq!(held("one").await["createdAt"], since, "after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut edited = rule("two", "10m");
    edited["id"] = json!("hot");
    assert_eq!(call(&server, "PUT", "/api/alerts/rules/hot?revision=1", &edited).await.0, 200);
    within(Duration::from_secs(4), "it follows the rule", async || {
        held("two").await.is_object() && !held("one").await.is_object()
    })
    .await;
}
