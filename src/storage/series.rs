//! Metrics and series: who the ids are.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::schema::{metrics, series};
use super::{Storage, StorageError};

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
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = series)]
pub struct SeriesRow {
    /// Of which metric.
    pub metric_id: i64,
    /// [`crate::model::SeriesId`] as bits.
    pub id: i64,
    /// Label object.
    pub labels: serde_json::Value,
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
}

pub(super) async fn define_in_txn(
    conn: &mut AsyncPgConnection,
    metric_rows: &[MetricRow],
    series_rows: &[SeriesRow],
) -> QueryResult<()> {
    for rows in metric_rows.chunks(ROWS_PER_INSERT) {
        diesel::insert_into(metrics::table).values(rows).on_conflict_do_nothing().execute(conn).await?;
    }
    for rows in series_rows.chunks(ROWS_PER_INSERT) {
        diesel::insert_into(series::table).values(rows).on_conflict_do_nothing().execute(conn).await?;
    }
    Ok(())
}
