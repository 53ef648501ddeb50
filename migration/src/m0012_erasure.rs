//! What a deletion has to find: the order of histories, answers that show a contact, rows that imports keep of numbers;
//! and what ends sessions.

use crate::sql;
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Closed chunks of imports, as a condition on `batch_chunks`.
const CLOSED_IMPORT: &str =
    "state = 'closed' AND batch_id IN (SELECT id FROM batches WHERE type = 'IMPORT') AND data <> '[]'";

/// A chunk that has a row which may be tried again, as a condition on `batch_chunks`: its job died.
const HAS_DEAD: &str = "EXISTS (SELECT 1 FROM batch_items i WHERE i.batch_id = batch_chunks.batch_id
    AND i.seq >= batch_chunks.first_seq AND i.seq < batch_chunks.first_seq + batch_chunks.item_count
    AND i.error_code = 'job_dead')";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
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
                // Where a batch keeps what somebody typed of a number: rows that failed.
                "CREATE TABLE contact_traces (
                    phone TEXT NOT NULL,
                    batch_id BIGINT NOT NULL,
                    seq BIGINT NOT NULL,
                    PRIMARY KEY (phone, batch_id, seq)
                )",
                "CREATE INDEX contact_traces_batch ON contact_traces (batch_id)",
                "CREATE INDEX contacts_deleted_at ON contacts (deleted_at) WHERE deleted_at IS NOT NULL",
                // What went wrong with a contact's items. Its condition is that of `batch_items_error`, so that the way of a
                // success changes no indexed column.
                "CREATE INDEX batch_items_contact_error ON batch_items (contact_id) WHERE error_code IS NOT NULL",
                "CREATE INDEX sessions_expires_at ON sessions (expires_at)",
                "CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL",
                "CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at)",
            ],
        )
        .await?;
        self.forget_imported(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "DROP INDEX refresh_tokens_expires_at",
                "DROP INDEX sessions_revoked_at",
                "DROP INDEX sessions_expires_at",
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
    /// Imports that are there keep the rows of a dead job alone, and those and the numbers of failed rows are found by a
    /// deletion. A number is told here by its digits, as far as SQL can: what stands between them goes.
    async fn forget_imported(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let digits = |text: &str| {
            [" ", "-", "(", ")", ".", "+"].iter().fold(text.to_owned(), |text, c| format!("replace({text}, '{c}', '')"))
        };
        let typed = digits("i.input");
        let (rows, of_row) = match sql::is_postgres(manager) {
            true => (
                "CROSS JOIN LATERAL json_array_elements(batch_chunks.data::json) WITH ORDINALITY AS r(value, place)",
                ("r.value #>> '{r,p}'", "r.place - 1"),
            ),
            false => ("CROSS JOIN json_each(batch_chunks.data) AS r", ("r.value ->> '$.r.p'", "r.key")),
        };
        let (phone, place) = (digits(of_row.0), of_row.1);
        sql::run(
            manager,
            &[
                &format!("UPDATE batch_chunks SET data = '[]' WHERE {CLOSED_IMPORT} AND NOT {HAS_DEAD}"),
                &format!(
                    "INSERT INTO contact_traces (phone, batch_id, seq)
                     SELECT {typed}, i.batch_id, i.seq FROM batch_items i
                     WHERE i.status = 'failed' AND i.input IS NOT NULL
                       AND i.batch_id IN (SELECT id FROM batches WHERE type = 'IMPORT')"
                ),
                &format!(
                    "INSERT INTO contact_traces (phone, batch_id, seq)
                     SELECT {phone}, batch_chunks.batch_id, batch_chunks.first_seq + {place} FROM batch_chunks {rows}
                     WHERE {CLOSED_IMPORT} AND {phone} IS NOT NULL ON CONFLICT DO NOTHING"
                ),
            ],
        )
        .await
    }
}
