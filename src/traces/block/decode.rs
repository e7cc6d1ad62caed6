//! A block read back: columns first, whole spans only where they are asked for.

use std::ops::Range;
use std::sync::Arc;

use super::encode::{PARENT_FIRST, PARENT_NONE};
use super::{BlockError, HEADER, VERSION, column, value};
use crate::model::{Attribute, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanSource, SpanStatus, TraceId};
use crate::varint::{Cursor, unzigzag};

/// A block inflates to no more than this many times its size.
const INFLATION_MAX: usize = 1 << 10;
/// Nor to more than this.
const INFLATED_MAX: usize = 1 << 30;

/// Spans of several traces.
#[derive(Debug)]
pub(crate) struct Block {
    traces: Vec<(TraceId, Range<usize>)>,
    strings: Vec<Arc<str>>,
    pairs: Vec<Attribute>,
    sources: Vec<Arc<SpanSource>>,
    source: Vec<u64>,
    name: Vec<u64>,
    kind_status: Vec<u64>,
    flags: Vec<u64>,
    starts: Vec<u64>,
    durations: Vec<u64>,
    ids: Vec<SpanId>,
    parents: Vec<SpanId>,
    /// Where the attributes of each span begin among `pair_numbers`.
    attributes: Vec<usize>,
    pair_numbers: Vec<u64>,
    /// Where the rest of each span begins.
    extras: Vec<usize>,
    extra_bytes: Vec<u8>,
}

const EARLY: BlockError = BlockError::Malformed("ends early");
const OUTSIDE: BlockError = BlockError::Malformed("names what is not there");

impl Block {
    /// Reads a block.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub(crate) fn decode(block: &[u8]) -> Result<Self, BlockError> {
        let (head, packed) = block.split_first_chunk::<HEADER>().ok_or(EARLY)?;
        let [version, crc @ ..] = head;
        if *version != VERSION {
            return Err(BlockError::Version(*version));
        }
        if crc32c::crc32c(packed) != u32::from_le_bytes(*crc) {
            return Err(BlockError::Checksum);
        }
        let size = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten().unwrap_or_default() as usize;
        let most = packed.len().saturating_mul(INFLATION_MAX).min(INFLATED_MAX);
        let inflated = zstd::bulk::decompress(packed, size.min(most))?;
        Self::read(&mut Cursor(&inflated))
    }

    fn read(bytes: &mut Cursor<'_>) -> Result<Self, BlockError> {
        let n_traces = bytes.count(16).ok_or(EARLY)?;
        let ids: Vec<TraceId> =
            (0..n_traces).map(|_| bytes.array().map(TraceId)).collect::<Option<_>>().ok_or(EARLY)?;
        let counts = column::read(bytes, n_traces)?;
        let n = counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count as usize)).ok_or(OUTSIDE)?;
        if n.checked_mul(8).is_none_or(|least| least > bytes.0.len()) {
            return Err(EARLY);
        }
        let ends = running(&counts);
        let traces = ids.into_iter().zip(ends.windows(2).map(|pair| pair[0]..pair[1])).collect();
        let strings = read_strings(bytes).ok_or(EARLY)?;
        let pairs = read_pairs(bytes, &strings)?;
        let sources = read_sources(bytes, &strings, &pairs).ok_or(OUTSIDE)?;
        let mut columns = || column::read(bytes, n);
        let (source, name, kind_status, flags) = (columns()?, columns()?, columns()?, columns()?);
        let (parent, start, durations, attribute_counts) = (columns()?, columns()?, columns()?, columns()?);
        let n_pairs = usize::try_from(bytes.varint().ok_or(EARLY)?).map_err(|_| OUTSIDE)?;
        let attributes = running(&attribute_counts);
        if attributes.last() != Some(&n_pairs) {
            return Err(OUTSIDE);
        }
        let pair_numbers = column::read(bytes, n_pairs)?;
        let raw_ids = bytes.take(n * 8).ok_or(EARLY)?;
        let ids: Vec<SpanId> = raw_ids.as_chunks::<8>().0.iter().map(|id| SpanId(*id)).collect();
        let elsewhere = bytes.bytes().ok_or(EARLY)?;
        let extra_lengths = column::read(bytes, n)?;
        let extra_bytes = bytes.bytes().ok_or(EARLY)?.to_vec();
        let mut block = Self {
            traces,
            strings,
            pairs,
            sources,
            source,
            name,
            kind_status,
            flags,
            starts: start,
            durations,
            ids,
            parents: Vec::new(),
            attributes,
            pair_numbers,
            extras: running(&extra_lengths),
            extra_bytes,
        };
        block.resolve(&parent, elsewhere)?;
        Ok(block)
    }

    /// Turns differences into starts, and places into parents; checks that what spans name is there.
    fn resolve(&mut self, parent: &[u64], elsewhere: &[u8]) -> Result<(), BlockError> {
        let mut elsewhere = elsewhere.as_chunks::<8>().0.iter();
        for (_, range) in &self.traces {
            let first = range.start;
            let mut before = 0u64;
            for i in range.clone() {
                before = before.wrapping_add(unzigzag(self.starts[i]) as u64);
                self.starts[i] = before;
                self.parents.push(match parent[i] {
                    PARENT_NONE => SpanId::default(),
                    place if place >= PARENT_FIRST => {
                        let at = first + (place - PARENT_FIRST) as usize;
                        *self.ids.get(at).filter(|_| range.contains(&at)).ok_or(OUTSIDE)?
                    }
                    _ => SpanId(*elsewhere.next().ok_or(OUTSIDE)?),
                });
            }
        }
        let within = |numbers: &[u64], len: usize| numbers.iter().all(|number| (*number as usize) < len);
        let sound = within(&self.source, self.sources.len())
            && within(&self.name, self.strings.len())
            && within(&self.pair_numbers, self.pairs.len())
            && self.extras.last() == Some(&self.extra_bytes.len());
        if sound { Ok(()) } else { Err(OUTSIDE) }
    }

    /// Its traces, and where their spans are.
    #[cfg(test)]
    pub(crate) fn traces(&self) -> &[(TraceId, Range<usize>)] {
        &self.traces
    }

    /// Where the spans of a trace are.
    #[must_use]
    pub(crate) fn find(&self, trace_id: TraceId) -> Option<Range<usize>> {
        self.traces.iter().find(|(id, _)| *id == trace_id).map(|(_, range)| range.clone())
    }

    /// Traces that have a span with this attribute, on itself or on its resource; `text` as labels write it.
    #[must_use]
    pub(crate) fn with_attribute(&self, key: &str, text: &str) -> Vec<TraceId> {
        let meant =
            |attribute: &Attribute| attribute.key == key && attribute.value.scalar().is_some_and(|value| value == text);
        let pairs: Vec<bool> = self.pairs.iter().map(meant).collect();
        let sources: Vec<bool> = self.sources.iter().map(|source| source.resource.iter().any(meant)).collect();
        let has = |i: usize| {
            sources[self.source[i] as usize]
                || self.pair_numbers[self.attributes[i]..self.attributes[i + 1]].iter().any(|n| pairs[*n as usize])
        };
        self.traces.iter().filter(|(_, range)| range.clone().any(has)).map(|(id, _)| *id).collect()
    }

    /// Id of span `i`.
    #[must_use]
    pub(crate) fn span_id(&self, i: usize) -> SpanId {
        self.ids[i]
    }

    /// A span without what takes room: attributes, events and links.
    #[must_use]
    pub(crate) fn outline(&self, i: usize) -> Span {
        Span {
            span_id: self.ids[i],
            parent_id: self.parents[i],
            name: self.strings[self.name[i] as usize].to_string(),
            kind: SpanKind::from_number(self.kind_status[i] & 7),
            status: SpanStatus::from_number(self.kind_status[i] >> 3),
            flags: self.flags[i] as u32,
            start: self.starts[i],
            end: self.starts[i].saturating_add(self.durations[i]),
            source: Arc::clone(&self.sources[self.source[i] as usize]),
            ..Span::default()
        }
    }

    /// The whole of span `i`.
    ///
    /// # Errors
    /// When the block is malformed.
    pub(crate) fn span(&self, i: usize) -> Result<Span, BlockError> {
        let mut span = self.outline(i);
        let numbers = &self.pair_numbers[self.attributes[i]..self.attributes[i + 1]];
        span.attributes = numbers.iter().map(|number| self.pairs[*number as usize].clone()).collect();
        let mut rest = Cursor(&self.extra_bytes[self.extras[i]..self.extras[i + 1]]);
        if !rest.0.is_empty() {
            self.read_extras(&mut rest, &mut span).ok_or(EARLY)?;
        }
        Ok(span)
    }

    fn string(&self, bytes: &mut Cursor<'_>) -> Option<String> {
        self.strings.get(bytes.varint()? as usize).map(|text| text.to_string())
    }

    fn attributes(&self, bytes: &mut Cursor<'_>) -> Option<Vec<Attribute>> {
        read_attributes(bytes, &self.pairs)
    }

    fn read_extras(&self, bytes: &mut Cursor<'_>, span: &mut Span) -> Option<()> {
        span.status_message = self.string(bytes)?;
        span.trace_state = self.string(bytes)?;
        for dropped in &mut span.dropped {
            *dropped = bytes.varint()? as u32;
        }
        for _ in 0..bytes.count(4)? {
            span.events.push(SpanEvent {
                time: span.start.wrapping_add(unzigzag(bytes.varint()?) as u64),
                name: self.string(bytes)?,
                dropped_attributes: bytes.varint()? as u32,
                attributes: self.attributes(bytes)?,
            });
        }
        for _ in 0..bytes.count(28)? {
            span.links.push(SpanLink {
                trace_id: TraceId(bytes.array()?),
                span_id: SpanId(bytes.array()?),
                trace_state: self.string(bytes)?,
                flags: bytes.varint()? as u32,
                dropped_attributes: bytes.varint()? as u32,
                attributes: self.attributes(bytes)?,
            });
        }
        Some(())
    }
}

/// Sums up to each, from zero.
fn running(counts: &[u64]) -> Vec<usize> {
    let mut sum = 0usize;
    let ends = counts.iter().map(|count| {
        sum = sum.saturating_add(*count as usize);
        sum
    });
    std::iter::once(0).chain(ends).collect()
}

fn read_strings(bytes: &mut Cursor<'_>) -> Option<Vec<Arc<str>>> {
    let n = bytes.count(1)?;
    (0..n).map(|_| bytes.text().map(Arc::from)).collect()
}

fn read_pairs(bytes: &mut Cursor<'_>, strings: &[Arc<str>]) -> Result<Vec<Attribute>, BlockError> {
    let n = bytes.count(1).ok_or(EARLY)?;
    let keys = column::read(bytes, n)?;
    let pair = |key: &u64| {
        let key = strings.get(*key as usize)?.to_string();
        Some(Attribute { key, value: value::read(bytes)? })
    };
    keys.iter().map(pair).collect::<Option<_>>().ok_or(OUTSIDE)
}

fn read_attributes(bytes: &mut Cursor<'_>, pairs: &[Attribute]) -> Option<Vec<Attribute>> {
    let n = bytes.count(1)?;
    (0..n).map(|_| pairs.get(bytes.varint()? as usize).cloned()).collect()
}

fn read_sources(bytes: &mut Cursor<'_>, strings: &[Arc<str>], pairs: &[Attribute]) -> Option<Vec<Arc<SpanSource>>> {
    let n = bytes.count(4)?;
    let string = |bytes: &mut Cursor<'_>| strings.get(bytes.varint()? as usize).map(|text| text.to_string());
    let mut sources = Vec::with_capacity(n);
    for _ in 0..n {
        sources.push(Arc::new(SpanSource {
            scope_name: string(bytes)?,
            scope_version: string(bytes)?,
            resource: read_attributes(bytes, pairs)?,
            scope_attributes: read_attributes(bytes, pairs)?,
        }));
    }
    Some(sources)
}
