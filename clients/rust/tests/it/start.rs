//! One call sets everything up, over real sockets: with the server there, and with it away.

use std::time::Duration;

use fastbreak_client::FastBreak;
use fastbreak_client::batcher::{BatchPolicy, Batcher, Failure, Outcome, Process};
use fastbreak_client::cache::{Cache, CachePolicy, Clock, Source};
use fastbreak_client::proto::PolicySnapshot;
use fastbreak_client::proto::watch_response::Message as Say;
use opentelemetry::global;
use opentelemetry::trace::{Span as _, Tracer as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::collector::{Collector, Series};
use crate::support::Mock;

struct Echo;

impl Process for Echo {
    type Item = u32;
    type Output = u32;

    async fn process(&self, items: Vec<u32>) -> Result<Vec<Outcome<u32>>, Failure> {
        Ok(items.into_iter().map(Outcome::Done).collect())
    }
}

/// Finds a text for even numbers, and fails for 999.
struct Names;

impl Source for Names {
    type Key = u64;
    type Value = String;

    async fn load(&self, key: &u64) -> Result<Option<String>, Failure> {
        match key {
            999 => Err(Failure { why: "away".to_owned(), retryable: false, retry_after: None }),
            key => Ok(key.is_multiple_of(2).then(|| "n".repeat(100))),
        }
    }
}

/// 300 keys are read twice, and twice again when their life is over; one cannot be loaded.
async fn use_cache(names: &Cache<Names>, clock: &Clock) {
    for minute in 0..2 {
        for key in (0..300).chain(0..300) {
            assert_eq!(names.get_or_load(&(key * 2)).await.unwrap().map(|name| name.len()), Some(100), "{minute}");
        }
        clock.advance(Duration::from_secs(70));
    }
    names.invalidate_keys(&[0, 2]).await.unwrap();
    assert!(names.get_or_load(&0).await.unwrap().is_some());
    assert_eq!(names.get_or_load(&1).await.unwrap(), None);
    assert!(names.get_or_load(&999).await.is_err());
}

fn check_cache(series: &Series) {
    let of = |name: &str, labels: &[&str]| {
        let mut labels: Vec<String> = labels.iter().map(|label| format!("fastbreak.cache.{label}")).collect();
        labels.push("fastbreak.cache.name=names".to_owned());
        labels.sort();
        let name = format!("fastbreak.cache.{name}{{{}}}", labels.join(","));
        *series.get(&name).unwrap_or_else(|| panic!("no {name} in {series:#?}"))
    };
    assert_eq!(of("requests", &["result=hit", "level=l1"]), 600.0);
    assert_eq!((of("requests", &["result=miss"]), of("requests", &["result=stale"])), (603.0, 0.0));
    let miss = |cause: &str| of("misses", &["level=l1", &format!("miss.cause={cause}")]);
    assert_eq!((miss("cold"), miss("expired"), miss("invalidated")), (302.0, 300.0, 1.0));
    assert_eq!((miss("evicted"), miss("untrusted"), miss("bypass")), (0.0, 0.0, 0.0));
    let loads = |result: &str| of("loads", &[&format!("result={result}")]);
    assert_eq!((loads("found"), loads("none"), loads("failed")), (601.0, 1.0, 1.0));
    assert_eq!(of("load.duration", &[]), 602.0);
    assert_eq!(series["fastbreak.cache.load.duration{error.type=failed,fastbreak.cache.name=names}"], 1.0);
    assert_eq!((of("entries", &[]), of("invalidations", &[])), (299.0, 2.0));
    assert!(of("usage", &[]) > 30_000.0 && of("usage", &[]) < of("limit", &[]));
    assert!(!series.keys().any(|name| name.contains("l2") || name.contains("behind")), "it has neither: {series:#?}");

    let curve = |what: &str, change: &str, factor: &str| {
        of(&format!("curve.{what}"), &[&format!("curve.change={change}"), &format!("curve.factor={factor}")])
    };
    // Within a minute every second read hits; with twice the life those of the second minute do too.
    let as_it_is = curve("hit_ratio", "ttl", "1");
    assert!((as_it_is - 0.5).abs() < 0.05 && curve("hit_ratio", "ttl", "4") > 0.7, "{as_it_is}");
    assert_eq!(curve("hit_ratio", "capacity", "4"), as_it_is, "room is not what it lacks");
    assert!(curve("usage", "ttl", "4") > curve("usage", "ttl", "0.25"));
    assert_eq!(of("curve.sample", &[]), 1203.0);
}

/// What the global providers are set to is the process's: one test, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_with_one_call_and_ends_in_time_with_the_server_there_or_away() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("checkout.policies");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (collector, mut mock) = (Collector::default(), Mock::start());
    let server = tokio::spawn(
        Server::builder()
            .add_service(collector.services().0)
            .add_service(collector.services().1)
            .add_service(mock.service())
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );

    let start = || {
        let builder = FastBreak::builder("checkout").endpoint(&endpoint).version("2.1").label("region", "eu");
        builder.policy_file(&file).start().unwrap()
    };
    let fastbreak = start();
    let batcher = Batcher::new(BatchPolicy::default(), Echo).unwrap();
    fastbreak.batcher("prices", &batcher);
    let clock = Clock::moved();
    // Memory needs no leave here: what is counted does not wait for the server.
    let coherence_lease = Duration::ZERO;
    let policy = CachePolicy { sample_ratio: 1.0, ttl_jitter: 0.0, coherence_lease, ..CachePolicy::default() };
    let names = Cache::builder("names", Names).policy(policy).clock(clock.clone()).build().await.unwrap();
    fastbreak.cache("names", &names);
    let mut link = mock.link().await;
    let hello = link.hello.clone();
    assert_eq!((hello.service.as_str(), hello.version.as_str()), ("checkout", "2.1"));
    assert_eq!(
        (hello.instance.as_str(), hello.labels.get("region").map(String::as_str)),
        (fastbreak.instance(), Some("eu"))
    );
    link.say("1", Say::Snapshot(PolicySnapshot::default())).await;
    link.ack().await;
    assert_eq!(batcher.submit(7).await, Ok(7));
    use_cache(&names, &clock).await;
    global::tracer("test").start("work").end();
    assert!(fastbreak.shutdown(Duration::from_secs(10)).await);

    let metrics = format!("{:?}", collector.metrics.lock());
    for word in [&hello.instance, "service.version", "region"] {
        assert!(metrics.contains(word), "{word} in {metrics}");
    }
    let series = collector.series("fastbreak.cache.");
    let of_batch = |name: &str| series[&format!("fastbreak.batch.{name}{{fastbreak.batch.name=prices}}")];
    assert_eq!((of_batch("calls"), of_batch("sent_items"), of_batch("queued")), (1.0, 1.0, 0.0));
    assert_eq!((of_batch("call.size"), of_batch("call.wait"), of_batch("call.duration")), (1.0, 1.0, 1.0));
    assert_eq!(series["fastbreak.policy.connected{}"], 1.0);
    check_cache(&series);
    let traces = format!("{:?}", collector.traces.lock());
    assert!(traces.contains("work") && traces.contains(&hello.instance), "{traces}");

    server.abort();
    assert!(server.await.is_err());
    let began = Instant::now();
    let fastbreak = start();
    assert!(began.elapsed() < Duration::from_secs(1), "nothing waits for the server");
    fastbreak.batcher("prices", &batcher);
    assert_eq!(batcher.submit(8).await, Ok(8));
    global::tracer("test").start("lost").end();
    let began = Instant::now();
    assert!(!fastbreak.shutdown(Duration::from_secs(2)).await, "not all could be sent");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
