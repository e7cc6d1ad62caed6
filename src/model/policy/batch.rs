//! How one batcher gathers calls.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RetryPolicy;
use crate::model::Period;

/// How often calls are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RatePolicy {
    /// Calls a second in the long run.
    pub per_second: f64,
    /// Calls that may be made at once after a rest; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// One bucket in Redis for all instances; each its own otherwise.
    #[serde(default)]
    pub shared: bool,
}

/// How one batcher gathers calls. What is left out is as by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchPolicy {
    /// Most items in a batch; 50 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u32>,
    /// Most bytes in a batch; 1 MiB by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// How long an item waits for company; 20 ms by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Period>,
    /// Batches under way at once; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_batches: Option<u32>,
    /// Items that wait or are under way; 10 000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u32>,
    /// How long one call may take; 10 s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_timeout: Option<Period>,
    /// How long an item may take in all; 30 s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
    /// Equal items share an answer; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicate: Option<bool>,
    /// Unlimited when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RatePolicy>,
    /// What failed is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// What batching may add to the p95 of an item; the wait is then chosen by the rate of arrival. None when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_budget: Option<Period>,
}
