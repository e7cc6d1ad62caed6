//! Age and room: what is past its retention goes, and over the disk budget the least wanted and oldest goes first.

use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};

use super::Traces;
use super::decide::Class;
use crate::storage::{StorageError, TraceUsage};

/// What is to be done about the room taken. Pure.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Class and end of the slots to drop.
    drop: Vec<(i16, DateTime<Utc>)>,
    /// The least class that may be written; [`NONE`] when there is no room.
    least: i16,
    bytes: u64,
}

/// Past every class.
const NONE: i16 = Class::Error as i16 + 1;

/// Drops whole slots, the lowest class first and its oldest first, until the rest fits. The slot that is written to stays;
/// when it does not fit, the lowest classes are not written until there is room again.
fn plan(usage: &[TraceUsage], budget: u64, now: DateTime<Utc>) -> Plan {
    let bytes = |usage: &TraceUsage| usage.bytes.max(0) as u64;
    let mut total: u64 = usage.iter().map(bytes).sum();
    let mut drop = Vec::new();
    for slot in usage.iter().filter(|slot| slot.ends_at <= now) {
        if total <= budget {
            break;
        }
        total -= bytes(slot);
        drop.push((slot.class, slot.ends_at));
    }
    let mut least = Class::Sample as i16;
    if total > budget {
        let open = |class: i16| usage.iter().filter(move |slot| slot.class >= class && slot.ends_at > now);
        least = (least + 1..NONE).find(|class| open(*class).map(bytes).sum::<u64>() <= budget).unwrap_or(NONE);
    }
    Plan { drop, least, bytes: total }
}

impl Traces {
    /// Drops what is too old, and what there is no room for.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn keep_house(&self) -> Result<(), StorageError> {
        let now = self.storage.now().await?;
        let mut dropped = 0;
        for class in Class::ALL {
            dropped += self.storage.traces_drop(class as i16, now - self.config.retention).await?;
        }
        let plan = plan(&self.storage.trace_usage().await?, self.config.disk_bytes, now);
        for (class, before) in plan.drop {
            dropped += self.storage.traces_drop(class, before).await?;
        }
        if self.least_class.swap(plan.least, Ordering::Relaxed) < plan.least {
            tracing::warn!(bytes = plan.bytes, budget = self.config.disk_bytes, "no room for all kept traces");
        }
        self.metrics.dropped_partitions.inc_by(u64::from(dropped.unsigned_abs()));
        self.metrics.disk_bytes.set(i64::try_from(plan.bytes).unwrap_or(i64::MAX));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hours * 3_600, 0).expect("a time")
    }

    fn usage(rows: &[(i16, i64, i64)]) -> Vec<TraceUsage> {
        rows.iter()
            .map(|(class, ends, bytes)| TraceUsage { class: *class, ends_at: at(*ends), bytes: *bytes })
            .collect()
    }

    #[test]
    fn samples_go_before_errors_and_the_oldest_first() {
        let rows = usage(&[(0, 12, 40), (0, 24, 40), (0, 36, 10), (1, 12, 40), (2, 12, 40), (2, 36, 10)]);
        let check = |budget, drop: &[(i16, i64)], least| {
            let drop = drop.iter().map(|(class, ends)| (*class, at(*ends))).collect();
            let plan = plan(&rows, budget, at(30));
            assert_eq!((plan.drop, plan.least), (drop, least), "{budget}");
        };
        check(180, &[], 0);
        check(179, &[(0, 12)], 0);
        check(100, &[(0, 12), (0, 24)], 0);
        check(60, &[(0, 12), (0, 24), (1, 12)], 0);
        check(20, &[(0, 12), (0, 24), (1, 12), (2, 12)], 0);
        check(10, &[(0, 12), (0, 24), (1, 12), (2, 12)], 1);
        check(9, &[(0, 12), (0, 24), (1, 12), (2, 12)], NONE);
    }
}
