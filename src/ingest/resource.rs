//! Resources: who reports. Holds the labels that all its series share, its sequence memo, and its service's share of series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::attributes::{self, AttributeError};
use super::memo::Memo;
use super::wire::{Fields, WireError};
use crate::model::TimeMs;
use crate::rollup::{Registry, Symbol};

/// Most series of a service and of one of its metrics.
#[derive(Clone, Copy, Debug)]
pub struct SeriesCaps {
    /// Of a service.
    pub per_service: u32,
    /// Of one metric of a service.
    pub per_metric: u32,
}

impl Default for SeriesCaps {
    /// 20 000 and 2 000.
    fn default() -> Self {
        Self { per_service: 20_000, per_metric: 2_000 }
    }
}

/// A service as the ledger knows it.
#[derive(Debug)]
pub struct Service {
    /// `service.name`, or `unknown_service`.
    pub name: Arc<str>,
    /// Series made.
    pub series: AtomicU32,
    /// Data points and spans taken.
    pub accepted: AtomicU64,
    /// Data points and spans refused.
    pub rejected: AtomicU64,
    /// Data points folded into overflow series.
    pub folded: AtomicU64,
    /// When it last sent something.
    pub last_seen: std::sync::atomic::AtomicI64,
    /// The metric that last hit a cap.
    pub offender: Mutex<Option<Arc<str>>>,
    per_metric: Mutex<HashMap<u32, u32>>,
    /// When the sender was last told of a cap.
    warned_at: std::sync::atomic::AtomicI64,
}

/// How often a service is told that it is over a cap.
const WARN_EVERY_MS: TimeMs = 60_000;

impl Service {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            series: AtomicU32::new(0),
            accepted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            last_seen: std::sync::atomic::AtomicI64::new(0),
            offender: Mutex::default(),
            per_metric: Mutex::default(),
            warned_at: std::sync::atomic::AtomicI64::new(0),
        }
    }

    /// True once a minute: tell the sender now.
    pub(super) fn warns(&self, now: TimeMs) -> bool {
        let last = self.warned_at.load(Ordering::Relaxed);
        now - last >= WARN_EVERY_MS
            && self.warned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether one more series of metric `index` is within the caps; takes the place if so.
    pub(super) fn admit(&self, index: u32, caps: SeriesCaps) -> bool {
        let mut per_metric = self.per_metric.lock();
        let of_metric = per_metric.entry(index).or_default();
        if *of_metric >= caps.per_metric || self.series.load(Ordering::Relaxed) >= caps.per_service {
            return false;
        }
        *of_metric += 1;
        self.series.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// One resource of one sender.
pub(super) struct Resource {
    pub(super) service: Arc<Service>,
    /// Sanitised resource attributes.
    pub(super) labels: Box<[(Symbol, Symbol)]>,
    pub(super) memo: Mutex<Memo>,
    last_used: std::sync::atomic::AtomicI64,
}

/// All resources seen lately, by the hash of their raw bytes.
pub(super) struct Resources {
    by_hash: RwLock<HashMap<u128, Arc<Resource>>>,
    services: RwLock<HashMap<Arc<str>, Arc<Service>>>,
    most: usize,
}

impl Resources {
    pub(super) fn new(most: usize) -> Self {
        Self { by_hash: RwLock::default(), services: RwLock::default(), most }
    }

    /// The resource whose message is `raw`.
    pub(super) fn get(&self, registry: &Registry, raw: &[u8], now: TimeMs) -> Result<Arc<Resource>, AttributeError> {
        let hash = xxh3_128(raw);
        let known = self.by_hash.read().get(&hash).map(Arc::clone);
        if let Some(resource) = known {
            resource.last_used.store(now, Ordering::Relaxed);
            return Ok(resource);
        }
        let pairs = attributes::pairs(raw, 1)?;
        let name = pairs.iter().find(|(key, _)| *key == "service.name").map_or("unknown_service", |(_, value)| value);
        let resource = Arc::new(Resource {
            service: self.service(name),
            labels: pairs
                .iter()
                .map(|(key, value)| (registry.interner.intern(key), registry.interner.intern(value)))
                .collect(),
            memo: Mutex::default(),
            last_used: std::sync::atomic::AtomicI64::new(now),
        });
        let mut by_hash = self.by_hash.write();
        if by_hash.len() >= self.most {
            evict_oldest(&mut by_hash);
        }
        Ok(Arc::clone(by_hash.entry(hash).or_insert(resource)))
    }

    /// The service called `name`.
    pub(super) fn service(&self, name: &str) -> Arc<Service> {
        if let Some(service) = self.services.read().get(name) {
            return Arc::clone(service);
        }
        let name: Arc<str> = Arc::from(name);
        let mut services = self.services.write();
        Arc::clone(services.entry(Arc::clone(&name)).or_insert_with(|| Arc::new(Service::new(name))))
    }

    /// Every service seen since the start.
    pub(super) fn services(&self) -> Vec<Arc<Service>> {
        self.services.read().values().map(Arc::clone).collect()
    }

    /// Forgets resources unused since `before`, and with them their memos.
    pub(super) fn forget_unused(&self, before: TimeMs) {
        self.by_hash.write().retain(|_, resource| resource.last_used.load(Ordering::Relaxed) >= before);
    }

    /// `(resources, raw identities)` in memory.
    pub(super) fn size(&self) -> (usize, usize) {
        let by_hash = self.by_hash.read();
        (by_hash.len(), by_hash.values().map(|resource| resource.memo.lock().len()).sum())
    }
}

fn evict_oldest(by_hash: &mut HashMap<u128, Arc<Resource>>) {
    let oldest = by_hash.iter().min_by_key(|(_, r)| r.last_used.load(Ordering::Relaxed)).map(|(hash, _)| *hash);
    if let Some(oldest) = oldest {
        by_hash.remove(&oldest);
    }
}

/// Name and version of an instrumentation scope as label pairs.
pub(super) fn scope_labels(registry: &Registry, raw: &[u8]) -> Result<Vec<(Symbol, Symbol)>, WireError> {
    let mut out = Vec::new();
    let mut fields = Fields::new(raw);
    while let Some((field, value)) = fields.next_field()? {
        let name = match field {
            1 => "otel_scope_name",
            2 => "otel_scope_version",
            _ => continue,
        };
        let text = String::from_utf8_lossy(value.bytes(field)?);
        if !text.is_empty() {
            out.push((registry.interner.intern(name), registry.interner.intern(&text)));
        }
    }
    Ok(out)
}

/// Hash of an instrumentation scope, seeding those of its metrics.
pub(super) fn scope_hash(raw: &[u8]) -> u64 {
    xxh3_64_with_seed(raw, 0x5c09e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_for_metric_and_service() {
        let service = Service::new(Arc::from("a"));
        let caps = SeriesCaps { per_service: 3, per_metric: 2 };
        let admitted: Vec<bool> = [0, 0, 0, 1, 1].map(|metric| service.admit(metric, caps)).into();
        assert_eq!(admitted, [true, true, false, true, false]);
    }
}
