//! Forgetting contacts.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// Where the erasure of a contact stands that takes several steps: its messages up to this one have no text any more. It
/// spares reading them again, and nothing hangs on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    contact: i64,
    message: i64,
}

/// What a call of [`erase`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Erased {
    /// All of it.
    All,
    /// As much as one call may write. The contacts themselves are as they were, so that the next call finds them.
    Part,
    /// Nothing: the contacts have more messages than one call may write. Fewer of them, or one alone, can be done.
    TooMany,
}

/// Removes the personal data of contacts: number and other addresses, name, photo, remark, attributes, tags, and the texts
/// of their messages, also where the feed has them. The rows stay, so that what was sent to them still counts; and so
/// does the wish of a number not to be written to. `contacts` must be sorted. A call writes some `rows` rows; only the
/// last one deletes the contacts, with what came meanwhile.
///
/// # Errors
/// The database's.
pub(crate) async fn erase(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contacts: &[i64],
    rows: usize,
    place: &mut Place,
) -> Result<Erased, DbErr> {
    let list = json!(contacts).to_string();
    let these = Dialect::of(conn).one_of(1, "bigint");
    let mut left = rows.max(1) as u64;
    if let [one] = contacts {
        if !erase_next_messages(conn, *one, &mut left, place).await? {
            return Ok(Erased::Part);
        }
    } else {
        // Counted before they are touched, and no further than it takes to tell: a contact may have a million.
        let count = format!(
            "SELECT count(*) AS n FROM (SELECT 1 FROM messages WHERE contact_id {these} LIMIT {}) AS few",
            left + 1
        );
        let messages = db::one(conn, count, [list.clone().into()]).await?;
        let messages = messages.map_or(Ok(0), |row| row.try_get::<i64>("", "n"))?;
        if u64::try_from(messages).is_ok_and(|messages| messages > left) {
            return Ok(Erased::TooMany);
        }
        let sql = format!(
            "UPDATE messages SET content = NULL, media = NULL
             WHERE contact_id {these} AND (content IS NOT NULL OR media IS NOT NULL)"
        );
        let written = db::execute(conn, sql, [list.clone().into()]).await?;
        left = left.saturating_sub(written).max(1);
    }
    for (table, key) in [
        ("contact_tags", "contact_id, tag_id"),
        ("contact_identities", "kind, value"),
        ("crm_events", "id"),
        ("contact_activity", "contact_id"),
    ] {
        let some = Dialect::of(conn).some_of(table, key, &format!("contact_id {these}"), left);
        let sql = format!("DELETE FROM {table} WHERE {some}");
        let written = db::execute(conn, sql, [list.clone().into()]).await?;
        if written >= left {
            return Ok(Erased::Part);
        }
        left -= written;
    }
    db::execute(
        conn,
        format!(
            "UPDATE contacts SET phone = NULL, name = NULL, source = NULL, attributes = NULL, remark = NULL,
                    photo_url = NULL, deleted_at = $2, updated_at = $2 WHERE id {these}"
        ),
        [list.into(), now.0.into()],
    )
    .await?;
    Ok(Erased::All)
}

/// Removes the texts of a contact's next messages, so many at most. `false`: there may be more.
async fn erase_next_messages(
    conn: &impl ConnectionTrait,
    contact: i64,
    left: &mut u64,
    place: &mut Place,
) -> Result<bool, DbErr> {
    if place.contact != contact {
        *place = Place { contact, message: 0 };
    }
    let sql = format!("SELECT id FROM messages WHERE contact_id = $1 AND id > $2 ORDER BY id LIMIT {left}");
    let page = db::all(conn, sql, [contact.into(), place.message.into()]).await?;
    let ids = page.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<i64>, _>>()?;
    let Some(last) = ids.last().copied() else { return Ok(true) };
    let sql = format!(
        "UPDATE messages SET content = NULL, media = NULL WHERE id {} AND (content IS NOT NULL OR media IS NOT NULL)",
        Dialect::of(conn).one_of(1, "bigint")
    );
    let written = db::execute(conn, sql, [json!(ids).to_string().into()]).await?;
    place.message = last;
    let all = (ids.len() as u64) < *left;
    *left = left.saturating_sub(written).max(1);
    Ok(all)
}
