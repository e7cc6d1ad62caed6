//! Guards of rollouts are measured here.

use chrono::{DateTime, Utc};

use super::compile::{Params, Plan};
use super::engine::Engine;
use super::value::{AnswerValue, Sample};
use crate::model::Width;
use crate::policy::{Measure, Measured};

impl Measure for Engine {
    fn check(&self, query: &str) -> Result<(), String> {
        let params = Params::instant(0, 0, Width::TEN_SECONDS);
        Plan::parse(query, params, None).map(drop).map_err(|error| error.to_string())
    }

    fn value<'a>(&'a self, query: &'a str, at: DateTime<Utc>) -> Measured<'a> {
        Box::pin(async move {
            let answer = self.instant(query, at.timestamp_millis(), None).await.map_err(|error| error.to_string())?;
            match &answer.value {
                AnswerValue::Scalar(values) => Ok(values.first().copied()),
                AnswerValue::Text(_) => Err("it gives text".to_owned()),
                AnswerValue::Vector(columns) if columns.len() > 1 => {
                    Err(format!("it gives {} series: sum them up, so that two groups can be compared", columns.len()))
                }
                AnswerValue::Vector(columns) => {
                    Ok(columns.first().and_then(|column| column.samples.first()).and_then(Sample::float))
                }
            }
        })
    }
}
