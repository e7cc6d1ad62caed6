//! The catalog: which metrics, series and labels there are.
//!
//! What is asked of a span of time is answered to the block: a series is there when a block that touches the span, or a
//! head, has it. Without a selector all is told that is known, whatever the span.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use hashbrown::{HashMap, HashSet};
use roaring::RoaringBitmap;

use super::QueryError;
use super::compile::selector;
use super::engine::{Engine, RETRIES, replaced};
use super::fetch::{Reading, Wanted};
use super::limits::Budget;
use super::select::{Meant, Select, told_name, told_names};
use super::snapshot::Snapshot;
use crate::model::{Labels, Metric, MetricId, SeriesId, TimeMs, WindowStart, canonical_label_name};
use crate::rollup::{MetricEntry, load_metrics};
use crate::storage::Tier;

/// A span is looked at in the tier that would answer a range of so many steps.
const SPAN_PARTS: TimeMs = 100;
const HOUR_MS: TimeMs = Tier::Fine.span_seconds() * 1000;

/// What there is to know of a metric.
#[derive(Clone, Debug)]
pub struct MetricFacts {
    /// Its identity.
    pub metric: Arc<Metric>,
    /// Its current name in PromQL's spelling.
    pub prometheus_name: String,
    /// What its first sender said of it.
    pub description: String,
    /// Series known, those that have ended among them.
    pub series: usize,
    /// When its last window ended: to the window while it is in memory, to the hour later.
    pub last_seen: Option<TimeMs>,
}

impl MetricFacts {
    /// Whether name or description hold each of `words`, whatever their case; for none, always.
    #[must_use]
    pub fn is_about(&self, words: &str) -> bool {
        let text = format!("{} {} {}", self.metric.name, self.prometheus_name, self.description).to_lowercase();
        words.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

impl Engine {
    /// The series that any of `matchers` means, in `[start, end]`, in order of their labels.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn series(&self, matchers: &[String], span: (TimeMs, TimeMs)) -> Result<Vec<Labels>, QueryError> {
        let selects = matchers.iter().map(|text| selector(text, span)).collect::<Result<Vec<_>, _>>()?;
        let found = async {
            let (mut all, mut budget) = (BTreeSet::new(), self.budget());
            for select in &selects {
                all.extend(self.series_of(select, &mut budget).await?);
            }
            self.metrics.read(&budget);
            Ok(all.into_iter().collect())
        };
        self.admitted(found).await
    }

    /// The names of the labels of those series; of all series when there are no `matchers`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn label_names(&self, matchers: &[String], span: (TimeMs, TimeMs)) -> Result<Vec<String>, QueryError> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        if matchers.is_empty() {
            let (registry, metrics) = (self.streams.registry(), self.admitted(self.all_metrics()).await?);
            for metric in &metrics {
                let of_metric = self.indexes.names(registry, metric).into_iter();
                names.extend(of_metric.map(|name| canonical_label_name(&name).into_owned()));
            }
            names.extend((!metrics.is_empty()).then(|| "__name__".to_owned()));
        } else {
            for labels in self.series(matchers, span).await? {
                let new: Vec<String> = labels
                    .iter()
                    .map(|(name, _)| name)
                    .filter(|name| !names.contains(*name))
                    .map(str::to_owned)
                    .collect();
                names.extend(new);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The values of the label `name` of those series; of all series when there are no `matchers`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[String],
        span: (TimeMs, TimeMs),
    ) -> Result<Vec<String>, QueryError> {
        if name == "__name__" {
            return self.metric_names(matchers, span).await;
        }
        let mut values: BTreeSet<String> = BTreeSet::new();
        if matchers.is_empty() {
            let registry = self.streams.registry();
            for metric in self.admitted(self.all_metrics()).await? {
                let of_metric = self.indexes.values(registry, &metric, name).into_iter();
                values.extend(of_metric.map(|(value, _)| (*value).to_owned()));
            }
        } else {
            let name = canonical_label_name(name);
            let series = self.series(matchers, span).await?;
            values.extend(series.iter().filter_map(|labels| labels.get(&name)).map(str::to_owned));
        }
        Ok(values.into_iter().collect())
    }

    /// Every name that the matchers mean, those of the views of a histogram among them.
    async fn metric_names(&self, matchers: &[String], span: (TimeMs, TimeMs)) -> Result<Vec<String>, QueryError> {
        if matchers.is_empty() {
            let metrics = self.admitted(self.all_metrics()).await?;
            let names: BTreeSet<String> = metrics.iter().flat_map(|entry| told_names(&entry.metric)).collect();
            return Ok(names.into_iter().collect());
        }
        let selects = matchers.iter().map(|text| selector(text, span)).collect::<Result<Vec<_>, _>>()?;
        let found = async {
            let (mut names, mut budget) = (BTreeSet::new(), self.budget());
            for select in &selects {
                let (wanted, there) = self.present(select, &mut budget).await?;
                let registry = self.streams.registry();
                let metrics: HashSet<MetricId> =
                    there.iter().filter_map(|slot| Some(registry.get(slot)?.metric.id)).collect();
                let seen = wanted.metrics.iter().filter(|(entry, _)| metrics.contains(&entry.id));
                names.extend(seen.flat_map(|(entry, _)| select.names_of(&entry.metric)));
            }
            Ok(names.into_iter().collect())
        };
        self.admitted(found).await
    }

    /// Every metric, in order of its name.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn catalog(&self) -> Result<Vec<MetricFacts>, QueryError> {
        let found = async {
            let metrics = self.all_metrics().await?;
            let storage = self.streams.storage();
            let hours: HashMap<i64, TimeMs> = storage
                .last_hours()
                .await?
                .into_iter()
                .filter_map(|(id, hour)| Some((id, hour?.timestamp_millis() + HOUR_MS)))
                .collect();
            let heads = self.streams.follow(&storage.stream_list().await?).await?;
            let now = Utc::now().timestamp_millis();
            let width = self.streams.width().millis();
            let facts = metrics.iter().map(|entry| {
                let windows = heads.iter().filter_map(|stream| stream.head.last_window(entry.index));
                let in_head = windows.max().map(|window| (TimeMs::from(window) * 1000 + width).min(now));
                let in_blocks = hours.get(&(entry.id.0 as i64)).map(|end| (*end).min(now));
                MetricFacts {
                    metric: Arc::clone(&entry.metric),
                    prometheus_name: told_name(&entry.metric),
                    description: entry.description.to_string(),
                    series: entry.series_count(),
                    last_seen: in_head.or(in_blocks),
                }
            });
            let mut facts: Vec<MetricFacts> = facts.collect();
            facts.sort_by(|a, b| a.metric.cmp(&b.metric));
            Ok(facts)
        };
        self.admitted(found).await
    }

    /// Every metric with its stored series known.
    pub(super) async fn all_metrics(&self) -> Result<Vec<Arc<MetricEntry>>, QueryError> {
        load_metrics(self.streams.registry(), self.streams.storage()).await?;
        let metrics = self.streams.registry().metrics();
        self.catalogue(metrics.iter()).await?;
        Ok(metrics)
    }

    /// Runs `work` when its turn comes, until the deadline, and counts it.
    pub(super) async fn admitted<T>(&self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        let began = Instant::now();
        let result = match self.enter().await {
            Ok(pass) => pass.within(work).await,
            Err(refused) => Err(refused),
        };
        self.count(result, began)
    }

    fn reading_of(&self, (start, end): (TimeMs, TimeMs)) -> Reading {
        self.reading(Utc::now().timestamp_millis() - start, (end - start) / SPAN_PARTS)
    }

    async fn series_of(&self, select: &Select, budget: &mut Budget) -> Result<Vec<Labels>, QueryError> {
        if self.metrics_of(select).iter().any(|(entry, meant)| meant.splits(&entry.metric)) {
            // Which buckets or quantiles there are is told by the windows alone.
            let (series, _) = self.fetch((select, false), (self.reading_of(select.span()), None), budget).await?;
            return Ok(series.into_iter().map(|one| one.labels).collect());
        }
        let (wanted, there) = self.present(select, budget).await?;
        let meant: HashMap<MetricId, &Meant> = wanted.metrics.iter().map(|(entry, meant)| (entry.id, meant)).collect();
        let registry = self.streams.registry();
        let labels = |slot| {
            let entry = registry.get(slot)?;
            Some(meant.get(&entry.metric.id)?.labels(&registry.labels(entry)))
        };
        Ok(there.iter().filter_map(labels).collect())
    }

    /// The slots that `select` means and that are there in its span.
    async fn present(&self, select: &Select, budget: &mut Budget) -> Result<(Wanted, RoaringBitmap), QueryError> {
        let (reading, registry) = (self.reading_of(select.span()), self.streams.registry());
        let mut asked_for = HashSet::new();
        for _ in 0..RETRIES {
            let mut room = budget.clone();
            let Some((wanted, snapshot)) = self.snapshot((select, select), reading, &mut room).await? else { continue };
            let mut there = in_heads(&wanted, &snapshot, reading.fine_windows(select.span()));
            if !snapshot.held() {
                continue;
            }
            let mut unknown: Vec<SeriesId> = Vec::new();
            if there.len() < wanted.slots.len() || wanted.slots.is_empty() {
                let visit = |id| match registry.slot_of(id) {
                    Some(slot) if wanted.slots.contains(slot) => _ = there.insert(slot),
                    Some(_) => {}
                    None => unknown.push(id),
                };
                if !self.blocks.visit_ids(self.streams.storage(), &snapshot.keys, visit).await? {
                    continue;
                }
            }
            unknown.retain(|id| asked_for.insert(*id));
            if !unknown.is_empty() {
                self.look_up(&unknown).await?;
                continue;
            }
            *budget = room;
            return Ok((wanted, there));
        }
        Err(replaced())
    }
}

/// The slots of `wanted` that have a window of the span in a head.
fn in_heads(wanted: &Wanted, snapshot: &Snapshot, span: (WindowStart, WindowStart)) -> RoaringBitmap {
    let mut there = RoaringBitmap::new();
    for (row, stream) in snapshot.rows.iter().zip(&snapshot.heads) {
        for (metric, _) in &wanted.metrics {
            stream.head.visit(metric.index, row.cursor_seq, span, &mut |entry| _ = there.insert(entry.slot));
        }
    }
    there & &wanted.slots
}
