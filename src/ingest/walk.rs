//! What a walk over a body writes to: sections of points, refusals, exemplars; and how a point finds its series.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::attributes::{self, AttributeError};
use super::export::{Export, Section, WalkError};
use super::memo::{EntryIndex, Folded, Memo};
use super::points::{Common, millis};
use super::reject::RejectReason;
use super::resource::{Resource, Resources, SeriesCaps};
use crate::model::{Labels, Metric, MetricKind, Run, Temporality, TimeMs};
use crate::rollup::{LabelPairs, MetricEntry, PointWriter, Registry, Shape, Slot, Symbol};

/// How far ahead of the server's clock a point may be.
const FUTURE_MAX_MS: i64 = 10 * 60 * 1000;

/// What every walk needs to know.
pub(super) struct Context<'a> {
    pub(super) registry: &'a Registry,
    pub(super) resources: &'a Resources,
    pub(super) caps: SeriesCaps,
    /// When the request came.
    pub(super) now: TimeMs,
    /// Older points are refused.
    pub(super) oldest: TimeMs,
    /// When this process started.
    pub(super) started: TimeMs,
}

/// Marks the series that takes what is past the caps, as OpenTelemetry's SDKs mark theirs.
const OVERFLOW: &str = "otel.metric.overflow";

/// Labels of a resource and scope, shared by all their points.
type BasePairs = Arc<[(Symbol, Symbol)]>;

/// The metric being walked.
pub(super) struct MetricInScope {
    pub(super) entry: Arc<MetricEntry>,
    pub(super) shape: Shape,
    /// Seeds the identity hashes of its points.
    pub(super) seed: u64,
    /// Labels of resource and scope.
    pub(super) base: BasePairs,
    /// Number of the attributes field in its points.
    pub(super) attributes_field: u32,
}

/// A series found: in the memo at `entry`, folded into the overflow series or not.
pub(super) struct Found {
    pub(super) slot: Slot,
    pub(super) entry: EntryIndex,
}

/// Walks one resource of a body.
pub(super) struct Walk<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) resource: &'a Resource,
    pub(super) export: &'a mut Export,
    memo: MutexGuard<'a, Memo>,
    slots: Vec<Slot>,
    points: PointWriter,
}

impl<'a> Walk<'a> {
    pub(super) fn begin(context: &'a Context<'a>, resource: &'a Resource, export: &'a mut Export) -> Self {
        let mut memo = resource.memo.lock();
        memo.begin();
        Self { context, resource, export, memo, slots: Vec::new(), points: PointWriter::default() }
    }

    /// Puts the section together.
    pub(super) fn finish(mut self) {
        if self.slots.is_empty() {
            return;
        }
        let template = self.memo.template(self.context.registry, &self.slots);
        self.export.sections.push(Section { template, points: self.points.finish() });
    }

    /// Counts a refusal.
    pub(super) fn reject(&mut self, metric: &MetricInScope, reason: RejectReason) {
        self.export.rejects.add(reason, 1, &metric.entry.metric.name);
    }

    /// Checks a point's time.
    #[inline]
    pub(super) fn check_time(&self, common: &Common<'_>) -> Result<TimeMs, RejectReason> {
        let time = millis(common.time);
        if common.time == 0 {
            Err(RejectReason::NoTime)
        } else if time > self.context.now + FUTURE_MAX_MS {
            Err(RejectReason::Future)
        } else if time < self.context.oldest {
            Err(RejectReason::TooOld)
        } else {
            Ok(time)
        }
    }

    /// The series of a point: expected, looked up, or made.
    #[inline]
    pub(super) fn series(&mut self, metric: &MetricInScope, raw: &[u8]) -> Result<Found, AttributeError> {
        let hash = xxh3_128_with_seed(raw, metric.seed);
        self.series_with(metric, hash, |walk| {
            let interner = &walk.context.registry.interner;
            let pairs = attributes::pairs(raw, metric.attributes_field)?;
            Ok(pairs.iter().map(|(name, value)| (interner.intern(name), interner.intern(value))).collect())
        })
    }

    /// The series whose raw identity hashes to `hash`; `own` makes its labels when it was never seen.
    #[inline]
    pub(super) fn series_with(
        &mut self,
        metric: &MetricInScope,
        hash: u128,
        own: impl FnOnce(&Self) -> Result<LabelPairs, AttributeError>,
    ) -> Result<Found, AttributeError> {
        if let Some((entry, slot)) = self.memo.find(hash) {
            return Ok(Found { slot, entry });
        }
        let own = own(self)?;
        let slot = self.first_seen(metric, own.into_vec());
        Ok(Found { slot, entry: self.memo.insert(hash, slot) })
    }

    #[cold]
    fn first_seen(&mut self, metric: &MetricInScope, own: Vec<(Symbol, Symbol)>) -> Slot {
        let (base, own) = self.settle_clashes(&metric.base, own);
        let admit = || self.resource.service.admit(metric.entry.index, self.context.caps);
        let made = self.context.registry.series(&metric.entry, &base, own.into(), admit);
        made.unwrap_or_else(|| self.overflow(metric))
    }

    /// A data-point attribute wins over the resource's of the same name, which is kept under `resource_<name>`.
    fn settle_clashes(&self, base: &BasePairs, mut own: Vec<(Symbol, Symbol)>) -> (BasePairs, Vec<(Symbol, Symbol)>) {
        if !base.iter().any(|(name, _)| own.iter().any(|(mine, _)| mine == name)) {
            return (Arc::clone(base), own);
        }
        let interner = &self.context.registry.interner;
        let points = own.len();
        for (name, value) in base.iter() {
            let clash = own.iter().take(points).any(|(mine, _)| mine == name);
            let name = if clash { interner.intern(&format!("resource_{}", interner.text(*name))) } else { *name };
            own.push((name, *value));
        }
        (Arc::from([]), own)
    }

    /// The series that takes what is past the caps; its totals stay exact.
    fn overflow(&mut self, metric: &MetricInScope) -> Slot {
        let service = &self.resource.service;
        let name: Arc<str> = Arc::from(&*metric.entry.metric.name);
        if service.warns(self.context.now) {
            self.export.rejects.warn(format!(
                "service {:?} has reached its cap of series ({} a metric, {} in all) with metric {name:?}: \
                 new series fold into otel.metric.overflow",
                service.name, self.context.caps.per_metric, self.context.caps.per_service
            ));
        }
        *service.offender.lock() = Some(name);
        let labels = Labels::of(&[("service.name", &*service.name), (OVERFLOW, "true")]);
        let entry = overflow_metric(self.context.registry, &metric.entry);
        self.context.registry.series_from_labels(&entry, &labels, false)
    }

    /// True when the series in `slot` is not `metric`'s own but the one past the caps.
    #[inline]
    pub(super) fn is_overflow(&self, metric: &MetricInScope, slot: Slot) -> bool {
        // Gauges and deltas go into the overflow series as they are, so only a changed metric matters.
        self.context.registry.get(slot).is_some_and(|entry| entry.metric.index != metric.entry.index)
    }

    /// True when other senders' series may share the one in `slot`.
    pub(super) fn is_shared(&self, slot: Slot) -> bool {
        let registry = self.context.registry;
        registry.get(slot).is_some_and(|entry| registry.labels(entry).get(OVERFLOW).is_some())
    }

    /// What a cumulative total beyond the cap adds to the overflow series.
    pub(super) fn difference(&mut self, entry: EntryIndex, run: Run) -> f64 {
        self.resource.service.folded.fetch_add(1, Ordering::Relaxed);
        let last = self.memo.folded.insert(entry, Folded { start: run.start, value: run.value });
        match last {
            Some(last) if last.start == run.start && last.value <= run.value => run.value - last.value,
            Some(_) => run.value,
            // A run from before this process was perhaps counted by the one before it.
            None if run.start != 0 && run.start < self.context.started - FUTURE_MAX_MS => 0.0,
            None => run.value,
        }
    }

    /// Takes a point.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot, common: &mut Common<'_>, write: impl FnOnce(&mut PointWriter)) {
        self.slots.push(slot);
        write(&mut self.points);
        self.export.accepted += 1;
        for exemplar in common.exemplars.drain(..) {
            self.export.exemplars.push((slot, exemplar));
        }
    }
}

/// Cumulative totals of many series cannot share one; their differences can.
fn overflow_metric(registry: &Registry, entry: &Arc<MetricEntry>) -> Arc<MetricEntry> {
    let metric = &*entry.metric;
    if Shape::of(metric) != Shape::Counter {
        return Arc::clone(entry);
    }
    let delta = Metric { temporality: Temporality::Delta, kind: MetricKind::Counter, ..metric.clone() };
    registry.metric(delta, &entry.description)
}

/// Runs `walk` over the resource whose message is `raw`, or counts `count` refusals when its attributes are bad.
pub(super) fn with_resource(
    context: &Context<'_>,
    export: &mut Export,
    raw: &[u8],
    walk: impl FnOnce(&mut Walk<'_>) -> Result<(), WalkError>,
    refuse: impl FnOnce(&mut Export, RejectReason) -> Result<(), WalkError>,
) -> Result<(), WalkError> {
    let resource = match context.resources.get(context.registry, raw, context.now) {
        Ok(resource) => resource,
        Err(AttributeError::Wire(source)) => return Err(WalkError { path: "resource.attributes", source }),
        Err(AttributeError::Rejected(reason)) => return refuse(export, reason),
    };
    let (accepted, rejected) = (export.accepted, export.rejects.total());
    let mut running = Walk::begin(context, &resource, export);
    walk(&mut running)?;
    running.finish();
    let service = &resource.service;
    service.accepted.fetch_add(export.accepted - accepted, Ordering::Relaxed);
    service.rejected.fetch_add(export.rejects.total() - rejected, Ordering::Relaxed);
    service.last_seen.store(context.now, Ordering::Relaxed);
    Ok(())
}
