//! How the queue was, minute by minute, and how it was found last: for the eyes of people, also after a restart.

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
                // Minutes since the epoch. What is not known of one is null.
                "CREATE TABLE queue_samples (
                    minute BIGINT NOT NULL PRIMARY KEY,
                    waiting_critical BIGINT NOT NULL,
                    waiting_default BIGINT NOT NULL,
                    waiting_bulk BIGINT NOT NULL,
                    behind_critical_ms BIGINT NOT NULL,
                    behind_default_ms BIGINT NOT NULL,
                    behind_bulk_ms BIGINT NOT NULL,
                    running BIGINT NOT NULL,
                    dead BIGINT NOT NULL,
                    ended BIGINT,
                    died BIGINT,
                    succeeded BIGINT NOT NULL DEFAULT 0,
                    failed BIGINT NOT NULL DEFAULT 0
                )",
                "CREATE TABLE sender_samples (
                    minute BIGINT NOT NULL,
                    sender_id BIGINT NOT NULL,
                    decided BIGINT NOT NULL,
                    PRIMARY KEY (minute, sender_id)
                )",
                // One row: what the scheduler saw last, and when.
                "CREATE TABLE queue_looks (
                    one BIGINT NOT NULL PRIMARY KEY,
                    looked_at BIGINT NOT NULL,
                    version TEXT NOT NULL,
                    depths TEXT NOT NULL
                )",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE queue_looks", "DROP TABLE sender_samples", "DROP TABLE queue_samples"]).await
    }
}
