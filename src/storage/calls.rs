//! Sides of calls between services, where replicas that each saw one pair them.

use diesel::QueryableByName;
use diesel::sql_types::{Binary, Bool, Jsonb};
use diesel_async::RunQueryDsl;

use super::{Storage, StorageError};

/// One side of a call, told by the trace and the caller's span.
#[derive(Clone, Debug, QueryableByName)]
pub struct CallSide {
    /// Its trace.
    #[diesel(sql_type = Binary)]
    pub trace_id: Vec<u8>,
    /// The caller's span.
    #[diesel(sql_type = Binary)]
    pub span_id: Vec<u8>,
    /// The caller's side.
    #[diesel(sql_type = Bool)]
    pub is_client: bool,
    /// What that side knows.
    #[diesel(sql_type = Jsonb)]
    pub half: serde_json::Value,
    /// It waited in vain.
    #[diesel(sql_type = Bool)]
    pub is_late: bool,
}

impl Storage {
    /// Adds `sides`; returns those whose other side is there, both of each, and those that waited in vain. Each is returned
    /// to one caller only.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn calls_meet(&self, sides: &[CallSide]) -> Result<Vec<CallSide>, StorageError> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let row = |side: &CallSide| {
            serde_json::json!({
                "trace_id": hex(&side.trace_id),
                "span_id": hex(&side.span_id),
                "is_client": side.is_client,
                "half": side.half,
            })
        };
        let rows = serde_json::Value::Array(sides.iter().map(row).collect());
        let mut conn = self.conn().await?;
        let meet = diesel::sql_query("SELECT trace_id, span_id, is_client, half, is_late FROM trace_calls_meet($1)");
        Ok(meet.bind::<Jsonb, _>(rows).load(&mut conn).await?)
    }
}
