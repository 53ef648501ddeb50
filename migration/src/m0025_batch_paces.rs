//! How far a batch had come when the scheduler looked: its pace, for the eyes of people.

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
                // One row for a span of time, the longer the older the batch is. `may`: what it was allowed a minute then;
                // null: nothing of ours limited it, or the configuration did.
                "CREATE TABLE batch_paces (
                    batch_id BIGINT NOT NULL,
                    since BIGINT NOT NULL,
                    seen_at BIGINT NOT NULL,
                    decided BIGINT NOT NULL,
                    may BIGINT,
                    PRIMARY KEY (batch_id, since)
                )",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE batch_paces"]).await
    }
}
