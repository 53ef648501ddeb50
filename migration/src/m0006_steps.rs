//! What large batches are done in: batches whose chunks are written before they are there, and jobs that count how often
//! the database ended their statements for the time they took.

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
                "ALTER TABLE jobs ADD COLUMN timeouts BIGINT NOT NULL DEFAULT 0",
                "CREATE TABLE uploads (
                    batch_id BIGINT NOT NULL PRIMARY KEY,
                    seen_at BIGINT NOT NULL
                )",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "DELETE FROM batch_chunks WHERE batch_id IN (SELECT batch_id FROM uploads)",
                "DROP TABLE uploads",
                "ALTER TABLE jobs DROP COLUMN timeouts",
            ],
        )
        .await
    }
}
