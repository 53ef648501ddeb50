//! What was written beside a deletion: on PostgreSQL an outcome that is being written while its contact is deleted sees the
//! contact as it was, and the deletion does not see the message. A while later both are committed, and one look finds it.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// How many rows one statement changes.
const ROWS: usize = 500;

/// Erases what came too late of contacts that were deleted behind `from` and up to `to`: texts and reasons of messages, and
/// their places in lists. `to` is so far back that no transaction from before it is still open. Returns how many rows it was.
///
/// # Errors
/// The database's.
pub async fn erase_again(
    read: &impl ConnectionTrait,
    write: &impl ConnectionTrait,
    from: Timestamp,
    to: Timestamp,
) -> Result<u64, DbErr> {
    let late_messages = "SELECT m.id AS id FROM contacts c JOIN messages m ON m.contact_id = c.id
        WHERE c.deleted_at > $1 AND c.deleted_at <= $2
          AND (m.content IS NOT NULL OR m.media IS NOT NULL OR m.error_message IS NOT NULL)";
    let late_places = "SELECT c.id AS id FROM contacts c JOIN contact_activity a ON a.contact_id = c.id
        WHERE c.deleted_at > $1 AND c.deleted_at <= $2";
    let these = Dialect::of(write).one_of(1, "bigint");
    let blank = format!("UPDATE messages SET content = NULL, media = NULL, error_message = NULL WHERE id {these}");
    let remove = format!("DELETE FROM contact_activity WHERE contact_id {these}");
    let mut erased = 0;
    for (find, erase) in [(late_messages, blank), (late_places, remove)] {
        loop {
            let found = db::all(read, format!("{find} LIMIT {ROWS}"), [from.0.into(), to.0.into()]).await?;
            let ids = found.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<i64>, _>>()?;
            if ids.is_empty() {
                break;
            }
            erased += db::execute(write, erase.clone(), [json!(ids).to_string().into()]).await?;
        }
    }
    Ok(erased)
}
