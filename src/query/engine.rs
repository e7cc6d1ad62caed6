//! The engine: finds the series that a plan needs in blocks and heads, and merges them.
//!
//! What a stream has flushed is in blocks, what it has not is in its head; both are read as of one database snapshot, and
//! streams of other replicas are brought up to the sequence number seen in it. So an answer does not depend on which replica
//! gives it, nor on Redis.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::compile::{Params, Plan};
use super::select::{Select, is_equality};
use super::value::Answer;
use super::{QueryError, View};
use crate::model::{Cell, Labels, SeriesId, SeriesWindows, TimeMs, Width, WindowStart};
use crate::rollup::{BlockCache, MetricEntry, Slot, Stream, Streams, load_metrics, register_series};
use crate::storage::{Retention, StreamRow, Tier};

/// Most series that one selector may read.
const SERIES_MAX: usize = 200_000;
/// Times that blocks replaced by compaction in the middle of a query are looked up anew.
const RETRIES: usize = 5;

/// Reads measurements.
pub struct Engine {
    pub(super) streams: Arc<Streams>,
    retention: Retention,
    pub(super) blocks: BlockCache,
    /// Metrics whose stored series are in the registry, and when they were read.
    catalogued: Mutex<HashMap<u32, TimeMs>>,
}

/// The series of one selector.
type Found = Vec<SeriesWindows>;

impl Engine {
    /// Over `streams`, with what `retention` leaves.
    #[must_use]
    pub fn new(streams: Arc<Streams>, retention: Retention) -> Self {
        Self { streams, retention, blocks: BlockCache::default(), catalogued: Mutex::default() }
    }

    /// Every metric, with the series that are stored or were seen.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn metrics(&self) -> Result<Vec<Arc<MetricEntry>>, QueryError> {
        load_metrics(self.streams.registry(), self.streams.storage()).await?;
        let metrics = self.streams.registry().metrics();
        for metric in &metrics {
            self.catalogue(metric).await?;
        }
        Ok(metrics)
    }

    /// The labels of each series of `metric`.
    #[must_use]
    pub fn series_labels(&self, metric: &MetricEntry) -> Vec<Labels> {
        let registry = self.streams.registry();
        let series = metric.series().into_iter();
        series.filter_map(|slot| Some(registry.labels(registry.get(slot)?))).collect()
    }

    /// Evaluates `query` at `at`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn instant(&self, query: &str, at: TimeMs, service: Option<&str>) -> Result<Answer, QueryError> {
        let (tier, width) = self.tier_of(at, 1);
        let now = Utc::now().timestamp_millis();
        let plan = Plan::parse(query, Params::instant(at, now, width), service)?;
        self.evaluate(&plan, tier).await
    }

    /// Evaluates `query` at `at`, where a window ends, as if the next had not begun: an open window would count as full.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn at_window_end(&self, query: &str, at: TimeMs) -> Result<Answer, QueryError> {
        let (tier, width) = self.tier_of(at, 1);
        let plan = Plan::parse(query, Params::instant(at, at + width.millis(), width), None)?;
        self.evaluate(&plan, tier).await
    }

    /// Evaluates `query` at each `step` from `start` to `end`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn range(
        &self,
        query: &str,
        (start, end): (TimeMs, TimeMs),
        step: TimeMs,
        service: Option<&str>,
    ) -> Result<Answer, QueryError> {
        let (tier, width) = self.tier_of(start, step);
        let now = Utc::now().timestamp_millis();
        let plan = Plan::parse(query, Params { start, end, step, now, width }, service)?;
        self.evaluate(&plan, tier).await
    }

    /// The finest tier that reaches back to `start`; a coarser one when the steps are wide enough not to show it.
    pub(super) fn tier_of(&self, start: TimeMs, step: TimeMs) -> (Tier, Width) {
        let age = TimeDelta::milliseconds(Utc::now().timestamp_millis() - start);
        if age > self.retention.minute || step >= 6 * Width::HOUR.millis() {
            (Tier::Hour, Width::HOUR)
        } else if age > self.retention.fine || step >= 10 * Width::MINUTE.millis() {
            (Tier::Minute, Width::MINUTE)
        } else {
            (Tier::Fine, self.streams.width())
        }
    }

    #[tracing::instrument(name = "fastbreak.query", skip_all, fields(fastbreak.query.selectors = plan.selects().len()))]
    pub(super) async fn evaluate(&self, plan: &Plan, tier: Tier) -> Result<Answer, QueryError> {
        let mut found = Vec::with_capacity(plan.selects().len());
        for select in plan.selects() {
            found.push(self.fetch(select, tier).await?);
        }
        tokio::task::block_in_place(|| plan.evaluate(&found))
    }

    /// The metrics that `select` means.
    pub(super) fn metrics_of(&self, select: &Select) -> Vec<(Arc<MetricEntry>, (View, f64, String))> {
        let metrics = self.streams.registry().metrics().into_iter();
        metrics.filter_map(|metric| Some((Arc::clone(&metric), select.view_of(&metric.metric)?))).collect()
    }

    async fn fetch(&self, select: &Select, tier: Tier) -> Result<Found, QueryError> {
        let (keys_from, to) = (date(select.start - tier.span_seconds() * 1000), date(select.end));
        let mut metrics = self.metrics_of(select);
        if metrics.is_empty() && select.names.iter().any(is_equality) {
            // Perhaps another replica was the first to see it.
            load_metrics(self.streams.registry(), self.streams.storage()).await?;
            metrics = self.metrics_of(select);
        }
        let ids: Vec<i64> = metrics.iter().map(|(metric, _)| metric.id.0 as i64).collect();
        for _ in 0..RETRIES {
            let (keys, rows) = self.streams.storage().block_keys(&ids, tier, keys_from, to).await?;
            let heads = self.streams.follow(&rows).await?;
            if metrics.is_empty() {
                // Following may have made the metric known.
                metrics = self.metrics_of(select);
                if metrics.is_empty() {
                    return Ok(Vec::new());
                }
                continue;
            }
            let mut out = Vec::new();
            let Some(blocks) = self.blocks.load(self.streams.storage(), tier, &keys).await? else { continue };
            for (metric, view) in &metrics {
                self.catalogue(metric).await?;
                let wanted = self.wanted(metric, select)?;
                let mut windows = Windows::new(select, tier, self.streams.width());
                for block in blocks.of_metric(metric.id) {
                    windows.add_block(block, self, &wanted);
                }
                windows.add_heads(metric.index, &rows, &heads, &wanted);
                out.extend(windows.into_series(self, metric).flat_map(|series| select.present(series, view.clone())));
            }
            return Ok(out);
        }
        Err(QueryError::Execution("blocks were replaced again and again while they were read".to_owned()))
    }

    /// Makes the stored series of `metric` known: once, and again when blocks name one that is not.
    pub(super) async fn catalogue(&self, metric: &MetricEntry) -> Result<(), QueryError> {
        if self.catalogued.lock().contains_key(&metric.index) {
            return Ok(());
        }
        self.read_catalogue(metric).await
    }

    async fn read_catalogue(&self, metric: &MetricEntry) -> Result<(), QueryError> {
        for row in self.streams.storage().series_of_metric(metric.id.0 as i64).await? {
            register_series(self.streams.registry(), &row);
        }
        self.catalogued.lock().insert(metric.index, Utc::now().timestamp_millis());
        Ok(())
    }

    fn wanted(&self, metric: &MetricEntry, select: &Select) -> Result<HashSet<Slot>, QueryError> {
        let registry = self.streams.registry();
        let matches = |slot: &Slot| registry.get(*slot).is_some_and(|entry| select.matches(&registry.labels(entry)));
        let wanted: HashSet<Slot> = metric.series().into_iter().filter(matches).collect();
        if wanted.len() > SERIES_MAX {
            let text = format!(
                "{} series of {} > limit of {SERIES_MAX}: narrow the selector",
                wanted.len(),
                metric.metric.name
            );
            return Err(QueryError::Limit(text));
        }
        Ok(wanted)
    }
}

pub(super) fn date(ms: TimeMs) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// Windows of one metric, gathered by series.
struct Windows {
    span: (WindowStart, WindowStart),
    /// Windows of the head are this wide, those asked for perhaps wider.
    roll: Option<Width>,
    by_slot: HashMap<Slot, Vec<(WindowStart, Cell)>>,
}

impl Windows {
    fn new(select: &Select, tier: Tier, fine: Width) -> Self {
        let width = match tier {
            Tier::Fine => fine,
            Tier::Minute => Width::MINUTE,
            Tier::Hour => Width::HOUR,
        };
        let span = (width.window_of(select.start), width.window_of(select.end));
        Self { span, roll: (tier != Tier::Fine).then_some(width), by_slot: HashMap::new() }
    }

    fn add_block(&mut self, block: &[crate::rollup::BlockSeries], engine: &Engine, wanted: &HashSet<Slot>) {
        for series in block {
            let slot = engine.streams.registry().slot_of(series.id).filter(|slot| wanted.contains(slot));
            let Some(slot) = slot else { continue };
            let inside = series.windows.iter().filter(|(window, _)| self.span.0 <= *window && *window <= self.span.1);
            self.by_slot.entry(slot).or_default().extend(inside.cloned());
        }
    }

    fn add_heads(&mut self, metric: u32, rows: &[StreamRow], heads: &[Arc<Stream>], wanted: &HashSet<Slot>) {
        let Self { span, roll, by_slot } = self;
        let to = span.1.saturating_add(roll.map_or(0, Width::seconds));
        for (row, stream) in rows.iter().zip(heads) {
            stream.head.visit(metric, row.cursor_seq, (span.0, to), &mut |entry| {
                if wanted.contains(&entry.slot) {
                    let window = roll.map_or(entry.window, |width| width.window_of(i64::from(entry.window) * 1000));
                    by_slot.entry(entry.slot).or_default().push((window, entry.cell.clone()));
                }
            });
        }
    }

    fn into_series(self, engine: &Engine, metric: &Arc<MetricEntry>) -> impl Iterator<Item = SeriesWindows> {
        let mut slots: Vec<_> = self.by_slot.into_iter().collect();
        slots.sort_by_key(|(slot, _)| *slot);
        slots.into_iter().filter_map(move |(slot, windows)| {
            let registry = engine.streams.registry();
            let entry = registry.get(slot)?;
            let id: SeriesId = entry.id;
            Some(SeriesWindows {
                id,
                metric: Arc::clone(&metric.metric),
                labels: registry.labels(entry),
                windows: merge(windows),
            })
        })
    }
}

/// Windows in order, partials of one window merged.
pub(super) fn merge(mut windows: Vec<(WindowStart, Cell)>) -> Vec<(WindowStart, Cell)> {
    windows.sort_by_key(|(window, _)| *window);
    let mut out: Vec<(WindowStart, Cell)> = Vec::with_capacity(windows.len());
    for (window, cell) in windows {
        match out.last_mut().filter(|(last, _)| *last == window) {
            Some((_, known)) => known.merge(&cell),
            None => out.push((window, cell)),
        }
    }
    out
}
