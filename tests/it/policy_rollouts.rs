//! Rollouts: a revision goes to one part of the fleet after the other, by guards and by people.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastbreak::proto;
use fastbreak::proto::rollout_service_client::RolloutServiceClient;
use fastbreak::storage::{Change, Config, RolloutMove, Storage, WriteError};
use tonic::Code;
use tonic::transport::Channel;

use crate::alerting_doors::channel;
use crate::policy_fleet::{Shop, Versions, fleet, seconds};
use crate::policy_watch::{Instance, client, create, policy, update};
use crate::support::server::{Options, Server};
use crate::support::{Database, eventually, export};

/// Ten instances that read the same keys over and over, and tell how often memory had them.
async fn load(server: &Server, shops: &[Shop], until: impl AsyncFn() -> bool) {
    let (http, endpoint) = (crate::support::server::client(), server.otlp_http.clone());
    let mut told: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    while !until().await {
        for (n, shop) in shops.iter().enumerate() {
            for key in 0..20 {
                shop.cache.get_or_load(&key).await.unwrap();
            }
            let (hits, reads) = told.entry(n).or_default();
            (*hits, *reads) = (shop.cache.stats().l1_hits, *reads + 20);
            let instance = format!("shop-{n}");
            let point = |value: u64| export::point(value as f64, export::now(), &[("service.instance.id", &instance)]);
            let metrics = vec![
                export::counter("shop.hits", 2, vec![point(*hits)]),
                export::counter("shop.reads", 2, vec![point(*reads)]),
            ];
            let request = export::request("shop", metrics);
            export::http(&http, &endpoint, &export::bytes(&request)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A server and ten instances that obey a policy.
async fn ten_shops() -> (Server, Vec<Shop>, RolloutServiceClient<Channel>) {
    let server = Options::on(&Database::create().await).with("FASTBREAK_WINDOW", "1s").start();
    client(&server).await.create_policy(create(policy("shop", 3_600))).await.unwrap();
    let source = Versions::default();
    let mut shops = Vec::new();
    for n in 0..10 {
        shops.push(Shop::start(channel(&server).await, &format!("shop-{n}"), &source).await);
    }
    for shop in &shops {
        eventually("the policy is obeyed", async || shop.ttl() == Duration::from_secs(3_600)).await;
    }
    let rollouts = RolloutServiceClient::new(channel(&server).await);
    (server, shops, rollouts)
}

fn guard(query: &str) -> proto::RolloutGuard {
    proto::RolloutGuard {
        name: "hit ratio".to_owned(),
        query: query.to_owned(),
        min_ratio: Some(0.8),
        hold_for: seconds(2),
        ..Default::default()
    }
}

const HIT_RATIO: &str = "sum(increase(shop_hits_total{$group}[5s])) / sum(increase(shop_reads_total{$group}[5s]))";

/// A rollout of a TTL to a tenth, a half, and everybody.
fn start(ttl: i64, guard: proto::RolloutGuard, bake: i64) -> proto::StartRolloutRequest {
    let stage = |percent| proto::RolloutStage { percent, bake: seconds(bake), ..Default::default() };
    proto::StartRolloutRequest {
        policy: Some(policy("shop", ttl)),
        stages: vec![stage(10.0), stage(50.0), stage(100.0)],
        guards: vec![guard],
        author: "ada".to_owned(),
        ..Default::default()
    }
}

async fn standing(server: &Server) -> i64 {
    let stands = proto::GetPolicyRequest { id: "of-shop".to_owned(), revision: 0 };
    client(server).await.get_policy(stands).await.unwrap().into_inner().revision
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_ttl_on_a_tenth_of_the_fleet_is_taken_back_before_half_of_it_has_it() {
    let (server, shops, mut rollouts) = ten_shops().await;
    let started = rollouts.start_rollout(start(0, guard(HIT_RATIO), 30)).await.unwrap().into_inner();
    assert_eq!((started.from_revision, started.to_revision, started.stage), (1, 2, 0));
    let busy = client(&server).await.update_policy(update(policy("shop", 30), 0)).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition, "{busy}");
    let get = proto::GetRolloutRequest { id: started.id.clone() };
    let most = AtomicU64::new(0);
    let began = Instant::now();
    load(&server, &shops, async || {
        let with_it = shops.iter().filter(|shop| shop.ttl().is_zero()).count() as u64;
        most.fetch_max(with_it, Ordering::SeqCst);
        let rollout = rollouts.clone().get_rollout(get.clone()).await.unwrap().into_inner();
        assert!(began.elapsed() < Duration::from_secs(60), "not taken back: {rollout:?}");
        rollout.state() == proto::RolloutState::RolledBack
    })
    .await;
    let most = most.load(Ordering::SeqCst);
    assert!((1..5).contains(&most), "{most} of 10 had it");
    let back = rollouts.get_rollout(get).await.unwrap().into_inner();
    assert_eq!(
        (back.stage, back.reason.as_str(), back.author.as_str()),
        (0, "guard \"hit ratio\" is broken", "guards")
    );
    assert!(back.readings[0].broken && back.readings[0].canary < back.readings[0].control, "{:?}", back.readings);
    for shop in &shops {
        eventually("everybody has what was before", async || shop.ttl() == Duration::from_secs(3_600)).await;
    }
    assert_eq!(standing(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_ttl_goes_all_the_way_by_itself_and_a_person_may_hold_it_or_take_it_back() {
    let (server, shops, mut rollouts) = ten_shops().await;
    let refused = rollouts.start_rollout(start(0, guard("sum(x{$group}"), 1)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message().contains("guards[0].query")),
        (Code::InvalidArgument, true),
        "{refused}"
    );
    let same = rollouts.start_rollout(start(3_600, guard(HIT_RATIO), 1)).await.unwrap_err();
    assert_eq!(same.code(), Code::FailedPrecondition, "{same}");

    let started = rollouts.start_rollout(start(900, guard(HIT_RATIO), 600)).await.unwrap().into_inner();
    let go = proto::MoveRolloutRequest { id: started.id, author: "bob".to_owned(), reason: "lunch".to_owned() };
    let paused = rollouts.pause_rollout(go.clone()).await.unwrap().into_inner();
    assert_eq!((paused.state(), paused.reason.as_str()), (proto::RolloutState::Paused, "lunch"));
    let promoted = rollouts.promote_rollout(go.clone()).await.unwrap().into_inner();
    assert_eq!((promoted.state(), promoted.stage), (proto::RolloutState::Running, 1));
    let has = |ttl: u64| shops.iter().filter(|shop| shop.ttl() == Duration::from_secs(ttl)).count();
    let share = |n: usize| fastbreak::model::share("of-shop", &format!("shop-{n}"));
    let meant = (0..10).filter(|n| share(*n) < 50.0).count().max(1);
    eventually("half has it, by hash", async || has(900) == meant).await;
    rollouts.roll_back_rollout(go.clone()).await.unwrap();
    eventually("nobody has it", async || has(3_600) == 10).await;
    assert_eq!(rollouts.resume_rollout(go).await.unwrap_err().code(), Code::FailedPrecondition, "it has ended");

    let started = rollouts.start_rollout(start(1_800, guard(HIT_RATIO), 2)).await.unwrap().into_inner();
    assert_eq!((started.from_revision, started.to_revision), (1, 3), "revision 2 was never taken by everybody");
    let get = proto::GetRolloutRequest { id: started.id };
    let began = Instant::now();
    load(&server, &shops, async || {
        let rollout = rollouts.clone().get_rollout(get.clone()).await.unwrap().into_inner();
        assert!(began.elapsed() < Duration::from_secs(90), "{rollout:?}");
        rollout.state() == proto::RolloutState::Done
    })
    .await;
    eventually("everybody has it", async || has(1_800) == 10).await;
    assert_eq!(standing(&server).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_an_instance_refuses_goes_no_further() {
    let server = Options::on(&Database::create().await).start();
    client(&server).await.create_policy(create(policy("shop", 60))).await.unwrap();
    let mut picky = Instance::of(&server, "shop", &[]).await;
    picky.snapshot().await;
    eventually("it is in the fleet", async || fleet(&server, false).await.iter().any(|one| one.connected)).await;
    let mut rollouts = RolloutServiceClient::new(channel(&server).await);
    let wanted = proto::StartRolloutRequest { guards: Vec::new(), ..start(120, guard(HIT_RATIO), 600) };
    let id = rollouts.start_rollout(wanted).await.unwrap().into_inner().id;
    assert_eq!(picky.delta("not to my taste").await.0, [("of-shop".to_owned(), 2)]);
    eventually("it pauses", async || {
        let rollout = rollouts.get_rollout(proto::GetRolloutRequest { id: id.clone() }).await.unwrap().into_inner();
        let why = "shop/shop-1 refused it: not to my taste";
        rollout.state() == proto::RolloutState::Paused && rollout.reason == why
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_decided_of_an_older_look_does_not_undo_what_a_person_did() {
    let database = Database::create().await;
    let server = Options::on(&database).start();
    client(&server).await.create_policy(create(policy("shop", 60))).await.unwrap();
    let mut rollouts = RolloutServiceClient::new(channel(&server).await);
    let wanted = proto::StartRolloutRequest { guards: Vec::new(), ..start(120, guard(HIT_RATIO), 600) };
    let id = rollouts.start_rollout(wanted).await.unwrap().into_inner().id;
    let storage = Storage::connect(Config::new(database.url.clone())).await.unwrap();
    let seen = storage.rollout_find(&id).await.unwrap().unwrap();
    let go = proto::MoveRolloutRequest { id: id.clone(), author: "bob".to_owned(), reason: "lunch".to_owned() };
    rollouts.pause_rollout(go.clone()).await.unwrap();
    let by_guards = async |to: RolloutMove| {
        let at = (id.as_str(), seen.stage, Some(seen.stage_started_at));
        storage.rollout_move(at, &to, &Change::default()).await
    };
    let late = by_guards(RolloutMove::Next(50.0)).await;
    assert!(matches!(late, Err(WriteError::Busy(_))), "{late:?}");
    rollouts.resume_rollout(go).await.unwrap();
    let late = by_guards(RolloutMove::Done).await;
    assert!(matches!(late, Err(WriteError::Busy(_))), "the stage began anew: {late:?}");
    let now = storage.rollout_find(&id).await.unwrap().unwrap();
    assert_eq!((now.state.as_str(), now.stage), ("running", 0));
}
