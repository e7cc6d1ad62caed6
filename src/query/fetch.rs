//! Fetching: the series of a selector out of blocks and heads, as of one database snapshot.
//!
//! A coarse tier holds what compaction has brought into it; the parts of checkpoints that it has not are read beside it
//! and rolled to its width, and so are the heads. Compaction replaces the parts of an hour and its coarse windows in one
//! transaction, so in any snapshot each window is in just one of the three.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use hashbrown::{HashMap, HashSet};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::QueryError;
use super::index::Indexes;
use super::limits::Budget;
use super::select::{Meant, Select};
use crate::model::{Cell, Counter, MetricId, Run, SeriesId, SeriesWindows, TimeMs, Width, WindowStart};
use crate::rollup::{BlockTotals, Contents, HeadEntry, MetricEntry, Registry, Slot, Stream};
use crate::storage::{BlockKey, BlockSpan, StreamRow, Tier};

/// Which tier a query reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) tier: Tier,
    /// Of the tier's windows.
    pub(super) width: Width,
}

impl Reading {
    /// The window of the tier that holds the window `start`.
    fn window_of(&self, start: WindowStart) -> WindowStart {
        match self.tier {
            Tier::Fine => start,
            _ => self.width.window_of(TimeMs::from(start) * 1000),
        }
    }

    /// First and last window of a span; the last one holds its end.
    pub(super) fn windows(&self, (start, end): (TimeMs, TimeMs)) -> (WindowStart, WindowStart) {
        (self.width.window_of(start), self.width.window_of(end))
    }

    /// First and last window as ingested that those may hold.
    pub(super) fn fine_windows(&self, span: (TimeMs, TimeMs)) -> (WindowStart, WindowStart) {
        let (first, last) = self.windows(span);
        (first, last.saturating_add(self.width.seconds() - 1))
    }

    /// The blocks that may hold those windows.
    pub(super) fn blocks(&self, span: (TimeMs, TimeMs)) -> Vec<BlockSpan> {
        let (first, last) = self.windows(span);
        let date = |seconds: i64| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
        let span = |tier: Tier, parts_only| BlockSpan {
            tier,
            from: date(tier.block_start(i64::from(first))),
            to: date(i64::from(last) + i64::from(self.width.seconds())),
            parts_only,
        };
        match self.tier {
            Tier::Fine => vec![span(Tier::Fine, false)],
            coarse => vec![span(coarse, false), span(Tier::Fine, true)],
        }
    }
}

/// The metrics of a selector, and the series of theirs that it wants.
pub(super) struct Wanted {
    pub(super) metrics: Vec<(Arc<MetricEntry>, Meant)>,
    pub(super) slots: RoaringBitmap,
}

impl Wanted {
    pub(super) fn of(
        (registry, indexes): (&Registry, &Indexes),
        metrics: Vec<(Arc<MetricEntry>, Meant)>,
        select: &Select,
        budget: &mut Budget,
    ) -> Result<Self, QueryError> {
        let mut slots = RoaringBitmap::new();
        for (metric, _) in &metrics {
            slots.extend(indexes.pick(registry, metric, select));
        }
        budget.take_series(slots.len() as usize)?;
        Ok(Self { metrics, slots })
    }

    /// Whether a block's series is wanted, or unknown, which is to be found out.
    pub(super) fn has(&self, registry: &Registry, id: SeriesId) -> bool {
        registry.slot_of(id).is_none_or(|slot| self.slots.contains(slot))
    }

    /// Whether counters may be told as they stand: under their own names and in their own units.
    pub(super) fn is_plain(&self) -> bool {
        self.metrics.iter().all(|(_, meant)| meant.is_plain())
    }

    pub(super) fn ids(&self) -> Vec<i64> {
        self.metrics.iter().map(|(metric, _)| metric.id.0 as i64).collect()
    }
}

/// Windows of one series, by ascending start.
type Windows = Vec<(WindowStart, Cell)>;
/// The same of a counter with one run in each, in the order in which they were found, and whether that ascends.
struct Totals {
    windows: Vec<(WindowStart, Run)>,
    ascend: bool,
}

impl Totals {
    fn with_capacity(room: usize) -> Self {
        Self { windows: Vec::with_capacity(room), ascend: true }
    }

    fn push(&mut self, window: WindowStart, run: Run) {
        self.ascend &= self.windows.last().is_none_or(|(last, _)| *last < window);
        self.windows.push((window, run));
    }

    /// Takes the windows of `block` at `places`, as windows of what is read.
    fn extend(&mut self, reading: Reading, block: &BlockTotals, places: Range<usize>) {
        let starts = block.starts(places.clone());
        let first = starts.first().map(|start| reading.window_of(*start));
        let follows = self.windows.last().zip(first).is_none_or(|((last, _), first)| *last < first);
        let ascends = |a: &WindowStart, b: &WindowStart| reading.window_of(*a) < reading.window_of(*b);
        self.ascend &= follows && starts.is_sorted_by(ascends);
        self.windows.extend(block.windows(places).map(|(start, run)| (reading.window_of(start), run)));
    }
}

/// Windows of each series, those that can be told as totals and the others.
type BySlot = HashMap<Slot, (Totals, Windows)>;
/// A series of a block of totals: which block, and the places of its windows there.
type Place = (usize, Range<usize>);

/// Windows gathered by series.
pub(super) struct Gathered<'a> {
    registry: &'a Registry,
    wanted: &'a Wanted,
    reading: Reading,
    windows: (WindowStart, WindowStart),
    /// One part a core; a slot is in the part of its number.
    parts: Vec<BySlot>,
    /// Spans of time that the blocks are of: most blocks that one series is in, once they are compacted.
    spans: usize,
    /// Series of blocks that the registry does not know.
    pub(super) unknown: Vec<SeriesId>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(
        (registry, wanted): (&'a Registry, &'a Wanted),
        reading: Reading,
        select: &Select,
        keys: &[BlockKey],
    ) -> Self {
        let windows = reading.windows(select.span());
        let parts = (0..rayon::current_num_threads()).map(|_| BySlot::new()).collect();
        let spans = keys.iter().map(|key| key.starts_at).collect::<HashSet<_>>().len();
        Self { registry, wanted, reading, windows, parts, spans, unknown: Vec::new() }
    }

    /// The window of the tier that holds the window `start`, if it is asked for.
    fn window_of(&self, start: WindowStart) -> Option<WindowStart> {
        let window = self.reading.window_of(start);
        (self.windows.0 <= window && window <= self.windows.1).then_some(window)
    }

    /// Takes what is wanted from `blocks`, on all cores.
    pub(super) fn add_blocks(
        &mut self,
        blocks: Vec<(BlockKey, Contents)>,
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        let (mut series, mut totals) = (Vec::new(), Vec::new());
        for (_, contents) in blocks {
            match contents {
                Contents::Series(of_block) => series.extend(of_block),
                Contents::Totals(of_block) => totals.push(of_block),
            }
        }
        self.add_totals(&totals, budget)?;
        let mut pieces: Vec<Vec<(Slot, Windows)>> = vec![Vec::new(); self.parts.len()];
        for series in series {
            let Some(slot) = self.registry.slot_of(series.id) else {
                self.unknown.push(series.id);
                continue;
            };
            if let Some(part) = pieces.get_mut(slot as usize % self.parts.len()) {
                part.push((slot, series.windows));
            }
        }
        let bytes = |(_, windows): &(Slot, Windows)| -> usize {
            self.inside(windows).iter().map(|(_, cell)| cell.bytes()).sum()
        };
        budget.take_bytes(pieces.par_iter().flatten().map(bytes).sum())?;
        let (reading, spans, (first, last)) = (self.reading, self.spans, self.windows);
        self.parts.par_iter_mut().zip(pieces).for_each(|(part, pieces)| {
            for (slot, mut windows) in pieces {
                // Of many spans all but two are asked for whole.
                let room = if spans > 2 { windows.len().saturating_mul(spans) } else { 0 };
                let (_, known) =
                    part.entry(slot).or_insert_with(|| (Totals::with_capacity(0), Vec::with_capacity(room)));
                let ends = windows.first().zip(windows.last());
                if reading.tier == Tier::Fine && ends.is_some_and(|(a, b)| first <= a.0 && b.0 <= last) {
                    known.append(&mut windows);
                    continue;
                }
                let of_tier = windows.into_iter().map(|(start, cell)| (reading.window_of(start), cell));
                known.extend(of_tier.filter(|(window, _)| (first..=last).contains(window)));
            }
        });
        Ok(())
    }

    fn add_totals(&mut self, blocks: &[BlockTotals], budget: &mut Budget) -> Result<(), QueryError> {
        let mut pieces: Vec<Vec<(Slot, usize, Place)>> = vec![Vec::new(); self.parts.len()];
        let (reading, spans, (first, last)) = (self.reading, self.spans, self.windows);
        let mut count = 0;
        for (at, block) in blocks.iter().enumerate() {
            for (id, places) in block.series() {
                let Some(slot) = self.registry.slot_of(id) else {
                    self.unknown.push(id);
                    continue;
                };
                let starts = block.starts(places.clone());
                let from = places.start + starts.partition_point(|start| reading.window_of(*start) < first);
                let to = places.start + starts.partition_point(|start| reading.window_of(*start) <= last);
                count += to.saturating_sub(from);
                if let Some(part) = pieces.get_mut(slot as usize % self.parts.len()) {
                    part.push((slot, starts.len(), (at, from..to)));
                }
            }
        }
        budget.take_bytes(count * size_of::<(WindowStart, Run)>())?;
        self.parts.par_iter_mut().zip(pieces).for_each(|(part, pieces)| {
            for (slot, room, (at, places)) in pieces {
                let Some(block) = blocks.get(at) else { continue };
                let room = if spans > 2 { room.saturating_mul(spans) } else { 0 };
                let (known, _) = part.entry(slot).or_insert_with(|| (Totals::with_capacity(room), Vec::new()));
                known.extend(reading, block, places);
            }
        });
        Ok(())
    }

    /// Those of `windows` that are asked for. They ascend, and so do those of the tier that hold them.
    fn inside<'w>(&self, windows: &'w [(WindowStart, Cell)]) -> &'w [(WindowStart, Cell)] {
        let is_asked_for =
            |one: Option<&(WindowStart, Cell)>| one.is_some_and(|(start, _)| self.window_of(*start).is_some());
        if is_asked_for(windows.first()) && is_asked_for(windows.last()) {
            return windows;
        }
        let (reading, (first, last)) = (self.reading, self.windows);
        let from = windows.partition_point(|(start, _)| reading.window_of(*start) < first);
        let to = windows.partition_point(|(start, _)| reading.window_of(*start) <= last);
        windows.get(from..to).unwrap_or_default()
    }

    pub(super) fn add_heads(
        &mut self,
        rows: &[StreamRow],
        heads: &[Arc<Stream>],
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        let span = (self.windows.0, self.windows.1.saturating_add(self.reading.width.seconds()));
        let mut over = Ok(());
        let indexes: Vec<u32> = self.wanted.metrics.iter().map(|(metric, _)| metric.index).collect();
        for (row, stream) in rows.iter().zip(heads) {
            for index in &indexes {
                stream.head.visit(*index, row.cursor_seq, span, &mut |entry| {
                    over = std::mem::replace(&mut over, Ok(())).and_then(|()| self.add_entry(entry, budget));
                });
            }
        }
        over
    }

    fn add_entry(&mut self, entry: &HeadEntry, budget: &mut Budget) -> Result<(), QueryError> {
        let window = self.window_of(entry.window).filter(|_| self.wanted.slots.contains(entry.slot));
        let Some(window) = window else { return Ok(()) };
        budget.take_window(&entry.cell)?;
        let part = entry.slot as usize % self.parts.len();
        if let Some(part) = self.parts.get_mut(part) {
            let (totals, cells) = part.entry(entry.slot).or_insert_with(|| (Totals::with_capacity(0), Vec::new()));
            match &entry.cell {
                Cell::Counter(Counter { first, more: None }) if !totals.windows.is_empty() => {
                    totals.push(window, *first);
                }
                cell => cells.push((window, cell.clone())),
            }
        }
        Ok(())
    }

    /// The series as the selector sees them, in the order in which this process came to know them.
    pub(super) fn into_series(self, select: &Select, budget: &mut Budget) -> Result<Vec<SeriesWindows>, QueryError> {
        let meant: HashMap<MetricId, &Meant> = self.wanted.metrics.iter().map(|(m, meant)| (m.id, meant)).collect();
        let merged =
            self.parts.into_par_iter().flat_map_iter(|part| part.into_iter().map(|(slot, w)| (slot, whole(w))));
        let mut slots: Vec<_> = merged.collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        let mut out = Vec::with_capacity(slots.len());
        for (slot, (totals, windows)) in slots {
            let Some(entry) = self.registry.get(slot) else { continue };
            let Some(meant) = meant.get(&entry.metric.id) else { continue };
            let series = SeriesWindows {
                id: entry.id,
                metric: Arc::clone(&entry.metric.metric),
                labels: self.registry.labels(entry),
                windows,
                totals,
            };
            out.extend(select.present(series, meant, budget)?);
        }
        Ok(out)
    }
}

/// The windows of a series in order: as totals when all are, each of another window.
fn whole((totals, mut cells): (Totals, Windows)) -> (Vec<(WindowStart, Run)>, Windows) {
    let Totals { mut windows, ascend } = totals;
    if cells.is_empty() {
        if !ascend {
            windows.sort_by_key(|(window, _)| *window);
        }
        if ascend || windows.is_sorted_by(|(a, _), (b, _)| a < b) {
            return (windows, cells);
        }
    }
    let of_run = |(window, first): (WindowStart, Run)| (window, Cell::Counter(Counter { first, more: None }));
    cells.extend(windows.into_iter().map(of_run));
    (Vec::new(), merge(cells))
}

/// Windows in order, partials of one window merged.
pub(super) fn merge(mut windows: Vec<(WindowStart, Cell)>) -> Vec<(WindowStart, Cell)> {
    if windows.is_sorted_by(|(a, _), (b, _)| a < b) {
        return windows;
    }
    windows.sort_by_key(|(window, _)| *window);
    let mut out: Vec<(WindowStart, Cell)> = Vec::with_capacity(windows.len());
    for (window, cell) in windows {
        match out.last_mut().filter(|(last, _)| *last == window) {
            Some((_, known)) => known.merge(&cell),
            None => out.push((window, cell)),
        }
    }
    out
}

/// Keys of one metric after another, so that the same blocks are read by every query in the same order.
pub(super) fn in_order(mut keys: Vec<BlockKey>) -> Vec<BlockKey> {
    keys.sort_by_key(|key| (key.tier, key.metric_id, key.starts_at, key.id));
    keys
}
