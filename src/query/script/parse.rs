//! Reading scripts: statements, series, sequences of values.

use std::sync::Arc;
use std::time::Duration;

use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, parse};
use promql_parser::util::parse_duration;

use super::native::Native;
use crate::model::{Labels, TimeMs};
use crate::query::compile::Increases;

/// Most values of one series of a script.
const VALUES_MAX: usize = 100_000;

/// A value as it is written.
#[derive(Clone, Debug)]
pub(super) enum Written {
    Number(f64),
    Histogram(Box<Native>),
}

/// A sequence of values, `None` for a gap.
pub(super) type Values = Vec<Option<Written>>;
/// A series of `load`; a value of `None` marks it stale.
pub(super) type Loaded = (Labels, Vec<(TimeMs, Option<Written>)>);

/// One statement.
pub(super) enum Statement {
    Clear,
    Increase(Increases),
    Load(Vec<Loaded>),
    Eval(Box<Case>),
}

/// What should be told.
pub(super) enum Expected {
    Scalar(f64),
    Text(String),
    Vector(Vec<(Labels, Values)>),
}

/// One query and what is expected of it.
pub(super) struct Case {
    pub(super) query: String,
    /// Start, end, step.
    pub(super) span: (TimeMs, TimeMs, TimeMs),
    pub(super) expected: Expected,
    pub(super) ordered: bool,
    /// It fails with this in its message.
    pub(super) fails: Option<String>,
    /// Whether there are warnings, where the script says.
    pub(super) warns: Option<bool>,
    /// Whether there are infos, where the script says.
    pub(super) infos: Option<bool>,
}

impl Case {
    pub(super) const fn is_range(&self) -> bool {
        self.span.0 != self.span.1
    }
}

/// Every statement with the number of its line.
pub(super) fn statements(text: &str) -> Vec<(usize, Result<Statement, String>)> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end()));
    let lines = lines.filter(|(_, line)| !line.trim_start().starts_with('#') && !line.is_empty());
    let mut blocks: Vec<(usize, Vec<&str>)> = Vec::new();
    for (number, line) in lines {
        match blocks.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some((_, block)) => block.push(line.trim()),
            None => blocks.push((number, vec![line])),
        }
    }
    blocks.into_iter().map(|(number, block)| (number, statement(&block))).collect()
}

fn statement(block: &[&str]) -> Result<Statement, String> {
    let (head, body) = block.split_first().ok_or("an empty statement")?;
    let (word, rest) = head.split_once(char::is_whitespace).unwrap_or((head, ""));
    match word {
        "clear" => Ok(Statement::Clear),
        "increase" => {
            let told = Increases::named(rest.trim()).ok_or("increase takes exact or prometheus")?;
            Ok(Statement::Increase(told))
        }
        "load" => load(rest, body),
        "eval" | "eval_ordered" | "eval_fail" | "eval_warn" | "eval_info" => {
            eval(word, rest, body).map(|case| Statement::Eval(Box::new(case)))
        }
        other => Err(format!("{other:?} is no statement: load, clear, increase and eval are")),
    }
}

fn millis(text: &str) -> Result<TimeMs, String> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(sign * (seconds * 1000.0).round() as TimeMs);
    }
    let duration: Duration = parse_duration(text).map_err(|error| format!("{text:?} is no duration: {error}"))?;
    TimeMs::try_from(duration.as_millis()).map(|ms| sign * ms).map_err(|_| format!("{text:?} is too long"))
}

fn load(step: &str, body: &[&str]) -> Result<Statement, String> {
    let step = millis(step.trim())?;
    if step <= 0 || step % 1000 != 0 {
        return Err("load takes a step of whole seconds".to_owned());
    }
    let series = |line: &&str| {
        let (labels, values) = series(line)?;
        let mut samples = Vec::new();
        for (i, value) in sequence(values)?.into_iter().enumerate() {
            match value {
                Item::Gap => {}
                Item::Stale => samples.push((step * i as TimeMs, None)),
                Item::Value(value) => samples.push((step * i as TimeMs, Some(value))),
            }
        }
        Ok((labels, samples))
    };
    body.iter().map(series).collect::<Result<_, String>>().map(Statement::Load)
}

/// Labels, and the text behind them.
fn series(line: &str) -> Result<(Labels, &str), String> {
    let end = match (line.find('{'), line.find(char::is_whitespace)) {
        (Some(open), space) if space.is_none_or(|space| open < space) => closing(line, open)?,
        (_, Some(space)) => space,
        _ => return Err(format!("{line:?} has no values")),
    };
    let (selector, values) = line.split_at(end);
    Ok((labels(selector)?, values.trim()))
}

/// Where the braces that open at `open` end; braces in texts do not count.
fn closing(line: &str, open: usize) -> Result<usize, String> {
    let (mut quoted, mut escaped) = (None, false);
    for (at, c) in line.char_indices().skip_while(|(at, _)| *at < open) {
        match (quoted, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(quote), c) if c == quote => quoted = None,
            (None, '"' | '\'' | '`') => quoted = Some(c),
            (None, '}') => return Ok(at + 1),
            _ => {}
        }
    }
    Err(format!("{line:?} does not close its braces"))
}

fn labels(selector: &str) -> Result<Labels, String> {
    if selector == "{}" {
        return Ok(Labels::default());
    }
    let Expr::VectorSelector(parsed) = parse(selector)? else { return Err(format!("{selector:?} is no series")) };
    let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for matcher in &parsed.matchers.matchers {
        if !matches!(matcher.op, MatchOp::Equal) {
            return Err(format!("{selector:?} is no series: labels have one value"));
        }
        pairs.push((Arc::from(matcher.name.as_str()), Arc::from(matcher.value.as_str())));
    }
    if let Some(name) = &parsed.name {
        pairs.push((Arc::from("__name__"), Arc::from(name.as_str())));
    }
    Ok(Labels::from_pairs(pairs))
}

#[derive(Clone)]
enum Item {
    Gap,
    Stale,
    Value(Written),
}

/// `1 2`, `_`, `stale`, `1x3` (four times), `0+10x5` (six values), `_x3` (three gaps).
fn sequence(text: &str) -> Result<Vec<Item>, String> {
    let mut out = Vec::new();
    for word in words(text) {
        if word.starts_with("{{") {
            out.extend(histograms(word)?.into_iter().map(|native| Item::Value(Written::Histogram(Box::new(native)))));
            continue;
        }
        let (value, times) = match word.rsplit_once('x') {
            Some((value, n)) => (value, Some(n.parse::<usize>().map_err(|_| format!("{word:?} is no sequence"))?)),
            None => (word, None),
        };
        if times.unwrap_or(0) + out.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        match value {
            "_" => out.extend(std::iter::repeat_n(Item::Gap, times.unwrap_or(1))),
            "stale" => out.extend(std::iter::repeat_n(Item::Stale, times.map_or(1, |n| n + 1))),
            _ => {
                let (first, step) = growing(value, times.is_some())?;
                let number = |i| Item::Value(Written::Number(first + step * i as f64));
                out.extend((0..=times.unwrap_or(0)).map(number));
            }
        }
    }
    Ok(out)
}

/// Words between spaces; a histogram is one word, spaces and all.
fn words(text: &str) -> Vec<&str> {
    let (mut out, mut begin, mut depth) = (Vec::new(), None, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            out.extend(begin.take().and_then(|from: usize| text.get(from..at)));
        } else {
            begin.get_or_insert(at);
        }
    }
    out.extend(begin.and_then(|from| text.get(from..)));
    out
}

/// `{{..}}`, `{{..}}x3` (four times), `{{..}}+{{..}}x3`.
fn histograms(word: &str) -> Result<Vec<Native>, String> {
    let bad = || format!("{word:?} is no sequence of histograms");
    let (first, rest) = word.trim_start_matches('{').split_once("}}").ok_or_else(bad)?;
    let (step, rest) = match rest.strip_prefix("+{{") {
        Some(step) => step.split_once("}}").map(|(step, rest)| (Some(step), rest)).ok_or_else(bad)?,
        None => (None, rest),
    };
    let times = match rest.strip_prefix('x') {
        Some(n) => n.parse::<usize>().ok().filter(|n| *n <= VALUES_MAX).ok_or_else(bad)?,
        None if rest.is_empty() => 0,
        None => return Err(bad()),
    };
    let (first, step) = (Native::parse(first)?, step.map(Native::parse).transpose()?.unwrap_or_default());
    Ok((0..=times).map(|i| first.grown(&step, i)).collect())
}

/// `first` and what is added each time.
fn growing(text: &str, repeated: bool) -> Result<(f64, f64), String> {
    if let Ok(number) = number(text) {
        return Ok((number, 0.0));
    }
    // A sign behind an exponent is part of the number.
    let split = text.char_indices().skip(1).filter(|(at, c)| {
        matches!(c, '+' | '-') && !text.get(..*at).is_some_and(|before| before.ends_with(['e', 'E']))
    });
    let at = split.map(|(at, _)| at).next().filter(|_| repeated).ok_or_else(|| format!("{text:?} is no value"))?;
    let (first, step) = text.split_at(at);
    Ok((number(first)?, number(step)?))
}

pub(super) fn number(text: &str) -> Result<f64, String> {
    let bare = text.trim_start_matches(['+', '-']);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if bare.eq_ignore_ascii_case("inf") {
        return Ok(sign * f64::INFINITY);
    }
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn eval(word: &str, rest: &str, body: &[&str]) -> Result<Case, String> {
    let rest = rest.trim();
    let (span, query) = if let Some(rest) = rest.strip_prefix("instant") {
        let (at, query) = match rest.trim_start().strip_prefix("at") {
            Some(rest) => rest.trim_start().split_once(char::is_whitespace).ok_or("eval takes a query")?,
            None => ("0", rest),
        };
        let at = millis(at)?;
        ((at, at, 1), query)
    } else if let Some(rest) = rest.strip_prefix("range") {
        let words: Vec<&str> = rest.split_whitespace().take(6).collect();
        let ["from", start, "to", end, "step", step] = words.as_slice() else {
            return Err("eval range takes from, to and step".to_owned());
        };
        let query = rest.split_once("step").and_then(|(_, rest)| rest.trim_start().split_once(char::is_whitespace));
        ((millis(start)?, millis(end)?, millis(step)?), query.ok_or("eval takes a query")?.1)
    } else {
        return Err("eval is instant or range".to_owned());
    };
    let mut case = Case {
        query: query.trim().to_owned(),
        span,
        expected: Expected::Vector(Vec::new()),
        ordered: word == "eval_ordered",
        fails: (word == "eval_fail").then(String::new),
        warns: (word == "eval_warn").then_some(true),
        infos: (word == "eval_info").then_some(true),
    };
    for line in body {
        expect(&mut case, line)?;
    }
    Ok(case)
}

fn expect(case: &mut Case, line: &str) -> Result<(), String> {
    if let Some(text) = line.strip_prefix("expected_fail_message") {
        case.fails = Some(text.trim().to_owned());
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("expect ") {
        let (what, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match what {
            "fail" => case.fails = Some(detail.strip_prefix("msg:").unwrap_or_default().trim().to_owned()),
            "ordered" => case.ordered = true,
            "warn" | "no_warn" => case.warns = Some(what == "warn"),
            "info" | "no_info" => case.infos = Some(what == "info"),
            "string" => case.expected = Expected::Text(detail.trim_matches(['"', '\'', '`']).to_owned()),
            other => return Err(format!("{other:?} cannot be expected")),
        }
        return Ok(());
    }
    if let Ok(scalar) = number(line) {
        case.expected = Expected::Scalar(scalar);
        return Ok(());
    }
    let (labels, values) = series(line)?;
    let value = |item| match item {
        Item::Value(value) => Some(value),
        Item::Gap | Item::Stale => None,
    };
    let values = sequence(values)?.into_iter().map(value).collect();
    if let Expected::Vector(rows) = &mut case.expected {
        rows.push((labels, values));
    }
    Ok(())
}
