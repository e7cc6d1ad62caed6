//! The engine: admits a query, chooses the tier, fetches what its plan needs, and evaluates it.
//!
//! What a stream has flushed is in blocks, what it has not is in its head; both are read as of one database snapshot, and
//! streams of other replicas are brought up to the sequence number seen in it. So an answer does not depend on which replica
//! gives it, nor on Redis.

use std::sync::Arc;
use std::time::Instant;

use chrono::{TimeDelta, Utc};
use futures::future::{BoxFuture, join_all};
use hashbrown::HashSet;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

use super::QueryError;
use super::compile::{Increases, Params, Plan};
use super::counters::QueryMetrics;
use super::fetch::{Gathered, Reading, Wanted};
use super::index::Indexes;
use super::limits::{Budget, Gate, Limits, Pass};
use super::parts::Parts;
use super::remember::Asked;
use super::select::{Meant, Select};
use super::snapshot::Shared;
use super::value::Answer;
use crate::model::{SeriesId, SeriesWindows, TimeMs, Width};
use crate::redis::SharedCaches;
use crate::rollup::{BlockCache, MetricEntry, Streams, load_metrics, register_series};
use crate::storage::{BlockKey, Retention, Tier};

/// Times that blocks replaced by compaction in the middle of a query are looked up anew.
pub(super) const RETRIES: usize = 5;
/// Metrics whose stored series are noted as known; past it the note starts afresh, and they are read again.
const CATALOGUED_MAX: usize = 100_000;
/// Metrics whose series are read in one statement.
const METRICS_PER_READ: usize = 100;

/// Reads measurements.
pub struct Engine {
    pub(super) streams: Arc<Streams>,
    retention: Retention,
    pub(super) blocks: Arc<BlockCache>,
    gate: Gate,
    /// What is counted.
    pub metrics: QueryMetrics,
    /// Metrics whose stored series are in the registry, by their number here.
    catalogued: Mutex<HashSet<u32>>,
    /// Which series a selector means.
    pub(super) indexes: Indexes,
    /// Parts of answers.
    pub(super) parts: Parts,
}

/// The series of a selector, and how many in its blocks nobody knows.
type Found = (Vec<SeriesWindows>, usize);

impl Engine {
    /// Over `streams`, with what `retention` leaves; parts of answers are shared through `shared`.
    ///
    /// # Errors
    /// When a cache cannot be made.
    pub async fn open(
        streams: Arc<Streams>,
        retention: Retention,
        shared: Option<&SharedCaches>,
    ) -> Result<Self, fastbreak_client::cache::BuildError> {
        let engine = Self {
            streams,
            retention,
            blocks: Arc::new(BlockCache::open().await?),
            gate: Gate::new(Limits::default()),
            metrics: QueryMetrics::default(),
            catalogued: Mutex::default(),
            indexes: Indexes::default(),
            parts: Parts::open(shared).await?,
        };
        Ok(engine.limited(Limits::default()))
    }

    /// Within `limits` instead of the default ones.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.metrics.show(&limits);
        self.gate = Gate::new(limits);
        self
    }

    /// Evaluates `query` at `at`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn instant(&self, query: &str, at: TimeMs, service: Option<&str>) -> Result<Answer, QueryError> {
        only(self.instants(&[query], at, service).await)
    }

    /// Evaluates `query` at `at`, where a window ends, as if the next had not begun: an open window would count as full.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn at_window_end(&self, query: &str, at: TimeMs) -> Result<Answer, QueryError> {
        let width = self.streams.width();
        only(self.ask(&[query], Params::instant(at, at + width.millis(), width), None).await)
    }

    /// Evaluates `query` at each `step` from `start` to `end`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn range(
        &self,
        query: &str,
        span: (TimeMs, TimeMs),
        step: TimeMs,
        service: Option<&str>,
    ) -> Result<Answer, QueryError> {
        only(self.ranges(&[query], span, step, service).await)
    }

    /// Evaluates `queries` at `at` as one: they are admitted together and share the deadline.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn instants(
        &self,
        queries: &[&str],
        at: TimeMs,
        service: Option<&str>,
    ) -> Result<Vec<Answer>, QueryError> {
        let now = Utc::now().timestamp_millis();
        self.ask(queries, Params::instant(at, now, self.streams.width()), service).await
    }

    /// Evaluates `queries` at each `step` from `start` to `end`, as one.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn ranges(
        &self,
        queries: &[&str],
        (start, end): (TimeMs, TimeMs),
        step: TimeMs,
        service: Option<&str>,
    ) -> Result<Vec<Answer>, QueryError> {
        let now = Utc::now().timestamp_millis();
        self.ask(queries, Params::range((start, end), step, now, self.streams.width()), service).await
    }

    /// Evaluates `query` at `at` with increases told as asked.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn instant_by(&self, query: &str, at: TimeMs, increases: Increases) -> Result<Answer, QueryError> {
        let params = Params::instant(at, Utc::now().timestamp_millis(), self.streams.width());
        only(self.ask(&[query], Params { increases, ..params }, None).await)
    }

    /// Evaluates `query` at each `step` from `start` to `end` with increases told as asked.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn range_by(
        &self,
        query: &str,
        span: (TimeMs, TimeMs),
        step: TimeMs,
        increases: Increases,
    ) -> Result<Answer, QueryError> {
        let params = Params::range(span, step, Utc::now().timestamp_millis(), self.streams.width());
        only(self.ask(&[query], Params { increases, ..params }, None).await)
    }

    async fn ask(&self, queries: &[&str], params: Params, service: Option<&str>) -> Result<Vec<Answer>, QueryError> {
        let plans = queries.iter().map(|query| self.plan(query, params, service)).collect::<Result<Vec<_>, _>>();
        let began = Instant::now();
        let result = match (plans, self.gate.enter().await) {
            (Ok(plans), Ok(pass)) => pass.within(self.evaluate_all(&plans, (queries, service), &pass)).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        self.count(result, began)
    }

    /// Its limits.
    pub const fn limits(&self) -> &Limits {
        self.gate.limits()
    }

    pub(super) const fn budget(&self) -> Budget {
        Budget::new(self.gate.limits())
    }

    /// The right to run, when it is there.
    pub(super) async fn enter(&self) -> Result<Pass, QueryError> {
        self.gate.enter().await
    }

    /// The right of rules to run, which wait behind nobody's dashboard.
    pub(super) fn enter_first(&self) -> Pass {
        self.gate.enter_first()
    }

    /// Counts how a query went.
    pub(super) fn count<T>(&self, result: Result<T, QueryError>, began: Instant) -> Result<T, QueryError> {
        self.metrics.answered(&result, began.elapsed());
        result
    }

    /// Makes what the caches of blocks and of parts count instruments.
    pub fn measure(&self, meter: &Meter) {
        self.blocks.measure(meter);
        self.parts.measure(meter);
    }

    /// Takes the measure of what runs and waits, for whoever reads the metrics now.
    pub fn sample_gauges(&self) {
        self.metrics.load(self.gate.load());
        self.metrics.held(self.indexes.bytes(), self.parts.bytes());
    }

    /// Compiles `query` for the tier that reaches back to the earliest window it needs.
    pub(super) fn plan(
        &self,
        query: &str,
        params: Params,
        service: Option<&str>,
    ) -> Result<(Plan, Reading), QueryError> {
        self.plan_with(params, |params| Plan::parse(query, params, service))
    }

    /// The same, for whatever `compile` compiles.
    pub(super) fn plan_with(
        &self,
        params: Params,
        compile: impl Fn(Params) -> Result<Plan, QueryError>,
    ) -> Result<(Plan, Reading), QueryError> {
        let plan = compile(params)?;
        let earliest = plan.selects().iter().map(|select| select.start).min().unwrap_or(params.start);
        let step = if params.start == params.end { 0 } else { params.step };
        let reading = self.reading(params.now - earliest, step);
        if reading.tier == Tier::Fine {
            return Ok((plan, reading));
        }
        Ok((compile(Params { width: reading.width, ..params })?, reading))
    }

    /// The finest tier that reaches back by `age`; a coarser one when the steps are wide enough not to show it.
    pub(super) fn reading(&self, age: TimeMs, step: TimeMs) -> Reading {
        let age = TimeDelta::milliseconds(age);
        if age > self.retention.minute || step >= 6 * Width::HOUR.millis() {
            Reading { tier: Tier::Hour, width: Width::HOUR }
        } else if age > self.retention.fine || step >= 10 * Width::MINUTE.millis() {
            Reading { tier: Tier::Minute, width: Width::MINUTE.max(self.streams.width()) }
        } else {
            Reading { tier: Tier::Fine, width: self.streams.width() }
        }
    }

    async fn evaluate_all(
        &self,
        plans: &[(Plan, Reading)],
        (queries, service): (&[&str], Option<&str>),
        pass: &Pass,
    ) -> Result<Vec<Answer>, QueryError> {
        let shared = self.share(plans).await?;
        let shared = shared.as_ref();
        let answers = plans.iter().zip(queries).map(|((plan, reading), query)| async move {
            let (mut budget, asked) = (self.budget(), Asked { query, service });
            // Boxed, so that the compiler need not look through it from every handler.
            let answer: BoxFuture<'_, Result<Answer, QueryError>> = match shared {
                Some(_) => Box::pin(self.evaluate(plan, (*reading, shared), pass, &mut budget)),
                None => Box::pin(self.evaluate_remembering(&asked, (plan, *reading), pass, &mut budget)),
            };
            let answer = answer.await;
            self.metrics.read(&budget);
            answer
        });
        join_all(answers).await.into_iter().collect()
    }

    #[tracing::instrument(name = "fastbreak.query", skip_all, fields(fastbreak.query.selectors = plan.selects().len()))]
    pub(super) async fn evaluate(
        &self,
        plan: &Plan,
        (reading, shared): (Reading, Option<&Shared>),
        pass: &Pass,
        budget: &mut Budget,
    ) -> Result<Answer, QueryError> {
        let mut found: Vec<Arc<[SeriesWindows]>> = Vec::with_capacity(plan.selects().len());
        let mut unknown = 0;
        for select in plan.selects() {
            let before = plan.selects().iter().zip(&found).find(|(other, _)| *other == select);
            if let Some(twin) = before.map(|(_, series)| Arc::clone(series)) {
                found.push(twin);
                continue;
            }
            // Boxed, so that the compiler need not look through it from every handler.
            let fetched: BoxFuture<'_, Result<Found, QueryError>> =
                Box::pin(self.fetch((select, plan.is_of_increases()), (reading, shared), budget));
            let (series, missed) = fetched.await?;
            found.push(series.into());
            unknown += missed;
        }
        let alarm = pass.alarm();
        let mut answer = tokio::task::block_in_place(|| plan.evaluate_until(&found, alarm.flag()))?
            .ok_or_else(|| QueryError::Deadline(alarm.deadline()))?;
        if unknown > 0 {
            answer.warnings.push(format!("{unknown} stored series have no labels and are left out"));
        }
        Ok(answer)
    }

    /// The metrics that `select` means.
    pub(super) fn metrics_of(&self, select: &Select) -> Vec<(Arc<MetricEntry>, Meant)> {
        let metrics = self.streams.registry().metrics().into_iter();
        metrics.filter_map(|metric| Some((Arc::clone(&metric), select.view_of(&metric.metric)?))).collect()
    }

    /// Reads which metrics there are, where one may be meant that another replica was the first to see.
    pub(super) async fn know<'a>(&self, selects: impl IntoIterator<Item = &'a Select>) -> Result<(), QueryError> {
        let is_known = |select: &Select| select.names_are_equalities() && !self.metrics_of(select).is_empty();
        if !selects.into_iter().all(is_known) {
            load_metrics(self.streams.registry(), self.streams.storage()).await?;
        }
        Ok(())
    }

    /// The metrics of `select`, with their stored series known; those of other replicas among them.
    pub(super) async fn wanted(&self, select: &Select, budget: &mut Budget) -> Result<Wanted, QueryError> {
        self.know([select]).await?;
        let metrics = self.metrics_of(select);
        self.catalogue(metrics.iter().map(|(metric, _)| metric)).await?;
        Wanted::of((self.streams.registry(), &self.indexes), metrics, select, budget)
    }

    /// The series of `select`; counters as totals where they can be and only `increases` are asked for.
    pub(super) async fn fetch(
        &self,
        (select, increases): (&Select, bool),
        (reading, shared): (Reading, Option<&Shared>),
        budget: &mut Budget,
    ) -> Result<Found, QueryError> {
        let mut asked_for = HashSet::new();
        for attempt in 0..RETRIES {
            let mut room = budget.clone();
            let found = match shared.filter(|_| attempt == 0) {
                Some(shared) => shared.of(self, select, reading, &mut room)?,
                None => self.snapshot((select, select), reading, &mut room).await?,
            };
            let Some((wanted, snapshot)) = found else { continue };
            let mut gathered = Gathered::new((self.streams.registry(), &wanted), reading, select, &snapshot.keys);
            let wants = |id| wanted.has(self.streams.registry(), id);
            let add = |blocks| gathered.add_blocks(blocks, &mut room);
            let keys = self.sift(&wanted, snapshot.keys.clone()).await?;
            let tier = (increases && wanted.is_plain()).then_some(reading.tier);
            let blocks = self.blocks.visit_totals(self.streams.storage(), (&keys, tier), &wants, add);
            if !blocks.await? {
                continue;
            }
            let unknown: Vec<SeriesId> = gathered.unknown.iter().copied().filter(|id| asked_for.insert(*id)).collect();
            if !unknown.is_empty() {
                self.look_up(&unknown).await?;
                continue;
            }
            gathered.add_heads(&snapshot.rows, &snapshot.heads, &mut room)?;
            if !snapshot.held() {
                continue;
            }
            let missed = gathered.unknown.len();
            self.metrics.unknown(missed);
            let series = gathered.into_series(select, &mut room)?;
            *budget = room;
            return Ok((series, missed));
        }
        Err(replaced())
    }

    /// Those of `keys` whose blocks may have what is `wanted`; all when that is much of what there is.
    async fn sift(&self, wanted: &Wanted, keys: Vec<BlockKey>) -> Result<Vec<BlockKey>, QueryError> {
        let known: usize = wanted.metrics.iter().map(|(metric, _)| metric.series_count()).sum();
        if keys.is_empty() || wanted.slots.len() as usize > known / 2 {
            return Ok(keys);
        }
        let sources = (self.streams.storage(), &**self.streams.registry());
        Ok(self.blocks.sift(sources, keys, &wanted.slots).await?)
    }

    /// Makes the stored series of `metrics` known, once; those that come later are looked up when blocks name them.
    pub(super) async fn catalogue(
        &self,
        metrics: impl Iterator<Item = &Arc<MetricEntry>> + Send,
    ) -> Result<(), QueryError> {
        let new: Vec<Arc<MetricEntry>> = {
            let catalogued = self.catalogued.lock();
            metrics.filter(|metric| !catalogued.contains(&metric.index)).map(Arc::clone).collect()
        };
        for metrics in new.chunks(METRICS_PER_READ) {
            let ids: Vec<i64> = metrics.iter().map(|metric| metric.id.0 as i64).collect();
            for row in self.streams.storage().series_of_metrics(&ids).await? {
                register_series(self.streams.registry(), &row);
            }
            let mut catalogued = self.catalogued.lock();
            if catalogued.len() >= CATALOGUED_MAX {
                catalogued.clear();
            }
            catalogued.extend(metrics.iter().map(|metric| metric.index));
        }
        Ok(())
    }

    /// Makes the series known that blocks name and the registry does not.
    pub(super) async fn look_up(&self, unknown: &[SeriesId]) -> Result<(), QueryError> {
        let ids: Vec<i64> = unknown.iter().map(|id| id.0 as i64).collect();
        for row in self.streams.storage().series_by_id(&ids).await? {
            register_series(self.streams.registry(), &row);
        }
        Ok(())
    }
}

/// After [`RETRIES`].
pub(super) fn replaced() -> QueryError {
    QueryError::Execution("blocks were replaced again and again while they were read".to_owned())
}

fn only(answers: Result<Vec<Answer>, QueryError>) -> Result<Answer, QueryError> {
    answers?.pop().ok_or_else(|| QueryError::Invalid("no query".to_owned()))
}
