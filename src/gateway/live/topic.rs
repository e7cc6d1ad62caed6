//! What can be subscribed to, and how each is evaluated.

use std::fmt;
use std::str::FromStr;

use chrono::Utc;
use serde_json::{Value, json};

use crate::gateway::indicators::current_values;
use crate::gateway::{State, ledger};
use crate::live::Items;
use crate::query::{Answer, AnswerValue, Column, Sample};
use crate::storage::ActiveFilter;

/// Most series of a query that are sent; the largest by value are.
const SERIES_MAX: usize = 100;
/// The item that says how many series there were when not all are sent.
const TOTAL: &str = "$total";

/// Something to read live; its text is its name on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// `indicators` or `indicators:<service>`.
    Indicators(Option<String>),
    /// `ledger`: services and signals of ingest.
    Ledger,
    /// `alerts`: those that are open.
    Alerts,
    /// `query:<PromQL>`: its instant value.
    Query(String),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Indicators(None) => f.write_str("indicators"),
            Self::Indicators(Some(service)) => write!(f, "indicators:{service}"),
            Self::Ledger => f.write_str("ledger"),
            Self::Alerts => f.write_str("alerts"),
            Self::Query(query) => write!(f, "query:{query}"),
        }
    }
}

impl FromStr for Topic {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            None => match text {
                "indicators" => Ok(Self::Indicators(None)),
                "ledger" => Ok(Self::Ledger),
                "alerts" => Ok(Self::Alerts),
                _ => Err(()),
            },
            Some(("indicators", service)) if !service.is_empty() => Ok(Self::Indicators(Some(service.to_owned()))),
            Some(("query", query)) if !query.is_empty() => Ok(Self::Query(query.to_owned())),
            Some(_) => Err(()),
        }
    }
}

impl Topic {
    /// The items now; a query's as of the end of the last window.
    pub(super) async fn evaluate(&self, state: &State) -> Result<Items, String> {
        let now = Utc::now().timestamp_millis();
        match self {
            Self::Indicators(service) => {
                let values = current_values(state, now, service.as_deref()).await.map_err(|e| e.to_string())?;
                let item = |value: Option<f64>, unit| json!({ "value": value, "unit": unit });
                Ok(values.into_iter().map(|(i, value)| (i.name.to_owned(), item(value, i.unit))).collect())
            }
            Self::Ledger => Ok(ledger::items(state)),
            Self::Alerts => {
                let open = state.alerting.active_alerts(&ActiveFilter::default()).await.map_err(|e| e.to_string())?;
                Ok(open.into_iter().map(|alert| (alert.id.clone(), json!(alert))).collect())
            }
            Self::Query(query) => {
                let at = now - now.rem_euclid(state.facts.window.millis());
                let answer = state.engine.at_window_end(query, at).await.map_err(|e| e.to_string())?;
                Ok(series(&answer))
            }
        }
    }
}

/// `[time, value]` by labels.
fn series(answer: &Answer) -> Items {
    let at = answer.times.first().copied().unwrap_or_default();
    let columns = match &answer.value {
        AnswerValue::Vector(columns) => columns.as_slice(),
        AnswerValue::Scalar(values) => return [("{}".to_owned(), json!([at, values.first()]))].into(),
        AnswerValue::Text(_) => return Items::new(),
    };
    let value = |column: &Column| column.samples.first().and_then(Sample::float).filter(|value| value.is_finite());
    let mut values: Vec<(&Column, f64)> = columns.iter().filter_map(|column| Some((column, value(column)?))).collect();
    let total = values.len();
    if total > SERIES_MAX {
        values.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        values.truncate(SERIES_MAX);
    }
    let mut items: Items = values.into_iter().map(|(column, value)| (name(column), json!([at, value]))).collect();
    if total > SERIES_MAX {
        items.insert(TOTAL.to_owned(), json!(total));
    }
    items
}

/// The labels as JSON, sorted.
fn name(column: &Column) -> String {
    let labels: serde_json::Map<String, Value> =
        column.labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    Value::Object(labels).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_its_text() {
        for text in ["indicators", "indicators:shop:eu", "ledger", "alerts", "query:sum(rate(x[5m])) by (a:b)"] {
            assert_eq!(text.parse::<Topic>().map(|topic| topic.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "query:", "indicators:", "nothing", "ledger:x"] {
            assert_eq!(text.parse::<Topic>(), Err(()), "{text}");
        }
    }
}
