//! What is asked of a worker while it runs.

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
                // The places of a worker that does not know of them are null: it takes no orders.
                "ALTER TABLE workers ADD COLUMN draining BOOLEAN NOT NULL DEFAULT FALSE",
                "ALTER TABLE workers ADD COLUMN critical_places BIGINT",
                "ALTER TABLE workers ADD COLUMN default_places BIGINT",
                "ALTER TABLE workers ADD COLUMN bulk_places BIGINT",
                // Null: it does not do yet what is asked.
                "ALTER TABLE workers ADD COLUMN obeyed_at BIGINT",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "ALTER TABLE workers DROP COLUMN obeyed_at",
                "ALTER TABLE workers DROP COLUMN bulk_places",
                "ALTER TABLE workers DROP COLUMN default_places",
                "ALTER TABLE workers DROP COLUMN critical_places",
                "ALTER TABLE workers DROP COLUMN draining",
            ],
        )
        .await
    }
}
