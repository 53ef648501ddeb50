//! Jobs that died. What that means for the rows that they belonged to is for those to know who know the kinds.

use crate::Step;
use crate::ring::JobKind;
use crate::time::Timestamp;
use entities::{BatchId, JobId};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult};

/// A job that died.
#[derive(Clone, Debug, PartialEq)]
pub struct Dead<'a> {
    /// The row.
    pub id: JobId,
    /// What it did.
    pub kind: JobKind,
    /// The batch it belonged to.
    pub batch: Option<BatchId>,
    /// The chunk of that batch.
    pub chunk: Option<i64>,
    /// What else it knew; null where that cannot be read.
    pub payload: serde_json::Value,
    /// Why it died, for people.
    pub reason: &'a str,
}

/// The columns that [`Dead::of`] reads.
pub(super) const COLUMNS: &str = "id, kind, batch_id, chunk_no, payload";

impl<'a> Dead<'a> {
    /// Reads the [`COLUMNS`] of a job's row.
    pub(super) fn of(row: &QueryResult, reason: &'a str) -> Result<Self, DbErr> {
        let Row { id, kind, batch_id, chunk_no, payload } = Row::from_query_result(row, "")?;
        let payload = serde_json::from_str(&payload).unwrap_or_default();
        Ok(Self { id, kind, batch: batch_id, chunk: chunk_no, payload, reason })
    }
}

#[derive(FromQueryResult)]
struct Row {
    id: JobId,
    kind: JobKind,
    batch_id: Option<BatchId>,
    chunk_no: Option<i64>,
    payload: String,
}

/// Whoever knows what the death of a job means. Called in the transaction in which the job dies.
pub trait Bury: Sync {
    /// Does what it means.
    fn bury(
        &self,
        conn: &impl ConnectionTrait,
        now: Timestamp,
        dead: &Dead<'_>,
    ) -> impl Future<Output = Result<Step<()>, DbErr>> + Send;
}
