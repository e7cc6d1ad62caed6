//! The order of series in compacted blocks: a query that wants some of a metric's series then finds them in few blocks.
//!
//! Ids are hashes: ordered by them every block holds some of everything. Services come first, then their instances, since
//! that is what most queries choose by; then the other labels by name. The order is of no meaning to readers. Pure: no I/O.

use std::sync::Arc;

use super::block::BlockSeries;
use super::registry::Registry;
use crate::model::{Labels, SeriesId};

/// Labels that come before the others.
const FIRST: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// What series are ordered by. Those whose labels nobody knows come last.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    is_unknown: bool,
    first: [Option<Arc<str>>; 3],
    labels: Labels,
    id: SeriesId,
}

/// Puts `series` in order; returns those whose labels are not known.
pub(super) fn sort(registry: &Registry, series: &mut [BlockSeries]) -> Vec<SeriesId> {
    let mut unknown = Vec::new();
    series.sort_by_cached_key(|one| {
        let entry = registry.slot_of(one.id).and_then(|slot| registry.get(slot));
        let labels = entry.map(|entry| registry.labels(entry));
        if labels.is_none() {
            unknown.push(one.id);
        }
        let is_unknown = labels.is_none();
        let labels = labels.unwrap_or_default();
        let first = FIRST.map(|name| labels.get(name).map(Arc::from));
        Place { is_unknown, first, labels, id: one.id }
    });
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Metric, MetricKind, Temporality};

    #[test]
    fn series_of_an_instance_stand_together_and_unknown_ones_last() {
        let registry = Registry::default();
        let (kind, temporality) = (MetricKind::Gauge, Temporality::None);
        let metric = registry.metric(Metric { name: "m".into(), unit: "".into(), kind, temporality }, "");
        let mut ids = Vec::new();
        for instance in ["a", "b", "c"] {
            for route in ["/1", "/2"] {
                let labels = Labels::of(&[("http.route", route), ("service.instance.id", instance)]);
                let slot = registry.series_from_labels(&metric, &labels, true);
                ids.push(registry.get(slot).expect("just added").id);
            }
        }
        ids.push(SeriesId(7));
        let block = |id: &SeriesId| BlockSeries { id: *id, windows: Vec::new(), exemplars: Vec::new() };
        let mut series: Vec<BlockSeries> = ids.iter().rev().map(block).collect();
        assert_eq!(sort(&registry, &mut series), [SeriesId(7)]);
        assert_eq!(series.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
    }
}
