//! What is known of entries that are no longer here: two bytes each, half to once as many as there are entries. Fewer know
//! too little of keys that come back; more let too much into the main queue where half of all keys have room.

/// Why a key has no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It made room.
    Evicted,
    /// Its life was over.
    Expired,
    /// It was removed on purpose.
    Invalidated,
}

/// Fewest places, once there are any.
const PLACES_MIN: usize = 256;

/// Fingerprints, each in the one place that its hash gives; who comes later takes the place.
#[derive(Default)]
pub(crate) struct Ghosts(Vec<u16>);

impl Ghosts {
    pub(super) const fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<u16>()
    }

    /// Makes room for about as many as there are `entries`; forgets all when that changes much.
    pub(crate) fn fit(&mut self, entries: usize) {
        let wanted = (entries / 2).max(PLACES_MIN).next_power_of_two();
        if self.0.is_empty() || wanted > self.0.len() || wanted * 4 < self.0.len() {
            self.0 = vec![0; wanted];
        }
    }

    fn place(&self, hash: u64) -> usize {
        (hash >> 12) as usize & self.0.len().wrapping_sub(1)
    }

    /// Never 0, which is an empty place.
    const fn fingerprint(hash: u64, gone: u16) -> u16 {
        ((hash >> 50) as u16) << 2 | gone
    }

    pub(crate) fn note(&mut self, hash: u64, gone: Gone) {
        let place = self.place(hash);
        if let Some(ghost) = self.0.get_mut(place) {
            *ghost = Self::fingerprint(hash, gone as u16 + 1);
        }
    }

    pub(crate) fn why(&self, hash: u64) -> Option<Gone> {
        let ghost = *self.0.get(self.place(hash))?;
        if ghost >> 2 != Self::fingerprint(hash, 0) >> 2 {
            return None;
        }
        [None, Some(Gone::Evicted), Some(Gone::Expired), Some(Gone::Invalidated)][ghost as usize & 3]
    }
}
