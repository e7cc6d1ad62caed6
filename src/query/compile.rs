//! Compilation: the parsed tree becomes nodes, indicators are put in, selectors numbered with the span they need.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql_parser::label::{Matcher, Matchers};
use promql_parser::parser::{
    AtModifier, BinModifier, Expr, LabelModifier, Offset, SubqueryExpr, VectorMatchCardinality, VectorSelector, parse,
};

use super::QueryError;
use super::aggregate::AGGREGATIONS;
use super::calls::{Call, Function};
use super::indicators::indicator;
use super::samples::{Grid, covered};
use super::select::Select;
use crate::model::{TimeMs, Width};

/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// Deepest nesting of a query.
const DEPTH_MAX: usize = 64;
/// Most steps of a range.
const STEPS_MAX: i64 = 11_000;
/// The name that stands for a rule's number.
pub(super) const THRESHOLD: &str = "threshold";
/// Most steps of a subquery, over the whole range of its query.
const SUBQUERY_STEPS_MAX: i64 = 100_000;
/// Step of a subquery that names none.
const SUBQUERY_STEP_MS: TimeMs = 60_000;
/// Default look-back.
const LOOKBACK_MS: TimeMs = 5 * 60 * 1000;

/// When to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// First step.
    pub start: TimeMs,
    /// Last step at the latest.
    pub end: TimeMs,
    /// Between steps; any positive number for an instant.
    pub step: TimeMs,
    /// When it is asked: windows that are open now are shown at once.
    pub now: TimeMs,
    /// Width of the windows read.
    pub width: Width,
    /// How increases are told.
    pub increases: Increases,
}

/// How `rate`, `increase` and `delta` tell what a range added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Increases {
    /// What was added between the ends of windows, resets by start time: no guess, and the parts add up to the whole.
    #[default]
    Exact,
    /// As Prometheus does: from the first to the last sample of the range, extrapolated to its ends.
    Extrapolated,
}

impl Increases {
    /// The parameter's values.
    pub const WORDS: [(&str, Self); 2] = [("exact", Self::Exact), ("prometheus", Self::Extrapolated)];

    /// What `word` names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, increases)| increases)
    }
}

impl Params {
    /// One step at `at`.
    #[must_use]
    pub const fn instant(at: TimeMs, now: TimeMs, width: Width) -> Self {
        Self { start: at, end: at, step: 1, now, width, increases: Increases::Exact }
    }

    /// Steps from `start` to `end` at the latest.
    #[must_use]
    pub const fn range((start, end): (TimeMs, TimeMs), step: TimeMs, now: TimeMs, width: Width) -> Self {
        Self { start, end, step, now, width, increases: Increases::Exact }
    }

    pub(super) fn grid(&self) -> Result<Grid, QueryError> {
        Ok(Grid {
            start: self.start,
            step: self.step,
            steps: self.steps()?,
            now: self.now,
            lookback: self.lookback(),
            width: self.width,
            increases: self.increases,
        })
    }

    /// A value is seen until the next window ends.
    fn lookback(&self) -> TimeMs {
        LOOKBACK_MS.max(self.width.millis())
    }

    fn steps(&self) -> Result<usize, QueryError> {
        if self.step <= 0 {
            return Err(QueryError::Invalid("step must be greater than zero".to_owned()));
        }
        if self.end < self.start {
            return Err(QueryError::Invalid("end must not be before start".to_owned()));
        }
        let steps = (self.end - self.start) / self.step + 1;
        if steps > STEPS_MAX {
            return Err(QueryError::Limit(format!("{steps} steps > limit of {STEPS_MAX}: choose a greater step")));
        }
        Ok(steps as usize)
    }
}

/// An instant or range selector in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selected {
    /// Number of its [`Select`].
    pub(super) select: usize,
    /// Range, 0 for an instant selector.
    pub(super) range: TimeMs,
    /// How much earlier.
    pub(super) offset: TimeMs,
    /// At this time, whatever the step.
    pub(super) at: Option<TimeMs>,
}

/// An expression evaluated at steps of its own.
#[derive(Debug)]
pub(super) struct Subquery {
    pub(super) of: Node,
    pub(super) range: TimeMs,
    pub(super) offset: TimeMs,
    pub(super) at: Option<TimeMs>,
    /// Multiples of its step, over all that the steps of the query look back at.
    pub(super) grid: Grid,
}

/// A node of a compiled query.
#[derive(Debug)]
pub(super) enum Node {
    Number(f64),
    Text(String),
    Series(Selected),
    Subquery(Box<Subquery>),
    Negate(Box<Node>),
    Call(Call, Vec<Node>),
    Aggregate { op: String, of: Box<Node>, parameter: Option<Box<Node>>, by: Option<LabelModifier> },
    Binary { op: String, left: Box<Node>, right: Box<Node>, matching: Matching },
}

/// How operands are matched.
#[derive(Debug)]
pub(super) struct Matching {
    pub(super) labels: Option<LabelModifier>,
    pub(super) cardinality: VectorMatchCardinality,
    pub(super) as_bool: bool,
}

/// A compiled query.
#[derive(Debug)]
pub struct Plan {
    pub(super) root: Node,
    pub(super) selects: Vec<Select>,
    pub(super) params: Params,
}

impl Plan {
    /// Compiles `query`; `service` narrows every selector to that `service.name`.
    ///
    /// # Errors
    /// When it does not parse, asks for what is not supported, or is over a limit.
    pub fn parse(query: &str, params: Params, service: Option<&str>) -> Result<Self, QueryError> {
        params.steps()?;
        let expr = parse_bounded(query)?;
        Self::compile(
            &expr,
            Compiler { params, span: (params.start, params.end), service, threshold: None, selects: Vec::new() },
        )
    }

    /// Compiles a parsed expression in which the name `threshold` alone stands for that number.
    pub(super) fn of_expr(expr: &Expr, params: Params, threshold: Option<f64>) -> Result<Self, QueryError> {
        params.steps()?;
        Self::compile(
            expr,
            Compiler { params, span: (params.start, params.end), service: None, threshold, selects: Vec::new() },
        )
    }

    fn compile(expr: &Expr, mut compiler: Compiler<'_>) -> Result<Self, QueryError> {
        let root = compiler.node(expr, 0)?;
        Ok(Self { root, selects: compiler.selects, params: compiler.params })
    }

    /// The selectors, in the order in which `evaluate` wants their series.
    #[must_use]
    pub fn selects(&self) -> &[Select] {
        &self.selects
    }
}

pub(super) fn parse_bounded(query: &str) -> Result<Expr, QueryError> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(QueryError::Limit(format!("query of {} bytes > limit of {QUERY_BYTES_MAX}", query.len())));
    }
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in query.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEPTH_MAX {
        return Err(QueryError::Limit(format!("query nested {deepest} deep > limit of {DEPTH_MAX}")));
    }
    parse(query).map_err(QueryError::Invalid)
}

/// `query` laid out for people, as Prometheus lays it out.
///
/// # Errors
/// When it does not parse, or is over a limit.
pub fn format_query(query: &str) -> Result<String, QueryError> {
    parse_bounded(query).map(|expr| expr.prettify())
}

/// The parsed tree of `query` as JSON.
///
/// # Errors
/// When it does not parse, or is over a limit.
pub fn query_tree(query: &str) -> Result<serde_json::Value, QueryError> {
    serde_json::to_value(parse_bounded(query)?).map_err(|error| QueryError::Execution(error.to_string()))
}

/// The selector `text` alone, over `[start, end]` as it is.
pub(super) fn selector(text: &str, (start, end): (TimeMs, TimeMs)) -> Result<Select, QueryError> {
    let Expr::VectorSelector(selector) = parse_bounded(text)? else {
        return Err(QueryError::Invalid(format!("invalid parameter \"match[]\": {text:?} is not a selector")));
    };
    let params = Params::range((start, end), 1, end, Width::SECOND);
    let mut compiler = Compiler { params, span: (start, end), service: None, threshold: None, selects: Vec::new() };
    compiler.select(&selector, 0)?;
    let select = compiler.selects.pop().ok_or_else(|| QueryError::Invalid(format!("{text:?} is not a selector")))?;
    Ok(Select { start, end, ..select })
}

struct Compiler<'a> {
    params: Params,
    /// First and last time at which the expression in hand is evaluated.
    span: (TimeMs, TimeMs),
    service: Option<&'a str>,
    /// What the name `threshold` alone stands for.
    threshold: Option<f64>,
    selects: Vec<Select>,
}

/// Far enough for any range, near enough to be added up.
const MILLIS_MAX: TimeMs = TimeMs::MAX / 16;

fn millis(duration: Duration) -> TimeMs {
    TimeMs::try_from(duration.as_millis()).unwrap_or(MILLIS_MAX).min(MILLIS_MAX)
}

fn offset_of(offset: Option<&Offset>) -> TimeMs {
    match offset {
        Some(Offset::Pos(duration)) => millis(*duration),
        Some(Offset::Neg(duration)) => -millis(*duration),
        None => 0,
    }
}

fn since_epoch(at: SystemTime) -> TimeMs {
    at.duration_since(UNIX_EPOCH).map_or_else(|before| -millis(before.duration()), millis)
}

impl Compiler<'_> {
    fn node(&mut self, expr: &Expr, depth: usize) -> Result<Node, QueryError> {
        if depth > DEPTH_MAX * 4 {
            return Err(QueryError::Limit(format!("query nested deeper than {}", DEPTH_MAX * 4)));
        }
        let depth = depth + 1;
        Ok(match expr {
            Expr::NumberLiteral(number) => Node::Number(number.val),
            Expr::StringLiteral(text) => Node::Text(text.val.clone()),
            Expr::Paren(paren) => self.node(&paren.expr, depth)?,
            Expr::Unary(unary) => Node::Negate(Box::new(self.node(&unary.expr, depth)?)),
            Expr::VectorSelector(selector) => return self.selector(selector, depth),
            Expr::MatrixSelector(matrix) => {
                let range = millis(matrix.range);
                Node::Series(self.select(&matrix.vs, range)?)
            }
            Expr::Aggregate(aggregate) => Node::Aggregate {
                op: aggregation(&aggregate.op.to_string())?,
                of: Box::new(self.node(&aggregate.expr, depth)?),
                parameter: match &aggregate.param {
                    Some(parameter) => Some(Box::new(self.node(parameter, depth)?)),
                    None => None,
                },
                by: aggregate.modifier.clone(),
            },
            Expr::Binary(binary) => Node::Binary {
                op: binary.op.to_string(),
                left: Box::new(self.node(&binary.lhs, depth)?),
                right: Box::new(self.node(&binary.rhs, depth)?),
                matching: matching(binary.modifier.as_ref(), &binary.op.to_string())?,
            },
            Expr::Call(call) => {
                let function = Function::named(call.func.name)
                    .ok_or_else(|| QueryError::Unsupported(format!("function {}()", call.func.name)))?;
                let args = call.args.args.iter().map(|arg| self.node(arg, depth)).collect::<Result<Vec<_>, _>>()?;
                Node::Call(Call { function, name: call.func.name }, args)
            }
            Expr::Subquery(subquery) => Node::Subquery(Box::new(self.subquery(subquery, depth)?)),
            Expr::Extension(_) => return Err(QueryError::Unsupported("this expression".to_owned())),
        })
    }

    /// A selector, or the indicator whose name stands alone.
    fn selector(&mut self, selector: &VectorSelector, depth: usize) -> Result<Node, QueryError> {
        let bare = selector.matchers.matchers.is_empty() && selector.matchers.or_matchers.is_empty();
        let named = selector.name.as_deref().filter(|_| bare && selector.offset.is_none() && selector.at.is_none());
        if let Some(threshold) = self.threshold.filter(|_| named == Some(THRESHOLD)) {
            return Ok(Node::Number(threshold));
        }
        match named.and_then(indicator) {
            Some(indicator) => self.node(&parse(indicator.query).map_err(QueryError::Invalid)?, depth),
            None => Ok(Node::Series(self.select(selector, 0)?)),
        }
    }

    /// The time that `@` names.
    fn at(&self, at: Option<&AtModifier>) -> Option<TimeMs> {
        at.map(|at| match at {
            AtModifier::Start => self.params.start,
            AtModifier::End => self.params.end,
            AtModifier::At(at) => since_epoch(*at),
        })
    }

    /// First and last time looked back from.
    fn looked_from(&self, at: Option<TimeMs>, offset: TimeMs) -> (TimeMs, TimeMs) {
        let (first, last) = at.map_or(self.span, |at| (at, at));
        (first - offset, last - offset)
    }

    fn subquery(&mut self, subquery: &SubqueryExpr, depth: usize) -> Result<Subquery, QueryError> {
        let (offset, at) = (offset_of(subquery.offset.as_ref()), self.at(subquery.at.as_ref()));
        let (range, step) = (millis(subquery.range), subquery.step.map_or(SUBQUERY_STEP_MS, millis));
        if step <= 0 {
            return Err(QueryError::Invalid("step of a subquery must be greater than zero".to_owned()));
        }
        let (first, last) = self.looked_from(at, offset);
        // Those within (first - range, last].
        let start = ((first - range).div_euclid(step) + 1) * step;
        let steps = (last - start).div_euclid(step) + 1;
        if steps > SUBQUERY_STEPS_MAX {
            let text = format!("{steps} steps of a subquery > limit of {SUBQUERY_STEPS_MAX}: choose a greater step");
            return Err(QueryError::Limit(text));
        }
        let steps = usize::try_from(steps).unwrap_or(0);
        let outer = std::mem::replace(&mut self.span, (start, last));
        let of = self.node(&subquery.expr, depth)?;
        self.span = outer;
        let Params { now, width, increases, .. } = self.params;
        let grid = Grid { start, step, steps, now, lookback: self.params.lookback(), width, increases };
        Ok(Subquery { of, range, offset, at, grid })
    }

    fn select(&mut self, selector: &VectorSelector, range: TimeMs) -> Result<Selected, QueryError> {
        let (offset, at) = (offset_of(selector.offset.as_ref()), self.at(selector.at.as_ref()));
        let Matchers { matchers, or_matchers } = selector.matchers.clone();
        let (mut names, mut matchers): (Vec<Matcher>, Vec<Matcher>) =
            matchers.into_iter().partition(|matcher| matcher.name == "__name__");
        if let Some(name) = &selector.name {
            names.push(Matcher::new(promql_parser::label::MatchOp::Equal, "__name__", name));
        }
        if let Some(service) = self.service {
            matchers.push(Matcher::new(promql_parser::label::MatchOp::Equal, "service_name", service));
        }
        // A total needs the one before the span to count from.
        let width = self.params.width;
        let before = covered(range, width) + self.params.lookback() + width.millis();
        let (first, last) = self.looked_from(at, offset);
        self.selects.push(Select { names, matchers, or_matchers, start: first - before, end: last });
        Ok(Selected { select: self.selects.len() - 1, range, offset, at })
    }
}

fn aggregation(op: &str) -> Result<String, QueryError> {
    let known = AGGREGATIONS.contains(&op);
    if known { Ok(op.to_owned()) } else { Err(QueryError::Unsupported(format!("aggregation {op}()"))) }
}

fn matching(modifier: Option<&BinModifier>, op: &str) -> Result<Matching, QueryError> {
    if modifier.is_some_and(|m| m.fill_values.lhs.is_some() || m.fill_values.rhs.is_some()) {
        return Err(QueryError::Unsupported("the fill modifier".to_owned()));
    }
    let many = matches!(op, "and" | "or" | "unless");
    let default = if many { VectorMatchCardinality::ManyToMany } else { VectorMatchCardinality::OneToOne };
    Ok(Matching {
        labels: modifier.and_then(|m| m.matching.clone()),
        cardinality: modifier.map_or(default, |m| m.card.clone()),
        as_bool: modifier.is_some_and(|m| m.return_bool),
    })
}
