//! Drafts of sends: a form that is filled in and not sent, so that a closed tab loses nothing.
//!
//! A draft is named by its form, which makes it the send's name too (`Idempotency-Key`): what was sent is no draft any more, and a
//! draft that is opened twice is sent once.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::UserId;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most drafts that a user has; the oldest goes when one more is kept.
pub const MOST: u64 = 50;

/// The longest name, in characters.
pub const MAX_NAME: usize = 80;

/// The most bytes of a draft's fields.
pub const MAX_BYTES: usize = 64 * 1024;

/// How long a draft is kept that nobody touches: it may have people's numbers in it.
pub const KEPT: Duration = Duration::from_secs(90 * 86_400);

/// A draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The form's name: 32 hexadecimal digits.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// The form's fields and their texts.
    pub fields: BTreeMap<String, String>,
    /// When it was last kept.
    pub updated_at: Timestamp,
}

/// Whether a text can name a draft.
#[must_use]
pub fn is_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn draft(row: &QueryResult) -> Result<Draft, DbErr> {
    let fields: String = row.try_get("", "fields")?;
    Ok(Draft {
        key: row.try_get("", "key")?,
        name: row.try_get("", "name")?,
        fields: serde_json::from_str(&fields).map_err(|error| DbErr::Json(error.to_string()))?,
        updated_at: Timestamp(row.try_get("", "updated_at")?),
    })
}

/// Keeps a draft, in the place of what it was before.
///
/// # Errors
/// The database's.
pub async fn keep(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    owner: UserId,
    (key, name): (&str, &str),
    fields: &BTreeMap<String, String>,
) -> Result<(), DbErr> {
    let fields = serde_json::to_string(fields).map_err(|error| DbErr::Json(error.to_string()))?;
    let sql = "INSERT INTO drafts (owner, key, name, fields, updated_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (owner, key) DO UPDATE SET name = excluded.name, fields = excluded.fields,
                  updated_at = excluded.updated_at";
    db::execute(conn, sql, [owner.into(), key.into(), name.into(), fields.into(), now.0.into()]).await?;
    let sql = format!(
        "DELETE FROM drafts WHERE owner = $1 AND key NOT IN (
            SELECT key FROM (SELECT key FROM drafts WHERE owner = $1 ORDER BY updated_at DESC, key LIMIT {MOST}) AS newest)"
    );
    db::execute(conn, sql, [owner.into()]).await.map(drop)
}

/// A user's drafts, the last touched first.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait, owner: UserId) -> Result<Vec<Draft>, DbErr> {
    let sql = format!(
        "SELECT key, name, fields, updated_at FROM drafts WHERE owner = $1 ORDER BY updated_at DESC, key LIMIT {MOST}"
    );
    db::all(conn, sql, [owner.into()]).await?.iter().map(draft).collect()
}

/// A user's draft; `None`: they have none of that name.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, owner: UserId, key: &str) -> Result<Option<Draft>, DbErr> {
    let sql = "SELECT key, name, fields, updated_at FROM drafts WHERE owner = $1 AND key = $2";
    db::one(conn, sql, [owner.into(), key.into()]).await?.as_ref().map(draft).transpose()
}

/// Deletes a user's draft; tells whether there was one.
///
/// # Errors
/// The database's.
pub async fn delete(conn: &impl ConnectionTrait, owner: UserId, key: &str) -> Result<bool, DbErr> {
    let sql = "DELETE FROM drafts WHERE owner = $1 AND key = $2";
    Ok(db::execute(conn, sql, [owner.into(), key.into()]).await? == 1)
}

/// Throws away drafts that nobody touched for [`KEPT`], at most `limit`; returns how many.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let some = Dialect::of(conn).some_of("drafts", "owner, key", "updated_at < $1", limit);
    db::execute(conn, format!("DELETE FROM drafts WHERE {some}"), [now.minus(KEPT).0.into()]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_forms_are_named_by() {
        assert!(is_key(&"0a".repeat(16)));
        for bad in ["", "0a", &"0A".repeat(16), &"0g".repeat(16), &"0".repeat(33)] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
