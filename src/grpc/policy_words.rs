//! Policies in the proto's words and in ours.

use std::collections::BTreeMap;

use prost_types::Duration;
use tonic::Status;

use super::convert::{bad_field, duration, period, timestamp};
use crate::model::{self, Period, StoredPolicy};
use crate::proto;

/// A policy that is kept.
pub(super) fn stored(kept: &StoredPolicy) -> proto::Policy {
    proto::Policy {
        revision: kept.revision,
        created_at: Some(timestamp(kept.created_at)),
        updated_at: Some(timestamp(kept.updated_at)),
        author: kept.author.clone(),
        reason: kept.reason.clone(),
        ..written(&kept.policy)
    }
}

/// A policy as it was written.
pub(super) fn written(policy: &model::Policy) -> proto::Policy {
    let (selector, bounds) = (&policy.selector, &policy.bounds);
    let cache = policy.cache.as_ref().map(|policy| proto::policy::Kind::Cache(cache(policy)));
    let batch = policy.batch.as_ref().map(|policy| proto::policy::Kind::Batch(batch(policy)));
    proto::Policy {
        id: policy.id.clone(),
        name: policy.name.clone(),
        selector: Some(proto::PolicySelector {
            service: selector.service.clone(),
            target: selector.target.clone(),
            labels: selector.labels.clone().into_iter().collect(),
        }),
        kind: cache.or(batch),
        bounds: Some(proto::OverrideBounds {
            max_ttl: bounds.max_ttl.map(duration),
            min_rate: bounds.min_rate,
            max_lease: bounds.max_lease.map(duration),
        }),
        enabled: Some(policy.enabled),
        ..proto::Policy::default()
    }
}

fn retry(policy: &model::RetryPolicy) -> proto::RetryPolicy {
    proto::RetryPolicy {
        attempts: policy.attempts,
        base: policy.base.map(duration),
        max: policy.max.map(duration),
        budget_ratio: policy.budget_ratio,
        budget_reserve: policy.budget_reserve,
    }
}

/// A cache policy for an instance, or to be shown.
pub(super) fn cache(policy: &model::CachePolicy) -> proto::CachePolicy {
    let strategy = match policy.strategy {
        model::CacheStrategy::Aside => proto::CacheStrategy::Aside,
        model::CacheStrategy::Through => proto::CacheStrategy::Through,
        model::CacheStrategy::Behind => proto::CacheStrategy::Behind,
    };
    let compression = match policy.compression {
        model::Compression::None => proto::Compression::None,
        model::Compression::Zstd => proto::Compression::Zstd,
        model::Compression::Gzip => proto::Compression::Gzip,
    };
    proto::CachePolicy {
        strategy: strategy.into(),
        l1_ttl: policy.l1_ttl.map(duration),
        l2_ttl: policy.l2_ttl.map(duration),
        ttl_jitter: policy.ttl_jitter,
        l1_max_bytes: policy.l1_max_bytes,
        compression: compression.into(),
        compression_threshold_bytes: policy.compression_threshold_bytes,
        retry: policy.retry.as_ref().map(retry),
        grace: policy.grace.map(duration),
        stale_while_revalidate: policy.stale_while_revalidate.map(duration),
        early_refresh: policy.early_refresh.map(duration),
        lease: policy.lease.map(duration),
        negative_ttl: policy.negative_ttl.map(duration),
        load_timeout: policy.load_timeout.map(duration),
        l2_timeout: policy.l2_timeout.map(duration),
        write_queue: policy.write_queue,
        write_batch: policy.write_batch,
        write_wait: policy.write_wait.map(duration),
        coherence_lease: policy.coherence_lease.map(duration),
        warm_keys: policy.warm_keys,
        sample_ratio: policy.sample_ratio,
        bypass: policy.bypass,
    }
}

/// A batch policy for an instance, or to be shown.
pub(super) fn batch(policy: &model::BatchPolicy) -> proto::BatchPolicy {
    let rate = |rate: &model::RatePolicy| proto::RatePolicy {
        per_second: rate.per_second,
        burst: rate.burst,
        shared: rate.shared,
    };
    proto::BatchPolicy {
        max_items: policy.max_items,
        max_bytes: policy.max_bytes,
        max_wait: policy.max_wait.map(duration),
        max_concurrent_batches: policy.max_concurrent_batches,
        max_queued: policy.max_queued,
        call_timeout: policy.call_timeout.map(duration),
        deadline: policy.deadline.map(duration),
        deduplicate: policy.deduplicate,
        rate: policy.rate.as_ref().map(rate),
        retry: policy.retry.as_ref().map(retry),
        latency_budget: policy.latency_budget.map(duration),
    }
}

/// Reads the periods of one kind of policy; the field is named as it is in the request.
struct Spans(&'static str);

impl Spans {
    fn read(&self, name: &str, given: Option<Duration>) -> Result<Option<Period>, Status> {
        period(&format!("policy.{}.{name}", self.0), given)
    }

    fn retry(&self, given: Option<proto::RetryPolicy>) -> Result<Option<model::RetryPolicy>, Status> {
        let Some(given) = given else { return Ok(None) };
        Ok(Some(model::RetryPolicy {
            attempts: given.attempts,
            base: self.read("retry.base", given.base)?,
            max: self.read("retry.max", given.max)?,
            budget_ratio: given.budget_ratio,
            budget_reserve: given.budget_reserve,
        }))
    }
}

fn read_cache(given: proto::CachePolicy) -> Result<model::CachePolicy, Status> {
    let strategy = match given.strategy() {
        proto::CacheStrategy::Unspecified | proto::CacheStrategy::Aside => model::CacheStrategy::Aside,
        proto::CacheStrategy::Through => model::CacheStrategy::Through,
        proto::CacheStrategy::Behind => model::CacheStrategy::Behind,
    };
    let compression = match given.compression() {
        proto::Compression::Unspecified | proto::Compression::None => model::Compression::None,
        proto::Compression::Zstd => model::Compression::Zstd,
        proto::Compression::Gzip => model::Compression::Gzip,
    };
    let spans = Spans("cache");
    Ok(model::CachePolicy {
        strategy,
        l1_ttl: spans.read("l1_ttl", given.l1_ttl)?,
        l2_ttl: spans.read("l2_ttl", given.l2_ttl)?,
        ttl_jitter: given.ttl_jitter,
        l1_max_bytes: given.l1_max_bytes,
        compression,
        compression_threshold_bytes: given.compression_threshold_bytes,
        retry: spans.retry(given.retry)?,
        grace: spans.read("grace", given.grace)?,
        stale_while_revalidate: spans.read("stale_while_revalidate", given.stale_while_revalidate)?,
        early_refresh: spans.read("early_refresh", given.early_refresh)?,
        lease: spans.read("lease", given.lease)?,
        negative_ttl: spans.read("negative_ttl", given.negative_ttl)?,
        load_timeout: spans.read("load_timeout", given.load_timeout)?,
        l2_timeout: spans.read("l2_timeout", given.l2_timeout)?,
        write_queue: given.write_queue,
        write_batch: given.write_batch,
        write_wait: spans.read("write_wait", given.write_wait)?,
        coherence_lease: spans.read("coherence_lease", given.coherence_lease)?,
        warm_keys: given.warm_keys,
        sample_ratio: given.sample_ratio,
        bypass: given.bypass,
    })
}

fn read_batch(given: proto::BatchPolicy) -> Result<model::BatchPolicy, Status> {
    let rate = |rate: proto::RatePolicy| model::RatePolicy {
        per_second: rate.per_second,
        burst: rate.burst,
        shared: rate.shared,
    };
    let spans = Spans("batch");
    Ok(model::BatchPolicy {
        max_items: given.max_items,
        max_bytes: given.max_bytes,
        max_wait: spans.read("max_wait", given.max_wait)?,
        max_concurrent_batches: given.max_concurrent_batches,
        max_queued: given.max_queued,
        call_timeout: spans.read("call_timeout", given.call_timeout)?,
        deadline: spans.read("deadline", given.deadline)?,
        deduplicate: given.deduplicate,
        rate: given.rate.map(rate),
        retry: spans.retry(given.retry)?,
        latency_budget: spans.read("latency_budget", given.latency_budget)?,
    })
}

/// A policy as somebody wants it; what the server gives is not read.
pub(super) fn read(given: Option<proto::Policy>) -> Result<model::Policy, Status> {
    let given = given.ok_or_else(|| bad_field("policy", "must be given"))?;
    let (cache, batch) = match given.kind {
        Some(proto::policy::Kind::Cache(cache)) => (Some(read_cache(cache)?), None),
        Some(proto::policy::Kind::Batch(batch)) => (None, Some(read_batch(batch)?)),
        None => (None, None),
    };
    let (selector, bounds) = (given.selector.unwrap_or_default(), given.bounds.unwrap_or_default());
    Ok(model::Policy {
        id: given.id,
        name: given.name,
        selector: model::PolicySelector {
            service: selector.service,
            target: selector.target,
            labels: selector.labels.into_iter().collect::<BTreeMap<_, _>>(),
        },
        cache,
        batch,
        bounds: model::OverrideBounds {
            max_ttl: period("policy.bounds.max_ttl", bounds.max_ttl)?,
            min_rate: bounds.min_rate,
            max_lease: period("policy.bounds.max_lease", bounds.max_lease)?,
        },
        enabled: given.enabled.unwrap_or(true),
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::{Value, json};

    use super::*;

    /// What the SDK makes of it.
    fn taken(policy: &model::Policy) -> Result<fastbreak_client::policy::Policy, String> {
        use proto::assigned_policy::Kind;
        let of_cache = policy.cache.as_ref().map(|policy| Kind::Cache(cache(policy)));
        let kind = of_cache.or(policy.batch.as_ref().map(|policy| Kind::Batch(batch(policy))));
        let told = proto::AssignedPolicy { kind, ..Default::default() }.encode_to_vec();
        (&fastbreak_client::proto::AssignedPolicy::decode(&*told).expect("the same words")).try_into()
    }

    /// Values about the limits of any field; what does not fit a field is refused as JSON already.
    fn values() -> Vec<Value> {
        let spans = ["0s", "1ms", "200ms", "1s", "9s", "11s", "1m", "10m", "1h", "2h", "7d", "8d", "30d", "31d"];
        let shares = [0.0, 0.0001, 0.5, 0.9, 0.95, 1.0, 1.5, 10.0, 11.0, 1e6, 2e6, 1e9, 2e9];
        let powers = [0, 1, 7, 10, 20, 24, 30, 40].map(|n| 1_u64 << n);
        let numbers = [0, 20, 21, 100, 101, 1_000, 1_001, 10_000, 10_001, 100_000, 100_001, 1_000_000_001];
        let spans = spans.into_iter().map(Value::from);
        let numbers = powers.into_iter().chain(numbers).map(Value::from);
        spans.chain(shares.into_iter().map(Value::from)).chain(numbers).collect()
    }

    #[test]
    fn what_is_accepted_here_is_taken_by_the_sdk() {
        let cache = "l1Ttl l2Ttl ttlJitter l1MaxBytes compressionThresholdBytes grace staleWhileRevalidate earlyRefresh \
                     lease negativeTtl loadTimeout l2Timeout writeQueue writeBatch writeWait coherenceLease warmKeys sampleRatio";
        let batch = "maxItems maxBytes maxWait maxConcurrentBatches maxQueued callTimeout deadline latencyBudget";
        let retry = "attempts base max budgetRatio budgetReserve";
        let check = |kind: &str, part: &Value| {
            let policy = json!({ "id": "any", "name": "Any", kind: part });
            let policy = serde_json::from_value::<model::Policy>(policy).ok().filter(|policy| policy.check().is_ok());
            let taken = policy.as_ref().map(taken);
            assert!(taken.as_ref().is_none_or(Result::is_ok), "{part}: {taken:?}");
            taken.is_some()
        };
        for (kind, fields) in [("cache", cache), ("batch", batch)] {
            for field in fields.split_whitespace() {
                let accepted = values().iter().filter(|value| check(kind, &json!({ field: value }))).count();
                assert!((2..values().len()).contains(&accepted), "{kind}.{field}: {accepted} of {}", values().len());
            }
            for field in retry.split_whitespace() {
                let with = |base: &str, value: &Value| json!({ "retry": { "base": base, field: value } });
                let accepted = |base| values().iter().filter(|value| check(kind, &with(base, value))).count();
                assert!(accepted("100ms") > 1 && accepted("20s") <= accepted("100ms"), "{kind}.retry.{field}");
            }
        }
        for (burst, per_second) in values().iter().flat_map(|burst| values().into_iter().map(move |rate| (burst, rate)))
        {
            check("batch", &json!({ "rate": { "perSecond": per_second, "burst": burst } }));
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        for json in [
            serde_json::json!({
                "id": "products", "name": "Products", "enabled": false,
                "selector": { "service": "shop*", "target": "product:*", "labels": { "region": "eu" } },
                "bounds": { "maxTtl": "1h", "minRate": 2.5, "maxLease": "10m" },
                "cache": {
                    "strategy": "behind", "l1Ttl": "1m", "l2Ttl": "2h", "ttlJitter": 0.2, "l1MaxBytes": 1_048_576,
                    "compression": "zstd", "compressionThresholdBytes": 512, "grace": "1s", "lease": "2s",
                    "retry": { "attempts": 2, "base": "10ms", "max": "1s", "budgetRatio": 0.5, "budgetReserve": 3 },
                    "staleWhileRevalidate": "3s", "earlyRefresh": "4s", "negativeTtl": "5s", "loadTimeout": "6s",
                    "l2Timeout": "7ms", "writeQueue": 8, "writeBatch": 9, "writeWait": "10ms", "coherenceLease": "11s",
                    "warmKeys": 12, "sampleRatio": 0.13, "bypass": true
                }
            }),
            serde_json::json!({
                "id": "mail", "name": "Mail",
                "batch": {
                    "maxItems": 1, "maxBytes": 2, "maxWait": "3ms", "maxConcurrentBatches": 4, "maxQueued": 5,
                    "callTimeout": "6s", "deadline": "7s", "deduplicate": false, "latencyBudget": "8ms",
                    "rate": { "perSecond": 9.5, "burst": 10, "shared": true }, "retry": { "attempts": 11 }
                }
            }),
        ] {
            let policy: model::Policy = serde_json::from_value(json).expect("a policy");
            assert_eq!(policy.check(), Ok(()));
            assert_eq!(read(Some(written(&policy))).expect("sound"), policy);
        }
    }
}
