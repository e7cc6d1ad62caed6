//! Journal rows: records that hold committed exports, readable without any state but what earlier rows of the same
//! generation and the `series` table define.
//!
//! A row is a version byte, the CRC32C of the rest, and records. A *cut* ends a generation: what follows goes into the
//! next one. A *template* is the ordered series list of one resource's export; it is defined once in each generation, and
//! the exports that follow name it by its hash.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::points::Shape;
use super::registry::{MetricEntry, Registry, SeriesEntry, Slot};
use crate::model::{Exemplar, Labels, Metric, MetricId, MetricKind, SeriesId, Temporality};
use crate::varint::{Cursor, put, put_bytes};

const VERSION: u8 = 1;
const HEADER: usize = 5;

/// Consecutive points of one metric in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateRun {
    /// [`MetricEntry::index`].
    pub metric: u32,
    /// What the points look like.
    pub shape: Shape,
    /// How many points.
    pub len: u32,
}

/// The ordered series list of an export.
#[derive(Debug)]
pub struct Template {
    /// Hash of the series ids.
    pub id: u64,
    /// The series, in this process's numbers.
    pub slots: Box<[Slot]>,
    /// The same grouped by metric.
    pub runs: Box<[TemplateRun]>,
    /// The committer's generation in which the journal last defined it; 0 for never.
    pub defined_in: AtomicU64,
}

impl Template {
    /// The template of `slots`.
    #[must_use]
    pub fn new(registry: &Registry, slots: Box<[Slot]>) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let mut runs: Vec<TemplateRun> = Vec::new();
        for entry in slots.iter().filter_map(|slot| registry.get(*slot)) {
            hasher.update(&entry.id.0.to_le_bytes());
            let metric = entry.metric.index;
            match runs.last_mut().filter(|run| run.metric == metric) {
                Some(run) => run.len += 1,
                None => runs.push(TemplateRun { metric, shape: Shape::of(&entry.metric.metric), len: 1 }),
            }
        }
        Self { id: hasher.digest(), slots, runs: runs.into(), defined_in: AtomicU64::new(0) }
    }
}

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// Written by a later version.
    #[error("journal row has version {0}, this binary reads {VERSION}")]
    Version(u8),
    /// The checksum does not fit.
    #[error("journal row is damaged: checksum mismatch")]
    Checksum,
    /// The checksum fits, but the records do not parse.
    #[error("journal row is malformed at record {0}")]
    Malformed(usize),
}

/// One record, borrowed from its row.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// The generation ends here.
    Cut,
    /// A metric's identity.
    Metric(Metric, &'a str),
    /// A series of an earlier defined metric.
    Series(MetricId, Labels),
    /// Template id and the series ids in order.
    Template(u64, Vec<SeriesId>),
    /// Points in template order.
    Points(u64, &'a [u8]),
    /// Exemplars by series.
    Exemplars(Vec<(SeriesId, Exemplar)>),
}

/// Builds a row.
pub struct FrameWriter {
    out: Vec<u8>,
}

impl Default for FrameWriter {
    fn default() -> Self {
        Self { out: vec![VERSION, 0, 0, 0, 0] }
    }
}

impl FrameWriter {
    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True when no record was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.len() == HEADER
    }

    /// Ends the generation.
    pub fn cut(&mut self) {
        self.out.push(0);
    }

    /// Defines a metric.
    pub fn metric(&mut self, entry: &MetricEntry) {
        self.out.push(1);
        put_bytes(&mut self.out, entry.metric.name.as_bytes());
        put_bytes(&mut self.out, entry.metric.unit.as_bytes());
        self.out.push(entry.metric.kind as u8);
        self.out.push(entry.metric.temporality as u8);
        put_bytes(&mut self.out, entry.description.as_bytes());
    }

    /// Defines a series; its metric must be defined before.
    pub fn series(&mut self, registry: &Registry, entry: &SeriesEntry) {
        let labels = registry.labels(entry);
        self.out.push(2);
        self.out.extend_from_slice(&entry.metric.id.0.to_le_bytes());
        put(&mut self.out, labels.len() as u64);
        for (name, value) in labels.iter() {
            put_bytes(&mut self.out, name.as_bytes());
            put_bytes(&mut self.out, value.as_bytes());
        }
    }

    /// Defines a template; its series must be defined before, here or in the `series` table.
    pub fn template(&mut self, registry: &Registry, template: &Template) {
        self.out.push(3);
        self.out.extend_from_slice(&template.id.to_le_bytes());
        put(&mut self.out, template.slots.len() as u64);
        for slot in &template.slots {
            let id = registry.get(*slot).map_or(0, |entry| entry.id.0);
            self.out.extend_from_slice(&id.to_le_bytes());
        }
    }

    /// Points of a template.
    pub fn points(&mut self, template: u64, points: &[u8]) {
        self.out.push(4);
        self.out.extend_from_slice(&template.to_le_bytes());
        put_bytes(&mut self.out, points);
    }

    /// Exemplars.
    pub fn exemplars(&mut self, registry: &Registry, exemplars: &[(Slot, Exemplar)]) {
        self.out.push(5);
        put(&mut self.out, exemplars.len() as u64);
        for (slot, exemplar) in exemplars {
            let id = registry.get(*slot).map_or(0, |entry| entry.id.0);
            self.out.extend_from_slice(&id.to_le_bytes());
            self.out.extend_from_slice(&exemplar.time.to_le_bytes());
            self.out.extend_from_slice(&exemplar.value.to_le_bytes());
            self.out.extend_from_slice(&exemplar.trace_id);
            self.out.extend_from_slice(&exemplar.span_id);
        }
    }

    /// The row, checksum included.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(self.out.get(HEADER..).unwrap_or_default());
        if let Some(slot) = self.out.get_mut(1..HEADER) {
            slot.copy_from_slice(&crc.to_le_bytes());
        }
        self.out
    }
}

/// Reads a row's records.
pub struct FrameReader<'a> {
    bytes: Cursor<'a>,
    records: usize,
}

impl<'a> FrameReader<'a> {
    /// Checks version and checksum.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn new(row: &'a [u8]) -> Result<Self, FrameError> {
        let mut bytes = Cursor(row);
        let version = bytes.u8().ok_or(FrameError::Checksum)?;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let crc = bytes.array().map(u32::from_le_bytes).ok_or(FrameError::Checksum)?;
        if crc32c::crc32c(bytes.0) != crc {
            return Err(FrameError::Checksum);
        }
        Ok(Self { bytes, records: 0 })
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn next_record(&mut self) -> Result<Option<Record<'a>>, FrameError> {
        if self.bytes.0.is_empty() {
            return Ok(None);
        }
        self.records += 1;
        record(&mut self.bytes).map(Some).ok_or(FrameError::Malformed(self.records))
    }
}

fn record<'a>(bytes: &mut Cursor<'a>) -> Option<Record<'a>> {
    Some(match bytes.u8()? {
        0 => Record::Cut,
        1 => {
            let (name, unit) = (bytes.text()?.into(), bytes.text()?.into());
            let kind = MetricKind::from_u8(bytes.u8()?)?;
            let temporality = Temporality::from_u8(bytes.u8()?)?;
            Record::Metric(Metric { name, unit, kind, temporality }, bytes.text()?)
        }
        2 => {
            let metric = MetricId(bytes.u64()?);
            let n = bytes.count(2)?;
            let pairs =
                (0..n).map(|_| Some((Arc::from(bytes.text()?), Arc::from(bytes.text()?)))).collect::<Option<_>>()?;
            Record::Series(metric, Labels::from_pairs(pairs))
        }
        3 => {
            let id = bytes.u64()?;
            let n = bytes.count(8)?;
            Record::Template(id, (0..n).map(|_| bytes.u64().map(SeriesId)).collect::<Option<_>>()?)
        }
        4 => Record::Points(bytes.u64()?, bytes.bytes()?),
        5 => {
            let n = bytes.count(48)?;
            Record::Exemplars((0..n).map(|_| exemplar(bytes)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn exemplar(bytes: &mut Cursor<'_>) -> Option<(SeriesId, Exemplar)> {
    let id = SeriesId(bytes.u64()?);
    let time = bytes.array().map(i64::from_le_bytes)?;
    let value = bytes.f64()?;
    Some((id, Exemplar { time, value, trace_id: bytes.array()?, span_id: bytes.array()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> (Vec<u8>, SeriesId) {
        let registry = Registry::default();
        let metric =
            Metric { name: "m".into(), unit: "s".into(), kind: MetricKind::Gauge, temporality: Temporality::None };
        let metric = registry.metric(metric, "what it is");
        let slot = registry.series_from_labels(&metric, &Labels::of(&[("a", "b")]), false);
        let entry = registry.get(slot).expect("just made");
        let template = Template::new(&registry, Box::new([slot]));
        let mut writer = FrameWriter::default();
        writer.cut();
        writer.metric(&metric);
        writer.series(&registry, entry);
        writer.template(&registry, &template);
        writer.points(template.id, b"xyz");
        writer.exemplars(&registry, &[(slot, Exemplar { time: 1, value: 2.0, trace_id: [3; 16], span_id: [4; 8] })]);
        (writer.finish(), entry.id)
    }

    #[test]
    fn records_read_back_as_written() {
        let (row, id) = row();
        let mut reader = FrameReader::new(&row).expect("sound");
        let mut records = Vec::new();
        while let Some(record) = reader.next_record().expect("sound") {
            records.push(record);
        }
        assert_eq!(records.len(), 6);
        assert_eq!(records.first(), Some(&Record::Cut));
        assert_eq!(
            records.get(2),
            Some(&Record::Series(
                Metric { name: "m".into(), unit: "s".into(), kind: MetricKind::Gauge, temporality: Temporality::None }
                    .id(),
                Labels::of(&[("a", "b")])
            ))
        );
        assert!(matches!(records.get(3), Some(Record::Template(_, ids)) if *ids == [id]));
        assert!(matches!(records.get(5), Some(Record::Exemplars(e)) if e.len() == 1));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let (row, _) = row();
        for at in 0..row.len() {
            let mut bad = row.clone();
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 0x10;
            }
            assert!(FrameReader::new(&bad).is_err(), "flip at {at}");
        }
    }
}
