//! Large sends wait until a second person has approved them.

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
                "ALTER TABLE batches ADD COLUMN approval TEXT",
                // The state first: an index on the number alone is nothing that a filter by state can be looked up in.
                "CREATE INDEX batches_approval ON batches (approval, id) WHERE approval IS NOT NULL",
                "CREATE TABLE batch_decisions (
                    batch_id BIGINT NOT NULL PRIMARY KEY,
                    decided_by BIGINT NOT NULL,
                    decided_at BIGINT NOT NULL,
                    reason TEXT
                )",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                // What waits stays paused: a release that asks nobody must not begin it by itself.
                "DROP TABLE batch_decisions",
                "DROP INDEX batches_approval",
                "ALTER TABLE batches DROP COLUMN approval",
            ],
        )
        .await
    }
}
