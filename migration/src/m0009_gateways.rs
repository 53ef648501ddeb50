//! Gateways: which of them took a message, and which of them a batch belongs to.

use crate::sql::{self, identity};
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = identity(manager);
        sql::run(
            manager,
            &[
                // By their own names, which are long; messages have the numbers.
                &format!(
                    "CREATE TABLE gateways (
                        id {id},
                        name TEXT NOT NULL,
                        transport TEXT,
                        first_seen_at BIGINT NOT NULL,
                        seen_at BIGINT NOT NULL
                    )"
                ),
                "CREATE UNIQUE INDEX gateways_name ON gateways (name)",
                // Absent: of before this step, or nobody has asked a gateway yet. The first who does decides.
                "ALTER TABLE batches ADD COLUMN gateway_id BIGINT",
                "ALTER TABLE messages ADD COLUMN gateway_id BIGINT",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "ALTER TABLE messages DROP COLUMN gateway_id",
                "ALTER TABLE batches DROP COLUMN gateway_id",
                "DROP TABLE gateways",
            ],
        )
        .await
    }
}
