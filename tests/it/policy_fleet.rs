//! The fleet under way: who runs what, invalidations that are proven, overrides and their leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastbreak::proto;
use fastbreak::proto::fleet_service_client::FleetServiceClient;
use fastbreak::proto::invalidation_service_client::InvalidationServiceClient;
use fastbreak::proto::override_service_client::OverrideServiceClient;
use fastbreak_client::cache::{Cache, CachePolicy, Failure, Source};
use fastbreak_client::policy::{Identity, Policies};
use tonic::Code;
use tonic::transport::Channel;

use crate::alerting_doors::channel;
use crate::own_telemetry::counted;
use crate::policy_watch::{Instance, client, create, policy, update};
use crate::support::proxy::Line;
use crate::support::server::{Options, Server};
use crate::support::{Database, eventually, within};

/// A source whose every value is the number of the last write.
#[derive(Clone, Default)]
pub(crate) struct Versions(Arc<AtomicU64>);

impl Source for Versions {
    type Key = u64;
    type Value = u64;

    async fn load(&self, _id: &u64) -> Result<Option<u64>, Failure> {
        Ok(Some(self.0.load(Ordering::SeqCst)))
    }
}

/// An instance with the SDK and one cache.
pub(crate) struct Shop {
    pub(crate) sdk: Policies,
    pub(crate) cache: Cache<Versions>,
}

impl Shop {
    pub(crate) async fn start(channel: Channel, instance: &str, source: &Versions) -> Self {
        let in_code = CachePolicy { coherence_lease: Duration::from_secs(3), ..CachePolicy::default() };
        let cache = Cache::builder("products", source.clone()).policy(in_code).build().await.unwrap();
        let who = Identity { service: "shop".to_owned(), instance: instance.to_owned(), ..Identity::default() };
        let sdk = Policies::start(who, channel);
        sdk.cache("products", &cache);
        Self { sdk, cache }
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.cache.policy().l1_ttl
    }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn cache_of(policy: &mut proto::Policy) -> &mut proto::CachePolicy {
    match &mut policy.kind {
        Some(proto::policy::Kind::Cache(cache)) => cache,
        other => panic!("not of a cache: {other:?}"),
    }
}

pub(crate) async fn fleet(server: &Server, behind: bool) -> Vec<proto::Instance> {
    let mut fleet = FleetServiceClient::new(channel(server).await);
    let asked = proto::ListInstancesRequest { service: "shop".to_owned(), behind };
    fleet.list_instances(asked).await.unwrap().into_inner().instances
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_shows_who_runs_what_who_refused_it_and_who_is_gone() {
    let database = Database::create().await;
    let (here, there) = (Options::on(&database).start(), Options::on(&database).start());
    let mut policies = client(&here).await;
    policies.create_policy(create(policy("shop", 60))).await.unwrap();
    let source = Versions::default();
    let good = Shop::start(channel(&there).await, "shop-2", &source).await;
    let mut picky = Instance::of(&here, "shop", &[]).await;
    assert_eq!(picky.snapshot().await.policies.len(), 1);
    eventually("both run it", async || {
        let fleet = fleet(&here, false).await;
        fleet.len() == 2
            && fleet.iter().all(|one| one.connected && one.policies.len() == 1 && one.policies[0].running == 1)
    })
    .await;
    policies.update_policy(update(policy("shop", 120), 1)).await.unwrap();
    picky.delta("not to my taste").await;
    eventually("one is behind", async || {
        let behind = fleet(&there, true).await;
        let [one] = behind.as_slice() else { return false };
        let policy = &one.policies[0];
        (one.instance.as_str(), policy.assigned, policy.running) == ("shop-1", 2, 1)
            && policy.error == "not to my taste"
    })
    .await;
    assert_eq!(good.ttl(), Duration::from_secs(120));
    drop(picky);
    eventually("it is gone", async || {
        fleet(&here, false).await.iter().any(|one| one.instance == "shop-1" && !one.connected)
    })
    .await;
    there.kill();
    within(Duration::from_secs(30), "a server that is not heard connects nobody", async || {
        fleet(&here, false).await.iter().all(|one| !one.connected)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_said_is_written_once_it_can_be_and_at_the_end_of_its_server() {
    let database = Database::create().await;
    let (here, there) = (Options::on(&database).start(), Options::on(&database).start());
    client(&here).await.create_policy(create(policy("shop", 60))).await.unwrap();
    let mut instance = Instance::of(&here, "shop", &[]).await;
    database.execute("ALTER TABLE policy_instances RENAME TO away").await;
    assert_eq!(instance.snapshot().await.policies.len(), 1);
    eventually("it cannot be written", async || counted(&here, "fastbreak_policies_fleet_failures_total").await > 0)
        .await;
    database.execute("ALTER TABLE away RENAME TO policy_instances").await;
    eventually("what it runs is written", async || {
        let fleet = fleet(&there, false).await;
        fleet[0].connected && fleet[0].policies[0].running == 1
    })
    .await;
    assert_eq!(here.terminate(), Some(0));
    let fleet = fleet(&there, false).await;
    assert!(!fleet[0].connected, "{fleet:?}");
}

/// Tasks that read a key over and over, and count old values that they began to read after convergence was said.
struct Readers {
    converged: Arc<AtomicBool>,
    stale: Arc<AtomicU64>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Readers {
    fn start(shops: [&Shop; 2]) -> Self {
        let (converged, stale) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for cache in shops.map(|shop| shop.cache.clone()) {
            let (converged, stale) = (Arc::clone(&converged), Arc::clone(&stale));
            tasks.spawn(async move {
                loop {
                    let said = converged.load(Ordering::SeqCst);
                    let read = cache.get_or_load(&7).await.unwrap();
                    stale.fetch_add(u64::from(said && read == Some(0)), Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        Self { converged, stale, _tasks: tasks }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_what_an_invalidation_has_ended_once_it_is_said_to_have_converged() {
    let database = Database::create().await;
    let (here, there) = (Options::on(&database).start(), Options::on(&database).start());
    let mut short = policy("shop", 3_600);
    cache_of(&mut short).coherence_lease = seconds(3);
    client(&here).await.create_policy(create(short)).await.unwrap();
    let (source, line) = (Versions::default(), Line::to(&there.grpc).await);
    let far = tonic::transport::Endpoint::from_shared(line.url.clone()).unwrap().connect_lazy();
    let near = Shop::start(channel(&here).await, "shop-1", &source).await;
    let cut = Shop::start(far, "shop-2", &source).await;
    for shop in [&near, &cut] {
        eventually("the policy is obeyed", async || shop.ttl() == Duration::from_secs(3_600)).await;
        eventually("memory is trusted", async || {
            shop.cache.get_or_load(&7).await.unwrap();
            let before = shop.cache.stats().l1_hits;
            shop.cache.get_or_load(&7).await.unwrap();
            shop.cache.stats().l1_hits > before
        })
        .await;
    }
    let readers = Readers::start([&near, &cut]);
    line.is_dead(true);
    source.0.store(1, Ordering::SeqCst);
    let mut invalidations = InvalidationServiceClient::new(channel(&here).await);
    let asked = proto::InvalidateRequest {
        service: "shop".to_owned(),
        key_space: "products".to_owned(),
        keys: vec!["7".to_owned()],
        author: "ada".to_owned(),
        ..Default::default()
    };
    let began = Instant::now();
    let made = invalidations.invalidate(asked).await.unwrap().into_inner();
    assert_eq!((made.sequence, made.converged), (1, false));
    eventually("who is there reads the new value", async || near.cache.get_or_load(&7).await.unwrap() == Some(1)).await;
    let get = proto::GetInvalidationRequest { sequence: made.sequence };
    eventually("it waits for the cut one alone, which may still read it", async || {
        let waits = invalidations.get_invalidation(get).await.unwrap().into_inner();
        assert!(!waits.converged, "after {:?}", began.elapsed());
        waits.waiting == ["shop/shop-2"]
    })
    .await;
    within(Duration::from_secs(20), "it converges without the one that is cut off", async || {
        invalidations.get_invalidation(get).await.unwrap().into_inner().converged
    })
    .await;
    readers.converged.store(true, Ordering::SeqCst);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for _ in 0..50 {
        assert_eq!(cut.cache.get_or_load(&7).await.unwrap(), Some(1));
    }
    line.is_dead(false);
    within(Duration::from_secs(60), "the one that was cut off is back", async || {
        fleet(&here, false).await.iter().all(|one| one.connected && one.invalidation == 1)
    })
    .await;
    assert_eq!(readers.stale.load(Ordering::SeqCst), 0, "read after it was said that nobody does");
    assert!(near.sdk.stop(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalidations_are_in_order_and_soon_everywhere() {
    let server = Options::on(&Database::create().await).start();
    let source = Versions::default();
    let shops = [
        Shop::start(channel(&server).await, "shop-1", &source).await,
        Shop::start(channel(&server).await, "shop-2", &source).await,
    ];
    eventually("both are there", async || fleet(&server, false).await.len() == 2).await;
    let mut invalidations = InvalidationServiceClient::new(channel(&server).await);
    let of_others = proto::InvalidateRequest { service: "mail".to_owned(), all: true, ..Default::default() };
    assert_eq!(invalidations.invalidate(of_others).await.unwrap().into_inner().sequence, 1);

    let all = proto::InvalidateRequest { service: "shop".to_owned(), all: true, ..Default::default() };
    let next = invalidations.invalidate(all).await.unwrap().into_inner();
    let get = proto::GetInvalidationRequest { sequence: next.sequence };
    within(Duration::from_secs(20), "it converges", async || {
        invalidations.get_invalidation(get).await.unwrap().into_inner().converged
    })
    .await;
    let done = invalidations.get_invalidation(get).await.unwrap().into_inner();
    assert_eq!((done.sequence, done.acknowledged), (2, 2));
    let list = invalidations.list_invalidations(proto::ListInvalidationsRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.invalidations.iter().map(|one| one.sequence).collect::<Vec<_>>(), [2, 1]);
    let nothing = invalidations.invalidate(proto::InvalidateRequest::default()).await.unwrap_err();
    assert_eq!((nothing.code(), nothing.message().starts_with("keys")), (Code::InvalidArgument, true), "{nothing}");
    for shop in shops {
        assert!(shop.sdk.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_of_a_service_loads_keys_before_they_are_asked_for() {
    let server = Options::on(&Database::create().await).start();
    client(&server).await.create_policy(create(policy("shop", 3_600))).await.unwrap();
    let source = Versions::default();
    let shop = Shop::start(channel(&server).await, "shop-1", &source).await;
    eventually("it is there", async || fleet(&server, false).await.iter().any(|one| one.connected)).await;
    let mut fleet = FleetServiceClient::new(channel(&server).await);
    let warm = |service: &str| proto::WarmRequest {
        service: service.to_owned(),
        key_space: "products".to_owned(),
        keys: (1..=20).map(|key: u64| key.to_string()).collect(),
    };
    assert_eq!(fleet.warm(warm("nobody")).await.unwrap_err().code(), Code::NotFound);
    let asked = fleet.warm(warm("sh*")).await.unwrap().into_inner();
    assert_eq!(asked.instances, 1);
    let get = proto::GetWarmingRequest { id: asked.id };
    eventually("it has reported", async || {
        let warmed = fleet.get_warming(get.clone()).await.unwrap().into_inner();
        let one = &warmed.instances[0];
        one.done && (one.loaded, one.failed, one.instance.as_str()) == (20, 0, "shop-1")
    })
    .await;
    let again = fleet.warm(warm("shop")).await.unwrap().into_inner();
    let list = |limit| proto::ListWarmingsRequest { limit };
    let newest = fleet.list_warmings(list(0)).await.unwrap().into_inner().warmings;
    let ids: Vec<_> = newest.iter().map(|one| (one.id.as_str(), one.key_space.as_str(), one.keys)).collect();
    assert_eq!(ids, [(again.id.as_str(), "products", 20), (get.id.as_str(), "products", 20)]);
    assert_eq!(fleet.list_warmings(list(1)).await.unwrap().into_inner().warmings.len(), 1);
    assert_eq!(fleet.list_warmings(list(1_001)).await.unwrap_err().code(), Code::InvalidArgument);
    eventually("it reads from memory", async || {
        let before = shop.cache.stats().l1_hits;
        shop.cache.get_or_load(&13).await.unwrap();
        shop.cache.stats().l1_hits > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_counts_while_it_is_renewed_and_ends_by_itself_without_us() {
    let server = Options::on(&Database::create().await).start();
    client(&server).await.create_policy(create(policy("shop", 60))).await.unwrap();
    let shop = Shop::start(channel(&server).await, "shop-1", &Versions::default()).await;
    eventually("the policy is obeyed", async || shop.ttl() == Duration::from_secs(60)).await;
    let mut overrides = OverrideServiceClient::new(channel(&server).await);
    let wider = |lease: i64, factor: f64| proto::PutOverrideRequest {
        r#override: Some(proto::Override {
            id: "wider".to_owned(),
            policy_id: "of-shop".to_owned(),
            adjustment: Some(proto::Adjustment { ttl_factor: Some(factor), ..Default::default() }),
            lease: seconds(lease),
            author: "ada".to_owned(),
            ..Default::default()
        }),
        dry_run: false,
    };
    let tried = overrides.put_override(proto::PutOverrideRequest { dry_run: true, ..wider(60, 3.0) }).await.unwrap();
    let mut effective = tried.into_inner().effective.expect("shown");
    assert_eq!(cache_of(&mut effective).l1_ttl, seconds(180));
    for (wrong, field) in
        [(wider(4, 3.0), "lease"), (wider(3_601, 3.0), "lease"), (wider(60, 0.0), "adjustment.ttlFactor")]
    {
        let refused = overrides.put_override(wrong).await.unwrap_err();
        assert_eq!((refused.code(), refused.message().starts_with(field)), (Code::InvalidArgument, true), "{refused}");
    }
    overrides.put_override(wider(60, 3.0)).await.unwrap();
    let put = Instant::now();
    eventually("it counts", async || shop.ttl() == Duration::from_secs(180)).await;
    assert!(put.elapsed() < Duration::from_secs(5), "{:?}", put.elapsed());
    eventually("the fleet shows it", async || {
        fleet(&server, false).await.iter().any(|one| one.policies.iter().any(|policy| policy.override_id == "wider"))
    })
    .await;
    let by_eve = |factor: f64| {
        let wanted = wider(60, factor).r#override.map(|wanted| proto::Override { author: "eve".to_owned(), ..wanted });
        proto::PutOverrideRequest { r#override: wanted, dry_run: false }
    };
    let renewed = overrides.put_override(by_eve(3.0)).await.unwrap().into_inner();
    assert_eq!(renewed.author, "ada", "whoever renews it does not become who put it");
    let other = overrides.put_override(by_eve(4.0)).await.unwrap().into_inner();
    assert_eq!(other.author, "eve", "another adjustment is another override");
    let end =
        proto::DeleteOverrideRequest { id: "wider".to_owned(), author: "bob".to_owned(), reason: "enough".to_owned() };
    overrides.delete_override(end.clone()).await.unwrap();
    eventually("it counts no more", async || shop.ttl() == Duration::from_secs(60)).await;
    assert_eq!(overrides.delete_override(end).await.unwrap_err().code(), Code::NotFound);
    let asked = proto::ListEndedOverridesRequest { policy_id: "of-shop".to_owned() };
    let were = overrides.list_ended_overrides(asked).await.unwrap().into_inner().overrides;
    let were: Vec<_> = were.iter().map(|one| (one.author.as_str(), one.end_author.as_str())).collect();
    assert_eq!(were, [("eve", "bob"), ("ada", "eve")]);

    for n in 0..50 {
        let more = wider(60, 1.0).r#override.map(|wanted| proto::Override { id: format!("n-{n}"), ..wanted });
        overrides.put_override(proto::PutOverrideRequest { r#override: more, dry_run: false }).await.unwrap();
    }
    let full = overrides.put_override(wider(60, 2.0)).await.unwrap_err();
    assert!(full.message().contains("50 overrides, which is the limit overrides_max"), "{full}");
    for n in 0..50 {
        let end = proto::DeleteOverrideRequest { id: format!("n-{n}"), ..Default::default() };
        overrides.delete_override(end).await.unwrap();
    }
    overrides.put_override(wider(6, 2.0)).await.unwrap();
    eventually("it counts again", async || shop.ttl() == Duration::from_secs(120)).await;
    server.kill();
    within(Duration::from_secs(20), "its lease ends without us", async || shop.ttl() == Duration::from_secs(60)).await;
    assert!(!shop.sdk.status().connected);
}
