//! One person, two spellings of a number: a key that spellings have in common, contacts that are merged, and what it takes
//! to find a person and all that they got.

use crate::sql;
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The key of the number in a column: the rule of `domain::contacts::spelling`, in SQL.
pub(crate) fn key(column: &str) -> String {
    format!(
        "CASE
            WHEN length({column}) = 12 AND substr({column}, 1, 2) = '55' AND substr({column}, 5, 1) IN ('6', '7', '8', '9')
                THEN substr({column}, 1, 4) || '9' || substr({column}, 5)
            WHEN length({column}) = 13 AND substr({column}, 1, 3) = '521' THEN '52' || substr({column}, 4)
            WHEN length({column}) = 12 AND substr({column}, 1, 2) = '54'
                 AND substr({column}, 3, 1) IN ('1', '2', '3', '4', '5', '6', '7', '8') THEN '549' || substr({column}, 3)
            ELSE {column} END"
    )
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Computed by the database, so that no writer can forget it. SQLite adds no stored column to a table that is there.
        let kept = if sql::is_postgres(manager) { "STORED" } else { "VIRTUAL" };
        let generated = |table: &str, value: &str| {
            format!("ALTER TABLE {table} ADD COLUMN phone_key TEXT GENERATED ALWAYS AS ({value}) {kept}")
        };
        let of_identity = format!("CASE WHEN kind IN ('phone', 'wa_id') THEN {} END", key("value"));
        sql::run(
            manager,
            &[
                &generated("contacts", &key("phone")),
                &generated("suppressions", &key("phone")),
                &generated("contact_identities", &of_identity),
                "CREATE INDEX contact_identities_key ON contact_identities (phone_key) WHERE phone_key IS NOT NULL",
                // What was merged into what: links to the one that is gone find the one that is there. No personal data.
                "CREATE TABLE contact_merges (
                    from_id BIGINT NOT NULL PRIMARY KEY,
                    into_id BIGINT NOT NULL,
                    reason TEXT NOT NULL,
                    moved TEXT NOT NULL,
                    merged_at BIGINT NOT NULL
                )",
                "CREATE INDEX contact_merges_into ON contact_merges (into_id)",
                "CREATE INDEX contact_merges_latest ON contact_merges (merged_at)",
                // What a contact got, over all batches, the newest first.
                "CREATE INDEX batch_items_contact ON batch_items (contact_id, batch_id, seq) WHERE contact_id IS NOT NULL",
                // Recipients that have no row yet are in their chunk: the numbers it is between. Those that are there may have
                // anybody.
                "ALTER TABLE batch_chunks ADD COLUMN lowest_contact BIGINT NOT NULL DEFAULT 0",
                "ALTER TABLE batch_chunks ADD COLUMN highest_contact BIGINT NOT NULL DEFAULT 9223372036854775807",
                "CREATE INDEX batch_chunks_unfinished ON batch_chunks (batch_id, no, lowest_contact, highest_contact)
                 WHERE state <> 'closed'",
                // A map may come before its message: the number that the network resolved it to is kept with it.
                "ALTER TABLE early_receipts ADD COLUMN wa_id TEXT",
            ],
        )
        .await?;
        self.merge_what_is_there(manager).await?;
        sql::run(
            manager,
            &[
                // A number is unique by its key. Two unique indexes would let two writers of one number fail on the one that
                // they do not name.
                "DROP INDEX contacts_phone",
                "CREATE UNIQUE INDEX contacts_phone_key ON contacts (phone_key)",
                "DROP INDEX suppressions_active",
                "DROP INDEX suppressions_phone",
                "CREATE UNIQUE INDEX suppressions_active ON suppressions (phone_key) WHERE ended_at IS NULL",
                "CREATE INDEX suppressions_phone ON suppressions (phone_key, id)",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // What was merged stays merged.
        sql::run(
            manager,
            &[
                "DROP INDEX suppressions_phone",
                "DROP INDEX suppressions_active",
                "CREATE UNIQUE INDEX suppressions_active ON suppressions (phone) WHERE ended_at IS NULL",
                "CREATE INDEX suppressions_phone ON suppressions (phone, id)",
                "DROP INDEX contacts_phone_key",
                "CREATE UNIQUE INDEX contacts_phone ON contacts (phone)",
                "ALTER TABLE early_receipts DROP COLUMN wa_id",
                "DROP INDEX batch_chunks_unfinished",
                "ALTER TABLE batch_chunks DROP COLUMN highest_contact",
                "ALTER TABLE batch_chunks DROP COLUMN lowest_contact",
                "DROP INDEX batch_items_contact",
                "DROP TABLE contact_merges",
                "DROP INDEX contact_identities_key",
                "ALTER TABLE contact_identities DROP COLUMN phone_key",
                "ALTER TABLE suppressions DROP COLUMN phone_key",
                "ALTER TABLE contacts DROP COLUMN phone_key",
            ],
        )
        .await
    }
}

impl Migration {
    /// Contacts that are there already under two spellings of one number become one: the older stays. A number has two
    /// spellings at most, so they come in pairs.
    ///
    /// Over 80 lines: each statement builds on those before it, and all of them are one merge.
    async fn merge_what_is_there(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let now = match sql::is_postgres(manager) {
            true => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
            false => "CAST(strftime('%s', 'now') AS INTEGER) * 1000",
        };
        let both = |g: &str| match sql::is_postgres(manager) {
            true => format!(
                "CAST(CAST(coalesce({g}, '{{}}') AS jsonb) || CAST(coalesce(attributes, '{{}}') AS jsonb) AS TEXT)"
            ),
            false => format!("json_patch(coalesce({g}, '{{}}'), coalesce(attributes, '{{}}'))"),
        };
        let gone = |column: &str| {
            format!(
                "(SELECT g.{column} FROM contact_merges m JOIN contacts g ON g.id = m.from_id WHERE m.into_id = contacts.id)"
            )
        };
        let attributes = format!(
            "CASE WHEN attributes IS NULL AND {a} IS NULL THEN NULL ELSE {} END",
            both(&gone("attributes")),
            a = gone("attributes")
        );
        let merged = "contact_id IN (SELECT from_id FROM contact_merges)";
        let into =
            |table: &str| format!("(SELECT m.into_id FROM contact_merges m WHERE m.from_id = {table}.contact_id)");
        // The conversation that goes on, for one of a contact that is gone.
        let goes_on = "(SELECT k.id FROM contact_merges m JOIN conversations k
              ON k.contact_id = m.into_id AND k.channel = g.channel AND k.status <> 'closed' WHERE m.from_id = g.contact_id)";
        sql::run(
            manager,
            &[
                &format!(
                    "INSERT INTO contact_merges (from_id, into_id, reason, moved, merged_at)
                     SELECT c.id, k.kept, 'spelling', '{{}}', {now} FROM contacts c
                     JOIN (SELECT phone_key, min(id) AS kept FROM contacts WHERE phone_key IS NOT NULL
                           GROUP BY phone_key HAVING count(*) > 1) k ON k.phone_key = c.phone_key
                     WHERE c.id <> k.kept"
                ),
                "INSERT INTO contact_tags (contact_id, tag_id)
                 SELECT m.into_id, t.tag_id FROM contact_tags t JOIN contact_merges m ON m.from_id = t.contact_id WHERE TRUE
                 ON CONFLICT DO NOTHING",
                &format!("DELETE FROM contact_tags WHERE {merged}"),
                &format!("UPDATE contact_identities SET contact_id = {} WHERE {merged}", into("contact_identities")),
                "INSERT INTO contact_identities (kind, value, contact_id, created_at)
                 SELECT 'phone', g.phone, m.into_id, m.merged_at FROM contact_merges m JOIN contacts g ON g.id = m.from_id
                 WHERE g.phone IS NOT NULL ON CONFLICT (kind, value) DO UPDATE SET contact_id = excluded.contact_id",
                "INSERT INTO contact_activity (contact_id, last_message_at)
                 SELECT m.into_id, a.last_message_at FROM contact_activity a JOIN contact_merges m ON m.from_id = a.contact_id
                 WHERE TRUE ON CONFLICT (contact_id) DO UPDATE SET last_message_at = excluded.last_message_at
                 WHERE contact_activity.last_message_at < excluded.last_message_at",
                &format!("DELETE FROM contact_activity WHERE {merged}"),
                &format!(
                    "UPDATE messages SET conversation_id = coalesce(
                        (SELECT {goes_on} FROM conversations g WHERE g.id = messages.conversation_id AND g.status <> 'closed'),
                        conversation_id) WHERE {merged} AND conversation_id IS NOT NULL"
                ),
                "UPDATE conversations SET unread = unread + coalesce(
                    (SELECT sum(g.unread) FROM contact_merges m JOIN conversations g
                     ON g.contact_id = m.from_id AND g.channel = conversations.channel AND g.status <> 'closed'
                     WHERE m.into_id = conversations.contact_id), 0)
                 WHERE status <> 'closed' AND contact_id IN (SELECT into_id FROM contact_merges)",
                "UPDATE conversations SET status = 'open', resolved_at = NULL WHERE status = 'resolved' AND EXISTS (
                    SELECT 1 FROM contact_merges m JOIN conversations g
                    ON g.contact_id = m.from_id AND g.channel = conversations.channel AND g.status = 'open'
                    WHERE m.into_id = conversations.contact_id)",
                &format!(
                    "UPDATE conversations SET status = 'closed', unread = 0 WHERE status <> 'closed' AND id IN (
                        SELECT g.id FROM conversations g WHERE g.contact_id IN (SELECT from_id FROM contact_merges)
                        AND {goes_on} IS NOT NULL)"
                ),
                &format!("UPDATE conversations SET contact_id = {} WHERE {merged}", into("conversations")),
                &format!("UPDATE messages SET contact_id = {} WHERE {merged}", into("messages")),
                &format!("UPDATE batch_items SET contact_id = {} WHERE {merged}", into("batch_items")),
                &format!("UPDATE crm_events SET contact_id = {} WHERE {merged}", into("crm_events")),
                &format!("UPDATE suppressions SET contact_id = {} WHERE {merged}", into("suppressions")),
                &format!(
                    "UPDATE contacts SET name = coalesce(name, {}), source = coalesce(source, {}),
                            photo_url = coalesce(photo_url, {}), attributes = {attributes},
                            remark = CASE WHEN remark IS NULL THEN {r} WHEN {r} IS NULL OR {r} = remark THEN remark
                                          ELSE remark || '\n' || {r} END,
                            status = CASE WHEN status = 'new' THEN {} ELSE status END
                     WHERE id IN (SELECT into_id FROM contact_merges)",
                    gone("name"),
                    gone("source"),
                    gone("photo_url"),
                    gone("status"),
                    r = gone("remark")
                ),
                "UPDATE contacts SET phone = NULL, name = NULL, source = NULL, attributes = NULL, remark = NULL,
                        photo_url = NULL, suppressed_at = NULL,
                        deleted_at = (SELECT m.merged_at FROM contact_merges m WHERE m.from_id = contacts.id)
                 WHERE id IN (SELECT from_id FROM contact_merges)",
                // Of two wishes of one number the first one counts.
                &format!(
                    "UPDATE suppressions SET ended_at = {now}, ended_reason = 'merged' WHERE ended_at IS NULL AND EXISTS (
                        SELECT 1 FROM suppressions s WHERE s.phone_key = suppressions.phone_key AND s.ended_at IS NULL
                        AND s.id < suppressions.id)"
                ),
                "UPDATE contacts SET suppressed_at = (SELECT s.created_at FROM suppressions s
                    WHERE s.phone_key = contacts.phone_key AND s.ended_at IS NULL)
                 WHERE phone_key IN (SELECT phone_key FROM suppressions WHERE ended_at IS NULL)",
            ],
        )
        .await
    }
}
