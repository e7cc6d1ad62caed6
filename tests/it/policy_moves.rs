//! Alerts that move policies: a slow database widens the TTLs of the caches before it, and they go back when it is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use fastbreak_client::cache::{Cache, Failure, Source};
use fastbreak_client::policy::{Identity, Policies};
use serde_json::json;

use crate::alerting::{active, call, options, save_rule};
use crate::alerting_doors::channel;
use crate::support::server::{Server, client};
use crate::support::{Database, eventually, export, within};

/// Keys that are read over and over.
const KEYS: u64 = 100;

/// A table in Postgres that serves one after the other, each quickly, or slowly when that is induced.
#[derive(Clone)]
struct Table {
    database: Arc<Database>,
    slow: Arc<AtomicBool>,
    loads: Arc<AtomicU64>,
    micros: Arc<AtomicU64>,
}

impl Table {
    fn of(database: Database) -> Self {
        let (slow, loads, micros) = Default::default();
        Self { database: Arc::new(database), slow, loads, micros }
    }
}

impl Source for Table {
    type Key = u64;
    type Value = i64;

    async fn load(&self, _id: &u64) -> Result<Option<i64>, Failure> {
        let seconds = if self.slow.load(Ordering::SeqCst) { "0.02" } else { "0" };
        let began = Instant::now();
        let sql = format!(
            "WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(42)) SELECT count(pg_sleep({seconds})) FROM turn"
        );
        let value = self.database.number(&sql).await;
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.micros.fetch_add(u64::try_from(began.elapsed().as_micros()).unwrap(), Ordering::SeqCst);
        Ok(Some(value))
    }
}

/// Reads all keys again and again, and tells how long loads take.
async fn shop(server: &Server, cache: &Cache<Table>, table: &Table) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    // Each in another order, so that they do not find what another has just loaded.
    for stride in [1, 3, 7, 9, 11, 13, 17, 19] {
        let cache = cache.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0.. {
                cache.get_or_load(&(n * stride % KEYS)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    let (table, endpoint, http) = (table.clone(), server.otlp_http.clone(), client());
    tasks.push(tokio::spawn(async move {
        loop {
            let point = |value: f64| vec![export::point(value, export::now(), &[])];
            let seconds = table.micros.load(Ordering::SeqCst) as f64 / 1e6;
            let loads = table.loads.load(Ordering::SeqCst) as f64;
            let metrics = vec![
                export::counter("shop.load.seconds", 2, point(seconds)),
                export::counter("shop.loads", 2, point(loads)),
            ];
            // It is not there for a while in this test.
            let _taken = http
                .post(format!("{endpoint}/v1/metrics"))
                .header("content-type", "application/x-protobuf")
                .body(export::bytes(&export::request("shop", metrics)))
                .send()
                .await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }));
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_widens_ttls_until_it_is_well_and_a_lease_ends_without_us() {
    let database = Database::create().await;
    let server = options(&database).start();
    let policy = json!({ "id": "products", "name": "Products", "selector": { "service": "shop" }, "cache": { "l1Ttl": "1s" },
        "bounds": { "maxLease": "6s" } });
    assert_eq!(call(&server, "POST", "/api/policies", &policy).await.0, 201);
    let slow = "1000 * sum(increase(shop_load_seconds_total[2s])) / clamp_min(sum(increase(shop_loads_total[2s])), 1) > threshold";
    let held = json!({ "policyId": "products", "adjustment": { "ttlFactor": 60 }, "lease": "10m" });
    let wrong = json!({ "policyId": "products", "adjustment": {}, "lease": "1s" });
    let rule = |over: &serde_json::Value| json!({ "name": "Loads are slow", "condition": slow, "threshold": 60, "notificationChannels": [], "overrides": [over] });
    let mut refused = rule(&wrong);
    refused["id"] = json!("wrong");
    let (status, problem) = call(&server, "POST", "/api/alerts/rules", &refused).await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("overrides[0].lease"), "{problem}");
    save_rule(&server, "slow", rule(&held)).await;

    let table = Table::of(Database { url: database.url.clone() });
    let cache = Cache::builder("products", table.clone()).build().await.unwrap();
    let who = Identity { service: "shop".to_owned(), instance: "shop-1".to_owned(), ..Identity::default() };
    let sdk = Policies::start(who, channel(&server).await);
    sdk.cache("products", &cache);
    let ttl = || cache.policy().l1_ttl;
    eventually("the policy is obeyed", async || ttl() == Duration::from_secs(1)).await;
    let tasks = shop(&server, &cache, &table).await;
    eventually("it loads", async || table.loads.load(Ordering::SeqCst) > 2 * KEYS).await;
    assert!(active(&server, "slow").await.is_empty());

    table.slow.store(true, Ordering::SeqCst);
    let induced = Instant::now();
    within(Duration::from_secs(30), "TTLs are widened", async || ttl() == Duration::from_secs(60)).await;
    let widened = Utc::now();
    println!("slow after 0 s, widened after {:.1} s", induced.elapsed().as_secs_f64());
    let alert = active(&server, "slow").await.remove(0);
    let fired: DateTime<Utc> = alert["startsAt"].as_str().unwrap().parse().unwrap();
    assert!(widened - fired < chrono::TimeDelta::seconds(5), "fired at {fired}, widened at {widened}");
    let running = server.get("/api/overrides?policy=products").await;
    assert_eq!((&running[0]["ruleId"], &running[0]["effective"]["cache"]["l1Ttl"]), (&json!("slow"), &json!("1m")));

    within(Duration::from_secs(60), "the load falls, the alert is resolved, TTLs go back", async || {
        ttl() == Duration::from_secs(1)
    })
    .await;
    let ended = server.get("/api/policies/products/ended-overrides").await;
    assert_eq!(ended[0]["endReason"], json!("Loads are slow is resolved"), "{ended}");

    // It is slow still: with TTLs as they were, it fires again. This time nobody is there to revert it.
    within(Duration::from_secs(60), "TTLs are widened again", async || ttl() == Duration::from_secs(60)).await;
    server.kill();
    let killed = Instant::now();
    within(Duration::from_secs(20), "the lease ends without us", async || ttl() == Duration::from_secs(1)).await;
    assert!(killed.elapsed() < Duration::from_secs(8), "{:?} for a lease of 6 s", killed.elapsed());
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(sdk.stop(Duration::from_secs(5)).await);
}
