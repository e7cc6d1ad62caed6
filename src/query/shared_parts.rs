//! Remembered parts on their way through Redis: the second level, behind this process's own memory.
//!
//! A part is found by a hash of what was asked and of the blocks that it was made of, and is only taken with the tag that
//! the database's seed gives it; whatever is missing or does not read is made anew.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::value::{Answer, AnswerValue, Column, Sample};
use crate::model::{Labels, TimeMs};
use crate::rollup::Streams;

/// Coding effort of zstd.
const LEVEL: i32 = 1;
/// Most bytes of a part when it is unpacked.
const UNPACKED_BYTES_MAX: usize = 16 << 20;

/// A part as it is stored; numbers by their bits, so that they come back as they were.
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

/// `None` for what is not kept: scalars, texts, distributions.
fn packed(answer: &Answer) -> Option<Vec<u8>> {
    let AnswerValue::Vector(columns) = &answer.value else { return None };
    let column = |column: &Column| {
        let sample = |sample: &Sample| match sample {
            Sample::None => Some(None),
            Sample::Float(number) => Some(Some(number.to_bits())),
            Sample::Histogram(_) => None,
        };
        let labels = column.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(StoredColumn { labels, samples: column.samples.iter().map(sample).collect::<Option<_>>()? })
    };
    let columns = columns.iter().map(column).collect::<Option<_>>()?;
    let (times, warnings, infos) = (answer.times.clone(), answer.warnings.clone(), answer.infos.clone());
    let text = serde_json::to_vec(&Stored { times, columns, warnings, infos }).ok()?;
    zstd::bulk::compress(&text, LEVEL).ok()
}

fn unpacked(bytes: &[u8]) -> Option<Answer> {
    let text = zstd::bulk::decompress(bytes, UNPACKED_BYTES_MAX).ok()?;
    let Stored { times, columns, warnings, infos } = serde_json::from_slice(&text).ok()?;
    let column = |column: StoredColumn| {
        let pairs = column.labels.into_iter().map(|(name, value)| (Arc::from(name), Arc::from(value))).collect();
        let sample = |bits: Option<u64>| bits.map_or(Sample::None, |bits| Sample::Float(f64::from_bits(bits)));
        let samples = column.samples.into_iter().map(sample).collect();
        Column { labels: Labels::from_pairs(pairs), samples }
    };
    let value = AnswerValue::Vector(columns.into_iter().map(column).collect());
    Some(Answer { times, value, warnings, infos })
}

/// The parts under `keys` that another replica, or this one before, has left; none without Redis.
pub(super) async fn recall(streams: &Streams, keys: &[u128]) -> Vec<Option<Arc<Answer>>> {
    let found = match streams.recent() {
        Some(recent) if !keys.is_empty() => recent.recall(keys).await,
        _ => Vec::new(),
    };
    let read = |at: usize| found.get(at)?.as_deref().and_then(unpacked).map(Arc::new);
    (0..keys.len()).map(read).collect()
}

/// Leaves a part to the other replicas.
pub(super) fn leave(streams: &Streams, key: u128, answer: &Answer) {
    if let Some(recent) = streams.recent().filter(|recent| recent.is_connected())
        && let Some(bytes) = packed(answer)
    {
        recent.remember(key, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_were() {
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
        assert_eq!(unpacked(&packed(&answer).expect("packs")), Some(answer));
        assert_eq!(unpacked(b"nothing"), None);
    }
}
