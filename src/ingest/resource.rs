//! Resources: who reports. Holds the labels that all its series share, its sequence memo, and its service's share of series.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::attributes::{self, AttributeError};
use super::memo::{Identities, Memo};
use super::reject::RejectReason;
use super::service::{SeriesCaps, Service};
use super::walk::LABEL_BYTES_MAX;
use super::wire::{Fields, WireError};
use crate::model::TimeMs;
use crate::rollup::{Registry, Symbol};

/// Most services known at once.
const SERVICES_MAX: usize = 10_000;
/// Raw identities that the memos of all resources may hold together; some 48 bytes each.
const IDENTITIES_MAX: usize = 8 << 20;

/// One resource of one sender.
pub(super) struct Resource {
    pub(super) service: Arc<Service>,
    /// Sanitised resource attributes.
    pub(super) labels: Box<[(Symbol, Symbol)]>,
    pub(super) memo: Mutex<Memo>,
    /// Series made, by metric number.
    admitted: Mutex<HashMap<u32, u32>>,
    last_used: AtomicI64,
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resource").field("service", &self.service.name).finish_non_exhaustive()
    }
}

impl Resource {
    /// Whether it may make one more series of metric `index`.
    pub(super) fn admit(&self, index: u32, caps: SeriesCaps) -> bool {
        let admitted = self.service.admit(index, caps);
        if admitted {
            *self.admitted.lock().entry(index).or_default() += 1;
        }
        admitted
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.service.release(self.admitted.get_mut());
    }
}

/// All resources seen lately, by the hash of their raw bytes.
pub(super) struct Resources {
    by_hash: RwLock<HashMap<u128, Arc<Resource>>>,
    services: RwLock<HashMap<Arc<str>, Arc<Service>>>,
    identities: Arc<Identities>,
    most: usize,
}

impl Resources {
    pub(super) fn new(most: usize) -> Self {
        let identities = Arc::new(Identities::new(IDENTITIES_MAX));
        Self { by_hash: RwLock::default(), services: RwLock::default(), identities, most }
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
        if pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > LABEL_BYTES_MAX {
            // Before any of it has a symbol, which it would keep for good.
            return Err(AttributeError::Rejected(RejectReason::SeriesLabels));
        }
        let name = pairs.iter().find(|(key, _)| *key == "service.name").map_or("unknown_service", |(_, value)| value);
        let resource = Arc::new(Resource {
            service: self.service(name).ok_or(AttributeError::Rejected(RejectReason::ServiceCount))?,
            labels: pairs
                .iter()
                .map(|(key, value)| (registry.interner.intern(key), registry.interner.intern(value)))
                .collect(),
            memo: Mutex::new(Memo::new(Arc::clone(&self.identities))),
            admitted: Mutex::default(),
            last_used: AtomicI64::new(now),
        });
        let mut by_hash = self.by_hash.write();
        if by_hash.len() >= self.most {
            evict_oldest(&mut by_hash);
        }
        Ok(Arc::clone(by_hash.entry(hash).or_insert(resource)))
    }

    /// The service called `name`; `None` when there are too many. Those that no resource names any more make room.
    fn service(&self, name: &str) -> Option<Arc<Service>> {
        if let Some(service) = self.services.read().get(name) {
            return Some(Arc::clone(service));
        }
        let mut services = self.services.write();
        if services.len() >= SERVICES_MAX {
            services.retain(|_, service| Arc::strong_count(service) > 1);
        }
        if services.len() >= SERVICES_MAX {
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        Some(Arc::clone(services.entry(Arc::clone(&name)).or_insert_with(|| Arc::new(Service::new(name)))))
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
        (self.by_hash.read().len(), self.identities.held())
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
        let text = attributes::plain(value.bytes(field)?, attributes::VALUE_MAX);
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
