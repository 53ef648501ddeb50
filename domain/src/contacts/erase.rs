//! Forgetting contacts.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// Removes the personal data of contacts: number and other addresses, name, photo, remark, attributes, tags, and the texts
/// of their messages, also where the feed has them. The rows stay, so that what was sent to them still counts; and so
/// does the wish of a number not to be written to. `contacts` must be sorted.
///
/// # Errors
/// The database's.
pub(crate) async fn erase(conn: &impl ConnectionTrait, now: Timestamp, contacts: &[i64]) -> Result<(), DbErr> {
    let list = json!(contacts).to_string();
    let these = Dialect::of(conn).one_of(1, "bigint");
    db::execute(
        conn,
        format!(
            "UPDATE contacts SET phone = NULL, name = NULL, source = NULL, attributes = NULL, remark = NULL,
                    photo_url = NULL, status = 'new', suppressed_at = NULL, deleted_at = $2, updated_at = $2 WHERE id {these}"
        ),
        [list.clone().into(), now.0.into()],
    )
    .await?;
    for table in ["contact_tags", "contact_identities", "contact_activity", "crm_events"] {
        db::execute(conn, format!("DELETE FROM {table} WHERE contact_id {these}"), [list.clone().into()]).await?;
    }
    db::execute(
        conn,
        format!(
            "UPDATE messages SET content = NULL, media = NULL
             WHERE contact_id {these} AND (content IS NOT NULL OR media IS NOT NULL)"
        ),
        [list.into()],
    )
    .await?;
    Ok(())
}
