//! What an operation did, job by job.

use crate::db;
use crate::time::Timestamp;
use entities::{JobId, OperationId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

/// What an operation did with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationItem {
    /// The job.
    pub job: JobId,
    /// `done`, `changed`, or why the act did not fit it ([`Unfit::code`](super::Unfit::code)).
    pub result: String,
    /// When.
    pub at: Timestamp,
}

/// The word of a job that was no longer as the filter says.
pub(super) const CHANGED: &str = "changed";

/// What an operation did, job by job in the order of their numbers, behind `after`; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn operation_items(
    conn: &impl ConnectionTrait,
    id: OperationId,
    after: i64,
    limit: usize,
) -> Result<Vec<OperationItem>, DbErr> {
    let sql = format!(
        "SELECT job_id, result, at FROM operation_items WHERE operation_id = $1 AND job_id > $2 ORDER BY job_id LIMIT {limit}"
    );
    let read = |row: &QueryResult| {
        Ok(OperationItem {
            job: JobId(row.try_get("", "job_id")?),
            result: row.try_get("", "result")?,
            at: Timestamp(row.try_get("", "at")?),
        })
    };
    db::all(conn, sql, [id.into(), after.into()]).await?.iter().map(read).collect()
}
