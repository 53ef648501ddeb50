//! Jobs that died. What that means for the rows that they belonged to is for those to know who know the kinds.

use crate::Step;
use crate::ring::{JobKind, UnknownName};
use crate::time::Timestamp;
use entities::{BatchId, JobId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

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
        let kind: String = row.try_get("", "kind")?;
        let payload: String = row.try_get("", "payload")?;
        Ok(Self {
            id: JobId(row.try_get("", "id")?),
            kind: kind.parse().map_err(|e: UnknownName| DbErr::Type(e.to_string()))?,
            batch: row.try_get::<Option<i64>>("", "batch_id")?.map(BatchId),
            chunk: row.try_get("", "chunk_no")?,
            payload: serde_json::from_str(&payload).unwrap_or_default(),
            reason,
        })
    }
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
