//! What the stream keeps, jobs that only another release knows, a batch that goes on where a cancelled one stopped, and
//! until when a sender's gateway asked it to wait.

use crate::sql;
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                // Receipts of batches are kept apart from what people wrote: each of the two has a bound of its own.
                "ALTER TABLE crm_events ADD COLUMN bulk BOOLEAN NOT NULL DEFAULT FALSE",
                "CREATE INDEX crm_events_people ON crm_events (id) WHERE NOT bulk",
                "CREATE INDEX crm_events_bulk ON crm_events (id) WHERE bulk",
                "CREATE TABLE crm_events_pruned (
                    bulk BOOLEAN NOT NULL PRIMARY KEY,
                    pruned_to BIGINT NOT NULL
                )",
                // Until now the two were thrown away together, up to the oldest that is there.
                "INSERT INTO crm_events_pruned (bulk, pruned_to)
                 SELECT FALSE, coalesce(min(id), 1) - 1 FROM crm_events",
                "INSERT INTO crm_events_pruned (bulk, pruned_to)
                 SELECT TRUE, coalesce(min(id), 1) - 1 FROM crm_events",
                "CREATE INDEX jobs_parked ON jobs (kind, payload_version) WHERE state = 'parked'",
                "ALTER TABLE batches ADD COLUMN remainder_of BIGINT",
                "CREATE UNIQUE INDEX batches_remainder_of ON batches (remainder_of) WHERE remainder_of IS NOT NULL",
                "ALTER TABLE senders ADD COLUMN throttled_until BIGINT",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "ALTER TABLE senders DROP COLUMN throttled_until",
                "DROP INDEX batches_remainder_of",
                "ALTER TABLE batches DROP COLUMN remainder_of",
                "DROP INDEX jobs_parked",
                // The release before knows no such state; it finds them as it would have.
                "UPDATE jobs SET state = 'ready', rung_at = NULL WHERE state = 'parked'",
                "DROP TABLE crm_events_pruned",
                "DROP INDEX crm_events_bulk",
                "DROP INDEX crm_events_people",
                // It keeps a thousand of all, and would send tens of thousands of receipts.
                "DELETE FROM crm_events WHERE bulk",
                "ALTER TABLE crm_events DROP COLUMN bulk",
            ],
        )
        .await
    }
}
