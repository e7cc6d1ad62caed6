//! `ExportMetricsServiceRequest` walked in place.
//!
//! Field numbers are those of `opentelemetry/proto/{collector/metrics,metrics}/v1`.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::attributes::{AttributeError, VALUE_MAX, plain};
use super::export::{Export, WalkError, at};
use super::memo::Found;
use super::overflow::Total;
use super::points::{self, Common, Number, millis};
use super::reject::RejectReason;
use super::resource::{scope_hash, scope_labels};
use super::walk::{Context, MetricInScope, Walk, with_resource};
use super::wire::{Fields, WireError};
use crate::model::{Metric, MetricKind, Run, Temporality, TimeMs};
use crate::rollup::{Shape, Symbol};

const NAME_MAX: usize = 255;
/// What is kept of a unit, in bytes.
const UNIT_MAX: usize = 255;

/// Walks a body.
pub(super) fn walk(context: &Context<'_>, body: &[u8]) -> Result<Export, WalkError> {
    let mut export = Export::default();
    let mut fields = Fields::new(body);
    while let Some((field, value)) = at("ExportMetricsServiceRequest", fields.next_field())? {
        if field == 1 {
            let message = at("resource_metrics", value.bytes(field))?;
            // Nothing in it: a body of such must cost no more than its bytes.
            if !message.is_empty() {
                resource_metrics(context, &mut export, message)?;
            }
        }
    }
    Ok(export)
}

fn resource_metrics(context: &Context<'_>, export: &mut Export, message: &[u8]) -> Result<(), WalkError> {
    let resource = at("resource_metrics", find(message, 1))?.unwrap_or_default();
    with_resource(
        context,
        export,
        resource,
        |walk| {
            let mut fields = Fields::new(message);
            while let Some((field, value)) = at("resource_metrics", fields.next_field())? {
                if field == 2 {
                    scope_metrics(walk, at("scope_metrics", value.bytes(field))?)?;
                }
            }
            Ok(())
        },
        |export, reason| {
            let n = at("resource_metrics", count_points(message))?;
            export.rejects.add(reason, n, "resource");
            Ok(())
        },
    )
}

/// The first field numbered `number` of a message.
pub(super) fn find(message: &[u8], number: u32) -> Result<Option<&[u8]>, WireError> {
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == number {
            return value.bytes(field).map(Some);
        }
    }
    Ok(None)
}

/// Data points of a `ResourceMetrics`, whatever their kind.
fn count_points(message: &[u8]) -> Result<u64, WireError> {
    let mut n = 0;
    let mut scopes = Fields::new(message);
    while let Some((field, scope)) = scopes.next_field()? {
        if field != 2 {
            continue;
        }
        let mut metrics = Fields::new(scope.bytes(field)?);
        while let Some((field, metric)) = metrics.next_field()? {
            if field == 2 {
                n += Header::read(metric.bytes(field)?)?.points()?;
            }
        }
    }
    Ok(n)
}

fn scope_metrics(walk: &mut Walk<'_>, message: &[u8]) -> Result<(), WalkError> {
    let scope = at("scope_metrics", find(message, 1))?.unwrap_or_default();
    let seed = scope_hash(scope);
    let mut base = None;
    let mut fields = Fields::new(message);
    while let Some((field, value)) = at("scope_metrics", fields.next_field())? {
        if field == 2 {
            let header = at("metrics", value.bytes(field).and_then(Header::read))?;
            let base = match &base {
                Some(base) => base,
                None => base.insert(base_labels(walk, scope)?),
            };
            metric(walk, &header, seed, base)?;
        }
    }
    Ok(())
}

/// Labels of resource and scope.
fn base_labels(walk: &Walk<'_>, scope: &[u8]) -> Result<Arc<[(Symbol, Symbol)]>, WalkError> {
    let mut base: Vec<(Symbol, Symbol)> = walk.resource.labels.to_vec();
    base.extend(at("scope_metrics.scope", scope_labels(walk.context.registry, scope))?);
    Ok(base.into())
}

/// A `Metric` message, its points not walked yet.
#[derive(Default)]
struct Header<'a> {
    name: &'a [u8],
    unit: &'a [u8],
    description: &'a [u8],
    /// Field number of the data oneof, 0 when there is none that we know.
    kind: u32,
    data: &'a [u8],
    temporality: u64,
    monotonic: bool,
}

impl<'a> Header<'a> {
    fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut out = Self::default();
        let mut fields = Fields::new(message);
        while let Some((field, value)) = fields.next_field()? {
            match field {
                1 => out.name = value.bytes(field)?,
                2 => out.description = value.bytes(field)?,
                3 => out.unit = value.bytes(field)?,
                5 | 7 | 9 | 10 | 11 => (out.kind, out.data) = (field, value.bytes(field)?),
                _ => {}
            }
        }
        if matches!(out.kind, 7 | 9 | 10) {
            let mut fields = Fields::new(out.data);
            while let Some((field, value)) = fields.next_field()? {
                match field {
                    2 => out.temporality = value.varint(field)?,
                    3 => out.monotonic = value.varint(field)? != 0,
                    _ => {}
                }
            }
        }
        Ok(out)
    }

    /// Number of data points; one for data that we do not know, so that its loss is told.
    fn points(&self) -> Result<u64, WireError> {
        if self.kind == 0 {
            return Ok(1);
        }
        let mut n = 0;
        let mut fields = Fields::new(self.data);
        while let Some((field, _)) = fields.next_field()? {
            n += u64::from(field == 1);
        }
        Ok(n)
    }

    fn identity(&self) -> Result<Metric, RejectReason> {
        let name = std::str::from_utf8(self.name).ok().filter(|name| !name.is_empty() && name.len() <= NAME_MAX);
        let name = name.filter(|name| !name.contains('\0'));
        let name = name.ok_or(RejectReason::MetricName)?.into();
        let temporality = match (self.kind, self.temporality) {
            (5 | 11, _) => Temporality::None,
            (_, 1) => Temporality::Delta,
            (_, 2) => Temporality::Cumulative,
            _ => return Err(RejectReason::Temporality),
        };
        let kind = match (self.kind, self.monotonic) {
            (5, _) => MetricKind::Gauge,
            (7, true) => MetricKind::Counter,
            (7, false) => MetricKind::UpDownCounter,
            (9, _) => MetricKind::Histogram,
            (10, _) => MetricKind::ExponentialHistogram,
            (11, _) => MetricKind::Summary,
            _ => return Err(RejectReason::UnsupportedType),
        };
        Ok(Metric { name, unit: plain(self.unit, UNIT_MAX).into(), kind, temporality })
    }

    fn hash(&self, seed: u64) -> u64 {
        let seed = xxh3_64_with_seed(self.name, seed ^ u64::from(self.kind));
        xxh3_64_with_seed(self.unit, seed ^ (self.temporality << 1 | u64::from(self.monotonic)))
    }
}

fn metric(
    walk: &mut Walk<'_>,
    header: &Header<'_>,
    seed: u64,
    base: &Arc<[(Symbol, Symbol)]>,
) -> Result<(), WalkError> {
    let identity = match if header.kind == 0 { Err(RejectReason::UnsupportedType) } else { header.identity() } {
        Ok(identity) => identity,
        Err(reason) => {
            let n = at("metrics.data", header.points())?;
            walk.export.rejects.add(reason, n, &String::from_utf8_lossy(header.name));
            return Ok(());
        }
    };
    let registry = walk.context.registry;
    let known = registry.metric_by_id(identity.id());
    if known.is_none() && !walk.resource.service.admit_metric() {
        let n = at("metrics.data", header.points())?;
        walk.export.rejects.add(RejectReason::MetricCount, n, &identity.name);
        return Ok(());
    }
    let entry = known.unwrap_or_else(|| registry.metric(identity, &plain(header.description, VALUE_MAX)));
    let metric = MetricInScope {
        shape: Shape::of(&entry.metric),
        entry,
        seed: header.hash(seed),
        base: Arc::clone(base),
        attributes_field: match header.kind {
            9 => 9,
            10 => 1,
            _ => 7,
        },
    };
    let mut fields = Fields::new(header.data);
    while let Some((field, value)) = at("metrics.data", fields.next_field())? {
        if field != 1 {
            continue;
        }
        let message = at("metrics.data.data_points", value.bytes(field))?;
        let taken = match header.kind {
            9 => points::explicit(message, &mut walk.bounds).and_then(|point| distribution(walk, &metric, point)),
            10 => points::exponential(message).and_then(|point| distribution(walk, &metric, point)),
            11 => points::summary(message).and_then(|point| summary(walk, &metric, point)),
            _ => number(walk, &metric, message),
        };
        at("metrics.data.data_points", taken)?;
    }
    Ok(())
}

/// Finds the series of a point and hands it to `take`, or counts why not.
#[inline]
fn with_series<'p>(
    walk: &mut Walk<'_>,
    metric: &MetricInScope,
    common: &mut Common<'p>,
    checked: Result<(), RejectReason>,
    take: impl FnOnce(&mut Walk<'_>, Found, TimeMs, &mut Common<'p>) -> Result<(), RejectReason>,
) -> Result<(), WireError> {
    let time = match checked.and_then(|()| walk.check_time(common.time)) {
        Ok(time) => time,
        Err(reason) => {
            walk.reject(metric, reason);
            return Ok(());
        }
    };
    let taken = match walk.series(metric, common.attributes.bytes()) {
        // One of those folded into an overflow series has ended, not the overflow series.
        Ok(found) if common.is_stale() && found.folded => {
            walk.export.accepted += 1;
            Ok(())
        }
        Ok(found) if common.is_stale() => {
            walk.push(found.slot, common, |points| points.stale(time));
            Ok(())
        }
        Ok(found) => take(walk, found, time, common),
        Err(AttributeError::Wire(error)) => return Err(error),
        Err(AttributeError::Rejected(reason)) => Err(reason),
    };
    if let Err(reason) = taken {
        walk.reject(metric, reason);
    }
    Ok(())
}

#[inline]
fn number(walk: &mut Walk<'_>, metric: &MetricInScope, message: &[u8]) -> Result<(), WireError> {
    let mut point = Number::default();
    points::number(message, &mut point)?;
    let Number { mut common, value: told } = point;
    let value = told.unwrap_or_default();
    let checked = if common.is_stale() {
        Ok(())
    } else if told.is_none() {
        Err(RejectReason::NoValue)
    } else if metric.entry.metric.kind == MetricKind::Gauge {
        Ok(())
    } else if !value.is_finite() {
        Err(RejectReason::NotFinite)
    } else if value < 0.0 && metric.entry.metric.kind == MetricKind::Counter {
        Err(RejectReason::NegativeMonotonic)
    } else {
        Ok(())
    };
    let start = millis(common.start);
    with_series(walk, metric, &mut common, checked, |walk, found, time, common| {
        if !found.folded && metric.shape == Shape::Counter {
            walk.push(found.slot, common, |points| points.total(Run { start, time, value }));
            return Ok(());
        }
        let mut value = value;
        if found.folded {
            walk.count_folded();
            if metric.shape == Shape::Counter {
                let added = walk.difference(common.attributes.bytes(), metric, (start, time), Total::Value(value));
                let Some(Total::Value(added)) = added else { return Err(RejectReason::SeriesCap) };
                value = added;
            }
        }
        walk.push(found.slot, common, |points| points.value(time, value));
        Ok(())
    })
}

fn distribution(walk: &mut Walk<'_>, metric: &MetricInScope, point: points::Distribution<'_>) -> Result<(), WireError> {
    let points::Distribution { mut common, histogram } = point;
    let start = millis(common.start);
    let checked = match &histogram {
        Err(reason) if !common.is_stale() => Err(*reason),
        _ => Ok(()),
    };
    with_series(walk, metric, &mut common, checked, |walk, found, time, common| {
        let Ok(histogram) = histogram else { return Ok(()) };
        if !found.folded {
            walk.push(found.slot, common, |points| match metric.shape {
                Shape::Histogram => points.histogram(time, &histogram),
                _ => points.histogram_total(start, time, &histogram),
            });
            return Ok(());
        }
        walk.count_folded();
        let mut added = Box::new(histogram);
        if metric.shape == Shape::HistogramRuns {
            let difference = walk.difference(common.attributes.bytes(), metric, (start, time), Total::Histogram(added));
            let Some(Total::Histogram(difference)) = difference else { return Err(RejectReason::SeriesCap) };
            added = difference;
        }
        walk.push(found.slot, common, |points| points.histogram(time, &added));
        Ok(())
    })
}

fn summary(walk: &mut Walk<'_>, metric: &MetricInScope, point: points::SummaryPoint<'_>) -> Result<(), WireError> {
    let points::SummaryPoint { mut common, summary } = point;
    let checked = match &summary {
        Err(reason) if !common.is_stale() => Err(*reason),
        _ => Ok(()),
    };
    with_series(walk, metric, &mut common, checked, |walk, found, _, common| {
        let Ok(summary) = summary else { return Ok(()) };
        if found.folded {
            return Err(RejectReason::SeriesCap);
        }
        walk.push(found.slot, common, |points| points.summary(&summary));
        Ok(())
    })
}
