//! What a deletion has to find: the order of histories, answers that show a contact, rows that imports keep of numbers;
//! and what ends sessions.

use crate::m0010_people::key;
use crate::sql;
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Closed chunks of imports that still have rows, as a condition on `batch_chunks`.
const CLOSED_IMPORT: &str =
    "batch_chunks.state = 'closed' AND batch_id IN (SELECT id FROM batches WHERE type = 'IMPORT') AND data <> '[]'";

/// A chunk that has a row which failed: it may be tried again, and given back to be mended.
const HAS_FAILED: &str = "EXISTS (SELECT 1 FROM batch_items i WHERE i.batch_id = batch_chunks.batch_id
    AND i.seq >= batch_chunks.first_seq AND i.seq < batch_chunks.first_seq + batch_chunks.item_count
    AND i.error_code IS NOT NULL AND i.status = 'failed')";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let kept = if sql::is_postgres(manager) { "STORED" } else { "VIRTUAL" };
        sql::run(
            manager,
            &[
                // A history is in the order of its messages' own times.
                "DROP INDEX messages_contact",
                "CREATE INDEX messages_contact ON messages (contact_id, created_at, id)",
                // What came last, for marking as read; batches write no such rows.
                "CREATE INDEX messages_inbound ON messages (contact_id, id) WHERE direction = 'inbound'",
                "ALTER TABLE idempotency_keys ADD COLUMN contact_id BIGINT",
                "CREATE INDEX idempotency_keys_contact ON idempotency_keys (contact_id) WHERE contact_id IS NOT NULL",
                // Where a batch keeps what somebody typed of a number, by what its spellings have in common.
                "CREATE TABLE contact_traces (
                    phone_key TEXT NOT NULL,
                    batch_id BIGINT NOT NULL,
                    seq BIGINT NOT NULL,
                    PRIMARY KEY (phone_key, batch_id, seq)
                )",
                "CREATE INDEX contact_traces_batch ON contact_traces (batch_id, seq)",
                "CREATE INDEX contacts_deleted_at ON contacts (deleted_at, id) WHERE deleted_at IS NOT NULL",
                // What went wrong with a contact's items. Its condition is that of `batch_items_error`, so that the way of a
                // success changes no indexed column.
                "CREATE INDEX batch_items_contact_error ON batch_items (contact_id) WHERE error_code IS NOT NULL",
                &format!(
                    "ALTER TABLE early_receipts ADD COLUMN wa_key TEXT GENERATED ALWAYS AS ({}) {kept}",
                    key("wa_id")
                ),
                "CREATE INDEX early_receipts_wa_key ON early_receipts (wa_key) WHERE wa_key IS NOT NULL",
                "CREATE INDEX sessions_expires_at ON sessions (expires_at)",
                "CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at)",
            ],
        )
        .await?;
        self.forget_imported(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The release before knows no row that is gone: it reads one that cannot be read.
        let gone = r#"{"e":{"l":0,"m":"no longer kept"}}"#;
        let data = match sql::is_postgres(manager) {
            true => format!(
                "(SELECT json_agg(CASE json_typeof(r.value) WHEN 'string' THEN '{gone}'::json ELSE r.value END ORDER BY r.place)
                  FROM json_array_elements(data::json) WITH ORDINALITY AS r(value, place))::text"
            ),
            false => format!(
                "(SELECT json_group_array(json(CASE r.type WHEN 'text' THEN '{gone}' ELSE r.value END))
                  FROM json_each(batch_chunks.data) AS r)"
            ),
        };
        sql::run(manager, &[&format!("UPDATE batch_chunks SET data = {data} WHERE {CLOSED_IMPORT}")]).await?;
        sql::run(
            manager,
            &[
                "DROP INDEX refresh_tokens_expires_at",
                "DROP INDEX sessions_expires_at",
                "DROP INDEX early_receipts_wa_key",
                "ALTER TABLE early_receipts DROP COLUMN wa_key",
                "DROP INDEX batch_items_contact_error",
                "DROP INDEX contacts_deleted_at",
                "DROP TABLE contact_traces",
                "DROP INDEX idempotency_keys_contact",
                "ALTER TABLE idempotency_keys DROP COLUMN contact_id",
                "DROP INDEX messages_inbound",
                "DROP INDEX messages_contact",
                "CREATE INDEX messages_contact ON messages (contact_id, id)",
            ],
        )
        .await
    }
}

impl Migration {
    /// Imports that are there keep the rows of chunks in which some failed, and those are found by a deletion. A number is
    /// told here by its digits, as far as SQL can: what stands between them goes.
    async fn forget_imported(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let digits = |text: &str| {
            [" ", "-", "(", ")", ".", "+"].iter().fold(text.to_owned(), |text, c| format!("replace({text}, '{c}', '')"))
        };
        // Of a row that was checked, of one as it came, and of one that became none.
        let (rows, typed, place) = match sql::is_postgres(manager) {
            true => (
                "CROSS JOIN LATERAL json_array_elements(batch_chunks.data::json) WITH ORDINALITY AS r(value, place)",
                "coalesce(r.value #>> '{c,p}', r.value #>> '{r,p}', r.value #>> '{e,i}')",
                "r.place - 1",
            ),
            false => (
                "CROSS JOIN json_each(batch_chunks.data) AS r",
                "CASE WHEN r.type = 'object' THEN coalesce(r.value ->> '$.c.p', r.value ->> '$.r.p', r.value ->> '$.e.i') END",
                "r.key",
            ),
        };
        let (of_item, of_row, key) = (digits("i.input"), digits(typed), key("digits"));
        sql::run(
            manager,
            &[
                &format!("UPDATE batch_chunks SET data = '[]' WHERE {CLOSED_IMPORT} AND NOT {HAS_FAILED}"),
                &format!(
                    "INSERT INTO contact_traces (phone_key, batch_id, seq)
                     SELECT {key}, batch_id, seq FROM (
                        SELECT {of_item} AS digits, i.batch_id AS batch_id, i.seq AS seq FROM batch_items i
                        WHERE i.error_code IS NOT NULL AND i.input IS NOT NULL) AS typed
                     WHERE digits <> ''"
                ),
                &format!(
                    "INSERT INTO contact_traces (phone_key, batch_id, seq)
                     SELECT {key}, batch_id, seq FROM (
                        SELECT {of_row} AS digits, batch_chunks.batch_id AS batch_id, batch_chunks.first_seq + {place} AS seq
                        FROM batch_chunks {rows} WHERE {CLOSED_IMPORT}) AS typed
                     WHERE digits <> '' ON CONFLICT DO NOTHING"
                ),
            ],
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Migrator;
    use sea_orm_migration::sea_orm::{ConnectOptions, Database, DatabaseConnection, Statement};

    async fn texts(db: &DatabaseConnection, sql: &str) -> Vec<String> {
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.expect("read");
        rows.iter().map(|row| row.try_get("", "t").expect("a text")).collect()
    }

    #[tokio::test]
    async fn imports_that_are_there_let_go_of_what_they_need_no_more() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("memory");
        Migrator::up(&db, Some(12)).await.expect("up");
        let manager = SchemaManager::new(&db);
        Migration.down(&manager).await.expect("down");
        let data = r#"[{"c":{"l":1,"p":"60123000001"}},{"r":{"l":2,"p":"+55 31 8765-4321"}},{"e":{"l":3,"m":"bad","i":"12"}}]"#;
        for sql in [
            "INSERT INTO batches (id, type, status, created_by, config, created_at) VALUES (1, 'IMPORT', 'COMPLETED', 1, '{}', 0)",
            &format!(
                "INSERT INTO batch_chunks (batch_id, no, first_seq, item_count, next_seq, state, data)
                 VALUES (1, 0, 0, 3, 3, 'closed', '{data}'), (1, 1, 3, 3, 6, 'closed', '{data}'), (1, 2, 6, 3, 6, 'open', '{data}')"
            ),
            "INSERT INTO batch_items (batch_id, seq, status, error_code, input) VALUES
                (1, 0, 'succeeded', NULL, NULL), (1, 1, 'failed', 'job_dead', NULL), (1, 2, 'failed', 'invalid_row', '12'),
                (1, 3, 'succeeded', NULL, NULL), (1, 4, 'succeeded', NULL, NULL), (1, 5, 'skipped', 'duplicate', NULL)",
        ] {
            db.execute_unprepared(sql).await.expect("written");
        }
        Migration.up(&manager).await.expect("up");
        let chunks = "SELECT data AS t FROM batch_chunks ORDER BY no";
        assert_eq!(
            texts(&db, chunks).await,
            [data, "[]", data],
            "what failed may be tried again; what is open is not done"
        );
        let traces = "SELECT phone_key || ' ' || seq AS t FROM contact_traces ORDER BY seq";
        assert_eq!(texts(&db, traces).await, ["60123000001 0", "5531987654321 1", "12 2"], "by the key of the number");
        // A row that is gone is one that cannot be read, for a release that knows no other word for it.
        db.execute_unprepared(r#"UPDATE batch_chunks SET data = '["d",{"r":{"l":2,"p":"d"}}]' WHERE no = 0"#)
            .await
            .expect("written");
        Migration.down(&manager).await.expect("down");
        let after = texts(&db, chunks).await;
        assert_eq!(after[0], r#"[{"e":{"l":0,"m":"no longer kept"}},{"r":{"l":2,"p":"d"}}]"#);
    }
}
