//! Forgetting contacts.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// Removes the personal data of contacts: number, name, attributes, tags, and the texts of their messages. The rows
/// stay, so that what was sent to them still counts. `contacts` must be sorted.
///
/// # Errors
/// The database's.
pub(crate) async fn erase(conn: &impl ConnectionTrait, now: Timestamp, contacts: &[i64]) -> Result<(), DbErr> {
    let list = json!(contacts).to_string();
    let these = Dialect::of(conn).one_of(1, "bigint");
    db::execute(
        conn,
        format!(
            "UPDATE contacts SET phone = NULL, name = NULL, source = NULL, attributes = NULL, deleted_at = $2,
                    updated_at = $2 WHERE id {these}"
        ),
        [list.clone().into(), now.0.into()],
    )
    .await?;
    db::execute(conn, format!("DELETE FROM contact_tags WHERE contact_id {these}"), [list.clone().into()]).await?;
    db::execute(
        conn,
        format!("UPDATE messages SET content = NULL WHERE contact_id {these} AND content IS NOT NULL"),
        [list.into()],
    )
    .await?;
    Ok(())
}
