//! A recipient of a send and its message are one row, in `messages` (0037). Both tables are built anew beside the old ones, in
//! statements over all rows: no row is changed twice, and no index is kept while they are filled.

use crate::sql::{self, identity, uuid};
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The columns of messages that are carried over as they are, by their names before and since.
const AS_IT_IS: &str =
    "id, uuid, contact_id, batch_id, sender_id, gateway_id, conversation_id, author_id, direction, status,
    ack, message_type, content, media, whatsapp_id, created_at, sent_at, delivered_at, read_at, seen_delay_ms";

/// The indexes of messages that are there before and since.
const KEPT_INDEXES: [&str; 3] = [
    "CREATE UNIQUE INDEX messages_uuid ON messages (uuid)",
    "CREATE UNIQUE INDEX messages_whatsapp_id ON messages (whatsapp_id) WHERE whatsapp_id IS NOT NULL",
    "CREATE INDEX messages_inbound ON messages (contact_id, id) WHERE direction = 'inbound'",
];

/// The indexes of items that have rows of their own.
const ITEM_INDEXES: [&str; 3] = [
    "CREATE INDEX batch_items_error ON batch_items (batch_id, seq) WHERE error_code IS NOT NULL",
    "CREATE INDEX batch_items_contact ON batch_items (contact_id, batch_id, seq) WHERE contact_id IS NOT NULL",
    "CREATE INDEX batch_items_contact_error ON batch_items (contact_id) WHERE error_code IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    // Over 80 lines: tables and what is carried into them are one list of statements, read from its top to its end.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (id, uuid, roomy) = (identity(manager), uuid(manager), roomy(manager));
        set_aside(manager).await?;
        let of_item = "i.batch_id = m.batch_id AND i.seq = m.item_seq AND i.message_id = m.uuid";
        let item = |column: &str| format!("CASE WHEN i.batch_id IS NULL THEN m.{column} ELSE i.{column} END");
        sql::run(
            manager,
            &[
                &format!(
                    "CREATE TABLE messages (
                        id {id},
                        uuid {uuid},
                        contact_id BIGINT,
                        batch_id BIGINT,
                        seq BIGINT,
                        sender_id BIGINT,
                        gateway_id BIGINT,
                        conversation_id BIGINT,
                        author_id BIGINT,
                        direction TEXT,
                        status TEXT,
                        ack BIGINT NOT NULL DEFAULT 0,
                        item_status TEXT,
                        attempts BIGINT NOT NULL DEFAULT 0,
                        fence BIGINT NOT NULL DEFAULT 0,
                        slot_us BIGINT,
                        message_type TEXT NOT NULL DEFAULT 'text',
                        content TEXT,
                        media TEXT,
                        input TEXT,
                        whatsapp_id TEXT,
                        error_code TEXT,
                        error_message TEXT,
                        created_at BIGINT NOT NULL,
                        started_at BIGINT,
                        sent_at BIGINT,
                        delivered_at BIGINT,
                        read_at BIGINT,
                        finished_at BIGINT,
                        next_attempt_at BIGINT,
                        seen_delay_ms BIGINT
                    ){roomy}"
                ),
                &format!(
                    "CREATE TABLE batch_items (
                        batch_id BIGINT NOT NULL,
                        seq BIGINT NOT NULL,
                        contact_id BIGINT,
                        input TEXT,
                        item_status TEXT NOT NULL,
                        attempts BIGINT NOT NULL DEFAULT 0,
                        fence BIGINT NOT NULL DEFAULT 0,
                        error_code TEXT,
                        error_message TEXT,
                        warning TEXT,
                        source_row TEXT,
                        started_at BIGINT,
                        finished_at BIGINT,
                        PRIMARY KEY (batch_id, seq)
                    ){}",
                    clustered(manager)
                ),
                // Messages, with what their items say. One that is not its item's any more stays its contact's.
                &format!(
                    "INSERT INTO messages ({AS_IT_IS}, seq, item_status, attempts, fence, slot_us, input, error_code,
                                           error_message, started_at, finished_at, next_attempt_at)
                     {} SELECT {}, i.seq, i.status, {}, coalesce(i.fence, 0), i.slot_us, i.input, {}, {}, i.started_at,
                            i.finished_at, i.next_attempt_at
                     FROM messages_before m LEFT JOIN batch_items_before i ON {of_item} ORDER BY m.id",
                    given_ids(manager),
                    prefixed("m"),
                    item("attempts"),
                    item("error_code"),
                    item("error_message")
                ),
                &numbers_go_on(manager),
                // Recipients who have no message, or none that is theirs.
                &format!(
                    "INSERT INTO messages (uuid, contact_id, batch_id, seq, sender_id, item_status, attempts, fence, slot_us,
                                           input, error_code, error_message, created_at, started_at, finished_at,
                                           next_attempt_at)
                     SELECT i.message_id, i.contact_id, i.batch_id, i.seq, b.sender_id, i.status, i.attempts, i.fence,
                            i.slot_us, i.input, i.error_code, i.error_message,
                            coalesce(i.started_at, i.finished_at, b.created_at), i.started_at, i.finished_at,
                            i.next_attempt_at
                     FROM batch_items_before i JOIN batches b ON b.id = i.batch_id AND b.type = 'SEND'
                     WHERE NOT EXISTS (SELECT 1 FROM messages_before m WHERE {of_item})
                     ORDER BY i.batch_id, i.seq"
                ),
                "INSERT INTO batch_items (batch_id, seq, contact_id, input, item_status, attempts, fence, error_code,
                                          error_message, warning, source_row, started_at, finished_at)
                 SELECT i.batch_id, i.seq, i.contact_id, i.input, i.status, i.attempts, i.fence, i.error_code,
                        i.error_message, i.warning, i.source_row, i.started_at, i.finished_at
                 FROM batch_items_before i
                 WHERE NOT EXISTS (SELECT 1 FROM batches b WHERE b.id = i.batch_id AND b.type = 'SEND')
                 ORDER BY i.batch_id, i.seq",
            ],
        )
        .await?;
        drop_what_was(manager).await?;
        sql::run(manager, &KEPT_INDEXES).await?;
        sql::run(manager, &ITEM_INDEXES).await?;
        sql::run(
            manager,
            &[
                // A history has what a person may see, in the order of its times.
                "CREATE INDEX messages_contact ON messages (contact_id, created_at, id) WHERE direction IS NOT NULL",
                // The recipients of a batch, in their order.
                "CREATE UNIQUE INDEX messages_item ON messages (batch_id, seq) WHERE seq IS NOT NULL",
                // What a contact got or waits for, over all batches, the newest first.
                "CREATE INDEX messages_contact_item ON messages (contact_id, batch_id, seq) WHERE seq IS NOT NULL",
                // On the error and not on the status: the way of a success then changes no indexed column.
                "CREATE INDEX messages_item_error ON messages (batch_id, seq)
                 WHERE error_code IS NOT NULL AND seq IS NOT NULL",
                // Rows of a contact that no history has, for its deletion and its merge.
                "CREATE INDEX messages_contact_unseen ON messages (contact_id) WHERE direction IS NULL",
            ],
        )
        .await
    }

    // Over 80 lines: tables and what is carried into them are one list of statements, read from its top to its end.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (id, uuid, roomy) = (identity(manager), uuid(manager), roomy(manager));
        set_aside(manager).await?;
        sql::run(
            manager,
            &[
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
                        read_at BIGINT,
                        conversation_id BIGINT,
                        author_id BIGINT,
                        attempts BIGINT NOT NULL DEFAULT 0,
                        seen_delay_ms BIGINT,
                        message_type TEXT NOT NULL DEFAULT 'text',
                        media TEXT,
                        gateway_id BIGINT,
                        sender_id BIGINT
                    ){roomy}"
                ),
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
                        warning TEXT,
                        source_row TEXT,
                        PRIMARY KEY (batch_id, seq)
                    ){}",
                    clustered(manager)
                ),
                &format!(
                    "INSERT INTO messages ({AS_IT_IS}, item_seq, attempts, error_code, error_message)
                     {} SELECT {}, m.seq, CASE WHEN m.batch_id IS NULL THEN m.attempts ELSE 0 END, m.error_code,
                            m.error_message
                     FROM messages_before m WHERE m.direction IS NOT NULL ORDER BY m.id",
                    given_ids(manager),
                    prefixed("m")
                ),
                &numbers_go_on(manager),
                // Items of batches that were thrown away had no rows.
                "INSERT INTO batch_items (batch_id, seq, contact_id, input, status, attempts, fence, slot_us, message_id,
                                          error_code, error_message, started_at, finished_at, next_attempt_at)
                 SELECT m.batch_id, m.seq, m.contact_id, m.input, m.item_status, m.attempts, m.fence, m.slot_us, m.uuid,
                        m.error_code, m.error_message, m.started_at, m.finished_at, m.next_attempt_at
                 FROM messages_before m JOIN batches b ON b.id = m.batch_id
                 WHERE m.seq IS NOT NULL ORDER BY m.batch_id, m.seq",
                "INSERT INTO batch_items (batch_id, seq, contact_id, input, status, attempts, fence, error_code,
                                          error_message, warning, source_row, started_at, finished_at)
                 SELECT i.batch_id, i.seq, i.contact_id, i.input, i.item_status, i.attempts, i.fence, i.error_code,
                        i.error_message, i.warning, i.source_row, i.started_at, i.finished_at
                 FROM batch_items_before i ORDER BY i.batch_id, i.seq",
                // Jobs of this release are ones that the release before leaves alone.
                "UPDATE jobs SET payload_version = 2 WHERE kind = 'send_chunk' AND payload_version = 3",
            ],
        )
        .await?;
        drop_what_was(manager).await?;
        sql::run(manager, &KEPT_INDEXES).await?;
        sql::run(manager, &ITEM_INDEXES).await?;
        sql::run(manager, &["CREATE INDEX messages_contact ON messages (contact_id, created_at, id)"]).await
    }
}

/// Reports change a message once it is written: room on its page keeps the change there.
fn roomy(manager: &SchemaManager) -> &'static str {
    if sql::is_postgres(manager) { " WITH (fillfactor = 75)" } else { "" }
}

fn clustered(manager: &SchemaManager) -> &'static str {
    if sql::is_postgres(manager) { "" } else { " WITHOUT ROWID" }
}

/// What lets a row keep its number.
fn given_ids(manager: &SchemaManager) -> &'static str {
    if sql::is_postgres(manager) { "OVERRIDING SYSTEM VALUE" } else { "" }
}

/// The columns that are carried over, of a table by its name in the statement.
fn prefixed(table: &str) -> String {
    AS_IT_IS.split(',').map(|column| format!("{table}.{}", column.trim())).collect::<Vec<_>>().join(", ")
}

async fn set_aside(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    sql::run(
        manager,
        &["ALTER TABLE messages RENAME TO messages_before", "ALTER TABLE batch_items RENAME TO batch_items_before"],
    )
    .await
}

/// No number of a message is given twice, not even that of one that is gone.
fn numbers_go_on(manager: &SchemaManager) -> String {
    match sql::is_postgres(manager) {
        true => "SELECT setval(pg_get_serial_sequence('messages', 'id'), nextval(pg_get_serial_sequence('messages_before', 'id')))".to_owned(),
        false => "INSERT OR REPLACE INTO sqlite_sequence (rowid, name, seq)
                  SELECT (SELECT rowid FROM sqlite_sequence WHERE name = 'messages'), 'messages', seq
                  FROM sqlite_sequence WHERE name = 'messages_before'"
            .to_owned(),
    }
}

async fn drop_what_was(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    sql::run(manager, &["DROP TABLE messages_before", "DROP TABLE batch_items_before"]).await?;
    if sql::is_postgres(manager) {
        // What hangs on a table has its name as of old.
        let names = "DO $$ BEGIN
            ALTER INDEX IF EXISTS messages_pkey1 RENAME TO messages_pkey;
            ALTER INDEX IF EXISTS batch_items_pkey1 RENAME TO batch_items_pkey;
            ALTER SEQUENCE IF EXISTS messages_id_seq1 RENAME TO messages_id_seq;
        END $$";
        sql::run(manager, &[names]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Migrator;
    use sea_orm_migration::MigratorTrait;
    use sea_orm_migration::sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};

    /// This step's number.
    const STEP: u32 = 17;

    async fn rows(db: &DatabaseConnection, sql: &str) -> Vec<String> {
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.expect("read");
        rows.iter().map(|row| row.try_get("", "t").expect("a text")).collect()
    }

    #[tokio::test]
    async fn nothing_is_lost_on_the_way_up_and_down() {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = Database::connect(options).await.expect("memory");
        Migrator::up(&db, Some(STEP - 1)).await.expect("up");
        for sql in [
            "INSERT INTO batches (id, type, status, sender_id, created_by, config, created_at) VALUES
                (1, 'SEND', 'PROCESSING', 1, 1, '{}', 5), (2, 'TAG', 'COMPLETED', NULL, 1, '{}', 5)",
            "INSERT INTO messages (id, uuid, contact_id, batch_id, item_seq, direction, content, status, ack, attempts,
                                   error_code, created_at, sent_at) VALUES
                (3, 'm3', 10, 1, 0, 'outbound', 'Hello', 'sent', 1, 0, NULL, 20, 20),
                (4, 'm4', 11, 1, 1, 'outbound', 'Hello', 'failed', 1, 0, '131026', 21, 21),
                (5, 'm5', 12, NULL, NULL, 'outbound', 'A reply', 'queued', 0, 2, 'gateway_away', 22, NULL),
                (6, 'm6', 12, NULL, NULL, 'inbound', 'Hi', 'received', 0, 0, NULL, 23, NULL),
                (7, 'm7', 13, 9, 0, 'outbound', 'Of a batch that is gone', 'read', 3, 0, NULL, 24, 24),
                (8, 'm8', 14, NULL, NULL, 'inbound', 'Gone', 'received', 0, 0, NULL, 25, NULL)",
            "DELETE FROM messages WHERE id = 8",
            "INSERT INTO batch_items (batch_id, seq, contact_id, status, attempts, fence, message_id, error_code, started_at,
                                      finished_at, input) VALUES
                (1, 0, 10, 'succeeded', 1, 7, 'm3', NULL, 19, 20, NULL), (1, 1, 11, 'pending', 0, 7, NULL, NULL, 19, NULL, NULL),
                (1, 2, 15, 'unknown', 2, 8, 'm9', 'outcome_unknown', 19, NULL, NULL),
                (1, 3, NULL, 'failed', 0, 8, NULL, 'contact_not_found', NULL, 30, 'nobody'),
                (2, 0, 10, 'succeeded', 1, 9, NULL, NULL, 31, 31, NULL)",
            "INSERT INTO jobs (kind, lane, state, payload_version, run_at, created_at)
             VALUES ('send_chunk', 'bulk', 'ready', 2, 0, 0)",
        ] {
            db.execute_unprepared(sql).await.expect("written");
        }
        let messages =
            "SELECT id || ' ' || uuid || ' ' || contact_id || ' ' || coalesce(batch_id, '-') || ' ' || status || ' ' ||
                               attempts || ' ' || coalesce(error_code, '-') || ' ' || created_at || ' ' || content AS t
                        FROM messages WHERE direction IS NOT NULL ORDER BY id";
        let items = |status: &str| {
            format!(
                "SELECT batch_id || ' ' || seq || ' ' || coalesce(contact_id, '-') || ' ' || {status} || ' ' || attempts || ' ' ||
                        fence || ' ' || coalesce(error_code, '-') || ' ' || coalesce(started_at, '-') || ' ' ||
                        coalesce(finished_at, '-') || ' ' || coalesce(input, '-') AS t FROM"
            )
        };
        let (before, items_before) = (
            rows(&db, messages).await,
            rows(&db, &format!("{} batch_items ORDER BY batch_id, seq", items("status"))).await,
        );
        Migrator::up(&db, Some(1)).await.expect("up");
        let of = items("item_status");
        let here = rows(
            &db,
            &format!("SELECT t FROM ({of} messages WHERE seq IS NOT NULL UNION ALL {of} batch_items) ORDER BY t"),
        )
        .await;
        assert_eq!(here, items_before);
        let after = rows(&db, messages).await;
        let told = |all: &[String]| all.iter().map(|row| row.replace(" 1 - 20 ", " 0 - 20 ")).collect::<Vec<_>>();
        assert_eq!(told(&after), before, "a message of a batch has the attempts of its item");
        let ids = "SELECT 'm' || id || coalesce(' ' || seq, '') AS t FROM messages ORDER BY id";
        assert_eq!(
            rows(&db, ids).await,
            ["m3 0", "m4", "m5", "m6", "m7", "m9 1", "m10 2", "m11 3"],
            "no number is given twice, and a message that failed at the network is not its item's any more"
        );
        Migrator::down(&db, Some(1)).await.expect("down");
        assert_eq!(rows(&db, messages).await, before);
        assert_eq!(rows(&db, &format!("{} batch_items ORDER BY batch_id, seq", items("status"))).await, items_before);
        let ids =
            "SELECT coalesce(item_seq, '-') || ' ' || (SELECT seq FROM sqlite_sequence WHERE name = 'messages') AS t
                   FROM messages WHERE batch_id = 1 ORDER BY id";
        assert_eq!(rows(&db, ids).await, ["0 11", "- 11"]);
        Migrator::up(&db, None).await.expect("up again");
        assert_eq!(rows(&db, ids.replace("item_seq", "seq").as_str()).await.len(), 5);
    }
}
