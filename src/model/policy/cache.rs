//! How the cache of one key space behaves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Period;

/// How reads and writes go through a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheStrategy {
    /// A miss loads and fills; a write goes to the source, and the entry is removed.
    #[default]
    Aside,
    /// A write goes to the source and then, in the same call, into the cache.
    Through,
    /// A write goes into the cache and a durable queue, and to the source in batches.
    Behind,
}

/// How values are made smaller in L2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By zstd.
    Zstd,
    /// By gzip.
    Gzip,
}

/// How often, and when again, something that failed is tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPolicy {
    /// Tries, the first among them; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The greatest wait before the second try, doubled with each; 100 ms by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Period>,
    /// The greatest wait before any; 10 s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Period>,
    /// Retries allowed for each success; 0.1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_ratio: Option<f64>,
    /// Retries allowed beyond that; 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_reserve: Option<u32>,
}

/// How the cache of one key space behaves. What is left out is as by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CachePolicy {
    /// Who writes when.
    #[serde(default)]
    pub strategy: CacheStrategy,
    /// How long an entry is fresh in memory; 1 min by default, 0 keeps nothing there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l1_ttl: Option<Period>,
    /// How long an entry is fresh in Redis; 1 h by default, 0 keeps nothing there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_ttl: Option<Period>,
    /// Each TTL is shortened by up to this share; 0.1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_jitter: Option<f64>,
    /// Most bytes in memory, what keeping it costs included; 64 MiB by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l1_max_bytes: Option<u64>,
    /// Smaller in Redis; never larger than plain.
    #[serde(default)]
    pub compression: Compression,
    /// Values from this size on are compressed; 1 KiB by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_threshold_bytes: Option<u32>,
    /// The loader, and calls to Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long past its TTL an entry is served when it cannot be loaded; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Period>,
    /// How long past its TTL an entry is served while one call loads it anew; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Period>,
    /// How long before its end an entry may be loaded anew, the likelier the nearer and the dearer (`XFetch`); 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_refresh: Option<Period>,
    /// Of all instances, one loads a missing key, for at most so long; 0: each for itself. 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Period>,
    /// How long "there is none" is remembered; 0 by default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative_ttl: Option<Period>,
    /// How long a loader may take; 10 s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_timeout: Option<Period>,
    /// How long Redis may take before the call goes on without it; 100 ms by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_timeout: Option<Period>,
    /// Write-behind: most writes that wait; 10 000 by default. One more goes straight to the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_queue: Option<u32>,
    /// Write-behind: most writes in a batch; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_batch: Option<u32>,
    /// Write-behind: how long a write waits for company; 100 ms by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_wait: Option<Period>,
    /// An instance that has not heard of the server for so long reads no entry from memory; 10 s by default. 0: it goes on
    /// reading, and an invalidation waits for `l1Ttl` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coherence_lease: Option<Period>,
    /// Keys that are kept warm: the most asked for, weighed by what they cost to load; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_keys: Option<u32>,
    /// Keys watched for the miss-ratio curve, of all by hash; 0.01 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
    /// Straight to the source, as if there were no cache.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bypass: bool,
}
