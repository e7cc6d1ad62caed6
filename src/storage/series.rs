//! Metrics and series: who the ids are.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::RunQueryDsl;

use super::schema::{metrics, series};
use super::{Storage, StorageError, kept};

/// Postgres takes 65 535 parameters a statement.
const ROWS_PER_INSERT: usize = 8_000;

/// A metric's identity.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = metrics)]
pub struct MetricRow {
    /// [`crate::model::MetricId`] as bits.
    pub id: i64,
    /// Name as sent.
    pub name: String,
    /// Unit as sent.
    pub unit: String,
    /// [`crate::model::MetricKind`] as a number.
    pub kind: i16,
    /// [`crate::model::Temporality`] as a number.
    pub temporality: i16,
    /// What the first sender said of it.
    pub description: String,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = series)]
pub struct SeriesRow {
    /// Of which metric.
    pub metric_id: i64,
    /// [`crate::model::SeriesId`] as bits.
    pub id: i64,
    /// Label object.
    pub labels: serde_json::Value,
}

/// Series to write, in columns.
#[derive(Debug, Default)]
pub struct NewSeries {
    metric_ids: Vec<i64>,
    ids: Vec<i64>,
    /// Label objects as JSON.
    labels: Vec<String>,
}

impl NewSeries {
    /// Adds the series `id` of a metric.
    pub fn add<'a>(&mut self, metric_id: i64, id: i64, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let object: serde_json::Map<String, serde_json::Value> =
            labels.map(|(name, value)| (kept(name).into_owned(), kept(value).into())).collect();
        self.metric_ids.push(metric_id);
        self.ids.push(id);
        self.labels.push(serde_json::Value::Object(object).to_string());
    }
}

impl Storage {
    /// Every metric known.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn metric_list(&self) -> Result<Vec<MetricRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(metrics::table.select(MetricRow::as_select()).load(&mut conn).await?)
    }

    /// The series of some metrics.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn series_of_metrics(&self, metrics: &[i64]) -> Result<Vec<SeriesRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(series::table
            .filter(series::metric_id.eq_any(metrics))
            .select(SeriesRow::as_select())
            .load(&mut conn)
            .await?)
    }

    /// The series with these ids, whatever their metric.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn series_by_id(&self, ids: &[i64]) -> Result<Vec<SeriesRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(series::table.filter(series::id.eq_any(ids)).select(SeriesRow::as_select()).load(&mut conn).await?)
    }

    /// Writes metrics; those that are there stay as they are.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn define_metrics(&self, rows: &[MetricRow]) -> Result<(), StorageError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut conn = self.conn().await?;
        for rows in rows.chunks(ROWS_PER_INSERT) {
            diesel::insert_into(metrics::table).values(rows).on_conflict_do_nothing().execute(&mut conn).await?;
        }
        Ok(())
    }

    /// Writes series; those that are there stay as they are.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn define_series(&self, new: &NewSeries) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        diesel::sql_query(
            "INSERT INTO series (metric_id, id, labels) SELECT m, i, l::jsonb FROM unnest($1, $2, $3) AS new (m, i, l) \
             ON CONFLICT DO NOTHING",
        )
        .bind::<Array<BigInt>, _>(&new.metric_ids)
        .bind::<Array<BigInt>, _>(&new.ids)
        .bind::<Array<Text>, _>(&new.labels)
        .execute(&mut conn)
        .await?;
        Ok(())
    }
}
