//! Throwing away batches that ended long ago, in steps.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};

/// How much data of a chunk counts as one row: on SQLite they are pages to be freed.
const BYTES_A_ROW: u64 = 1_024;

/// What a batch costs beside its rows: the statements that find nothing.
const A_BATCH: u64 = 20;

/// A step of throwing away batches that ended before `before`, with their chunks, items and jobs: some `rows` rows.
/// `false`: nothing is left. Messages stay: they are the contacts' history; of recipients who have none the rows go. So do
/// dead jobs stay, until a person has seen to them.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, rows: u64) -> Result<bool, DbErr> {
    let mut left = rows.max(1);
    while left > 0 {
        let old = "SELECT id FROM batches WHERE completed_at < $1 ORDER BY id LIMIT 1";
        let Some(id) = db::value::<i64>(conn, old, [before.0.into()]).await? else { return Ok(false) };
        if !chunks(conn, id, &mut left).await? {
            return Ok(true);
        }
        // What no chunk has, and what moved it on.
        for (table, key, which) in [
            ("batch_items", "batch_id, seq", "batch_id = $1"),
            ("contact_traces", "phone_key, batch_id, seq", "batch_id = $1"),
            ("batch_paces", "batch_id, since", "batch_id = $1"),
            ("jobs", "id", "batch_id = $1 AND state <> 'dead'"),
        ] {
            if !some(conn, table, key, which, [id.into()], &mut left).await? {
                return Ok(true);
            }
        }
        db::execute(conn, "DELETE FROM batch_decisions WHERE batch_id = $1", [id.into()]).await?;
        db::execute(conn, "DELETE FROM batches WHERE id = $1", [id.into()]).await?;
        left = left.saturating_sub(A_BATCH);
    }
    Ok(true)
}

/// Where a chunk is, and how long its text.
#[derive(FromQueryResult)]
pub(super) struct Extent {
    pub(super) no: i64,
    pub(super) first_seq: i64,
    pub(super) item_count: i64,
    pub(super) size: i64,
}

/// A step of throwing away a batch's chunks with their items. `false`: there is more.
pub(super) async fn chunks(conn: &impl ConnectionTrait, batch: i64, left: &mut u64) -> Result<bool, DbErr> {
    loop {
        let sql = "SELECT no, first_seq, item_count, CAST(length(data) AS BIGINT) AS size FROM batch_chunks
                   WHERE batch_id = $1 ORDER BY no LIMIT 1";
        let Some(Extent { no, first_seq: first, item_count, size }) = db::one_as(conn, sql, [batch.into()]).await?
        else {
            return Ok(true);
        };
        let end = first + item_count;
        let which = "batch_id = $1 AND seq >= $2 AND seq < $3";
        // Said so that no index on it serves: the chunk's place is what finds them.
        let no_message = format!("{which} AND coalesce(direction, '') = ''");
        for (table, key, which) in [
            ("messages", "id", no_message.as_str()),
            ("batch_items", "batch_id, seq", which),
            ("contact_traces", "phone_key, batch_id, seq", which),
        ] {
            if !some(conn, table, key, which, [batch.into(), first.into(), end.into()], left).await? {
                return Ok(false);
            }
        }
        let sql = "DELETE FROM batch_chunks WHERE batch_id = $1 AND no = $2";
        db::execute(conn, sql, [batch.into(), no.into()]).await?;
        *left = left.saturating_sub(1 + u64::try_from(size).unwrap_or(0) / BYTES_A_ROW);
        if *left == 0 {
            return Ok(false);
        }
    }
}

/// Deletes as many of these rows as are left to a step. `false`: there may be more.
async fn some(
    conn: &impl ConnectionTrait,
    table: &str,
    key: &str,
    which: &str,
    values: impl IntoIterator<Item = Value>,
    left: &mut u64,
) -> Result<bool, DbErr> {
    let some = Dialect::of(conn).some_of(table, key, which, *left);
    let gone = db::execute(conn, format!("DELETE FROM {table} WHERE {some}"), values).await?;
    let all = gone < *left;
    *left = left.saturating_sub(gone);
    Ok(all)
}
