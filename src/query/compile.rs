//! Compilation: the parsed tree becomes nodes, indicators are put in, selectors numbered with the span they need.

use std::time::Duration;

use promql_parser::label::{Matcher, Matchers};
use promql_parser::parser::{
    AtModifier, BinModifier, Expr, LabelModifier, Offset, VectorMatchCardinality, VectorSelector, parse,
};

use super::QueryError;
use super::calls::{Call, Function};
use super::indicators::indicator;
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
/// Default look-back.
pub(super) const LOOKBACK_MS: TimeMs = 5 * 60 * 1000;

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
}

impl Params {
    /// One step at `at`.
    #[must_use]
    pub const fn instant(at: TimeMs, now: TimeMs, width: Width) -> Self {
        Self { start: at, end: at, step: 1, now, width }
    }

    pub(super) fn steps(&self) -> Result<usize, QueryError> {
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
}

/// A node of a compiled query.
#[derive(Debug)]
pub(super) enum Node {
    Number(f64),
    Text(String),
    Series(Selected),
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
        Self::compile(&expr, Compiler { params, service, threshold: None, selects: Vec::new() })
    }

    /// Compiles a parsed expression in which the name `threshold` alone stands for that number.
    pub(super) fn of_expr(expr: &Expr, params: Params, threshold: Option<f64>) -> Result<Self, QueryError> {
        params.steps()?;
        Self::compile(expr, Compiler { params, service: None, threshold, selects: Vec::new() })
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

struct Compiler<'a> {
    params: Params,
    service: Option<&'a str>,
    /// What the name `threshold` alone stands for.
    threshold: Option<f64>,
    selects: Vec<Select>,
}

fn millis(duration: Duration) -> TimeMs {
    TimeMs::try_from(duration.as_millis()).unwrap_or(TimeMs::MAX / 4)
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
                op: aggregate.op.to_string(),
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
                matching: matching(binary.modifier.as_ref(), &binary.op.to_string()),
            },
            Expr::Call(call) => {
                let function = Function::named(call.func.name)
                    .ok_or_else(|| QueryError::Unsupported(format!("function {}()", call.func.name)))?;
                let args = call.args.args.iter().map(|arg| self.node(arg, depth)).collect::<Result<Vec<_>, _>>()?;
                Node::Call(Call { function, name: call.func.name }, args)
            }
            Expr::Subquery(_) => return Err(QueryError::Unsupported("a subquery".to_owned())),
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

    fn select(&mut self, selector: &VectorSelector, range: TimeMs) -> Result<Selected, QueryError> {
        if let Some(AtModifier::Start | AtModifier::End | AtModifier::At(_)) = selector.at {
            return Err(QueryError::Unsupported("the @ modifier".to_owned()));
        }
        let offset = match &selector.offset {
            Some(Offset::Pos(duration)) => millis(*duration),
            Some(Offset::Neg(duration)) => -millis(*duration),
            None => 0,
        };
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
        let before = if range > 0 { range + LOOKBACK_MS } else { LOOKBACK_MS };
        let (start, end) = (self.params.start - offset - before, self.params.end - offset);
        self.selects.push(Select { names, matchers, or_matchers, start, end });
        Ok(Selected { select: self.selects.len() - 1, range, offset })
    }
}

fn matching(modifier: Option<&BinModifier>, op: &str) -> Matching {
    let many = matches!(op, "and" | "or" | "unless");
    let default = if many { VectorMatchCardinality::ManyToMany } else { VectorMatchCardinality::OneToOne };
    Matching {
        labels: modifier.and_then(|m| m.matching.clone()),
        cardinality: modifier.map_or(default, |m| m.card.clone()),
        as_bool: modifier.is_some_and(|m| m.return_bool),
    }
}
