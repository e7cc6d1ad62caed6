//! One export on its way: what the walk makes of a body, what the committer writes, what the head applies.

use std::sync::Arc;

use super::reject::Rejects;
use super::wire::WireError;
use crate::model::Exemplar;
use crate::rollup::{Slot, Template};

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

/// A walked export.
#[derive(Debug, Default)]
pub struct Export {
    /// Points by resource.
    pub sections: Vec<Section>,
    /// Exemplars by series.
    pub exemplars: Vec<(Slot, Exemplar)>,
    /// Data points or spans taken.
    pub accepted: u64,
    /// Data points or spans refused.
    pub rejects: Rejects,
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
