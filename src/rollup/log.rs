//! The windows of one metric in the order in which they began, in pieces of a fixed size: growing copies nothing, and no
//! more than a piece is ever empty.

use super::head::HeadEntry;

/// Entries of a piece: 64 KiB.
const PIECE: usize = 1 << 10;

/// The entries of one metric.
#[derive(Debug, Default)]
pub struct Log {
    /// All full but the last.
    pieces: Vec<Vec<HeadEntry>>,
}

impl Log {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The entry that came last.
    #[must_use]
    pub fn last(&self) -> Option<&HeadEntry> {
        self.pieces.last()?.last()
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &HeadEntry> {
        self.pieces.iter().flatten()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut HeadEntry> {
        self.pieces.get_mut(at / PIECE)?.get_mut(at % PIECE)
    }

    #[inline]
    pub(super) fn push(&mut self, entry: HeadEntry) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(entry),
            // Most metrics have few series: the first piece grows as it needs.
            None => self.pieces.push(vec![entry]),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(entry);
                self.pieces.push(piece);
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
        assert!(log.is_empty() && log.last().is_none());
        for slot in 0..3_000 {
            assert_eq!(log.len(), slot as usize);
            log.push(HeadEntry { slot, window: 0, cell: Cell::Stale });
            assert_eq!(log.last().map(|entry| entry.slot), Some(slot));
        }
        let numbers: Vec<u32> = log.iter().map(|entry| entry.slot).collect();
        assert_eq!(numbers, (0..3_000).collect::<Vec<_>>());
        for at in [0, 1_023, 1_024, 2_999] {
            assert_eq!(log.get_mut(at).map(|entry| entry.slot), Some(at as u32));
        }
        assert!(log.get_mut(3_000).is_none() && log.get_mut(u32::MAX as usize).is_none());
    }
}
