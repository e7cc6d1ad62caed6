//! What a walk over a body writes to: sections of points, refusals, exemplars; and how a point finds its series.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::attributes::{self, AttributeError};
use super::export::{Export, Section, Share, WalkError};
use super::memo::{Found, Memo};
use super::overflow::{Overflow, Taken, Total};
use super::points::{Common, LastBounds, millis};
use super::reject::RejectReason;
use super::resource::{Resource, Resources};
use super::service::{Offender, SeriesCaps};
use crate::model::{Labels, Metric, Temporality, TimeMs};
use crate::rollup::{MetricEntry, PointWriter, Registry, Shape, Slot, Symbol};

/// How far ahead of the server's clock a point may be.
const FUTURE_MAX_MS: i64 = 10 * 60 * 1000;

/// Most bytes of a series' labels together; they are journaled with it.
pub(super) const LABEL_BYTES_MAX: usize = 16 << 10;

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

/// Labels of a point as text.
pub(super) type OwnLabels<'p> = Vec<(Cow<'p, str>, String)>;

/// Walks one resource of a body.
pub(super) struct Walk<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) resource: &'a Arc<Resource>,
    pub(super) export: &'a mut Export,
    memo: MutexGuard<'a, Memo>,
    slots: Vec<Slot>,
    points: PointWriter,
    folded: u64,
    taken: Taken,
    /// Of the last explicit histogram.
    pub(super) bounds: LastBounds,
}

impl<'a> Walk<'a> {
    fn begin(context: &'a Context<'a>, resource: &'a Arc<Resource>, export: &'a mut Export) -> Self {
        let mut memo = resource.memo.lock();
        memo.begin();
        let slots = Vec::with_capacity(memo.expected_points());
        Self {
            context,
            resource,
            export,
            memo,
            slots,
            points: PointWriter::default(),
            folded: 0,
            taken: Taken::new(),
            bounds: LastBounds::default(),
        }
    }

    /// Puts the section together, and this resource's share of the export.
    fn finish(mut self, accepted: u64, rejected: u64) {
        let resource = Arc::clone(self.resource);
        self.export.shares.push(Share { resource, accepted, rejected, folded: self.folded, taken: self.taken });
        if !self.slots.is_empty() {
            let template = self.memo.template(self.context.registry, &self.slots);
            self.export.sections.push(Section { template, points: self.points.finish() });
        }
    }

    /// Counts a refusal.
    pub(super) fn reject(&mut self, metric: &MetricInScope, reason: RejectReason) {
        self.export.rejects.add(reason, 1, &metric.entry.metric.name);
    }

    /// Checks a point's time.
    #[inline]
    pub(super) fn check_time(&self, nanos: u64) -> Result<TimeMs, RejectReason> {
        let time = millis(nanos);
        if nanos == 0 {
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
        self.series_with(metric, hash, || {
            let pairs = attributes::pairs(raw, metric.attributes_field)?;
            Ok(pairs.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
        })
    }

    /// The series whose raw identity hashes to `hash`; `own` makes its labels when it is not remembered.
    #[inline]
    pub(super) fn series_with<'p>(
        &mut self,
        metric: &MetricInScope,
        hash: u128,
        own: impl FnOnce() -> Result<OwnLabels<'p>, AttributeError>,
    ) -> Result<Found, AttributeError> {
        if let Some(found) = self.memo.find(hash) {
            return Ok(found);
        }
        let own = own()?;
        let found = self.not_remembered(metric, &own)?;
        self.memo.insert(hash, found);
        Ok(found)
    }

    #[cold]
    fn not_remembered(&mut self, metric: &MetricInScope, own: &OwnLabels<'_>) -> Result<Found, AttributeError> {
        let registry = self.context.registry;
        let interner = &registry.interner;
        let base_bytes: usize =
            metric.base.iter().map(|(n, v)| interner.text(*n).len() + interner.text(*v).len()).sum();
        let bytes = base_bytes + own.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if bytes > LABEL_BYTES_MAX {
            return Err(AttributeError::Rejected(RejectReason::SeriesLabels));
        }
        // Text that has no symbol yet is of no known series, and gets none when the series is past the cap.
        let symbols = own.iter().map(|(n, v)| Some((interner.find(n)?, interner.find(v)?))).collect::<Option<Vec<_>>>();
        let identity = |symbols| {
            let (base, own) = self.settle_clashes(&metric.base, symbols);
            (registry.series_id(&metric.entry, &base, &own), base, own)
        };
        let known = symbols.map(identity);
        if let Some((id, base, own)) = &known
            && let Some(slot) = registry.find(*id, &metric.entry, base, own)?
        {
            return Ok(Found { slot, folded: false });
        }
        if !self.resource.admit(metric.entry.index, self.context.caps) {
            return Ok(Found { slot: self.overflow(metric, own), folded: true });
        }
        let (id, base, own) = known
            .unwrap_or_else(|| identity(own.iter().map(|(n, v)| (interner.intern(n), interner.intern(v))).collect()));
        self.export.defined_bytes += bytes;
        Ok(Found { slot: registry.series(id, &metric.entry, &base, own.into())?, folded: false })
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
    fn overflow(&mut self, metric: &MetricInScope, own: &OwnLabels<'_>) -> Slot {
        let service = &self.resource.service;
        let name: Arc<str> = Arc::from(&*metric.entry.metric.name);
        // A value that nothing else has is what makes the series many.
        let is_new = |value: &str| self.context.registry.interner.find(value).is_none();
        let attribute = own.iter().find(|(_, value)| is_new(value)).map(|(name, _)| Arc::from(&**name));
        if service.warns(self.context.now) {
            let by = attribute.as_ref().map(|name: &Arc<str>| format!(", attribute {name:?}")).unwrap_or_default();
            self.export.rejects.warn(format!(
                "service {:?} has reached its cap of series ({} a metric, {} in all) with metric {name:?}{by}: \
                 new series fold into otel.metric.overflow",
                service.name, self.context.caps.per_metric, self.context.caps.per_service
            ));
        }
        *service.offender.lock() = Some(Offender { metric: name, attribute });
        let labels = Labels::of(&[("service.name", &*service.name), (OVERFLOW, "true")]);
        let entry = overflow_metric(self.context.registry, &metric.entry);
        self.context.registry.series_from_labels(&entry, &labels, false)
    }

    /// What a cumulative total past the cap adds to the overflow series; `None` when it cannot be told.
    pub(super) fn difference(
        &mut self,
        raw: &[u8],
        metric: &MetricInScope,
        (start, time): (TimeMs, TimeMs),
        total: Total,
    ) -> Option<Total> {
        let identity = xxh3_128_with_seed(raw, metric.seed);
        let known_since = self.context.started - FUTURE_MAX_MS;
        let added = self.memo.overflow.take(identity, (start, time), total, known_since)?;
        Overflow::note(&mut self.taken, identity, &added);
        Some(added)
    }

    /// Counts a point that was folded.
    pub(super) fn count_folded(&mut self) {
        self.folded += 1;
    }

    /// Takes a point.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot, common: &mut Common<'_>, write: impl FnOnce(&mut PointWriter)) {
        self.slots.push(slot);
        write(&mut self.points);
        self.export.accepted += 1;
        if !common.exemplars.is_empty() {
            self.export.exemplars.extend(common.exemplars.drain(..).map(|exemplar| (slot, exemplar)));
        }
    }
}

/// Cumulative totals of many series cannot share one; their differences can.
fn overflow_metric(registry: &Registry, entry: &Arc<MetricEntry>) -> Arc<MetricEntry> {
    let metric = &*entry.metric;
    if !matches!(Shape::of(metric), Shape::Counter | Shape::HistogramRuns) {
        return Arc::clone(entry);
    }
    registry.metric(Metric { temporality: Temporality::Delta, ..metric.clone() }, &entry.description)
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
    let walked = walk(&mut running);
    let (accepted, rejected) = (running.export.accepted - accepted, running.export.rejects.total() - rejected);
    running.finish(accepted, rejected);
    resource.service.last_seen.store(context.now, Ordering::Relaxed);
    walked
}
