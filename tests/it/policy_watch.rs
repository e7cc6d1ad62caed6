//! `PolicyService` over real sockets: what people write, and what instances that watch are told of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastbreak::proto;
use fastbreak::proto::policy_service_client::PolicyServiceClient;
use fastbreak::proto::watch_request::Message as Say;
use fastbreak::proto::watch_response::Message as Told;
use fastbreak_client::cache::{Cache, Failure, Source};
use fastbreak_client::policy::{Identity, Kind, Policies};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::alerting_doors::channel;
use crate::support::server::{Options, Server};
use crate::support::{Database, eventually};

pub(crate) fn policy(service: &str, l1_seconds: i64) -> proto::Policy {
    let l1_ttl = Some(prost_types::Duration { seconds: l1_seconds, nanos: 0 });
    let selector = proto::PolicySelector { service: service.to_owned(), ..Default::default() };
    proto::Policy {
        id: format!("of-{service}"),
        name: "Products".to_owned(),
        selector: Some(selector),
        kind: Some(proto::policy::Kind::Cache(proto::CachePolicy { l1_ttl, ..Default::default() })),
        ..Default::default()
    }
}

pub(crate) fn create(policy: proto::Policy) -> proto::CreatePolicyRequest {
    proto::CreatePolicyRequest { policy: Some(policy), author: "ada".to_owned(), ..Default::default() }
}

pub(crate) fn update(policy: proto::Policy, revision: i64) -> proto::UpdatePolicyRequest {
    proto::UpdatePolicyRequest { policy: Some(policy), revision, ..Default::default() }
}

/// An instance that watches.
pub(crate) struct Instance {
    say: mpsc::Sender<proto::WatchRequest>,
    pub(crate) told: Streaming<proto::WatchResponse>,
}

impl Instance {
    pub(crate) async fn of(server: &Server, service: &str, running: &[(&str, i64)]) -> Self {
        let running = running.iter().map(|(id, revision)| ((*id).to_owned(), *revision)).collect();
        let instance = format!("{service}-1");
        let hello = proto::Hello { service: service.to_owned(), instance, running, ..Default::default() };
        Self::with(server, hello).await.unwrap()
    }

    /// Another instance of the service.
    pub(crate) async fn named(server: &Server, service: &str, instance: &str) -> Result<Self, Status> {
        let (service, instance) = (service.to_owned(), instance.to_owned());
        Self::with(server, proto::Hello { service, instance, ..Default::default() }).await
    }

    async fn with(server: &Server, hello: proto::Hello) -> Result<Self, Status> {
        let (say, saying) = mpsc::channel(8);
        say.send(proto::WatchRequest { message: Some(Say::Hello(hello)) }).await.unwrap();
        let mut client = PolicyServiceClient::new(channel(server).await);
        Ok(Self { told: client.watch(ReceiverStream::new(saying)).await?.into_inner(), say })
    }

    pub(crate) async fn next(&mut self) -> proto::WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(20), self.told.message());
        next.await.expect("told in time").unwrap().expect("the stream goes on")
    }

    pub(crate) async fn say(&self, message: Say) {
        self.say.send(proto::WatchRequest { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn ack(&self, nonce: String, error: &str) {
        self.say(Say::Ack(proto::Ack { nonce, error: error.to_owned(), ..Default::default() })).await;
    }

    /// One policy of several.
    pub(crate) async fn refuse(&self, nonce: &str, policy: &str, error: &str) {
        let (nonce, policy_id, error) = (nonce.to_owned(), policy.to_owned(), error.to_owned());
        self.say(Say::Ack(proto::Ack { nonce, policy_id, error, ..Default::default() })).await;
    }

    /// An invalidation, by one cache.
    pub(crate) async fn applied(&self, nonce: String) {
        self.say(Say::Ack(proto::Ack { nonce, caches: 1, ..Default::default() })).await;
    }

    pub(crate) async fn snapshot(&mut self) -> proto::PolicySnapshot {
        let next = self.next().await;
        self.ack(next.nonce, "").await;
        match next.message {
            Some(Told::Snapshot(snapshot)) => snapshot,
            other => panic!("not a snapshot: {other:?}"),
        }
    }

    /// `(policy, revision)` of what changed, and what was removed; answered with `error`.
    pub(crate) async fn delta(&mut self, error: &str) -> (Vec<(String, i64)>, Vec<String>) {
        let next = self.next().await;
        self.ack(next.nonce, error).await;
        match next.message {
            Some(Told::Delta(delta)) => {
                (delta.changed.into_iter().map(|one| (one.policy_id, one.revision)).collect(), delta.removed)
            }
            other => panic!("not a delta: {other:?}"),
        }
    }
}

pub(crate) async fn client(server: &Server) -> PolicyServiceClient<Channel> {
    PolicyServiceClient::new(channel(server).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_over_grpc_have_revisions_dry_runs_and_details() {
    let server = Options::on(&Database::create().await).start();
    let mut policies = client(&server).await;
    let tried = proto::CreatePolicyRequest { dry_run: true, ..create(policy("shop", 60)) };
    assert_eq!(policies.create_policy(tried).await.unwrap().into_inner().revision, 0);
    let get = |revision| proto::GetPolicyRequest { id: "of-shop".to_owned(), revision };
    assert_eq!(policies.get_policy(get(0)).await.unwrap_err().code(), Code::NotFound, "only tried");
    for _ in 0..2 {
        let made = policies.create_policy(create(policy("shop", 60))).await.unwrap().into_inner();
        assert_eq!((made.revision, made.author.as_str()), (1, "ada"), "the same again is what is there");
    }
    assert_eq!(policies.create_policy(create(policy("shop", 61))).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(policies.update_policy(update(policy("shop", 120), 1)).await.unwrap().into_inner().revision, 2);
    assert_eq!(policies.update_policy(update(policy("shop", 180), 1)).await.unwrap_err().code(), Code::Aborted);
    let refused = policies.update_policy(update(policy("shop", 32 * 86_400), 2)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("cache.l1Ttl")), (Code::InvalidArgument, true), "{refused}");
    let was = policies.get_policy(get(1)).await.unwrap().into_inner();
    assert_eq!(was.kind, policy("shop", 60).kind.map(|_| cache_kind(60)), "the first revision is still there");
    let diff = proto::DiffPolicyRequest { id: "of-shop".to_owned(), from_revision: 1, edit: None };
    let changes = policies.diff_policy(diff).await.unwrap().into_inner().changes;
    assert_eq!((changes.len(), changes[0].field.as_str(), changes[0].after.as_str()), (1, "cache.l1Ttl", "2m"));
    let revert =
        proto::RevertPolicyRequest { id: "of-shop".to_owned(), to_revision: 1, revision: 2, ..Default::default() };
    assert_eq!(policies.revert_policy(revert).await.unwrap().into_inner().revision, 3);
    let delete = proto::DeletePolicyRequest { id: "of-shop".to_owned(), revision: 3, ..Default::default() };
    policies.delete_policy(delete).await.unwrap();
    let revisions = proto::ListPolicyRevisionsRequest { id: "of-shop".to_owned() };
    let revisions = policies.list_policy_revisions(revisions).await.unwrap().into_inner().revisions;
    assert_eq!((revisions.len(), revisions[0].deleted), (4, true));
    assert!(policies.list_policies(proto::ListPoliciesRequest {}).await.unwrap().into_inner().policies.is_empty());
}

fn cache_kind(l1_seconds: i64) -> proto::policy::Kind {
    let l1_ttl = Some(prost_types::Duration { seconds: l1_seconds, nanos: 0 });
    let (strategy, compression) = (proto::CacheStrategy::Aside.into(), proto::Compression::None.into());
    proto::policy::Kind::Cache(proto::CachePolicy { l1_ttl, strategy, compression, ..Default::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_told_what_is_for_it_and_every_change_on_any_replica() {
    let database = Database::create().await;
    let (server, other) = (Options::on(&database).start(), Options::on(&database).start());
    let (mut here, mut there) = (client(&server).await, client(&other).await);
    here.create_policy(create(policy("shop", 60))).await.unwrap();
    here.create_policy(create(policy("mail", 60))).await.unwrap();
    let mut shop = Instance::of(&server, "shop", &[("of-gone", 7)]).await;
    let first = shop.snapshot().await;
    // The server may have been asked before it read what was just written: the rest comes as a change.
    if first.policies.is_empty() {
        assert_eq!(shop.delta("").await.0, [("of-shop".to_owned(), 1)]);
    } else {
        assert_eq!((first.policies.len(), first.policies[0].policy_id.as_str()), (1, "of-shop"));
    }

    there.update_policy(update(policy("shop", 120), 1)).await.unwrap();
    let changed = Instant::now();
    assert_eq!(shop.delta("l1_ttl is not to my taste").await, (vec![("of-shop".to_owned(), 2)], Vec::new()));
    assert!(changed.elapsed() < Duration::from_secs(5), "{:?} from replica to replica", changed.elapsed());
    let metrics = format!("{}/metrics", server.http);
    eventually("the refusal is counted", async || {
        let text = crate::support::server::client().get(&metrics).send().await.unwrap().text().await.unwrap();
        text.lines().any(|line| line.starts_with("fastbreak_policies_not_applied_total 1"))
    })
    .await;

    shop.say(Say::Ping(proto::Ping { number: 41, lease: None })).await;
    assert!(matches!(shop.next().await.message, Some(Told::Pong(pong)) if pong.number == 41));

    // What changes while an answer is out comes as one.
    here.update_policy(update(policy("shop", 180), 2)).await.unwrap();
    let unanswered = shop.next().await;
    for seconds in [240, 300] {
        here.update_policy(update(policy("shop", seconds), 0)).await.unwrap();
    }
    shop.ack(unanswered.nonce, "").await;
    let mut told = shop.delta("").await.0;
    while told != [("of-shop".to_owned(), 5)] {
        assert!(told[0].1 > 3 && told[0].1 < 5, "{told:?}");
        told = shop.delta("").await.0;
    }

    // One that runs the newest already is not sent it again.
    let mut twin = Instance::of(&server, "shop", &[("of-shop", 5)]).await;
    let known = twin.snapshot().await;
    assert_eq!((known.policies.len(), known.unchanged), (0, vec!["of-shop".to_owned()]));

    let off = proto::Policy { enabled: Some(false), ..policy("shop", 300) };
    there.update_policy(update(off, 5)).await.unwrap();
    assert_eq!(shop.delta("").await, (Vec::new(), vec!["of-shop".to_owned()]));
    assert_eq!(twin.delta("").await, (Vec::new(), vec!["of-shop".to_owned()]));

    assert_eq!(server.terminate(), Some(0), "streams that are open do not hold it up");
    let end = shop.told.message().await;
    assert!(end.is_err() || end.unwrap().is_none(), "whoever watched is told to go elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_who_it_is_is_told_what_is_missing() {
    let server = Options::on(&Database::create().await).start();
    let mut policies = client(&server).await;
    for (message, field) in [
        (Say::Ping(proto::Ping { number: 1, lease: None }), "hello"),
        (Say::Hello(proto::Hello::default()), "hello.service"),
        (Say::Hello(proto::Hello { service: "shop".to_owned(), ..Default::default() }), "hello.instance"),
    ] {
        let said = tokio_stream::iter([proto::WatchRequest { message: Some(message) }]);
        let refused = policies.watch(said).await.unwrap_err();
        assert_eq!((refused.code(), refused.message().starts_with(field)), (Code::InvalidArgument, true), "{refused}");
    }
}

/// What the SDK's cache loads from.
struct Products;

impl Source for Products {
    type Key = u64;
    type Value = String;

    async fn load(&self, id: &u64) -> Result<Option<String>, Failure> {
        Ok(Some(format!("product {id}")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_obeys_keeps_what_it_has_without_us_and_goes_back_to_its_code() {
    let database = Database::create().await;
    let server = Options::on(&database).start();
    let mut policies = client(&server).await;
    policies.create_policy(create(policy("shop", 90))).await.unwrap();

    let cache = Cache::builder("products", Products).build().await.unwrap();
    let in_code = cache.policy().l1_ttl;
    let shop = Identity {
        service: "shop".to_owned(),
        instance: "shop-1".to_owned(),
        version: String::new(),
        labels: BTreeMap::new(),
        token: None,
        file: None,
    };
    let sdk = Policies::start(shop, channel(&server).await);
    sdk.cache("products", &cache);
    let ttl = |seconds| Duration::from_secs(seconds);
    eventually("the policy is obeyed", async || cache.policy().l1_ttl == ttl(90)).await;
    assert_eq!(sdk.in_force(Kind::Cache, "products"), Some(("of-shop".to_owned(), 1)));

    policies.update_policy(update(policy("shop", 120), 1)).await.unwrap();
    let changed = Instant::now();
    eventually("the change is obeyed", async || cache.policy().l1_ttl == ttl(120)).await;
    assert!(changed.elapsed() < Duration::from_secs(5), "{:?}", changed.elapsed());
    assert_eq!(cache.get_or_load(&7).await.unwrap().as_deref(), Some("product 7"));

    let delete = proto::DeletePolicyRequest { id: "of-shop".to_owned(), ..Default::default() };
    policies.delete_policy(delete).await.unwrap();
    eventually("it goes back to its code", async || cache.policy().l1_ttl == in_code).await;

    policies.create_policy(create(policy("shop", 300))).await.unwrap();
    eventually("the policy is back", async || cache.policy().l1_ttl == ttl(300)).await;
    server.kill();
    eventually("the server is missed", async || !sdk.status().connected).await;
    assert_eq!(cache.policy().l1_ttl, ttl(300), "the last good policy goes on");
    assert_eq!(cache.get_or_load(&8).await.unwrap().as_deref(), Some("product 8"));
    assert!(sdk.stop(Duration::from_secs(5)).await);
}
