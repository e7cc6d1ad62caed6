//! A Bloom filter of a block's attributes, so that a search need not read blocks that have none like it.
//!
//! Written here since it is stored: a library's hashes may change with its version.

use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::block::TraceSpans;

/// Bits for each attribute, and how many of them it sets: one in a hundred answers is a false yes.
const BITS_EACH: usize = 10;
const PROBES: u64 = 6;
/// Beyond that the filter says yes more often.
const BYTES_MAX: usize = 64 << 10;

fn hash(key: &str, text: &str) -> u128 {
    xxh3_128_with_seed(text.as_bytes(), xxhash_rust::xxh3::xxh3_64(key.as_bytes()))
}

fn probes(hash: u128, bits: u64) -> impl Iterator<Item = (usize, u8)> {
    let (first, step) = (hash as u64, (hash >> 64) as u64 | 1);
    (0..PROBES).map(move |i| {
        let bit = first.wrapping_add(step.wrapping_mul(i)) % bits;
        ((bit / 8) as usize, 1 << (bit % 8))
    })
}

/// The filter of `traces`.
pub(super) fn of(traces: &[TraceSpans]) -> Vec<u8> {
    let mut hashes: HashSet<u128> = HashSet::new();
    for span in traces.iter().flat_map(|trace| &trace.spans) {
        for attribute in span.attributes.iter().chain(&span.source.resource) {
            if let Some(text) = attribute.value.scalar() {
                hashes.insert(hash(&attribute.key, &text));
            }
        }
    }
    if hashes.is_empty() {
        return Vec::new();
    }
    let mut filter = vec![0u8; (hashes.len() * BITS_EACH).div_ceil(8).min(BYTES_MAX)];
    let bits = filter.len() as u64 * 8;
    for (byte, bit) in hashes.into_iter().flat_map(|hash| probes(hash, bits)) {
        filter[byte] |= bit;
    }
    filter
}

/// False when no span of the block has the attribute.
#[must_use]
pub(super) fn may_have(filter: &[u8], key: &str, text: &str) -> bool {
    let bits = filter.len() as u64 * 8;
    bits > 0 && probes(hash(key, text), bits).all(|(byte, bit)| filter[byte] & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, AttributeValue, Span, TraceId};

    #[test]
    fn what_is_there_is_never_denied_and_what_is_not_seldom_affirmed() {
        let span = |i: i64| Span {
            attributes: vec![Attribute { key: "user.id".to_owned(), value: AttributeValue::Int(i) }],
            ..Span::default()
        };
        let traces = [TraceSpans { trace_id: TraceId([1; 16]), spans: (0..2_000).map(span).collect() }];
        let filter = of(&traces);
        assert!((0..2_000).all(|i| may_have(&filter, "user.id", &i.to_string())));
        let wrong = (2_000..12_000).filter(|i| may_have(&filter, "user.id", &i.to_string())).count();
        assert!(wrong < 300, "{wrong} of 10 000");
        assert!(!may_have(&of(&[]), "user.id", "1"));
    }
}
