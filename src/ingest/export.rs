//! One export on its way: what the walk makes of a body, what the committer writes, what the head applies.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::overflow::Taken;
use super::reject::Rejects;
use super::resource::Resource;
use super::statement::Part;
use super::wire::WireError;
use crate::model::Exemplar;
use crate::rollup::{Slot, Template};
use crate::traces::{ExportSpans, Marks};

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `ExportMetricsServiceRequest`.
    Metrics,
    /// `ExportTraceServiceRequest`.
    Traces,
}

impl Signal {
    /// The label value under which it is counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// Points of one resource, in template order.
#[derive(Debug)]
pub struct Section {
    /// Which series.
    pub template: Arc<Template>,
    /// As [`crate::rollup::PointWriter`] writes them.
    pub points: Vec<u8>,
}

/// A statement of a database, or a part of one, in a body.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) part: Part,
    pub(super) at: Range<usize>,
    /// The value of `db.system`.
    pub(super) system: Arc<str>,
}

/// A walked export.
#[derive(Debug, Default)]
pub struct Export {
    /// Points by resource.
    pub sections: Vec<Section>,
    /// What each resource has in it.
    pub(super) shares: Vec<Share>,
    /// Bytes of the labels of series never seen before, which go into the journal with it.
    pub(super) defined_bytes: usize,
    /// Traces that its spans ask to keep.
    pub(super) marks: Marks,
    /// Where statements of databases stand in the body.
    pub(super) statements: Vec<Statement>,
    /// Its spans for the spool, once the walk is over.
    pub(super) spans: Option<ExportSpans>,
    /// Exemplars by series.
    pub exemplars: Vec<(Slot, Exemplar)>,
    /// Data points or spans taken.
    pub accepted: u64,
    /// Data points or spans refused.
    pub rejects: Rejects,
}

impl Export {
    /// Counts it for its services, once it is committed or there is nothing to commit.
    pub(super) fn settle(&mut self) {
        for mut share in self.shares.drain(..) {
            let service = &share.resource.service;
            service.accepted.fetch_add(share.accepted, Ordering::Relaxed);
            service.rejected.fetch_add(share.rejected, Ordering::Relaxed);
            service.folded.fetch_add(share.folded, Ordering::Relaxed);
            share.taken.clear();
        }
    }

    /// Forgets its shares: an earlier attempt counted them.
    pub(super) fn settle_duplicate(&mut self) {
        self.shares.drain(..).for_each(|mut share| share.taken.clear());
    }
}

/// What one resource has in an export. Dropped before the export is settled, it gives the differences back.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) resource: Arc<Resource>,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) folded: u64,
    pub(super) taken: Taken,
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.resource.memo.lock().overflow.give_back(std::mem::take(&mut self.taken));
        }
    }
}

/// A body that cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {source}")]
pub struct WalkError {
    /// Field path of the message that is damaged.
    pub path: &'static str,
    /// What is wrong with it.
    pub source: WireError,
}

/// Names the message in which `result` failed.
pub(super) fn at<T>(path: &'static str, result: Result<T, WireError>) -> Result<T, WalkError> {
    result.map_err(|source| WalkError { path, source })
}
