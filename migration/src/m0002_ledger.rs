//! The ledger: contacts and their tags, senders, batches with their chunks and items, messages, jobs.

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
        // Half of an item's writes are updates of columns that no index covers: room on the page keeps them there.
        let roomy = if sql::is_postgres(manager) { " WITH (fillfactor = 75)" } else { "" };
        let clustered = if sql::is_postgres(manager) { "" } else { " WITHOUT ROWID" };
        sql::run(
            manager,
            &[
                &format!(
                    "CREATE TABLE contacts (
                        id {id},
                        identifier {uuid} NOT NULL,
                        phone TEXT,
                        name TEXT,
                        source TEXT,
                        attributes TEXT,
                        created_at BIGINT NOT NULL,
                        updated_at BIGINT NOT NULL,
                        deleted_at BIGINT
                    )"
                ),
                "CREATE UNIQUE INDEX contacts_identifier ON contacts (identifier)",
                "CREATE UNIQUE INDEX contacts_phone ON contacts (phone)",
                &format!("CREATE TABLE tags (id {id}, name TEXT NOT NULL, created_at BIGINT NOT NULL)"),
                "CREATE UNIQUE INDEX tags_name ON tags (name)",
                &format!(
                    "CREATE TABLE contact_tags (
                        contact_id BIGINT NOT NULL,
                        tag_id BIGINT NOT NULL,
                        PRIMARY KEY (contact_id, tag_id)
                    ){clustered}"
                ),
                "CREATE INDEX contact_tags_tag ON contact_tags (tag_id, contact_id)",
                &format!(
                    "CREATE TABLE senders (
                        id {id},
                        name TEXT NOT NULL,
                        rate_per_minute BIGINT,
                        next_slot_us BIGINT NOT NULL DEFAULT 0,
                        created_at BIGINT NOT NULL
                    )"
                ),
                "CREATE UNIQUE INDEX senders_name ON senders (name)",
                "INSERT INTO senders (name, created_at) VALUES ('default', 0)",
                &format!(
                    "CREATE TABLE batches (
                        id {id},
                        type TEXT NOT NULL,
                        status TEXT NOT NULL,
                        sender_id BIGINT,
                        created_by BIGINT NOT NULL,
                        config TEXT NOT NULL,
                        content TEXT,
                        rate_per_minute BIGINT,
                        jitter_ms BIGINT NOT NULL DEFAULT 0,
                        on_unknown TEXT NOT NULL DEFAULT 'resend',
                        schedule_at BIGINT,
                        paused BOOLEAN NOT NULL DEFAULT FALSE,
                        expanded BOOLEAN NOT NULL DEFAULT FALSE,
                        total BIGINT NOT NULL DEFAULT 0,
                        succeeded BIGINT NOT NULL DEFAULT 0,
                        failed BIGINT NOT NULL DEFAULT 0,
                        skipped BIGINT NOT NULL DEFAULT 0,
                        chunk_count BIGINT NOT NULL DEFAULT 0,
                        next_chunk BIGINT NOT NULL DEFAULT 0,
                        chunks_left BIGINT NOT NULL DEFAULT 0,
                        next_slot_us BIGINT NOT NULL DEFAULT 0,
                        version BIGINT NOT NULL DEFAULT 1,
                        error_message TEXT,
                        created_at BIGINT NOT NULL,
                        started_at BIGINT,
                        completed_at BIGINT
                    ){roomy}"
                ),
                "CREATE INDEX batches_type ON batches (type, id)",
                "CREATE INDEX batches_status ON batches (status, id)",
                "CREATE INDEX batches_created_at ON batches (created_at)",
                "CREATE TABLE batch_chunks (
                    batch_id BIGINT NOT NULL,
                    no BIGINT NOT NULL,
                    first_seq BIGINT NOT NULL,
                    item_count BIGINT NOT NULL,
                    next_seq BIGINT NOT NULL,
                    state TEXT NOT NULL,
                    passed_on BOOLEAN NOT NULL DEFAULT FALSE,
                    retry BOOLEAN NOT NULL DEFAULT FALSE,
                    data TEXT NOT NULL,
                    PRIMARY KEY (batch_id, no)
                )",
                "CREATE INDEX batch_chunks_open ON batch_chunks (batch_id, first_seq) WHERE state = 'open'",
                &format!(
                    "CREATE TABLE batch_items (
                        batch_id BIGINT NOT NULL,
                        seq BIGINT NOT NULL,
                        contact_id BIGINT,
                        input TEXT,
                        status TEXT NOT NULL,
                        attempts BIGINT NOT NULL DEFAULT 0,
                        fence BIGINT NOT NULL DEFAULT 0,
                        slot_us BIGINT,
                        message_id {uuid},
                        error_code TEXT,
                        error_message TEXT,
                        started_at BIGINT,
                        finished_at BIGINT,
                        next_attempt_at BIGINT,
                        PRIMARY KEY (batch_id, seq)
                    ){}",
                    if sql::is_postgres(manager) { roomy } else { " WITHOUT ROWID" }
                ),
                // On the error and not on the status: the way of a success then changes no indexed column.
                "CREATE INDEX batch_items_error ON batch_items (batch_id, seq) WHERE error_code IS NOT NULL",
                &format!(
                    "CREATE TABLE messages (
                        id {id},
                        uuid {uuid} NOT NULL,
                        contact_id BIGINT NOT NULL,
                        batch_id BIGINT,
                        item_seq BIGINT,
                        direction TEXT NOT NULL,
                        content TEXT,
                        status TEXT NOT NULL,
                        ack BIGINT NOT NULL DEFAULT 0,
                        whatsapp_id TEXT,
                        error_code TEXT,
                        error_message TEXT,
                        created_at BIGINT NOT NULL,
                        sent_at BIGINT,
                        delivered_at BIGINT,
                        read_at BIGINT
                    ){roomy}"
                ),
                "CREATE UNIQUE INDEX messages_uuid ON messages (uuid)",
                "CREATE INDEX messages_contact ON messages (contact_id, id)",
                "CREATE UNIQUE INDEX messages_whatsapp_id ON messages (whatsapp_id) WHERE whatsapp_id IS NOT NULL",
                &format!(
                    "CREATE TABLE early_receipts (
                        uuid {uuid} NOT NULL PRIMARY KEY,
                        ack BIGINT NOT NULL,
                        whatsapp_id TEXT,
                        received_at BIGINT NOT NULL
                    )"
                ),
                &format!(
                    "CREATE TABLE jobs (
                        id {id},
                        kind TEXT NOT NULL,
                        lane TEXT NOT NULL,
                        state TEXT NOT NULL,
                        batch_id BIGINT,
                        chunk_no BIGINT,
                        payload_version BIGINT NOT NULL DEFAULT 1,
                        payload TEXT NOT NULL DEFAULT '{{}}',
                        run_at BIGINT NOT NULL,
                        rung_at BIGINT,
                        attempts BIGINT NOT NULL DEFAULT 0,
                        failures BIGINT NOT NULL DEFAULT 0,
                        crashes BIGINT NOT NULL DEFAULT 0,
                        fence BIGINT NOT NULL DEFAULT 0,
                        lease_owner TEXT,
                        lease_until BIGINT,
                        error TEXT,
                        created_at BIGINT NOT NULL,
                        started_at BIGINT,
                        finished_at BIGINT
                    ){roomy}"
                ),
                "CREATE INDEX jobs_ready ON jobs (run_at) WHERE state = 'ready'",
                "CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 'running'",
                "CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead'",
                "CREATE INDEX jobs_batch ON jobs (batch_id) WHERE batch_id IS NOT NULL",
                "CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "DROP TABLE jobs",
                "DROP TABLE early_receipts",
                "DROP TABLE messages",
                "DROP TABLE batch_items",
                "DROP TABLE batch_chunks",
                "DROP TABLE batches",
                "DROP TABLE senders",
                "DROP TABLE contact_tags",
                "DROP TABLE tags",
                "DROP TABLE contacts",
            ],
        )
        .await
    }
}
