//! Tags of contacts, set-based: one statement for many contacts.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

/// Makes the tags that do not exist yet; returns the number of each.
async fn ensure(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    names: &BTreeSet<&str>,
) -> Result<HashMap<String, i64>, DbErr> {
    let dialect = Dialect::of(conn);
    let list = json!(names).to_string();
    let select = format!("SELECT id, name FROM tags WHERE name {}", dialect.one_of(1, "text"));
    let mut rows = db::all(conn, select.clone(), [list.clone().into()]).await?;
    if rows.len() < names.len() {
        let insert = format!(
            "INSERT INTO tags (name, created_at) SELECT value, $2 FROM {} WHERE TRUE ORDER BY value ON CONFLICT (name) DO NOTHING",
            dialect.values(1, "text")
        );
        db::execute(conn, insert, [list.clone().into(), now.0.into()]).await?;
        rows = db::all(conn, select, [list.into()]).await?;
    }
    rows.iter().map(|row| Ok((row.try_get("", "name")?, row.try_get("", "id")?))).collect()
}

#[derive(Serialize)]
struct PairRow {
    contact_id: i64,
    tag_id: i64,
}

/// Adds each contact's own tags.
///
/// # Errors
/// The database's.
pub(crate) async fn add_pairs(conn: &impl ConnectionTrait, now: Timestamp, pairs: &[(i64, &str)]) -> Result<(), DbErr> {
    if pairs.is_empty() {
        return Ok(());
    }
    let ids = ensure(conn, now, &pairs.iter().map(|(_, tag)| *tag).collect()).await?;
    let rows: Vec<_> = pairs
        .iter()
        .filter_map(|(contact, tag)| ids.get(*tag).map(|tag_id| PairRow { contact_id: *contact, tag_id: *tag_id }))
        .collect();
    let source = Dialect::of(conn).rows(1, &[("contact_id", "bigint"), ("tag_id", "bigint")]);
    let sql = format!(
        "INSERT INTO contact_tags (contact_id, tag_id) SELECT contact_id, tag_id FROM {source} WHERE TRUE
         ON CONFLICT DO NOTHING"
    );
    db::execute(conn, sql, [db::rows_json(&rows)?]).await?;
    Ok(())
}

/// Adds tags to contacts.
///
/// # Errors
/// The database's.
pub(crate) async fn add(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contacts: &[i64],
    names: &[String],
) -> Result<(), DbErr> {
    let ids = ensure(conn, now, &names.iter().map(String::as_str).collect()).await?;
    let source = Dialect::of(conn).values(1, "bigint");
    let sql = format!(
        "INSERT INTO contact_tags (contact_id, tag_id) SELECT value, $2 FROM {source} WHERE TRUE ON CONFLICT DO NOTHING"
    );
    let list = json!(contacts).to_string();
    for id in ids.into_values() {
        db::execute(conn, sql.clone(), [list.clone().into(), id.into()]).await?;
    }
    Ok(())
}

/// Removes tags from contacts. Names that no tag has are nothing to remove.
///
/// # Errors
/// The database's.
pub(crate) async fn remove(conn: &impl ConnectionTrait, contacts: &[i64], names: &[String]) -> Result<(), DbErr> {
    let dialect = Dialect::of(conn);
    let sql = format!(
        "DELETE FROM contact_tags WHERE contact_id {}
           AND tag_id IN (SELECT id FROM tags WHERE name {})",
        dialect.one_of(1, "bigint"),
        dialect.one_of(2, "text")
    );
    db::execute(conn, sql, [json!(contacts).to_string().into(), json!(names).to_string().into()]).await?;
    Ok(())
}

/// Makes the tags the only ones of contacts. Removes at most `rows` others: `false` when there may be more, for another
/// call.
///
/// # Errors
/// The database's.
pub(crate) async fn set(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contacts: &[i64],
    names: &[String],
    rows: usize,
) -> Result<bool, DbErr> {
    let dialect = Dialect::of(conn);
    let others = format!(
        "contact_id {} AND tag_id NOT IN (SELECT id FROM tags WHERE name {})",
        dialect.one_of(1, "bigint"),
        dialect.one_of(2, "text")
    );
    let others = dialect.some_of("contact_tags", "contact_id, tag_id", &others, rows as u64);
    let sql = format!("DELETE FROM contact_tags WHERE {others}");
    let removed = db::execute(conn, sql, [json!(contacts).to_string().into(), json!(names).to_string().into()]).await?;
    if removed >= rows as u64 {
        return Ok(false);
    }
    add(conn, now, contacts, names).await.map(|()| true)
}
