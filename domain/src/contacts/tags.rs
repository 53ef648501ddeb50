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
    // Held until the commit: a deletion drops a tag that nobody has, and not one that somebody is about to have.
    let select =
        format!("SELECT id, name FROM tags WHERE name {}{}", dialect.one_of(1, "text"), dialect.for_key_share());
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

/// Makes the tags the only ones of contacts.
///
/// # Errors
/// The database's.
pub(crate) async fn set(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contacts: &[i64],
    names: &[String],
) -> Result<(), DbErr> {
    let dialect = Dialect::of(conn);
    let sql = format!(
        "DELETE FROM contact_tags WHERE contact_id {}
           AND tag_id NOT IN (SELECT id FROM tags WHERE name {})",
        dialect.one_of(1, "bigint"),
        dialect.one_of(2, "text")
    );
    db::execute(conn, sql, [json!(contacts).to_string().into(), json!(names).to_string().into()]).await?;
    add(conn, now, contacts, names).await
}

/// The tags of contacts.
pub(crate) async fn of(conn: &impl ConnectionTrait, contacts: &[i64]) -> Result<BTreeSet<i64>, DbErr> {
    let sql =
        format!("SELECT DISTINCT tag_id FROM contact_tags WHERE contact_id {}", Dialect::of(conn).one_of(1, "bigint"));
    let rows = db::all(conn, sql, [json!(contacts).to_string().into()]).await?;
    rows.iter().map(|row| row.try_get("", "tag_id")).collect()
}

/// Drops those of the tags that no contact has any more: the name of a tag that only one person had tells of that person.
/// One that somebody is just giving to a contact stays.
pub(crate) async fn drop_unused(conn: &impl ConnectionTrait, tags: &BTreeSet<i64>) -> Result<(), DbErr> {
    let dialect = Dialect::of(conn);
    let unused = format!(
        "id {} AND NOT EXISTS (SELECT 1 FROM contact_tags ct WHERE ct.tag_id = tags.id)",
        dialect.one_of(1, "bigint")
    );
    let list = json!(tags).to_string();
    let sql = format!("SELECT id FROM tags WHERE {unused} ORDER BY id{}", dialect.for_update_skip_locked());
    let found = db::all(conn, sql, [list.into()]).await?;
    let found = found.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<i64>, _>>()?;
    if found.is_empty() {
        return Ok(());
    }
    // Asked again under the locks: who held one before may have committed meanwhile.
    db::execute(conn, format!("DELETE FROM tags WHERE {unused}"), [json!(found).to_string().into()]).await.map(|_| ())
}
