//! Of what failed in a batch, only what failed for one reason is tried again.

use crate::sql;
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["ALTER TABLE batch_chunks ADD COLUMN retry_code TEXT"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                // A release that knows no code would try everything again that failed: what waits stays failed.
                "UPDATE batch_chunks SET retry = FALSE WHERE retry AND retry_code IS NOT NULL",
                "ALTER TABLE batch_chunks DROP COLUMN retry_code",
            ],
        )
        .await
    }
}
