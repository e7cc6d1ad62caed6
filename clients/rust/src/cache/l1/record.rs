//! How an entry lies in memory: 13 bytes, what few entries have, the key, the value.

/// Shared by all: born (4), stamp (4), marks (1), cost (1), length of the key (1) and of the value (2).
const HEAD: usize = 13;
/// Records begin at a multiple of this.
pub(super) const UNIT: usize = 4;
const MARKS_AT: usize = 8;

/// Times it was read lately, up to 3.
const READS: u8 = 0b11;
/// Replaced, removed or moved.
const DEAD: u8 = 1 << 7;
/// There is no value at the source.
const NEGATIVE: u8 = 1 << 3;
/// Two bytes more for the key's length, four more for the value's.
const WIDE: u8 = 1 << 4;
/// It has a life of its own.
const TTL: u8 = 1 << 5;
/// It has tags.
const TAGS: u8 = 1 << 6;

/// An entry's words about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// When it was stored, by the cache's clock in ticks.
    pub(crate) born: u32,
    /// The generation that it was loaded in.
    pub(crate) stamp: u32,
    /// How long its load took; see [`cost_of`].
    pub(crate) cost: u8,
    /// There is no value at the source.
    pub(crate) negative: bool,
    /// Its own life in ticks, when it is not that of the policy.
    pub(crate) ttl: Option<u32>,
}

/// What is to be stored.
pub(crate) struct New<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Hashes of its tags, at most 255.
    pub(crate) tags: &'a [u32],
    pub(crate) meta: Meta,
}

/// What is stored.
pub(crate) struct Held<'a> {
    pub(crate) meta: Meta,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    tags: &'a [u8],
}

impl Held<'_> {
    /// Hashes of its tags.
    #[inline]
    pub(crate) fn tags(&self) -> impl Iterator<Item = u32> {
        self.tags.as_chunks::<4>().0.iter().map(|tag| u32::from_le_bytes(*tag))
    }
}

/// A time in a byte: about 4 % steps between 1 µs and 100 s.
pub(crate) fn cost_of(seconds: f64) -> u8 {
    let steps = (seconds.max(1e-6) / 1e-6).log10() * 31.0;
    steps.min(255.0) as u8
}

/// The time that a byte stands for, in seconds.
pub(crate) fn seconds_of(cost: u8) -> f64 {
    1e-6 * 10f64.powf(f64::from(cost) / 31.0)
}

impl New<'_> {
    /// With what is needed to reach the next record.
    pub(super) fn len(&self) -> usize {
        let tags = if self.tags.is_empty() { 0 } else { 1 + 4 * self.tags.len().min(255) };
        let wide = if self.is_wide() { 6 } else { 0 };
        let ttl = if self.meta.ttl.is_some() { 4 } else { 0 };
        (HEAD + wide + ttl + tags + self.key.len() + self.value.len()).next_multiple_of(UNIT)
    }

    const fn is_wide(&self) -> bool {
        self.key.len() > 0xff || self.value.len() > 0xffff
    }

    /// Appends it, read `reads` times before.
    pub(super) fn append(&self, data: &mut Vec<u8>, reads: u8) {
        let end = data.len() + self.len();
        let Meta { born, stamp, cost, negative, ttl } = self.meta;
        let mark = |on: bool, bit: u8| if on { bit } else { 0 };
        let marks = (reads & READS)
            | mark(negative, NEGATIVE)
            | mark(self.is_wide(), WIDE)
            | mark(ttl.is_some(), TTL)
            | mark(!self.tags.is_empty(), TAGS);
        let (key, value) = (self.key.len() as u32, self.value.len() as u64);
        data.extend_from_slice(&born.to_le_bytes());
        data.extend_from_slice(&stamp.to_le_bytes());
        data.extend_from_slice(&[marks, cost, key as u8, value as u8, (value >> 8) as u8]);
        if self.is_wide() {
            data.extend_from_slice(&[(key >> 8) as u8, (key >> 16) as u8]);
            data.extend_from_slice(&((value >> 16) as u32).to_le_bytes());
        }
        if let Some(ttl) = ttl {
            data.extend_from_slice(&ttl.to_le_bytes());
        }
        if !self.tags.is_empty() {
            data.push(self.tags.len().min(255) as u8);
            self.tags.iter().take(255).for_each(|tag| data.extend_from_slice(&tag.to_le_bytes()));
        }
        data.extend_from_slice(self.key);
        data.extend_from_slice(self.value);
        data.resize(end, 0);
    }
}

/// The record that begins `data`, and its length with what follows to the next.
#[inline]
pub(super) fn parse(data: &[u8]) -> Option<(Held<'_>, usize)> {
    let (head, mut rest) = data.split_first_chunk::<HEAD>()?;
    let &[b0, b1, b2, b3, s0, s1, s2, s3, marks, cost, k0, v0, v1] = head;
    let (mut key_len, mut value_len) = (usize::from(k0), usize::from(u16::from_le_bytes([v0, v1])));
    if marks & WIDE != 0 {
        let (&[k1, k2, v2, v3, v4, v5], after) = rest.split_first_chunk::<6>()?;
        key_len |= usize::from(k1) << 8 | usize::from(k2) << 16;
        value_len |= (u32::from_le_bytes([v2, v3, v4, v5]) as usize) << 16;
        rest = after;
    }
    let mut ttl = None;
    if marks & TTL != 0 {
        let (bytes, after) = rest.split_first_chunk::<4>()?;
        (ttl, rest) = (Some(u32::from_le_bytes(*bytes)), after);
    }
    let mut tags: &[u8] = &[];
    if marks & TAGS != 0 {
        let (count, after) = rest.split_first()?;
        (tags, rest) = after.split_at_checked(4 * usize::from(*count))?;
    }
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    let (born, stamp) = (u32::from_le_bytes([b0, b1, b2, b3]), u32::from_le_bytes([s0, s1, s2, s3]));
    let meta = Meta { born, stamp, cost, negative: marks & NEGATIVE != 0, ttl };
    let len = (data.len() - rest.len()).next_multiple_of(UNIT);
    Some((Held { meta, key, value, tags }, len))
}

/// Whether the key of the record that begins `data` is `key`; the common case in one look.
#[inline]
pub(super) fn is_of(data: &[u8], key: &[u8]) -> bool {
    if let Some((head, rest)) = data.split_first_chunk::<HEAD>()
        && head[MARKS_AT] & (WIDE | TTL | TAGS) == 0
    {
        return usize::from(head[10]) == key.len() && rest.get(..key.len()) == Some(key);
    }
    parse(data).is_some_and(|(held, _)| held.key == key)
}

/// Whether the record that begins `data` counts no more.
pub(super) fn is_dead(data: &[u8]) -> bool {
    data.get(MARKS_AT).is_none_or(|marks| marks & DEAD != 0)
}

/// From now on it counts no more.
pub(super) fn kill(data: &mut [u8]) {
    if let Some(marks) = data.get_mut(MARKS_AT) {
        *marks |= DEAD;
    }
}

/// Times it was read lately.
pub(super) fn reads(data: &[u8]) -> u8 {
    data.get(MARKS_AT).map_or(0, |marks| marks & READS)
}

/// It was read once more.
#[inline]
pub(super) fn note_read(data: &mut [u8]) {
    if let Some(marks) = data.get_mut(MARKS_AT).filter(|marks| **marks & READS != READS) {
        *marks += 1;
    }
}

/// It was read so many times.
pub(super) fn set_reads(data: &mut [u8], reads: u8) {
    if let Some(marks) = data.get_mut(MARKS_AT) {
        *marks = (*marks & !READS) | (reads & READS);
    }
}

/// It is as good as one of generation `stamp`.
pub(super) fn restamp(data: &mut [u8], stamp: u32) {
    if let Some(bytes) = data.get_mut(4..8) {
        bytes.copy_from_slice(&stamp.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_stored_is_what_is_read(
            key in prop::collection::vec(any::<u8>(), 0..600),
            value in prop_oneof![0..300usize, 65_000..70_000usize]
                .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len..=len)),
            tags in prop::collection::vec(any::<u32>(), 0..5),
            (born, stamp, cost, negative, ttl) in any::<(u32, u32, u8, bool, Option<u32>)>(),
            reads in 0..=READS,
        ) {
            let new = New { key: &key, value: &value, tags: &tags, meta: Meta { born, stamp, cost, negative, ttl } };
            let mut data = Vec::new();
            new.append(&mut data, reads);
            prop_assert_eq!(data.len(), new.len());
            let (held, len) = parse(&data).expect("it was just written");
            prop_assert_eq!(len, new.len());
            prop_assert_eq!((held.key, held.value, held.meta), (&*key, &*value, new.meta));
            prop_assert_eq!(held.tags().collect::<Vec<_>>(), tags);
            prop_assert!(is_of(&data, &key) && super::reads(&data) == reads && !is_dead(&data));
            kill(&mut data);
            prop_assert!(is_dead(&data));
        }

        #[test]
        fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..64)) {
            let _anything = parse(&data);
            is_of(&data, b"key");
        }
    }

    #[test]
    fn a_cost_keeps_its_size() {
        for seconds in [1e-6, 3.7e-5, 1e-3, 0.25, 9.0, 100.0] {
            let back = seconds_of(cost_of(seconds));
            assert!((back / seconds - 1.0).abs() < 0.08, "{seconds} came back as {back}");
        }
    }
}
