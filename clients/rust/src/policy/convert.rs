//! From the wire to what a batcher takes, with defaults for what is left out.

use std::time::Duration;

use super::target::Policy;
use crate::batcher::{BatchPolicy, Rate, Retry};
use crate::proto;
use crate::proto::assigned_policy::Kind as Assigned;

/// A policy of either kind; `check` has passed.
pub(super) fn policy(kind: Option<&Assigned>) -> Result<Policy, String> {
    match kind {
        Some(Assigned::Batch(policy)) => batch(policy).map(Policy::Batch),
        Some(Assigned::Cache(policy)) => super::cache::policy(policy).map(Policy::Cache),
        None => Err("it has no kind that this SDK knows".to_owned()),
    }
}

/// An override has the same two kinds.
pub(super) fn kind_of_override(over: &proto::AssignedOverride) -> Option<Assigned> {
    use proto::assigned_override::Kind;
    over.kind.map(|kind| match kind {
        Kind::Cache(policy) => Assigned::Cache(policy),
        Kind::Batch(policy) => Assigned::Batch(policy),
    })
}

/// A span of time that is given, and not below zero.
pub(super) fn duration(field: &str, given: Option<&prost_types::Duration>) -> Result<Option<Duration>, String> {
    given.map(|given| Duration::try_from(*given).map_err(|_| format!("{field} must not be below 0"))).transpose()
}

fn or<T>(given: Option<T>, default: T) -> T {
    given.unwrap_or(default)
}

fn size(given: Option<u32>, default: usize) -> usize {
    given.map_or(default, |given| given as usize)
}

/// Checked.
fn batch(given: &proto::BatchPolicy) -> Result<BatchPolicy, String> {
    let default = BatchPolicy::default();
    let policy = BatchPolicy {
        max_items: size(given.max_items, default.max_items),
        max_bytes: given.max_bytes.map_or(default.max_bytes, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        max_wait: or(duration("max_wait", given.max_wait.as_ref())?, default.max_wait),
        max_concurrent_batches: size(given.max_concurrent_batches, default.max_concurrent_batches),
        max_queued: size(given.max_queued, default.max_queued),
        call_timeout: or(duration("call_timeout", given.call_timeout.as_ref())?, default.call_timeout),
        deadline: or(duration("deadline", given.deadline.as_ref())?, default.deadline),
        deduplicate: or(given.deduplicate, default.deduplicate),
        rate: given.rate.as_ref().map(rate),
        retry: retry(given.retry.as_ref())?,
        latency_budget: duration("latency_budget", given.latency_budget.as_ref())?,
    };
    policy.check().map_err(|error| error.to_string())?;
    Ok(policy)
}

fn rate(given: &proto::RatePolicy) -> Rate {
    Rate { per_second: given.per_second, burst: or(given.burst, 1), shared: given.shared }
}

pub(super) fn retry(given: Option<&proto::RetryPolicy>) -> Result<Retry, String> {
    let default = Retry::default();
    let Some(given) = given else { return Ok(default) };
    Ok(Retry {
        attempts: or(given.attempts, default.attempts),
        base: or(duration("retry.base", given.base.as_ref())?, default.base),
        max: or(duration("retry.max", given.max.as_ref())?, default.max),
        budget_ratio: or(given.budget_ratio, default.budget_ratio),
        budget_reserve: or(given.budget_reserve, default.budget_reserve),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_by_default_and_what_is_wrong_is_named() {
        assert_eq!(batch(&proto::BatchPolicy::default()), Ok(BatchPolicy::default()));
        let told = |given| batch(&given).expect_err("out of range");
        let below = prost_types::Duration { seconds: -1, nanos: 0 };
        let given = proto::BatchPolicy { max_wait: Some(below), ..Default::default() };
        assert_eq!(told(given), "max_wait must not be below 0");
        let given = proto::BatchPolicy { max_items: Some(0), ..Default::default() };
        assert_eq!(told(given), "max_items must be from 1 to 100000");
        let rate = Some(proto::RatePolicy { per_second: 5.0, burst: None, shared: true });
        let given = proto::BatchPolicy { rate, latency_budget: Some(Default::default()), ..Default::default() };
        let policy = batch(&given).expect("sound");
        assert_eq!(policy.rate, Some(Rate { per_second: 5.0, burst: 1, shared: true }));
        assert_eq!(policy.latency_budget, Some(Duration::ZERO));
    }
}
