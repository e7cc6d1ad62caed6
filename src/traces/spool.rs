//! What the committer takes of an export's spans, and how the spool holds it: marks, and bodies compressed as they came.

use std::cell::RefCell;

use bytes::Bytes;

use super::decide::Reasons;
use crate::model::TraceId;
use crate::storage::SpoolPart;
use crate::varint::{Cursor, put};

/// A body is compressed before it is acknowledged, and lives some seconds: 2.1 GB/s and a sixth, where level 1 makes
/// 1.4 GB/s and a seventh.
const LEVEL: i32 = -5;
/// No body was larger when it came.
const INFLATED_MAX: usize = 1 << 30;
/// Room that is kept from one body to the next.
const ROOM_MAX: usize = 4 << 20;
/// A mark as it is stored.
const MARK_BYTES: usize = 17;

/// Traces to keep and why.
pub type Marks = Vec<(TraceId, Reasons)>;

/// The spans of one export.
#[derive(Clone, Debug, Default)]
pub struct ExportSpans {
    /// Traces that its spans ask to keep.
    pub marks: Marks,
    /// The body, compressed.
    pub body: Bytes,
}

/// Compresses a body.
#[must_use]
pub fn compress(body: &[u8]) -> Bytes {
    thread_local! {
        static COMPRESSOR: RefCell<(Option<zstd::bulk::Compressor<'static>>, Vec<u8>)> =
            const { RefCell::new((None, Vec::new())) };
    }
    COMPRESSOR.with_borrow_mut(|(compressor, room)| {
        if compressor.is_none() {
            *compressor = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        // Room of its own for each body would be fresh pages each time: they cost as much as compressing.
        room.clear();
        room.reserve(zstd::zstd_safe::compress_bound(body.len()));
        let written = compressor.as_mut().and_then(|compressor| compressor.compress_to_buffer(body, room).ok());
        // It fails only without memory; then the body goes as it is, which `inflate` knows by its first bytes.
        let compressed = Bytes::copy_from_slice(written.and_then(|n| room.get(..n)).unwrap_or(body));
        if room.capacity() > ROOM_MAX {
            *room = Vec::new();
        }
        compressed
    })
}

/// Reads bodies again, one after another in the same room.
#[derive(Default)]
pub(super) struct Inflater {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    room: Vec<u8>,
}

impl Inflater {
    /// The body; `None` when it is damaged.
    pub(super) fn inflate<'a>(&'a mut self, compressed: &'a [u8]) -> Option<&'a [u8]> {
        let Ok(size) = zstd::zstd_safe::get_frame_content_size(compressed) else { return Some(compressed) };
        let size = usize::try_from(size.unwrap_or_default()).ok().filter(|size| *size <= INFLATED_MAX)?;
        if self.decompressor.is_none() {
            self.decompressor = zstd::bulk::Decompressor::new().ok();
        }
        self.room.clear();
        self.room.reserve(size);
        let n = self.decompressor.as_mut()?.decompress_to_buffer(compressed, &mut self.room).ok()?;
        self.room.get(..n)
    }
}

/// A group commit's part of the spool.
#[must_use]
pub fn encode(exports: &[ExportSpans]) -> SpoolPart {
    let mut part = SpoolPart::default();
    for (trace_id, reasons) in exports.iter().flat_map(|export| &export.marks) {
        part.marks.extend_from_slice(&trace_id.0);
        part.marks.push(reasons.bits());
    }
    part.spans.reserve_exact(exports.iter().map(|export| export.body.len() + 5).sum());
    for export in exports {
        put(&mut part.spans, export.body.len() as u64);
        part.spans.extend_from_slice(&export.body);
    }
    part
}

/// The marks of a row.
pub(super) fn decode_marks(marks: &[u8]) -> Marks {
    let (rows, _rest) = marks.as_chunks::<MARK_BYTES>();
    rows.iter()
        .map(|[id @ .., reasons]| (TraceId(*id), Reasons::from_bits(*reasons)))
        .filter(|(_, reasons)| !reasons.is_none())
        .collect()
}

/// The bodies of a row, compressed; those behind damage are left out.
pub(super) fn decode_bodies(spans: Vec<u8>) -> Vec<Bytes> {
    let whole = Bytes::from(spans);
    let mut reader = Cursor(&whole);
    let mut bodies = Vec::new();
    while let Some(body) = reader.bytes() {
        bodies.push(whole.slice_ref(body));
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_as_written() {
        let id = |byte| TraceId([byte; 16]);
        let export = |marks: Marks, body: &[u8]| ExportSpans { marks, body: compress(body) };
        let exports = [
            export(vec![(id(1), Reasons::ERROR), (id(2), Reasons::SLOW.and(Reasons::SAMPLE))], b"one"),
            export(Vec::new(), &[7; 10_000]),
        ];
        let part = encode(&exports);
        assert_eq!(decode_marks(&part.marks), exports[0].marks);
        let bodies = decode_bodies(part.spans);
        let mut inflater = Inflater::default();
        let inflated: Vec<_> = bodies.iter().map(|body| inflater.inflate(body).map(<[u8]>::to_vec)).collect();
        assert_eq!(inflated, [Some(b"one".to_vec()), Some(vec![7; 10_000])]);
    }
}
