//! The windows of a metric's series: what is closed is kept, what heads still take in is read each time.

use std::sync::Arc;

use hashbrown::HashMap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::super::fetch::merge;
use super::added::AddedSeries;
use crate::model::{Cell, SeriesId, WindowStart};
use crate::rollup::{BlockSeries, Generation, Log, MetricEntry, Registry, Slot, Stream};
use crate::storage::{BlockKey, StreamRow};

/// Windows in order.
pub(super) type Windows = Vec<(WindowStart, Cell)>;

/// Where windows come from, as of one snapshot.
pub(super) struct Source {
    /// Names the blocks of each metric.
    blocks_of: HashMap<i64, u64>,
    heads: Vec<SourceHead>,
}

struct SourceHead {
    stream: Arc<Stream>,
    id: i64,
    cursor_seq: i64,
    sealed: Vec<Arc<Generation>>,
}

impl SourceHead {
    /// Up to where the stream is sealed.
    fn sealed_seq(&self) -> i64 {
        self.sealed.last().map_or(self.cursor_seq, |generation| generation.last_seq)
    }
}

impl Source {
    pub(super) fn new(keys: &[BlockKey], rows: &[StreamRow], heads: &[Arc<Stream>]) -> Self {
        let mut blocks_of: HashMap<i64, u64> = HashMap::new();
        for key in keys {
            // The sum does not depend on their order.
            let sum = blocks_of.entry(key.metric_id).or_default();
            *sum = sum.wrapping_add(xxh3_64(&key.id.to_le_bytes()));
        }
        let head = |(row, stream): (&StreamRow, &Arc<Stream>)| {
            let sealed = stream.head.sealed_after(row.cursor_seq);
            SourceHead { stream: Arc::clone(stream), id: row.id, cursor_seq: row.cursor_seq, sealed }
        };
        Self { blocks_of, heads: rows.iter().zip(heads).map(head).collect() }
    }

    /// Names all that is closed of `metric`; never 0.
    fn parts(&self, metric: &MetricEntry) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(&self.blocks_of.get(&(metric.id.0 as i64)).copied().unwrap_or_default().to_le_bytes());
        for head in &self.heads {
            for number in [head.id, head.cursor_seq, head.sealed_seq()] {
                hash.update(&number.to_le_bytes());
            }
        }
        hash.digest128().max(1)
    }
}

/// The windows of one series.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) closed: Windows,
    pub(super) live: Windows,
    /// Where somebody sums.
    pub(super) added: AddedSeries,
}

impl Kept {
    /// The windows within `span`, or the `newest` of them; those of one start merged.
    pub(super) fn joined(&self, span: (WindowStart, WindowStart), newest: Option<usize>) -> Windows {
        let live = within(&self.live, span, newest);
        let closed = within(&self.closed, span, newest);
        let apart = closed.last().zip(live.first()).is_none_or(|(last, first)| last.0 < first.0);
        if !apart {
            return merge(closed.iter().chain(live).cloned().collect());
        }
        let skipped = newest.map_or(0, |newest| (closed.len() + live.len()).saturating_sub(newest));
        closed.iter().chain(live).skip(skipped).cloned().collect()
    }
}

/// The part of `windows` within `span`, or its `newest`.
fn within(windows: &Windows, span: (WindowStart, WindowStart), newest: Option<usize>) -> &[(WindowStart, Cell)] {
    let after = windows.iter().rev().take_while(|(window, _)| *window > span.1).count();
    let to = windows.len() - after;
    let upto = windows.get(..to).unwrap_or_default();
    let from = match newest {
        Some(newest) => {
            let least = to.saturating_sub(newest);
            least + upto.iter().skip(least).take_while(|(window, _)| *window < span.0).count()
        }
        None => upto.partition_point(|(window, _)| *window < span.0),
    };
    upto.get(from..).unwrap_or_default()
}

/// What is kept of a metric: the series that somebody asks for.
pub(super) struct Metric {
    /// Tells it from one that was forgotten.
    pub(super) name: u64,
    /// Grows when what is closed is read anew.
    pub(super) build: u64,
    /// Somebody sums what it added.
    pub(super) is_counted: bool,
    /// What [`Source::parts`] said when what is closed was read; 0 while it is not.
    parts: u128,
    /// From which window on.
    from: WindowStart,
    places: HashMap<Slot, u32>,
    pub(super) series: Vec<Kept>,
    /// Series with live windows.
    live: Vec<u32>,
}

impl Metric {
    pub(super) fn new(name: u64) -> Self {
        let (places, series, live) = (HashMap::new(), Vec::new(), Vec::new());
        Self { name, build: 0, is_counted: false, parts: 0, from: WindowStart::MAX, places, series, live }
    }

    /// Where the series is, or will be.
    pub(super) fn place(&mut self, slot: Slot) -> u32 {
        let next = self.series.len() as u32;
        let place = *self.places.entry(slot).or_insert(next);
        if place == next {
            self.series.push(Kept::default());
            // What it has is not known yet.
            self.parts = 0;
        }
        place
    }

    /// Lets what is closed be read anew.
    pub(super) const fn disbelieve(&mut self) {
        self.parts = 0;
    }

    /// Counts what was added from now on, which takes reading what is closed anew.
    pub(super) const fn recount(&mut self) {
        self.is_counted = true;
        self.disbelieve();
    }

    /// Number of windows kept.
    pub(super) fn len(&self) -> usize {
        self.series.iter().map(|kept| kept.closed.len()).sum()
    }

    /// Forgets what is closed where that has changed; true when it has, and the blocks are to be read.
    pub(super) fn begin(&mut self, metric: &MetricEntry, source: &Source, from: WindowStart) -> bool {
        let is_stale = self.parts != source.parts(metric) || from < self.from;
        if is_stale {
            // Until all is read, nothing is.
            (self.parts, self.from) = (0, from);
            self.series.iter_mut().for_each(|kept| kept.closed.clear());
        }
        is_stale
    }

    /// Takes what is asked for of a block; what nobody knows yet goes to `unknown`.
    pub(super) fn add_block(&mut self, registry: &Registry, block: &[BlockSeries], unknown: &mut Vec<SeriesId>) {
        for series in block {
            match registry.slot_of(series.id) {
                Some(slot) => self.push(slot, series.windows.iter().map(|(window, cell)| (*window, cell))),
                None => unknown.push(series.id),
            }
        }
    }

    fn push<'a>(&mut self, slot: Slot, windows: impl Iterator<Item = (WindowStart, &'a Cell)>) {
        let Some(kept) = self.places.get(&slot).and_then(|place| self.series.get_mut(*place as usize)) else { return };
        let from = self.from;
        kept.closed.extend(windows.filter(|(window, _)| *window >= from).map(|(window, cell)| (window, cell.clone())));
    }

    /// Reads what is sealed, where blocks were read, and what heads still take in.
    pub(super) fn finish(&mut self, metric: &MetricEntry, source: &Source) {
        if self.parts == 0 {
            for generation in source.heads.iter().flat_map(|head| &head.sealed) {
                for entry in generation.logs.get(&metric.index).into_iter().flat_map(Log::iter) {
                    self.push(entry.slot, std::iter::once((entry.window, &entry.cell)));
                }
            }
            for kept in &mut self.series {
                put_in_order(&mut kept.closed);
                if self.is_counted {
                    kept.added.close(&kept.closed);
                }
            }
            self.parts = source.parts(metric);
            self.build += 1;
        }
        self.read_live(metric, source);
    }

    fn read_live(&mut self, metric: &MetricEntry, source: &Source) {
        let Self { from, places, series, live, is_counted, .. } = self;
        for place in live.drain(..) {
            if let Some(kept) = series.get_mut(place as usize) {
                kept.live.clear();
            }
        }
        for head in &source.heads {
            head.stream.head.visit(metric.index, head.sealed_seq(), (*from, WindowStart::MAX), &mut |entry| {
                let Some(place) = places.get(&entry.slot) else { return };
                let Some(kept) = series.get_mut(*place as usize) else { return };
                if kept.live.is_empty() {
                    live.push(*place);
                }
                kept.live.push((entry.window, entry.cell.clone()));
            });
        }
        for place in live {
            if let Some(kept) = series.get_mut(*place as usize) {
                put_in_order(&mut kept.live);
            }
        }
        if *is_counted {
            series.iter_mut().for_each(|kept| kept.added.live(&kept.closed, &kept.live));
        }
    }
}

fn put_in_order(windows: &mut Windows) {
    if !windows.is_sorted_by(|a, b| a.0 < b.0) {
        *windows = merge(std::mem::take(windows));
    }
}
