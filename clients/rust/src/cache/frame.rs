//! How an entry lies in Redis.
//!
//! `1` · kind · stamp (16 hexadecimal digits, so that scripts compare it as text) · then, of a value: serialisation ·
//! compression · cost · born (8) · life in ms (8) · tags · plain length (4) · bytes · CRC-32C (4), or with a secret
//! SipHash-2-4 of 128 bits over key, kind and all of that (16). Each says how it was written, so a policy may change at any
//! time; what is not understood, or was changed, is a miss.

use std::hash::Hasher;
use std::io::Read;

use flate2::read::GzDecoder;
use flate2::{Compression as Level, write::GzEncoder};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::codec::Codec;
use super::policy::Compression;

const VERSION: u8 = b'1';
const VALUE: u8 = b'v';
const NONE: u8 = b'n';
/// The key was made invalid; nothing older may be stored.
const TOMB: u8 = b't';
/// Where the stamp is: scripts know it too.
const STAMP: std::ops::Range<usize> = 2..18;
/// Largest value that is believed when it says its plain length.
const PLAIN_BYTES_MAX: usize = 256 << 20;
const TAGS_MAX: usize = 16;

/// An entry as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) stamp: u64,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Tomb,
    Value(Stored),
}

/// A value, or that there is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    /// None: there is none at the source.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) codec: Codec,
    pub(super) cost: u8,
    /// When, in ms since 1970.
    pub(super) born_ms: u64,
    /// How long it is fresh.
    pub(super) life_ms: u64,
    pub(super) tags: Vec<String>,
}

/// A frame up to its stamp, and from there: the stamp may be given in Redis.
pub(super) struct Parts {
    pub(super) head: [u8; 2],
    pub(super) tail: Vec<u8>,
}

impl Parts {
    pub(super) fn with_stamp(&self, stamp: u64) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.tail.len() + 18);
        frame.extend_from_slice(&self.head);
        frame.extend_from_slice(hex(stamp).as_bytes());
        frame.extend_from_slice(&self.tail);
        frame
    }
}

/// What ends an entry: with a secret nobody else's is believed, nor an entry under another key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seal(pub(super) Option<[u8; 16]>);

impl Seal {
    fn tag(secret: &[u8; 16], (key, kind): (&str, u8), content: &[u8]) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write_u64(key.len() as u64);
        hasher.write(key.as_bytes());
        hasher.write_u8(kind);
        hasher.write(content);
        hasher.finish128().as_bytes()
    }

    fn close(self, of: (&str, u8), tail: &mut Vec<u8>) {
        match &self.0 {
            None => tail.extend_from_slice(&crc32c::crc32c(tail).to_le_bytes()),
            Some(secret) => tail.extend_from_slice(&Self::tag(secret, of, tail)),
        }
    }

    /// The content, if it is what was closed.
    fn open<'a>(&self, of: (&str, u8), tail: &'a [u8]) -> Option<&'a [u8]> {
        match &self.0 {
            None => {
                let (content, crc) = tail.split_last_chunk::<4>()?;
                (crc32c::crc32c(content) == u32::from_le_bytes(*crc)).then_some(content)
            }
            Some(secret) => {
                let (content, tag) = tail.split_last_chunk::<16>()?;
                let expected = u128::from_le_bytes(Self::tag(secret, of, content));
                (expected ^ u128::from_le_bytes(*tag) == 0).then_some(content)
            }
        }
    }
}

/// A stamp as text.
pub(super) fn hex(stamp: u64) -> String {
    format!("{stamp:016x}")
}

impl Stored {
    /// Compressed as `how` says when that makes it smaller.
    pub(super) fn parts(&self, (seal, key): (Seal, &str), how: Compression, threshold: usize) -> Parts {
        let plain = self.bytes.as_deref().unwrap_or_default();
        let smaller = if plain.len() >= threshold { compress(how, plain) } else { None };
        let (how, bytes) = smaller.as_ref().map_or((b'0', plain), |bytes| (letter(how), bytes));
        let mut tail = Vec::with_capacity(bytes.len() + 64);
        let codec = if self.codec == Codec::Json { b'j' } else { b'p' };
        tail.extend_from_slice(&[codec, how, self.cost]);
        tail.extend_from_slice(&self.born_ms.to_le_bytes());
        tail.extend_from_slice(&self.life_ms.to_le_bytes());
        let tags = self.tags.iter().filter(|tag| tag.len() < 256).take(TAGS_MAX);
        tail.push(tags.clone().count() as u8);
        for tag in tags {
            tail.push(tag.len() as u8);
            tail.extend_from_slice(tag.as_bytes());
        }
        tail.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        tail.extend_from_slice(bytes);
        let kind = if self.bytes.is_some() { VALUE } else { NONE };
        seal.close((key, kind), &mut tail);
        Parts { head: [VERSION, kind], tail }
    }
}

/// The tags that an entry keeps.
pub(super) fn kept_tags(tags: Vec<String>) -> Vec<String> {
    tags.into_iter().filter(|tag| tag.len() < 256).take(TAGS_MAX).collect()
}

/// What keeps a key empty.
pub(super) const fn tomb() -> [u8; 2] {
    [VERSION, TOMB]
}

/// None when it is not a frame of `key`, or not whole.
pub(super) fn read(frame: &[u8], (seal, key): (Seal, &str)) -> Option<Frame> {
    let stamp = std::str::from_utf8(frame.get(STAMP)?).ok()?;
    let stamp = u64::from_str_radix(stamp, 16).ok()?;
    let tail = frame.get(STAMP.end..)?;
    let body = match frame.get(..2)? {
        [VERSION, TOMB] => Body::Tomb,
        [VERSION, kind @ (VALUE | NONE)] => Body::Value(stored(seal.open((key, *kind), tail)?, *kind == VALUE)?),
        _ => return None,
    };
    Some(Frame { stamp, body })
}

fn stored(content: &[u8], has_value: bool) -> Option<Stored> {
    let (&[codec, how, cost], rest) = content.split_first_chunk::<3>()?;
    let (born, rest) = rest.split_first_chunk::<8>()?;
    let (life, rest) = rest.split_first_chunk::<8>()?;
    let (count, mut rest) = rest.split_first()?;
    let mut tags = Vec::with_capacity(usize::from(*count).min(TAGS_MAX));
    for _ in 0..*count {
        let (len, after) = rest.split_first()?;
        let (tag, after) = after.split_at_checked(usize::from(*len))?;
        tags.push(String::from_utf8(tag.to_vec()).ok()?);
        rest = after;
    }
    let (plain, bytes) = rest.split_first_chunk::<4>()?;
    let plain = usize::try_from(u32::from_le_bytes(*plain)).ok().filter(|len| *len <= PLAIN_BYTES_MAX)?;
    let bytes = if has_value { Some(inflate(how, bytes, plain)?) } else { None };
    let codec = if codec == b'j' { Codec::Json } else { Codec::Postcard };
    let (born_ms, life_ms) = (u64::from_le_bytes(*born), u64::from_le_bytes(*life));
    Some(Stored { bytes, codec, cost, born_ms, life_ms, tags })
}

const fn letter(how: Compression) -> u8 {
    match how {
        Compression::None => b'0',
        Compression::Zstd => b'z',
        Compression::Gzip => b'g',
    }
}

fn compress(how: Compression, plain: &[u8]) -> Option<Vec<u8>> {
    let bytes = match how {
        Compression::None => return None,
        Compression::Zstd => zstd::bulk::compress(plain, 1).ok()?,
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            std::io::Write::write_all(&mut encoder, plain).ok()?;
            encoder.finish().ok()?
        }
    };
    (bytes.len() < plain.len()).then_some(bytes)
}

/// `plain` bytes, or nothing.
fn inflate(how: u8, bytes: &[u8], plain: usize) -> Option<Vec<u8>> {
    let out = match how {
        b'0' => bytes.to_vec(),
        b'z' => zstd::bulk::decompress(bytes, plain).ok()?,
        b'g' => {
            let mut out = Vec::new();
            GzDecoder::new(bytes).take(plain as u64 + 1).read_to_end(&mut out).ok()?;
            out
        }
        _ => return None,
    };
    (out.len() == plain).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: Option<Vec<u8>>, tags: Vec<String>) -> Stored {
        Stored { bytes, codec: Codec::Json, cost: 7, born_ms: 1, life_ms: 2, tags }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_whatever_the_policy_was(
            bytes in prop::option::of(prop::collection::vec(0..4u8, 0..5000)),
            tags in prop::collection::vec("[a-z]{0,9}", 0..4),
            how in prop::sample::select(vec![Compression::None, Compression::Zstd, Compression::Gzip]),
            (stamp, broken, threshold) in (any::<u64>(), any::<prop::sample::Index>(), 0..2000usize),
            secret in prop::option::of(any::<[u8; 16]>()),
        ) {
            let seal = (Seal(secret), "key");
            let stored = of(bytes.clone(), tags);
            let mut frame = stored.parts(seal, how, threshold).with_stamp(stamp);
            let plain = stored.parts(seal, Compression::None, 0).with_stamp(stamp);
            prop_assert!(frame.len() <= plain.len(), "never larger than plain");
            prop_assert_eq!(read(&frame, seal), Some(Frame { stamp, body: Body::Value(stored) }));
            prop_assert_eq!(read(&frame, (Seal(Some([7; 16])), "key")), None, "another's");
            if secret.is_some() {
                prop_assert_eq!(read(&frame, (seal.0, "other")), None, "put under another key");
            }
            let at = broken.index(frame.len() - 18) + 18;
            frame[at] ^= 1;
            prop_assert_eq!(read(&frame, seal), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _anything = (read(&bytes, (Seal::default(), "")), read(&bytes, (Seal(Some([1; 16])), "")));
        }
    }

    #[test]
    fn of_the_next_version_nothing_is_believed() {
        let seal = (Seal::default(), "key");
        let mut frame = of(Some(vec![1]), Vec::new()).parts(seal, Compression::None, 0).with_stamp(3);
        frame[0] = b'2';
        assert_eq!(read(&frame, seal), None);
    }
}
