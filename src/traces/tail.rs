//! The tail: what is acknowledged and not decided on yet, in memory, bounded in bytes; and which traces are kept.
//!
//! A chunk is the spans of one group commit, as compressed as in the spool. Over the budget a chunk's bodies are left to the
//! spool, and read back when their time comes: the decision waits no shorter, and nothing that was to be kept is lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::decide::Reasons;
use super::spool::{ExportSpans, Marks};
use crate::model::TraceId;

/// Traces remembered of each half of the memory; about 40 bytes each.
const REMEMBERED_MAX: usize = 1 << 18;
/// Chunks listed; past that, the spool alone knows of them.
pub(super) const CHUNKS_MAX: usize = 1 << 16;

/// The spans of one group commit.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) stream: i64,
    pub(super) seq: i64,
    pub(super) since: Instant,
    pub(super) marks: Marks,
    /// Compressed; `None` when only the spool has them.
    pub(super) bodies: Option<Vec<Bytes>>,
}

impl Chunk {
    fn bytes(&self) -> usize {
        let bodies = self.bodies.iter().flatten().map(Bytes::len).sum::<usize>();
        size_of::<Self>() + self.marks.capacity() * size_of::<(TraceId, Reasons)>() + bodies
    }
}

/// Traces that were marked, so that whatever else comes of them is kept too.
#[derive(Debug)]
pub(super) struct Kept {
    recent: HashMap<TraceId, Reasons>,
    earlier: HashMap<TraceId, Reasons>,
    turned_at: Instant,
    remember: Duration,
}

impl Kept {
    pub(super) fn new(remember: Duration, now: Instant) -> Self {
        Self { recent: HashMap::new(), earlier: HashMap::new(), turned_at: now, remember }
    }

    /// Adds marks. The older half is forgotten when its time is over, or there is no more room.
    pub(super) fn mark(&mut self, marks: &[(TraceId, Reasons)], now: Instant) {
        if now.duration_since(self.turned_at) >= self.remember || self.recent.len() >= REMEMBERED_MAX {
            self.earlier = std::mem::take(&mut self.recent);
            self.turned_at = now;
        }
        for (trace_id, reasons) in marks {
            let known = self.recent.entry(*trace_id).or_default();
            *known = known.and(*reasons);
        }
    }

    /// Why a trace is kept.
    #[inline]
    pub(super) fn reasons(&self, trace_id: TraceId) -> Reasons {
        let of = |half: &HashMap<TraceId, Reasons>| half.get(&trace_id).copied().unwrap_or_default();
        of(&self.recent).and(of(&self.earlier))
    }

    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.earlier.len()
    }
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Streams whose spool has rows that perhaps never came here.
    gaps: Vec<i64>,
}

/// Both, shared by the committer, which adds, and the one task that decides.
#[derive(Debug)]
pub(super) struct Tail {
    queue: Mutex<Queue>,
    pub(super) kept: RwLock<Kept>,
    bytes_max: usize,
}

/// What a push did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in memory.
    Held,
    /// Over the budget: only the spool has its bodies.
    Spilled,
}

impl Tail {
    pub(super) fn new(bytes_max: usize, remember: Duration, now: Instant) -> Self {
        Self { queue: Mutex::default(), kept: RwLock::new(Kept::new(remember, now)), bytes_max }
    }

    /// Takes the spans of a committed group.
    pub(super) fn push(&self, stream: i64, seq: i64, exports: Vec<ExportSpans>, now: Instant) -> Pushed {
        let mut chunk = Chunk { stream, seq, since: now, marks: Vec::new(), bodies: None };
        let mut bodies = Vec::with_capacity(exports.len());
        for export in exports {
            chunk.marks.extend(export.marks);
            bodies.push(export.body);
        }
        if !chunk.marks.is_empty() {
            self.kept.write().mark(&chunk.marks, now);
        }
        let body_bytes = bodies.iter().map(Bytes::len).sum::<usize>();
        let mut queue = self.queue.lock();
        let gap = queue.gaps.iter().position(|known| *known == stream).map(|at| queue.gaps.swap_remove(at));
        let pushed = if gap.is_none() && queue.bytes + chunk.bytes() + body_bytes <= self.bytes_max {
            chunk.bodies = Some(bodies);
            Pushed::Held
        } else {
            // Its marks are in the spool too.
            chunk.marks = Vec::new();
            Pushed::Spilled
        };
        // A list that is full ends with a chunk that stands for all that follow it in the spool.
        let is_full = queue.chunks.len() >= CHUNKS_MAX;
        match queue.chunks.back_mut().filter(|last| is_full && last.stream == stream) {
            None => {
                queue.bytes += chunk.bytes();
                queue.chunks.push_back(chunk);
            }
            Some(last) => {
                let before = last.bytes();
                (last.seq, last.bodies, last.marks) = (seq, None, Vec::new());
                let after = last.bytes();
                queue.bytes = queue.bytes + after - before;
            }
        }
        pushed
    }

    /// The next chunk of `stream` is read from the spool, with whatever is there before it.
    pub(super) fn may_have_missed(&self, stream: i64) {
        let mut queue = self.queue.lock();
        if !queue.gaps.contains(&stream) {
            queue.gaps.push(stream);
        }
    }

    /// Lists what only the spool has, up to row `seq`.
    pub(super) fn push_spooled(&self, stream: i64, seq: i64, now: Instant) {
        let mut queue = self.queue.lock();
        let chunk = Chunk { stream, seq, since: now, marks: Vec::new(), bodies: None };
        queue.bytes += chunk.bytes();
        queue.chunks.push_back(chunk);
    }

    /// The oldest chunks of one stream that came before `due`, at most `most` bytes of them; they stay until
    /// [`Self::forget`].
    pub(super) fn due(&self, due: Instant, most: usize) -> Vec<Chunk> {
        let queue = self.queue.lock();
        let mut bytes = 0;
        let mut out: Vec<Chunk> = Vec::new();
        for chunk in queue.chunks.iter().take_while(|chunk| chunk.since <= due) {
            bytes += chunk.bytes();
            if out.first().is_some_and(|first| first.stream != chunk.stream || bytes > most) {
                break;
            }
            out.push(chunk.clone());
        }
        out
    }

    /// Forgets the chunks of `stream` up to `seq`: they are decided, or somebody else decides them.
    pub(super) fn forget(&self, stream: i64, seq: i64) {
        let mut queue = self.queue.lock();
        queue.chunks.retain(|chunk| chunk.stream != stream || chunk.seq > seq);
        queue.bytes = queue.chunks.iter().map(Chunk::bytes).sum();
    }

    /// `(chunks, bytes)` in memory.
    pub(super) fn size(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.chunks.len(), queue.bytes)
    }

    /// Streams that have chunks here.
    pub(super) fn streams(&self) -> Vec<i64> {
        let queue = self.queue.lock();
        let mut streams: Vec<i64> = queue.chunks.iter().map(|chunk| chunk.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(trace: u8, reasons: Reasons, bytes: usize) -> ExportSpans {
        let marks = if reasons.is_none() { Vec::new() } else { vec![(TraceId([trace; 16]), reasons)] };
        ExportSpans { marks, body: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn ten_times_the_budget_is_left_to_the_spool_and_no_mark_is_lost() {
        let (now, budget) = (Instant::now(), 1 << 20);
        let tail = Tail::new(budget, Duration::from_secs(300), now);
        let mut spilled = 0;
        for seq in 1..=1_000 {
            let reasons = if seq % 10 == 0 { Reasons::ERROR } else { Reasons::NONE };
            let pushed = tail.push(1, seq, vec![export((seq / 10) as u8, reasons, 10_000)], now);
            spilled += usize::from(pushed == Pushed::Spilled);
            assert!(tail.size().1 <= budget + (1_000 * size_of::<Chunk>()), "{:?}", tail.size());
        }
        assert!(spilled > 880, "{spilled}");
        assert!((1..=100).all(|trace| tail.kept.read().reasons(TraceId([trace; 16])) == Reasons::ERROR));
        let seqs: Vec<i64> = tail.due(now, usize::MAX).iter().map(|chunk| chunk.seq).collect();
        assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>(), "every chunk has its turn");
        tail.forget(1, 1_000);
        assert_eq!(tail.size(), (0, 0));
    }

    #[test]
    fn a_chunk_has_its_turn_after_the_wait_and_streams_are_not_mixed() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let tail = Tail::new(1 << 20, Duration::from_secs(300), start);
        tail.push(1, 1, vec![export(1, Reasons::NONE, 10)], start);
        tail.push(2, 1, vec![export(1, Reasons::NONE, 10)], start);
        tail.push(2, 2, vec![export(1, Reasons::NONE, 10)], later);
        let due = |at| tail.due(at, usize::MAX).iter().map(|chunk| (chunk.stream, chunk.seq)).collect::<Vec<_>>();
        assert_eq!(due(start), [(1, 1)]);
        tail.forget(1, 1);
        assert_eq!(due(start), [(2, 1)]);
        assert_eq!(due(later), [(2, 1), (2, 2)]);
        assert_eq!(tail.streams(), [2]);
    }

    #[test]
    fn kept_traces_are_remembered_for_a_time_and_reasons_add_up() {
        let start = Instant::now();
        let mut kept = Kept::new(Duration::from_secs(10), start);
        let id = TraceId([1; 16]);
        kept.mark(&[(id, Reasons::SLOW)], start);
        kept.mark(&[(TraceId([2; 16]), Reasons::SLOW)], start + Duration::from_secs(11));
        kept.mark(&[(id, Reasons::ERROR)], start + Duration::from_secs(12));
        assert_eq!(kept.reasons(id), Reasons::SLOW.and(Reasons::ERROR));
        kept.mark(&[], start + Duration::from_secs(22));
        kept.mark(&[], start + Duration::from_secs(33));
        assert!(kept.reasons(id).is_none());
        assert_eq!(kept.len(), 0);
    }
}
