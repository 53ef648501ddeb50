//! What was written beside a deletion: on PostgreSQL an outcome that is being written while its contact is deleted sees the
//! contact as it was, and the deletion does not see the message. A while later both are committed, and one look finds it.

use super::erase::REASONS;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// How many contacts one call looks at, and how many rows one statement changes.
const CONTACTS: usize = 500;
const ROWS: u64 = 500;

/// Up to which deletion they were looked at again: its time and its contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedUntil {
    at: Timestamp,
    contact: i64,
}

impl ErasedUntil {
    /// Whether all deletions up to `to` were looked at.
    #[must_use]
    pub fn has_come_to(&self, to: Timestamp) -> bool {
        self.at >= to
    }
}

impl From<Timestamp> for ErasedUntil {
    fn from(at: Timestamp) -> Self {
        Self { at, contact: i64::MAX }
    }
}

/// Erases what came too late of the next contacts that were deleted behind `from` and up to `to`: texts and reasons of
/// messages and items, tags, addresses, and their places in lists. `to` is so far back that no transaction from before it is
/// still open. Returns how many rows it was, and how far it came.
///
/// One that was merged into another is no deletion: what is late there goes to the other.
///
/// # Errors
/// The database's.
pub async fn erase_again(
    read: &impl ConnectionTrait,
    write: &impl ConnectionTrait,
    from: ErasedUntil,
    to: Timestamp,
) -> Result<(u64, ErasedUntil), DbErr> {
    let sql = format!(
        "SELECT deleted_at, id FROM contacts WHERE deleted_at IS NOT NULL AND (deleted_at, id) > ($1, $2) AND deleted_at <= $3
            AND NOT EXISTS (SELECT 1 FROM contact_merges g WHERE g.from_id = contacts.id)
         ORDER BY deleted_at, id LIMIT {CONTACTS}"
    );
    let found: Vec<(Timestamp, i64)> =
        db::values(read, sql, [from.at.0.into(), from.contact.into(), to.0.into()]).await?;
    let contacts: Vec<i64> = found.iter().map(|(_, id)| *id).collect();
    let until = match found.last() {
        Some(&(at, contact)) if found.len() == CONTACTS => ErasedUntil { at, contact },
        _ => ErasedUntil::from(to.max(from.at)),
    };
    if contacts.is_empty() {
        return Ok((0, until));
    }
    let dialect = Dialect::of(write);
    let theirs = format!("contact_id {}", dialect.one_of(1, "bigint"));
    let list = json!(contacts).to_string();
    let mut erased = 0;
    let [(waiting, waiting_key, waiting_which), (items, items_key, items_which)] = REASONS;
    for (change, table, key, which) in [
        (
            "UPDATE messages SET content = NULL, media = NULL, error_message = NULL",
            "messages",
            "id",
            "direction IS NOT NULL AND (content IS NOT NULL OR media IS NOT NULL OR error_message IS NOT NULL)",
        ),
        ("UPDATE messages SET error_message = NULL", waiting, waiting_key, waiting_which),
        ("UPDATE batch_items SET error_message = NULL", items, items_key, items_which),
        ("DELETE FROM contact_tags", "contact_tags", "contact_id, tag_id", "TRUE"),
        ("DELETE FROM contact_identities", "contact_identities", "kind, value", "TRUE"),
        ("DELETE FROM contact_activity", "contact_activity", "contact_id", "TRUE"),
    ] {
        // Asked for with the reader: there is hardly ever anything, and it takes long to see that of many messages.
        let any = format!("SELECT 1 AS n FROM {table} WHERE {theirs} AND {which} LIMIT 1");
        while db::one(read, any.as_str(), [list.as_str().into()]).await?.is_some() {
            let some = dialect.some_of(table, key, &format!("{theirs} AND {which}"), ROWS);
            erased += db::execute(write, format!("{change} WHERE {some}"), [list.as_str().into()]).await?;
        }
    }
    Ok((erased, until))
}
