//! Conditions of rules: a query and, at the top, its comparison with `threshold`.
//!
//! Only the comparison at the top is taken apart: then the value is known on both sides of the threshold, which recovery
//! thresholds, several severities and charts need. Anywhere else `threshold` is simply the rule's number, and the condition
//! is a filter as in Prometheus: what it lets through is a breach.

use promql_parser::parser::{Expr, LabelModifier, VectorSelector};

use super::QueryError;
use super::compile::{Params, Plan, THRESHOLD, parse_bounded};
use super::indicators::indicator;
use crate::model::{TimeMs, Width};

/// How a value is compared with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Different,
}

impl Compare {
    fn of(op: &str) -> Option<Self> {
        Some(match op {
            ">" => Self::Above,
            ">=" => Self::AtLeast,
            "<" => Self::Below,
            "<=" => Self::AtMost,
            "==" => Self::Equal,
            "!=" => Self::Different,
            _ => return None,
        })
    }

    /// The same with its sides exchanged.
    const fn mirrored(self) -> Self {
        match self {
            Self::Above => Self::Below,
            Self::AtLeast => Self::AtMost,
            Self::Below => Self::Above,
            Self::AtMost => Self::AtLeast,
            same => same,
        }
    }

    /// Whether `value` is beyond `threshold`; NaN never is.
    #[must_use]
    pub fn is_breach(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
            Self::Equal => value == threshold,
            Self::Different => value != threshold && !value.is_nan(),
        }
    }

    /// Whether a greater value is worse; `None` where neither direction is.
    #[must_use]
    pub const fn greater_is_worse(self) -> Option<bool> {
        match self {
            Self::Above | Self::AtLeast => Some(true),
            Self::Below | Self::AtMost => Some(false),
            Self::Equal | Self::Different => None,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::Different => "!=",
        }
    }
}

/// A parsed condition.
#[derive(Clone, Debug)]
pub struct Condition {
    query: Expr,
    /// Equal for queries that are alike.
    key: u128,
    /// Each selector's newest windows are all that it needs.
    is_of_newest: bool,
    sum: Option<SumOfRates>,
    /// The comparison at the top with `threshold`; `None` for a filter.
    pub compare: Option<Compare>,
    threshold: Option<f64>,
    /// Unit of its values in UCUM, empty when unknown.
    pub unit: &'static str,
}

impl Condition {
    /// Reads `text`, in which `threshold` stands for that number.
    ///
    /// # Errors
    /// When it does not parse, is over a limit, or asks for what is not supported.
    pub fn parse(text: &str, threshold: Option<f64>) -> Result<Self, QueryError> {
        let expr = without_parens(parse_bounded(text)?);
        let (query, compare) = match taken_apart(&expr) {
            Some((query, compare)) => (query.clone(), Some(compare)),
            None => (expr, None),
        };
        let unit = named(&query).and_then(indicator).map_or("", |indicator| indicator.unit);
        let mut text = format!("{query:?}");
        if text.contains(THRESHOLD) {
            text.push_str(&format!("{threshold:?}"));
        }
        let key = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
        let (is_of_newest, sum) = (is_of_newest(&query), SumOfRates::of(&query));
        let condition = Self { query, key, is_of_newest, sum, compare, threshold, unit };
        if compare.is_some() && threshold.is_none() {
            return Err(QueryError::Invalid("the condition names threshold, which is not given".to_owned()));
        }
        // What is not supported is found out now and not in the night.
        condition.plan(Params::instant(0, 0, Width::TEN_SECONDS))?;
        Ok(condition)
    }

    /// Equal for conditions whose queries give the same.
    pub(super) const fn key(&self) -> u128 {
        self.key
    }

    /// True when the newest windows of each series are all that its query needs.
    pub(super) const fn is_of_newest(&self) -> bool {
        self.is_of_newest
    }

    /// Its query, where it is a sum of rates.
    pub(super) const fn sum(&self) -> Option<&SumOfRates> {
        self.sum.as_ref()
    }

    /// Whether its plan stays the same but for the time: it names none.
    pub(super) fn is_steady(&self) -> bool {
        every(&self.query, &|expr| match expr {
            Expr::VectorSelector(selector) => selector.at.is_none(),
            Expr::MatrixSelector(matrix) => matrix.vs.at.is_none(),
            Expr::Subquery(_) => false,
            _ => true,
        })
    }

    /// The plan of its query.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn plan(&self, params: Params) -> Result<Plan, QueryError> {
        Plan::of_expr(&self.query, params, self.threshold)
    }
}

/// `sum by (…) (rate(…[…]))` or `increase`: what a rule over many counters mostly asks, and what can be kept as sums.
#[derive(Clone, Debug)]
pub(super) struct SumOfRates {
    pub(super) by: Option<LabelModifier>,
    pub(super) range: TimeMs,
    pub(super) per_second: bool,
}

impl SumOfRates {
    fn of(expr: &Expr) -> Option<Self> {
        let Expr::Aggregate(aggregate) = inside(expr) else { return None };
        let Expr::Call(call) = inside(&aggregate.expr) else { return None };
        let Some(Expr::MatrixSelector(matrix)) = call.args.args.first().map(|arg| inside(arg)) else { return None };
        let is_sum = aggregate.op.to_string() == "sum" && aggregate.param.is_none();
        let is_now = matrix.vs.offset.is_none() && matrix.vs.at.is_none();
        let per_second = call.func.name == "rate";
        if !is_sum || !is_now || !(per_second || call.func.name == "increase") {
            return None;
        }
        let range = TimeMs::try_from(matrix.range.as_millis()).ok()?;
        Some(Self { by: aggregate.modifier.clone(), range, per_second })
    }
}

fn inside(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => inside(&paren.expr),
        other => other,
    }
}

/// Whether `test` is true of an expression and all that it is made of.
fn every(expr: &Expr, test: &impl Fn(&Expr) -> bool) -> bool {
    test(expr)
        && match expr {
            Expr::Aggregate(aggregate) => {
                every(&aggregate.expr, test) && aggregate.param.as_ref().is_none_or(|parameter| every(parameter, test))
            }
            Expr::Unary(unary) => every(&unary.expr, test),
            Expr::Binary(binary) => every(&binary.lhs, test) && every(&binary.rhs, test),
            Expr::Paren(paren) => every(&paren.expr, test),
            Expr::Subquery(subquery) => every(&subquery.expr, test),
            Expr::Call(call) => call.args.args.iter().all(|arg| every(arg, test)),
            _ => true,
        }
}

/// No ranges, and no indicators, which may have some.
fn is_of_newest(query: &Expr) -> bool {
    every(query, &|expr| match expr {
        Expr::MatrixSelector(_) | Expr::Subquery(_) => false,
        other => named(other).and_then(indicator).is_none(),
    })
}

fn without_parens(expr: Expr) -> Expr {
    match expr {
        Expr::Paren(paren) => without_parens(*paren.expr),
        other => other,
    }
}

/// The query and the comparison, when one side of the top comparison is `threshold` alone.
fn taken_apart(expr: &Expr) -> Option<(&Expr, Compare)> {
    let Expr::Binary(binary) = expr else { return None };
    let compare = Compare::of(&binary.op.to_string())?;
    if binary.modifier.as_ref().is_some_and(|modifier| modifier.return_bool || modifier.matching.is_some()) {
        return None;
    }
    match (named(&binary.lhs), named(&binary.rhs)) {
        (_, Some(THRESHOLD)) => Some((&binary.lhs, compare)),
        (Some(THRESHOLD), _) => Some((&binary.rhs, compare.mirrored())),
        _ => None,
    }
}

/// The name of a selector that is nothing but a name.
fn named(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Paren(paren) => named(&paren.expr),
        Expr::VectorSelector(VectorSelector { name, matchers, offset: None, at: None })
            if matchers.matchers.is_empty() && matchers.or_matchers.is_empty() =>
        {
            name.as_deref()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_comparison_at_the_top_is_taken_apart() {
        let check = |text: &str, expect: Option<Compare>| {
            let condition = Condition::parse(text, Some(3.0)).expect(text);
            assert_eq!(condition.compare, expect, "{text}");
        };
        check("avgResponseTime > threshold", Some(Compare::Above));
        check("(sum by (job) (rate(x[5m])) <= (threshold))", Some(Compare::AtMost));
        check("threshold < up", Some(Compare::Above));
        check("up == 0", None);
        check("up > threshold * 2", None);
        check("(up > threshold) and on(job) down", None);
        check("up > bool threshold", None);
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_when_it_is_read() {
        for (text, threshold, expect) in [
            ("avgResponseTime > threshold", None, "threshold"),
            ("rate(", Some(1.0), ""),
            ("holt_winters(x[5m], 1, 1) > threshold", Some(1.0), "holt_winters"),
        ] {
            let error = Condition::parse(text, threshold).expect_err(text).to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
        assert_eq!(Condition::parse("avgResponseTime > threshold", Some(1.0)).expect("sound").unit, "ms");
    }

    #[test]
    fn nothing_compares_with_what_is_not_a_number() {
        for compare in ["<", "<=", ">", ">=", "==", "!="].map(|op| Compare::of(op).expect("an operator")) {
            assert!(!compare.is_breach(f64::NAN, 1.0));
        }
    }
}
