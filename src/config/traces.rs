//! Settings of traces.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Reader;
use crate::traces::{Config, Rates};

/// Less would part most traces, more would hold memory for nothing.
const WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
const REMEMBER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
const TAIL_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 36;
const DISK_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 50;
/// Of an operation in a minute.
const PER_MINUTE: RangeInclusive<u32> = 0..=10_000;
/// Rules: each is looked for in every attribute.
const RULES_MAX: usize = 16;

pub(super) fn read(read: &mut Reader<'_>) -> Config {
    Config {
        wait: read.duration_in("trace_wait", WAIT),
        remember: read.duration_in("trace_remember", REMEMBER),
        tail_bytes: read.bytes("trace_tail_bytes", TAIL_BYTES),
        rates: Rates {
            samples: read.number("trace_samples", PER_MINUTE),
            slow: read.number("trace_slow", PER_MINUTE),
            ..Rates::default()
        },
        keep: keep(read),
        retention: read.retention("retention_traces"),
        disk_bytes: read.bytes("traces_bytes", DISK_BYTES) as u64,
    }
}

fn keep(read: &mut Reader<'_>) -> Vec<(String, String)> {
    let text = read.text("trace_keep");
    let mut rules = Vec::new();
    for written in text.split(',').map(str::trim).filter(|written| !written.is_empty()) {
        match written.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                rules.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            _ => read.problem("trace_keep", format!("trace_keep: {written:?} is not an attribute such as user.id=7")),
        }
    }
    if rules.len() > RULES_MAX {
        read.problem("trace_keep", format!("trace_keep has {} attributes, at most {RULES_MAX}", rules.len()));
    }
    rules
}
