//! Functions that change labels.

use std::sync::Arc;

use hashbrown::HashSet;
use regex::Regex;

use super::QueryError;
use super::calls::Call;
use super::compile::Node;
use super::eval::Eval;
use super::value::{Column, Value};
use crate::model::Labels;

impl Eval<'_> {
    pub(super) fn label_replace(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        let columns = self.vector(call, args.first())?;
        let text = |at: usize| self.text(call, args.get(at));
        let (target, replacement, source) = (text(1)?, text(2)?, text(3)?);
        let pattern = Regex::new(&format!("^(?s:{})$", text(4)?))
            .map_err(|error| QueryError::Invalid(format!("label_replace() takes a regular expression: {error}")))?;
        relabelled(call, columns, &target, |labels| {
            let captures = pattern.captures(labels.get_canonical(&source).unwrap_or_default())?;
            let mut value = String::new();
            captures.expand(&replacement, &mut value);
            Some(value)
        })
    }

    pub(super) fn label_join(&self, call: Call, args: &[Node]) -> Result<Value, QueryError> {
        let columns = self.vector(call, args.first())?;
        let text = |at: usize| self.text(call, args.get(at));
        let (target, separator) = (text(1)?, text(2)?);
        let sources = (3..args.len()).map(text).collect::<Result<Vec<_>, _>>()?;
        relabelled(call, columns, &target, |labels| {
            let value = |source: &String| labels.get_canonical(source).unwrap_or_default().to_owned();
            Some(sources.iter().map(value).collect::<Vec<_>>().join(&separator))
        })
    }
}

fn relabelled(
    call: Call,
    columns: Vec<Column>,
    target: &str,
    value_of: impl Fn(&Labels) -> Option<String>,
) -> Result<Value, QueryError> {
    if target.is_empty() {
        return Err(QueryError::Invalid(format!("{}() takes the name of a label, not an empty text", call.name)));
    }
    let changed = columns.into_iter().map(|column| match value_of(&column.labels) {
        Some(value) => Column { labels: with_label(&column.labels, target, &value), samples: column.samples },
        None => column,
    });
    unique(call, changed.collect()).map(Value::Vector)
}

/// Two series that became one cannot be told apart.
fn unique(call: Call, columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let mut seen: HashSet<&Labels> = HashSet::new();
    let twin = columns.iter().find(|column| !seen.insert(&column.labels)).map(|column| column.labels.clone());
    drop(seen);
    match twin {
        Some(labels) => {
            let text = format!("{}() makes several series with the same labels {labels:?}", call.name);
            Err(QueryError::Execution(text))
        }
        None => Ok(columns),
    }
}

/// `labels` with `name` set to `value`, or without it when that is empty.
pub(super) fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut pairs: Vec<_> = labels.pairs().iter().filter(|(known, _)| &**known != name).cloned().collect();
    if !value.is_empty() {
        pairs.push((Arc::from(name), Arc::from(value)));
    }
    Labels::from_pairs(pairs)
}
