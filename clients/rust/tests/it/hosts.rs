//! What a host's own targets may do to the watching: panic, be many, come late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastbreak_client::policy::{Assigned, Kind, Pending, Target, Warmed};
use fastbreak_client::proto::watch_request::Message as Said;
use fastbreak_client::proto::watch_response::Message as Say;
use fastbreak_client::proto::{AssignedPolicy, Invalidation, Pong, WarmOrder};
use tokio::time::Instant;

use crate::policy::{accepted, invalidation, policy, run, snapshot, until};
use crate::support::Mock;

/// Panics when it is told to.
#[derive(Default)]
struct Fragile {
    name: &'static str,
    panics: AtomicBool,
    forgotten: AtomicUsize,
    trusted: AtomicUsize,
}

impl Fragile {
    fn named(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, ..Self::default() })
    }

    fn perhaps_panics(&self) {
        assert!(!self.panics.load(Ordering::SeqCst), "told to");
    }
}

impl Target for Fragile {
    fn kind(&self) -> Kind {
        Kind::Cache
    }

    fn name(&self) -> &str {
        self.name
    }

    fn apply(&self, _: Option<&Assigned>) -> Result<(), String> {
        Ok(())
    }

    fn coherence_lease(&self) -> Option<Duration> {
        Some(Duration::from_secs(9))
    }

    fn trusted_until(&self, _: Instant) {
        self.trusted.fetch_add(1, Ordering::SeqCst);
    }

    fn forget(&self) {
        self.perhaps_panics();
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    fn invalidate<'a>(&'a self, _: &'a Invalidation) -> Pending<'a, Result<(), String>> {
        Box::pin(async {
            self.perhaps_panics();
            Ok(())
        })
    }

    fn warm(&self, keys: Vec<String>) -> Pending<'_, Warmed> {
        Box::pin(async move {
            self.perhaps_panics();
            Warmed { loaded: keys.len() as u64, failed: 0 }
        })
    }
}

#[test]
fn a_target_that_panics_is_managed_no_more_and_the_others_are() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let (fragile, sound) = (Fragile::named("users"), Fragile::named("products"));
        policies.add(Arc::clone(&fragile) as Arc<dyn Target>);
        policies.add(Arc::clone(&sound) as Arc<dyn Target>);
        let mut link = mock.link().await;
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        fragile.panics.store(true, Ordering::SeqCst);
        let order = WarmOrder { id: "w".to_owned(), key_space: "users".to_owned(), keys: vec!["1".to_owned()] };
        link.say("", Say::Warm(order)).await;
        let Said::Warmed(report) = link.hear().await else { panic!("no report") };
        assert_eq!((report.loaded, report.failed), (0, 1));
        link.say("2", invalidation(0, 1)).await;
        assert_eq!(link.ack().await.error, "users: the target panicked");
        let mut link = mock.link().await;
        assert_eq!(link.hello.invalidation, 0, "something was missed");
        assert_eq!(sound.forgotten.load(Ordering::SeqCst), 3, "when it came, with the first snapshot, and now");
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        let number = link.ping().await;
        link.say("", Say::Pong(Pong { number, invalidation: 0 })).await;
        until("the sound one is trusted", || sound.trusted.load(Ordering::SeqCst) > 0).await;
        assert_eq!(fragile.trusted.load(Ordering::SeqCst), 0);
        let managed: Vec<String> = policies.status().targets.into_iter().map(|target| target.target).collect();
        assert_eq!(managed, ["products"]);
    });
}

#[test]
fn a_thousand_policies_that_are_refused_are_all_told_and_the_connection_stays() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let mut link = mock.link().await;
        let wrong = |n: usize| AssignedPolicy { policy_id: format!("p{n:04}"), ..policy(1, 0) };
        link.say("1", snapshot((0..1_000).map(wrong).collect())).await;
        for n in 0..1_000 {
            let nack = link.ack().await;
            assert_eq!((nack.nonce.as_str(), nack.policy_id), ("1", format!("p{n:04}")));
        }
        accepted(&mut link, "2", snapshot(Vec::new())).await;
        assert_eq!((policies.stats().connections.get(), policies.stats().refused.get()), (1, 1_000));
    });
}

#[test]
fn a_cache_that_comes_late_is_trusted_as_soon_as_the_server_answers() {
    run(async {
        let mut mock = Mock::start();
        let policies = mock.watch();
        let mut link = mock.link().await;
        accepted(&mut link, "1", snapshot(Vec::new())).await;
        let first = link.ping().await;
        let came = Instant::now();
        // One comes while the answer to a ping is under way that asked for nothing, one when none is.
        let (early, late) = (Fragile::named("users"), Fragile::named("products"));
        policies.add(Arc::clone(&early) as Arc<dyn Target>);
        link.say("", Say::Pong(Pong { number: first, invalidation: 0 })).await;
        let second = link.ping().await;
        link.say("", Say::Pong(Pong { number: second, invalidation: 0 })).await;
        until("it is trusted", || early.trusted.load(Ordering::SeqCst) > 1).await;
        policies.add(Arc::clone(&late) as Arc<dyn Target>);
        let third = link.ping().await;
        link.say("", Say::Pong(Pong { number: third, invalidation: 0 })).await;
        until("it is trusted", || late.trusted.load(Ordering::SeqCst) > 0).await;
        assert!(came.elapsed() < Duration::from_secs(1), "and not with the next ping, {:?}", came.elapsed());
    });
}
