//! Forgetting contacts.

use super::tags;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;
use std::collections::BTreeSet;

/// Where the erasure of a contact stands that takes several steps: its messages up to this place in its history have no
/// text any more. It spares reading them again, and nothing hangs on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErasurePosition {
    contact: i64,
    /// The time and the number of the last message.
    at: i64,
    message: i64,
    /// The last message that there was of anybody when it began. One that came since may stand before the place.
    newest: i64,
}

/// What a call of [`erase`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Erased {
    /// All of it.
    All,
    /// As much as one call may write. The contacts themselves are as they were, so that the next call finds them.
    Part,
}

/// What a message says in words.
const SAYS: &str = "(content IS NOT NULL OR media IS NOT NULL OR error_message IS NOT NULL)";

/// Takes that away.
const BLANK: &str = "UPDATE messages SET content = NULL, media = NULL, error_message = NULL";

/// The reasons of items that are not those of a message that a person may see: the table, its key, and which rows have one.
pub(crate) const REASONS: [(&str, &str, &str); 2] = [
    ("messages", "id", "direction IS NULL AND error_message IS NOT NULL AND item_status <> 'skipped'"),
    (
        "batch_items",
        "batch_id, seq",
        "error_code IS NOT NULL AND error_message IS NOT NULL AND item_status <> 'skipped'",
    ),
];

/// Whether contacts have no more messages than one call of [`erase`] may write. Where not, fewer of them, or one alone, can
/// be done.
///
/// # Errors
/// The database's.
pub(crate) async fn fits(conn: &impl ConnectionTrait, contacts: &[i64], rows: u64) -> Result<bool, DbErr> {
    if contacts.len() < 2 {
        return Ok(true);
    }
    // Counted before they are touched, and no further than it takes to tell: a contact may have a million.
    let count = format!(
        "SELECT count(*) AS n FROM (SELECT 1 FROM messages WHERE contact_id {} AND direction IS NOT NULL LIMIT {}) AS few",
        Dialect::of(conn).one_of(1, "bigint"),
        rows + 1
    );
    let messages: i64 = db::value(conn, count, [json!(contacts).to_string().into()]).await?.unwrap_or(0);
    Ok(!u64::try_from(messages).is_ok_and(|messages| messages > rows))
}

/// Removes the personal data of contacts: number and other addresses, name, photo, remark, attributes, tags, and the texts
/// of their messages; and what the outbox tells of them. The rows stay, so that what was sent to them still counts; and so
/// does the wish of a number not to be written to. `contacts` must be sorted, and several must [`fits`]. A call writes some
/// `rows` rows; only the last one deletes the contacts, with what came meanwhile.
///
/// # Errors
/// The database's.
pub(crate) async fn erase(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contacts: &[i64],
    rows: u64,
    place: &mut ErasurePosition,
) -> Result<Erased, DbErr> {
    let list = json!(contacts).to_string();
    let these = Dialect::of(conn).one_of(1, "bigint");
    let mut left = rows.max(1);
    if let [one] = contacts {
        if !erase_next_messages(conn, *one, &mut left, place).await? {
            return Ok(Erased::Part);
        }
    } else {
        let written = db::execute(
            conn,
            format!("{BLANK} WHERE contact_id {these} AND direction IS NOT NULL AND {SAYS}"),
            [list.clone().into()],
        )
        .await?;
        left = left.saturating_sub(written).max(1);
    }
    if !erase_tags(conn, &list, &mut left).await? {
        return Ok(Erased::Part);
    }
    for (table, key) in
        [("contact_identities", "kind, value"), ("domain_events", "id"), ("contact_activity", "contact_id")]
    {
        let some = Dialect::of(conn).some_of(table, key, &format!("contact_id {these}"), left);
        let sql = format!("DELETE FROM {table} WHERE {some}");
        let written = db::execute(conn, sql, [list.clone().into()]).await?;
        if written >= left {
            return Ok(Erased::Part);
        }
        left -= written;
    }
    // Nobody's tests go to them any more. The list is short: it is not looked up number for number.
    let sql = format!(
        "DELETE FROM test_numbers WHERE phone || '' IN (SELECT phone FROM contacts WHERE id {these} AND phone IS NOT NULL)"
    );
    db::execute(conn, sql, [list.clone().into()]).await?;
    db::execute(
        conn,
        format!(
            "UPDATE contacts SET phone = NULL, name = NULL, source = NULL, attributes = NULL, remark = NULL,
                    photo_url = NULL, status = 'new', suppressed_at = NULL, deleted_at = $2, updated_at = $2 WHERE id {these}"
        ),
        [list.into(), now.0.into()],
    )
    .await?;
    Ok(Erased::All)
}

/// Takes tags off contacts, and drops those that nobody has any more. `false`: there may be more.
async fn erase_tags(conn: &impl ConnectionTrait, contacts: &str, left: &mut u64) -> Result<bool, DbErr> {
    let dialect = Dialect::of(conn);
    let theirs = format!("contact_id {}", dialect.one_of(1, "bigint"));
    let some = dialect.some_of("contact_tags", "contact_id, tag_id", &theirs, *left);
    let sql = format!("DELETE FROM contact_tags WHERE {some} RETURNING tag_id");
    let gone: Vec<i64> = db::values(conn, sql, [contacts.into()]).await?;
    let taken: BTreeSet<i64> = gone.iter().copied().collect();
    if !taken.is_empty() {
        tags::drop_unused(conn, &taken).await?;
    }
    let all = (gone.len() as u64) < *left;
    *left = left.saturating_sub(gone.len() as u64).max(1);
    Ok(all)
}

/// Removes the texts of a contact's next messages, so many at most. `false`: there may be more.
async fn erase_next_messages(
    conn: &impl ConnectionTrait,
    contact: i64,
    left: &mut u64,
    place: &mut ErasurePosition,
) -> Result<bool, DbErr> {
    if place.contact != contact {
        let newest = db::value(conn, "SELECT coalesce(max(id), 0) FROM messages", []).await?.unwrap_or(0);
        *place = ErasurePosition { contact, at: i64::MIN, message: i64::MIN, newest };
    }
    let sql = format!(
        "SELECT created_at, id FROM messages WHERE contact_id = $1 AND direction IS NOT NULL AND (created_at, id) > ($2, $3)
         ORDER BY created_at, id LIMIT {left}"
    );
    let page: Vec<(i64, i64)> = db::values(conn, sql, [contact.into(), place.at.into(), place.message.into()]).await?;
    let ids: Vec<i64> = page.iter().map(|(_, id)| *id).collect();
    let written = match page.last() {
        None => 0,
        Some(last) => {
            (place.at, place.message) = *last;
            let sql = format!("{BLANK} WHERE id {} AND {SAYS}", Dialect::of(conn).one_of(1, "bigint"));
            db::execute(conn, sql, [json!(ids).to_string().into()]).await?
        }
    };
    let all = (ids.len() as u64) < *left;
    *left = left.saturating_sub(written).max(1);
    if !all {
        return Ok(false);
    }
    // What the contact wrote is as old as the network says: what came meanwhile may stand before the place.
    let came = format!("contact_id = $1 AND direction = 'inbound' AND id > $2 AND {SAYS}");
    let some = Dialect::of(conn).some_of("messages", "id", &came, *left);
    let written = db::execute(conn, format!("{BLANK} WHERE {some}"), [contact.into(), place.newest.into()]).await?;
    let all = written < *left;
    *left = left.saturating_sub(written).max(1);
    Ok(all)
}
