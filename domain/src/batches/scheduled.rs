//! What will start by itself: batches that wait for their time.

use super::row::{self, Batch, COLUMNS};
use crate::db;
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};

/// The most that are read at once.
pub const MOST_SCHEDULED: u64 = 1_000;

/// The batches that wait for a time from `from` on and before `to`, the first to start first; at most [`MOST_SCHEDULED`].
///
/// # Errors
/// The database's.
pub async fn scheduled(conn: &impl ConnectionTrait, from: Timestamp, to: Timestamp) -> Result<Vec<Batch>, DbErr> {
    // The status as it stands in the index's own condition.
    let sql = format!(
        "SELECT {COLUMNS} FROM batches WHERE status = 'PENDING' AND schedule_at IS NOT NULL AND schedule_at >= $1
            AND schedule_at < $2 ORDER BY schedule_at, id LIMIT {MOST_SCHEDULED}"
    );
    db::all(conn, sql, [from.0.into(), to.0.into()]).await?.iter().map(row::batch).collect()
}
