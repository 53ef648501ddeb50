//! Conversations: what customers write, what is answered, who does not want to be written to, and what the CRM's stream
//! tells.

use crate::sql::{self, identity, uuid};
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Over 80 lines: tables and what is carried into them are one list of statements, read from its top to its end.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = identity(manager);
        let uuid = uuid(manager);
        let roomy = if sql::is_postgres(manager) { " WITH (fillfactor = 75)" } else { "" };
        sql::run(
            manager,
            &[
                "ALTER TABLE contacts ADD COLUMN status TEXT NOT NULL DEFAULT 'new'",
                "ALTER TABLE contacts ADD COLUMN remark TEXT",
                "ALTER TABLE contacts ADD COLUMN photo_url TEXT",
                // What a claim must know of a recipient, where it reads the recipient anyway.
                "ALTER TABLE contacts ADD COLUMN suppressed_at BIGINT",
                // Addresses beside the number that messages go to, which stays in the contact's row.
                "CREATE TABLE contact_identities (
                    kind TEXT NOT NULL,
                    value TEXT NOT NULL,
                    contact_id BIGINT NOT NULL,
                    created_at BIGINT NOT NULL,
                    PRIMARY KEY (kind, value)
                )",
                "CREATE INDEX contact_identities_contact ON contact_identities (contact_id)",
                // Narrow and apart from the contacts: each message writes here, and a contact's row has four indexes.
                &format!(
                    "CREATE TABLE contact_activity (
                        contact_id BIGINT NOT NULL PRIMARY KEY,
                        last_message_at BIGINT NOT NULL
                    ){roomy}"
                ),
                "CREATE INDEX contact_activity_latest ON contact_activity (last_message_at, contact_id)",
                &format!(
                    "CREATE TABLE conversations (
                        id {id},
                        uuid {uuid} NOT NULL,
                        contact_id BIGINT NOT NULL,
                        channel TEXT NOT NULL,
                        status TEXT NOT NULL,
                        unread BIGINT NOT NULL DEFAULT 0,
                        created_at BIGINT NOT NULL,
                        updated_at BIGINT NOT NULL,
                        resolved_at BIGINT
                    ){roomy}"
                ),
                "CREATE UNIQUE INDEX conversations_uuid ON conversations (uuid)",
                "CREATE UNIQUE INDEX conversations_open ON conversations (contact_id, channel) WHERE status <> 'closed'",
                "CREATE INDEX conversations_contact ON conversations (contact_id, id)",
                "ALTER TABLE messages ADD COLUMN conversation_id BIGINT",
                "ALTER TABLE messages ADD COLUMN author_id BIGINT",
                "ALTER TABLE messages ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0",
                "ALTER TABLE messages ADD COLUMN seen_delay_ms BIGINT",
                "ALTER TABLE messages ADD COLUMN message_type TEXT NOT NULL DEFAULT 'text'",
                "ALTER TABLE messages ADD COLUMN media TEXT",
                // A receipt may say that a message failed, before its outcome is written.
                "ALTER TABLE early_receipts ADD COLUMN error_code TEXT",
                "ALTER TABLE early_receipts ADD COLUMN error_message TEXT",
                "CREATE TABLE early_acks (
                    whatsapp_id TEXT NOT NULL PRIMARY KEY,
                    ack BIGINT NOT NULL,
                    received_at BIGINT NOT NULL
                )",
                // The trail of who wanted what, when, and by which message: rows are ended, never deleted.
                &format!(
                    "CREATE TABLE suppressions (
                        id {id},
                        phone TEXT NOT NULL,
                        contact_id BIGINT,
                        reason TEXT NOT NULL,
                        word TEXT,
                        message_id BIGINT,
                        created_by BIGINT,
                        created_at BIGINT NOT NULL,
                        ended_at BIGINT,
                        ended_reason TEXT,
                        ended_word TEXT,
                        ended_message_id BIGINT,
                        ended_by BIGINT
                    )"
                ),
                "CREATE UNIQUE INDEX suppressions_active ON suppressions (phone) WHERE ended_at IS NULL",
                "CREATE INDEX suppressions_phone ON suppressions (phone, id)",
                &format!("CREATE TABLE crm_events (
                        id {id},
                        contact_id BIGINT NOT NULL,
                        data TEXT NOT NULL,
                        created_at BIGINT NOT NULL
                    )"),
                // One row for each day, kind and slot: many may count at once without waiting for one another.
                "CREATE TABLE message_tallies (
                    day BIGINT NOT NULL,
                    kind TEXT NOT NULL,
                    slot BIGINT NOT NULL,
                    n BIGINT NOT NULL,
                    PRIMARY KEY (day, kind, slot)
                )",
                "ALTER TABLE senders ADD COLUMN urgent_slot_us BIGINT NOT NULL DEFAULT 0",
            ],
        )
        .await?;
        self.carry_over(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "ALTER TABLE senders DROP COLUMN urgent_slot_us",
                "DROP TABLE message_tallies",
                "DROP TABLE crm_events",
                "DROP TABLE suppressions",
                "DROP TABLE early_acks",
                "ALTER TABLE early_receipts DROP COLUMN error_message",
                "ALTER TABLE early_receipts DROP COLUMN error_code",
                "ALTER TABLE messages DROP COLUMN media",
                "ALTER TABLE messages DROP COLUMN message_type",
                "ALTER TABLE messages DROP COLUMN seen_delay_ms",
                "ALTER TABLE messages DROP COLUMN attempts",
                "ALTER TABLE messages DROP COLUMN author_id",
                "ALTER TABLE messages DROP COLUMN conversation_id",
                "DROP TABLE conversations",
                "DROP TABLE contact_activity",
                "DROP TABLE contact_identities",
                "ALTER TABLE contacts DROP COLUMN suppressed_at",
                "ALTER TABLE contacts DROP COLUMN photo_url",
                "ALTER TABLE contacts DROP COLUMN remark",
                "ALTER TABLE contacts DROP COLUMN status",
            ],
        )
        .await
    }
}

impl Migration {
    /// Messages that are there already count as activity, and are counted.
    async fn carry_over(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "INSERT INTO contact_activity (contact_id, last_message_at)
                 SELECT m.contact_id, max(m.created_at) FROM messages m
                 JOIN contacts c ON c.id = m.contact_id AND c.deleted_at IS NULL GROUP BY m.contact_id",
                "INSERT INTO message_tallies (day, kind, slot, n)
                 SELECT created_at / 86400000, 'sent', 0, count(*) FROM messages
                 WHERE status IN ('sent', 'delivered', 'read') GROUP BY created_at / 86400000",
            ],
        )
        .await
    }
}
