//! Imports: what is odd about an item, the cells of a row that failed, and one spelling for each tag.

use crate::sql;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, Statement};
use std::collections::BTreeMap;
use unicode_normalization::UnicodeNormalization;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// How tags are kept from this step on. The rule of that day: the domain's own may change, and this may not.
fn normalise(tag: &str) -> String {
    let seen = |c: &char| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let lower: String = tag.chars().filter(seen).collect::<String>().to_lowercase();
    let composed: String = lower.nfc().collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Gives each tag its one spelling: of several that are the same now, the oldest keeps the contacts of all. A blank one,
/// which nobody can name, goes.
async fn merge_tags(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let conn = manager.get_connection();
    let backend = manager.get_database_backend();
    let rows = conn.query_all_raw(Statement::from_string(backend, "SELECT id, name FROM tags ORDER BY id")).await?;
    let mut kept: BTreeMap<String, i64> = BTreeMap::new();
    let mut renamed: Vec<(i64, String)> = Vec::new();
    for row in rows {
        let (id, name): (i64, String) = (row.try_get("", "id")?, row.try_get("", "name")?);
        let plain = normalise(&name);
        let run = async |sql: &str, values: Vec<sea_orm_migration::sea_orm::Value>| {
            conn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await
        };
        match kept.get(&plain) {
            None if !plain.is_empty() => {
                if plain != name {
                    renamed.push((id, plain.clone()));
                }
                kept.insert(plain, id);
                continue;
            }
            None => {}
            Some(first) => {
                run(
                    "INSERT INTO contact_tags (contact_id, tag_id)
                     SELECT contact_id, $2 FROM contact_tags WHERE tag_id = $1 ON CONFLICT DO NOTHING",
                    vec![id.into(), (*first).into()],
                )
                .await?;
            }
        }
        run("DELETE FROM contact_tags WHERE tag_id = $1", vec![id.into()]).await?;
        run("DELETE FROM tags WHERE id = $1", vec![id.into()]).await?;
    }
    for (id, name) in renamed {
        let sql = "UPDATE tags SET name = $2 WHERE id = $1";
        conn.execute_raw(Statement::from_sql_and_values(backend, sql, [id.into(), name.into()])).await?;
    }
    Ok(())
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &["ALTER TABLE batch_items ADD COLUMN warning TEXT", "ALTER TABLE batch_items ADD COLUMN source_row TEXT"],
        )
        .await?;
        merge_tags(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // How tags were spelt before is gone; the old program reads the new spelling.
        sql::run(
            manager,
            &["ALTER TABLE batch_items DROP COLUMN source_row", "ALTER TABLE batch_items DROP COLUMN warning"],
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Migrator;
    use sea_orm_migration::sea_orm::{ConnectOptions, Database};

    #[tokio::test]
    async fn tags_that_were_spelt_in_several_ways_become_one() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("memory");
        Migrator::up(&db, Some(8)).await.expect("up");
        let manager = SchemaManager::new(&db);
        Migration.down(&manager).await.expect("down");
        for sql in [
            "INSERT INTO tags (id, name, created_at) VALUES (1, 'vip', 0), (2, 'VIP ', 0), (3, ' New  Shop', 0), (4, 'new shop', 0),
                 (5, ' ', 0), (6, 'ÉTÉ', 0)",
            "INSERT INTO contact_tags (contact_id, tag_id) VALUES (10, 1), (10, 2), (11, 2), (12, 3), (13, 4), (14, 5), (15, 6)",
        ] {
            db.execute_unprepared(sql).await.expect("written");
        }
        Migration.up(&manager).await.expect("up");
        let sql = "SELECT t.name AS name, c.contact_id AS contact FROM tags t JOIN contact_tags c ON c.tag_id = t.id ORDER BY 2, 1";
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.expect("read");
        let rows: Vec<(String, i64)> = rows
            .iter()
            .map(|row| (row.try_get("", "name").expect("name"), row.try_get("", "contact").expect("contact")))
            .collect();
        let expected = [("vip", 10), ("vip", 11), ("new shop", 12), ("new shop", 13), ("été", 15)];
        assert_eq!(rows, expected.map(|(name, contact)| (name.to_owned(), contact)));
        let left = db.query_all_raw(Statement::from_string(db.get_database_backend(), "SELECT id FROM tags")).await;
        assert_eq!(left.expect("read").len(), 3);
    }
}
