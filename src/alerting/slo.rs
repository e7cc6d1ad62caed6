//! Service level objectives: what is promised, what is left of the budget, and the rules that watch how fast it burns.
//!
//! Each objective makes three rules, each over a long and a short window (Google, "The Site Reliability Workbook",
//! chapter 5): the long one says that it matters, the short one that it still goes on. While nothing is measured the rules
//! have no data, and their alerts stay as they are.

use chrono::Utc;
use serde_json::json;

use super::error::AlertingError;
use super::{Alerting, stored};
use crate::model::{Mistakes, Rule, RuleOrigin, Slo};
use crate::query::{AnswerValue, Condition, Sample};
use crate::storage::{Expected, WriteError};

/// What stands for a range in the queries of an objective.
const WINDOW: &str = "$window";
/// Longest window of an objective, in days.
const WINDOW_DAYS_MAX: u32 = 365;
/// Windows up to so many days are summed by the hour, longer ones by six hours: that is how far minutes are kept.
const BY_THE_HOUR_DAYS: u32 = 29;

/// One of the rules of an objective.
struct Burn {
    suffix: &'static str,
    /// How many times faster than sustainable.
    rate: f64,
    long: &'static str,
    short: &'static str,
    severity: &'static str,
    interval: &'static str,
}

const BURNS: &[Burn] = &[
    Burn { suffix: "fast", rate: 14.4, long: "1h", short: "5m", severity: "critical", interval: "30s" },
    Burn { suffix: "medium", rate: 6.0, long: "6h", short: "30m", severity: "critical", interval: "1m" },
    Burn { suffix: "slow", rate: 3.0, long: "1d", short: "2h", severity: "warning", interval: "5m" },
];

/// How an objective stands.
#[derive(Clone, Debug)]
pub struct SloStatus {
    /// The objective.
    pub slo: Slo,
    /// Grows by one at each accepted change.
    pub revision: i64,
    /// Share of good events over the window, in percent; `None` while nothing is measured.
    pub sli: Option<f64>,
    /// Share of the error budget that is left: 1 is all of it, below 0 is more than all spent.
    pub error_budget: Option<f64>,
    /// How many times faster than sustainable the budget burns, by window.
    pub burn_rates: Vec<(&'static str, Option<f64>)>,
    /// `ok`, `burning`, `exhausted` or `unmeasured`.
    pub state: &'static str,
}

fn named(id: &str) -> String {
    format!("objective {id:?}")
}

/// The sum of events over `window`: the query with the window put in, or the increase of a plain selector.
fn over(query: &str, window: &str) -> String {
    if query.contains(WINDOW) {
        format!("({})", query.replace(WINDOW, window))
    } else {
        format!("sum(increase({query}[{window}]))")
    }
}

/// Share of the budget that bad events were in `window`, times what is sustainable.
fn burn(slo: &Slo, window: &str) -> String {
    let budget = 1.0 - slo.objective / 100.0;
    format!("(1 - {} / ({} > 0)) / {budget}", over(&slo.good, window), over(&slo.total, window))
}

fn rules(slo: &Slo) -> Vec<Rule> {
    // The fastest that a budget can burn is when everything is bad.
    let ceiling = 100.0 / (100.0 - slo.objective);
    let rule = |burning: &Burn| {
        let (long, short) = (burn(slo, burning.long), burn(slo, burning.short));
        let summary = format!(
            "{} burns its error budget {{{{ value | round(1) }}}} times too fast, over {} and over {}",
            slo.name, burning.long, burning.short
        );
        let rule = json!({
            "id": format!("slo:{}:{}", slo.id, burning.suffix),
            "name": format!("{} burns its budget ({})", slo.name, burning.suffix),
            "condition": format!("({long}) * (({short}) > bool {}) > threshold", burning.rate),
            "threshold": burning.rate,
            "severity": burning.severity,
            "evaluationInterval": burning.interval,
            "noData": "keep",
            "labels": { "slo": slo.id },
            "annotations": { "summary": summary },
            "notificationChannels": slo.notification_channels,
        });
        serde_json::from_value(rule).ok()
    };
    BURNS.iter().filter(|burning| burning.rate < ceiling).filter_map(rule).collect()
}

fn check(slo: &Slo) -> Result<(), AlertingError> {
    let mut mistakes = Mistakes::default();
    mistakes.id("id", &slo.id);
    mistakes.unless(slo.id.len() <= 80, "id", || format!("{} bytes > limit of 80", slo.id.len()));
    mistakes.name("name", &slo.name);
    mistakes.receivers("notificationChannels", &slo.notification_channels);
    mistakes.unless(slo.objective > 0.0 && slo.objective < 100.0, "objective", || {
        format!("must be a percentage above 0 and below 100, not {}", slo.objective)
    });
    mistakes.unless((1..=WINDOW_DAYS_MAX).contains(&slo.window_days), "windowDays", || {
        format!("must be 1 to {WINDOW_DAYS_MAX}, not {}", slo.window_days)
    });
    for (field, query) in [("good", &slo.good), ("total", &slo.total)] {
        if let Err(error) = Condition::parse(&over(query, "5m"), None) {
            mistakes.unless(false, field, || error.to_string());
        }
    }
    Ok(mistakes.done()?)
}

impl Alerting {
    /// Every objective, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn slos(&self) -> Result<Vec<SloStatus>, AlertingError> {
        let mut out = Vec::new();
        for row in self.storage.slo_list().await? {
            if let Some(slo) = stored::read("objective", &row.definition) {
                out.push(self.slo_status(slo, row.revision).await?);
            }
        }
        Ok(out)
    }

    /// One objective.
    ///
    /// # Errors
    /// When there is none.
    pub async fn slo(&self, id: &str) -> Result<SloStatus, AlertingError> {
        for row in self.storage.slo_list().await? {
            let read: Option<Slo> = stored::read("objective", &row.definition);
            if let Some(slo) = read.filter(|slo| slo.id == id) {
                return self.slo_status(slo, row.revision).await;
            }
        }
        Err(AlertingError::Absent(named(id)))
    }

    /// Keeps an objective and the rules that watch it.
    ///
    /// # Errors
    /// When it is not sound, or what is there is not what was expected.
    pub async fn put_slo(&self, slo: &Slo, expected: Expected) -> Result<SloStatus, AlertingError> {
        check(slo)?;
        let wanted = rules(slo);
        for rule in &wanted {
            self.check_rule(rule)?;
        }
        let written = self.storage.slo_put(&slo.id, Some(&stored::write(slo)), expected).await;
        let revision = written.map_err(|error| AlertingError::of_write(error, named(&slo.id)))?;
        for rule in &wanted {
            self.put_rule(rule, RuleOrigin::Api, Expected::Anything).await?;
        }
        self.slo_status(slo.clone(), revision).await
    }

    /// Deletes an objective and the rules that watch it.
    ///
    /// # Errors
    /// When what is there is not what was expected.
    pub async fn delete_slo(&self, id: &str, expected: Expected) -> Result<(), AlertingError> {
        let deleted = self.storage.slo_put(id, None, expected).await;
        deleted.map_err(|error| AlertingError::of_write(error, named(id)))?;
        for burning in BURNS {
            match self.storage.rule_delete(&format!("slo:{id}:{}", burning.suffix), Expected::Present).await {
                Ok(()) | Err(WriteError::Absent) => {}
                Err(error) => return Err(AlertingError::of_write(error, named(id))),
            }
        }
        Ok(())
    }

    async fn slo_status(&self, slo: Slo, revision: i64) -> Result<SloStatus, AlertingError> {
        let good = self.total(&slo, &slo.good).await?;
        let total = self.total(&slo, &slo.total).await?.filter(|total| *total > 0.0);
        let sli = total.map(|total| (100.0 * good.unwrap_or(0.0) / total).clamp(0.0, 100.0));
        let error_budget = sli.map(|sli| 1.0 - (100.0 - sli) / (100.0 - slo.objective));
        let mut burn_rates = Vec::new();
        let now = Utc::now().timestamp_millis();
        for window in BURNS.iter().flat_map(|burning| [burning.short, burning.long]) {
            let answer = self.engine.instant(&burn(&slo, window), now, None).await?;
            burn_rates.push((window, answer.last_number().filter(|rate| rate.is_finite())));
        }
        let rate = |window: &str| burn_rates.iter().find(|(name, _)| *name == window).and_then(|(_, rate)| *rate);
        let burns =
            |burning: &Burn| [burning.short, burning.long].iter().all(|w| rate(w).is_some_and(|r| r > burning.rate));
        let state = match error_budget {
            None => "unmeasured",
            Some(left) if left <= 0.0 => "exhausted",
            Some(_) if BURNS.iter().any(burns) => "burning",
            Some(_) => "ok",
        };
        Ok(SloStatus { slo, revision, sli, error_budget, burn_rates, state })
    }

    /// The sum of a query's events over the objective's window, by steps that the kept tiers can answer.
    async fn total(&self, slo: &Slo, query: &str) -> Result<Option<f64>, AlertingError> {
        let hours = if slo.window_days <= BY_THE_HOUR_DAYS { 1 } else { 6 };
        let (step, now) = (hours * 3_600_000, Utc::now().timestamp_millis());
        let steps = i64::from(slo.window_days) * 24 / hours;
        let start = now - (steps - 1) * step;
        let answer = self.engine.range(&over(query, &format!("{hours}h")), (start, now), step, None).await?;
        let AnswerValue::Vector(columns) = &answer.value else { return Ok(None) };
        let values: Vec<f64> = columns.iter().flat_map(|c| &c.samples).filter_map(Sample::float).collect();
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo(objective: f64) -> Slo {
        serde_json::from_value(json!({
            "id": "shop", "name": "Shop", "objective": objective,
            "good": "http_requests_total{code!~\"5..\"}", "total": "sum(increase(http_requests_total[$window]))",
        }))
        .expect("an objective")
    }

    #[test]
    fn an_objective_makes_rules_that_are_sound_and_can_fire() {
        for (objective, expect) in [(99.9, 3), (90.0, 2), (70.0, 1), (50.0, 0)] {
            let slo = slo(objective);
            check(&slo).expect("sound");
            let rules = rules(&slo);
            assert_eq!(rules.len(), expect, "{objective}");
            for rule in rules {
                super::super::validate::rule(super::super::rulebook::unsaved(rule)).expect("sound");
            }
        }
        assert!(check(&Slo { objective: 100.0, ..slo(99.0) }).is_err());
        assert!(check(&Slo { good: "rate(".to_owned(), ..slo(99.0) }).is_err());
    }
}
