//! One stream's head and how journal rows get into it: live from the committer, or read back from the journal.
//!
//! Both ways end in the same [`Head::apply_row`]. Rows are applied in order and once: a row that was missed is read from the
//! journal first, a row that is known already is passed over.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use tokio::sync::Mutex;

use super::counters::RollupMetrics;
use super::frame::{FrameError, FrameReader, Record, Template};
use super::head::{Head, RowStep};
use super::registry::{MetricEntry, Registry, Slot};
use crate::model::{Exemplar, Labels, Metric, MetricId, MetricKind, SeriesId, Temporality, Width};
use crate::redis::RecentFrames;
use crate::storage::{MetricRow, SeriesRow, Storage, StorageError};

/// Journal rows read at once.
const ROWS_PER_READ: i64 = 256;

/// Why a stream cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The database is away.
    #[error("journal of stream {stream} cannot be read")]
    Storage {
        /// Which stream.
        stream: i64,
        /// Why.
        #[source]
        source: StorageError,
    },
    /// A row is damaged.
    #[error("journal row {seq} of stream {stream} cannot be read")]
    Frame {
        /// Which stream.
        stream: i64,
        /// Which row.
        seq: i64,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// A row names what nothing defines.
    #[error("journal row {seq} of stream {stream} names an unknown {what}")]
    Undefined {
        /// Which stream.
        stream: i64,
        /// Which row.
        seq: i64,
        /// Template or series.
        what: &'static str,
    },
}

/// A group commit as the committer hands it over.
#[derive(Debug, Default)]
pub struct LiveRow<'a> {
    /// The generation ends before it.
    pub cut: bool,
    /// Templates and their points.
    pub sections: Vec<(Arc<Template>, &'a [u8])>,
    /// Exemplars by series.
    pub exemplars: Vec<(Slot, Exemplar)>,
}

/// Where rows and definitions are read.
#[derive(Clone)]
pub struct Sources {
    /// Series known here.
    pub registry: Arc<Registry>,
    /// The journal.
    pub storage: Storage,
    /// Frames just committed, looked at before the journal.
    pub recent: Arc<OnceLock<RecentFrames>>,
    /// What is counted.
    pub metrics: RollupMetrics,
}

/// One stream: its head, and the templates of the open generation.
pub struct Stream {
    id: i64,
    /// Windows past the cursor.
    pub head: Head,
    sources: Sources,
    templates: Mutex<HashMap<u64, Arc<Template>>>,
}

impl Stream {
    /// The stream `id`, in blocks up to `cursor_seq`.
    #[must_use]
    pub fn new(id: i64, cursor_seq: i64, width: Width, sources: Sources) -> Self {
        Self { id, head: Head::new(width, cursor_seq), sources, templates: Mutex::default() }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> i64 {
        self.id
    }

    /// Applies the row that was committed as `seq`, after whatever the journal holds before it.
    ///
    /// # Errors
    /// When rows before it cannot be read; nothing of this row is applied then.
    pub async fn apply_live(&self, seq: i64, row: LiveRow<'_>) -> Result<(), ReplayError> {
        if self.head.applied_seq() + 1 < seq {
            self.catch_up(seq - 1).await?;
        }
        let mut templates = self.templates.lock().await;
        if self.head.applied_seq() >= seq {
            return Ok(());
        }
        let mut steps = Vec::with_capacity(row.sections.len() + 2);
        if row.cut {
            steps.push(RowStep::Cut);
            templates.clear();
        }
        for (template, points) in &row.sections {
            templates.entry(template.id).or_insert_with(|| Arc::clone(template));
            steps.push(RowStep::Points(Arc::clone(template), points));
        }
        steps.push(RowStep::Exemplars(row.exemplars));
        self.head.apply_row(seq, &steps).ok_or(ReplayError::Undefined { stream: self.id, seq, what: "point" })
    }

    /// Reads recent frames and the journal until `seq` is applied.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn catch_up(&self, seq: i64) -> Result<(), ReplayError> {
        let mut templates = self.templates.lock().await;
        while self.head.applied_seq() < seq {
            let applied = self.head.applied_seq();
            if let Some(recent) = self.sources.recent.get() {
                let frames = recent.read(self.id, applied).await;
                for (seq, frame) in &frames {
                    self.replay(*seq, frame, &mut templates).await?;
                }
                if !frames.is_empty() {
                    self.sources.metrics.followed("redis", frames.len());
                    continue;
                }
            }
            let rows = self.sources.storage.journal_read(self.id, applied, ROWS_PER_READ).await;
            let rows = rows.map_err(|error| self.storage_error(error))?;
            if rows.is_empty() {
                return Err(ReplayError::Undefined { stream: self.id, seq, what: "row" });
            }
            self.sources.metrics.followed("journal", rows.len());
            for row in rows {
                if row.seq != self.head.applied_seq() + 1 {
                    return Err(ReplayError::Undefined { stream: self.id, seq: row.seq, what: "predecessor" });
                }
                self.replay(row.seq, &row.frame, &mut templates).await?;
            }
        }
        Ok(())
    }

    const fn storage_error(&self, source: StorageError) -> ReplayError {
        ReplayError::Storage { stream: self.id, source }
    }

    /// Applies one row: its definitions first, with whatever must be read for them, then all of it at once. A caller that
    /// goes away in between leaves nothing half done.
    async fn replay(
        &self,
        seq: i64,
        frame: &[u8],
        templates: &mut HashMap<u64, Arc<Template>>,
    ) -> Result<(), ReplayError> {
        let damaged = |source| ReplayError::Frame { stream: self.id, seq, source };
        let undefined = |what| ReplayError::Undefined { stream: self.id, seq, what };
        let mut reader = FrameReader::new(frame).map_err(damaged)?;
        let (mut steps, mut cut, mut new) = (Vec::new(), false, HashMap::new());
        while let Some(record) = reader.next_record().map_err(damaged)? {
            match record {
                Record::Cut => {
                    steps.push(RowStep::Cut);
                    cut = true;
                    new.clear();
                }
                Record::Metric(metric, description) => {
                    self.sources.registry.metric(metric, description);
                }
                Record::Series(metric, labels) => {
                    let metric = self.metric(metric).await?.ok_or_else(|| undefined("metric"))?;
                    self.sources.registry.series_from_labels(&metric, &labels, false);
                }
                Record::Template(id, series) => {
                    let slots = self.slots(&series).await?.ok_or_else(|| undefined("series"))?;
                    new.insert(id, Arc::new(Template::new(&self.sources.registry, slots)));
                }
                Record::Points(id, points) => {
                    let known = new.get(&id).or_else(|| templates.get(&id).filter(|_| !cut));
                    let template = known.ok_or_else(|| undefined("template"))?;
                    steps.push(RowStep::Points(Arc::clone(template), points));
                }
                Record::Exemplars(exemplars) => {
                    let known =
                        exemplars.into_iter().filter_map(|(id, e)| Some((self.sources.registry.slot_of(id)?, e)));
                    steps.push(RowStep::Exemplars(known.collect()));
                }
            }
        }
        self.head.apply_row(seq, &steps).ok_or_else(|| undefined("point"))?;
        if cut {
            templates.clear();
        }
        templates.extend(new);
        Ok(())
    }

    /// A metric by id; one that an earlier stream defined is in the `metrics` table.
    async fn metric(&self, id: MetricId) -> Result<Option<Arc<MetricEntry>>, ReplayError> {
        if let Some(known) = self.sources.registry.metric_by_id(id) {
            return Ok(Some(known));
        }
        load_metrics(&self.sources.registry, &self.sources.storage).await.map_err(|error| self.storage_error(error))?;
        Ok(self.sources.registry.metric_by_id(id))
    }

    /// The slots of `series`, those unknown here read from the `series` table.
    async fn slots(&self, series: &[SeriesId]) -> Result<Option<Box<[Slot]>>, ReplayError> {
        let unknown: Vec<i64> =
            series.iter().filter(|id| self.sources.registry.slot_of(**id).is_none()).map(|id| id.0 as i64).collect();
        if !unknown.is_empty() {
            let rows = self.sources.storage.series_by_id(&unknown).await.map_err(|e| self.storage_error(e))?;
            let missing =
                rows.iter().any(|row| self.sources.registry.metric_by_id(MetricId(row.metric_id as u64)).is_none());
            if missing {
                load_metrics(&self.sources.registry, &self.sources.storage).await.map_err(|e| self.storage_error(e))?;
            }
            for row in &rows {
                register_series(&self.sources.registry, row);
            }
        }
        Ok(series.iter().map(|id| self.sources.registry.slot_of(*id)).collect())
    }
}

/// Makes every metric of the `metrics` table known.
///
/// # Errors
/// When the database is away.
pub async fn load_metrics(registry: &Registry, storage: &Storage) -> Result<(), StorageError> {
    for row in storage.metric_list().await? {
        register_metric(registry, row);
    }
    Ok(())
}

fn register_metric(registry: &Registry, row: MetricRow) {
    let kind = u8::try_from(row.kind).ok().and_then(MetricKind::from_u8);
    let temporality = u8::try_from(row.temporality).ok().and_then(Temporality::from_u8);
    if let (Some(kind), Some(temporality)) = (kind, temporality) {
        let metric = Metric { name: row.name.into(), unit: row.unit.into(), kind, temporality };
        let entry = registry.metric(metric, &row.description);
        entry.stored.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Makes a series of the `series` table known.
pub fn register_series(registry: &Registry, row: &SeriesRow) {
    let Some(metric) = registry.metric_by_id(MetricId(row.metric_id as u64)) else { return };
    let pairs = row.labels.as_object().into_iter().flatten();
    let labels = Labels::from_pairs(
        pairs.map(|(name, value)| (Arc::from(name.as_str()), Arc::from(value.as_str().unwrap_or_default()))).collect(),
    );
    registry.series_from_labels(&metric, &labels, true);
}
