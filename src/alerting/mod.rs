//! Alerting: rules over series, alerts from pending to resolved, and who is told of them.
//!
//! Layer 6. Two pure cores do all the deciding: `state` (one alert, one evaluation) and `dispatch` (one group, one moment).
//! Around them a loop reads, asks and writes: `live`. The same cores run over stored history in `backtest`. What is to be
//! told goes into the outbox in the transaction of the transition; who delivers it is not known here.

mod backtest;
mod board;
mod counters;
mod defaults;
mod dispatch;
mod error;
mod evaluate;
mod explain;
mod holds;
mod live;
mod memory;
mod outcome;
mod quiet;
mod replay;
mod reports;
mod routes;
mod rulebook;
mod slo;
mod state;
mod stored;
mod suppress;
mod templates;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use backtest::{Backtest, BacktestSeries, BacktestSummary};
pub use board::{AlertDetail, Chart};
pub use counters::AlertingMetrics;
pub use error::AlertingError;
pub use explain::{ExplainStep, Explanation};
pub use quiet::{RouteAnswer, SilenceStatus, WindowStatus};
pub use replay::ReplayedTransition;
pub use reports::Reports;
pub use rulebook::{RuleRevision, RuleStatus};
pub use slo::SloStatus;

use crate::model::{Period, Route, Rule, TimeMs, Width, fingerprint};
use crate::policy::Policies;
use crate::query::{Engine, Sample};
use crate::storage::{Storage, StorageError};
use evaluate::{ReadyRule, Verdict};
use holds::Holds;
use outcome::Charts;
use state::Effect;

/// Backtests at once.
const BACKTESTS_MAX: usize = 2;
/// How long the chart of a notification may take to be read.
const CHART_TIMEOUT: Duration = Duration::from_secs(2);
/// What the chart of a notification shows.
const CHART_SPAN_MS: i64 = 60 * 60 * 1_000;
/// Between its points.
const CHART_STEP_MS: i64 = 30 * 1_000;

/// Settings of alerting.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time between evaluations where a rule does not say.
    pub interval: Period,
    /// Days for which alerts, transitions and decisions are kept.
    pub retention_days: i32,
    /// Where the dashboard is, without a slash at the end.
    pub dashboard_url: String,
}

impl Config {
    /// Evaluation once a window, 90 days of history.
    #[must_use]
    pub fn new(window: Width, dashboard_url: String) -> Self {
        Self { interval: Period::seconds(i64::from(window.seconds())), retention_days: 90, dashboard_url }
    }
}

/// Alerting.
pub struct Alerting {
    storage: Storage,
    engine: Arc<Engine>,
    holds: Holds,
    config: Config,
    /// Names this process among the replicas.
    replica: String,
    /// Places for backtests; whoever finds none waits.
    backtests: Semaphore,
    /// What is counted here.
    pub metrics: AlertingMetrics,
}

impl Alerting {
    /// Over `storage`, the engine, and the policies that rules may change; `replica` names this server in its lease, and no other ever.
    #[must_use]
    pub fn new(
        storage: Storage,
        (engine, policies): (Arc<Engine>, Arc<Policies>),
        config: Config,
        replica: String,
    ) -> Self {
        let backtests = Semaphore::new(BACKTESTS_MAX);
        Self {
            storage,
            engine,
            holds: Holds::new(policies),
            config,
            replica,
            backtests,
            metrics: AlertingMetrics::default(),
        }
    }

    /// Brings in the shipped rules; a person's edit of one stays.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn seed(&self) -> Result<usize, StorageError> {
        let id = |rule: &serde_json::Value| rule.get("id").and_then(|id| id.as_str()).unwrap_or_default().to_owned();
        let rules: Vec<_> = defaults::rules().into_iter().map(|rule| (id(&rule), rule)).collect();
        self.storage.rules_seed(&rules).await
    }

    /// Evaluates rules and decides who is told, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        live::Live::new(self).run(cancel).await;
    }

    /// Forgets what is older than the retention.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn forget_old(&self) -> Result<usize, StorageError> {
        self.storage.alerting_forget(self.config.retention_days).await
    }

    /// The services that report, with what was known of them before a restart.
    pub async fn reports(&self, width: Width, now: TimeMs) -> Reports {
        let mut reports = Reports::new(width, now, self.metrics.clone());
        if let Err(error) = reports.restore(&self.engine, now).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "how often services report is learned anew");
        }
        reports
    }

    fn interval_of(&self, rule: &Rule) -> Period {
        rule.evaluation_interval.unwrap_or(self.config.interval)
    }

    /// The routing tree and its revision; 0 while nobody has written one.
    async fn route_tree(&self) -> Result<(Route, i64), StorageError> {
        let written = self.storage.routing_find("routes").await?;
        let read = written.and_then(|revised| Some((stored::read("routes", &revised.definition)?, revised.revision)));
        Ok(read.unwrap_or_else(|| (routes::default_tree(), 0)))
    }

    /// Charts of the alerts that people will be told of; none when they cannot be had in time.
    async fn charts(&self, ready: &ReadyRule, verdict: &Verdict, at: DateTime<Utc>) -> Charts {
        let told = |effect: &Effect| matches!(effect, Effect::Fired | Effect::Escalated | Effect::Resolved(_));
        if !verdict.outcomes.iter().filter_map(|outcome| outcome.transition.as_ref()).any(|(_, effect)| told(effect)) {
            return Charts::new();
        }
        let end = at.timestamp_millis();
        let asked = self.engine.condition_range(&ready.condition, (end - CHART_SPAN_MS, end), CHART_STEP_MS);
        let Ok(Ok(answer)) = tokio::time::timeout(CHART_TIMEOUT, asked).await else { return Charts::new() };
        let crate::query::AnswerValue::Vector(columns) = &answer.value else { return Charts::new() };
        let rule = &ready.stored.rule;
        let chart = |column: &crate::query::Column| {
            let own = rule.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
            let labels = column.labels.iter().filter(|(name, _)| *name != "__name__");
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).chain(own).collect();
            let points = answer.times.iter().zip(&column.samples);
            let points = points.filter_map(|(at, sample)| Some((*at, Sample::float(sample)?)));
            (fingerprint(rule, &labels), points.filter(|(_, value)| value.is_finite()).collect())
        };
        columns.iter().map(chart).collect()
    }
}
