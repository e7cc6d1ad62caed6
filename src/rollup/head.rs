//! A stream's head: what its journal holds past the cursor, as windows in memory.
//!
//! One writer applies committed frames in order; queries read beside it. A window's cell is the last entry of its series
//! in the metric's log, and the index that finds it checks itself, so ending a generation costs nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::frame::Template;
use super::log::Log;
use super::points::{NumberPoint, Point, PointReader, Shape};
use super::registry::Slot;
use crate::model::{Cell, Counter, Delta, Exemplar, Gauge, HistogramRuns, Run, TimeMs, Width, WindowStart};

/// How long sealed generations are kept at least after they were flushed, for queries that began before: they would have to
/// begin anew.
const FLUSHED_KEPT: Duration = Duration::from_secs(15);

/// A window of a series; several of the same window merge.
#[derive(Clone, Debug)]
pub struct HeadEntry {
    /// Which series.
    pub slot: Slot,
    /// Which window.
    pub window: WindowStart,
    /// What it holds.
    pub cell: Cell,
}

/// The windows that came from journal rows between two cuts.
#[derive(Debug, Default)]
pub struct Generation {
    /// Sequence number of its last journal row.
    pub last_seq: i64,
    /// Entries by metric number.
    pub logs: HashMap<u32, Log>,
    /// The slowest or largest exemplar of a series and window.
    pub exemplars: HashMap<(Slot, WindowStart), Exemplar>,
}

impl Generation {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.logs.values().map(Log::len).sum()
    }

    /// True when it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.exemplars.is_empty()
    }
}

/// A generation that nothing is added to any more.
struct Sealed {
    generation: Arc<Generation>,
    /// Since when it is known to be in blocks.
    flushed: Option<Instant>,
}

#[derive(Default)]
struct Inner {
    applied_seq: i64,
    sealed: VecDeque<Sealed>,
    /// Last journal row of the generations that are forgotten.
    forgotten_seq: i64,
    open: Generation,
    /// Where in its metric's log a series' latest entry is; possibly outdated, hence checked on use.
    last: Vec<u32>,
}

impl Inner {
    fn cut(&mut self) -> Option<Arc<Generation>> {
        let open = std::mem::take(&mut self.open);
        self.open.last_seq = open.last_seq;
        if open.is_empty() {
            return None;
        }
        let sealed = Arc::new(open);
        self.sealed.push_back(Sealed { generation: Arc::clone(&sealed), flushed: None });
        Some(sealed)
    }

    fn apply(&mut self, width: Width, template: &Template, points: &[u8]) -> Option<()> {
        let mut reader = PointReader::new(points);
        let mut slots = template.slots.iter();
        let Self { open, last, .. } = self;
        let most = template.slots.iter().max().map_or(0, |slot| *slot as usize + 1);
        if last.len() < most {
            last.resize(most.next_power_of_two(), u32::MAX);
        }
        for run in &template.runs {
            let log = open.logs.entry(run.metric).or_default();
            for slot in slots.by_ref().take(run.len as usize) {
                let mut place = Place { log, at: last.get_mut(*slot as usize)?, slot: *slot, width };
                if run.shape.is_number() {
                    place.number(reader.next_number(run.shape)?, run.shape);
                } else {
                    place.point(reader.next_point(run.shape)?, run.shape);
                }
            }
        }
        Some(())
    }

    /// Keeps the greatest exemplar of each series and window.
    fn apply_exemplars(&mut self, width: Width, exemplars: &[(Slot, Exemplar)]) {
        for (slot, exemplar) in exemplars {
            let window = width.window_of(exemplar.time);
            let kept = self.open.exemplars.entry((*slot, window)).or_insert_with(|| exemplar.clone());
            if exemplar.value > kept.value {
                kept.clone_from(exemplar);
            }
        }
    }

    /// The generations that are not in blocks as of `cursor_seq`.
    fn past(&self, cursor_seq: i64) -> impl Iterator<Item = &Generation> {
        let sealed = self.sealed.iter().map(|sealed| &*sealed.generation).filter(move |g| g.last_seq > cursor_seq);
        let open = Some(&self.open).filter(|open| open.last_seq > cursor_seq);
        sealed.chain(open)
    }
}

/// A part of a journal row, its definitions resolved.
pub enum RowStep<'a> {
    /// The generation ends.
    Cut,
    /// Points of a template.
    Points(Arc<Template>, &'a [u8]),
    /// Exemplars by series.
    Exemplars(Vec<(Slot, Exemplar)>),
}

/// A stream's head.
pub struct Head {
    width: Width,
    inner: RwLock<Inner>,
}

impl Head {
    /// The head of a stream whose journal is in blocks up to `cursor_seq`.
    #[must_use]
    pub fn new(width: Width, cursor_seq: i64) -> Self {
        let inner = Inner {
            applied_seq: cursor_seq,
            // What came before was never here.
            forgotten_seq: cursor_seq,
            open: Generation { last_seq: cursor_seq, ..Generation::default() },
            ..Inner::default()
        };
        Self { width, inner: RwLock::new(inner) }
    }

    /// Sequence number of the last journal row applied.
    #[must_use]
    pub fn applied_seq(&self) -> i64 {
        self.inner.read().applied_seq
    }

    /// Applies the journal row `seq`, seen by queries whole or not at all. `None` when the bytes do not fit a template;
    /// the row is not applied then, though what stood before the damage may show.
    pub fn apply_row(&self, seq: i64, steps: &[RowStep<'_>]) -> Option<()> {
        let mut inner = self.inner.write();
        for step in steps {
            match step {
                RowStep::Cut => _ = inner.cut(),
                RowStep::Points(template, points) => inner.apply(self.width, template, points)?,
                RowStep::Exemplars(exemplars) => inner.apply_exemplars(self.width, exemplars),
            }
        }
        inner.applied_seq = seq;
        inner.open.last_seq = seq;
        Some(())
    }

    /// Ends the open generation; returns it unless it is empty.
    pub fn cut(&self) -> Option<Arc<Generation>> {
        self.inner.write().cut()
    }

    /// The sealed generations that are not in blocks yet, oldest first.
    #[must_use]
    pub fn sealed_after(&self, cursor_seq: i64) -> Vec<Arc<Generation>> {
        let inner = self.inner.read();
        let sealed = inner.sealed.iter().map(|sealed| &sealed.generation);
        sealed.filter(|generation| generation.last_seq > cursor_seq).map(Arc::clone).collect()
    }

    /// Sealed generations that are not known to be in blocks.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.inner.read().sealed.iter().filter(|sealed| sealed.flushed.is_none()).count()
    }

    /// Notes which generations are in blocks, and forgets those that have been for a while.
    pub fn forget_flushed(&self, cursor_seq: i64, now: Instant) {
        let kept = FLUSHED_KEPT.max(2 * Duration::from_millis(self.width.millis().unsigned_abs()));
        let mut gone: Vec<Sealed> = Vec::new();
        {
            let mut inner = self.inner.write();
            for sealed in inner.sealed.iter_mut().filter(|sealed| sealed.generation.last_seq <= cursor_seq) {
                sealed.flushed.get_or_insert(now);
            }
            let is_old = |sealed: &Sealed| sealed.flushed.is_some_and(|since| now.duration_since(since) >= kept);
            let old = inner.sealed.iter().take_while(|sealed| is_old(sealed)).count();
            gone.extend(inner.sealed.drain(..old));
            if let Some(last) = gone.last() {
                inner.forgotten_seq = last.generation.last_seq;
            }
        }
        // A great many windows: freed while nobody waits.
        drop(gone);
    }

    /// Whether all that is past `cursor_seq` is still here. Asked after reading: what was forgotten meanwhile may be missing.
    #[must_use]
    pub fn holds(&self, cursor_seq: i64) -> bool {
        self.inner.read().forgotten_seq <= cursor_seq
    }

    /// Hands every entry of metric `index` in `[from, to]` that is past `cursor_seq` to `visit`.
    pub fn visit(
        &self,
        index: u32,
        cursor_seq: i64,
        span: (WindowStart, WindowStart),
        visit: &mut dyn FnMut(&HeadEntry),
    ) {
        let inner = self.inner.read();
        for generation in inner.past(cursor_seq) {
            generation.logs.get(&index).into_iter().flat_map(|log| log.within(span)).for_each(&mut *visit);
        }
    }

    /// The window to which metric `index` had its last point, of what is in memory.
    #[must_use]
    pub fn last_window(&self, index: u32) -> Option<WindowStart> {
        let inner = self.inner.read();
        inner.past(i64::MIN).filter_map(|g| g.logs.get(&index)?.last()).map(|entry| entry.window).max()
    }

    /// The oldest window that metric `index` has past `cursor_seq`.
    #[must_use]
    pub fn oldest_window(&self, index: u32, cursor_seq: i64) -> Option<WindowStart> {
        let inner = self.inner.read();
        inner.past(cursor_seq).filter_map(|g| g.logs.get(&index)?.oldest_window()).min()
    }

    /// Exemplars past `cursor_seq` in `[from, to]`.
    #[must_use]
    pub fn exemplars(&self, cursor_seq: i64, span: (WindowStart, WindowStart)) -> Vec<(Slot, Exemplar)> {
        let inner = self.inner.read();
        inner
            .past(cursor_seq)
            .flat_map(|g| g.exemplars.iter())
            .filter(|((_, window), _)| span.0 <= *window && *window <= span.1)
            .map(|((slot, _), exemplar)| (*slot, exemplar.clone()))
            .collect()
    }

    /// Entries not yet sealed, and sealed ones that are kept.
    #[must_use]
    pub fn entries(&self) -> usize {
        let inner = self.inner.read();
        inner.open.len() + inner.sealed.iter().map(|sealed| sealed.generation.len()).sum::<usize>()
    }

    /// True when rows were applied since the last cut.
    #[must_use]
    pub fn has_open_rows(&self) -> bool {
        !self.inner.read().open.is_empty()
    }
}

/// Where a point of one series goes.
struct Place<'a> {
    log: &'a mut Log,
    /// Where in the log the series' latest entry is, if it is still there.
    at: &'a mut u32,
    slot: Slot,
    width: Width,
}

impl Place<'_> {
    /// The cell of the window that holds `time`, if there is one; an ended series has ended by the window after.
    #[inline]
    fn cell(&mut self, time: TimeMs, stale: bool) -> (WindowStart, Option<&mut Cell>) {
        let window = self.width.window_of(time) + if stale { self.width.seconds() } else { 0 };
        let known = self.log.get_mut(*self.at as usize).filter(|e| e.slot == self.slot && e.window == window);
        (window, known.map(|entry| &mut entry.cell))
    }

    #[inline]
    fn push(&mut self, window: WindowStart, cell: Cell) {
        *self.at = self.log.len() as u32;
        self.log.push(HeadEntry { slot: self.slot, window, cell });
    }

    /// A number, without the detour over the much larger [`Point`].
    #[inline]
    fn number(&mut self, NumberPoint { time, start, value }: NumberPoint, shape: Shape) {
        let (window, cell) = self.cell(time, value.is_none());
        let new = match (value, cell) {
            (Some(value), Some(Cell::Counter(counter))) => return counter.add(Run { start, time, value }),
            (Some(value), Some(Cell::Delta(delta))) => return delta.merge(&Delta { sum: value, count: 1 }),
            (Some(value), Some(Cell::Gauge(gauge))) => return gauge.merge(&Gauge::one(time, value)),
            (Some(value), known) => {
                let new = match shape {
                    Shape::Counter => Cell::Counter(Counter::one(Run { start, time, value })),
                    Shape::Delta => Cell::Delta(Delta { sum: value, count: 1 }),
                    _ => Cell::Gauge(Gauge::one(time, value)),
                };
                match known {
                    Some(known) => return known.merge(&new),
                    None => new,
                }
            }
            (None, Some(_)) => return,
            (None, None) => Cell::Stale,
        };
        self.push(window, new);
    }

    fn point(&mut self, point: Point, shape: Shape) {
        let (window, cell) = self.cell(time_of(&point), matches!(point, Point::Stale(_)));
        match cell {
            Some(cell) => fold(cell, point, shape),
            None => self.push(window, cell_of(point, shape)),
        }
    }
}

const fn time_of(point: &Point) -> TimeMs {
    match point {
        Point::Value(time, _) | Point::Histogram(time, _) | Point::Stale(time) => *time,
        Point::Total(run) => run.time,
        Point::HistogramTotal(run) => run.time,
        Point::Summary(summary) => summary.time,
    }
}

fn cell_of(point: Point, shape: Shape) -> Cell {
    match point {
        Point::Value(_, sum) if shape == Shape::Delta => Cell::Delta(Delta { sum, count: 1 }),
        Point::Value(time, value) => Cell::Gauge(Gauge::one(time, value)),
        Point::Total(run) => Cell::Counter(Counter::one(run)),
        Point::Histogram(_, histogram) => Cell::Histogram(Box::new(histogram)),
        Point::HistogramTotal(run) => Cell::HistogramRuns(Box::new(HistogramRuns::one(run))),
        Point::Summary(summary) => Cell::Summary(Box::new(summary)),
        Point::Stale(_) => Cell::Stale,
    }
}

fn fold(cell: &mut Cell, point: Point, shape: Shape) {
    match (&mut *cell, point) {
        (Cell::Histogram(mine), Point::Histogram(_, histogram)) => mine.merge(&histogram),
        (Cell::HistogramRuns(runs), Point::HistogramTotal(run)) => runs.add(run),
        (_, point) => cell.merge(&cell_of(point, shape)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Metric, MetricKind, Temporality};
    use crate::rollup::{PointWriter, Registry};

    fn gauge_head() -> (Head, Arc<Template>, u32) {
        let registry = Registry::default();
        let metric =
            Metric { name: "g".into(), unit: "".into(), kind: MetricKind::Gauge, temporality: Temporality::None };
        let metric = registry.metric(metric, "");
        let slots = ["a", "b"].map(|v| registry.series_from_labels(&metric, &Labels::of(&[("k", v)]), false));
        (Head::new(Width::TEN_SECONDS, 0), Arc::new(Template::new(&registry, slots.into())), metric.index)
    }

    fn points(values: [(i64, f64); 2]) -> Vec<u8> {
        let mut writer = PointWriter::default();
        for (time, value) in values {
            writer.value(time, value);
        }
        writer.finish()
    }

    #[test]
    fn points_of_a_window_fold_and_a_cut_starts_afresh() {
        let (head, template, metric) = gauge_head();
        let (first, second) = (points([(1_000, 1.0), (1_000, 5.0)]), points([(2_000, 3.0), (12_000, 7.0)]));
        let of = |points| RowStep::Points(Arc::clone(&template), points);
        head.apply_row(1, &[of(&first), of(&second)]).expect("fits");
        assert_eq!(head.entries(), 3);
        let sealed = head.cut().expect("not empty");
        assert_eq!(sealed.last_seq, 1);
        let third = points([(3_000, 9.0), (3_000, 9.0)]);
        head.apply_row(2, &[of(&third)]).expect("fits");

        let mut seen = Vec::new();
        head.visit(metric, 0, (0, 100), &mut |e| seen.push((e.slot, e.window)));
        assert_eq!(seen, [(0, 0), (1, 0), (1, 10), (0, 0), (1, 0)]);
        seen.clear();
        head.visit(metric, 1, (0, 100), &mut |e| seen.push((e.slot, e.window)));
        assert_eq!(seen, [(0, 0), (1, 0)], "what is flushed comes from blocks");
        seen.clear();
        head.visit(metric, 2, (0, 100), &mut |e| seen.push((e.slot, e.window)));
        assert_eq!(seen, [], "so does the open generation, when another process flushed it at the end of a stream");
    }

    #[test]
    fn what_is_flushed_is_kept_for_a_while_and_whoever_needs_it_later_is_told() {
        let (head, template, metric) = gauge_head();
        let (now, bytes) = (Instant::now(), points([(1_000, 1.0), (1_000, 5.0)]));
        for seq in [1, 2] {
            head.apply_row(seq, &[RowStep::Points(Arc::clone(&template), &bytes)]).expect("fits");
            head.cut();
        }
        let count = |cursor_seq| {
            let mut count = 0;
            head.visit(metric, cursor_seq, (0, 100), &mut |_| count += 1);
            count
        };
        head.forget_flushed(1, now);
        assert_eq!((count(0), head.holds(0)), (4, true), "a query that began before the flush still finds it");
        head.forget_flushed(1, now + Duration::from_secs(60));
        assert_eq!((count(0), head.holds(0)), (2, false), "and later is told that it does not");
        assert_eq!((count(1), head.holds(1)), (2, true), "what is not flushed stays");
        head.forget_flushed(1, now + Duration::from_secs(600));
        assert_eq!((count(1), head.holds(1)), (2, true));
    }

    #[test]
    fn a_head_that_begins_later_does_not_claim_what_came_before() {
        let head = Head::new(Width::TEN_SECONDS, 160);
        assert!(!head.holds(100) && head.holds(160) && head.holds(200));
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let (head, template, _) = gauge_head();
        assert!(head.apply_row(1, &[RowStep::Points(template, &[1])]).is_none());
        assert_eq!(head.applied_seq(), 0);
    }
}
