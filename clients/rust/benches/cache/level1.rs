//! Memory: gets a second, hit ratio, bytes; `quick_cache`, moka, mini-moka, foyer and cached beside it.
//!
//! The peers hold `u64` keys and 64 B values in place, without a life, which is their best case. Ours holds text keys and
//! serialised values with a life, a stamp and a place for tags, and is asked through the whole of `Cache::peek`.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use cached::{ConcurrentCached, ShardedLruCache};
use fastbreak_client::cache::{Cache, CachePolicy, Failure, Source};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::median;
use crate::trace::zipf;

const NAMES: [&str; 6] = ["ours", "quick_cache", "moka", "mini-moka", "foyer", "cached"];
/// Turns that fill, and those that count.
const WARM: usize = 2;
const TURNS: usize = 3;
const READS: usize = 1_000_000;
/// What an entry of this bench takes in ours when all is full.
const BYTES_EACH: usize = 100;

/// 64 bytes, serialised as such.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) [u8; 64]);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        bytes.try_into().map(Self).map_err(|_other| D::Error::custom("not 64 bytes"))
    }
}

fn value(key: u64) -> Value {
    Value([key as u8; 64])
}

struct Nothing;

impl Source for Nothing {
    type Key = u64;
    type Value = Value;

    async fn load(&self, key: &u64) -> Result<Option<Value>, Failure> {
        Ok(Some(value(*key)))
    }
}

trait Peer {
    fn get(&self, key: u64) -> Option<Value>;
    fn put(&self, key: u64);
    fn len(&self) -> usize;
    /// Bytes that it has allocated, if it counts them.
    fn bytes(&self) -> Option<u64> {
        None
    }
    /// What is put off is done.
    fn settle(&self) {}
}

struct Ours(Cache<Nothing>, tokio::runtime::Runtime);

impl Peer for Ours {
    #[inline]
    fn get(&self, key: u64) -> Option<Value> {
        self.0.peek(&key)
    }

    fn put(&self, key: u64) {
        self.1.block_on(self.0.set(&key, value(key))).unwrap();
    }

    fn len(&self) -> usize {
        self.0.stats().entries as usize
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.0.stats().bytes)
    }
}

impl Peer for quick_cache::sync::Cache<u64, Value> {
    #[inline]
    fn get(&self, key: u64) -> Option<Value> {
        Self::get(self, &key)
    }

    fn put(&self, key: u64) {
        self.insert(key, value(key));
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

impl Peer for moka::sync::Cache<u64, Value> {
    #[inline]
    fn get(&self, key: u64) -> Option<Value> {
        Self::get(self, &key)
    }

    fn put(&self, key: u64) {
        self.insert(key, value(key));
    }

    fn len(&self) -> usize {
        self.entry_count() as usize
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }
}

impl Peer for mini_moka::sync::Cache<u64, Value> {
    #[inline]
    fn get(&self, key: u64) -> Option<Value> {
        Self::get(self, &key)
    }

    fn put(&self, key: u64) {
        self.insert(key, value(key));
    }

    fn len(&self) -> usize {
        self.entry_count() as usize
    }
}

impl Peer for foyer_memory::Cache<u64, Value> {
    #[inline]
    fn get(&self, key: u64) -> Option<Value> {
        Self::get(self, &key).map(|entry| *entry.value())
    }

    fn put(&self, key: u64) {
        self.insert(key, value(key));
    }

    fn len(&self) -> usize {
        self.usage()
    }
}

impl Peer for ShardedLruCache<u64, Value> {
    #[inline]
    fn get(&self, key: u64) -> Option<Value> {
        self.cache_get(&key).unwrap()
    }

    fn put(&self, key: u64) {
        self.cache_set(key, value(key)).unwrap();
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

fn peer(name: &str, entries: usize, bytes: usize) -> Box<dyn Peer> {
    match name {
        "ours" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let policy =
                CachePolicy { l1_max_bytes: bytes, l1_ttl: Duration::from_secs(36_000), ..CachePolicy::default() };
            let cache = runtime.block_on(Cache::builder("bench", Nothing).policy(policy).build()).unwrap();
            Box::new(Ours(cache, runtime))
        }
        "quick_cache" => Box::new(quick_cache::sync::Cache::<u64, Value>::new(entries)),
        "moka" => Box::new(moka::sync::Cache::<u64, Value>::new(entries as u64)),
        "mini-moka" => Box::new(mini_moka::sync::Cache::<u64, Value>::new(entries as u64)),
        "foyer" => Box::new(foyer_memory::CacheBuilder::new(entries).build()),
        _ => Box::new(ShardedLruCache::<u64, Value>::builder().max_size(entries).build().unwrap()),
    }
}

fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// In a process of its own: fills a million entries and says what is resident.
pub(crate) fn memory_of(name: &str) {
    let peer = peer(name, 1_000_000, 120_000_000);
    let empty = resident_bytes() / 1e6;
    (0..1_000_000).for_each(|key| peer.put(key));
    peer.settle();
    let resident = resident_bytes() / 1e6;
    let held = (0..1_000_000).filter(|key| peer.get(*key) == Some(value(*key))).count();
    let counted = peer.bytes().map(|bytes| format!(", {:.1} by its own count", bytes as f64 / 1e6));
    println!("{resident:.1} {held} (empty {empty:.1}{})", counted.unwrap_or_default());
}

/// Reads of one that is full, and nothing else.
pub(crate) fn reads_of(name: &str, turns: u32) {
    let peer = peer(name, 100_000, 100_000 * BYTES_EACH);
    let trace = zipf(1_000_000, 0.99, READS, 0);
    mixed(&*peer, &trace);
    let rates = (0..turns).map(|_| gets(&*peer, &trace)).collect();
    println!("{:.2} M/s", median(rates) / 1e6);
}

pub(crate) fn memory() {
    println!("\nmemory: 1 000 000 entries of 64 B, whole process resident (goal: at most 100 MB)");
    let mut each = Vec::new();
    for name in NAMES {
        let this = std::env::current_exe().unwrap();
        let said = Command::new(this).args(["--memory-of", name]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let words: Vec<&str> = said.trim().splitn(3, ' ').collect();
        let [resident, held, more] = words.as_slice() else { panic!("{said}") };
        println!("  {name:<12} {resident:>7} MB {more}, {held} of them there");
        each.push((name, resident.parse::<f64>().unwrap() * 1e6 / held.parse::<f64>().unwrap()));
    }
    same_memory(&each);
}

/// `(reads a second with misses filled, hit ratio)`.
fn mixed(peer: &dyn Peer, trace: &[u64]) -> (f64, f64) {
    let (began, mut hits) = (Instant::now(), 0);
    for key in trace {
        match peer.get(*key) {
            Some(value) => hits += usize::from(black_box(value).0[0] == *key as u8),
            None => peer.put(*key),
        }
    }
    (trace.len() as f64 / began.elapsed().as_secs_f64(), hits as f64 / trace.len() as f64)
}

/// Reads a second.
fn gets(peer: &dyn Peer, trace: &[u64]) -> f64 {
    let began = Instant::now();
    for key in trace {
        black_box(peer.get(*key));
    }
    trace.len() as f64 / began.elapsed().as_secs_f64()
}

fn table(keys: usize, entries: usize, exponent: f64) {
    let peers = NAMES.map(|name| peer(name, entries, entries * BYTES_EACH));
    let mut turns = vec![(Vec::new(), Vec::new(), Vec::new()); NAMES.len()];
    for turn in 0..WARM + TURNS {
        // Other reads in each turn: who meets the same again would know what comes.
        let trace = zipf(keys, exponent, READS, turn as u64);
        for (peer, (rates, hits, reads)) in peers.iter().zip(&mut turns) {
            let (rate, ratio) = mixed(&**peer, &trace);
            if turn >= WARM {
                rates.push(rate);
                hits.push(ratio);
                reads.push(gets(&**peer, &trace));
            }
        }
    }
    println!("\nlevel 1: {keys} keys, Zipf {exponent}, room for {entries}; one thread, millions a second");
    let medians: Vec<_> = turns
        .into_iter()
        .map(|(rates, hits, reads)| (median(rates) / 1e6, median(hits), median(reads) / 1e6))
        .collect();
    for ((name, peer), (rate, hits, reads)) in NAMES.iter().zip(&peers).zip(&medians) {
        let (ratio, len) = (medians[0].2 / reads, peer.len());
        println!(
            "  {name:<12} get {reads:>6.2} (ours x {ratio:>5.2}), with fills {rate:>6.2}, {len:>6} held, hit ratio {hits:.4}"
        );
    }
}

/// What each makes of the same memory, by what a million entries of it took.
fn same_memory(each: &[(&str, f64)]) {
    let (keys, bytes) = (1_000_000, 40e6);
    println!("\nlevel 1: {keys} keys, Zipf 0.99, {} MB resident for each", bytes / 1e6);
    for (name, bytes_each) in each {
        let entries = (bytes / bytes_each) as usize;
        let peer = peer(name, entries, bytes as usize);
        let ratios = (0..WARM + TURNS).map(|turn| mixed(&*peer, &zipf(keys, 0.99, READS, turn as u64)).1);
        let last: Vec<f64> = ratios.skip(WARM).collect();
        println!("  {name:<12} {:>6} held, hit ratio {:.4}", peer.len(), median(last));
    }
}

pub(crate) fn run() {
    table(1_000_000, 100_000, 0.99);
    table(1_000_000, 100_000, 0.8);
    table(100_000, 50_000, 0.99);
}
