//! The series that this process knows: metrics, label sets, and the dense slot numbers by which the hot path names them.
//!
//! Append-only and shared: ingest adds, heads index by slot, queries list. Never looks into the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use hashbrown::{HashMap, HashTable};
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::counter::Counter;

use super::labels::{Interner, LabelPairs, Symbol};
use crate::model::{Labels, Metric, MetricId, SeriesId};

/// Dense number of a series in this process.
pub type Slot = u32;

const SHARDS: usize = 32;

/// A metric and its series.
#[derive(Debug)]
pub struct MetricEntry {
    /// Dense number in this process.
    pub index: u32,
    /// Stable id.
    pub id: MetricId,
    /// Identity.
    pub metric: Arc<Metric>,
    /// What the first sender said of it.
    pub description: Box<str>,
    /// True once it is in the `metrics` table.
    pub stored: AtomicBool,
    series: RwLock<Vec<Slot>>,
}

impl MetricEntry {
    /// The slots of its series but for the first `from`: a metric never loses one.
    #[must_use]
    pub fn series_from(&self, from: usize) -> Vec<Slot> {
        self.series.read().get(from..).map(<[Slot]>::to_vec).unwrap_or_default()
    }

    /// Number of its series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.series.read().len()
    }
}

/// A series.
pub struct SeriesEntry {
    /// Stable id.
    pub id: SeriesId,
    /// Of which metric.
    pub metric: Arc<MetricEntry>,
    /// Labels shared with other series of the same resource and scope.
    base: Arc<[(Symbol, Symbol)]>,
    /// Its own labels.
    own: LabelPairs,
    /// The stream whose journal defines it, 0 for none.
    defined_by: AtomicI64,
    /// True once it is in the `series` table.
    pub stored: AtomicBool,
}

impl SeriesEntry {
    /// True when a reader of `stream`'s journal finds its definition there or in the `series` table.
    #[must_use]
    pub fn is_defined_for(&self, stream: i64) -> bool {
        self.defined_by.load(Ordering::Relaxed) == stream || self.stored.load(Ordering::Relaxed)
    }

    /// Notes that `stream`'s journal defines it.
    pub fn set_defined_by(&self, stream: i64) {
        self.defined_by.store(stream, Ordering::Relaxed);
    }
}

/// Two series have the same id: nothing that is kept by id can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another series has the id {:016x}", .0.0)]
pub struct Collision(pub SeriesId);

/// All metrics and series of this process.
pub struct Registry {
    /// Text of labels.
    pub interner: Interner,
    /// How often a series was met whose id another has.
    pub collisions: Counter,
    metrics: boxcar::Vec<Arc<MetricEntry>>,
    metrics_by_id: RwLock<HashMap<MetricId, Arc<MetricEntry>>>,
    slots: boxcar::Vec<SeriesEntry>,
    by_id: [Mutex<HashTable<Slot>>; SHARDS],
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            interner: Interner::default(),
            collisions: Counter::default(),
            metrics: boxcar::Vec::new(),
            metrics_by_id: RwLock::default(),
            slots: boxcar::Vec::new(),
            by_id: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Registry {
    /// The entry of `metric`, made when it is new.
    pub fn metric(&self, metric: Metric, description: &str) -> Arc<MetricEntry> {
        let id = metric.id();
        if let Some(entry) = self.metrics_by_id.read().get(&id) {
            return Arc::clone(entry);
        }
        let mut by_id = self.metrics_by_id.write();
        if let Some(entry) = by_id.get(&id) {
            return Arc::clone(entry);
        }
        let entry = Arc::new(MetricEntry {
            index: self.metrics.count() as u32,
            id,
            metric: Arc::new(metric),
            description: description.into(),
            stored: AtomicBool::new(false),
            series: RwLock::default(),
        });
        self.metrics.push(Arc::clone(&entry));
        by_id.insert(id, Arc::clone(&entry));
        entry
    }

    /// The metric with this id.
    #[must_use]
    pub fn metric_by_id(&self, id: MetricId) -> Option<Arc<MetricEntry>> {
        self.metrics_by_id.read().get(&id).map(Arc::clone)
    }

    /// The metric with this dense number.
    #[must_use]
    pub fn metric_at(&self, index: u32) -> Option<&Arc<MetricEntry>> {
        self.metrics.get(index as usize)
    }

    /// Every metric.
    #[must_use]
    pub fn metrics(&self) -> Vec<Arc<MetricEntry>> {
        self.metrics.iter().map(|(_, entry)| Arc::clone(entry)).collect()
    }

    /// The id of the series of `metric` with `base` and `own` labels together. They share no name.
    #[must_use]
    pub fn series_id(&self, metric: &MetricEntry, base: &[(Symbol, Symbol)], own: &[(Symbol, Symbol)]) -> SeriesId {
        SeriesId::of(metric.id, &self.interner.labels(&[base, own]))
    }

    /// The slot of the series that [`Self::series_id`] named `id`, if it is known.
    ///
    /// # Errors
    /// When the id is another series'.
    pub fn find(
        &self,
        id: SeriesId,
        metric: &MetricEntry,
        base: &[(Symbol, Symbol)],
        own: &[(Symbol, Symbol)],
    ) -> Result<Option<Slot>, Collision> {
        let Some(slot) = self.slot_of(id) else { return Ok(None) };
        self.same(slot, metric, base, own).map(Some)
    }

    /// The slot of the series that [`Self::series_id`] named `id`, made when it is new.
    ///
    /// # Errors
    /// When the id is another series'.
    pub fn series(
        &self,
        id: SeriesId,
        metric: &Arc<MetricEntry>,
        base: &Arc<[(Symbol, Symbol)]>,
        own: LabelPairs,
    ) -> Result<Slot, Collision> {
        let (defined_by, stored) = (AtomicI64::new(0), AtomicBool::new(false));
        let entry = SeriesEntry { id, metric: Arc::clone(metric), base: Arc::clone(base), own, defined_by, stored };
        match self.insert(id, entry) {
            (slot, None) => Ok(slot),
            (slot, Some(again)) => self.same(slot, &again.metric, &again.base, &again.own),
        }
    }

    /// The slot of a series that the journal or the database defined. What has another's id there is one with it in every
    /// frame and block, so a collision is only counted.
    pub fn series_from_labels(&self, metric: &Arc<MetricEntry>, labels: &Labels, stored: bool) -> Slot {
        let id = SeriesId::of(metric.id, labels);
        let (slot, known) = self.insert(
            id,
            SeriesEntry {
                id,
                metric: Arc::clone(metric),
                base: Arc::from([]),
                own: self.interner.intern_labels(labels),
                defined_by: AtomicI64::new(0),
                stored: AtomicBool::new(stored),
            },
        );
        if let Some(again) = known {
            let _counted = self.same(slot, &again.metric, &again.base, &again.own);
        }
        if stored && let Some(entry) = self.get(slot) {
            entry.stored.store(true, Ordering::Relaxed);
        }
        slot
    }

    /// `slot`, when what is in it has this identity.
    fn same(
        &self,
        slot: Slot,
        metric: &MetricEntry,
        base: &[(Symbol, Symbol)],
        own: &[(Symbol, Symbol)],
    ) -> Result<Slot, Collision> {
        let Some(known) = self.get(slot) else { return Ok(slot) };
        if known.metric.id == metric.id && *known.base == *base && *known.own == *own {
            return Ok(slot);
        }
        // The same labels may be divided in another way.
        let (known_labels, labels) = (self.labels(known), self.interner.labels(&[base, own]));
        if known.metric.metric == metric.metric && known_labels == labels {
            return Ok(slot);
        }
        if self.collisions.inc() == 0 {
            let (known_name, name) = (&known.metric.metric.name, &metric.metric.name);
            tracing::error!(known_name, ?known_labels, name, ?labels, "two series have the same id");
        }
        Err(Collision(known.id))
    }

    /// The slot of `id`, and `entry` again when there was one already.
    fn insert(&self, id: SeriesId, entry: SeriesEntry) -> (Slot, Option<SeriesEntry>) {
        let Some(shard) = self.by_id.get((id.0 >> 48) as usize % SHARDS) else { return (0, None) };
        let mut shard = shard.lock();
        if let Some(slot) = shard.find(id.0, |slot| self.slots.get(*slot as usize).is_some_and(|s| s.id == id)) {
            return (*slot, Some(entry));
        }
        let metric = Arc::clone(&entry.metric);
        let slot = self.slots.push(entry) as Slot;
        shard.insert_unique(id.0, slot, |slot| self.slots.get(*slot as usize).map_or(0, |s| s.id.0));
        metric.series.write().push(slot);
        (slot, None)
    }

    /// The slot of a known series.
    #[must_use]
    pub fn slot_of(&self, id: SeriesId) -> Option<Slot> {
        let shard = self.by_id.get((id.0 >> 48) as usize % SHARDS)?.lock();
        shard.find(id.0, |slot| self.slots.get(*slot as usize).is_some_and(|s| s.id == id)).copied()
    }

    /// The series in `slot`.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&SeriesEntry> {
        self.slots.get(slot as usize)
    }

    /// All labels of `entry`.
    #[must_use]
    pub fn labels(&self, entry: &SeriesEntry) -> Labels {
        self.interner.labels(&[&entry.base, &entry.own])
    }

    /// The labels of `entry` as symbols, in no particular order; names are unique.
    pub fn pairs<'a>(&self, entry: &'a SeriesEntry) -> impl Iterator<Item = (Symbol, Symbol)> + 'a {
        entry.base.iter().chain(&*entry.own).copied()
    }

    /// Number of series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.slots.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MetricKind, Temporality};

    #[test]
    fn an_id_that_another_series_has_is_found_and_counted() {
        let registry = Registry::default();
        let metric = |name: &str| {
            let (kind, temporality) = (MetricKind::Gauge, Temporality::None);
            registry.metric(Metric { name: name.into(), unit: "".into(), kind, temporality }, "")
        };
        let pairs = |labels: &[(&str, &str)]| registry.interner.intern_labels(&Labels::of(labels));
        let (temperature, service) = (metric("temperature"), Arc::from(pairs(&[("service.name", "shop")])));
        let id = registry.series_id(&temperature, &service, &pairs(&[("room", "a")]));
        let slot = registry.series(id, &temperature, &service, pairs(&[("room", "a")]));
        assert_eq!(slot, Ok(0));
        // The same, once more and divided in another way.
        assert_eq!(registry.series(id, &temperature, &service, pairs(&[("room", "a")])), slot);
        let whole = Labels::of(&[("room", "a"), ("service.name", "shop")]);
        assert_eq!(registry.series_from_labels(&temperature, &whole, true), 0);
        assert_eq!(
            registry.find(id, &temperature, &[], &pairs(&[("room", "a"), ("service.name", "shop")])),
            Ok(Some(0))
        );
        assert_eq!(registry.collisions.get(), 0);
        // Other labels and another metric, as if they had the same hash.
        assert_eq!(registry.find(id, &temperature, &service, &pairs(&[("room", "b")])), Err(Collision(id)));
        assert_eq!(registry.series(id, &temperature, &service, pairs(&[("room", "b")])), Err(Collision(id)));
        assert_eq!(registry.series(id, &metric("humidity"), &service, pairs(&[("room", "a")])), Err(Collision(id)));
        assert_eq!((registry.collisions.get(), registry.series_count()), (3, 1));
    }
}
