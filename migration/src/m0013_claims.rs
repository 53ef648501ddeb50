//! A claim of items is a mark in its chunk's row: what is in flight for the first time has no row of its own.

use crate::sql::{self, uuid};
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The chunks with something in flight, numbered through from their first item to the one that was claimed last.
const SERIES: (&str, &str) = (
    "batch_chunks AS k CROSS JOIN LATERAL generate_series(k.first_seq, k.next_seq - 1) AS s(seq)",
    "batch_chunks AS k JOIN (WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4095) SELECT i FROM n) AS n
        ON k.first_seq + n.i < k.next_seq",
);

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let uuid = uuid(manager);
        // Absent: nothing of the chunk is in flight that has no row. What the release before has in flight has rows.
        sql::run(manager, &[&format!("ALTER TABLE batch_chunks ADD COLUMN claim_id {uuid}")]).await?;
        if sql::is_postgres(manager) {
            // Most items are written once: their pages need no room for a second time.
            sql::run(manager, &["ALTER TABLE batch_items RESET (fillfactor)"]).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The release before finds what is in flight by its rows, under the ids that the gateway was asked with.
        let insert = match sql::is_postgres(manager) {
            true => format!(
                "INSERT INTO batch_items (batch_id, seq, contact_id, status, attempts, message_id)
                 SELECT k.batch_id, s.seq,
                        CASE json_typeof(r.value) WHEN 'number' THEN (r.value #>> '{{}}')::bigint
                             ELSE (SELECT c.id FROM contacts c WHERE c.identifier::text = lower(r.value #>> '{{}}')) END,
                        'sending', 1,
                        (left(k.claim_id::text, 15) || lpad(to_hex(s.seq - k.first_seq), 3, '0') || substr(k.claim_id::text, 19))::uuid
                 FROM {} CROSS JOIN LATERAL (SELECT k.data::json -> (s.seq - k.first_seq)::int AS value) AS r
                 WHERE k.claim_id IS NOT NULL ON CONFLICT DO NOTHING",
                SERIES.0
            ),
            false => format!(
                "INSERT INTO batch_items (batch_id, seq, contact_id, status, attempts, message_id)
                 SELECT k.batch_id, k.first_seq + n.i,
                        CASE json_type(k.data, '$[' || n.i || ']') WHEN 'integer' THEN json_extract(k.data, '$[' || n.i || ']')
                             ELSE (SELECT c.id FROM contacts c WHERE c.identifier = lower(json_extract(k.data, '$[' || n.i || ']'))) END,
                        'sending', 1, substr(k.claim_id, 1, 15) || printf('%03x', n.i) || substr(k.claim_id, 19)
                 FROM {} WHERE k.claim_id IS NOT NULL ON CONFLICT DO NOTHING",
                SERIES.1
            ),
        };
        sql::run(
            manager,
            &[
                &insert,
                // Jobs of this release are ones that the release before leaves alone.
                "UPDATE jobs SET payload_version = 1 WHERE kind = 'send_chunk' AND payload_version = 2",
                "ALTER TABLE batch_chunks DROP COLUMN claim_id",
            ],
        )
        .await?;
        if sql::is_postgres(manager) {
            sql::run(manager, &["ALTER TABLE batch_items SET (fillfactor = 75)"]).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Migrator;
    use sea_orm_migration::sea_orm::{ConnectOptions, Database, Statement};

    #[tokio::test]
    async fn what_is_in_flight_has_rows_again_for_the_release_before() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("memory");
        Migrator::up(&db, Some(13)).await.expect("up");
        for sql in [
            "INSERT INTO contacts (id, identifier, phone, created_at, updated_at)
             VALUES (12, '0197c1a0-0000-7000-8000-00000000000c', '60123000012', 0, 0)",
            r#"INSERT INTO batch_chunks (batch_id, no, first_seq, item_count, next_seq, state, data, claim_id) VALUES
                (1, 0, 0, 3, 3, 'closed', '[1,2,3]', NULL),
                (1, 1, 3, 4, 6, 'open', '[11,"0197C1A0-0000-7000-8000-00000000000C",13,14]', '0197c1a0-1234-7000-9abc-123456789abc')"#,
            "INSERT INTO batch_items (batch_id, seq, contact_id, status) VALUES (1, 3, 11, 'succeeded')",
            "INSERT INTO jobs (kind, lane, state, payload_version, run_at, created_at)
             VALUES ('send_chunk', 'bulk', 'ready', 2, 0, 0)",
        ] {
            db.execute_unprepared(sql).await.expect("written");
        }
        Migration.down(&SchemaManager::new(&db)).await.expect("down");
        let sql =
            "SELECT seq || ' ' || contact_id || ' ' || status || coalesce(' ' || message_id, '') AS t FROM batch_items
                   UNION ALL SELECT 'version ' || payload_version FROM jobs ORDER BY t";
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.expect("read");
        let rows: Vec<String> = rows.iter().map(|row| row.try_get("", "t").expect("a text")).collect();
        assert_eq!(
            rows,
            [
                "3 11 succeeded",
                "4 12 sending 0197c1a0-1234-7001-9abc-123456789abc",
                "5 13 sending 0197c1a0-1234-7002-9abc-123456789abc",
                "version 1",
            ]
        );
        Migration.up(&SchemaManager::new(&db)).await.expect("up");
    }
}
