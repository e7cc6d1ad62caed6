//! The windows of one metric in the order in which they began, in pieces of a fixed size: growing copies nothing, no more
//! than a piece is ever empty, and pieces outside a span are passed over.

use super::head::HeadEntry;
use crate::model::WindowStart;

/// Entries of a piece: 64 KiB.
const PIECE: usize = 1 << 10;

/// The entries of one metric.
#[derive(Debug, Default)]
pub struct Log {
    /// All full but the last.
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    entries: Vec<HeadEntry>,
    /// First and last window in it.
    span: (WindowStart, WindowStart),
}

impl Log {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.entries.len())
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The entry that came last.
    #[must_use]
    pub fn last(&self) -> Option<&HeadEntry> {
        self.pieces.last()?.entries.last()
    }

    /// The first window that any entry is of.
    #[must_use]
    pub fn oldest_window(&self) -> Option<WindowStart> {
        self.pieces.iter().map(|piece| piece.span.0).min()
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &HeadEntry> {
        self.pieces.iter().flat_map(|piece| &piece.entries)
    }

    /// The entries of windows in `[from, to]`.
    pub fn within(&self, (from, to): (WindowStart, WindowStart)) -> impl Iterator<Item = &HeadEntry> {
        let touched = self.pieces.iter().filter(move |piece| piece.span.0 <= to && from <= piece.span.1);
        touched.flat_map(|piece| &piece.entries).filter(move |entry| from <= entry.window && entry.window <= to)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut HeadEntry> {
        self.pieces.get_mut(at / PIECE)?.entries.get_mut(at % PIECE)
    }

    #[inline]
    pub(super) fn push(&mut self, entry: HeadEntry) {
        match self.pieces.last_mut() {
            Some(Piece { entries, span }) if entries.len() < PIECE => {
                *span = (span.0.min(entry.window), span.1.max(entry.window));
                entries.push(entry);
            }
            last => {
                // Most metrics have few series: the first piece grows as it needs.
                let mut entries = Vec::with_capacity(if last.is_none() { 1 } else { PIECE });
                let span = (entry.window, entry.window);
                entries.push(entry);
                self.pieces.push(Piece { entries, span });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cell;

    #[test]
    fn entries_stay_where_they_were_put() {
        let mut log = Log::default();
        assert!(log.is_empty() && log.last().is_none() && log.oldest_window().is_none());
        for slot in 0..3_000 {
            assert_eq!(log.len(), slot as usize);
            log.push(HeadEntry { slot, window: 5_000 - slot, cell: Cell::Stale });
            assert_eq!(log.last().map(|entry| entry.slot), Some(slot));
        }
        let numbers: Vec<u32> = log.iter().map(|entry| entry.slot).collect();
        assert_eq!(numbers, (0..3_000).collect::<Vec<_>>());
        for at in [0, 1_023, 1_024, 2_999] {
            assert_eq!(log.get_mut(at).map(|entry| entry.slot), Some(at as u32));
        }
        assert!(log.get_mut(3_000).is_none() && log.get_mut(u32::MAX as usize).is_none());
        assert_eq!(log.oldest_window(), Some(2_001));
        let inside: Vec<u32> = log.within((3_975, 3_977)).map(|entry| entry.window).collect();
        assert_eq!(inside, [3_977, 3_976, 3_975], "over the border of two pieces");
        assert_eq!(log.within((0, 2_000)).count() + log.within((5_001, u32::MAX)).count(), 0);
    }
}
