//! What each window of a counter added, as `super::super::samples` counts it, kept so that it is counted once.

use super::kept::Windows;
use crate::model::{Cell, Run, TimeMs, WindowStart};

/// What a window added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub(super) window: WindowStart,
    pub(super) amount: f64,
    /// Set on the first total of a series: it counts only in spans that hold this start time.
    pub(super) since: Option<TimeMs>,
}

/// After a longer gap a plan may not have seen the total before it.
const GAP_MAX_SECONDS: WindowStart = 300;

/// What the windows of a series added.
#[derive(Default)]
pub(super) struct AddedSeries {
    /// By all closed windows but the newest, which may still grow.
    pub(super) closed: Vec<Added>,
    /// Before the newest closed window.
    before: Total,
    /// By the newest closed window and those of the heads.
    pub(super) live: Vec<Added>,
    /// Windows came out of order, or after a long gap: what was counted does not hold.
    pub(super) is_disturbed: bool,
}

impl AddedSeries {
    /// Counts the closed windows.
    pub(super) fn close(&mut self, windows: &Windows) {
        self.closed.clear();
        self.before = Total::default();
        let all_but_newest = windows.len().saturating_sub(1);
        for (window, cell) in windows.iter().take(all_but_newest) {
            self.before.add(*window, cell, &mut self.closed);
        }
    }

    /// Counts what is not closed, or may still grow.
    pub(super) fn live(&mut self, closed: &Windows, live: &Windows) {
        self.live.clear();
        let mut total = self.before;
        let (newest, first) = (closed.last(), live.first());
        let disorder = newest.zip(first).is_some_and(|(newest, first)| first.0 < newest.0);
        let mut live = live.as_slice();
        if let Some((window, cell)) = newest {
            match live.split_first().filter(|(first, _)| first.0 == *window) {
                Some((first, rest)) => {
                    let mut merged = cell.clone();
                    merged.merge(&first.1);
                    total.add(*window, &merged, &mut self.live);
                    live = rest;
                }
                None => total.add(*window, cell, &mut self.live),
            }
        }
        for (window, cell) in live {
            total.add(*window, cell, &mut self.live);
        }
        self.is_disturbed = disorder || total.after_gap;
    }
}

/// The last total of a series.
#[derive(Clone, Copy, Default)]
struct Total {
    last: Option<Run>,
    window: WindowStart,
    /// One came after a long gap.
    after_gap: bool,
}

impl Total {
    fn add(&mut self, window: WindowStart, cell: &Cell, out: &mut Vec<Added>) {
        let mut run = |run: Run| {
            self.after_gap |= self.last.is_some() && window.saturating_sub(self.window) > GAP_MAX_SECONDS;
            self.window = window;
            if let Some((amount, since)) = self.next(run) {
                out.push(Added { window, amount, since });
            }
        };
        match cell {
            Cell::Delta(delta) => out.push(Added { window, amount: delta.sum, since: None }),
            Cell::Counter(counter) => counter.runs().copied().for_each(run),
            Cell::Gauge(gauge) => run(Run { start: 0, time: gauge.time, value: gauge.last }),
            _ => {}
        }
    }

    /// What a total added to those before it: its whole where it began anew.
    fn next(&mut self, run: Run) -> Option<(f64, Option<TimeMs>)> {
        let added = match self.last {
            // An older run in a later window is a late point of a run that has ended: it is in what came before.
            Some(last) if run.start != 0 && run.start < last.start => return None,
            Some(last) if run.start == last.start && run.value >= last.value => (run.value - last.value, None),
            Some(_) => (run.value, None),
            None => (run.value, Some(if run.start == 0 { TimeMs::MIN } else { run.start })),
        };
        self.last = Some(run);
        Some(added)
    }
}
