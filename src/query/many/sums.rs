//! Sums of rates, kept by group and window: an evaluation adds up windows, not series, but for what is live.
//!
//! Gives what the plan gives; the test beside [`super`] compares them. Whatever is out of the ordinary is left to the plan.

use hashbrown::HashMap;

use super::super::aggregate::group_labels;
use super::super::condition::SumOfRates;
use super::super::value::{Answer, AnswerValue, Column, Sample, without_name};
use super::added::Added;
use super::kept::Metric;
use super::standing::Meaning;
use crate::model::{Labels, TimeMs, Width, WindowStart};

/// By how much rules may look back beside one another.
const DELAY_MAX: TimeMs = 60 * 60 * 1_000;

/// When a sum is asked for.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: TimeMs,
    pub(super) now: TimeMs,
    pub(super) width: Width,
}

impl Moment {
    fn end_of(self, window: WindowStart) -> TimeMs {
        TimeMs::from(window) * 1_000 + self.width.millis()
    }

    /// When a window begins to count: at its end, or at its start while it is open.
    fn counts_from(self, window: WindowStart) -> TimeMs {
        let end = self.end_of(window);
        if end > self.now { end - self.width.millis() } else { end }
    }
}

/// The sums of one query.
#[derive(Default)]
pub(super) struct Sums {
    /// Which metrics, in which build, with how many series, they were made of.
    of: Vec<(u64, u64, usize)>,
    groups: Vec<Group>,
    /// By meaning and picked series.
    group_of: Vec<Vec<u32>>,
    /// First totals, which count only in spans that hold their start time.
    firsts: Vec<(u32, Added)>,
    is_usable: bool,
}

/// A group's closed windows.
struct Group {
    labels: Labels,
    /// In order.
    windows: Vec<(WindowStart, f64)>,
}

impl Sums {
    pub(super) fn answer(
        &mut self,
        sum: &SumOfRates,
        meanings: &[Meaning],
        metrics: &HashMap<u32, Metric>,
        moment: Moment,
    ) -> Option<Answer> {
        if sum.range % moment.width.millis() != 0 || moment.width >= Width::MINUTE {
            return None;
        }
        let metrics: Vec<&Metric> =
            meanings.iter().map(|meaning| metrics.get(&meaning.metric.index)).collect::<Option<_>>()?;
        let of =
            meanings.iter().zip(&metrics).map(|(meaning, metric)| (metric.name, metric.build, meaning.picked.len()));
        let of: Vec<(u64, u64, usize)> = of.collect();
        if self.of != of {
            *self = Self { of, ..Self::default() };
            self.is_usable = self.build(sum, meanings, &metrics, moment).is_some();
        }
        if !self.is_usable {
            return None;
        }
        let totals = self.totals(meanings, &metrics, (moment.at - sum.range, moment))?;
        let factor = if sum.per_second { 1_000.0 / sum.range as f64 } else { 1.0 };
        let column = |(group, total): (&Group, Option<f64>)| {
            Some(Column { labels: group.labels.clone(), samples: vec![Sample::Float(total? * factor)] })
        };
        let columns = self.groups.iter().zip(totals).filter_map(column).collect();
        Some(Answer {
            times: vec![moment.at],
            value: AnswerValue::Vector(columns),
            warnings: Vec::new(),
            infos: Vec::new(),
        })
    }

    fn build(&mut self, sum: &SumOfRates, meanings: &[Meaning], metrics: &[&Metric], moment: Moment) -> Option<()> {
        let mut known: HashMap<Labels, u32> = HashMap::new();
        let mut windows: Vec<HashMap<WindowStart, f64>> = Vec::new();
        for (meaning, metric) in meanings.iter().zip(metrics) {
            if meaning.metric.metric.kind.is_histogram() {
                return None;
            }
            let mut group_of = Vec::with_capacity(meaning.picked.len());
            for one in &meaning.picked {
                let labels = group_labels(&without_name(one.shown.as_ref()?), sum.by.as_ref());
                let next = self.groups.len() as u32;
                let group = *known.entry(labels.clone()).or_insert(next);
                if group == next {
                    self.groups.push(Group { labels, windows: Vec::new() });
                    windows.push(HashMap::new());
                }
                group_of.push(group);
                let closed = &metric.series.get(one.place as usize)?.added.closed;
                if closed.last().is_some_and(|newest| moment.end_of(newest.window) > moment.now) {
                    // It begins to count later than others that are closed.
                    return None;
                }
                self.firsts.extend(closed.iter().filter(|added| added.since.is_some()).map(|added| (group, *added)));
                let of_group = windows.get_mut(group as usize)?;
                for added in closed.iter().filter(|added| added.since.is_none()) {
                    *of_group.entry(added.window).or_default() += added.amount;
                }
            }
            self.group_of.push(group_of);
        }
        for (group, windows) in self.groups.iter_mut().zip(windows) {
            group.windows = windows.into_iter().collect();
            group.windows.sort_by_key(|(window, _)| *window);
        }
        // Spans move on, but for the delays of rules: what is older is so for ever.
        let start = moment.at - sum.range - DELAY_MAX;
        self.firsts.retain(|(_, added)| {
            moment.end_of(added.window) > start && added.since.is_some_and(|since| since >= start)
        });
        Some(())
    }

    /// The sum of each group over `(start, at]`; `None` in it where nothing was added.
    fn totals(
        &self,
        meanings: &[Meaning],
        metrics: &[&Metric],
        (start, moment): (TimeMs, Moment),
    ) -> Option<Vec<Option<f64>>> {
        let counts =
            |added: &Added, at: TimeMs| start < at && at <= moment.at && added.since.is_none_or(|since| since >= start);
        let closed = |group: &Group| {
            let from = group.windows.partition_point(|(window, _)| moment.end_of(*window) <= start);
            let to = group.windows.partition_point(|(window, _)| moment.end_of(*window) <= moment.at);
            let inside = group.windows.get(from..to).filter(|inside| !inside.is_empty())?;
            Some(inside.iter().map(|(_, amount)| amount).sum::<f64>())
        };
        let mut totals: Vec<Option<f64>> = self.groups.iter().map(closed).collect();
        let mut add = |group: u32, amount: f64| {
            if let Some(total) = totals.get_mut(group as usize) {
                *total.get_or_insert(0.0) += amount;
            }
        };
        for (group, added) in self.firsts.iter().filter(|(_, added)| counts(added, moment.end_of(added.window))) {
            add(*group, added.amount);
        }
        for ((meaning, metric), group_of) in meanings.iter().zip(metrics).zip(&self.group_of) {
            for (one, group) in meaning.picked.iter().zip(group_of) {
                let added = &metric.series.get(one.place as usize)?.added;
                if added.is_disturbed {
                    return None;
                }
                let live = added.live.iter().filter(|added| counts(added, moment.counts_from(added.window)));
                live.for_each(|added| add(*group, added.amount));
            }
        }
        Some(totals)
    }
}
