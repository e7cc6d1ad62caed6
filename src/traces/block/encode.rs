//! Spans into a block.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{BlockError, HEADER, LEVEL, TraceSpans, VERSION, column, value};
use crate::model::{Attribute, Span, SpanId, SpanSource};
use crate::varint::{put, put_bytes, zigzag};

/// No parent, and a parent that is not in the block; greater numbers are places of spans in the trace.
pub(super) const PARENT_NONE: u64 = 0;
pub(super) const PARENT_ELSEWHERE: u64 = 1;
pub(super) const PARENT_FIRST: u64 = 2;

/// Things told apart by their bytes, numbered as they come.
#[derive(Default)]
struct Dictionary<'a> {
    numbers: HashMap<&'a str, u64>,
    strings: Vec<&'a str>,
    pair_numbers: HashMap<(u64, Vec<u8>), u64>,
    pair_keys: Vec<u64>,
    pair_values: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a> Dictionary<'a> {
    fn string(&mut self, text: &'a str) -> u64 {
        let next = self.strings.len() as u64;
        *self.numbers.entry(text).or_insert_with(|| {
            self.strings.push(text);
            next
        })
    }

    fn pair(&mut self, attribute: &'a Attribute) -> u64 {
        let key = self.string(&attribute.key);
        self.scratch.clear();
        value::write(&mut self.scratch, &attribute.value);
        let next = self.pair_keys.len() as u64;
        let identity = (key, std::mem::take(&mut self.scratch));
        if let Some(known) = self.pair_numbers.get(&identity) {
            self.scratch = identity.1;
            return *known;
        }
        self.pair_keys.push(key);
        self.pair_values.extend_from_slice(&identity.1);
        self.pair_numbers.insert(identity, next);
        next
    }

    fn pairs(&mut self, out: &mut Vec<u8>, attributes: &'a [Attribute]) {
        put(out, attributes.len() as u64);
        for attribute in attributes {
            let pair = self.pair(attribute);
            put(out, pair);
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), BlockError> {
        put(out, self.strings.len() as u64);
        self.strings.iter().for_each(|text| put_bytes(out, text.as_bytes()));
        put(out, self.pair_keys.len() as u64);
        column::write(out, &self.pair_keys)?;
        out.extend_from_slice(&self.pair_values);
        Ok(())
    }
}

/// One number a span each, but `pairs`, which has as many as the span has attributes.
#[derive(Default)]
struct Columns {
    source: Vec<u64>,
    name: Vec<u64>,
    kind_status: Vec<u64>,
    flags: Vec<u64>,
    parent: Vec<u64>,
    start: Vec<u64>,
    duration: Vec<u64>,
    attributes: Vec<u64>,
    pairs: Vec<u64>,
    ids: Vec<u8>,
    parents: Vec<u8>,
    /// Length of what only some spans have, and that.
    extra_bytes: Vec<u64>,
    extras: Vec<u8>,
}

/// A block of `traces`, which are in no order; the spans of each are in order of their starts.
///
/// # Errors
/// See [`BlockError`]; none is to be expected.
pub(crate) fn encode(traces: &[TraceSpans]) -> Result<Vec<u8>, BlockError> {
    let (mut dictionary, mut columns) = (Dictionary::default(), Columns::default());
    let mut sources = Sources::default();
    for trace in traces {
        let places: HashMap<SpanId, u64> =
            (PARENT_FIRST..).zip(&trace.spans).map(|(place, span)| (span.span_id, place)).collect();
        let mut before = 0;
        for span in &trace.spans {
            columns.source.push(sources.number(&mut dictionary, &span.source));
            columns.start.push(zigzag(span.start.wrapping_sub(before) as i64));
            before = span.start;
            columns.parent.push(match places.get(&span.parent_id) {
                _ if span.parent_id.is_none() => PARENT_NONE,
                Some(place) => *place,
                None => {
                    columns.parents.extend_from_slice(&span.parent_id.0);
                    PARENT_ELSEWHERE
                }
            });
            columns.add(&mut dictionary, span);
        }
    }
    let mut out = Vec::new();
    put(&mut out, traces.len() as u64);
    traces.iter().for_each(|trace| out.extend_from_slice(&trace.trace_id.0));
    column::write(&mut out, &traces.iter().map(|trace| trace.spans.len() as u64).collect::<Vec<_>>())?;
    dictionary.write(&mut out)?;
    put(&mut out, sources.by_bytes.len() as u64);
    out.extend_from_slice(&sources.bytes);
    columns.write(&mut out)?;
    let packed = zstd::bulk::compress(&out, LEVEL)?;
    let mut block = Vec::with_capacity(HEADER + packed.len());
    block.push(VERSION);
    block.extend_from_slice(&crc32c::crc32c(&packed).to_le_bytes());
    block.extend_from_slice(&packed);
    Ok(block)
}

/// Sources by number: each export has its own of what is mostly the same.
#[derive(Default)]
struct Sources {
    by_pointer: HashMap<*const SpanSource, u64>,
    by_bytes: HashMap<Vec<u8>, u64>,
    bytes: Vec<u8>,
}

impl Sources {
    fn number<'a>(&mut self, dictionary: &mut Dictionary<'a>, source: &'a Arc<SpanSource>) -> u64 {
        if let Some(known) = self.by_pointer.get(&Arc::as_ptr(source)) {
            return *known;
        }
        let mut written = Vec::new();
        for text in [&source.scope_name, &source.scope_version] {
            put(&mut written, dictionary.string(text));
        }
        dictionary.pairs(&mut written, &source.resource);
        dictionary.pairs(&mut written, &source.scope_attributes);
        let next = self.by_bytes.len() as u64;
        let number = *self.by_bytes.entry(written).or_insert_with_key(|written| {
            self.bytes.extend_from_slice(written);
            next
        });
        self.by_pointer.insert(Arc::as_ptr(source), number);
        number
    }
}

impl Columns {
    fn add<'a>(&mut self, dictionary: &mut Dictionary<'a>, span: &'a Span) {
        self.name.push(dictionary.string(&span.name));
        self.kind_status.push(span.kind as u64 | (span.status as u64) << 3);
        self.flags.push(u64::from(span.flags));
        self.duration.push(span.end.saturating_sub(span.start));
        self.ids.extend_from_slice(&span.span_id.0);
        self.attributes.push(span.attributes.len() as u64);
        self.pairs.extend(span.attributes.iter().map(|attribute| dictionary.pair(attribute)));
        let before = self.extras.len();
        if has_extras(span) {
            self.add_extras(dictionary, span);
        }
        self.extra_bytes.push((self.extras.len() - before) as u64);
    }

    fn add_extras<'a>(&mut self, dictionary: &mut Dictionary<'a>, span: &'a Span) {
        let out = &mut self.extras;
        put(out, dictionary.string(&span.status_message));
        put(out, dictionary.string(&span.trace_state));
        span.dropped.iter().for_each(|dropped| put(out, u64::from(*dropped)));
        put(out, span.events.len() as u64);
        for event in &span.events {
            put(out, zigzag(event.time.wrapping_sub(span.start) as i64));
            put(out, dictionary.string(&event.name));
            put(out, u64::from(event.dropped_attributes));
            dictionary.pairs(out, &event.attributes);
        }
        put(out, span.links.len() as u64);
        for link in &span.links {
            out.extend_from_slice(&link.trace_id.0);
            out.extend_from_slice(&link.span_id.0);
            put(out, dictionary.string(&link.trace_state));
            put(out, u64::from(link.flags));
            put(out, u64::from(link.dropped_attributes));
            dictionary.pairs(out, &link.attributes);
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), BlockError> {
        for numbers in [
            &self.source,
            &self.name,
            &self.kind_status,
            &self.flags,
            &self.parent,
            &self.start,
            &self.duration,
            &self.attributes,
        ] {
            column::write(out, numbers)?;
        }
        put(out, self.pairs.len() as u64);
        column::write(out, &self.pairs)?;
        out.extend_from_slice(&self.ids);
        put_bytes(out, &self.parents);
        column::write(out, &self.extra_bytes)?;
        put_bytes(out, &self.extras);
        Ok(())
    }
}

fn has_extras(span: &Span) -> bool {
    !(span.status_message.is_empty()
        && span.trace_state.is_empty()
        && span.dropped == [0; 3]
        && span.events.is_empty()
        && span.links.is_empty())
}
