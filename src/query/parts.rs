//! Parts of range answers, kept for whoever asks again: in memory, and in Redis for the other replicas.
//!
//! The cache is that of our own SDK. A part is found by a hash of what was asked and of the blocks that it was made of, so it
//! is the same for ever; memory keeps it as it is, and Redis only what the database's secret seals.

use std::sync::Arc;
use std::time::Duration;

use fastbreak_client::cache::{BuildError, Cache, CacheKey, CachePolicy, Compression, Filled};
use fastbreak_client::measure;
use futures::future::join_all;
use opentelemetry::metrics::Meter;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Semaphore;

use super::value::{Answer, AnswerValue, Column, Sample};
use crate::model::{Labels, TimeMs};
use crate::redis::SharedCaches;

/// Name of the cache.
const SPACE: &str = "query-parts";
/// Bytes of parts kept in memory.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// A part above this share of all is not worth its room.
const PART_BYTES_MAX: usize = BYTES_MAX / 8;
/// What a column costs beside its samples.
const COLUMN_BYTES: usize = 256;
/// Parts above this size are not shared, so that as many as are asked for at once fit anywhere.
const SHARED_BYTES_MAX: usize = 2 << 20;
/// How long a part is kept in Redis.
const SHARED_LIFE: Duration = Duration::from_secs(600);
/// What Redis may take to answer; past it a part is made anew.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// Answers whose parts are on their way into the cache; the next waits for its own.
const UNDER_WAY_MAX: usize = 64;

/// The hash of what was asked and of the blocks that answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PartId(pub(super) u128);

impl CacheKey for PartId {
    fn with_text<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it(&format!("{:032x}", self.0))
    }
}

/// A part: columns of numbers.
#[derive(Clone, Debug)]
struct Part(Arc<Answer>);

/// As it is serialised; numbers by their bits, so that they come back as they were.
#[derive(Serialize, Deserialize)]
struct Stored {
    times: Vec<TimeMs>,
    columns: Vec<StoredColumn>,
    warnings: Vec<String>,
    infos: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredColumn {
    labels: Vec<(String, String)>,
    samples: Vec<Option<u64>>,
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if bytes(self) > SHARED_BYTES_MAX {
            return Err(S::Error::custom("too large to be shared"));
        }
        let number = |sample: &Sample| match sample {
            Sample::Float(number) => Some(number.to_bits()),
            Sample::None | Sample::Histogram(_) => None,
        };
        let column = |column: &Column| StoredColumn {
            labels: column.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            samples: column.samples.iter().map(number).collect(),
        };
        let Answer { times, warnings, infos, .. } = &*self.0;
        let (times, warnings, infos) = (times.clone(), warnings.clone(), infos.clone());
        Stored { times, columns: columns(&self.0).iter().map(column).collect(), warnings, infos }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { times, columns, warnings, infos } = Stored::deserialize(deserializer)?;
        let column = |column: StoredColumn| {
            let pairs = column.labels.into_iter().map(|(name, value)| (Arc::from(name), Arc::from(value))).collect();
            let sample = |bits: Option<u64>| bits.map_or(Sample::None, |bits| Sample::Float(f64::from_bits(bits)));
            let samples = column.samples.into_iter().map(sample).collect();
            Column { labels: Labels::from_pairs(pairs), samples }
        };
        let value = AnswerValue::Vector(columns.into_iter().map(column).collect());
        Ok(Self(Arc::new(Answer { times, value, warnings, infos })))
    }
}

fn columns(answer: &Answer) -> &[Column] {
    if let AnswerValue::Vector(columns) = &answer.value { columns } else { &[] }
}

fn bytes(Part(answer): &Part) -> usize {
    columns(answer).iter().map(|column| COLUMN_BYTES + size_of_val(column.samples.as_slice())).sum()
}

/// Scalars and texts are as quickly made, distributions are large.
fn is_worth_it(answer: &Answer) -> bool {
    let has_histograms = || columns(answer).iter().flat_map(|column| &column.samples).any(|s| s.histogram().is_some());
    matches!(answer.value, AnswerValue::Vector(_)) && !has_histograms()
}

/// See the module.
pub(super) struct Parts {
    cache: Cache<Filled<PartId, Part>>,
    under_way: Arc<Semaphore>,
}

impl Parts {
    /// None yet; with `shared`, those that other replicas have left there.
    ///
    /// # Errors
    /// When the policy is unsound; it is not.
    pub(super) async fn open(shared: Option<&SharedCaches>) -> Result<Self, BuildError> {
        let source = Filled::default();
        let builder = match shared {
            Some(shared) => shared.cache(SPACE, source),
            None => Cache::builder(SPACE, source),
        };
        let policy = CachePolicy {
            // Until room is needed: a part is right for ever.
            l1_ttl: Duration::from_secs(7 * 24 * 3600),
            l1_max_bytes: BYTES_MAX,
            l2_ttl: SHARED_LIFE,
            l2_timeout: ANSWER_WITHIN,
            ttl_jitter: 0.0,
            compression: Compression::Zstd,
            // Nobody makes a part invalid, so memory is good whoever is away.
            coherence_lease: Duration::ZERO,
            sample_ratio: 0.0,
            ..CachePolicy::default()
        };
        let cache = builder.policy(policy).values_in_memory(bytes).build().await?;
        Ok(Self { cache, under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)) })
    }

    /// Makes what is counted instruments.
    pub(super) fn measure(&self, meter: &Meter) {
        measure::cache(meter, None, SPACE, &self.cache);
    }

    /// Bytes kept in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.stats().bytes
    }

    /// The parts of `ids`, and how many of them came from memory.
    pub(super) async fn find(&self, ids: &[Option<PartId>]) -> (Vec<Option<Arc<Answer>>>, usize) {
        let shared = self.cache.has_redis();
        let mut found: Vec<Option<Arc<Answer>>> = Vec::with_capacity(ids.len());
        for id in ids {
            found.push(match id {
                // What is missing is counted once, where it is looked for last.
                Some(id) if shared => self.cache.peek(id).map(|part| part.0),
                Some(id) => self.cache.get(id).await.map(|part| part.0),
                None => None,
            });
        }
        let own = found.iter().flatten().count();
        let missing = || ids.iter().enumerate().filter_map(|(at, id)| Some((at, (*id)?)));
        let missing: Vec<(usize, PartId)> =
            missing().filter(|(at, _)| found.get(*at).is_some_and(Option::is_none)).collect();
        if missing.is_empty() || !shared {
            return (found, own);
        }
        let names: Vec<PartId> = missing.iter().map(|(_, id)| *id).collect();
        for ((at, _), part) in missing.into_iter().zip(self.cache.get_many(&names).await) {
            if let (Ok(Some(Part(answer))), Some(place)) = (part, found.get_mut(at)) {
                *place = Some(answer);
            }
        }
        (found, own)
    }

    /// Keeps parts: in memory at once, and for the other replicas. Waits for that only when many are at it.
    pub(super) async fn keep(&self, parts: Vec<(PartId, Arc<Answer>)>) {
        let cache = self.cache.clone();
        let mut keep = Box::pin(async move {
            let worth_it = parts.into_iter().map(|(id, answer)| (id, Part(answer)));
            let worth_it = worth_it.filter(|(_, part)| is_worth_it(&part.0) && bytes(part) <= PART_BYTES_MAX);
            let offers: Vec<_> = worth_it.collect();
            // What is not kept is made anew.
            join_all(offers.iter().map(|(id, part)| cache.offer(id, part.clone()))).await;
        });
        if futures::poll!(keep.as_mut()).is_ready() {
            return;
        }
        match Arc::clone(&self.under_way).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(async move {
                    keep.await;
                    drop(permit);
                });
            }
            Err(_full) => keep.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_found_as_it_was() {
        let samples = [f64::INFINITY, -0.0, 1.5e-300].map(Sample::Float);
        let columns = vec![Column {
            labels: Labels::of(&[("a", "b"), ("c", "")]),
            samples: samples.into_iter().chain([Sample::None]).collect(),
        }];
        let answer = Answer {
            times: vec![1, 2, 3, 4],
            value: AnswerValue::Vector(columns),
            warnings: vec!["w".to_owned()],
            infos: Vec::new(),
        };
        let text = serde_json::to_string(&Part(Arc::new(answer.clone()))).expect("serialises");
        let Part(back) = serde_json::from_str(&text).expect("reads");
        assert_eq!(*back, answer);
        let parts = Parts::open(None).await.expect("opens");
        let scalar = Answer { value: AnswerValue::Scalar(vec![1.0; 4]), ..answer.clone() };
        let _permits = Arc::clone(&parts.under_way).acquire_many_owned(UNDER_WAY_MAX as u32).await;
        parts.keep(vec![(PartId(1), Arc::new(answer.clone())), (PartId(2), Arc::new(scalar))]).await;
        let (found, own) = parts.find(&[None, Some(PartId(1)), Some(PartId(2)), Some(PartId(3))]).await;
        assert_eq!((found, own), (vec![None, Some(Arc::new(answer)), None, None], 1));
        assert!(parts.bytes() > COLUMN_BYTES as u64);
    }
}
