//! A topic's channel with the frames that were last made from it: most readers miss the same, so it is written once.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use chrono::Utc;
use parking_lot::Mutex;
use serde_json::json;

use super::WRITE_BYTES_MAX;
use crate::live::{Channel, Items, News};

/// What a frame holds beside its items, at most.
const ENVELOPE_BYTES: usize = 17 << 10;

/// Frames that take a reader from one number to another.
#[derive(Clone)]
struct Made {
    after: Option<u64>,
    seq: u64,
    frames: Arc<[Utf8Bytes]>,
}

/// A topic to read.
pub(super) struct Feed {
    topic: String,
    pub(super) channel: Channel,
    made: Mutex<Option<Made>>,
}

impl Feed {
    pub(super) fn new(topic: String, channel: Channel) -> Self {
        Self { topic, channel, made: Mutex::default() }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// The frames that a reader at `after` is due, and the number it is at with them.
    pub(super) fn frames(&self, after: Option<u64>) -> Option<(u64, Arc<[Utf8Bytes]>)> {
        let (seq, news) = self.channel.since(after)?;
        if let Some(made) = self.made.lock().as_ref().filter(|made| made.after == after && made.seq == seq) {
            return Some((seq, Arc::clone(&made.frames)));
        }
        let frames: Arc<[Utf8Bytes]> = self.write(seq, news).into();
        *self.made.lock() = Some(Made { after, seq, frames: Arc::clone(&frames) });
        Some((seq, frames))
    }

    /// A snapshot that is too long for a frame goes on in deltas: a reader need not know.
    fn write(&self, seq: u64, news: News) -> Vec<Utf8Bytes> {
        let (mut kind, items) = match news {
            News::Snapshot(items) => ("snapshot", items),
            News::Delta(items) => ("delta", items),
            News::Failure(detail) => {
                let frame = json!({ "topic": self.topic, "kind": "failure", "seq": seq, "detail": detail });
                return vec![frame.to_string().into()];
            }
        };
        let at = Utc::now().timestamp_millis();
        let parts = split(items).into_iter().map(|items| {
            let frame = json!({ "topic": self.topic, "kind": kind, "seq": seq, "at": at, "items": items });
            kind = "delta";
            Utf8Bytes::from(frame.to_string())
        });
        parts.collect()
    }
}

/// In parts that fit into frames; one part at least.
fn split(items: Items) -> Vec<Items> {
    let (mut parts, mut bytes) = (vec![Items::new()], 0);
    for (key, value) in items {
        let size = key.len() + value.to_string().len() + 8;
        if bytes > 0 && bytes + size > WRITE_BYTES_MAX - ENVELOPE_BYTES {
            parts.push(Items::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.insert(key, value);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::live::Board;

    #[test]
    fn a_long_snapshot_goes_on_in_deltas_of_bounded_size() {
        let feed = Feed::new("ledger".to_owned(), Board::default().channel());
        feed.channel.publish((0..5_000).map(|n| (format!("key-{n}"), json!("x".repeat(40)))).collect());
        let (seq, frames) = feed.frames(None).expect("published");
        assert!(frames.len() > 1 && frames.iter().all(|frame| frame.len() <= WRITE_BYTES_MAX));
        let read: Vec<Value> = frames.iter().map(|f| serde_json::from_str(f).expect("JSON")).collect();
        assert!(read.iter().all(|frame| frame["seq"] == seq));
        assert_eq!(read[0]["kind"], "snapshot");
        assert!(read[1..].iter().all(|frame| frame["kind"] == "delta"));
        let items: usize = read.iter().filter_map(|frame| frame["items"].as_object()).map(serde_json::Map::len).sum();
        assert_eq!(items, 5_000);
    }

    #[test]
    fn readers_that_miss_the_same_share_the_frames() {
        let feed = Feed::new("ledger".to_owned(), Board::default().channel());
        feed.channel.publish([("a".to_owned(), json!(1))].into());
        let (one, other) = (feed.frames(None).expect("published"), feed.frames(None).expect("published"));
        assert!(Arc::ptr_eq(&one.1, &other.1));
        assert!(feed.frames(Some(one.0)).is_none());
    }
}
