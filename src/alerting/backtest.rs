//! Backtest: any rule or edit over stored history, through the same state machine and the same dispatch as live.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::error::AlertingError;
use super::evaluate::{LabelSet, ReadyRule, Samples, samples};
use super::replay::{Replay, ReplayedTransition, World};
use super::routes::EVERY;
use super::suppress::Suppressors;
use super::{Alerting, rulebook, stored, validate};
use crate::model::{Alert, Notification, Rule};

/// Most evaluations of one backtest.
const EVALUATIONS_MAX: i64 = 300_000;
/// Evaluations asked of the query engine at once.
const STEPS_PER_QUERY: i64 = 10_000;
/// Longest that a backtest may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Series that are given back.
const SERIES_MAX: usize = 20;
/// Points of each.
const POINTS_MAX: i64 = 1_000;

/// What would have happened.
#[derive(Clone, Debug, Default)]
pub struct Backtest {
    /// How many evaluations.
    pub evaluations: u64,
    /// Changes of state, in order; the first few thousand.
    pub transitions: Vec<ReplayedTransition>,
    /// Alerts that fired; the first few thousand.
    pub alerts: Vec<Alert>,
    /// What would have been told; the first few thousand.
    pub notifications: Vec<Notification>,
    /// The whole in numbers.
    pub summary: BacktestSummary,
    /// The same of the rule as it is stored, when an edit was tried.
    pub live: Option<BacktestSummary>,
    /// What the query gave.
    pub series: BacktestSeries,
    /// What is not as it would be live.
    pub warnings: Vec<String>,
}

/// A backtest in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BacktestSummary {
    /// Alerts that fired.
    pub alerts: u64,
    /// Notifications.
    pub notifications: u64,
    /// For how long anything fired, summed over alerts.
    pub firing_seconds: f64,
    /// Notifications by receiver.
    pub by_receiver: BTreeMap<String, u64>,
}

/// Values at even steps, by label set.
#[derive(Clone, Debug, Default)]
pub struct BacktestSeries {
    /// Unix milliseconds of the first.
    pub start_ms: i64,
    /// Milliseconds between them.
    pub step_ms: i64,
    /// One a step; `None` where there is nothing.
    pub values: Vec<(LabelSet, Vec<Option<f64>>)>,
}

/// A stretch of time at a rule's interval.
#[derive(Clone, Copy)]
struct Stretch {
    start_ms: i64,
    step_ms: i64,
    steps: i64,
}

impl Stretch {
    fn end(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.start_ms + (self.steps - 1) * self.step_ms).unwrap_or_default()
    }
}

impl Alerting {
    /// Runs a rule over `[from, to]`: the stored one, or the edit that is given.
    ///
    /// # Errors
    /// When there is no such rule, it is not sound, the stretch is too long, or a query fails.
    pub async fn backtest(
        &self,
        id: &str,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        edit: Option<Rule>,
    ) -> Result<Backtest, AlertingError> {
        let stored_rule = if id == "new" { None } else { Some(self.ready_rule(id).await?) };
        let edited = edit.map(|rule| validate::rule(rulebook::unsaved(rule))).transpose()?;
        let is_edit = edited.is_some();
        let Some(tried) = edited.or_else(|| stored_rule.clone()) else {
            return Err(AlertingError::invalid("rule", "the rule to be tried must be given"));
        };
        // Never closed, so there is always a place in the end.
        let _place = self.backtests.acquire().await;
        let began = Instant::now();
        let world = self.world().await?;
        let mut result = self.run_over(&tried, (from, to), &world, began).await?;
        if !world.suppressors.inhibitions.is_empty() {
            result.warnings.push("inhibitions are not replayed: they depend on other rules".to_owned());
        }
        if let Some(stored_rule) = stored_rule.filter(|_| is_edit) {
            result.live = Some(self.run_over(&stored_rule, (from, to), &world, began).await?.summary);
        }
        Ok(result)
    }

    /// Routes, silences, windows and receivers as they are now.
    async fn world(&self) -> Result<World, AlertingError> {
        let silences = self.storage.silence_list().await?;
        let windows = self.storage.window_list().await?;
        let mut receivers = self.storage.receivers_enabled().await?;
        if receivers.is_empty() {
            // Nobody is configured yet: show what would go to everybody.
            receivers.push(EVERY.to_owned());
        }
        Ok(World {
            routes: self.route_tree().await?.0,
            suppressors: Suppressors {
                silences: silences.iter().filter_map(|row| stored::read("silence", row)).collect(),
                windows: windows.iter().filter_map(|row| stored::read("maintenance window", row)).collect(),
                inhibitions: self.inhibitions().await?.0,
                firing: Vec::new(),
            },
            receivers,
        })
    }

    fn stretch(&self, rule: &Rule, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Result<Stretch, AlertingError> {
        if from >= to {
            return Err(AlertingError::invalid("from", "from must be before to"));
        }
        let step_ms = self.interval_of(rule).millis();
        let start_ms = from.timestamp_millis().div_euclid(step_ms) * step_ms;
        let steps = (to.timestamp_millis() - start_ms) / step_ms + 1;
        if steps > EVALUATIONS_MAX {
            let text = format!(
                "{steps} evaluations > limit of {EVALUATIONS_MAX}: shorten the time or raise evaluationInterval"
            );
            return Err(AlertingError::invalid("from", text));
        }
        Ok(Stretch { start_ms, step_ms, steps })
    }

    async fn run_over(
        &self,
        rule: &ReadyRule,
        range: (DateTime<Utc>, DateTime<Utc>),
        world: &World,
        began: Instant,
    ) -> Result<Backtest, AlertingError> {
        let stretch = self.stretch(&rule.stored.rule, range)?;
        let delay = rule.stored.rule.evaluation_delay.millis();
        let mut replay = Replay::new(rule, world);
        let mut shown = Shown::new(stretch);
        let mut done = 0;
        while done < stretch.steps {
            if began.elapsed() > DEADLINE {
                return Err(AlertingError::Impossible(format!(
                    "the backtest took longer than {} s",
                    DEADLINE.as_secs()
                )));
            }
            let steps = STEPS_PER_QUERY.min(stretch.steps - done);
            let first = stretch.start_ms + done * stretch.step_ms;
            let last = first + (steps - 1) * stretch.step_ms;
            let answer =
                self.engine.condition_range(&rule.condition, (first - delay, last - delay), stretch.step_ms).await?;
            tokio::task::block_in_place(|| {
                for step in 0..steps {
                    let seen = samples(&answer, step as usize);
                    let at = first + step * stretch.step_ms;
                    shown.add(done + step, &seen);
                    replay.step(DateTime::from_timestamp_millis(at).unwrap_or_default(), Ok(&seen));
                }
            });
            done += steps;
        }
        Ok(result(&replay, shown, stretch.end()))
    }
}

fn result(replay: &Replay<'_>, shown: Shown, end: DateTime<Utc>) -> Backtest {
    let summary = BacktestSummary {
        alerts: replay.fired,
        notifications: replay.told.values().sum(),
        firing_seconds: replay.firing_until(end) as f64 / 1_000.0,
        by_receiver: replay.told.clone(),
    };
    Backtest {
        evaluations: replay.evaluations,
        transitions: replay.transitions.clone(),
        alerts: replay.alerts(),
        notifications: replay.notifications.clone(),
        summary,
        live: None,
        series: shown.series,
        warnings: Vec::new(),
    }
}

/// The series as they are shown: the value at every so many steps.
struct Shown {
    series: BacktestSeries,
    every: i64,
    points: usize,
}

impl Shown {
    fn new(stretch: Stretch) -> Self {
        let every = (stretch.steps + POINTS_MAX - 1) / POINTS_MAX;
        let series =
            BacktestSeries { start_ms: stretch.start_ms, step_ms: stretch.step_ms * every, values: Vec::new() };
        Self { series, every, points: ((stretch.steps + every - 1) / every) as usize }
    }

    fn add(&mut self, step: i64, seen: &Samples) {
        if step % self.every != 0 {
            return;
        }
        let at = (step / self.every) as usize;
        for (labels, value) in seen {
            let place = match self.series.values.iter().position(|(known, _)| known == labels) {
                Some(place) => place,
                None if self.series.values.len() < SERIES_MAX => {
                    self.series.values.push((labels.clone(), vec![None; self.points]));
                    self.series.values.len() - 1
                }
                None => continue,
            };
            if let Some(point) = self.series.values.get_mut(place).and_then(|(_, points)| points.get_mut(at)) {
                *point = Some(*value).filter(|value| value.is_finite());
            }
        }
    }
}
