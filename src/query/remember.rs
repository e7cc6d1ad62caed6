//! Parts of range answers that are kept, so that a dashboard asked again reads only what is new.
//!
//! A part is an answer over one span of blocks (an hour of windows as ingested, a day of minutes). It is used again only
//! while the blocks that it was made of are the same, by their ids, which never come again, and no head holds a window of
//! its span; so an answer with remembered parts is the answer without. Queries whose steps look at each other are not kept.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3;

use super::QueryError;
use super::calls::{Call, Function};
use super::compile::{Increases, Node, Params, Plan};
use super::engine::Engine;
use super::fetch::Reading;
use super::limits::{Budget, Pass};
use super::parts::PartId;
use super::select::Select;
use super::snapshot::held;
use super::value::{Answer, AnswerValue, Column, Sample};
use crate::model::{Labels, TimeMs, WindowStart};
use crate::storage::{BlockKey, Tier};

/// Windows are open, and told early, for so long after their end.
const SETTLES_MS: TimeMs = 2 * 60_000;
/// Most spans read at once; a limit may make it fewer.
const RUN_MAX: usize = 8;

/// What was asked, and of which span.
#[derive(Clone, Hash)]
struct Key {
    query: Arc<str>,
    service: Option<Arc<str>>,
    step: TimeMs,
    phase: TimeMs,
    exact: bool,
    tier: Tier,
    span: i64,
}

impl Key {
    /// Of the part that is made of the blocks with this `print`.
    fn id(&self, print: u64) -> PartId {
        let mut hash = Xxh3::new();
        (self, print).hash(&mut hash);
        PartId(hash.digest128())
    }
}

impl Plan {
    /// True when each step's answer is of that step alone, whatever other steps are asked for.
    fn is_local(&self) -> bool {
        is_local(&self.root)
    }
}

fn is_local(node: &Node) -> bool {
    match node {
        Node::Number(_) | Node::Text(_) => true,
        Node::Series(selected) => selected.at.is_none(),
        Node::Subquery(subquery) => subquery.at.is_none() && is_local(&subquery.of),
        Node::Negate(of) => is_local(of),
        Node::Call(Call { function, .. }, args) => {
            let looks_at_all = matches!(function, Function::Sort { .. } | Function::LabelReplace | Function::LabelJoin);
            !looks_at_all && args.iter().all(is_local)
        }
        Node::Aggregate { of, parameter, .. } => is_local(of) && parameter.as_deref().is_none_or(is_local),
        Node::Binary { left, right, .. } => is_local(left) && is_local(right),
    }
}

/// One span of blocks and the steps in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    number: i64,
    first: TimeMs,
    last: TimeMs,
    /// Its windows are over.
    closed: bool,
}

/// The spans of `params`, the closed ones whole, the open ones as far as is asked.
fn spans(params: &Params, tier: Tier) -> Vec<Span> {
    let (length, phase) = (tier.span_seconds() * 1000, params.start.rem_euclid(params.step));
    let end = params.start + (params.end - params.start) / params.step * params.step;
    // The first and the last step in [from, to).
    let steps = |from: TimeMs, to: TimeMs| {
        let first = from + (phase - from).rem_euclid(params.step);
        (first, to - 1 - (to - 1 - phase).rem_euclid(params.step))
    };
    let of_number = |number: i64| {
        let (from, to) = (number * length, (number + 1) * length);
        let closed = to + SETTLES_MS <= params.now;
        let (first, last) = if closed { steps(from, to) } else { steps(from.max(params.start), to.min(end + 1)) };
        Span { number, first, last, closed }
    };
    let numbers = params.start.div_euclid(length)..=end.div_euclid(length);
    numbers.map(of_number).filter(|span| span.first <= span.last).collect()
}

/// A query as it was asked.
pub(super) struct Asked<'a> {
    pub(super) query: &'a str,
    pub(super) service: Option<&'a str>,
}

impl Engine {
    /// The answer to a range query, with the parts of it that are remembered.
    pub(super) async fn evaluate_remembering(
        &self,
        asked: &Asked<'_>,
        (plan, reading): (&Plan, Reading),
        pass: &Pass,
        budget: &mut Budget,
    ) -> Result<Answer, QueryError> {
        let spans = spans(&plan.params, reading.tier);
        let worth_it = plan.params.start < plan.params.end && spans.iter().any(|span| span.closed);
        if worth_it && !plan.selects.is_empty() && plan.is_local() {
            match self.evaluate_in_parts(asked, (plan, reading), (&spans, pass), budget).await {
                // Whole spans reach further than what was asked: alone it may be answered.
                Err(QueryError::Limit(_) | QueryError::Execution(_)) => {}
                answered => return answered,
            }
        }
        self.evaluate(plan, (reading, None), pass, budget).await
    }

    async fn evaluate_in_parts(
        &self,
        asked: &Asked<'_>,
        (plan, reading): (&Plan, Reading),
        (spans, pass): (&[Span], &Pass),
        budget: &Budget,
    ) -> Result<Answer, QueryError> {
        let key = self.key_of(asked, plan, reading);
        let of_span = |span: &Span| {
            let params = Params { start: span.first, end: span.last, ..plan.params };
            Ok((*span, Plan::parse(asked.query, params, asked.service)?))
        };
        let parts: Vec<(Span, Plan)> = spans.iter().map(of_span).collect::<Result<_, QueryError>>()?;
        let prints = self.prints(plan, reading, &parts).await?;
        let id = |(span, print): (&Span, &Option<u64>)| Some(Key { span: span.number, ..key.clone() }.id((*print)?));
        let ids: Vec<Option<PartId>> = spans.iter().zip(&prints).map(id).collect();
        let (found, own) = self.parts.find(&ids).await;
        let all = found.iter().flatten().count();
        self.metrics.remembered((own, all - own), found.len() - all);
        let mut answers: Vec<Arc<Answer>> = Vec::new();
        let (mut at, mut most) = (0, RUN_MAX);
        while let Some(part) = found.get(at) {
            if let Some(answer) = part {
                answers.push(Arc::clone(answer));
                at += 1;
                continue;
            }
            // What is missing side by side is read at once, as far as it may be held at once.
            let run = found.iter().skip(at).take_while(|part| part.is_none()).take(most).count();
            let of_run = spans.get(at..at + run).unwrap_or_default();
            let (Some(first), Some(last)) = (of_run.first(), of_run.last()) else { break };
            let params = Params { start: first.first, end: last.last, ..plan.params };
            let (missing, mut room) = (Plan::parse(asked.query, params, asked.service)?, budget.clone());
            let answer = match self.evaluate(&missing, (reading, None), pass, &mut room).await {
                Err(QueryError::Limit(_)) if run > 1 => {
                    most = run / 2;
                    continue;
                }
                answer => answer?,
            };
            self.metrics.read(&room);
            let new: Vec<Arc<Answer>> =
                of_run.iter().map(|span| Arc::new(cut(&answer, (span.first, span.last)))).collect();
            let named = ids.iter().skip(at).zip(&new).filter_map(|(id, part)| Some(((*id)?, Arc::clone(part))));
            self.parts.keep(named.collect()).await;
            answers.extend(new);
            at += run;
        }
        Ok(join(&answers, &plan.params))
    }

    fn key_of(&self, asked: &Asked<'_>, plan: &Plan, reading: Reading) -> Key {
        Key {
            query: asked.query.into(),
            service: asked.service.map(Into::into),
            step: plan.params.step,
            phase: plan.params.start.rem_euclid(plan.params.step),
            exact: plan.params.increases == Increases::Exact,
            tier: reading.tier,
            span: 0,
        }
    }

    /// What the blocks of each part are told by; `None` for a part that is not settled.
    async fn prints(
        &self,
        whole: &Plan,
        reading: Reading,
        parts: &[(Span, Plan)],
    ) -> Result<Vec<Option<u64>>, QueryError> {
        self.know(&whole.selects).await?;
        let metrics: Vec<Vec<i64>> = whole.selects.iter().map(|select| self.ids_of(select)).collect();
        let all: Vec<i64> = metrics.iter().flatten().copied().collect();
        let bounds = |of: fn(&Select) -> TimeMs| parts.iter().flat_map(|(_, plan)| &plan.selects).map(of);
        let start = bounds(|select| select.start).min().unwrap_or_default();
        let end = bounds(|select| select.end).max().unwrap_or_default();
        let (mut keys, rows) = self.streams.storage().block_keys(&all, &reading.blocks((start, end))).await?;
        keys.sort_unstable_by_key(|key| key.id);
        let heads = self.streams.follow(&rows).await?;
        let mut oldest = WindowStart::MAX;
        for metric in
            all.iter().filter_map(|id| self.streams.registry().metric_by_id(crate::model::MetricId(*id as u64)))
        {
            for (row, stream) in rows.iter().zip(&heads) {
                oldest = oldest.min(stream.head.oldest_window(metric.index, row.cursor_seq).unwrap_or(oldest));
            }
        }
        let held = held(&rows, &heads);
        let print = |(span, plan): &(Span, Plan)| {
            let settled = held && plan.selects.iter().all(|select| reading.fine_windows(select.span()).1 < oldest);
            (span.closed && settled).then(|| print(&keys, plan, &metrics, reading))
        };
        Ok(parts.iter().map(print).collect())
    }

    fn ids_of(&self, select: &Select) -> Vec<i64> {
        let mut ids: Vec<i64> = self.metrics_of(select).iter().map(|(metric, _)| metric.id.0 as i64).collect();
        ids.sort_unstable();
        ids
    }
}

/// Tells apart what the selectors of `plan` find: their metrics, and the blocks of these in their spans.
fn print(keys: &[BlockKey], plan: &Plan, metrics: &[Vec<i64>], reading: Reading) -> u64 {
    let mut hash = Xxh3::new();
    for (select, metrics) in plan.selects.iter().zip(metrics) {
        let spans = reading.blocks(select.span());
        hash.update(&(metrics.len() as u64).to_le_bytes());
        metrics.iter().for_each(|id| hash.update(&id.to_le_bytes()));
        let inside = |key: &&BlockKey| {
            let in_span = |span: &crate::storage::BlockSpan| {
                span.tier as i16 == key.tier && span.from <= key.starts_at && key.starts_at <= span.to
            };
            metrics.binary_search(&key.metric_id).is_ok() && spans.iter().any(in_span)
        };
        keys.iter().filter(inside).for_each(|key| hash.update(&key.id.to_le_bytes()));
    }
    hash.digest()
}

/// The steps of `answer` in `[first, last]`.
fn cut(answer: &Answer, (first, last): (TimeMs, TimeMs)) -> Answer {
    let from = answer.times.partition_point(|at| *at < first);
    let to = answer.times.partition_point(|at| *at <= last);
    let value = match &answer.value {
        AnswerValue::Vector(columns) => {
            let of = |column: &Column| {
                let samples = column.samples.get(from..to).unwrap_or_default();
                let there = samples.iter().any(Sample::is_some);
                there.then(|| Column { labels: column.labels.clone(), samples: samples.to_vec() })
            };
            AnswerValue::Vector(columns.iter().filter_map(of).collect())
        }
        AnswerValue::Scalar(numbers) => AnswerValue::Scalar(numbers.get(from..to).unwrap_or_default().to_vec()),
        AnswerValue::Text(text) => AnswerValue::Text(text.clone()),
    };
    let times = answer.times.get(from..to).unwrap_or_default().to_vec();
    Answer { times, value, warnings: answer.warnings.clone(), infos: answer.infos.clone() }
}

/// One answer of several that follow one another, cut to what was asked.
fn join(parts: &[Arc<Answer>], params: &Params) -> Answer {
    let times: Vec<TimeMs> = parts.iter().flat_map(|part| &part.times).copied().collect();
    let mut places: HashMap<&Labels, usize> = HashMap::new();
    let mut columns: Vec<Column> = Vec::new();
    let mut numbers: Vec<f64> = Vec::new();
    let (mut from, mut is_scalar) = (0, false);
    let (mut warnings, mut infos): (Vec<String>, Vec<String>) = Default::default();
    for part in parts {
        match &part.value {
            AnswerValue::Vector(of_part) => {
                for column in of_part {
                    let place = *places.entry(&column.labels).or_insert_with(|| {
                        let samples = vec![Sample::None; times.len()];
                        columns.push(Column { labels: column.labels.clone(), samples });
                        columns.len() - 1
                    });
                    let to = columns.get_mut(place).and_then(|known| known.samples.get_mut(from..));
                    to.into_iter().flatten().zip(&column.samples).for_each(|(to, sample)| to.clone_from(sample));
                }
            }
            AnswerValue::Scalar(of_part) => {
                is_scalar = true;
                numbers.extend(of_part);
            }
            AnswerValue::Text(_) => {}
        }
        from += part.times.len();
        for (all, own) in [(&mut warnings, &part.warnings), (&mut infos, &part.infos)] {
            let new: Vec<String> = own.iter().filter(|text| !all.contains(text)).cloned().collect();
            all.extend(new);
        }
    }
    columns.sort_by(|a, b| a.labels.cmp(&b.labels));
    let value = if is_scalar { AnswerValue::Scalar(numbers) } else { AnswerValue::Vector(columns) };
    cut(&Answer { times, value, warnings, infos }, (params.start, params.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Width;

    #[test]
    fn closed_spans_are_whole_and_the_open_one_ends_where_it_is_asked() {
        let hour = 3_600_000;
        let params = Params::range((hour + 90_000, 3 * hour + 150_000), 60_000, 3 * hour + 200_000, Width::TEN_SECONDS);
        let told = spans(&params, Tier::Fine);
        let span = |number, first, last, closed| Span { number, first, last, closed };
        assert_eq!(
            told,
            [
                span(1, hour + 30_000, 2 * hour - 30_000, true),
                span(2, 2 * hour + 30_000, 3 * hour - 30_000, true),
                span(3, 3 * hour + 30_000, 3 * hour + 150_000, false),
            ]
        );
    }

    #[test]
    fn parts_join_to_the_whole() {
        let part = |times: &[TimeMs], rows: &[(&str, &[f64])]| {
            let column = |(room, numbers): &(&str, &[f64])| Column {
                labels: Labels::of(&[("room", room)]),
                samples: numbers.iter().map(|n| Sample::Float(*n)).collect(),
            };
            Arc::new(Answer {
                times: times.to_vec(),
                value: AnswerValue::Vector(rows.iter().map(column).collect()),
                warnings: vec!["once".to_owned()],
                infos: Vec::new(),
            })
        };
        let parts = [part(&[0, 10], &[("b", &[1.0, 2.0])]), part(&[20], &[("a", &[7.0]), ("b", &[3.0])])];
        let whole = join(&parts, &Params::range((10, 20), 10, 0, Width::TEN_SECONDS));
        let AnswerValue::Vector(columns) = &whole.value else { panic!("a vector") };
        let rows: Vec<(&str, &[Sample])> =
            columns.iter().map(|c| (c.labels.get("room").unwrap_or_default(), c.samples.as_slice())).collect();
        let f = Sample::Float;
        assert_eq!(rows, [("a", &[Sample::None, f(7.0)][..]), ("b", &[f(2.0), f(3.0)][..])]);
        assert_eq!((whole.times, whole.warnings), (vec![10, 20], vec!["once".to_owned()]));
    }

    #[test]
    fn steps_that_look_at_each_other_are_told() {
        let local = |query: &str| {
            Plan::parse(query, Params::range((0, 60_000), 10_000, 0, Width::TEN_SECONDS), None)
                .expect("parses")
                .is_local()
        };
        for query in ["sum(rate(x[5m]))", "topk(2, x)", "max_over_time(x[5m:1m])", "x offset 1h > bool 2"] {
            assert!(local(query), "{query}");
        }
        for query in ["x @ 5", "sum(x @ end())", "sort(x)", "label_join(x, \"a\", \"\", \"b\") + 1", "1 - (y or x @ 1)"]
        {
            assert!(!local(query), "{query}");
        }
    }
}
