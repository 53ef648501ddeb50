//! Tags of contacts, set-based: one statement for many contacts.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use unicode_normalization::UnicodeNormalization;

/// The most characters of a tag.
pub const MAX_TAG: usize = 64;

/// A tag as it is kept: without spaces around it, with one space for several within it, in small letters, composed
/// (Unicode's form C), and without characters that cannot be seen. Whoever names a tag, anywhere, means this.
#[must_use]
pub fn normalise(tag: &str) -> String {
    let seen = |c: &char| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let lower: String = tag.chars().filter(seen).collect::<String>().to_lowercase();
    let composed: String = lower.nfc().collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Normalises tags, each once, in their order; blank ones are none.
#[must_use]
pub fn normalise_all<S: AsRef<str>>(tags: &[S]) -> Vec<String> {
    let mut list: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags.iter().map(|tag| normalise(tag.as_ref())) {
        if !tag.is_empty() && !list.contains(&tag) {
            list.push(tag);
        }
    }
    list
}

/// Whether a normalised tag can be kept.
#[must_use]
pub fn is_fine(tag: &str) -> bool {
    (1..=MAX_TAG).contains(&tag.chars().count()) && !tag.contains('\0')
}

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
        format!("SELECT name, id FROM tags WHERE name {}{}", dialect.one_of(1, "text"), dialect.for_key_share());
    let mut rows = db::values(conn, select.clone(), [list.clone().into()]).await?;
    if rows.len() < names.len() {
        let insert = format!(
            "INSERT INTO tags (name, created_at) SELECT value, $2 FROM {} WHERE TRUE ORDER BY value ON CONFLICT (name) DO NOTHING",
            dialect.values(1, "text")
        );
        db::execute(conn, insert, [list.clone().into(), now.0.into()]).await?;
        rows = db::values(conn, select, [list.into()]).await?;
    }
    Ok(rows.into_iter().collect())
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
    let pairs: Vec<(i64, String)> = pairs.iter().map(|(contact, tag)| (*contact, normalise(tag))).collect();
    let names = pairs.iter().map(|(_, tag)| tag.as_str()).filter(|tag| !tag.is_empty()).collect();
    let ids = ensure(conn, now, &names).await?;
    let rows: Vec<_> = pairs
        .iter()
        .filter_map(|(contact, tag)| ids.get(tag).map(|tag_id| PairRow { contact_id: *contact, tag_id: *tag_id }))
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
    let names = normalise_all(names);
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
    db::execute(conn, sql, [json!(contacts).to_string().into(), json!(normalise_all(names)).to_string().into()])
        .await?;
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
    let names_json = json!(normalise_all(names)).to_string();
    let removed = db::execute(conn, sql, [json!(contacts).to_string().into(), names_json.into()]).await?;
    if removed >= rows as u64 {
        return Ok(false);
    }
    add(conn, now, contacts, names).await.map(|()| true)
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
    let found: Vec<i64> = db::values(conn, sql, [list.into()]).await?;
    if found.is_empty() {
        return Ok(());
    }
    // Asked again under the locks: who held one before may have committed meanwhile.
    db::execute(conn, format!("DELETE FROM tags WHERE {unused}"), [json!(found).to_string().into()]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_however_it_is_spelt() {
        for tag in ["vip club", " VIP  Club ", "Vip\u{a0}club", "vip\tclub\n", "\u{200b}vip club"] {
            assert_eq!(normalise(tag), "vip club", "{tag:?}");
        }
        assert_eq!(normalise("CAFE\u{301}"), normalise("Café"));
        assert_eq!(normalise_all(&["VIP", "", " ", "vip ", "New"]), ["vip", "new"]);
        assert!(!is_fine("") && !is_fine(&"x".repeat(65)) && !is_fine("a\0b") && is_fine(&"é".repeat(64)));
    }
}
